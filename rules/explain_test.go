package rules_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pointsman/pointsman/rules"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	rs := load(t, `rules:
  - {name: a, when: event.type == "net.link.down" and event.data.role == "core", do: [{action: log}]}
  - {name: b, when: event.data.zz > 1, do: [{action: log}]}
  - {name: c, when: event.data.count, do: [{action: log}]}
  - {name: d, when: event.data.count == 3, key: event.id, do: [{action: log}]}
  - {name: e, when: event.data.count == 3, key: event.data.zz, do: [{action: log}]}
`)
	var got []string
	for _, e := range rs.ExplainValue(linkDown()) {
		got = append(got, strings.Join([]string{e.Rule.Name, e.Verdict, e.Key, e.Reason}, "|"))
	}
	want := []string{
		`a|not_matched||event.data.role == "core" is false: event.data.role is "access"`,
		`b|not_matched||event.data.zz > 1 is false: event.data.zz is missing`,
		`c|error||when: event.data.count is an integer, not true or false (compare it with something)`,
		`d|matched|e1|when is true: event.data.count == 3`,
		`e|error||key: event.data.zz is nil (write ?? "x" for a default)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestExplainParts: the parts of a when that fails are shown as well, and what
// the ifs of a match saw.
func TestExplainParts(t *testing.T) {
	t.Parallel()
	rs := load(t, `rules:
  - {name: fails, when: event.type == "net.link.down" and upper(event.data.zz) == "X", do: [{action: log}]}
  - name: steps
    when: event.type startsWith "net." and not event.data.zz
    do:
      - {action: log}
      - {action: log, if: event.data.count > 2 or event.data.zz}
      - {action: log, if: event.data.count > 9}
      - {action: log, if: upper(event.data.zz) == "X"}
  - {name: other, when: event.type == "net.link.up" and event.data.count == 3, do: [{action: log}]}
`)
	got := rs.ExplainValue(linkDown())
	want := []rules.Explanation{
		{
			Verdict: "error", Reason: `when: upper: it takes a string, not nil`,
			Conditions: []rules.Condition{
				{Text: `event.type == "net.link.down"`, Result: "true"},
				{Text: `upper(event.data.zz) == "X"`, Result: "error", Saw: `upper: it takes a string, not nil`},
			},
		},
		{
			Verdict: "matched", Nearness: 1,
			Reason: `when is true: event.type startsWith "net." (event.type is "net.link.down"); not event.data.zz (event.data.zz is missing)`,
			Conditions: []rules.Condition{
				{Text: `event.type startsWith "net."`, Result: "true", Saw: `event.type is "net.link.down"`},
				{Text: `not event.data.zz`, Result: "true", Saw: `event.data.zz is missing`},
			},
			Ifs: []string{
				``,
				`if is true: event.data.count > 2 or event.data.zz (event.data.count > 2 is true: event.data.count is 3)`,
				`event.data.count > 9 is false: event.data.count is 3`,
				`if: upper: it takes a string, not nil`,
			},
		},
		{
			Verdict: "not_matched", Reason: `event.type == "net.link.up" is false: event.type is "net.link.down"`, Nearness: 0.5, OtherType: true,
			Conditions: []rules.Condition{
				{Text: `event.type == "net.link.up"`, Result: "false", Saw: `event.type is "net.link.down"`},
				{Text: `event.data.count == 3`, Result: "true"},
			},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(rules.Explanation{}, "Rule", "Calls")); diff != "" {
		t.Error(diff)
	}
}
