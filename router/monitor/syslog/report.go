package syslog

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// report collects what was lost and refused since the last report. It is safe
// for concurrent use.
type report struct {
	mu            sync.Mutex
	queue, kernel int64
	since         time.Time
	refusals      int64
	lastRefused   netip.Addr
}

func (r *report) lost(now time.Time, queue, kernel int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue+r.kernel == 0 {
		r.since = now
	}
	r.queue += queue
	r.kernel += kernel
}

func (r *report) refused(addr netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusals++
	r.lastRefused = addr
}

// reports tells of losses and refusals every now and then, and once more when
// ctx ends; storing bounds how long an event of it may take.
func (r *run) reports(ctx, storing context.Context) {
	tick := time.NewTicker(r.cfg.ReportEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.tell(storing)
		case <-ctx.Done():
			r.tell(storing)
			return
		}
	}
}

func (r *run) tell(ctx context.Context) {
	c := &r.report
	c.mu.Lock()
	queue, kernel, since, refusals, last := c.queue, c.kernel, c.since, c.refusals, c.lastRefused
	c.queue, c.kernel, c.refusals = 0, 0, 0
	c.mu.Unlock()
	if refusals > 0 {
		r.cfg.Log.Warn("senders were refused", "source", r.cfg.Name, "count", refusals, "last_peer", last.String())
	}
	if queue+kernel == 0 {
		return
	}
	now := r.cfg.Now()
	r.cfg.Log.Warn("lines are lost", "source", r.cfg.Name, "count", queue+kernel, "queue", queue, "kernel", kernel)
	ev, err := r.lossEvent(loss{
		Source: r.cfg.Name, Lost: queue + kernel, Queue: queue, Kernel: kernel,
		Since: since.UTC().Format(time.RFC3339Nano), Until: now.UTC().Format(time.RFC3339Nano),
	}, r.id(), now)
	if err != nil {
		r.cfg.Log.Error("a loss fits no event", "source", r.cfg.Name, "error", err)
		return
	}
	_ = r.stored(ctx, ev) // the log and the metric have it in any case
}
