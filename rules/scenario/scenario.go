// Package scenario runs the tests that people write for their rules: events in,
// the calls they should cause out, on a virtual clock, with once and dedup as in
// the router and with no process, store or network.
package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/replay"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// epoch is the virtual clock's time at step time 0s.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Suite is one test file.
type Suite struct {
	File  string
	Tests []Test
}

// Test is a named sequence of steps on state of its own.
type Test struct {
	Name      string
	Line, Col int
	Steps     []Step
}

// Step is one event and what it should cause.
type Step struct {
	Line, Col int
	// At is the virtual time since the test began; it does not go back.
	At     time.Duration
	Event  *rules.Event
	Expect []Expect

	expect place // of the value of expect
}

// place is where something begins in a test file, from 1; columns count
// characters.
type place struct{ line, col int }

// Expect is one expected call.
type Expect struct {
	Rule   string `json:"rule"`
	Action string `json:"action"`
	// With is what the parameters must be, as JSON; nil: anything.
	With json.RawMessage `json:"with,omitempty"`
	// Error, when set, is text that must be in the error of a call, or of a rule,
	// that fails; Action is empty for a failing when or key.
	Error string `json:"error,omitempty"`

	at place
}

// Options configure Run.
type Options struct {
	// Dedup is how long an id is remembered; 0: not.
	Dedup time.Duration
}

// Failure is a step that did not cause what it should.
type Failure struct {
	File      string
	Test      string
	Step      int // from 1
	Line, Col int
	// At is the step's virtual time.
	At time.Duration
	// Diff has a line for each call: "  as expected", "- not called", "+ not
	// expected" and "~ called with something else"; below each of the last three,
	// indented further, is why.
	Diff []string

	step *Step
	got  []Expect
}

// Result is what became of a test.
type Result struct {
	File, Test string
	Failures   []Failure
	// Took is real time.
	Took time.Duration
}

// Coverage collects which rules and steps of do some test reached.
type Coverage struct {
	matched map[string]bool
	steps   map[string]map[int]bool
}

// NewCoverage returns an empty Coverage.
func NewCoverage() *Coverage {
	return &Coverage{matched: map[string]bool{}, steps: map[string]map[int]bool{}}
}

func (c *Coverage) reach(rule string, step int) {
	c.matched[rule] = true
	if c.steps[rule] == nil {
		c.steps[rule] = map[int]bool{}
	}
	if step >= 0 {
		c.steps[rule][step] = true
	}
}

// Report says what the tests reached of each rule, in file order.
func (c *Coverage) Report(rs *rules.Ruleset) []RuleCoverage {
	out := make([]RuleCoverage, 0, len(rs.Rules()))
	for _, r := range rs.Rules() {
		rc := RuleCoverage{Rule: r.Name, File: r.File, Line: r.Line, Matched: c.matched[r.Name], Steps: len(r.Actions), Missed: []string{}}
		for i, action := range r.Actions {
			if c.steps[r.Name][i] {
				rc.Reached++
			} else {
				rc.Missed = append(rc.Missed, fmt.Sprintf("step %d (%s)", i+1, action))
			}
		}
		out = append(out, rc)
	}
	return out
}

// RuleCoverage is what the tests reached of one rule.
type RuleCoverage struct {
	Rule string `json:"rule"`
	File string `json:"file"`
	Line int    `json:"line"`
	// Matched: when was true for some event.
	Matched bool `json:"matched"`
	// Reached counts the steps of do that were called, of Steps.
	Reached int `json:"reached"`
	Steps   int `json:"steps"`
	// Missed names the steps that were not, as "step 2 (action)".
	Missed []string `json:"missed"`
}

// Run runs every test of a suite. cov may be nil.
func Run(rs *rules.Ruleset, s *Suite, opt Options, cov *Coverage) []Result {
	if cov == nil {
		cov = NewCoverage()
	}
	out := make([]Result, len(s.Tests))
	for i := range s.Tests {
		begun := time.Now()
		out[i] = run(rs, s.File, &s.Tests[i], opt, cov)
		out[i].Took = time.Since(begun)
	}
	return out
}

func run(rs *rules.Ruleset, file string, t *Test, opt Options, cov *Coverage) Result {
	res := Result{File: file, Test: t.Name}
	w := &world{rs: rs, replay: replay.New(replay.Config{Rules: rs}), opt: opt, cov: cov, seen: map[[2]string]first{}}
	for i := range t.Steps {
		st := &t.Steps[i]
		m := w.accept(i+1, st)
		if same(st.Expect, m.got) {
			continue
		}
		res.Failures = append(res.Failures, Failure{
			File: file, Test: t.Name, Step: i + 1, Line: st.Line, Col: st.Col, At: st.At,
			Diff: m.differences(st.Expect), step: st, got: m.got,
		})
	}
	return res
}

// world is what the router would remember during one test.
type world struct {
	rs     *rules.Ruleset
	replay *replay.World
	opt    Options
	cov    *Coverage
	seen   map[[2]string]first
}

// first is the step that an id was first used in, and until when that counts.
type first struct {
	step  int
	until time.Time
}

// moment is what one step caused.
type moment struct {
	rs *rules.Ruleset
	ev *rules.Event
	// got is every call, as it could be written under expect.
	got []Expect
	// outcomes are those of the rules; none for a duplicate of step dup.
	outcomes []replay.Outcome
	dup      int
}

// accept does with an event what the router does, up to the calls.
func (w *world) accept(step int, st *Step) *moment {
	now := epoch.Add(st.At)
	m := &moment{rs: w.rs, ev: st.Event, got: []Expect{}}
	id := [2]string{st.Event.Source(), st.Event.ID()}
	if old, ok := w.seen[id]; ok && now.Before(old.until) {
		m.dup = old.step
		return m
	}
	if w.opt.Dedup > 0 {
		w.seen[id] = first{step, now.Add(w.opt.Dedup)}
	}
	m.outcomes = w.replay.Accept(st.Event, now)
	for i := range m.outcomes {
		o := &m.outcomes[i]
		w.cov.reach(o.Rule.Name, -1)
		if o.Err != nil {
			m.got = append(m.got, Expect{Rule: o.Rule.Name, Error: o.Err.Error()})
		}
		for _, c := range o.Calls {
			if c.Skipped {
				continue
			}
			w.cov.reach(o.Rule.Name, c.Step)
			e := Expect{Rule: o.Rule.Name, Action: c.Action}
			if c.Err != nil {
				e.Error = c.Err.Error()
			} else {
				e.With = canonical(c.Params)
			}
			m.got = append(m.got, e)
		}
	}
	return m
}

// canonical is the form in which parameters are compared: what encoding/json
// makes of them, members sorted, numbers as written.
func canonical(text json.RawMessage) json.RawMessage {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return text
	}
	out, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return out
}

// Parse reads a test file. With rs, an expected call must be one that the rules
// can make. The error is a strictyaml.Errors with every problem.
func Parse(file string, data []byte, rs *rules.Ruleset) (*Suite, error) {
	doc, err := strictyaml.Parse(file, data)
	if err != nil {
		return nil, err
	}
	p := parser{}
	if rs != nil {
		p.actions = make(map[string][]string, len(rs.Rules()))
		for _, r := range rs.Rules() {
			p.names = append(p.names, r.Name)
			p.actions[r.Name] = r.Actions
		}
	}
	s := &Suite{File: file}
	list, _ := doc.Root().Map("tests").Required("tests").List()
	for i, n := range list {
		s.Tests = append(s.Tests, p.test(n, i))
	}
	return s, doc.Err()
}

// parser knows the rules and the actions of each; actions is nil when they do
// not matter.
type parser struct {
	names   []string
	actions map[string][]string
}

func (p *parser) test(n *strictyaml.Node, i int) Test {
	m := n.Map("name", "steps")
	t := Test{Name: fmt.Sprintf("test %d", i+1)}
	t.Line, t.Col = n.Pos()
	if name, ok := m.Required("name").Text(); ok {
		t.Name = name
	}
	steps, _ := m.Required("steps").List()
	var last time.Duration
	for j, sn := range steps {
		st := p.step(sn, j, last)
		if st.At < last {
			sn.Errorf("at %s is before the step before it (steps go forward in time)", st.At)
		}
		last = max(last, st.At)
		t.Steps = append(t.Steps, st)
	}
	return t
}

func (p *parser) step(n *strictyaml.Node, j int, last time.Duration) Step {
	m := n.Map("at", "event", "expect")
	st := Step{At: last}
	st.Line, st.Col = n.Pos()
	if at := m.Key("at"); at != nil {
		if d, ok := at.Duration(); ok {
			st.At = d
		}
	}
	if en := m.Required("event"); en != nil {
		st.Event = parseEvent(en, j)
	}
	xs := m.Required("expect")
	st.expect.line, st.expect.col = xs.Pos()
	list, _ := xs.List()
	for _, xn := range list {
		st.Expect = append(st.Expect, p.expect(xn))
	}
	return st
}

func parseEvent(n *strictyaml.Node, j int) *rules.Event {
	v, ok := n.Any()
	fields, isMap := v.(map[string]any)
	if !ok || !isMap {
		n.Errorf("want the attributes and the data of an event")
		return nil
	}
	line, _ := n.Pos()
	for name, value := range map[string]any{
		"specversion": rules.SpecVersion, "source": "test",
		// Fresh for each step, unless the test gives one.
		"id": fmt.Sprintf("step-%d-line-%d", j+1, line),
	} {
		if _, given := fields[name]; !given {
			fields[name] = value
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		n.Errorf("the event is not JSON: %s", err)
		return nil
	}
	ev, err := rules.ParseEvent(text, rules.Limits{})
	var bad *rules.EventError
	if errors.As(err, &bad) { // its offset is one in text, not in the file
		n.Errorf("event: %s", bad.Msg)
		return nil
	}
	return ev
}

func (p *parser) expect(n *strictyaml.Node) Expect {
	m := n.Map("rule", "action", "with", "error")
	var e Expect
	e.at.line, e.at.col = n.Pos()
	rule := m.Required("rule")
	e.Rule, _ = rule.Text()
	if a := m.Key("action"); a != nil {
		e.Action, _ = a.Text()
		p.check(rule, a, e)
	} else {
		p.check(rule, nil, e)
	}
	if x := m.Key("error"); x != nil {
		e.Error, _ = x.Text()
	}
	if e.Action == "" && e.Error == "" && m != nil {
		n.Errorf("an expected call needs an action (or an error)")
	}
	if w := m.Key("with"); w != nil {
		if v, ok := w.Any(); ok {
			text, err := json.Marshal(v)
			if err != nil {
				w.Errorf("with is not JSON: %s", err)
			}
			e.With = canonical(text)
		}
	}
	return e
}

// check reports a call that no rule can make.
func (p *parser) check(rule, action *strictyaml.Node, e Expect) {
	if p.actions == nil || e.Rule == "" {
		return
	}
	actions, known := p.actions[e.Rule]
	switch {
	case !known:
		rule.Errorf("there is no rule %q (%s)", e.Rule, strictyaml.Suggest(e.Rule, p.names))
	case e.Action != "" && !slices.Contains(actions, e.Action):
		action.Errorf("rule %q has no step with action %q (%s)", e.Rule, e.Action, strictyaml.Suggest(e.Action, unique(actions)))
	}
}

func unique(names []string) []string { return slices.Compact(slices.Sorted(slices.Values(names))) }
