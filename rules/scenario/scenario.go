// Package scenario runs the tests that people write for their rules: events in,
// the calls they should cause out, on a virtual clock, with once and dedup as in
// the router and with no process, store or network.
package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pointsman/pointsman/rules"
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
}

// Expect is one expected call.
type Expect struct {
	Rule   string `json:"rule"`
	Action string `json:"action"`
	// With is what the parameters must be, as JSON; nil: anything.
	With json.RawMessage `json:"with,omitempty"`
	// Error, when set, is text that must be in the error of a call, or of a rule,
	// that fails; Action is empty for a failing when or key.
	Error string `json:"error,omitempty"`
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
	// Diff has a line for each difference: "- wanted" and "+ got".
	Diff []string
}

// Result is what became of a test.
type Result struct {
	File, Test string
	Failures   []Failure
	// Got is what each step caused, as it could be written under expect.
	Got [][]Expect
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

// Missed lists what no test reached, by rule in file order: a rule that never
// matched as its name, a step of one that did as "name step 2 (action)".
func (c *Coverage) Missed(rs *rules.Ruleset) (missed []string, reached, total int) {
	for _, r := range rs.Rules() {
		for i, action := range r.Actions {
			total++
			if c.steps[r.Name][i] {
				reached++
			} else if c.matched[r.Name] {
				missed = append(missed, fmt.Sprintf("%s step %d (%s)", r.Name, i+1, action))
			}
		}
		if !c.matched[r.Name] {
			missed = append(missed, r.Name)
		}
	}
	return missed, reached, total
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
	w := &world{rs: rs, opt: opt, cov: cov, seen: map[[2]string]time.Time{}, states: map[string][]byte{}}
	for i := range t.Steps {
		st := &t.Steps[i]
		got := w.accept(st.Event, epoch.Add(st.At))
		res.Got = append(res.Got, got)
		if diff := compare(st.Expect, got); len(diff) > 0 {
			res.Failures = append(res.Failures, Failure{
				File: file, Test: t.Name, Step: i + 1, Line: st.Line, Col: st.Col, Diff: diff,
			})
		}
	}
	return res
}

// world is what the router would remember during one test.
type world struct {
	rs     *rules.Ruleset
	opt    Options
	cov    *Coverage
	seen   map[[2]string]time.Time // until when
	states map[string][]byte
}

// accept does with an event what the router does, up to the calls.
func (w *world) accept(ev *rules.Event, now time.Time) []Expect {
	got := []Expect{}
	id := [2]string{ev.Source(), ev.ID()}
	if until, ok := w.seen[id]; ok && now.Before(until) {
		return got
	}
	if w.opt.Dedup > 0 {
		w.seen[id] = now.Add(w.opt.Dedup)
	}
	for _, m := range w.rs.Match(ev) {
		w.cov.reach(m.Rule.Name, -1)
		switch {
		case m.Err != nil:
			got = append(got, Expect{Rule: m.Rule.Name, Error: m.Err.Error()})
			continue
		case m.KeyErr != nil:
			got = append(got, Expect{Rule: m.Rule.Name, Error: m.KeyErr.Error()})
			continue
		}
		if key := m.StateKey(); key != "" {
			eff, err := rules.Step(m.Rule, w.states[key], now)
			if err != nil {
				got = append(got, Expect{Rule: m.Rule.Name, Error: err.Error()})
				continue
			}
			if eff.Changed {
				w.states[key] = eff.Data
			}
			if !eff.Fire {
				continue
			}
		}
		for _, c := range m.Calls {
			if c.Skipped {
				continue
			}
			w.cov.reach(m.Rule.Name, c.Step)
			e := Expect{Rule: m.Rule.Name, Action: c.Action, With: c.Params}
			if c.Err != nil {
				e.With, e.Error = nil, c.Err.Error()
			}
			got = append(got, e)
		}
	}
	return got
}

// compare lists the differences; both are in rule, then step order.
func compare(want, got []Expect) []string {
	var diff []string
	n := max(len(want), len(got))
	same := len(want) == len(got)
	for i := 0; same && i < n; i++ {
		same = matches(want[i], got[i])
	}
	if same {
		return nil
	}
	for i := range n {
		switch {
		case i < len(want) && i < len(got) && matches(want[i], got[i]):
			diff = append(diff, "  "+got[i].text())
		default:
			if i < len(want) {
				diff = append(diff, "- "+want[i].text())
			}
			if i < len(got) {
				diff = append(diff, "+ "+got[i].text())
			}
		}
	}
	return diff
}

func matches(want, got Expect) bool {
	switch {
	case want.Rule != got.Rule || want.Action != "" && want.Action != got.Action:
		return false
	case want.Error != "":
		return strings.Contains(got.Error, want.Error)
	case got.Error != "" || want.Action != got.Action:
		return false
	}
	return want.With == nil || bytes.Equal(want.With, canonical(got.With))
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

// text is the call in one line, as it could be written in the file.
func (e Expect) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "{rule: %s", e.Rule)
	if e.Action != "" {
		fmt.Fprintf(&b, ", action: %s", e.Action)
	}
	if e.With != nil {
		fmt.Fprintf(&b, ", with: %s", canonical(e.With))
	}
	if e.Error != "" {
		fmt.Fprintf(&b, ", error: %q", e.Error)
	}
	b.WriteString("}")
	return b.String()
}

// Parse reads a test file. The error is a strictyaml.Errors with every problem.
func Parse(file string, data []byte) (*Suite, error) {
	doc, err := strictyaml.Parse(file, data)
	if err != nil {
		return nil, err
	}
	s := &Suite{File: file}
	list, _ := doc.Root().Map("tests").Required("tests").List()
	for i, n := range list {
		s.Tests = append(s.Tests, parseTest(n, i))
	}
	return s, doc.Err()
}

func parseTest(n *strictyaml.Node, i int) Test {
	m := n.Map("name", "steps")
	t := Test{Name: fmt.Sprintf("test %d", i+1)}
	t.Line, t.Col = n.Pos()
	if name, ok := m.Required("name").Text(); ok {
		t.Name = name
	}
	steps, _ := m.Required("steps").List()
	var last time.Duration
	for j, sn := range steps {
		st := parseStep(sn, j, last)
		if st.At < last {
			sn.Errorf("at %s is before the step before it (steps go forward in time)", st.At)
		}
		last = max(last, st.At)
		t.Steps = append(t.Steps, st)
	}
	return t
}

func parseStep(n *strictyaml.Node, j int, last time.Duration) Step {
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
	list, _ := m.Required("expect").List()
	for _, xn := range list {
		st.Expect = append(st.Expect, parseExpect(xn))
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

func parseExpect(n *strictyaml.Node) Expect {
	m := n.Map("rule", "action", "with", "error")
	var e Expect
	e.Rule, _ = m.Required("rule").Text()
	if a := m.Key("action"); a != nil {
		e.Action, _ = a.Text()
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
