package router

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pointsman/pointsman/router/store"
)

// maxIdle is how long the dispatcher sleeps at the most: what another router
// wrote while a wake-up was lost waits no longer than this.
const maxIdle = time.Second

// dispatch claims due deliveries for free slots until ctx ends, and starts
// them. It asks again when something is due, when it is woken, and when a slot is
// free of which the last claim had too few.
func (r *Router) dispatch(ctx context.Context) error {
	wake := r.cfg.Store.Wake()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, err := r.claim(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-r.kick:
		case <-timer.C:
		}
	}
}

// claim takes what is due into free slots. It returns how long nothing else
// will be due by itself, or an error after which this router must end.
func (r *Router) claim(ctx context.Context) (time.Duration, error) {
	setup := r.setup.Load()
	wants := r.wants(setup)
	if len(wants) == 0 {
		return maxIdle, nil
	}
	op := store.OpID(newUID())
	pause := 50 * time.Millisecond
	// Leases whose answer was lost run from the first time they were asked for.
	begun := time.Now()
	for {
		leases, wait, err := r.cfg.Store.Claim(ctx, op, wants, r.cfg.Lease)
		switch {
		case err == nil:
			r.health.clear(reasonStore)
			r.claimed(wants, leases)
			for i := range leases {
				r.start(&leases[i], setup, begun)
			}
			if wait <= 0 || wait > maxIdle {
				wait = maxIdle
			}
			return wait, nil
		case ctx.Err() != nil:
			return 0, nil
		case errors.Is(err, store.ErrFenced):
			return 0, err
		}
		// The same op again: a claim whose answer was lost is given again.
		r.doom(err)
		r.metrics.StoreUnavailable.Inc()
		r.health.set(reasonStore, "store: "+err.Error())
		r.log.Warn("claiming deliveries", "error", err)
		if !sleep(ctx, pause) {
			return 0, nil
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// attempt is one lease in this router's hands.
type attempt struct {
	lease  *store.Lease
	action Action
	share  *share
	// ctx ends with a cause: errTimeout, errStopping, errLeaseLost or
	// errCancelled.
	ctx    context.Context
	cancel context.CancelCauseFunc
	// prev is closed when an older attempt of the delivery has ended that was
	// still running here, nil if there is none; done, when this one has.
	prev, done chan struct{}
	// until is when the lease runs out unless it is extended; guarded by
	// Router.mu.
	until time.Time
}

// leaseContext is the context of an attempt's run. Its deadline is the end of the
// lease, which moves as that is extended.
type leaseContext struct {
	context.Context
	r *Router
	a *attempt
}

// Deadline implements context.Context.
func (c leaseContext) Deadline() (time.Time, bool) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	return c.a.until, true
}

// start gives a lease, whose slot is taken, its goroutine. After a drain it is
// left to run out.
func (r *Router) start(l *store.Lease, setup *Setup, begun time.Time) {
	ctx, cancel := context.WithCancelCause(context.Background())
	a := &attempt{
		lease: l, action: setup.Actions[l.Delivery.Action],
		ctx: ctx, cancel: cancel, until: begun.Add(r.cfg.Lease), done: make(chan struct{}),
	}
	r.mu.Lock()
	if r.slots.drained {
		r.mu.Unlock()
		cancel(nil)
		r.vacate(&l.Delivery, l.Event)
		return
	}
	if old := r.running[l.Delivery.ID]; old != nil {
		a.prev = old.done
		old.cancel(errLeaseLost)
	}
	r.running[l.Delivery.ID] = a
	a.share = r.shares[l.Delivery.Action]
	if a.share == nil {
		a.share = newShare(r.metrics, l.Delivery.Action)
		r.shares[l.Delivery.Action] = a.share
	}
	r.wg.Add(1) // until end
	r.mu.Unlock()
	go r.deliver(a)
}

// share is what the attempts of one action have in common.
type share struct {
	gate
	seconds prometheus.Observer
	done    prometheus.Counter
}

func newShare(m *Metrics, action string) *share {
	return &share{seconds: m.AttemptSeconds.WithLabelValues(action), done: m.Settled.WithLabelValues(action, outcomeDone)}
}

// end frees the slot; the outcome is stored by now, or never will be.
func (r *Router) end(a *attempt) {
	a.cancel(nil)
	close(a.done)
	r.mu.Lock()
	if r.running[a.lease.Delivery.ID] == a {
		delete(r.running, a.lease.Delivery.ID)
	}
	r.mu.Unlock()
	r.vacate(&a.lease.Delivery, a.lease.Event)
	r.wg.Done()
}

// cancelAll asks every running attempt to stop.
func (r *Router) cancelAll(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.running {
		a.cancel(cause)
	}
}

// cancelOne asks one attempt to stop, if it runs here.
func (r *Router) cancelOne(id string, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.running[id]; a != nil {
		a.cancel(cause)
	}
}
