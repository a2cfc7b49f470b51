package rules

import (
	"fmt"
	"strings"

	"github.com/pointsman/pointsman/rules/expression"
)

// Condition is one part of a rule's when; see expression.Condition.
type Condition = expression.Condition

// Explanation is the verdict of one rule on one event, without state.
type Explanation struct {
	Rule *Rule
	// Verdict is "matched", "not_matched" or "error".
	Verdict string
	// Reason says what decided: the comparisons and the values they saw, or the
	// error.
	Reason string
	// Conditions are the parts of when that all have to hold, evaluated each for
	// itself.
	Conditions []Condition
	// Nearness is the share of when that holds, from 0 to 1.
	Nearness float64
	// OtherType: the event's type is among what keeps when from being true, so
	// the rule was hardly meant for the event.
	OtherType bool
	// Calls are those of a match.
	Calls []Call
	// Ifs say of each call what its if saw; "" without if.
	Ifs []string
	Key string
}

// Explain says of every rule, in file order, what it makes of the event and why.
func (rs *Ruleset) Explain(ev *Event) []Explanation { return rs.explain(rs.rules, ev.Value()) }

// ExplainSome is Explain of the rules that are chosen.
func (rs *Ruleset) ExplainSome(ev *Event, chosen func(*Rule) bool) []Explanation {
	var some []*Rule
	for _, r := range rs.rules {
		if chosen(r) {
			some = append(some, r)
		}
	}
	return rs.explain(some, ev.Value())
}

func (rs *Ruleset) explain(some []*Rule, event map[string]any) []Explanation {
	s := rs.state(event)
	defer rs.release(s)
	out := make([]Explanation, len(some))
	for i, r := range some {
		s.state.Allow(MaxSteps)
		out[i] = r.explain(s.state, event)
	}
	return out
}

// explainer explains conditions over the event.
func explainer() expression.Explainer {
	return expression.Explainer{Names: []string{eventName}, Kind: eventName + ".type"}
}

func (r *Rule) explain(s *expression.State, event map[string]any) Explanation {
	e := Explanation{Rule: r}
	ok, err := r.when.Test(s)
	if err != nil {
		e.Verdict, e.Reason = "error", fmt.Sprintf("when: %s", err)
		if cs, err := explainer().Conditions(r.when.Text(), event); err == nil {
			e.Conditions = cs
		}
		return e
	}
	e.Verdict = "not_matched"
	e.Reason = fmt.Sprintf("when is %t", ok)
	why, err := explainer().Explain(r.when.Text(), ok, event)
	if err == nil { // else its parts took more steps one by one than together
		e.Conditions, e.Nearness, e.OtherType = why.Conditions, why.Nearness, why.OtherKind
	}
	if !ok {
		if err == nil {
			e.Reason = why.Reason
		}
		return e
	}
	m := r.fire(s)
	e.Verdict, e.Calls, e.Key, e.Nearness = "matched", m.Calls, m.Key, 1
	if text := held(e.Conditions); text != "" {
		e.Reason += ": " + text
	}
	if m.KeyErr != nil {
		e.Verdict, e.Reason = "error", m.KeyErr.Error()
	}
	e.Ifs = make([]string, len(m.Calls))
	for i := range m.Calls {
		e.Ifs[i] = r.steps[i].whyIf(s, event)
	}
	return e
}

// held joins conditions that hold, each with what it saw.
func held(cs []Condition) string {
	parts := make([]string, len(cs))
	for i, c := range cs {
		parts[i] = c.Text
		if c.Saw != "" {
			parts[i] += " (" + c.Saw + ")"
		}
	}
	return strings.Join(parts, "; ")
}

// whyIf says what the step's if saw.
func (st *step) whyIf(s *expression.State, event map[string]any) string {
	if st.cond == nil {
		return ""
	}
	ok, err := st.cond.Test(s)
	if err != nil {
		return "if: " + err.Error()
	}
	text := fmt.Sprintf("if is %t", ok)
	why, err := explainer().Explain(st.cond.Text(), ok, event)
	switch {
	case err != nil:
		return text
	case !ok:
		return why.Reason
	}
	return text + ": " + held(why.Conditions)
}
