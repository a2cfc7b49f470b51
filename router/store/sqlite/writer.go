package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/crashpoint"
)

const (
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
}

// mark is a remembered identity in memory; the row (expires, seq) has the rest.
type mark struct{ seq, expires int64 }

// writer owns the writing connection. Only its goroutine uses its fields.
type writer struct {
	db    *DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	ops   chan *op
	// starts brings claims whose start record is written behind; waiting are they,
	// oldest first.
	starts  chan []start
	waiting []start

	marks        map[id16]mark
	nextEvent    int64
	nextDelivery int64
	// broken is set for good when it is unknown what is on disk.
	broken error
	// commit ends the transaction; a test makes it fail.
	commit func() error
	dirty  chan struct{}
	bytes  int
}

func newWriter(db *DB, conn *sql.Conn) *writer {
	w := &writer{
		db: db, conn: conn, stmts: map[string]*sql.Stmt{}, marks: map[id16]mark{},
		ops: make(chan *op, groupOps), starts: make(chan []start, 1024), dirty: make(chan struct{}, 1),
	}
	w.commit = func() error { return w.exec("COMMIT") }
	return w
}

// submit hands run to the writer and waits until it is durable.
func (db *DB) submit(ctx context.Context, run func(*tx) error) error {
	o := &op{ctx: ctx, run: run, done: make(chan struct{})}
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
			ops = w.gather(o)
		case s := <-w.starts:
			if len(w.waiting) == 0 {
				timer.Reset(startDelay)
			}
			w.waiting = append(w.waiting, s...)
			continue
		case <-timer.C:
		case <-w.db.closed:
			closing = true
			ops = w.gather(nil)
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

// gather takes what waits, without waiting itself.
func (w *writer) gather(first *op) []*op {
	var ops []*op
	if first != nil {
		ops = append(ops, first)
	}
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
	for _, o := range ops {
		close(o.done)
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

// breakOff ends all writing.
func (w *writer) breakOff(err error) {
	if w.broken == nil {
		w.broken = fmt.Errorf("write store %s: %w: an earlier write failed and it is unknown what reached the disk; check the disk and restart: %w",
			w.db.path, store.ErrUnavailable, err)
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
func isCode(err error, codes ...int) bool {
	var e *driver.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code()&0xff == c {
			return true
		}
	}
	return false
}

// stmt returns the prepared statement of query.
func (w *writer) stmt(query string) (*sql.Stmt, error) {
	if s := w.stmts[query]; s != nil {
		return s, nil
	}
	s, err := w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	w.stmts[query] = s
	return s, nil
}

func (w *writer) exec(query string, args ...any) error {
	_, err := w.execN(query, args...)
	return err
}

// execN also tells how many rows changed. Every statement that writes while the
// store is open passes here, and is so a point at which a torture run ends the
// process.
func (w *writer) execN(query string, args ...any) (int64, error) {
	s, err := w.stmt(query)
	if err != nil {
		return 0, err
	}
	crashpoint.Here(query, crashpoint.Before)
	r, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	crashpoint.Here(query, crashpoint.After)
	return r.RowsAffected()
}

// row reads one row; false when there is none.
func (w *writer) row(dest []any, query string, args ...any) (bool, error) {
	s, err := w.stmt(query)
	if err != nil {
		return false, err
	}
	err = s.QueryRowContext(context.Background(), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func (w *writer) close() error {
	var errs []error
	for _, s := range w.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.conn.Close())...)
}

// load counts the boot and rebuilds what is kept in memory.
func (w *writer) load(ctx context.Context) error {
	var boot int64
	if err := w.exec("UPDATE meta SET value = value + 1 WHERE key = 'boot'"); err != nil {
		return err
	}
	if _, err := w.row([]any{&boot}, "SELECT value FROM meta WHERE key = 'boot'"); err != nil {
		return err
	}
	w.db.epoch = boot << epochBits
	if err := w.loadMarks(ctx); err != nil {
		return err
	}
	// Sequence numbers are never used twice while anything refers to them.
	var event, ofDelivery, delivery sql.NullInt64
	if _, err := w.row([]any{&event, &ofDelivery, &delivery},
		"SELECT (SELECT MAX(seq) FROM events), (SELECT MAX(event_seq) FROM deliveries), (SELECT MAX(seq) FROM deliveries)"); err != nil {
		return err
	}
	w.nextEvent = max(w.nextEvent, event.Int64, ofDelivery.Int64) + 1
	w.nextDelivery = delivery.Int64 + 1
	return w.loadItems(ctx)
}

func (w *writer) loadMarks(ctx context.Context) error {
	rows, err := w.conn.QueryContext(ctx, "SELECT expires, seq, key FROM dedup WHERE expires > ?", w.db.now().UnixNano())
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var m mark
		var key sql.RawBytes
		if err := rows.Scan(&m.expires, &m.seq, &key); err != nil {
			return err
		}
		w.marks[id16(key)] = m
		w.nextEvent = max(w.nextEvent, m.seq)
	}
	return rows.Err()
}

// loadItems makes everything unfinished claimable; what was leased is due now
// and will be found lost.
func (w *writer) loadItems(ctx context.Context) error {
	now := w.db.now().UnixNano()
	rows, err := w.conn.QueryContext(ctx, `SELECT seq, event_seq, id, action, state, due, epoch, starts, uncertain, lane,
		CASE WHEN state = 2 THEN (SELECT started FROM attempts a WHERE a.delivery = d.seq AND a.number = d.starts) END
		FROM deliveries d WHERE state IN (1, 2) AND state <> 3`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		it := &item{pos: -1}
		var id, action, lane string
		var state int64
		var started sql.NullInt64
		if err := rows.Scan(&it.seq, &it.eventSeq, &id, &action, &state, &it.due, &it.epoch, &it.starts, &it.uncertain, &lane, &started); err != nil {
			return err
		}
		it.id, it.queue, it.started = shortID(id), w.db.index.queue(action), started.Int64
		if store.DeliveryState(state) == store.Leased {
			it.leased, it.rowLeased, it.stored, it.due = true, true, true, now
			w.db.epoch++
			it.epoch = w.db.epoch // the old lease is nobody's any more
		}
		if lane != "" {
			w.db.index.join(it, lane)
		}
		w.db.index.put(it)
	}
	for _, l := range w.db.index.lanes {
		w.db.index.elect(l)
	}
	return rows.Err()
}
