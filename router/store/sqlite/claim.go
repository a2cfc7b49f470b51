package sqlite

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// start names a claim whose start record is to be written.
type start struct {
	id    id16
	epoch int64
	at    time.Time
}

// claimed is one lease in the making, with what the item was before.
type claimed struct {
	lease  store.Lease
	seq    int64
	event  int64
	before item
	item   *item
	// uncertain is the number of a lost attempt whose record must be read.
	uncertain int
}

// Claim implements store.Store.
func (db *DB) Claim(ctx context.Context, op store.OpID, wants []store.Want, ttl time.Duration) ([]store.Lease, time.Duration, error) {
	select {
	case <-db.closed:
		return nil, 0, store.ErrClosed
	default:
	}
	db.mu.Lock()
	now := db.look()
	if !db.entered {
		db.mu.Unlock()
		return nil, 0, errors.New("claim: no instance has entered the store")
	}
	held := db.index.lift(now)
	cs, repeated := db.again(op)
	if !repeated {
		cs = db.lease(op, wants, ttl, now)
	}
	wait := db.index.wait(wants, now)
	if held > 0 && (wait == 0 || held < wait) {
		wait = held
	}
	db.mu.Unlock()
	if len(cs) == 0 {
		return nil, wait, nil
	}
	if err := db.fill(ctx, cs); err != nil {
		if !repeated {
			db.giveBack(op, cs)
		}
		return nil, 0, db.readError("claim", err)
	}
	if !repeated {
		if err := db.recordStarts(ctx, cs, wants); err != nil {
			db.giveBack(op, cs)
			return nil, 0, fmt.Errorf("claim: %w", err)
		}
	}
	leases := make([]store.Lease, len(cs))
	for i := range cs {
		leases[i] = cs[i].lease
	}
	return leases, wait, nil
}

// again finds what the same operation leased before; DB.mu is held.
func (db *DB) again(op store.OpID) ([]claimed, bool) {
	refs, ok := db.index.ops[op]
	if !ok || op == "" {
		return nil, false
	}
	var cs []claimed
	for _, r := range refs {
		it := db.index.items[r.id]
		if it == nil || !it.leased || it.epoch != r.epoch {
			continue
		}
		c := claimed{seq: it.seq, event: it.eventSeq, item: it}
		if r.lost > 0 {
			if i := slices.IndexFunc(it.lost, func(a store.Attempt) bool { return a.Number == r.lost }); i >= 0 {
				lost := it.lost[i]
				c.lease.Lost = &lost
			} else {
				c.uncertain = r.lost
			}
		}
		c.fromItem(it)
		cs = append(cs, c)
	}
	return cs, true
}

// fromItem sets what the index knows better than the row.
func (c *claimed) fromItem(it *item) {
	d := &c.lease.Delivery
	d.State, d.Epoch, d.Due = store.Leased, uint64(it.epoch), instant(it.due)
	d.Starts = int(it.starts) - 1
	c.lease.Epoch, c.lease.Number = uint64(it.epoch), int(it.starts)
}

// lease takes what is due from the queues; DB.mu is held.
func (db *DB) lease(op store.OpID, wants []store.Want, ttl time.Duration, now time.Time) []claimed {
	var cs []claimed
	var leased []opLease
	for _, want := range wants {
		q := db.index.queues[want.Action]
		for n := 0; q != nil && n < want.N && len(q.items) > 0 && q.items[0].due <= now.UnixNano(); n++ {
			it := heap.Pop(q).(*item)
			c := claimed{seq: it.seq, event: it.eventSeq, before: *it, item: it}
			ref := opLease{id: it.id}
			switch {
			case it.leased:
				lost := store.Attempt{Number: int(it.starts), Started: instant(it.started), Ended: now.UTC(), Outcome: "lost"}
				it.lost = append(slices.Clip(it.lost), lost)
				it.uncertain = true
				c.lease.Lost, ref.lost = &lost, lost.Number
			case it.uncertain && len(it.lost) > 0:
				lost := it.lost[len(it.lost)-1]
				c.lease.Lost, ref.lost = &lost, lost.Number
			case it.uncertain:
				c.uncertain, ref.lost = int(it.starts), int(it.starts)
			}
			db.epoch++
			it.epoch, ref.epoch = db.epoch, db.epoch
			it.started, it.due = now.UnixNano(), now.Add(ttl).UnixNano()
			it.leased, it.stored = true, false
			it.starts++
			if it.fresh != nil {
				c.lease.Delivery, c.lease.Event = it.fresh.delivery, it.fresh.event
				db.index.stale(it)
			}
			c.fromItem(it)
			db.index.put(it)
			cs, leased = append(cs, c), append(leased, ref)
		}
	}
	slices.SortStableFunc(cs, func(a, b claimed) int {
		if a.before.due != b.before.due {
			return int(min(1, max(-1, a.before.due-b.before.due)))
		}
		return int(min(1, max(-1, a.seq-b.seq)))
	})
	db.index.record(op, leased)
	return cs
}

// wait is how long until the next of these actions is due; DB.mu is held.
func (x *index) wait(wants []store.Want, now time.Time) time.Duration {
	var wait time.Duration
	for _, want := range wants {
		q := x.queues[want.Action]
		if q == nil || len(q.items) == 0 {
			continue
		}
		// At least a nanosecond: 0 would say that nothing is to come.
		d := max(1, time.Duration(q.items[0].due-now.UnixNano()))
		if wait == 0 || d < wait {
			wait = d
		}
	}
	return wait
}

// fill reads from the file what the index does not hold.
func (db *DB) fill(ctx context.Context, cs []claimed) error {
	for i := range cs {
		c := &cs[i]
		if c.lease.Delivery.ID == "" {
			known := c.lease.Delivery
			row := db.hot.QueryRowContext(ctx, "SELECT "+deliveryColumns+", e.json FROM deliveries d JOIN events e ON e.seq = d.event_seq WHERE d.seq = ?", c.seq)
			var event []byte
			d, err := scanDelivery(row, &event)
			if err != nil {
				return fmt.Errorf("read delivery %d: %w", c.seq, err)
			}
			d.State, d.Epoch, d.Due, d.Starts = known.State, known.Epoch, known.Due, known.Starts
			c.lease.Delivery, c.lease.Event = d, event
		}
		if c.uncertain > 0 {
			a, err := scanAttempt(db.hot.QueryRowContext(ctx,
				"SELECT "+attemptColumns+" FROM attempts WHERE delivery = ? AND number = ?", c.seq, c.uncertain))
			if err != nil {
				return fmt.Errorf("read attempt %d of delivery %s: %w", c.uncertain, c.lease.Delivery.ID, err)
			}
			c.lease.Lost = &a
		}
	}
	return nil
}

// giveBack undoes leases that could not be handed out.
func (db *DB) giveBack(op store.OpID, cs []claimed) {
	db.mu.Lock()
	defer db.mu.Unlock()
	delete(db.index.ops, op)
	if i := slices.Index(db.index.order, op); i >= 0 {
		db.index.order = slices.Delete(db.index.order, i, i+1)
	}
	for i := range cs {
		c := &cs[i]
		it := c.item
		if db.index.items[it.id] != it || it.epoch != int64(c.lease.Epoch) || it.pos < 0 || it.stored {
			continue // moved on meanwhile; the lease will run out
		}
		db.index.take(it)
		b := &c.before
		it.due, it.started, it.starts, it.leased, it.stored = b.due, b.started, b.starts, b.leased, b.stored
		it.epoch, it.uncertain, it.lost = b.epoch, b.uncertain, b.lost
		db.index.put(it)
		if it.lane != nil {
			db.index.elect(it.lane)
		}
	}
}

// recordStarts has the starts written: at once where a want asks for it, with
// or soon after the next group elsewhere.
func (db *DB) recordStarts(ctx context.Context, cs []claimed, wants []store.Want) error {
	durable := map[string]bool{}
	for _, want := range wants {
		if want.Durable {
			durable[want.Action] = true
		}
	}
	var first, later []start
	for i := range cs {
		s := start{id: cs[i].item.id, epoch: int64(cs[i].lease.Epoch), at: time.Now()}
		if durable[cs[i].before.queue.action] {
			first = append(first, s)
		} else {
			later = append(later, s)
		}
	}
	if len(later) > 0 {
		select {
		case db.w.starts <- later:
		case <-db.closed:
			return store.ErrClosed
		}
	}
	if len(first) == 0 {
		return nil
	}
	return db.submit(ctx, func(t *tx) error { return t.writeStarts(first) })
}

// writeStarts stores the start of each claim that has not ended meanwhile.
func (t *tx) writeStarts(starts []start) error {
	for _, s := range starts {
		wk, err := t.findShort(s.id, "")
		if err != nil {
			return err
		}
		if wk == nil || wk.state != store.Leased || wk.epoch != s.epoch || wk.stored {
			continue
		}
		if err := t.writeLost(wk); err != nil {
			return err
		}
		if err := t.exec("UPDATE deliveries SET state = 2, starts = ?, epoch = ?, settled = 0, due = ?, updated = ?, room = ? WHERE seq = ?",
			wk.starts, wk.epoch, wk.due, t.now.UnixNano(), rowRoom(1+width(wk.epoch)), wk.seq); err != nil {
			return fmt.Errorf("write start: %w", err)
		}
		if err := t.writeAttempt(wk.seq, &store.Attempt{Number: wk.starts, Started: instant(wk.started), Outcome: "running"}); err != nil {
			return err
		}
		t.move(wk, store.Leased)
		wk.stored = true
	}
	return nil
}

// writeLost adds the attempts that were found lost to the history.
func (t *tx) writeLost(wk *work) error {
	for i := range wk.lost {
		if err := t.writeAttempt(wk.seq, &wk.lost[i]); err != nil {
			return err
		}
	}
	wk.lost = nil
	return nil
}

func (t *tx) writeAttempt(seq int64, a *store.Attempt) error {
	if err := t.exec("INSERT OR REPLACE INTO attempts (delivery, number, started, ended, outcome, error, output) VALUES (?, ?, ?, ?, ?, ?, ?)",
		seq, a.Number, nanos(a.Started), nanos(a.Ended), a.Outcome, a.Error, a.Output); err != nil {
		return fmt.Errorf("write attempt: %w", err)
	}
	t.bytes += 256 + len(a.Output) + len(a.Error)
	return nil
}

// Extend implements store.Store. It writes nothing: after a restart every
// lease is due anyway.
func (db *DB) Extend(_ context.Context, leases []store.LeaseRef, ttl time.Duration) ([]bool, error) {
	select {
	case <-db.closed:
		return nil, store.ErrClosed
	default:
	}
	held := make([]bool, len(leases))
	db.mu.Lock()
	defer db.mu.Unlock()
	due := db.look().Add(ttl).UnixNano()
	for i, ref := range leases {
		it := db.index.items[shortID(ref.ID)]
		if it == nil || !it.leased || uint64(it.epoch) != ref.Epoch {
			continue
		}
		held[i] = true
		it.due = due
		if it.pos >= 0 {
			heap.Fix(it.queue, int(it.pos))
		}
	}
	return held, nil
}
