package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

const (
	// step is how many rows one operation of retention looks at, so that the hot
	// path waits for a few milliseconds at most.
	step = 500
	// revisionGrace keeps a revision that was stored but is not in force yet.
	revisionGrace = time.Hour
)

// Retain implements store.Keeper. Ages count from when an event was received
// and from when a delivery finished.
func (db *DB) Retain(ctx context.Context, p store.Policy) (store.Retained, error) {
	var r store.Retained
	for _, f := range []func(context.Context, store.Policy, *store.Retained) error{
		db.retainMarks, db.retainDeliveries, db.retainEvents, db.retainSize, db.retainRest,
	} {
		if err := f(ctx, p, &r); err != nil {
			return r, fmt.Errorf("retain: %w", err)
		}
	}
	var err error
	if r.Bytes, err = db.size(ctx); err != nil {
		return r, fmt.Errorf("retain: %w", err)
	}
	db.full.Store(r.Full)
	return r, nil
}

// size is what the file holds, without its free pages.
func (db *DB) size(ctx context.Context) (int64, error) {
	var pages, free, page int64
	err := db.reads.QueryRowContext(ctx,
		"SELECT (SELECT page_count FROM pragma_page_count), (SELECT freelist_count FROM pragma_freelist_count), (SELECT page_size FROM pragma_page_size)").
		Scan(&pages, &free, &page)
	return (pages - free) * page, db.readError("measure store", err)
}

// retainMarks forgets identities and states that have expired.
func (db *DB) retainMarks(ctx context.Context, _ store.Policy, _ *store.Retained) error {
	for more := true; more; {
		if err := db.submit(ctx, func(t *tx) error {
			var err error
			more, err = t.expireMarks()
			return err
		}); err != nil {
			return err
		}
	}
	for n := int64(step); n == step; {
		if err := db.submit(ctx, func(t *tx) (err error) {
			err = t.exec("DELETE FROM states WHERE key IN (SELECT key FROM states WHERE expires > 0 AND expires <= ? LIMIT ?)", t.now.UnixNano(), step)
			n = t.conn.changes()
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// seqs reads one column of whole numbers.
func (t *tx) seqs(query string, args ...any) (out []int64, err error) {
	err = t.conn.query(func(s *stmt) error {
		out = append(out, s.integer(0))
		return nil
	}, query, args...)
	return out, err
}

// removeDelivery removes a finished delivery with its history.
func (t *tx) removeDelivery(seq int64) (store.DeliveryState, error) {
	var action, id string
	var state int64
	ok, err := t.row([]any{&id, &action, &state}, "SELECT id, action, state FROM deliveries WHERE seq = ?", seq)
	if err != nil || !ok || !store.DeliveryState(state).Finished() {
		return 0, err
	}
	if wk := t.work[shortID(id)]; wk != nil {
		return 0, nil // touched by this very group: next time
	}
	if err := t.exec("DELETE FROM attempts WHERE delivery = ?", seq); err != nil {
		return 0, err
	}
	if err := t.exec("DELETE FROM deliveries WHERE seq = ?", seq); err != nil {
		return 0, err
	}
	t.counts[countKey{action, store.DeliveryState(state)}]--
	return store.DeliveryState(state), nil
}

// removeEvent removes an event that no delivery needs any more.
func (t *tx) removeEvent(seq int64) (bool, error) {
	var revision string
	ok, err := t.row([]any{&revision}, `SELECT revision FROM events e WHERE seq = ?
		AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_seq = e.seq AND d.state NOT IN (3, 6))`, seq)
	if err != nil || !ok {
		return false, err
	}
	if revision != "" {
		t.revisions[revision]--
	}
	return true, t.exec("DELETE FROM events WHERE seq = ?", seq)
}

// retainDeliveries removes finished deliveries by age. It walks in the order of
// their making and stops at the first that is too young to have finished long
// enough ago.
func (db *DB) retainDeliveries(ctx context.Context, p store.Policy, r *store.Retained) error {
	if p.Deliveries <= 0 {
		return nil
	}
	cutoff := db.now().Add(-p.Deliveries).UnixNano()
	for at, more := int64(0), true; more; {
		removed, next := 0, at
		err := db.submit(ctx, func(t *tx) error {
			removed, more, next = 0, false, at
			seqs, err := t.seqs("SELECT seq FROM deliveries WHERE seq > ? ORDER BY seq LIMIT ?", at, step)
			if err != nil || len(seqs) == 0 {
				return err
			}
			next, more = seqs[len(seqs)-1], len(seqs) == step
			old, err := t.seqs("SELECT seq FROM deliveries WHERE seq > ? AND seq <= ? AND state IN (3, 4, 6) AND updated <= ?", at, next, cutoff)
			if err != nil {
				return err
			}
			for _, seq := range old {
				s, err := t.removeDelivery(seq)
				if err != nil {
					return err
				}
				if s != 0 {
					removed++
				}
			}
			var created int64
			if _, err := t.row([]any{&created}, "SELECT created FROM deliveries WHERE seq = ?", next); err != nil {
				return err
			}
			more = more && created <= cutoff
			return nil
		})
		if err != nil {
			return err
		}
		r.Deliveries += removed
		at = next
	}
	return nil
}

// retainEvents removes events by age.
func (db *DB) retainEvents(ctx context.Context, p store.Policy, r *store.Retained) error {
	if p.Events <= 0 {
		return nil
	}
	cutoff := db.now().Add(-p.Events).UnixNano()
	for at, more := int64(0), true; more; {
		removed, next := 0, at
		err := db.submit(ctx, func(t *tx) error {
			removed, more, next = 0, false, at
			old, err := t.seqs("SELECT seq FROM (SELECT seq, received FROM events WHERE seq > ? ORDER BY seq LIMIT ?) WHERE received <= ?", at, step, cutoff)
			if err != nil || len(old) == 0 {
				return err
			}
			next, more = old[len(old)-1], len(old) == step
			for _, seq := range old {
				ok, err := t.removeEvent(seq)
				if err != nil {
					return err
				}
				if ok {
					removed++
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		r.Events += removed
		at = next
	}
	return nil
}

// retainSize removes from the oldest on while the file is above the cap: first
// what is done, cancelled or unmatched, then what is dead.
func (db *DB) retainSize(ctx context.Context, p store.Policy, r *store.Retained) error {
	if p.Size <= 0 {
		return nil
	}
	for _, dead := range []bool{false, true} {
		for at, more := int64(0), true; more; {
			bytes, err := db.size(ctx)
			if err != nil || bytes <= p.Size {
				return err
			}
			var s store.Retained
			next := at
			err = db.submit(ctx, func(t *tx) (err error) {
				s = store.Retained{}
				next, err = t.shrink(at, bytes-p.Size, dead, &s)
				return err
			})
			if err != nil {
				return err
			}
			more, at = next > at, next
			r.Events += s.Events
			r.Deliveries += s.Deliveries
			r.DeadForSize += s.DeadForSize
		}
	}
	bytes, err := db.size(ctx)
	r.Full = bytes > p.Size
	return err
}

// shrink removes about over bytes, looking at events after at, and returns the
// last one it looked at: at itself when there is none.
func (t *tx) shrink(at, over int64, dead bool, r *store.Retained) (int64, error) {
	// Deliveries can outlive their event, so both tables tell what is there.
	seqs, err := t.seqs(`SELECT * FROM (SELECT seq FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2)
		UNION SELECT * FROM (SELECT event_seq FROM deliveries WHERE event_seq > ?1 ORDER BY event_seq LIMIT ?2)
		ORDER BY 1 LIMIT ?2`, at, step)
	if err != nil {
		return at, err
	}
	freed := int64(0)
	for _, seq := range seqs {
		at = seq
		ds, err := t.seqs("SELECT seq FROM deliveries WHERE event_seq = ? AND (state IN (3, 6) OR ? AND state = 4)", seq, dead)
		if err != nil {
			return at, err
		}
		for _, d := range ds {
			s, err := t.removeDelivery(d)
			if err != nil {
				return at, err
			}
			if s != 0 {
				freed += 256
				r.Deliveries++
			}
			if s == store.Dead {
				r.DeadForSize++
			}
		}
		var size int64
		if _, err := t.row([]any{&size}, "SELECT length(json) FROM events WHERE seq = ?", seq); err != nil {
			return at, err
		}
		ok, err := t.removeEvent(seq)
		if err != nil {
			return at, err
		}
		if ok {
			freed += size + 256
			r.Events++
		}
		if freed >= over {
			break
		}
	}
	return at, nil
}

// retainRest drops revisions that no event refers to and the ids of segments
// that are empty.
func (db *DB) retainRest(ctx context.Context, p store.Policy, _ *store.Retained) error {
	if err := db.submit(ctx, func(t *tx) error {
		if err := t.exec(`DELETE FROM revisions WHERE id <> ? AND stored <= ?
			AND NOT EXISTS (SELECT 1 FROM revision_refs f WHERE f.id = revisions.id AND f.n > 0)`,
			p.Keep, t.now.Add(-revisionGrace).UnixNano()); err != nil {
			return err
		}
		return t.exec("DELETE FROM revision_refs WHERE n <= 0 AND NOT EXISTS (SELECT 1 FROM revisions r WHERE r.id = revision_refs.id)")
	}); err != nil {
		return err
	}
	for segment, more := int64(-1), true; more; {
		next := segment
		if err := db.submit(ctx, func(t *tx) (err error) {
			next, more, err = t.dropSegment(segment)
			return err
		}); err != nil {
			return err
		}
		segment = next
	}
	return nil
}

// dropSegment looks at the first segment of event_ids after the given one. It
// stops at the first that is in use by an event: those after it are, too.
func (t *tx) dropSegment(after int64) (segment int64, more bool, err error) {
	seqs, err := t.seqs("SELECT segment FROM event_ids WHERE segment > ? ORDER BY segment LIMIT 1", after)
	if err != nil || len(seqs) == 0 {
		return after, false, err
	}
	segment = seqs[0]
	from, to := segment*segmentEvents, (segment+1)*segmentEvents
	var events, deliveries bool
	if _, err := t.row([]any{&events, &deliveries}, `SELECT EXISTS (SELECT 1 FROM events WHERE seq >= ?1 AND seq < ?2),
		EXISTS (SELECT 1 FROM deliveries WHERE event_seq >= ?1 AND event_seq < ?2)`, from, to); err != nil {
		return segment, false, err
	}
	if events || t.nextEvent < to {
		return segment, false, nil
	}
	if !deliveries {
		err = t.exec("DELETE FROM event_ids WHERE segment = ?", segment)
	}
	return segment, true, err
}
