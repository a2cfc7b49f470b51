package rules

import (
	"fmt"

	"github.com/pointsman/pointsman/rules/expression"
)

// Explanation is the verdict of one rule on one event, without state.
type Explanation struct {
	Rule *Rule
	// Verdict is "matched", "not_matched" or "error".
	Verdict string
	// Reason says what decided: the sub-expression and the values it saw, or the
	// error.
	Reason string
	// Calls are those of a match.
	Calls []Call
	Key   string
}

// Explain says of every rule, in file order, what it makes of the event and why.
func (rs *Ruleset) Explain(ev *Event) []Explanation { return rs.explain(ev.Value()) }

func (rs *Ruleset) explain(event map[string]any) []Explanation {
	s := rs.state(event)
	defer rs.release(s)
	out := make([]Explanation, len(rs.rules))
	for i, r := range rs.rules {
		s.Allow(MaxSteps)
		out[i] = r.explain(s, event)
	}
	return out
}

func (r *Rule) explain(s *expression.State, event map[string]any) Explanation {
	e := Explanation{Rule: r}
	ok, err := r.when.Test(s)
	switch {
	case err != nil:
		e.Verdict, e.Reason = "error", fmt.Sprintf("when: %s", err)
	case !ok:
		e.Verdict = "not_matched"
		if e.Reason, err = expression.WhyFalse(r.when.Text(), []string{eventName}, event); err != nil {
			// The parts of when took more steps one by one than together.
			e.Reason = "when is false"
		}
	default:
		m := r.fire(s)
		e.Verdict, e.Reason, e.Calls, e.Key = "matched", "when is true", m.Calls, m.Key
		if m.KeyErr != nil {
			e.Verdict, e.Reason = "error", m.KeyErr.Error()
		}
	}
	return e
}
