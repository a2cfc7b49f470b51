package router

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
)

// Why an attempt was asked to stop.
var (
	errTimeout   = errors.New("timed out")
	errStopping  = errors.New("the router is shutting down")
	errLeaseLost = errors.New("the lease was lost")
	errCancelled = errors.New("cancelled by hand")
)

// deliver runs one lease and has settled how it ended, after which end is called.
// The gate keeps suspects of a crash alone in their plugin, and what began under a
// concurrency of one.
func (r *Router) deliver(a *attempt) {
	d := &a.lease.Delivery
	if a.prev != nil { // an order or a lost lease overtook it
		<-a.prev
	}
	paused := r.pauses.get(d.Action)
	now := r.cfg.Now()
	// Time in which it was not allowed to run does not make it old.
	d.Budget = d.Budget.Add(paused.within(d.Budget, now))
	if out, ok := before(a, now, !paused.Since.IsZero()); ok {
		r.settle(a, out)
		return
	}
	alone := d.Suspect || a.action.Concurrency == 1
	e := r.runAtGate(a, alone)
	e.alone = alone
	if unavailable(e.err) && e.cause == nil {
		r.rest(d.Action)
	}
	out := decide(d, &a.action, a.lease, e, r.cfg.Rand)
	r.settle(a, out)
}

// runAtGate waits for the attempt's turn and runs it, if there is still reason to.
func (r *Router) runAtGate(a *attempt, alone bool) ended {
	if a.share.enter(a.ctx, alone) {
		defer a.share.leave()
	}
	if r.ranOut(a) {
		a.cancel(errLeaseLost)
	}
	if cause := context.Cause(a.ctx); cause != nil {
		return ended{cause: cause}
	}
	return r.run(a)
}

// ranOut: this process stood still, or heard too late of its lease. The clock
// that is asked here goes on while a process is stopped.
func (r *Router) ranOut(a *attempt) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().After(a.until)
}

// before decides what needs no attempt: a crash swallowed the last one of an
// action that holds such, the action was paused while it was claimed, it would be a
// dry run, or the delivery is too old.
func before(a *attempt, now time.Time, paused bool) (store.Outcome, bool) {
	d := &a.lease.Delivery
	out := store.Outcome{
		ID: d.ID, Epoch: a.lease.Epoch,
		Attempts: d.Attempts, Crashes: d.Crashes, Suspect: d.Suspect, Error: d.Error,
	}
	switch {
	case a.lease.Lost != nil && a.action.Hold:
		out.State, out.Reason = store.Held, store.ReasonUncertain
		out.Error = "the outcome of the last attempt is not known: its router stopped before it was stored"
	case paused:
		out.State = store.Ready // without an attempt: nothing was started
	case d.DryRun || a.action.DryRun:
		out.State, out.Error = store.Done, ""
		out.Attempt = &store.Attempt{
			Number: a.lease.Number, Started: now, Ended: now, Outcome: outcomeDone, Output: "dry run: nothing was run",
		}
	case a.action.Retry.MaxAge > 0 && now.Sub(d.Budget) >= a.action.Retry.MaxAge:
		out.State, out.Reason = store.Dead, store.ReasonAge
		out.Error = "not done within max_age " + a.action.Retry.MaxAge.String()
		if d.Error != "" {
			out.Error += "; last: " + d.Error
		}
	default:
		return out, false
	}
	return out, true
}

// run starts the attempt and waits for its end.
func (r *Router) run(a *attempt) ended {
	d := &a.lease.Delivery
	e := ended{started: r.cfg.Now()}
	timeout := time.AfterFunc(a.action.Timeout, func() { a.cancel(errTimeout) })
	defer timeout.Stop()
	begun := time.Now()
	e.resp, e.err = r.cfg.Runner.Run(leaseContext{a.ctx, r, a}, d.Action, &actionv1.RunRequest{
		DeliveryId: d.ID,
		Attempt:    uint32(a.lease.Number),
		Epoch:      a.lease.Epoch,
		Rule:       d.Rule,
		Action:     d.Action,
		EventId:    d.EventID,
		Event:      a.lease.Event,
		Params:     d.Params,
		Key:        d.Key,
		Timeout:    durationpb.New(a.action.Timeout),
	})
	if e.cause = context.Cause(a.ctx); late(e.err) {
		return ended{cause: errLeaseLost} // it was not begun
	}
	took := time.Since(begun)
	e.ended = e.started.Add(took) // not by the clock, which may have been set
	a.share.seconds.Observe(took.Seconds())
	return e
}

// settle has the outcome stored, and ends the attempt when it is stored or the
// lease turned out to be another's.
func (r *Router) settle(a *attempt, out store.Outcome) {
	r.settles.settle(out, func(res store.Settled) {
		r.settled(a, &out, res)
		r.end(a)
	})
}

// settled tells what became of an outcome.
func (r *Router) settled(a *attempt, out *store.Outcome, res store.Settled) {
	d := &a.lease.Delivery
	word := "none"
	if out.Attempt != nil {
		word = out.Attempt.Outcome
	}
	switch {
	case res == store.SettledLost:
		r.log.Warn("outcome came too late: the lease was lost", "delivery_id", d.ID, "action", d.Action,
			"attempt", a.lease.Number, "outcome", word)
		word = "lost"
	case out.State == store.Dead:
		r.log.Error("delivery is dead", "delivery_id", d.ID, "event_id", d.EventID, "rule", d.Rule, "action", d.Action,
			"attempt", a.lease.Number, "reason", out.Reason, "error", out.Error)
	case out.State == store.Held:
		r.log.Warn("delivery is held", "delivery_id", d.ID, "event_id", d.EventID, "rule", d.Rule, "action", d.Action,
			"attempt", a.lease.Number, "reason", out.Reason)
	case out.State == store.Ready:
		r.log.Info("delivery will be tried again", "delivery_id", d.ID, "event_id", d.EventID, "rule", d.Rule,
			"action", d.Action, "attempt", a.lease.Number, "outcome", word, "in", out.Delay, "error", out.Error)
	case out.State == store.Done && r.log.Enabled(context.Background(), slog.LevelDebug):
		r.log.Debug("delivery done", "delivery_id", d.ID, "event_id", d.EventID, "rule", d.Rule, "action", d.Action,
			"attempt", a.lease.Number)
	}
	if word == outcomeDone {
		a.share.done.Inc()
	} else {
		r.metrics.Settled.WithLabelValues(d.Action, word).Inc()
	}
}
