package host

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// Restart policy: the first restart after a healthy time is at once, later ones
// wait, doubling.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second
	healthy    = 60 * time.Second
)

// State is where the plugin of an action stands.
type State string

// The states of a plugin.
const (
	// Stopped: not started yet, or ended and not needed since.
	Stopped  State = "stopped"
	Starting State = "starting"
	Running  State = "running"
	// Backoff: it crashed, and the next start waits.
	Backoff State = "backoff"
	// Open: it crashed too often; see Config.CircuitCrashes. Runs are refused
	// unsent until the pause is over, then one at a time is tried.
	Open State = "open"
	// Failed: it cannot be started as it is configured; see the error. Runs fail
	// at once, and a start is tried again from time to time.
	Failed State = "failed"
)

// Status is what is known of the plugin of an action.
type Status struct {
	Action   string    `json:"action"`
	Plugin   string    `json:"plugin"`
	Version  string    `json:"version"`
	State    State     `json:"state"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Restarts int       `json:"restarts"`
	Error    string    `json:"error"`
	InFlight int       `json:"in_flight"`
	// Open: the circuit is open or half open, whatever the state.
	Open bool `json:"open"`
}

// worker keeps the plugin of one configured action.
type worker struct {
	h     *Host
	spec  *Spec
	after <-chan struct{} // what this one replaces is gone

	circuit breaker

	mu        sync.Mutex
	inst      *instance
	starting  chan struct{} // closed when the start in progress is over
	started   time.Time
	version   string
	starts    int
	crashes   int // since the last healthy time
	notBefore time.Time
	lastErr   error
	failed    bool // lastErr is permanent
	inFlight  int
	closed    bool
	idle      chan struct{} // closed when closed and no run is in flight

	done chan struct{} // closed when stopped
}

func newWorker(h *Host, spec Spec, after <-chan struct{}) *worker {
	return &worker{
		h: h, spec: &spec, after: after, idle: make(chan struct{}), done: make(chan struct{}),
		circuit: breaker{
			crashes: h.cfg.CircuitCrashes, window: h.cfg.CircuitWindow,
			pause: h.cfg.CircuitPause, maxPause: max(circuitMaxPause, h.cfg.CircuitPause),
		},
	}
}

func (w *worker) unavailable(err error) error { return &Error{kindUnavailable, w.spec.Action, err} }

// enter counts a run in; false when the worker is closing.
func (w *worker) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.inFlight++
	return true
}

func (w *worker) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inFlight--
	if w.closed && w.inFlight == 0 {
		close(w.idle)
	}
}

// acquire returns a running instance, starting one if need be. probe is what the
// breaker said of this run.
func (w *worker) acquire(ctx context.Context, probe bool) (*instance, error) {
	for {
		if err := w.circuit.admits(time.Now(), probe); err != nil {
			return nil, w.unavailable(err)
		}
		w.mu.Lock()
		var wait <-chan struct{}
		var timer *time.Timer
		now := time.Now()
		delay := w.notBefore.Sub(now)
		switch {
		case w.inst != nil && w.inst.ctx.Err() == nil:
			in := w.inst
			w.mu.Unlock()
			return in, nil
		case w.inst != nil:
			wait = w.inst.gone
		case w.starting != nil:
			wait = w.starting
		case w.failed && delay > 0:
			err := w.lastErr
			w.mu.Unlock()
			return nil, w.unavailable(err)
		case delay > 0:
			timer = time.NewTimer(delay)
		default:
			w.starting = make(chan struct{})
			wait = w.starting
			w.h.wg.Go(w.start)
		}
		lastErr := w.lastErr
		w.mu.Unlock()
		var tick <-chan time.Time
		if timer != nil {
			tick = timer.C
		}
		select {
		case <-wait:
			w.settleGone()
		case <-tick:
		case <-ctx.Done():
			if timer != nil {
				timer.Stop()
			}
			if lastErr == nil {
				lastErr = errors.New("not started in time")
			}
			return nil, w.unavailable(errors.Join(lastErr, context.Cause(ctx)))
		}
	}
}

// settleGone forgets an instance that is gone, and decides when the next may
// start.
func (w *worker) settleGone() {
	w.mu.Lock()
	defer w.mu.Unlock()
	in := w.inst
	if in == nil {
		return
	}
	select {
	case <-in.gone:
	default:
		return
	}
	w.inst = nil
	if in.stopped.Load() {
		return
	}
	if time.Since(w.started) >= healthy {
		w.crashes = 0
	}
	w.crashes++
	w.failed = false
	w.lastErr = errors.New(in.end())
	w.notBefore = time.Now().Add(backoff(w.crashes - 1))
	in.log.Warn("plugin ended", "error", w.lastErr, "crashes", w.crashes)
	if !in.overdue.Load() {
		w.count(w.lastErr)
	}
}

// count tells the breaker of a crash.
func (w *worker) count(why error) {
	if w.circuit.crash(time.Now(), why) {
		w.h.cfg.Log.Error("plugin crashed too often; its deliveries wait", "action", w.spec.Action,
			"plugin", w.spec.Plugin, "error", w.circuit.open(time.Now()))
	}
}

// starved: this process had nothing left to start any other with. That is not the
// plugin's doing.
func starved(err error) bool {
	for _, errno := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// start makes one try.
func (w *worker) start() {
	select {
	case <-w.after:
	case <-w.h.ctx.Done():
	}
	in, err := w.h.launch(w.h.ctx, w.spec, true)
	if err == nil {
		w.h.learn(w.spec, in.desc, in.check) // before mu: it takes the host's
	}
	w.mu.Lock()
	close(w.starting)
	w.starting = nil
	if err != nil {
		var p permanent
		w.crashes++
		w.failed = errors.As(err, &p)
		w.lastErr = err
		w.notBefore = time.Now().Add(backoff(w.crashes))
		if !w.failed && !starved(err) {
			w.count(err)
		}
		w.mu.Unlock()
		w.h.cfg.Log.Warn("plugin did not start", "action", w.spec.Action, "plugin", w.spec.Plugin, "error", err)
		return
	}
	w.inst, w.started, w.version = in, time.Now(), in.desc.Version
	w.starts++
	w.failed = false
	w.h.wg.Go(func() {
		<-in.gone
		w.settleGone()
	})
	w.mu.Unlock()
	in.log.Info("plugin started", "version", in.desc.Version, "pid", in.proc.pid.Load())
}

// backoff is the delay after the nth failure in a row.
func backoff(n int) time.Duration {
	if n <= 0 {
		return 0
	}
	d := maxBackoff
	if n <= 8 {
		d = min(minBackoff<<(n-1), maxBackoff)
	}
	return d/2 + rand.N(d/2+1)
}

// close takes no more runs, waits for those in flight until ctx ends, and stops
// the plugin. It closes done.
func (w *worker) close(ctx context.Context) {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		if w.inFlight == 0 {
			close(w.idle)
		}
	}
	w.mu.Unlock()
	idle := true
	select {
	case <-w.idle:
	case <-ctx.Done():
		idle = false
	}
	w.mu.Lock()
	for w.starting != nil {
		c := w.starting
		w.mu.Unlock()
		<-c
		w.mu.Lock()
	}
	in := w.inst
	w.mu.Unlock()
	if in != nil {
		if idle {
			in.stop()
		} else {
			in.kill("the router stopped")
			<-in.gone
		}
	}
	close(w.done)
}

func (w *worker) status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	open := w.circuit.open(time.Now())
	s := Status{
		Action: w.spec.Action, Plugin: w.spec.Plugin, Version: w.version,
		State: Stopped, Restarts: max(w.starts-1, 0), InFlight: w.inFlight, Open: open != nil,
	}
	switch {
	case w.inst != nil && w.inst.ctx.Err() == nil:
		s.State, s.Started, s.PID = Running, w.started, int(w.inst.proc.pid.Load())
	case w.starting != nil:
		s.State = Starting
	case w.failed:
		s.State = Failed
	case open != nil:
		s.State = Open
	case time.Now().Before(w.notBefore):
		s.State = Backoff
	}
	switch {
	case s.State == Running:
	case open != nil && !w.failed:
		s.Error = open.Error()
	case w.lastErr != nil:
		s.Error = w.lastErr.Error()
	}
	return s
}
