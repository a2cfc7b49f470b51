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
				"step 1", "- {rule: bounce, action: b}", `+ {rule: bounce, action: a, with: {"n":1}}`,
				"- {rule: bounce, action: a}", "+ {rule: bounce, action: b, with: null}",
				"  {rule: keyless, action: c, with: null}",
			},
		},
		{
			"an error that nobody expected", `
      - event: {type: down, data: {n: 1}}
        expect: [{rule: bounce, action: a}]`,
			[]string{
				"step 1", `  {rule: bounce, action: a, with: {"n":1}}`,
				`+ {rule: keyless, error: "key: event.data.key is nil (write ?? \"x\" for a default)"}`,
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
			s, err := scenario.Parse("t.yaml", []byte("tests:\n  - name: x\n    steps:"+tt.steps+"\n"))
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
	_, err := scenario.Parse("t.yaml", []byte(text))
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
`))
	if err != nil {
		t.Fatal(err)
	}
	cov := scenario.NewCoverage()
	scenario.Run(rs, s, scenario.Options{}, cov)
	missed, reached, total := cov.Missed(rs)
	if diff := cmp.Diff([]string{"bounce step 2 (b)", "keyless step 1 (c)"}, missed); diff != "" || reached != 1 || total != 3 {
		t.Errorf("reached %d of %d, missed (-want +got):\n%s", reached, total, diff)
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
		s, err := scenario.Parse("t.yaml", []byte(text.String()))
		if err != nil {
			b.Fatal(err)
		}
		scenario.Run(rs, s, scenario.Options{}, nil)
	}
}
