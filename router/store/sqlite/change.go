package sqlite

import (
	"context"
	"fmt"
	"slices"

	"github.com/pointsman/pointsman/router/store"
)

// Change implements store.Operator.
func (db *DB) Change(ctx context.Context, changes ...store.Change) ([]store.Changed, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	changed := make([]store.Changed, len(changes))
	err := db.submit(ctx, func(t *tx) error {
		for i := range changes {
			var err error
			if changed[i], err = t.change(&changes[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("change: %w", err)
	}
	return changed, nil
}

func (t *tx) change(c *store.Change) (store.Changed, error) {
	wk, err := t.find(c.ID)
	if err != nil {
		return 0, err
	}
	if wk == nil {
		return store.ChangedNotFound, nil
	}
	switch c.Kind {
	case store.Retry:
		return t.retry(wk, c)
	case store.Cancel:
		return t.cancel(wk)
	case store.Expand:
		return t.expand(wk, c)
	case store.Bury:
		return t.bury(wk, c)
	}
	return 0, fmt.Errorf("change %s: unknown order %d", c.ID, c.Kind)
}

// retry makes a delivery ready at once. Its epoch moves on, so that an attempt
// which a cancel overtook cannot settle it any more.
func (t *tx) retry(wk *work, c *store.Change) (store.Changed, error) {
	if wk.state != store.Dead && wk.state != store.Held && wk.state != store.Cancelled {
		return store.ChangedRefused, nil
	}
	var uid string
	var count int
	ok, err := t.row([]any{&count, &uid},
		"SELECT d.count, e.uid FROM deliveries d JOIN events e ON e.seq = d.event_seq WHERE d.seq = ?", wk.seq)
	if err != nil {
		return 0, fmt.Errorf("retry: %w", err)
	}
	if !ok || count > 0 { // its event is gone, or it stands for many
		return store.ChangedRefused, nil
	}
	now := t.now.UnixNano()
	wk.epoch, wk.settled, wk.due, wk.uncertain, wk.stored, wk.changed = t.db.newEpoch(), 1, now, false, false, true
	if err := t.exec(`UPDATE deliveries SET state = 1, reason = '', due = ?, budget = ?, budget_from = attempts, crashes = 0,
		epoch = ?, settled = 1, uncertain = 0, updated = ? WHERE seq = ?`, now, now, wk.epoch, now, wk.seq); err != nil {
		return 0, fmt.Errorf("retry: %w", err)
	}
	t.counts[countKey{wk.action, wk.row}]--
	if r := c.Replace; r != nil {
		var params any
		if len(r.Params) > 0 {
			params = string(r.Params)
		}
		if err := t.exec("UPDATE deliveries SET step = ?, action = ?, params = ?, key = ?, lane = ? WHERE seq = ?",
			r.Step, r.Action, params, r.Key, r.Lane, wk.seq); err != nil {
			return 0, fmt.Errorf("retry: %w", err)
		}
		wk.action = r.Action
		if wk.lane != r.Lane {
			wk.lane = r.Lane
			t.enlist(wk)
		}
	}
	t.counts[countKey{wk.action, store.Ready}]++
	wk.state, wk.row = store.Ready, store.Ready
	t.wake = true
	return store.ChangedOK, t.also(wk, c.Also)
}

// also writes further deliveries of the same event.
func (t *tx) also(wk *work, ds []store.Delivery) error {
	if len(ds) == 0 {
		return nil
	}
	var event string
	if _, err := t.row([]any{&event}, "SELECT json FROM events WHERE seq = ?", wk.eventSeq); err != nil {
		return fmt.Errorf("read event: %w", err)
	}
	for i := range ds {
		more, err := t.insertDelivery(wk.eventSeq, &ds[i], []byte(event))
		if err != nil {
			return err
		}
		t.wake = t.wake || more.state == store.Ready
	}
	return nil
}

// cancel ends a delivery. The running attempt is closed in the history as
// cancelled; when its outcome comes it takes that place.
func (t *tx) cancel(wk *work) (store.Changed, error) {
	now := t.now.UnixNano()
	switch wk.state {
	case store.Leased:
		if err := t.writeLost(wk); err != nil {
			return 0, err
		}
		if err := t.writeAttempt(wk.seq, &store.Attempt{
			Number: wk.starts, Started: instant(wk.started), Ended: t.now, Outcome: "cancelled",
		}); err != nil {
			return 0, err
		}
		wk.settled, wk.kept = 0, wk.epoch
	case store.Ready, store.Held, store.Dead:
		if err := t.writeLost(wk); err != nil {
			return 0, err
		}
	default:
		return store.ChangedRefused, nil
	}
	if err := t.exec("UPDATE deliveries SET state = 6, starts = ?, epoch = ?, settled = ?, updated = ? WHERE seq = ?",
		wk.starts, wk.epoch, wk.settled, now, wk.seq); err != nil {
		return 0, fmt.Errorf("cancel: %w", err)
	}
	t.move(wk, store.Cancelled)
	return store.ChangedOK, nil
}

// expand writes a part of what a fan-out record stands for.
func (t *tx) expand(wk *work, c *store.Change) (store.Changed, error) {
	var reason string
	var count, expanded int
	if _, err := t.row([]any{&reason, &count, &expanded}, "SELECT reason, count, expanded FROM deliveries WHERE seq = ?", wk.seq); err != nil {
		return 0, fmt.Errorf("expand: %w", err)
	}
	if wk.state != store.Held || reason != store.ReasonFanOut || expanded != c.From {
		return store.ChangedRefused, nil
	}
	if err := t.also(wk, c.Also); err != nil {
		return 0, err
	}
	expanded += len(c.Also)
	state := store.Held
	if expanded >= count {
		state = store.Done
	}
	if err := t.exec("UPDATE deliveries SET state = ?, expanded = ?, updated = ? WHERE seq = ?",
		int64(state), expanded, t.now.UnixNano(), wk.seq); err != nil {
		return 0, fmt.Errorf("expand: %w", err)
	}
	t.move(wk, state)
	return store.ChangedOK, nil
}

// bury makes a delivery that waits dead, without an attempt. A lease that ran
// out is lost, and a late outcome of it must not count.
func (t *tx) bury(wk *work, c *store.Change) (store.Changed, error) {
	switch {
	case wk.state == store.Leased && wk.due <= t.now.UnixNano():
		wk.lost = append(slices.Clip(wk.lost), store.Attempt{
			Number: wk.starts, Started: instant(wk.started), Ended: t.now.UTC(), Outcome: "lost",
		})
		wk.epoch, wk.settled = t.db.newEpoch(), 1
	case wk.state != store.Ready:
		return store.ChangedRefused, nil
	}
	if err := t.writeLost(wk); err != nil {
		return 0, err
	}
	if err := t.exec("UPDATE deliveries SET state = 4, reason = ?, error = ?, starts = ?, epoch = ?, settled = ?, updated = ? WHERE seq = ?",
		c.Reason, c.Error, wk.starts, wk.epoch, wk.settled, t.now.UnixNano(), wk.seq); err != nil {
		return 0, fmt.Errorf("bury: %w", err)
	}
	t.move(wk, store.Dead)
	return store.ChangedOK, nil
}
