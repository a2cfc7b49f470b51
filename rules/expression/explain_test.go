package expression_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules/expression"
)

// TestExplain: what each part of a condition is and saw, and how near the whole
// is to true.
func TestExplain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		value      bool
		reason     string
		conditions []expression.Condition
		nearness   float64
		other      bool
	}{
		{
			"each part is evaluated, also behind a false one", `event.type == "net.link.down" and event.data.role == "core" and event.data.n > 3`, false,
			`event.data.role == "core" is false: event.data.role is "access"`,
			[]expression.Condition{
				{`event.type == "net.link.down"`, "true", ``},
				{`event.data.role == "core"`, "false", `event.data.role is "access"`},
				{`event.data.n > 3`, "true", `event.data.n is 4`},
			},
			2.0 / 3, false,
		},
		{
			"another type", `event.type == "net.link.up" and event.data.role == "access"`, false,
			`event.type == "net.link.up" is false: event.type is "net.link.down"`,
			[]expression.Condition{
				{`event.type == "net.link.up"`, "false", `event.type is "net.link.down"`},
				{`event.data.role == "access"`, "true", ``},
			},
			0.5, true,
		},
		{
			"one type of several", `(event.type == "a" or event.type == "net.link.down" and event.data.role == "core") and event.data.n == 4`, false,
			`event.type == "a" is false: event.type is "net.link.down"; event.data.role == "core" is false: event.data.role is "access"`,
			[]expression.Condition{
				{
					`event.type == "a" or event.type == "net.link.down" and event.data.role == "core"`, "false",
					`event.type == "a" is false: event.type is "net.link.down"; event.data.role == "core" is false: event.data.role is "access"`,
				},
				{`event.data.n == 4`, "true", ``},
			},
			0.75, false,
		},
		{
			"a part that fails counts as not held", `event.data.zz == 1 and upper(event.data.zz) == "X"`, false,
			`event.data.zz == 1 is false: event.data.zz is missing`,
			[]expression.Condition{
				{`event.data.zz == 1`, "false", `event.data.zz is missing`},
				{`upper(event.data.zz) == "X"`, "error", `upper: it takes a string, not nil`},
			},
			0, false,
		},
		{
			"negated", `not (event.data.role == "access" or event.data.n == 5) and not event.data.off`, false,
			`event.data.role == "access" is true: event.data.role is "access"`,
			[]expression.Condition{
				{`not (event.data.role == "access" or event.data.n == 5)`, "false", `event.data.role == "access" is true: event.data.role is "access"`},
				{`not event.data.off`, "true", `event.data.off is false`},
			},
			0.75, false,
		},
		{
			"variables", `let r = event.data.role; (let n = event.data.n; n == 5) and (let m = event.data.n; m == 4 and r == "core")`, false,
			`n == 5 is false: n is 4`,
			[]expression.Condition{
				{`let n = event.data.n; n == 5`, "false", `n == 5 is false: n is 4`},
				{`let m = event.data.n; m == 4 and r == "core"`, "false", `r == "core" is false: r is "access"`},
			},
			0.25, false,
		},
		{
			"true", `event.type == "net.link.down" and (event.data.n > 5 or event.data.n > 3)`, true,
			`event.type == "net.link.down" is true: event.type is "net.link.down"; event.data.n > 3 is true: event.data.n is 4`,
			[]expression.Condition{
				{`event.type == "net.link.down"`, "true", ``},
				{`event.data.n > 5 or event.data.n > 3`, "true", `event.data.n > 3 is true: event.data.n is 4`},
			},
			1, false,
		},
		{
			"one condition", `event.data.flag ? event.data.n > 5 : true`, false,
			`event.data.flag is true; event.data.n > 5 is false: event.data.n is 4`,
			[]expression.Condition{{
				`event.data.flag ? event.data.n > 5 : true`, "false",
				`event.data.flag is true; event.data.n > 5 is false: event.data.n is 4`,
			}},
			0, false,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			x := expression.Explainer{Names: []string{"event"}, Kind: "event.type"}
			got, err := x.Explain(tt.text, tt.value, event())
			if err != nil {
				t.Fatal(err)
			}
			want := expression.Explanation{Reason: tt.reason, Conditions: tt.conditions, Nearness: tt.nearness, OtherKind: tt.other}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

// FuzzExplain: whatever a condition is, its explanation agrees with its value:
// what is true is wholly held, and a conjunction is true when all its parts are.
func FuzzExplain(f *testing.F) {
	for _, s := range []string{
		`event.type == "x" and event.data.n == 4`, `not (event.data.off or event.data.n > 3)`,
		`let r = event.data.role; (let n = event.data.n; n == 5) or r in ["access"]`,
		`event.data.flag ? event.data.n > 5 : true`, `any(event.data.ports, .speed > 10) and all(event.data.tags, # != "z")`,
		`event.data.off == nil and upper(event.data.zz) == "X"`, `1 < event.data.n < 9 && event.data.zz not in [nil]`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := expression.NewCompiler("event")
		p, err := c.Compile(text)
		if err != nil {
			return
		}
		s := c.NewState()
		s.Reset(event())
		value, err := p.Test(s)
		if err != nil {
			return
		}
		x := expression.Explainer{Names: []string{"event"}, Kind: "event.type"}
		got, err := x.Explain(text, value, event())
		if err != nil {
			if strings.Contains(err.Error(), "steps") || strings.Contains(err.Error(), "grows over") {
				return
			}
			t.Fatal(err)
		}
		if got.Nearness < 0 || got.Nearness > 1 || value && got.Nearness != 1 || len(got.Conditions) == 0 || got.Reason == "" {
			t.Fatalf("%t: %+v", value, got)
		}
		all := true
		for _, c := range got.Conditions {
			all = all && c.Result == "true"
		}
		if all != value && len(got.Conditions) < expression.MaxConditions {
			t.Fatalf("%t: %+v", value, got.Conditions)
		}
	})
}
