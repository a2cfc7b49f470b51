package router

import (
	"context"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// keepLeases extends the leases of running attempts, three times in a lease's
// life, and stops attempts whose lease is gone: another router may run the
// delivery from then on.
func (r *Router) keepLeases(ctx context.Context) {
	every := r.cfg.Lease / 3
	tick := time.NewTicker(every)
	defer tick.Stop()
	clock := newClockWatch(r.cfg.Now)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if by := clock.set(); by != 0 {
				r.metrics.ClockSet.Inc()
				r.log.Warn("the clock was set", "by", by.Round(time.Millisecond))
			}
			r.extend(ctx, every)
		}
	}
}

func (r *Router) extend(ctx context.Context, every time.Duration) {
	r.mu.Lock()
	held := make([]*attempt, 0, len(r.running))
	for _, a := range r.running {
		held = append(held, a)
	}
	r.mu.Unlock()
	if len(held) == 0 {
		return
	}
	refs := make([]store.LeaseRef, len(held))
	for i, a := range held {
		refs[i] = a.lease.Ref()
	}
	begun := time.Now()
	call, cancel := context.WithTimeout(ctx, every)
	ok, err := r.cfg.Store.Extend(call, refs, r.cfg.Lease)
	cancel()
	if err != nil {
		r.metrics.StoreUnavailable.Inc()
		r.log.Warn("extending leases", "leases", len(refs), "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, a := range held {
		switch {
		case err == nil && ok[i]:
			a.until = begun.Add(r.cfg.Lease)
		case err == nil, time.Now().After(a.until.Add(-every)):
			// Gone, or about to be before it can be asked for again.
			a.cancel(errLeaseLost)
		}
	}
}
