package sqlite

import (
	"container/heap"
	"crypto/sha256"
	"time"

	"github.com/google/uuid"

	"github.com/pointsman/pointsman/router/store"
)

// id16 is a delivery's id as the index knows it.
type id16 [16]byte

// canonical is a UUID in its usual form, the only one that can be written back
// as it was.
func canonical(id string) (u uuid.UUID, ok bool) {
	if len(id) != 36 {
		return u, false
	}
	u, err := uuid.Parse(id)
	return u, err == nil && u.String() == id
}

// shortID is the UUID itself, or a hash of an id that is none.
func shortID(id string) id16 {
	if u, ok := canonical(id); ok {
		return id16(u)
	}
	h := sha256.Sum256([]byte(id))
	return id16(h[:16])
}

// item is one ready or leased delivery: all that a claim needs to choose it and
// a settle to check it. There may be a million, so the rare and the large are
// behind pointers.
type item struct {
	seq      int64
	eventSeq int64
	id       id16
	// due is when a ready item may start or a leased one's lease runs out.
	due   int64
	epoch int64
	// started is when the running attempt began.
	started int64
	queue   *queue
	// pos is the place in the queue's heap, -1 while it is not in there: the
	// writer has it.
	pos    int32
	starts int32
	// place is that in the heap of the lane, if it has one.
	place  int32
	leased bool
	// rowLeased: the row says leased; stored: with this very epoch.
	rowLeased, stored bool
	// uncertain: the attempt numbered starts has no outcome, and what was
	// claimed since was released unrun.
	uncertain bool
	lane      *lane
	// lost are attempts found without outcome that are not in the history yet.
	lost []store.Attempt
	// fresh spares the first claim a read; nil when the cache was full.
	fresh *fresh
}

// fresh is a delivery as it was committed, with its event.
type fresh struct {
	delivery store.Delivery
	event    []byte
	size     int
}

// queue is the items of one action by due time, then age.
type queue struct {
	action string
	items  []*item
}

func (q *queue) Len() int { return len(q.items) }
func (q *queue) Less(i, j int) bool {
	a, b := q.items[i], q.items[j]
	return a.due < b.due || a.due == b.due && a.seq < b.seq
}

func (q *queue) Swap(i, j int) {
	q.items[i], q.items[j] = q.items[j], q.items[i]
	q.items[i].pos, q.items[j].pos = int32(i), int32(j)
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	it := x.(*item)
	it.pos = int32(len(q.items))
	q.items = append(q.items, it)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	n := len(q.items) - 1
	it := q.items[n]
	q.items[n], q.items = nil, q.items[:n]
	it.pos = -1
	return it
}

// index is every unfinished delivery that may run. DB.mu guards it.
type index struct {
	items  map[id16]*item
	queues map[string]*queue
	// lanes are those with something unfinished, held those that wait for the
	// attempt of a delivery that was cancelled.
	lanes map[string]*lane
	held  map[*lane]struct{}
	// cached counts the bytes of all fresh.
	cached int
	// ops are the last claims by operation id, oldest first in order.
	ops   map[store.OpID][]opLease
	order []store.OpID
}

// opLease is what a repeated claim looks for.
type opLease struct {
	// lost is the number of the lost attempt handed out with the lease, or 0.
	lost  int
	id    id16
	epoch int64
}

const (
	// cacheBytes bounds the fresh deliveries kept in memory.
	cacheBytes = 16 << 20
	// keptOps is how many claims can be repeated.
	keptOps = 256
)

func newIndex() *index {
	return &index{
		items: map[id16]*item{}, queues: map[string]*queue{}, lanes: map[string]*lane{}, held: map[*lane]struct{}{},
		ops: map[store.OpID][]opLease{},
	}
}

func (x *index) queue(action string) *queue {
	q := x.queues[action]
	if q == nil {
		q = &queue{action: action}
		x.queues[action] = q
	}
	return q
}

// put places an item that is in no queue; not into one while others of its lane
// are before it.
func (x *index) put(it *item) {
	x.items[it.id] = it
	if it.lane != nil && it.lane.head != it {
		return
	}
	it.queue = x.queue(it.queue.action)
	heap.Push(it.queue, it)
}

// take removes an item from its heap, so that no claim sees it.
func (x *index) take(it *item) {
	if it.pos >= 0 {
		heap.Remove(it.queue, int(it.pos))
	}
}

// drop forgets an item that is in no heap.
func (x *index) drop(it *item) {
	x.stale(it)
	if it.lane != nil {
		x.leave(it)
	}
	delete(x.items, it.id)
	// While the item was with the writer its queue may have been replaced, and
	// the new one has items.
	if q := it.queue; len(q.items) == 0 && x.queues[q.action] == q {
		delete(x.queues, q.action)
	}
}

// remember keeps a fresh delivery while there is room.
func (x *index) remember(it *item, d *store.Delivery, event []byte) {
	size := len(event) + len(d.Params) + len(d.Error) + 512
	if x.cached+size > cacheBytes {
		return
	}
	x.cached += size
	it.fresh = &fresh{delivery: *d, event: event, size: size}
}

// stale drops the kept copy of an item.
func (x *index) stale(it *item) {
	if it.fresh != nil {
		x.cached -= it.fresh.size
		it.fresh = nil
	}
}

// record keeps what a claim leased, so that it can be repeated.
func (x *index) record(op store.OpID, leased []opLease) {
	if op == "" || len(leased) == 0 {
		return
	}
	if _, ok := x.ops[op]; !ok {
		if len(x.order) == keptOps {
			delete(x.ops, x.order[0])
			x.order = append(x.order[:0], x.order[1:]...)
		}
		x.order = append(x.order, op)
	}
	x.ops[op] = leased
}

// nanos and instant convert between time.Time and the stored form.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
