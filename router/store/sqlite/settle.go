package sqlite

import (
	"context"
	"fmt"
	"math/bits"

	"github.com/pointsman/pointsman/router/store"
)

// Settle implements store.Store.
func (db *DB) Settle(ctx context.Context, outcomes ...store.Outcome) ([]store.Settled, error) {
	if len(outcomes) == 0 {
		return nil, nil
	}
	for i := range outcomes {
		if s := outcomes[i].State; s < store.Ready || s > store.Cancelled || s == store.Leased {
			return nil, fmt.Errorf("settle %s: no delivery is settled as %s", outcomes[i].ID, s)
		}
	}
	settled := make([]store.Settled, len(outcomes))
	err := db.hand(ctx, &op{outcomes: true, run: func(t *tx) error {
		for i := range outcomes {
			var err error
			if settled[i], err = t.settle(&outcomes[i]); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		return nil, fmt.Errorf("settle: %w", err)
	}
	return settled, nil
}

func (t *tx) settle(o *store.Outcome) (store.Settled, error) {
	wk, err := t.find(o.ID)
	if err != nil {
		return 0, err
	}
	if wk != nil && wk.lane != "" && wk.state != store.Leased {
		wk.ran(int64(o.Epoch))
	}
	switch {
	case wk == nil || wk.epoch == 0 || uint64(wk.epoch) != o.Epoch:
		return store.SettledLost, nil
	case wk.state == store.Leased:
		return store.SettledOK, t.end(wk, o)
	case wk.settled == 1:
		return store.SettledOK, nil
	case wk.settled == 2:
		return store.SettledCancelled, nil
	case wk.state == store.Cancelled:
		return store.SettledCancelled, t.endCancelled(wk, o)
	}
	return store.SettledLost, nil
}

// end stores the outcome of the lease that is held.
func (t *tx) end(wk *work, o *store.Outcome) error {
	if err := t.writeLost(wk); err != nil {
		return err
	}
	var started, ended, output any
	used := width(int64(o.State)) + width(wk.epoch) + len(o.Reason) + len(o.Error)
	if a := o.Attempt; o.State == store.Done && !wk.stored && short(a) {
		wk.uncertain = false
		started, ended, output = nanos(a.Started), nanos(a.Ended), a.Output
		used += width(nanos(a.Started)) + width(nanos(a.Ended)) + len(a.Output)
	} else if err := t.ended(wk, a); err != nil {
		return err
	}
	due := t.now.Add(o.Delay).UnixNano()
	if err := t.exec(`UPDATE deliveries SET state = ?, reason = ?, due = ?, attempts = ?, crashes = ?, suspect = ?, error = ?,
		starts = ?, epoch = ?, settled = 1, uncertain = ?, updated = ?, started = ?, ended = ?, output = ?, room = ? WHERE seq = ?`,
		int64(o.State), o.Reason, due, o.Attempts, o.Crashes, o.Suspect, o.Error,
		wk.starts, wk.epoch, wk.uncertain, t.now.UnixNano(), started, ended, output, rowRoom(used), wk.seq); err != nil {
		return fmt.Errorf("write outcome: %w", err)
	}
	t.move(wk, o.State)
	wk.due, wk.settled, wk.stored = due, 1, false
	t.bytes += 512 + len(o.Error)
	t.wake = t.wake || o.State == store.Ready
	return nil
}

// shortOutput is how many bytes of output an attempt may have that is kept in
// the row of its delivery.
const shortOutput = 256

// short says whether an attempt that made its delivery done fits into its row.
func short(a *store.Attempt) bool {
	return a != nil && a.Outcome == "done" && a.Error == "" && len(a.Output) <= shortOutput
}

// roomBytes is what a new row keeps free. A row that grows may not fit into its
// page any more, which is full, and then pages are split.
const roomBytes = 40

// rowRoom is what is left of a row's room when n bytes of it are used.
func rowRoom(n int) []byte { return make([]byte, max(0, roomBytes-n)) }

// width is how many bytes a whole number takes in a row.
func width(n int64) int {
	if n == 0 || n == 1 {
		return 0
	}
	if n < 0 {
		n = ^n
	}
	switch b := bits.Len64(uint64(n)) + 1; {
	case b <= 32:
		return min(4, (b+7)/8)
	case b <= 48:
		return 6
	default:
		return 8
	}
}

// ended adds an attempt to the history, or takes its start back.
func (t *tx) ended(wk *work, a *store.Attempt) error {
	if a != nil {
		wk.uncertain = false
		b := *a
		b.Number = wk.starts
		return t.writeAttempt(wk.seq, &b)
	}
	if wk.stored {
		if err := t.exec("DELETE FROM attempts WHERE delivery = ? AND number = ?", wk.seq, wk.starts); err != nil {
			return fmt.Errorf("take start back: %w", err)
		}
	}
	wk.starts--
	return nil
}

// endCancelled adds the attempt that a cancel overtook to the history.
func (t *tx) endCancelled(wk *work, o *store.Outcome) error {
	wk.stored = true
	if err := t.ended(wk, o.Attempt); err != nil {
		return err
	}
	wk.settled = 2
	if err := t.exec("UPDATE deliveries SET starts = ?, settled = 2, attempts = ?, error = ?, updated = ? WHERE seq = ?",
		wk.starts, o.Attempts, o.Error, t.now.UnixNano(), wk.seq); err != nil {
		return fmt.Errorf("write outcome of cancelled: %w", err)
	}
	return nil
}

// ran notes that the attempt of a lease has ended, whatever its delivery is now:
// its lane need not be kept for it.
func (wk *work) ran(epoch int64) {
	if wk.kept == epoch {
		wk.kept = 0
	}
	wk.freed = epoch
}
