package sqlite

import (
	"fmt"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// tx is one transaction of the writer. What it changes in memory is kept aside
// and put in place by apply, once it is durable.
type tx struct {
	*writer
	now          time.Time
	marks        map[id16]mark
	work         map[id16]*work
	lanes        map[string][]*work // what of work has a lane
	counts       map[countKey]int
	revisions    map[string]int
	nextEvent    int64
	nextDelivery int64
	bytes        int
	wake         bool
	// started are leases of deliveries that it wrote; left, the actions of which it
	// wrote some that are to be claimed.
	started []start
	left    map[string]bool
}

type countKey struct {
	action string
	state  store.DeliveryState
}

// work is one delivery as the transaction sees it.
type work struct {
	// it is the item taken from the index, nil if there was none.
	it            *item
	id            id16
	seq, eventSeq int64
	action        string
	// state is where it stands, row what its row says: a lease whose start is
	// not written yet is Ready there.
	state, row store.DeliveryState
	epoch, due int64
	started    int64
	starts     int
	settled    int
	uncertain  bool
	stored     bool
	lane       string
	// kept is the epoch of a lease during which it was cancelled and whose outcome
	// is yet to come, leaseEnd when that lease runs out; freed, of one whose has.
	kept, freed int64
	leaseEnd    int64
	// changed: a kept copy of it is out of date.
	changed  bool
	lost     []store.Attempt
	delivery *store.Delivery // of a new one
	event    []byte
}

func newTx(w *writer) *tx {
	return &tx{
		writer: w, now: w.db.now(), nextEvent: w.nextEvent, nextDelivery: w.nextDelivery,
		marks: map[id16]mark{}, work: map[id16]*work{}, counts: map[countKey]int{}, revisions: map[string]int{}, left: map[string]bool{},
	}
}

// find returns a delivery, nil if there is none. One that is in the index is
// taken from its heap until the transaction ends, so that no claim meets it.
func (t *tx) find(id string) (*work, error) { return t.findShort(shortID(id), id) }

func (t *tx) findShort(short id16, id string) (*work, error) {
	if wk := t.work[short]; wk != nil {
		return wk, nil
	}
	db := t.db
	db.mu.Lock()
	if it := db.index.items[short]; it != nil {
		db.index.take(it)
		wk := &work{
			it: it, id: short, seq: it.seq, eventSeq: it.eventSeq, action: it.queue.action, state: store.Ready, row: store.Ready,
			epoch: it.epoch, due: it.due, started: it.started, starts: int(it.starts), settled: 1,
			uncertain: it.uncertain, stored: it.stored, lost: it.lost,
		}
		if it.leased {
			wk.state, wk.settled = store.Leased, 0
		}
		if it.rowLeased {
			wk.row = store.Leased
		}
		if it.lane != nil {
			wk.lane = it.lane.name
		}
		db.mu.Unlock()
		t.work[short] = wk
		t.enlist(wk)
		return wk, nil
	}
	db.mu.Unlock()
	if id == "" {
		return nil, nil
	}
	wk := &work{id: short}
	var state int64
	ok, err := t.row([]any{&wk.seq, &wk.eventSeq, &wk.action, &state, &wk.epoch, &wk.starts, &wk.settled, &wk.uncertain, &wk.lane},
		"SELECT seq, event_seq, action, state, epoch, starts, settled, uncertain, lane FROM deliveries WHERE id = ?", id)
	if err != nil || !ok {
		return nil, err
	}
	wk.state = store.DeliveryState(state)
	wk.row = wk.state
	t.work[short] = wk
	t.enlist(wk)
	return wk, nil
}

// move accounts for a row's change of state.
func (t *tx) move(wk *work, to store.DeliveryState) {
	t.counts[countKey{wk.action, wk.row}]--
	t.counts[countKey{wk.action, to}]++
	wk.state, wk.row = to, to
}

// newEpoch gives an epoch larger than any before.
func (db *DB) newEpoch() int64 {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.epoch++
	return db.epoch
}

// flush writes what is summed up over the transaction.
func (t *tx) flush() error {
	for k, n := range t.counts {
		if n == 0 {
			continue
		}
		if err := t.exec("INSERT INTO counts (action, state, n) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
			k.action, int64(k.state), n); err != nil {
			return fmt.Errorf("count deliveries: %w", err)
		}
	}
	for id, n := range t.revisions {
		if err := t.exec("INSERT INTO revision_refs (id, n) VALUES (?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", id, n); err != nil {
			return fmt.Errorf("count revision: %w", err)
		}
	}
	return nil
}

// apply puts in place what the transaction changed.
func (t *tx) apply() {
	for k, m := range t.marks {
		t.writer.marks[k] = m
	}
	t.writer.nextEvent, t.writer.nextDelivery = t.nextEvent, t.nextDelivery
	t.writer.waiting = append(t.writer.waiting, t.started...)
	db := t.db
	db.mu.Lock()
	for _, wk := range t.work {
		t.place(wk)
	}
	due := t.electAll()
	db.mu.Unlock()
	if t.wake || due {
		db.signal()
	}
}

// place updates the index for one delivery; DB.mu is held.
func (t *tx) place(wk *work) {
	x, it := t.db.index, wk.it
	if it != nil && wk.kept != 0 {
		wk.leaseEnd = it.due // as the last Extend has it
	}
	if wk.state != store.Ready && wk.state != store.Leased {
		if it != nil {
			x.drop(it)
		}
		return
	}
	if it == nil {
		it = &item{id: wk.id, pos: -1}
		if wk.delivery != nil && wk.state == store.Ready {
			x.remember(it, wk.delivery, wk.event)
		}
	}
	if wk.changed {
		x.stale(it)
	}
	if !it.leased || wk.state != store.Leased {
		it.due = wk.due // else Extend may have moved it meanwhile
	}
	if it.queue == nil || it.queue.action != wk.action {
		it.queue = x.queue(wk.action)
	}
	it.seq, it.eventSeq, it.epoch, it.started, it.starts = wk.seq, wk.eventSeq, wk.epoch, wk.started, int32(wk.starts)
	it.leased, it.rowLeased, it.stored = wk.state == store.Leased, wk.row == store.Leased, wk.stored
	it.uncertain, it.lost = wk.uncertain, wk.lost
	if it.lane != nil && it.lane.name != wk.lane {
		x.leave(it)
	}
	if it.lane == nil && wk.lane != "" {
		x.join(it, wk.lane)
	}
	x.put(it)
}

// undo gives back what find took.
func (t *tx) undo() {
	db := t.db
	db.mu.Lock()
	for _, wk := range t.work {
		if wk.it != nil {
			db.index.put(wk.it)
		}
	}
	db.mu.Unlock()
	db.signal()
}
