package sqlite

import (
	"container/heap"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// lane is the unfinished deliveries that must not meet. Only head is in a queue;
// the others are in no heap but this one.
type lane struct {
	name string
	// items are all of them, the smallest seq first.
	items laneHeap
	// head is the one that may be claimed or is leased; nil while the lane is held.
	head *item
	hold hold
}

// hold keeps a lane for an attempt whose delivery was cancelled while it ran.
type hold struct {
	id         id16
	seq, epoch int64
	// until is when the lease would have run out; 0: the lane is not held.
	until int64
}

// laneHeap orders items by seq.
type laneHeap []*item

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].seq < h[j].seq }
func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = int32(i), int32(j)
}

// Push implements heap.Interface.
func (h *laneHeap) Push(x any) {
	it := x.(*item)
	it.place = int32(len(*h))
	*h = append(*h, it)
}

// Pop implements heap.Interface.
func (h *laneHeap) Pop() any {
	n := len(*h) - 1
	it := (*h)[n]
	(*h)[n], *h = nil, (*h)[:n]
	return it
}

// lane returns a lane by its name, a new one if there is none.
func (x *index) lane(name string) *lane {
	l := x.lanes[name]
	if l == nil {
		l = &lane{name: name}
		x.lanes[name] = l
	}
	return l
}

// join gives an item that is in no queue its place in a lane. elect must follow.
func (x *index) join(it *item, name string) {
	it.lane = x.lane(name)
	heap.Push(&it.lane.items, it)
	if it.leased {
		it.lane.head = it
	}
}

// leave takes an item out of its lane. elect must follow.
func (x *index) leave(it *item) {
	l := it.lane
	heap.Remove(&l.items, int(it.place))
	if l.head == it {
		l.head = nil
	}
	it.lane = nil
}

// elect lets the delivery go whose turn it is: the one that is leased, or else
// the first. It tells whether that is another than before, and forgets a lane
// that is empty.
func (x *index) elect(l *lane) bool {
	var first *item
	if len(l.items) > 0 && l.hold.until == 0 {
		first = l.items[0]
	}
	if l.head == first || l.head != nil && l.head.leased {
		if len(l.items) == 0 && l.hold.until == 0 {
			delete(x.lanes, l.name)
		}
		return false
	}
	if l.head != nil {
		x.take(l.head)
	}
	if l.head = first; first == nil {
		return false
	}
	x.put(first)
	return true
}

// keep holds a lane for an attempt that may still run.
func (x *index) keep(l *lane, h hold) {
	l.hold = h
	x.held[l] = struct{}{}
}

// free ends the hold of a lane. elect must follow.
func (x *index) free(l *lane) {
	l.hold = hold{}
	delete(x.held, l)
}

// lift ends the holds that are over by now, and tells how long until the next
// one is; 0: there is none.
func (x *index) lift(now time.Time) time.Duration {
	var wait time.Duration
	for l := range x.held {
		if d := time.Duration(l.hold.until - now.UnixNano()); d > 0 {
			if wait == 0 || d < wait {
				wait = d
			}
			continue
		}
		if len(l.items) > 0 {
			l.items[0].due = max(l.items[0].due, l.hold.until)
		}
		x.free(l)
		x.elect(l)
	}
	return wait
}

// overlapped says which delivery keeps a lane, as the transaction sees it: the
// first that is unfinished. Empty: none does.
func (t *tx) overlapped(name string) (string, error) {
	seq := int64(-1)
	note := func(n int64) {
		if seq < 0 || n < seq {
			seq = n
		}
	}
	for _, wk := range t.lanes[name] {
		if wk.lane == name && (wk.state == store.Ready || wk.state == store.Leased) {
			note(wk.seq)
		}
	}
	db := t.db
	db.mu.Lock()
	if l := db.index.lanes[name]; l != nil {
		for _, it := range l.items {
			if t.work[it.id] != nil {
				continue
			}
			note(it.seq)
			if it.place == 0 {
				break // no other is before the first
			}
		}
	}
	db.mu.Unlock()
	if seq < 0 {
		return "", nil
	}
	var id string
	if _, err := t.row([]any{&id}, "SELECT id FROM deliveries WHERE seq = ?", seq); err != nil {
		return "", fmt.Errorf("read lane: %w", err)
	}
	return id, nil
}

// enlist notes that the transaction has a delivery of a lane in its hands.
func (t *tx) enlist(wk *work) {
	if wk.lane == "" {
		return
	}
	if t.lanes == nil {
		t.lanes = map[string][]*work{}
	}
	t.lanes[wk.lane] = append(t.lanes[wk.lane], wk)
}

// electAll lets those go whose turn has come by the transaction, and tells
// whether there is one; DB.mu is held.
func (t *tx) electAll() (due bool) {
	x := t.db.index
	for name, works := range t.lanes {
		for _, wk := range works {
			l := x.lanes[name]
			switch {
			case l == nil:
			case wk.kept != 0 && wk.leaseEnd > t.now.UnixNano():
				x.keep(l, hold{id: wk.id, seq: wk.seq, epoch: wk.kept, until: wk.leaseEnd})
			case wk.freed != 0 && l.hold.id == wk.id && l.hold.epoch == wk.freed:
				x.free(l)
			}
		}
		if l := x.lanes[name]; l != nil && x.elect(l) {
			due = true
		}
	}
	return due
}

// waits fills in which delivery each one waits for.
func (db *DB) waits(ctx context.Context, ds []store.Delivery) error {
	behind := map[int64][]int{} // by the seq of what they wait for
	db.mu.Lock()
	for i := range ds {
		if ds[i].Lane == "" || ds[i].State != store.Ready {
			continue
		}
		it := db.index.items[shortID(ds[i].ID)]
		switch {
		case it == nil || it.lane == nil || it.leased || it.lane.head == it:
		case it.lane.head != nil:
			behind[it.lane.head.seq] = append(behind[it.lane.head.seq], i)
		case it.lane.hold.id != it.id:
			behind[it.lane.hold.seq] = append(behind[it.lane.hold.seq], i)
		}
	}
	db.mu.Unlock()
	for seq, waiting := range behind {
		var id string
		err := db.reads.QueryRowContext(ctx, "SELECT id FROM deliveries WHERE seq = ?", seq).Scan(&id)
		if err != nil && !errors.Is(err, sql.ErrNoRows) { // none: removed meanwhile
			return fmt.Errorf("read lane: %w", err)
		}
		for _, i := range waiting {
			ds[i].Waits = id
		}
	}
	return nil
}
