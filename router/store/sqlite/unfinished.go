package sqlite

import (
	"fmt"

	"github.com/pointsman/pointsman/router/store"
)

// unfinishedEvery is after how many new deliveries those that are not finished
// are listed: Open looks at no more rows than these and what is listed.
const unfinishedEvery = 4096

// listed says whether a delivery belongs into the table unfinished.
func (w *writer) listed(seq int64, s store.DeliveryState) bool {
	return s == store.Held || seq < w.unfinishedFrom && (s == store.Ready || s == store.Leased)
}

// list keeps the table unfinished in step with a row that goes from one action
// and state to another; 0 is the state of a row that was not there.
func (t *tx) list(seq int64, action string, from store.DeliveryState, toAction string, to store.DeliveryState) error {
	if from == to && action == toAction {
		return nil
	}
	if from != 0 && t.listed(seq, from) {
		if err := t.exec("DELETE FROM unfinished WHERE state = ? AND action = ? AND seq = ?", int64(from), action, seq); err != nil {
			return fmt.Errorf("list unfinished: %w", err)
		}
	}
	if t.listed(seq, to) {
		if err := t.exec("INSERT INTO unfinished (state, action, seq) VALUES (?, ?, ?)", int64(to), toAction, seq); err != nil {
			return fmt.Errorf("list unfinished: %w", err)
		}
	}
	return nil
}

// listNew lists what is unfinished of the deliveries since the last time, if
// they are many, and returns up to where all are.
func (t *tx) listNew() (int64, error) {
	from := t.unfinishedFrom
	if t.nextDelivery-from < unfinishedEvery {
		return from, nil
	}
	err := t.exec(listUnfinished, from, t.nextDelivery)
	if err == nil {
		err = t.exec("UPDATE meta SET value = ? WHERE key = 'unfinished_from'", t.nextDelivery)
	}
	if err != nil {
		return from, fmt.Errorf("list unfinished: %w", err)
	}
	return t.nextDelivery, nil
}

const listUnfinished = "INSERT OR IGNORE INTO unfinished SELECT state, action, seq FROM deliveries WHERE seq >= ?1 AND seq < ?2 AND state IN (1, 2)"

// loadItems makes everything unfinished claimable; what was leased is due now
// and will be found lost.
func (w *writer) loadItems() error {
	if _, err := w.row([]any{&w.unfinishedFrom}, "SELECT value FROM meta WHERE key = 'unfinished_from'"); err != nil {
		return err
	}
	var want, listed int64
	if _, err := w.row([]any{&want, &listed}, `SELECT (SELECT SUM(n) FROM counts WHERE state IN (1, 2)),
		(SELECT COUNT(*) FROM unfinished u JOIN deliveries d ON d.seq = u.seq AND d.state = u.state WHERE u.state IN (1, 2))
		+ (SELECT COUNT(*) FROM deliveries WHERE seq >= ? AND state IN (1, 2))`, w.unfinishedFrom); err != nil {
		return err
	}
	if want != listed {
		// Two accounts of one thing differ, so neither is believed.
		if err := w.exec("DELETE FROM unfinished WHERE state IN (1, 2)"); err != nil {
			return err
		}
		if err := w.exec(listUnfinished, 0, w.unfinishedFrom); err != nil {
			return err
		}
	}
	const columns = `SELECT d.seq, event_seq, id, d.action, d.state, due, epoch, starts, uncertain, lane,
		CASE WHEN d.state = 2 THEN (SELECT started FROM attempts a WHERE a.delivery = d.seq AND a.number = d.starts) END`
	now := w.db.now().UnixNano()
	err := w.conn.query(func(s *stmt) error { return w.loadItem(s, now) },
		columns+" FROM unfinished u JOIN deliveries d ON d.seq = u.seq WHERE u.state IN (1, 2) UNION ALL "+
			columns+" FROM deliveries d WHERE d.seq >= ? AND d.state IN (1, 2)", w.unfinishedFrom)
	for _, l := range w.db.index.lanes {
		w.db.index.elect(l)
	}
	return err
}

func (w *writer) loadItem(s *stmt, now int64) error {
	it := &item{pos: -1}
	var id, action, lane string
	var state, starts int64
	if err := s.scan(&it.seq, &it.eventSeq, &id, &action, &state, &it.due, &it.epoch, &starts, &it.uncertain, &lane, &it.started); err != nil {
		return err
	}
	it.id, it.queue, it.starts = shortID(id), w.db.index.queue(action), int32(starts)
	if store.DeliveryState(state) == store.Leased {
		it.leased, it.rowLeased, it.stored, it.due = true, true, true, now
		w.db.epoch++
		it.epoch = w.db.epoch // the old lease is nobody's any more
	}
	if lane != "" {
		w.db.index.join(it, lane)
	}
	w.db.index.put(it)
	return nil
}
