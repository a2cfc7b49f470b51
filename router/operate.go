package router

import (
	"context"
	"errors"
	"fmt"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// The results of orders.
const (
	orderOK       = "ok"
	orderRefused  = "refused"
	orderNotFound = "not_found"
	orderError    = "error"
)

// expandStep is how many deliveries one step of an expansion writes.
const expandStep = 1000

// refused is an order that cannot be carried out, in words.
type refused struct{ text string }

func (e *refused) Error() string { return e.text }

// Retry makes dead, held and cancelled deliveries ready again with fresh
// budgets. One whose call could not be evaluated is evaluated again with the
// rule now in force; a held fan-out is expanded by the rules of its acceptance.
// A router that is dry as a whole refuses: the delivery would only wait, and
// somebody who asks for a retry means it to run.
func (r *Router) Retry(ctx context.Context, ids []string) ([]Ordered, error) {
	return r.order(ctx, ids, r.retry)
}

// Cancel ends deliveries that are not done. A running attempt is told to stop.
func (r *Router) Cancel(ctx context.Context, ids []string) ([]Ordered, error) {
	return r.order(ctx, ids, func(ctx context.Context, d *store.Delivery) error {
		err := r.change(ctx, d, store.Change{ID: d.ID, Kind: store.Cancel})
		if err == nil {
			r.cancelOne(d.ID, errCancelled)
		}
		return err
	})
}

func (r *Router) order(ctx context.Context, ids []string, do func(context.Context, *store.Delivery) error) ([]Ordered, error) {
	out := make([]Ordered, len(ids))
	for i, id := range ids {
		out[i] = Ordered{ID: id, Result: orderOK}
		found, err := r.cfg.Store.Deliveries(ctx, store.DeliveryQuery{ID: id, Limit: 1})
		switch {
		case err == nil && len(found) == 0:
			err = store.ErrNotFound
		case err == nil:
			err = do(ctx, &found[0])
		}
		var no *refused
		switch {
		case err == nil:
			r.log.Info("ordered by hand", "delivery_id", id, "event_id", found[0].EventID, "rule", found[0].Rule,
				"action", found[0].Action, "was", found[0].State.String())
		case errors.Is(err, store.ErrNotFound):
			out[i].Result = orderNotFound
		case errors.As(err, &no):
			out[i].Result, out[i].Reason = orderRefused, no.text
		default:
			out[i].Result, out[i].Reason = orderError, err.Error()
		}
	}
	r.poke()
	return out, nil
}

// change applies one change and turns a refusal into words.
func (r *Router) change(ctx context.Context, d *store.Delivery, c store.Change) error {
	res, err := r.cfg.Store.Change(ctx, c)
	if err != nil {
		return err
	}
	switch res[0] {
	case store.ChangedOK:
		return nil
	case store.ChangedNotFound:
		return store.ErrNotFound
	default:
		return &refused{"it is " + d.State.String()}
	}
}

func (r *Router) retry(ctx context.Context, d *store.Delivery) error {
	if r.setup.Load().Rules.DryRun() {
		return &refused{"the router runs with --dry-run and runs nothing"}
	}
	if d.State == store.Held && d.Reason == store.ReasonFanOut {
		return r.expand(ctx, d)
	}
	c := store.Change{ID: d.ID, Kind: store.Retry}
	again := d.Reason == store.ReasonKey || d.Reason == store.ReasonEvaluation || d.Reason == store.ReasonParams
	if again && d.Attempts == 0 && d.Starts == 0 {
		if err := r.evaluateAgain(ctx, d, &c); err != nil {
			return err
		}
	}
	return r.change(ctx, d, c)
}

// evaluateAgain fills c with what the rule now in force makes of the event.
func (r *Router) evaluateAgain(ctx context.Context, d *store.Delivery, c *store.Change) error {
	se, ev, err := r.eventOf(ctx, d)
	if err != nil {
		return err
	}
	p := &pending{ev: ev, setup: r.setup.Load()}
	p.matches = p.setup.Rules.Match(ev)
	r.validate(p)
	m := matchOf(p.matches, d.Rule)
	switch {
	case m == nil:
		return &refused{fmt.Sprintf("rule %q as it is now does not match the event", d.Rule)}
	case m.Err != nil:
		return &refused{fmt.Sprintf("rule %q still fails: %v", d.Rule, m.Err)}
	case m.Rule.DryRun && !d.DryRun:
		return &refused{fmt.Sprintf("rule %q is dry_run now", d.Rule)}
	case m.KeyErr != nil:
		return &refused{fmt.Sprintf("rule %q still fails: %v", d.Rule, m.KeyErr)}
	}
	calls := m.Calls
	if d.Reason != store.ReasonKey {
		if d.Step >= len(calls) {
			return &refused{fmt.Sprintf("rule %q has no step %d any more", d.Rule, d.Step+1)}
		}
		calls = calls[d.Step : d.Step+1]
	}
	t := &store.Txn{Event: *se}
	for _, call := range calls {
		switch {
		case call.Err != nil:
			return &refused{fmt.Sprintf("rule %q step %d still fails: %v", d.Rule, call.Step+1, call.Err)}
		case call.Skipped:
		case c.Replace == nil:
			c.Replace = &store.Call{Step: call.Step, Action: call.Action, Params: call.Params, Key: m.Key, Lane: call.Lane}
			if d.DryRun {
				c.Replace.Lane = ""
			}
		default:
			c.Also = append(c.Also, newDelivery(t, m, call, r.cfg.Now()))
		}
	}
	if c.Replace == nil {
		return &refused{fmt.Sprintf("rule %q now skips it: its if is false", d.Rule)}
	}
	return nil
}

// expand writes the deliveries that a held fan-out record stands for, in steps
// that can be interrupted and continued.
func (r *Router) expand(ctx context.Context, d *store.Delivery) error {
	ds, err := r.expansion(ctx, d)
	if err != nil {
		return err
	}
	for from := d.Expanded; from < d.Count; from += expandStep {
		to := min(from+expandStep, d.Count)
		c := store.Change{ID: d.ID, Kind: store.Expand, From: from, Also: ds[from:to]}
		if err := r.change(ctx, d, c); err != nil {
			return err
		}
		r.poke()
	}
	return nil
}

// expansion makes, in the same order each time, the deliveries that a held
// fan-out record stands for: the calls of the held rules, by the rules of the
// acceptance, but for those that were written then because they would not run.
func (r *Router) expansion(ctx context.Context, d *store.Delivery) ([]store.Delivery, error) {
	se, ev, err := r.eventOf(ctx, d)
	if err != nil {
		return nil, err
	}
	rs, err := r.revisionOf(ctx, *se)
	if err != nil {
		return nil, err
	}
	written, err := r.writtenAtAccept(ctx, se)
	if err != nil {
		return nil, err
	}
	held := make(map[string]bool)
	for _, v := range se.Verdicts {
		held[v.Rule] = v.Verdict == VerdictHeld
	}
	t := &store.Txn{Event: *se}
	matches := rs.Match(ev)
	for i := range matches {
		m := &matches[i]
		if !held[m.Rule.Name] || m.Err != nil || m.KeyErr != nil {
			continue
		}
		for _, c := range m.Calls {
			if !c.Skipped && c.Err == nil && !written[ruleStep{m.Rule.Name, c.Step}] {
				t.Deliveries = append(t.Deliveries, newDelivery(t, m, c, r.cfg.Now()))
			}
		}
	}
	if len(t.Deliveries) != d.Count {
		return nil, &refused{fmt.Sprintf("its rules now make %d deliveries of the event, not %d", len(t.Deliveries), d.Count)}
	}
	return t.Deliveries, nil
}

// ruleStep names a call.
type ruleStep struct {
	rule string
	step int
}

// writtenAtAccept lists the calls whose deliveries are as old as their event.
func (r *Router) writtenAtAccept(ctx context.Context, se *store.Event) (map[ruleStep]bool, error) {
	written := make(map[ruleStep]bool)
	q := store.DeliveryQuery{EventUID: se.UID}
	for {
		page, err := r.cfg.Store.Deliveries(ctx, q)
		if err != nil || len(page) == 0 {
			return written, err
		}
		for i := range page {
			if d := &page[i]; !d.Created.After(se.Received) && d.Reason != store.ReasonFanOut {
				written[ruleStep{d.Rule, d.Step}] = true
			}
		}
		q.Before = page[len(page)-1].ID
	}
}

// eventOf reads the event of a delivery.
func (r *Router) eventOf(ctx context.Context, d *store.Delivery) (*store.Event, *rules.Event, error) {
	evs, err := r.cfg.Store.Events(ctx, store.EventQuery{UID: d.EventUID, Limit: 1})
	if err != nil {
		return nil, nil, err
	}
	if len(evs) == 0 {
		return nil, nil, &refused{"its event was removed"}
	}
	ev, err := rules.ParseStored(evs[0].JSON)
	if err != nil {
		return nil, nil, fmt.Errorf("stored event %s: %w", d.EventUID, err)
	}
	return &evs[0], ev, nil
}

func matchOf(ms []rules.Match, rule string) *rules.Match {
	for i := range ms {
		if ms[i].Rule.Name == rule {
			return &ms[i]
		}
	}
	return nil
}
