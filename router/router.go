// Package router takes events in and sees what they cause to a known end.
//
// The way of an event: Accept matches it, plans what it causes, and commits
// event, verdicts, rule state and deliveries in one store transaction. The way
// of a delivery: the commit leases it or the dispatcher claims it, deliver runs
// it through the Runner, decide turns how it ended into an outcome, and the
// outcome is settled. There is nothing beside these two ways, and no state
// between "seen" and "queued".
package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// Errors that callers of Accept branch on.
var (
	// ErrUnavailable: the event was not accepted because the store cannot commit
	// now, or too much is waiting. Send it again later.
	ErrUnavailable = errors.New("cannot accept durably now")
	// ErrStopping: the router is shutting down or has not started yet.
	ErrStopping = errors.New("not accepting events")
)

// Runner runs single attempts; actions/host is the one that uses processes.
// All methods are safe for concurrent use.
type Runner interface {
	// Run runs one attempt of a configured action and returns how it ended. A
	// response is the plugin's own word. An error with a method Crashed() bool
	// that is true means the process died while the attempt was open, and that
	// it and all it started are gone; with Unavailable() bool, that nothing was
	// started; with Late() bool, that the same is because the deadline of ctx had
	// passed. That is the end of a lease, which may be moved on meanwhile: nothing is sent to
	// a plugin after it. When ctx ends, Run asks the plugin to stop, and still prefers
	// its answer if one comes soon.
	Run(ctx context.Context, action string, req *actionv1.RunRequest) (*actionv1.RunResponse, error)
	// Validate checks computed parameters against the plugin's schema, as far as
	// it is known.
	Validate(action string, params json.RawMessage) error
	// Close ends every plugin, at the latest when ctx is done, and returns when
	// all their processes are gone. Open runs then return as crashed.
	Close(ctx context.Context)
}

// Config is what a router is made of.
type Config struct {
	Store    store.Full
	Runner   Runner
	Setup    Setup
	Instance store.Instance
	// Log defaults to slog.Default, Now to time.Now, Metrics to unregistered
	// ones.
	Log     *slog.Logger
	Now     func() time.Time
	Metrics *Metrics
	// Rand gives numbers in [0, 1) for jitter; default math/rand/v2. It must be
	// safe for concurrent use.
	Rand func() float64
	// FanOut is the greatest number of deliveries one event may cause before a
	// person is asked; default 1000.
	FanOut int
	// Lease is how long a claim lasts without being extended, default 15 s; it is
	// extended three times in that time.
	Lease time.Duration
	// Grace is how long attempts may go on after Run's context ends; default 10 s.
	Grace time.Duration
	// Retention says what housekeeping keeps; Policy.Keep is the router's.
	Retention store.Policy
	// Durability is what the store must offer; re-checked every 30 s.
	Durability store.Durability
}

// Setup is the part of the configuration that a reload replaces, as a whole.
type Setup struct {
	// Rules that are AsDryRun make the whole router dry: what they call for is
	// recorded, nothing is run, and deliveries that wait in the store wait on.
	Rules   *rules.Ruleset
	Actions map[string]Action
	// Revision records Rules; events refer to it.
	Revision store.Revision
}

// Action is how deliveries of one configured action are run.
type Action struct {
	Name string
	// Plugin is the plugin's name or path, for people.
	Plugin string
	// Concurrency is how many attempts run at a time.
	Concurrency int
	// Timeout of one attempt.
	Timeout time.Duration
	Retry   RetryPolicy
	// Hold an attempt whose outcome a crash swallowed, instead of running it
	// again.
	Hold bool
	// DryRun records deliveries without running them.
	DryRun bool
}

// RetryPolicy bounds the attempts of a delivery.
type RetryPolicy struct {
	// Attempts counts the first.
	Attempts int
	// MaxAge counts from the acceptance or the last retry by hand.
	MaxAge time.Duration
	// Min and Max bound the delay between attempts: full jitter over
	// min(Max, Min * 2^n).
	Min, Max time.Duration
}

// Router is one running router.
type Router struct {
	cfg     Config
	log     *slog.Logger
	metrics *Metrics
	setup   atomic.Pointer[Setup]
	commits *committer
	waiting waiting
	settles *settler
	health  health
	slow    quarantine
	pauses  pauses

	// doomed ends, with the cause, when this process cannot go on; see doom.
	doomed  context.Context
	endWith context.CancelCauseFunc

	// decoding has a token for each large event that is decoded now.
	decoding  chan struct{}
	accepting atomic.Bool
	started   chan struct{} // closed when it accepts for the first time
	kick      chan struct{} // something changed for the dispatcher

	mu      sync.Mutex
	running map[string]*attempt // by delivery id
	slots   slots
	shares  map[string]*share // by action
	wg      sync.WaitGroup    // one per running attempt
}

// New makes a router; Run starts it.
func New(cfg Config) (*Router, error) {
	if cfg.Store == nil || cfg.Runner == nil || cfg.Setup.Rules == nil {
		return nil, errors.New("router: Store, Runner and Setup.Rules are required")
	}
	cfg = cfg.withDefaults()
	r := &Router{
		slow:     quarantine{now: cfg.Now},
		cfg:      cfg,
		log:      cfg.Log,
		metrics:  cfg.Metrics,
		started:  make(chan struct{}),
		decoding: make(chan struct{}, maxDecoded),
		kick:     make(chan struct{}, 1),
		running:  make(map[string]*attempt),
		slots:    newSlots(),
		shares:   make(map[string]*share),
	}
	r.doomed, r.endWith = context.WithCancelCause(context.Background())
	r.setup.Store(&cfg.Setup)
	r.commits = newCommitter(r)
	r.settles = newSettler(r)
	r.metrics.router.Store(r)
	r.health.set(reasonStarting, "starting")
	return r, nil
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(prometheus.NewRegistry())
	}
	if c.FanOut == 0 {
		c.FanOut = 1000
	}
	if c.Lease == 0 {
		c.Lease = 15 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	return c
}

// Run enters the store, accepts and delivers until ctx ends, then drains:
// nothing is accepted or claimed any more, running attempts get Grace to end,
// the rest is stopped and released without counting. It returns nil after a
// drain and an error when the router cannot go on: store.ErrFenced, after which
// running attempts are stopped at once, and store.ErrBroken, after which they get
// Grace as well.
func (r *Router) Run(ctx context.Context) error {
	if err := r.enter(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	// Everything below outlives ctx: work that was begun is finished in order.
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	var background sync.WaitGroup
	committed := make(chan struct{})
	go func() { defer close(committed); r.commits.run(work) }()
	background.Go(func() { r.settles.run() })
	background.Go(func() { r.keepLeases(work) })
	background.Go(func() { r.keepHouse(work) })
	background.Go(func() { r.keepPauses(work) })

	r.openSlots()
	r.accepting.Store(true)
	close(r.started)
	r.health.clear(reasonStarting)
	r.log.Info("router started", "rules", len(r.setup.Load().Rules.Rules()), "actions", len(r.setup.Load().Actions),
		"dry_run", r.setup.Load().Rules.DryRun())
	routing, endRouting := context.WithCancel(ctx)
	defer endRouting()
	defer context.AfterFunc(r.doomed, endRouting)()
	err := r.dispatch(routing)
	stopping := time.Now()
	if err != nil { // another has taken over and will run them again
		r.cancelAll(errLeaseLost)
	}

	r.health.set(reasonStopping, "shutting down")
	r.accepting.Store(false)
	r.closeSlots()
	r.commits.close() // what is in the queue is committed still
	r.drain()
	r.settles.close()
	select {
	case <-committed:
	case <-time.After(time.Until(stopping.Add(r.cfg.Grace))):
	}
	stop(errStopping)
	<-committed
	background.Wait()
	if err == nil {
		err = context.Cause(r.doomed)
	}
	return err
}

// doom ends Run when err says that only a new start can go on with the store: it
// is as if Run's context ended, but Run returns err.
func (r *Router) doom(err error) {
	if errors.Is(err, store.ErrBroken) && r.doomed.Err() == nil {
		r.log.Error("the router ends: only a new start can tell what is stored", "error", err)
		r.endWith(err)
	}
}

// enter registers this start, waiting for a store that cannot be reached yet. One
// that turns out to promise less than it must is refused.
func (r *Router) enter(ctx context.Context) error {
	pause := 100 * time.Millisecond
	for {
		err := r.refuseShort(ctx)
		if err == nil {
			_, err = r.cfg.Store.Enter(ctx, r.cfg.Instance)
		}
		if err == nil {
			err = r.cfg.Store.PutRevision(ctx, r.setup.Load().Revision)
			if err == nil {
				err = r.loadPauses(ctx)
			}
			if err == nil {
				r.health.clear(reasonStore)
				return nil
			}
		}
		if !errors.Is(err, store.ErrUnavailable) {
			return fmt.Errorf("enter the store: %w", err)
		}
		r.health.set(reasonStore, err.Error())
		r.log.Warn("store is unavailable, waiting", "error", err)
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// refuseShort returns an error when the store may not be used as it is set.
func (r *Router) refuseShort(ctx context.Context) error {
	short, err := r.cfg.Store.Shortfalls(ctx, r.cfg.Durability)
	if err != nil {
		return err
	}
	var fatal []error
	for _, s := range short {
		if s.Fatal {
			fatal = append(fatal, fmt.Errorf("%s is %s, want %s", s.Setting, s.Value, s.Want))
		}
	}
	return errors.Join(fatal...)
}

// drain gives running attempts the grace, then asks them to stop, then ends
// their processes. Each is settled either way.
func (r *Router) drain() {
	done := make(chan struct{})
	go func() { r.wg.Wait(); close(done) }()
	ask := r.cfg.Grace - min(2*time.Second, r.cfg.Grace/4)
	select {
	case <-done:
	case <-time.After(ask):
		r.log.Warn("grace is nearly over, stopping attempts", "running", r.Running())
		r.cancelAll(errStopping)
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.cfg.Grace-ask)
	defer cancel()
	select {
	case <-done:
	case <-ctx.Done():
	}
	r.cfg.Runner.Close(ctx)
	// A store that is away must not keep the process from ending; what it did not
	// learn is found by the next start.
	giveUp := time.AfterFunc(time.Second, r.settles.abandon)
	defer giveUp.Stop()
	<-done
}

// Reload replaces rules and actions at once. Events accepted from now on are
// matched against the new rules; queued deliveries keep their parameters. When
// it returns an error nothing has changed.
func (r *Router) Reload(ctx context.Context, s Setup) error {
	if err := r.cfg.Store.PutRevision(ctx, s.Revision); err != nil {
		return fmt.Errorf("store the revision: %w", err)
	}
	r.setup.Store(&s)
	r.slow.clear()
	r.mu.Lock()
	clear(r.slots.resting) // perhaps they are mended now
	r.mu.Unlock()
	r.poke()
	return nil
}

// Started is closed when Run accepts events.
func (r *Router) Started() <-chan struct{} { return r.started }

// Setup returns what is in force.
func (r *Router) Setup() Setup { return *r.setup.Load() }

// Running returns how many attempts run now.
func (r *Router) Running() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.running)
}

// poke wakes the dispatcher.
func (r *Router) poke() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// sleep waits for d; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
