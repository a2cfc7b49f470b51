package rules_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules"
)

// TestLanes: which calls must not run beside each other.
func TestLanes(t *testing.T) {
	t.Parallel()
	const text = `
rules:
  - {name: free, when: true, key: event.data.k, do: [{action: a, overlap: allow}, {action: b}]}
  - {name: ordered, when: true, key: event.data.k, ordered: true, do: [{action: a}, {action: b}]}
  - {name: steps, when: true, key: event.data.k, do: [{action: a, overlap: queue}, {action: a}, {action: a, overlap: skip}]}
  - {name: whole, when: true, do: [{action: a, overlap: skip}]}
  - {name: all, when: true, ordered: true, do: [{action: a, if: event.data.no}, {action: b, with: "${{ event.data.none }}"}]}
`
	rs, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(text)}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lanes := func(rs *rules.Ruleset, key string) map[string][]string {
		ev, err := rules.NewEvent(rules.Attributes{ID: "1", Source: "s", Type: "t"}, []byte(`{"k":`+key+`}`), rules.Limits{Depth: 9})
		if err != nil {
			t.Fatal(err)
		}
		out := map[string][]string{}
		for _, m := range rs.Match(ev) {
			for _, c := range m.Calls {
				lane := c.Lane
				if c.SkipIfBusy {
					lane += " skip"
				}
				out[m.Rule.Name] = append(out[m.Rule.Name], lane)
			}
		}
		return out
	}
	want := map[string][]string{
		"free":    {"", ""},
		"ordered": {"ordered//ssw1", "ordered//ssw1"},
		"steps":   {"steps/1/ssw1", "", "steps/3/ssw1 skip"},
		"whole":   {"whole/1/- skip"},
		"all":     {"all//-", "all//-"},
	}
	if diff := cmp.Diff(want, lanes(rs, `"sw1"`)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff(want, lanes(rs.AsDryRun(), `"sw1"`)); diff != "" {
		t.Errorf("as a dry run: -want +got\n%s", diff)
	}
	if number := lanes(rs, "1")["ordered"][0]; number == lanes(rs, `"1"`)["ordered"][0] {
		t.Errorf("the number and the text 1 share lane %q", number)
	}
	long := strings.Repeat("x", 10_000)
	if lane := lanes(rs, `"`+long+`"`)["ordered"][0]; len(lane) > 100 || lane == lanes(rs, `"`+long+`y"`)["ordered"][0] {
		t.Errorf("the lane of a long key is %q", lane)
	}
}

// TestLaneErrors: what is wrong with ordered and overlap, and where.
func TestLaneErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, rule, want string }{
		{"ordered is no boolean", `{name: r, when: true, ordered: queue, do: [{action: a}]}`, `r.yaml:2:36: rule "r": want true or false, got text`},
		{"an unknown overlap", `{name: r, when: true, do: [{action: a, overlap: skp}]}`, `r.yaml:2:53: rule "r": unknown overlap "skp" (did you mean "skip"?)`},
		{
			"both", `{name: r, when: true, ordered: true, do: [{action: a, overlap: skip}]}`,
			`r.yaml:2:68: rule "r": overlap has no place in an ordered rule, of which one delivery runs at a time for each key (remove overlap or ordered)`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte("rules:\n  - " + tt.rule + "\n")}}, rules.Options{})
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}
