// Package redis keeps a router's data in a Redis server, which several routers
// may share: those with one name take deliveries from one queue, each leased by
// one of them at a time.
//
// Every change is one Lua script (scripts/*.lua), so it happens as a whole and
// at one time of the server's clock; what never changes of an event is set in the
// same transaction as the script that accepts it. Every script may be repeated: after a lost
// reply the same call answers the same and changes nothing more.
//
// Times are kept in microseconds.
package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/pointsman/pointsman/router/store"
)

const (
	// timeout bounds each way of a call; a ctx may end it sooner.
	timeout = 5 * time.Second
	// connections is how many the pool holds at most.
	connections = 16
)

var _ store.Full = (*DB)(nil)

// Config says which server, and whose data.
type Config struct {
	// URL is redis://[user:password@]host:port/db, or rediss:// for TLS.
	URL string
	// Name is the router's: it names the keys.
	Name string
	// Now replaces the server's clock for leases, due times and windows; a test's
	// clock must not run ahead of real time by less than it says it does. Default
	// nil: the server's clock.
	Now func() time.Time
}

// DB is a store in Redis. All methods are safe for concurrent use. What a call
// answers is as durable as the server's settings say; see Shortfalls.
type DB struct {
	keys    keys
	now     func() time.Time
	client  *goredis.Client
	scripts scripts
	wake    chan struct{}
	closed  chan struct{}
	once    sync.Once
	stop    context.CancelFunc // ends listen
	done    sync.WaitGroup

	mu sync.Mutex
	// instance and start are what Enter registered.
	instance string
	start    uint64
}

// Open prepares a store. It does not wait for the server: until that answers,
// every method returns store.ErrUnavailable. The URL is never part of an error.
func Open(cfg Config) (*DB, error) {
	if cfg.Name == "" {
		return nil, errors.New("open redis store: no name")
	}
	opt, err := goredis.ParseURL(cfg.URL)
	if err != nil {
		// The error of the parser would show the password.
		return nil, errors.New("open redis store: not a URL of Redis (write redis://host:6379/0)")
	}
	opt.MaxRetries = -1 // a script is repeated here, knowingly
	opt.DisableIdentity = true
	opt.Protocol = 2
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	opt.DialTimeout, opt.ReadTimeout, opt.WriteTimeout = 2*time.Second, timeout, timeout
	opt.DialerRetries = 1
	opt.ContextTimeoutEnabled = true
	opt.PoolSize = connections
	src, err := loadScripts()
	if err != nil {
		return nil, fmt.Errorf("open redis store: %w", err)
	}
	db := &DB{
		keys: keysOf(cfg.Name), now: cfg.Now, client: goredis.NewClient(opt), scripts: src,
		wake: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	// The client would write lines of its own to stderr; every error it tells
	// there is returned to the caller as well.
	logging.Disable()
	ctx, cancel := context.WithCancel(context.Background())
	db.stop = cancel
	db.done.Go(func() { db.listen(ctx) })
	return db, nil
}

// Close ends the connections. Later calls answer ErrClosed.
func (db *DB) Close() error {
	var err error
	db.once.Do(func() {
		close(db.closed)
		db.stop()
		db.done.Wait()
		if err = db.client.Close(); err != nil {
			err = fmt.Errorf("close redis store: %w", err)
		}
	})
	return err
}

// Wake implements store.Waker.
func (db *DB) Wake() <-chan struct{} { return db.wake }

func (db *DB) signal() {
	select {
	case db.wake <- struct{}{}:
	default:
	}
}

// entered returns what Enter registered.
func (db *DB) entered() (instance string, start uint64, err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.start == 0 {
		return "", 0, errors.New("no instance has entered the store")
	}
	return db.instance, db.start, nil
}

// clock is the first argument of every script.
func (db *DB) clock() int64 {
	if db.now == nil {
		return 0
	}
	return micros(db.now())
}

// isClosed says whether Close was called.
func (db *DB) isClosed() bool {
	select {
	case <-db.closed:
		return true
	default:
		return false
	}
}

// fail tells an error of the client in the terms of package store.
func (db *DB) fail(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case db.isClosed():
		return store.ErrClosed
	case errors.Is(err, context.Canceled),
		errors.Is(err, store.ErrFenced), errors.Is(err, store.ErrFull), errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%s: %w", what, err)
	}
	// A deadline too: the server was too slow, and a net.Dialer's own time-out
	// cannot be told from one of ctx.
	return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err)
}
