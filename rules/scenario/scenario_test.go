package scenario_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/scenario"
)

const linkRules = `rules:
  - name: bounce
    when: event.type == "down"
    key: event.source
    once: 10m
    do:
      - {action: a, with: {n: "${{ event.data.n }}"}}
      - {action: b, if: event.data.big}
  - name: keyless
    when: event.type == "down"
    key: event.data.key
    do: [{action: c}]
`

func load(t testing.TB, text string) *rules.Ruleset {
	t.Helper()
	rs, err := rules.Load(fstest.MapFS{"r.yaml": {Data: []byte(text)}}, rules.Options{}, "r.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func TestRun(t *testing.T) {
	t.Parallel()
	rs := load(t, linkRules)
	tests := []struct {
		name, steps string
		want        []string // of the failures: step, then the difference
	}{
		{
			"calls in rule, then step order", `
      - event: {type: down, data: {n: 1, big: true, key: k}}
        expect: [{rule: bounce, action: a, with: {n: 1}}, {rule: bounce, action: b}, {rule: keyless, action: c}]`,
			nil,
		},
		{
			"another order is a difference", `
      - event: {type: down, data: {n: 1, big: true, key: k}}
        expect: [{rule: bounce, action: b}, {rule: bounce, action: a}, {rule: keyless, action: c}]`,
			[]string{
				"step 1", "- {rule: bounce, action: b}",
				"    called once, not here (calls stand in the order of the rules and of their do)",
				"  {rule: bounce, action: a, with: {n: 1}}",
				"+ {rule: bounce, action: b}", "    by the rule at r.yaml:2: no window of once 10m was open",
				"  {rule: keyless, action: c}",
			},
		},
		{
			"an error that nobody expected", `
      - event: {type: down, data: {n: 1}}
        expect: [{rule: bounce, action: a}]`,
			[]string{
				"step 1", `  {rule: bounce, action: a, with: {n: 1}}`,
				`+ {rule: keyless, error: "key: event.data.key is nil (write ?? \"x\" for a default)"}`,
				"    by the rule at r.yaml:9",
			},
		},
		{
			"an expected error", `
      - event: {type: down, data: {n: 1}}
        expect: [{rule: bounce, action: a}, {rule: keyless, error: is nil}]`,
			nil,
		},
		{
			"the window ends at exactly once", `
      - event: {type: down, data: {n: 1, key: k}}
        expect: [{rule: bounce, action: a}, {rule: keyless, action: c}]
      - at: 9m59s
        event: {type: down, data: {n: 1, key: k}}
        expect: [{rule: keyless, action: c}]
      - at: 10m
        event: {type: down, data: {n: 1, key: k}}
        expect: [{rule: bounce, action: a}, {rule: keyless, action: c}]`,
			nil,
		},
		{
			"a duplicate causes nothing, until the window of dedup is over", `
      - event: {id: x, type: down, data: {n: 1, key: k}}
        expect: [{rule: bounce, action: a}, {rule: keyless, action: c}]
      - at: 23h
        event: {id: x, type: down, data: {n: 1, key: k}}
        expect: []
      - at: 24h
        event: {id: x, type: down, data: {n: 1, key: k}}
        expect: [{rule: bounce, action: a}, {rule: keyless, action: c}]`,
			nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := scenario.Parse("t.yaml", []byte("tests:\n  - name: x\n    steps:"+tt.steps+"\n"), nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range scenario.Run(rs, s, scenario.Options{Dedup: 24 * time.Hour}, nil)[0].Failures {
				got = append(append(got, fmt.Sprintf("step %d", f.Step)), f.Diff...)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("failures (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	text := `tests:
  - name: x
    steps:
      - at: 2m
        event: {type: "", data: {}}
        expect: [{rule: r}]
      - at: 1m
        event: [1]
`
	want := []string{
		`t.yaml:5:16: event: attribute type is empty`,
		`t.yaml:6:18: an expected call needs an action (or an error)`,
		`t.yaml:7:9: "expect" is missing`,
		`t.yaml:7:9: at 1m0s is before the step before it (steps go forward in time)`,
		`t.yaml:8:16: want the attributes and the data of an event`,
	}
	_, err := scenario.Parse("t.yaml", []byte(text), nil)
	if err == nil {
		t.Fatal("no error")
	}
	var got []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if strings.HasPrefix(line, "t.yaml") {
			got = append(got, line)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestCoverage(t *testing.T) {
	t.Parallel()
	rs := load(t, linkRules)
	s, err := scenario.Parse("t.yaml", []byte(`tests:
  - name: x
    steps:
      - event: {type: down, data: {n: 1}}
        expect: []
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	cov := scenario.NewCoverage()
	scenario.Run(rs, s, scenario.Options{}, cov)
	want := []scenario.RuleCoverage{
		{Rule: "bounce", File: "r.yaml", Line: 2, Matched: true, Reached: 1, Steps: 2, Missed: []string{"step 2 (b)"}},
		{Rule: "keyless", File: "r.yaml", Line: 9, Matched: true, Steps: 1, Missed: []string{"step 1 (c)"}},
	}
	if diff := cmp.Diff(want, cov.Report(rs)); diff != "" {
		t.Errorf("coverage (-want +got):\n%s", diff)
	}
}

// BenchmarkThousandSteps is one run of a test of a thousand steps.
func BenchmarkThousandSteps(b *testing.B) {
	rs := load(b, linkRules)
	var text strings.Builder
	text.WriteString("tests:\n  - name: x\n    steps:\n")
	for range 1000 {
		text.WriteString("      - event: {type: down, data: {n: 1, key: k}}\n        expect: [{rule: keyless, action: c}]\n")
	}
	for b.Loop() {
		s, err := scenario.Parse("t.yaml", []byte(text.String()), nil)
		if err != nil {
			b.Fatal(err)
		}
		scenario.Run(rs, s, scenario.Options{}, nil)
	}
}

const pathRules = `rules:
  - name: bounce
    when: event.type == "down" and event.data.role == "access"
    key: event.data.port
    once: 10m
    do:
      - {action: bounce, with: {args: ["-p", "${{ event.data.port }}"], retries: 2}}
      - {action: page, if: event.data.big}
  - name: lab
    when: event.data.role == "lab"
    do: [{action: bounce}, {action: bounce, with: {again: true}}]
`

// A failure says what is not as expected, where, and why.
func TestFailures(t *testing.T) {
	t.Parallel()
	const (
		down = "      - {at: %s, event: {type: down, data: {role: access, port: eth1}}, expect: [%s]}\n"
		call = `{rule: bounce, action: bounce, with: {args: ["-p", eth1], retries: 2}}`
	)
	step := func(at, expect string) string { return fmt.Sprintf(down, at, expect) }
	for _, tt := range []struct {
		name, steps string
		want        []string
	}{
		{"parameters", step("0s", `{rule: bounce, action: bounce, with: {args: ["-p", eth2], retries: 2, more: x}}`), []string{
			"~ {rule: bounce, action: bounce}", `    with.args[1]: want "eth2", got "eth1"`, `    with.more: want "x", got nothing`,
		}},
		{"throttled", step("1m", call) + step("10m", call), []string{
			"- " + call, "    throttled: once 10m: fired at 1m, quiet until at 11m",
		}},
		{"not throttled", step("1m", call) + step("11m", ""), []string{
			"+ " + call, "    by the rule at r.yaml:2: no window of once 10m was open",
		}},
		{"not matched", "      - {event: {type: down, data: {role: core}}, expect: [{rule: bounce, action: bounce}]}\n", []string{
			"- {rule: bounce, action: bounce}", `    not_matched: event.data.role == "access" is false: event.data.role is "core"`,
		}},
		{"skipped", step("0s", "{rule: bounce, action: bounce}, {rule: bounce, action: page}"), []string{
			"  " + call, "- {rule: bounce, action: page}", "    matched: step 2 (page) skipped: its if is false",
		}},
		{
			"a duplicate", "      - {event: {id: x, type: up}, expect: []}\n      - {at: 1h, event: {id: x, type: down, data: {role: access}}, expect: [{rule: bounce, action: page}]}\n",
			[]string{"- {rule: bounce, action: page}", `    duplicate: the event has the id "x" of step 1`},
		},
		{"an error instead of a call", "      - {event: {type: down, data: {role: access, port: 1.5}}, expect: [{rule: bounce, action: bounce}]}\n", []string{
			"- {rule: bounce, action: bounce}",
			"    error: key: event.data.port is a float (a key is a string, an integer or a boolean)",
			`+ {rule: bounce, error: "key: event.data.port is a float (a key is a string, an integer or a boolean)"}`,
			"    by the rule at r.yaml:2",
		}},
		{"another error", "      - {event: {type: down, data: {role: access}}, expect: [{rule: bounce, error: is a list}]}\n", []string{
			"~ {rule: bounce}", `    error: want text with "is a list", got "key: event.data.port is nil (write ?? \"x\" for a default)"`,
		}},
		{"a call instead of an error", step("0s", "{rule: bounce, action: bounce, error: nil}"), []string{
			"~ {rule: bounce, action: bounce}", `    error: want text with "nil", got a call with {"args":["-p","eth1"],"retries":2}`,
		}},
		{"too often", "      - {event: {type: x, data: {role: lab}}, expect: [{rule: lab, action: bounce, with: {again: true}}]}\n", []string{
			"+ {rule: lab, action: bounce}", "    by the rule at r.yaml:9", "  {rule: lab, action: bounce, with: {again: true}}",
		}},
		{"one too few", "      - {event: {type: x, data: {role: lab}}, expect: [{rule: lab, action: bounce}, {rule: lab, action: bounce}, {rule: lab, action: bounce}]}\n", []string{
			"  {rule: lab, action: bounce}", "  {rule: lab, action: bounce, with: {again: true}}", "- {rule: lab, action: bounce}",
			"    called 2 times, not here (calls stand in the order of the rules and of their do)",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rs := load(t, pathRules)
			s, err := scenario.Parse("t.yaml", []byte("tests:\n  - name: x\n    steps:\n"+tt.steps), rs)
			if err != nil {
				t.Fatal(err)
			}
			failures := scenario.Run(rs, s, scenario.Options{Dedup: 24 * time.Hour}, nil)[0].Failures
			if len(failures) != 1 || failures[0].Step != len(s.Tests[0].Steps) {
				t.Fatalf("failures %+v", failures)
			}
			if diff := cmp.Diff(tt.want, failures[0].Diff); diff != "" {
				t.Errorf("difference (-want +got):\n%s", diff)
			}
		})
	}
}

// What no rule can do is no test that fails but a mistake in the file.
func TestParseChecksNames(t *testing.T) {
	t.Parallel()
	text := []byte(`tests:
  - name: x
    steps:
      - event: {type: x}
        expect: [{rule: bonce, action: bounce}, {rule: bounce, action: pager}, {rule: lab, error: x}]
`)
	want := []string{
		`t.yaml:5:25: there is no rule "bonce" (did you mean "bounce"?)`,
		`t.yaml:5:72: rule "bounce" has no step with action "pager" (did you mean "page"?)`,
	}
	_, err := scenario.Parse("t.yaml", text, load(t, pathRules))
	if err == nil {
		t.Fatal("no error")
	}
	var got []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if strings.HasPrefix(line, "t.yaml") {
			got = append(got, line)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if _, err := scenario.Parse("t.yaml", text, nil); err != nil {
		t.Errorf("without rules: %v", err)
	}
}

// An update changes what failed, in the form it has, and nothing else; the
// result passes.
func TestUpdate(t *testing.T) {
	t.Parallel()
	const long = `{rule: bounce, action: bounce, with: {args: ["-p", a-port-with-a-long-name-that-takes-a-lot-of-room], retries: 2}}`
	for _, tt := range []struct{ name, steps, want string }{
		{
			"in one line, the call that is right as it is", `
      - {at: 1m, event: {type: down, data: {role: access, port: eth1, big: true}}, expect: [{action: bounce, rule: bounce}]} # why
`, `
      - {at: 1m, event: {type: down, data: {role: access, port: eth1, big: true}}, expect: [{rule: bounce, action: bounce}, {rule: bounce, action: page}]} # why
`,
		},
		{
			"nothing any more", `
      - event: {type: up} # up
        expect: [{rule: lab, action: bounce, with: {"]": ']'}}] # none
`, `
      - event: {type: up} # up
        expect: [] # none
`,
		},
		{
			"too long for a line", `
      - expect: [] # all
        event: {type: down, data: {role: access, port: a-port-with-a-long-name-that-takes-a-lot-of-room}}
      # next
`, `
      - expect: # all
          - ` + long + `
        event: {type: down, data: {role: access, port: a-port-with-a-long-name-that-takes-a-lot-of-room}}
      # next
`,
		},
		{
			"a block", `
      - event: {type: down, data: {role: access, port: "1é", big: true}}
        expect:
          # the port
          - rule: bounce # as it should
            action: bounce

            # any with
          - rule: lab
            action: bounce
          # the pager
          - {rule: lab, action: bounce}
      # two flows in a line
      - {event: {type: é, data: {role: lab}}, expect: []}
`, `
      - event: {type: down, data: {role: access, port: "1é", big: true}}
        expect:
          # the port
          - rule: bounce # as it should
            action: bounce

            # any with
          - {rule: bounce, action: page}
      # two flows in a line
      - {event: {type: é, data: {role: lab}}, expect: [{rule: lab, action: bounce}, {rule: lab, action: bounce, with: {again: true}}]}
`,
		},
		{
			"a block in the column of its key, to nothing", `
      - event: {type: up}
        expect: # nothing
        - rule: lab
          action: bounce
        at: 1m
`, `
      - event: {type: up}
        expect: [] # nothing
        at: 1m
`,
		},
		{
			"over several lines", `
      - event: {type: x, data: {role: lab}}
        expect: [
          {rule: lab, action: bounce}, # ]
          {rule: bounce, action: page},
        ]
`, `
      - event: {type: x, data: {role: lab}}
        expect: [{rule: lab, action: bounce}, {rule: lab, action: bounce, with: {again: true}}]
`,
		},
		{
			"a failing key", `
      - event: {type: down, data: {role: access}}
        expect: []
`, `
      - event: {type: down, data: {role: access}}
        expect: [{rule: bounce, error: "key: event.data.port is nil (write ?? \"x\" for a default)"}]
`,
		},
	} {
		for _, end := range []string{"\n", "\r\n"} {
			t.Run(fmt.Sprintf("%s %q", tt.name, end), func(t *testing.T) {
				t.Parallel()
				rs := load(t, pathRules)
				file := func(steps string) []byte {
					return []byte(strings.ReplaceAll("# head\ntests:\n  - name: x\n    steps:"+steps+"  # last\n", "\n", end))
				}
				run := func(text []byte) []scenario.Result {
					s, err := scenario.Parse("t.yaml", text, nil)
					if err != nil {
						t.Fatalf("%v\n%s", err, text)
					}
					return scenario.Run(rs, s, scenario.Options{}, nil)
				}
				got, err := scenario.Update(file(tt.steps), run(file(tt.steps)))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(file(tt.want)), string(got)); diff != "" {
					t.Errorf("file (-want +got):\n%s", diff)
				}
				if f := run(got)[0].Failures; len(f) > 0 {
					t.Errorf("the result fails: %v", f[0].Diff)
				}
			})
		}
	}
}

// FuzzUpdate: a file that loads is updated to one that loads and passes, or not
// at all, whatever its form.
func FuzzUpdate(f *testing.F) {
	f.Add("      - event: {type: up}\n        expect:\n        - {rule: lab, action: bounce}\n        - rule: lab # x\n          error: a\n")
	f.Add("      - {event: {type: down, data: {role: lab}}, expect: [{rule: lab, action: bounce, with: {']': \"]\", a: b'c}}]} # y\n")
	f.Add("      - event: {type: x, data: {role: lab}}\n        expect: [ # ]\n          {rule: lab, action: \"bounce\"},\n          ]\n        at: 1m\n")
	f.Add("      - expect:\n          -\n            rule: bounce\n            action: bounce\n        event: {type: x}\n      - expect: []\n        event: {type: down, data: {role: access, port: é}}\n")
	f.Add("      - {expect: [{rule: lab, action: bounce}], event: {type: x}}\n      - {expect: [], event: {type: x, data: {role: lab}}}\n")
	rs := load(f, pathRules)
	f.Fuzz(func(t *testing.T, steps string) {
		text := []byte("tests:\n  - name: x\n    steps:\n" + steps)
		s, err := scenario.Parse("t.yaml", text, nil)
		if err != nil {
			t.Skip()
		}
		run := func(s *scenario.Suite) []scenario.Result {
			return scenario.Run(rs, s, scenario.Options{Dedup: time.Hour}, nil)
		}
		got, err := scenario.Update(text, run(s))
		if err != nil {
			t.Skip()
		}
		s, err = scenario.Parse("t.yaml", got, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, got)
		}
		for _, r := range run(s) {
			for _, x := range r.Failures {
				t.Fatalf("step %d: %v\n%s", x.Step, x.Diff, got)
			}
		}
	})
}
