package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	lib "modernc.org/sqlite/lib"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/crashpoint"
)

const (
	// linger is how long outcomes wait for new events, so that both share a
	// transaction, after one that brought busyEvents. Senders that were answered
	// together come back together, just after what waited has begun.
	linger     = 500 * time.Microsecond
	busyEvents = 8
	// groupOps is how many operations share a transaction at most.
	groupOps = 128
	// startDelay is how long after its claim a start record is written at the
	// latest; an attempt that settles before costs one write instead of two.
	startDelay = 50 * time.Millisecond
)

// op is one operation on its way through the writer. run is called in the
// transaction, and again if the transaction is repeated for this op alone; it
// must set its results anew each time.
type op struct {
	ctx  context.Context
	run  func(*tx) error
	err  error
	done chan struct{}
	// outcomes: it stores outcomes alone, for which no sender waits.
	outcomes bool
	// events is how many it brings.
	events int
}

// writer owns the writing connection. Only its goroutine uses its fields.
type writer struct {
	db   *DB
	conn *conn
	ops  chan *op
	// starts brings claims whose start record is written behind; waiting are they,
	// oldest first.
	starts  chan []start
	waiting []start

	marks        map[id16]mark
	nextEvent    int64
	nextDelivery int64
	// brought is when the last transaction with busyEvents ended.
	brought time.Time
	// broken is set for good when it is unknown what is on disk.
	broken error
	// commit ends the transaction; a test makes it fail.
	commit func() error
	dirty  chan struct{}
	bytes  int
}

func newWriter(db *DB, conn *conn) *writer {
	w := &writer{
		db: db, conn: conn, marks: map[id16]mark{},
		ops: make(chan *op, groupOps), starts: make(chan []start, 1024), dirty: make(chan struct{}, 1),
	}
	w.commit = func() error { return w.exec("COMMIT") }
	return w
}

// submit hands run to the writer and waits until it is durable.
func (db *DB) submit(ctx context.Context, run func(*tx) error) error {
	return db.hand(ctx, &op{run: run})
}

func (db *DB) hand(ctx context.Context, o *op) error {
	o.ctx, o.done = ctx, make(chan struct{})
	select {
	case <-db.closed:
		return store.ErrClosed
	default:
	}
	select {
	case db.w.ops <- o:
	case <-ctx.Done():
		return ctx.Err()
	case <-db.closed:
		return store.ErrClosed
	}
	select {
	case <-o.done:
		return o.err
	case <-db.closed:
	}
	// Closing: the writer answers what it has taken and what it finds queued,
	// unless this op came just after its last look.
	db.done.Wait()
	select {
	case <-o.done:
		return o.err
	default:
		return store.ErrClosed
	}
}

// run is the writer's goroutine.
func (w *writer) run() {
	defer w.db.done.Done()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		var ops []*op
		closing := false
		select {
		case o := <-w.ops:
			ops = w.await(w.gather(o))
		case s := <-w.starts:
			if len(w.waiting) == 0 {
				timer.Reset(startDelay)
			}
			w.waiting = append(w.waiting, s...)
			continue
		case <-timer.C:
		case <-w.db.closed:
			closing = true
			ops = w.gather()
			for more := true; more; {
				select {
				case s := <-w.starts:
					w.waiting = append(w.waiting, s...)
				default:
					more = false
				}
			}
		}
		var due []start
		due, w.waiting = ripe(w.waiting, closing)
		if len(due) > 0 {
			ops = append(ops, &op{ctx: context.Background(), run: func(t *tx) error { return t.writeStarts(due) }, done: make(chan struct{})})
		}
		if len(ops) > 0 {
			w.group(ops)
		}
		if len(w.waiting) > 0 {
			timer.Reset(max(time.Millisecond, startDelay-time.Since(w.waiting[0].at)))
		}
		if closing && len(ops) == 0 && len(w.waiting) == 0 {
			return
		}
	}
}

// gather adds what waits, without waiting itself.
func (w *writer) gather(ops ...*op) []*op {
	for len(ops) < groupOps {
		select {
		case o := <-w.ops:
			ops = append(ops, o)
		default:
			return ops
		}
	}
	return ops
}

// await lets operations that only store outcomes wait for new events, if many
// came just now.
func (w *writer) await(ops []*op) []*op {
	d := linger - time.Since(w.brought)
	if d <= 0 || slices.ContainsFunc(ops, func(o *op) bool { return !o.outcomes }) {
		return ops
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for len(ops) < groupOps {
		select {
		case o := <-w.ops:
			ops = append(ops, o)
			if !o.outcomes {
				return w.gather(ops...)
			}
		case <-timer.C:
			return ops
		case <-w.db.closed:
			return ops
		}
	}
	return ops
}

// ripe splits off the start records to write now.
func ripe(waiting []start, all bool) (due, rest []start) {
	n := 0
	for n < len(waiting) && (all || time.Since(waiting[n].at) >= startDelay-5*time.Millisecond) {
		n++
	}
	return waiting[:n:n], waiting[n:]
}

// group writes ops in one transaction. When that fails, each gets one of its
// own, so that a bad one does not fail its neighbours; but not when the disk is
// full or the store broken, which is nobody's fault.
func (w *writer) group(ops []*op) {
	err := w.transact(ops)
	if err != nil && len(ops) > 1 && w.broken == nil && !isCode(err, lib.SQLITE_FULL, lib.SQLITE_BUSY) {
		for _, o := range ops {
			if err := w.transact([]*op{o}); err != nil {
				o.err = err
			}
		}
	} else if err != nil {
		for _, o := range ops {
			o.err = err
		}
	}
	events := 0
	for _, o := range ops {
		events += o.events
		close(o.done)
	}
	if events >= busyEvents {
		w.brought = time.Now()
	}
}

// transact runs ops in one transaction. On an error nothing was written and
// memory is as before.
func (w *writer) transact(ops []*op) (err error) {
	if w.broken != nil {
		return w.broken
	}
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return w.failure(err)
	}
	t := newTx(w)
	for _, o := range ops {
		if o.err = o.ctx.Err(); o.err != nil {
			continue
		}
		if err = o.run(t); err != nil {
			break
		}
	}
	if err == nil {
		err = t.flush()
	}
	if err != nil {
		err = w.failure(err)
		if rerr := w.exec("ROLLBACK"); rerr != nil && w.broken == nil && !isCode(rerr, lib.SQLITE_ERROR) {
			w.breakOff(rerr)
		}
		t.undo()
		return err
	}
	if err = w.commit(); err != nil {
		// A full disk is found before anything of the transaction counts; after
		// any other failure it is unknown what is on disk, and asking again
		// would not tell (the kernel may have dropped the dirty pages).
		if rerr := w.exec("ROLLBACK"); !isCode(err, lib.SQLITE_FULL, lib.SQLITE_BUSY) || rerr != nil && !isCode(rerr, lib.SQLITE_ERROR) {
			w.breakOff(err)
		}
		t.undo()
		return w.failure(err)
	}
	t.apply()
	if w.bytes += t.bytes; w.bytes > checkpointBytes {
		w.bytes = 0
		select {
		case w.dirty <- struct{}{}:
		default:
		}
	}
	return nil
}

// breakOff ends all writing. After a write or sync that failed only a restart
// tells what is on disk; a damaged file is as damaged after it, and each start
// would run again what this one could not settle.
func (w *writer) breakOff(err error) {
	switch {
	case w.broken != nil:
	case isCode(err, lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB):
		w.broken = fmt.Errorf("write store %s: %w: the file is damaged and nothing is written any more; restore a copy: %w",
			w.db.path, store.ErrUnavailable, err)
	default:
		w.broken = fmt.Errorf("write store %s: %w: a write failed and %w; check the disk and restart: %w",
			w.db.path, store.ErrUnavailable, store.ErrBroken, err)
	}
}

// failure names the cause of a failed transaction, and breaks off after an
// error that leaves the file in doubt.
func (w *writer) failure(err error) error {
	if w.broken != nil {
		return w.broken
	}
	switch {
	case isCode(err, lib.SQLITE_IOERR, lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB):
		w.breakOff(err)
		return w.broken
	case isCode(err, lib.SQLITE_FULL):
		return fmt.Errorf("write store %s: %w: the disk is full: %w", w.db.path, store.ErrUnavailable, err)
	case isCode(err, lib.SQLITE_BUSY):
		return fmt.Errorf("write store %s: %w: another program holds its write lock: %w", w.db.path, store.ErrUnavailable, err)
	case isCode(err, lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_NOMEM):
		return fmt.Errorf("write store %s: %w: %w", w.db.path, store.ErrUnavailable, err)
	}
	return fmt.Errorf("write store %s: %w", w.db.path, err)
}

// isCode compares SQLite's primary result code.
func isCode(err error, codes ...int32) bool {
	var e *engineError
	return errors.As(err, &e) && slices.Contains(codes, e.code&0xff)
}

// exec runs a statement. Every statement that writes while the store is open
// passes here, and is so a point at which a torture run ends the process.
func (w *writer) exec(query string, args ...any) error {
	crashpoint.Here(query, crashpoint.Before)
	if err := w.conn.write(query, args...); err != nil {
		return err
	}
	crashpoint.Here(query, crashpoint.After)
	return nil
}

// row reads one row; false when there is none.
func (w *writer) row(dest []any, query string, args ...any) (found bool, err error) {
	err = w.conn.query(func(s *stmt) error {
		found = true
		return s.scan(dest...)
	}, query, args...)
	return found && err == nil, err
}

// load counts the boot and rebuilds what is kept in memory.
func (w *writer) load() error {
	var boot int64
	if err := w.exec("UPDATE meta SET value = value + 1 WHERE key = 'boot'"); err != nil {
		return err
	}
	if _, err := w.row([]any{&boot}, "SELECT value FROM meta WHERE key = 'boot'"); err != nil {
		return err
	}
	w.db.epoch = boot << epochBits
	if err := w.loadMarks(); err != nil {
		return err
	}
	// Sequence numbers are never used twice while anything refers to them.
	var event, ofDelivery, delivery int64
	if _, err := w.row([]any{&event, &ofDelivery, &delivery},
		"SELECT (SELECT MAX(seq) FROM events), (SELECT MAX(event_seq) FROM deliveries), (SELECT MAX(seq) FROM deliveries)"); err != nil {
		return err
	}
	w.nextEvent = max(w.nextEvent, event, ofDelivery) + 1
	w.nextDelivery = delivery + 1
	if err := w.loadIDs(); err != nil {
		return err
	}
	return w.loadItems()
}

// loadItems makes everything unfinished claimable; what was leased is due now
// and will be found lost.
func (w *writer) loadItems() error {
	now := w.db.now().UnixNano()
	// A row that was written in what is the future now is of a clock that was set
	// back: it waits as long as it was to wait then.
	err := w.conn.query(func(s *stmt) error {
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
	}, `SELECT seq, event_seq, id, action, state,
		CASE WHEN updated > ?1 THEN MIN(due, ?1 + MAX(due - updated, 0)) ELSE due END, epoch, starts, uncertain, lane,
		CASE WHEN state = 2 THEN (SELECT started FROM attempts a WHERE a.delivery = d.seq AND a.number = d.starts) END
		FROM deliveries d WHERE state IN (1, 2) AND state <> 3`, now)
	for _, l := range w.db.index.lanes {
		w.db.index.elect(l)
	}
	return err
}
