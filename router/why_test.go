package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

const whyRules = `
rules:
  - {name: other-type, when: event.type == "up" and event.data.n == 1, do: [{action: a}]}
  - {name: far, when: event.data.n == 7 and event.data.role == "core", do: [{action: a}]}
  - {name: near, when: event.type == "down" and event.data.role == "core", do: [{action: a}]}
  - name: windowed
    when: event.type == "down"
    key: event.source
    once: 10m
    do:
      - {action: a, with: {n: "${{ event.data.n }}"}}
      - {action: b, if: event.data.n > 5}
  - {name: rehearsed, when: event.data.n == 1, dry_run: true, once: 1h, do: [{action: a}]}
  - {name: skips, when: event.data.n == 1, do: [{action: a, if: event.data.zz != nil}]}
  - {name: no-param, when: event.data.n == 1, do: [{action: a, with: "${{ event.data.zz }}"}]}
  - {name: no-key, when: event.data.n == 1, key: event.data.zz, do: [{action: a}]}
  - {name: no-when, when: event.data.n, do: [{action: a}]}
`

// told is a verdict on one line.
func told(vs []RuleVerdict) []string {
	out := make([]string, len(vs))
	for i := range vs {
		v := &vs[i]
		parts := []string{v.Rule, v.Verdict, v.Key, v.Reason}
		if v.Note != "" {
			parts = append(parts, "note: "+v.Note)
		}
		if v.Now != nil {
			parts = append(parts, "now: "+v.Now.Verdict+": "+v.Now.Reason)
		}
		out[i] = strings.Join(parts, "|")
	}
	return out
}

func (b *bench) why(id string) []string {
	b.t.Helper()
	vs, err := b.r.Why(b.t.Context(), b.recorded(id))
	if err != nil {
		b.t.Fatal(err)
	}
	return told(vs)
}

// What concerned the event comes first, in file order, and what did not by how
// near it was; each with what state, ifs and failures did.
func TestWhy(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, whyRules, Action{Name: "a"}, Action{Name: "b"}))
		b.accept(eventOf(t, "e1", "sw1", `{"n":1,"role":"access"}`))
		at := func(d time.Duration) string { return stamp(b.recorded("e1").Received.Add(d)) }
		want := []string{
			`windowed|matched|sw1|when is true: event.type == "down"; step 2 (b) skipped: event.data.n > 5 is false: event.data.n is 1` +
				`|note: once 10m on key "sw1": this event opened the window; until ` + at(10*time.Minute) + ` others are throttled`,
			`rehearsed|dry_run||when is true: event.data.n == 1` +
				`|note: once 1h: this event opened the window; until ` + at(time.Hour) + ` others are throttled`,
			`skips|skipped||step 1 (a) skipped: event.data.zz != nil is false: event.data.zz is missing`,
			`no-param|error||step 1 (a): with: event.data.zz is nil (write ?? "x" for a default)`,
			`no-key|error||key: event.data.zz is nil (write ?? "x" for a default)`,
			`no-when|error||when: event.data.n is an integer, not true or false (compare it with something)`,
			`near|not_matched||event.data.role == "core" is false: event.data.role is "access"`,
			`far|not_matched||event.data.n == 7 is false: event.data.n is 1`,
			`other-type|not_matched||event.type == "up" is false: event.type is "down"`,
		}
		if diff := cmp.Diff(want, b.why("e1")); diff != "" {
			t.Fatal(diff)
		}

		pass(2 * time.Minute)
		b.accept(eventOf(t, "e2", "sw1", `{"n":2}`))
		end := b.recorded("e1").Received.Add(10 * time.Minute).UTC().Format("2006-01-02T15:04:05.999Z07:00")
		throttled := `windowed|throttled|sw1|once 10m: fired 2m earlier, until ` + end + `|note: it fired for event e1 of source events at ` + at(0)
		if diff := cmp.Diff(throttled, b.why("e2")[0]); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A held fan-out says so of each rule that waits, and a rule held so has opened
// its window.
func TestWhyHeld(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, `
rules:
  - {name: two, when: event.data.n == 1, once: 10m, do: [{action: a}, {action: a}]}
  - {name: none, when: event.data.n == 2, do: [{action: a}]}
`, Action{Name: "a"}))
		b.cfg.FanOut = 1
		b.build()
		b.run()
		b.accept(eventOf(t, "e1", "sw1", `{"n":1}`))
		want := []string{
			`two|held||the event causes 2 deliveries, more than limits.deliveries_per_event (1)|note: once 10m: this event opened the window; until ` +
				stamp(b.recorded("e1").Received.Add(10*time.Minute)) + ` others are throttled`,
			`none|not_matched||event.data.n == 2 is false: event.data.n is 1`,
		}
		if diff := cmp.Diff(want, b.why("e1")); diff != "" {
			t.Fatal(diff)
		}
	})
}

// After a reload the event is still explained by its own rules, and each rule
// says where those now in force would decide otherwise.
func TestWhyAfterReload(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, `
rules:
  - {name: stays, when: event.data.n == 1, do: [{action: a}]}
  - {name: stops, when: event.data.n == 1, do: [{action: a}]}
  - {name: starts, when: event.data.n == 2, do: [{action: a}]}
  - {name: gone, when: event.data.n == 1, do: [{action: a}]}
  - {name: refused, when: event.data.n == 1, do: [{action: strict, with: "${{ event.data.n }}"}]}
  - {name: never, when: event.data.n == 3, do: [{action: a}]}
`, Action{Name: "a"}, Action{Name: "strict"}))
		b.runner.validate = func(action string, _ json.RawMessage) error {
			if action == "strict" {
				return errors.New("it must be an object")
			}
			return nil
		}
		b.accept(eventOf(t, "e1", "sw1", `{"n":1}`))
		if err := b.r.Reload(t.Context(), setup(t, `
rules:
  - {name: stays, when: event.data.n < 2, do: [{action: a}]}
  - {name: stops, when: event.data.n == 9, do: [{action: a}]}
  - {name: starts, when: event.data.n == 1, do: [{action: a}]}
  - {name: refused, when: event.data.n == 1, do: [{action: strict, with: "${{ event.data.n }}"}]}
  - {name: new, when: event.data.n == 1, do: [{action: a}]}
`, Action{Name: "a"}, Action{Name: "strict"})); err != nil {
			t.Fatal(err)
		}
		want := []string{
			`stays|matched||when is true: event.data.n == 1`,
			`stops|matched||when is true: event.data.n == 1|now: not_matched: event.data.n == 9 is false: event.data.n is 1`,
			`gone|matched||when is true: event.data.n == 1|now: not_matched: the rule is not there any more`,
			`refused|error||step 1 (strict): with: it must be an object`,
			`starts|not_matched||event.data.n == 2 is false: event.data.n is 1|now: matched: when is true: event.data.n == 1`,
			`never|not_matched||event.data.n == 3 is false: event.data.n is 1`,
		}
		if diff := cmp.Diff(want, b.why("e1")); diff != "" {
			t.Fatal(diff)
		}
	})
}

// What was recorded holds, whatever is computed again: a rule of which nothing
// was recorded did not match.
func TestWhyRecordedHolds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce"}))
		b.accept(event(t, "e1", "sw1"))
		ev := b.recorded("e1")
		for _, tt := range []struct {
			recorded []store.Verdict
			want     string
		}{
			{nil, `bounce|not_matched|sw1|when was false at that time; computed again it is matched: when is true: event.type == "down"`},
			{[]store.Verdict{{Rule: "bounce", Verdict: VerdictError, Reason: "step 1 (bounce): with: /args: too long"}}, `bounce|error|sw1|step 1 (bounce): with: /args: too long`},
			{[]store.Verdict{{Rule: "bounce", Verdict: VerdictMatched}}, `bounce|matched|sw1|when is true: event.type == "down"`},
		} {
			ev.Verdicts = tt.recorded
			vs, err := b.r.Why(t.Context(), ev)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{tt.want}, told(vs)); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// Without state, what once would do is said to be unknown.
func TestExplainWithoutState(t *testing.T) {
	t.Parallel()
	rs, err := rules.LoadFiles([]rules.File{{Name: "rules.yaml", Data: []byte(whyRules)}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := Explain(rs, eventOf(t, "e1", "sw1", `{"n":6}`))[0]
	want := RuleVerdict{
		Rule: "windowed", File: "rules.yaml", Line: 6, Verdict: VerdictMatched, Reason: `when is true: event.type == "down"`,
		Note: `once 10m on key "sw1": whether it fired before is not known without the router`, Nearness: 1,
		Conditions: []rules.Condition{{Text: `event.type == "down"`, Result: "true"}}, Key: "sw1", Once: "10m",
		Calls: []RuleCall{
			{Action: "a", Params: []byte(`{"n":6}`)},
			{Step: 1, Action: "b", Reason: `if is true: event.data.n > 5 (event.data.n is 6)`, Params: []byte(`null`)},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

// Ten thousand rules are explained in one go; the nearest comes first.
func TestExplainManyRules(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("rules:\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "  - {name: r%d, when: event.type == \"t%d\" and event.data.n > 1, do: [{action: a}]}\n", i, i%100)
	}
	text.WriteString(`  - {name: nearest, when: event.type == "down" and event.data.n > 9, do: [{action: a}]}`)
	rs, err := rules.LoadFiles([]rules.File{{Name: "rules.yaml", Data: []byte(text.String())}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	vs := Explain(rs, eventOf(t, "e1", "sw1", `{"n":6}`))
	if len(vs) != 10_001 || vs[0].Rule != "nearest" || vs[1].Rule != "r0" || vs[10_000].Rule != "r9999" {
		t.Fatalf("%d verdicts, first %s, %s, last %s", len(vs), vs[0].Rule, vs[1].Rule, vs[len(vs)-1].Rule)
	}
}
