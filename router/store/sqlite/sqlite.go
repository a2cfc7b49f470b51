// Package sqlite is the embedded store: one SQLite file (modernc.org/sqlite, no
// cgo), always durable, open to any SQL tool.
//
// It hides three things. One writer goroutine takes whatever waits and puts it
// into one transaction, so that many callers share one fsync. What may be
// claimed is an index in memory, rebuilt at Open, so that a claim writes
// nothing. And so is the set of remembered identities, because random keys on
// disk would cost a page each. The schema is in schema.go.
//
// Pages that retention frees are used again; the file itself does not shrink
// (VACUUM it while no router has it open). Retained.Bytes and the size cap leave
// free pages out.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/pointsman/pointsman/router/store"
)

var _ store.Full = (*DB)(nil)

// Config says where the store is.
type Config struct {
	// Path of the database file; made if missing, its directory is not.
	Path string
	// Now is the store's clock. Default time.Now.
	Now func() time.Time
	// Steady is a clock that goes on as Now does, and that nobody sets: leases and
	// pauses last as long by it when Now is set. Default: for time.Now that of the
	// process, else Now itself.
	Steady func() time.Duration
}

// DB is an open store. All methods are safe for concurrent use. An operation is
// carried through once the writer has begun it, even when its ctx ends.
type DB struct {
	path string
	now  func() time.Time
	lock *os.File

	reads *sql.DB // for operators
	hot   *sql.DB // for Load and Claim, so that operators do not hold them up
	side  *sql.DB // the checkpointer's connection

	w      *writer
	wake   chan struct{}
	full   atomic.Bool
	closed chan struct{}
	done   sync.WaitGroup
	once   sync.Once

	mu    sync.Mutex
	index *index
	clock clock
	// newest is the part of event_ids that is in memory alone.
	newest segment
	// epoch is the last one given: the boot number, then a counter.
	epoch   int64
	entered bool
}

// epochBits is the width of the counter in an epoch: 2^40 leases per boot.
const epochBits = 40

// Open opens or makes the store at cfg.Path. It is refused when another process
// has it open, when the file is not a pointsman store, and when a newer
// pointsman wrote it.
func Open(cfg Config) (*DB, error) {
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db := &DB{
		path: path, now: cfg.Now, index: newIndex(),
		wake: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	if db.now == nil {
		db.now = time.Now
	}
	db.clock = newClock(&cfg)
	if db.lock, err = lock(path); err != nil {
		return nil, err
	}
	if err := db.start(); err != nil {
		db.release()
		return nil, err
	}
	return db, nil
}

// start opens the connections, rebuilds the index and starts the goroutines.
func (db *DB) start() error {
	fresh, err := checkHeader(db.path)
	if err != nil {
		return err
	}
	if err := checkLog(db.path); err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("open store %s: %w", db.path, err) }
	// The writer's page cache is bounded at 32 MiB: its pages are few and hot.
	c, err := openConn(db.path, "busy_timeout = 5000", "temp_store = memory", "synchronous = full", "cache_size = -32768", "wal_autocheckpoint = 16000")
	if err != nil {
		return fail(err)
	}
	db.w = newWriter(db, c)
	var version int64
	if _, err := db.w.row([]any{&version}, "PRAGMA user_version"); err != nil {
		return fail(err)
	}
	// Reading rolls back what a journal tells to: a creation that was cut off after
	// the header was written is undone by now.
	if fresh || version == 0 {
		if err := create(c); err != nil {
			return fail(err)
		}
		version = schemaVersion
	}
	if err := checkVersion(db.path, version); err != nil {
		return err
	}
	if err := direct("PRAGMA journal_mode = WAL", c.script); err != nil {
		return fail(err)
	}
	// A log whose sync failed may be whole in memory and not on disk, and a sync
	// would not tell again: what is in it is written to the file and synced there
	// before anything relies on it.
	if err := direct("PRAGMA wal_checkpoint(PASSIVE)", c.script); err != nil {
		return fail(err)
	}
	if err := db.w.upgrade(version); err != nil {
		return fail(err)
	}
	for _, p := range []struct {
		to       **sql.DB
		n        int
		readOnly bool
	}{{&db.reads, 4, true}, {&db.hot, 2, true}, {&db.side, 1, false}} {
		pool, err := sql.Open("sqlite", dsn(db.path, p.readOnly, "synchronous(full)", "cache_size(-2048)", "wal_autocheckpoint(0)"))
		if err != nil {
			return fail(err)
		}
		pool.SetMaxOpenConns(p.n)
		pool.SetConnMaxIdleTime(time.Minute)
		*p.to = pool
	}
	if err := db.w.load(); err != nil {
		return fail(err)
	}
	db.done.Add(2)
	go db.w.run()
	go db.checkpoints()
	return nil
}

// Close writes what waits and closes the file. Later calls answer ErrClosed.
func (db *DB) Close() error {
	var err error
	db.once.Do(func() {
		close(db.closed)
		db.done.Wait()
		err = db.release()
	})
	return err
}

// release closes the connections and frees the lock.
func (db *DB) release() error {
	var errs []error
	for _, p := range []*sql.DB{db.side, db.hot, db.reads} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	if db.w != nil {
		errs = append(errs, db.w.conn.close()) // the last one, which empties the log into the file
	}
	// Closing is not enough: a child that is being forked has it until its exec.
	errs = append(errs, unix.Flock(int(db.lock.Fd()), unix.LOCK_UN), db.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close store %s: %w", db.path, err)
	}
	return nil
}

// Wake implements store.Waker.
func (db *DB) Wake() <-chan struct{} { return db.wake }

func (db *DB) signal() {
	select {
	case db.wake <- struct{}{}:
	default:
	}
}

// readError tells a read's failure in the terms of package store.
func (db *DB) readError(what string, err error) error {
	select {
	case <-db.closed:
		return store.ErrClosed
	default:
	}
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrNotFound) {
		return err
	}
	return fmt.Errorf("%s: read store %s: %w: %w", what, db.path, store.ErrUnavailable, err)
}
