package router

import (
	"context"
	"fmt"
	"time"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// Why explains a recorded event by the rules that were in force for it: what
// was recorded at accept where something was, the rest computed again. Rules
// come in file order. The error wraps store.ErrNotFound when the revision is
// gone.
func (r *Router) Why(ctx context.Context, ev store.Event) ([]RuleVerdict, error) {
	rs, err := r.revisionOf(ctx, ev)
	if err != nil {
		return nil, err
	}
	parsed, err := rules.ParseStored(ev.JSON)
	if err != nil {
		return nil, fmt.Errorf("stored event %s: %w", ev.UID, err)
	}
	recorded := make(map[string]store.Verdict, len(ev.Verdicts))
	for _, v := range ev.Verdicts {
		recorded[v.Rule] = v
	}
	out := explain(rs, parsed)
	for i := range out {
		v, ok := recorded[out[i].Rule]
		if !ok {
			continue
		}
		out[i].Verdict = v.Verdict
		if v.Reason != "" {
			out[i].Reason = v.Reason
		}
	}
	return out, nil
}

// Explain says what the rules in force make of an event that was not sent.
// State (once, dedup) is not looked at.
func (r *Router) Explain(_ context.Context, ev *rules.Event) ([]RuleVerdict, error) {
	return explain(r.setup.Load().Rules, ev), nil
}

// Explain says what rs makes of an event, without any state.
func Explain(rs *rules.Ruleset, ev *rules.Event) []RuleVerdict { return explain(rs, ev) }

func explain(rs *rules.Ruleset, ev *rules.Event) []RuleVerdict {
	exps := rs.Explain(ev)
	out := make([]RuleVerdict, len(exps))
	for i, e := range exps {
		v := RuleVerdict{Rule: e.Rule.Name, Verdict: e.Verdict, Reason: e.Reason, Key: e.Key, Calls: []RuleCall{}}
		for _, c := range e.Calls {
			call := RuleCall{Step: c.Step, Action: c.Action, Skipped: c.Skipped, Params: c.Params}
			if c.Err != nil {
				call.Error = c.Err.Error()
			}
			v.Calls = append(v.Calls, call)
		}
		if v.Verdict == VerdictMatched && e.Rule.DryRun {
			v.Verdict = VerdictDryRun
		}
		out[i] = v
	}
	return out
}

// Revision returns the rules of a revision and when it was first in force. The
// error wraps store.ErrNotFound when no event refers to it any more.
func (r *Router) Revision(ctx context.Context, id string) (*rules.Ruleset, time.Time, error) {
	if s := r.setup.Load(); s.Revision.ID == id {
		return s.Rules, s.Revision.Created, nil
	}
	rev, err := r.cfg.Store.Revision(ctx, id)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("revision %s: %w", id, err)
	}
	rs, err := rulesOf(rev)
	return rs, rev.Created, err
}

// revisionOf returns the rules that were in force when ev was accepted.
func (r *Router) revisionOf(ctx context.Context, ev store.Event) (*rules.Ruleset, error) {
	rs, _, err := r.Revision(ctx, ev.Revision)
	return rs, err
}
