package router

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

const (
	// openerTime bounds the search for the events that opened the windows of
	// once: it is a courtesy, and reads many deliveries on a busy router.
	openerTime = 300 * time.Millisecond
	// maxShownKey is how much of a key a note shows, in bytes.
	maxShownKey = 200
	// stateTrouble begins the reason of a rule whose state could not be read.
	stateTrouble = "state: "
	// maxOpeners is for how many throttled rules it is searched.
	maxOpeners = 10
)

// Why explains a recorded event by the rules that were in force for it: what
// was recorded at accept where something was, the rest computed again. What
// concerns the event comes first, then the nearest misses; see sortVerdicts. With
// names, only those rules are looked at. The error wraps store.ErrNotFound when
// the revision is gone.
func (r *Router) Why(ctx context.Context, ev store.Event, names ...string) ([]RuleVerdict, error) {
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
	out := explain(rs, parsed, names)
	if s := r.setup.Load(); s.Revision.ID != ev.Revision {
		compare(s.Rules, parsed, out)
	}
	for i := range out {
		v, ok := recorded[out[i].Rule]
		out[i].record(v, ok)
	}
	r.windows(ctx, &ev, rs, out)
	sortVerdicts(out)
	return out, nil
}

// Explain says what the rules in force, or those of the names, make of an event
// that was not sent. State (once, dedup) is not looked at.
func (r *Router) Explain(_ context.Context, ev *rules.Event, names ...string) ([]RuleVerdict, error) {
	return stateless(r.setup.Load().Rules, ev, names, "whether it fired before is not looked at for an event that was not sent"), nil
}

// Explain says what rs, or its rules of the names, makes of an event, without any
// state: matches and errors first, then the nearest misses.
func Explain(rs *rules.Ruleset, ev *rules.Event, names ...string) []RuleVerdict {
	return stateless(rs, ev, names, "whether it fired before is not known without the router")
}

func stateless(rs *rules.Ruleset, ev *rules.Event, names []string, unknown string) []RuleVerdict {
	out := explain(rs, ev, names)
	for i := range out {
		if v := &out[i]; v.Once != "" && len(v.Calls) > 0 {
			v.Note = fmt.Sprintf("once %s%s: %s", v.Once, ofKey(v.Key), unknown)
		}
	}
	sortVerdicts(out)
	return out
}

// explain computes the verdict of each rule, or of those of the names, as far as
// it can be known without state, in file order.
func explain(rs *rules.Ruleset, ev *rules.Event, names []string) []RuleVerdict {
	exps := rs.ExplainSome(ev, func(r *rules.Rule) bool { return len(names) == 0 || slices.Contains(names, r.Name) })
	out := make([]RuleVerdict, len(exps))
	for i := range exps {
		out[i] = verdictOf(&exps[i])
	}
	return out
}

func verdictOf(e *rules.Explanation) RuleVerdict {
	v := RuleVerdict{
		Rule: e.Rule.Name, File: e.Rule.File, Line: e.Rule.Line, Verdict: e.Verdict, Reason: e.Reason, Key: e.Key,
		Nearness: e.Nearness, OtherType: e.OtherType, Conditions: e.Conditions, Calls: make([]RuleCall, len(e.Calls)),
	}
	if v.Conditions == nil {
		v.Conditions = []rules.Condition{}
	}
	if e.Rule.Once > 0 {
		v.Once = rules.ShortDuration(e.Rule.Once)
	}
	var failed, skipped []string
	for i, c := range e.Calls {
		call := RuleCall{Step: c.Step, Action: c.Action, Skipped: c.Skipped, Reason: e.Ifs[i], Params: c.Params}
		if !json.Valid(call.Params) {
			call.Params = json.RawMessage("null")
		}
		switch {
		case c.Err != nil:
			call.Error = c.Err.Error()
			failed = append(failed, fmt.Sprintf("step %d (%s): %s", c.Step+1, c.Action, call.Error))
		case c.Skipped:
			skipped = append(skipped, fmt.Sprintf("step %d (%s) skipped: %s", c.Step+1, c.Action, call.Reason))
		}
		v.Calls[i] = call
	}
	if v.Verdict != VerdictMatched {
		return v
	}
	switch {
	case len(failed) > 0:
		v.Verdict, v.Reason = VerdictError, strings.Join(append(failed, skipped...), "; ")
	case len(skipped) > 0 && len(skipped) == len(e.Calls):
		v.Verdict, v.Reason = VerdictSkipped, strings.Join(skipped, "; ")
	default:
		if e.Rule.DryRun {
			v.Verdict = VerdictDryRun
		}
		v.Reason = strings.Join(append([]string{v.Reason}, skipped...), "; ")
	}
	return v
}

// record puts what was recorded at accept over what was computed again. A rule
// of which nothing was recorded did not match.
func (v *RuleVerdict) record(was store.Verdict, found bool) {
	switch {
	case !found && v.Verdict != VerdictNotMatched:
		v.Reason = fmt.Sprintf("when was false at that time; computed again it is %s: %s", v.Verdict, v.Reason)
		v.Verdict, v.Nearness, v.Calls = VerdictNotMatched, 1, []RuleCall{}
	case !found:
	case was.Verdict == v.Verdict && was.Verdict != VerdictError:
		// The same, and the reason computed again says more.
	default:
		v.Verdict = was.Verdict
		if was.Reason != "" {
			v.Reason = was.Reason
		}
	}
}

func ofKey(key string) string {
	if key == "" {
		return ""
	}
	return fmt.Sprintf(" on key %q", cut(key, maxShownKey))
}

// windows says what once did: which window an event opened, or which event had
// opened the one that throttled it.
func (r *Router) windows(ctx context.Context, ev *store.Event, rs *rules.Ruleset, vs []RuleVerdict) {
	ctx, cancel := context.WithTimeout(ctx, openerTime)
	defer cancel()
	named := make(map[string]*rules.Rule)
	for _, rule := range rs.Rules() {
		named[rule.Name] = rule
	}
	openers := 0
	for i := range vs {
		v := &vs[i]
		rule := named[v.Rule]
		switch {
		case rule.Once <= 0 || v.Verdict == VerdictNotMatched || v.Verdict == VerdictError && strings.HasPrefix(v.Reason, stateTrouble):
		case v.Verdict == VerdictThrottled:
			if openers++; openers > maxOpeners {
				continue
			}
			if d := r.opener(ctx, ev, rule, v.Key); d != nil {
				v.Note = fmt.Sprintf("it fired for event %s of source %s at %s", d.EventID, d.Source, stamp(d.Created))
			}
		case len(v.Calls) > 0: // when and key were evaluated, so the window is used up
			v.Note = fmt.Sprintf("once %s%s: this event opened the window; until %s others are throttled",
				v.Once, ofKey(v.Key), stamp(ev.Received.Add(rule.Once)))
		}
	}
}

// opener finds the delivery of the event that opened the window in which ev was
// throttled; nil when it made none, or none that is still there.
func (r *Router) opener(ctx context.Context, ev *store.Event, rule *rules.Rule, key string) *store.Delivery {
	ds, err := r.cfg.Store.Deliveries(ctx, store.DeliveryQuery{
		Rule: rule.Name, Since: ev.Received.Add(-rule.Once), Until: ev.Received.Add(1),
	})
	if err != nil { // out of time, or the store's trouble, which is reported elsewhere
		return nil
	}
	for i := range ds {
		if ds[i].Key == key && ds[i].EventUID != ev.UID {
			return &ds[i]
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// compare notes where the rules in force now decide otherwise than those that vs
// are the verdicts of. State is not looked at on either side.
func compare(now *rules.Ruleset, ev *rules.Event, vs []RuleVerdict) {
	concerned := make(map[string]bool)
	for _, m := range now.Match(ev) {
		concerned[m.Rule.Name] = true
	}
	for i := range vs {
		if vs[i].Verdict != VerdictNotMatched {
			concerned[vs[i].Rule] = true
		}
	}
	today := make(map[string]RuleVerdict, len(concerned))
	for _, e := range now.ExplainSome(ev, func(r *rules.Rule) bool { return concerned[r.Name] }) {
		today[e.Rule.Name] = verdictOf(&e)
	}
	for i := range vs {
		v := &vs[i]
		n, ok := today[v.Rule]
		switch {
		case !ok && concerned[v.Rule]:
			v.Now = &RuleNow{Verdict: VerdictNotMatched, Reason: "the rule is not there any more"}
		case ok && v.Verdict != n.Verdict:
			v.Now = &RuleNow{Verdict: n.Verdict, Reason: n.Reason}
		}
	}
}

// sortVerdicts puts first what concerns the event, then the misses: first
// those with the greatest share of conditions that hold, last those that are
// about another type of event. Otherwise the order stays, which is that of files.
func sortVerdicts(vs []RuleVerdict) {
	slices.SortStableFunc(vs, func(a, b RuleVerdict) int {
		if x, y := a.group(), b.group(); x != y || x == 0 {
			return cmp.Compare(x, y)
		}
		return cmp.Compare(b.Nearness, a.Nearness)
	})
}

func (v *RuleVerdict) group() int {
	switch {
	case v.Verdict != VerdictNotMatched:
		return 0
	case !v.OtherType:
		return 1
	}
	return 2
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
