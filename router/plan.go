package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/replay"
)

// The words of verdicts, as in docs/rules.md.
const (
	VerdictMatched    = string(replay.Matched)
	VerdictNotMatched = string(replay.NotMatched)
	VerdictThrottled  = string(replay.Throttled)
	VerdictDryRun     = string(replay.DryRun)
	VerdictSkipped    = string(replay.Skipped)
	VerdictHeld       = string(replay.Held)
	VerdictError      = string(replay.Error)
)

// plan makes the Txn of one event: its verdicts, the state it changes and its
// deliveries. It is pure but for new ids and versions.
func (r *Router) plan(p *pending, states map[string]store.State, now time.Time) store.Txn {
	ev := p.ev
	if p.uid == "" { // a Txn that is sent again is the same one
		p.uid = newUID()
	}
	t := store.Txn{
		Event: store.Event{
			UID: p.uid, Source: p.from.Source, CESource: ev.Source(), ID: ev.ID(), Type: ev.Type(),
			Received: now, JSON: ev.JSON(), Digest: ev.Digest(), Revision: p.setup.Revision.ID,
		},
		Dedup:  p.from.Dedup,
		Strict: p.from.Strict,
	}
	for i := range p.matches {
		m := &p.matches[i]
		if m.Err != nil {
			addVerdict(&t, m.Rule, VerdictError, m.Err.Error())
			continue
		}
		fire, reason, err := stepState(&t, m, states, now)
		switch {
		case err != nil:
			addVerdict(&t, m.Rule, VerdictError, err.Error())
		case !fire:
			addVerdict(&t, m.Rule, VerdictThrottled, reason)
		default:
			planCalls(&t, p, m, now)
		}
	}
	if n := live(t.Deliveries); n > r.cfg.FanOut {
		holdFanOut(&t, n, r.cfg.FanOut)
	}
	return t
}

func addVerdict(t *store.Txn, rule *rules.Rule, verdict, reason string) {
	t.Event.Verdicts = append(t.Event.Verdicts, store.Verdict{Rule: rule.Name, Verdict: verdict, Reason: reason})
}

// stepState advances the state of the match's rule and key, if it keeps one.
func stepState(t *store.Txn, m *rules.Match, states map[string]store.State, now time.Time) (fire bool, reason string, err error) {
	key := m.StateKey()
	if key == "" || m.KeyErr != nil {
		return true, "", nil
	}
	old := states[key]
	eff, err := rules.Step(m.Rule, old.Data, now)
	if err != nil {
		return false, "", fmt.Errorf(stateTrouble+"%w", err)
	}
	if eff.Changed {
		t.States = append(t.States, store.StateWrite{
			State: store.State{Key: key, Version: newVersion(), Data: eff.Data, Expires: eff.Expires},
			Read:  old.Version,
		})
	}
	return eff.Fire, eff.Reason, nil
}

// planCalls writes the deliveries of a match that fires, and its verdict.
func planCalls(t *store.Txn, p *pending, m *rules.Match, now time.Time) {
	if m.KeyErr != nil {
		addVerdict(t, m.Rule, VerdictError, m.KeyErr.Error())
		if !m.Rule.DryRun && len(m.Rule.Actions) > 0 {
			d := newDelivery(t, m, rules.Call{Action: m.Rule.Actions[0], Err: m.KeyErr}, now)
			d.State, d.Reason, d.Error = store.Dead, store.ReasonKey, m.KeyErr.Error()
			t.Deliveries = append(t.Deliveries, d)
		}
		return
	}
	for _, c := range m.Calls {
		if !c.Skipped {
			t.Deliveries = append(t.Deliveries, callDelivery(t, p, m, c, now))
		}
	}
	verdict, reason := replay.Judge(m)
	addVerdict(t, m.Rule, string(verdict), reason)
}

// callDelivery makes the delivery of one call: ready, or dead when the call
// could not be evaluated, or done when it is a dry run.
func callDelivery(t *store.Txn, p *pending, m *rules.Match, c rules.Call, now time.Time) store.Delivery {
	d := newDelivery(t, m, c, now)
	if c.SkipIfBusy {
		d.Busy = store.BusySkip
	}
	switch {
	case c.Err != nil:
		d.State, d.Reason, d.Error = store.Dead, store.ReasonEvaluation, c.Err.Error()
		var bad *paramsError
		if errors.As(c.Err, &bad) {
			d.Reason = store.ReasonParams
		}
		if m.Rule.DryRun {
			d.DryRun = true
		}
	case m.Rule.DryRun || p.setup.Actions[c.Action].DryRun:
		d.State, d.DryRun = store.Done, true
	}
	if d.DryRun {
		d.Lane, d.Busy = "", store.BusyWait
	}
	return d
}

// newDelivery is ready. One that a person orders waits for its turn whatever the
// step's overlap.
func newDelivery(t *store.Txn, m *rules.Match, c rules.Call, now time.Time) store.Delivery {
	return store.Delivery{
		ID: newUID(), EventUID: t.Event.UID, EventID: t.Event.ID, Source: t.Event.Source, CESource: t.Event.CESource,
		Rule: m.Rule.Name, Step: c.Step, Action: c.Action, State: store.Ready, Params: c.Params, Key: m.Key, Lane: c.Lane,
		Created: now, Budget: now,
	}
}

// live counts the deliveries that would run.
func live(ds []store.Delivery) int {
	n := 0
	for i := range ds {
		if ds[i].State == store.Ready {
			n++
		}
	}
	return n
}

// holdFanOut puts one held record in the place of all deliveries that would run.
func holdFanOut(t *store.Txn, n, limit int) {
	held := store.Delivery{
		ID: newUID(), EventUID: t.Event.UID, EventID: t.Event.ID, Source: t.Event.Source, CESource: t.Event.CESource,
		State: store.Held, Reason: store.ReasonFanOut, Count: n,
		Error:   fmt.Sprintf("the event causes %d deliveries, more than limits.deliveries_per_event (%d)", n, limit),
		Created: t.Event.Received, Budget: t.Event.Received,
	}
	kept := []store.Delivery{held}
	waits := make(map[string]bool)
	for _, d := range t.Deliveries {
		if d.State == store.Ready {
			waits[d.Rule] = true
			continue
		}
		kept = append(kept, d)
	}
	t.Deliveries = kept
	for i := range t.Event.Verdicts {
		v := &t.Event.Verdicts[i]
		if waits[v.Rule] {
			v.Verdict = VerdictHeld
			v.Reason = strings.TrimPrefix(v.Reason+"; "+held.Error, "; ")
		}
	}
}

// record counts and logs what a committed event caused.
func (r *Router) record(p *pending, t *store.Txn) {
	for _, v := range t.Event.Verdicts {
		r.metrics.Matches.WithLabelValues(v.Rule, v.Verdict).Inc()
		if v.Verdict == VerdictError {
			r.metrics.RuleErrors.WithLabelValues(v.Rule).Inc()
		}
	}
	if !r.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	r.log.Debug("event accepted", "event_id", t.Event.ID, "source", p.from.Source,
		"verdicts", len(t.Event.Verdicts), "deliveries", len(t.Deliveries))
}
