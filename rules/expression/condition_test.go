package expression_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules/expression"
)

// attributes are facts as rules has them of events.
func attributes(t expression.Term) expression.Fact {
	switch t.Key() {
	case expression.PathTerm("event", "type").Key():
		return expression.Fact{Text: "event.type is text", Atoms: []expression.Atom{
			{Op: expression.OfType, Types: expression.StringType},
		}}
	case expression.PathTerm("event", "specversion").Key():
		return expression.Fact{Text: `event.specversion is "1.0"`, Atoms: []expression.Atom{
			{Op: expression.Equal, Values: []any{"1.0"}},
		}}
	}
	return expression.Fact{}
}

func TestDead(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want string }{
		{`event.type == "a"`, ""},
		{`event.type == "a" and event.type == "b"`, `0..: event.type == "b" contradicts event.type == "a"`},
		{`event.type == "a" and event.type != "a"`, `whole`},
		{`event.data.x > 5 and event.data.x < 3`, `event.data.x < 3 contradicts event.data.x > 5`},
		{`event.data.x > 5 and event.data.x < 6`, ""},
		{`event.data.x > 5 and event.data.x <= 5`, "whole"},
		{`event.data.x >= 5 and event.data.x <= 5 and event.data.x != 5.0`, "whole"},
		{`event.data.x >= 5 and event.data.x <= 5`, ""},
		{`event.data.x == nil and event.data.x > 3`, "whole"},
		{`event.data.x > 9007199254740992 and event.data.x < 9007199254740993.0`, "whole"},
		{`event.data.x in []`, "event.data.x in [] never holds"},
		{`event.data.x in ["a"] and event.data.x == "b"`, "whole"},
		{`event.data.x in ["a", "b"] and event.data.x in ["b", "c"] and event.data.x not in ["b"]`, "whole"},
		{`event.data.x in ["a", "b"] and event.data.x not in ["b"]`, ""},
		{`event.data.x startsWith "net." and event.data.x == "host.up"`, "whole"},
		{`event.data.x startsWith "net." and event.data.x startsWith "host."`, "whole"},
		{`event.data.x startsWith "net." and event.data.x startsWith "net.link"`, ""},
		{`event.data.x startsWith "net." and not (event.data.x startsWith "ne")`, "whole"},
		{`event.data.x endsWith "a" and event.data.x endsWith "b"`, "whole"},
		{`event.data.x contains "abc" and event.data.x not contains "b"`, "whole"},
		{`event.data.x startsWith "b" and event.data.x < "a"`, "whole"},
		{`event.data.x startsWith "b" and event.data.x > "c"`, "whole"},
		{`event.data.x startsWith "b" and event.data.x > "ba"`, ""},
		{`event.data.x matches "^a" and event.data.x == "b"`, "whole"},
		{`event.data.x matches "^a" and event.data.x not matches "^a"`, "whole"},
		{`event.type == 5`, "event.type == 5 never holds: event.type is text"},
		{`event.type > 5`, "whole"},
		{`event.type == nil`, "whole"},
		{`event.type.kind == "a"`, "event.type.kind == \"a\" never holds: event.type is text"},
		{`event.specversion != "1.0"`, "whole"},
		{`event.data.x > true`, "whole"},
		{`event.data.x contains 5`, "whole"},
		{`event.data.x == "a" and event.data.x.y == 1`, "whole"},
		{`event.data.x[0] == 1 and event.data.x.y == 1`, "whole"},
		{`type(event.data.x) == "string" and event.data.x > 3`, "whole"},
		{`type(event.data.x) == "text"`, "whole"},
		{`event.type == "a" and (event.type == "b" or event.type == "c")`, `no side of event.type == "b" or event.type == "c" is possible`},
		{`event.type == "a" and (event.type == "b" or event.data.x)`, `part event.type == "b"`},
		{`event.type == "a" or event.data.x in []`, "part event.data.x in []"},
		{`event.data.x and not event.data.x`, "whole"},
		{`not (event.type == "a" or event.type != "a")`, "whole"},
		{`event.type == "a" ? event.type == "b" : event.type == "a"`, "whole"},
		{`event.type == "a" ? event.type == "b" : event.data.x`, ""},
		{`let d = event.data; d.x == 1 and event.data.x == 2`, "whole"},
		{`let w = "a"; event.type == w and event.type == "b"`, "whole"},
		{`(let v = event.data.x; len(v) > 3) and (let v = event.data.y; len(v) < 2)`, ""},
		{`(let v = event.data.x; len(v) > 3) and (let w = event.data.x; len(w) < 2)`, ""},
		{`len(event.data.x) > 3 and len(event.data.x) < 3`, "whole"},
		{`(event.data.x ?? 0) > 5 and event.data.x == nil`, "whole"},
		{`(event.data.x ?? 7) > 5 and event.data.x == nil`, ""},
		{`"a" in event.data.x and "a" not in event.data.x`, "whole"},
		{`any(event.data.x, # == "a") and none(event.data.x, # == "a")`, "whole"},
		{`any(event.data.x, # == "a") and event.data.x == nil`, "whole"},
		{`hasPrefix(event.data.x, "a") and event.data.x == "b"`, "whole"},
		{`event.data.x in 1..5 and event.data.x > 7`, "whole"},
		{`event.data.x not in 1..5 and event.data.x > 7`, ""},
		{`5 < event.data.x and event.data.x < 5`, "whole"},
		{`3 < event.data.x < 2`, "whole"},
		{`(event.data.a == 1 or event.data.a == 2) and (event.data.a == 3 or event.data.a == 4)`, ""},
		{`(event.data.a == 1 or event.data.b == 2) and event.data.a == 3 and event.data.b != 2`, "whole"},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			c, err := expression.ConditionsOf(tt.text, "event")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range c.Dead(attributes) {
				kind := "part"
				if d.Whole {
					kind = "whole"
				}
				got = append(got, fmt.Sprintf("%s %s 0..: %s", kind, d.Part, d.Why))
			}
			if text := strings.Join(got, "\n"); (tt.want == "") != (text == "") || !strings.Contains(text, tt.want) {
				t.Errorf("got  %s\nwant %s", text, tt.want)
			}
		})
	}
}

func TestCanBeFalse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`event.data.x == nil or event.data.x != nil`:     false,
		`event.specversion == "1.0"`:                     false,
		`event.type != nil`:                              false,
		`event.data.x > 3 or event.data.x <= 3`:          true,
		`event.data.x > 3 or not (event.data.x > 3)`:     false,
		`event.data.x or not event.data.x`:               false,
		`event.data.x == 1 or event.data.y == 2`:         true,
		`len(event.data.x) > 1 or len(event.data.x) < 5`: true,
	} {
		c, err := expression.ConditionsOf(text, "event")
		if err != nil {
			t.Fatal(err)
		}
		if got := c.CanBeFalse(attributes); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}

func TestClauses(t *testing.T) {
	t.Parallel()
	const none = "none"
	for text, want := range map[string]string{
		`event.type == "a"`:                                           "type = a",
		`event.type == "a" and event.data.x > 3`:                      "type = a & data.x > 3",
		`event.type == "a" or event.data.x > 3`:                       "type = a | data.x > 3",
		`event.type == "a" or event.type in ["b", "c"]`:               "type = a b c",
		`event.type == "a" or event.data.x != 3`:                      none,
		`event.data.x == nil`:                                         none,
		`event.data.x`:                                                "data.x = true | data.x is other",
		`event.type startsWith "a" and event.type endsWith "b"`:       "type ^ a & type $ b",
		`event.type startsWith ""`:                                    none,
		`event.type matches "^net\\.(link|port)"`:                     "type ^ net.",
		`event.type matches "^(core|edge)-"`:                          "type ^ core | type ^ edge",
		`event.type matches "(a.*xy|z[0-9]{2}abc+)$"`:                 "type * xy | type * ab",
		`event.type matches "^(sw|rt)[0-9]+[.]d1[.]x(n|o)$"`:          "type * .d1.x",
		`event.type matches "^net[0-9]+down$"`:                        "type $ down & type ^ net",
		`event.type matches "(ab|c)?x+(long|short)[0-9]"`:             "type * long | type * short",
		`event.type matches "^(a|b)*$"`:                               none,
		`event.type matches "error|(?i)failed"`:                       none,
		`event.type matches "(?i)net"`:                                none,
		`glob("sw-*", event.data.x)`:                                  "data.x ^ sw-",
		`any(event.data.tags, # in ["a", "b"])`:                       "data.tags any a b | data.tags is other",
		`"a" in event.data.tags`:                                      "data.tags has a | data.tags is other",
		`event.type == "a" and "a" in event.data.tags`:                "type = a & data.tags has a | type = a & data.tags is other",
		`"a" in event.data.tags and event.type == "a"`:                "data.tags has a & type = a | data.tags is other",
		`(event.data.n ?? 0) > 5`:                                     "data.n > 5",
		`len(event.data.tags) > 5`:                                    none,
		`len(event.data.tags) > 5 and event.type == "a"`:              none,
		`event.type == "a" and len(event.data.tags) > 5`:              "type = a",
		`event.data.n + 1 > 5 or event.type == "a"`:                   none,
		`event.data.a == event.data.b`:                                none,
		`not (event.type != "a")`:                                     "type = a",
		`not (event.type == "a")`:                                     none,
		`event.data.f ? event.type == "a" : event.type == "b"`:        "data.f = true & type = a | type = b | data.f is other",
		`let t = event.type; t == "a"`:                                "type = a",
		`let n = len(event.data.x); event.type == "a"`:                none,
		`count(event.data.ports, .up) >= 2`:                           none,
		`event.data["odd name"][0] == "a" or event.data.x in []`:      "data.odd.name.0 = a",
		`event.data.x not in ["a"] and event.data.x contains "b"`:     "data.x * b",
		`event.type in ["a", "b"] and event.data.interface == "eth1"`: "type = a b & data.interface = eth1",
		`event.type == 5 and 5`:                                       "type = 5",
		`false`:                                                       "",
		`"role"`:                                                      none,
	} {
		c, err := expression.ConditionsOf(text, "event")
		if err != nil {
			t.Fatal(err)
		}
		got := none
		if clauses, ok := c.WhenTrueOrFailed().Clauses(); ok {
			var parts []string
			for _, cl := range clauses {
				parts = append(parts, clauseText(cl))
			}
			got = strings.Join(parts, " | ")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// clauseText shows a clause as "path operator values & ...".
func clauseText(cl expression.Clause) string {
	names := map[expression.Op]string{
		expression.Equal: "=", expression.Prefix: "^", expression.Suffix: "$", expression.Contains: "*", expression.Matches: "~",
		expression.Greater: ">", expression.Has: "has", expression.Any: "any", expression.OfType: "is other",
	}
	atoms := make([]string, len(cl))
	for i, a := range cl {
		words := []string{strings.Trim(strings.ReplaceAll(fmt.Sprint(a.Term.Path), " ", "."), "[]"), names[a.Op]}
		for _, v := range a.Values {
			words = append(words, fmt.Sprint(v))
		}
		atoms[i] = strings.Join(words, " ")
	}
	return strings.Join(atoms, " & ")
}

func TestForm(t *testing.T) {
	t.Parallel()
	form := func(text string) string {
		c, err := expression.ConditionsOf(text, "event")
		if err != nil {
			t.Fatal(err)
		}
		return c.Form()
	}
	for _, same := range [][2]string{
		{`event.a == 1 and event.b == 2`, `event.b==1+0 and event.a == 1`},
		{`event.a == "1"`, `event.a == 1`},
		{`event.a == 1 and (event.b == 2 or event.c)`, `(event.a == 1 and event.b == 2) or event.c`},
		{`event.a[1:]`, `event.a[:1]`},
		{`event.a - 1 - 2`, `event.a - (1 - 2)`},
		{`any(event.a, #)`, `any(event.a, #index)`},
	} {
		if form(same[0]) == form(same[1]) {
			t.Errorf("%s and %s have the form %s", same[0], same[1], form(same[0]))
		}
	}
	for _, same := range [][2]string{
		{`event.a == 1 and event.b == 2 and event.c`, "event.c && (event.b==2  &&\n event.a == 1)"},
		{`not event.a`, `!(event.a)`},
		{`event["a"] == 'x'`, `event.a == "x"`},
	} {
		if form(same[0]) != form(same[1]) {
			t.Errorf("%s and %s differ: %s, %s", same[0], same[1], form(same[0]), form(same[1]))
		}
	}
}

// conditions writes random conditions over a few fields and literals, so that
// contradictions are common.
type conditions struct{ r *rand.Rand }

func (g *conditions) pick(options ...string) string { return options[g.r.IntN(len(options))] }

func (g *conditions) field() string {
	return g.pick("event.data.x", "event.data.y", "event.data.x", "event.data.x.k", "event.data.y[0]", "event.type")
}

func (g *conditions) literal() string {
	return g.pick("nil", "true", "false", "1", "2", "1.0", "1.5", `"a"`, `"ab"`, `"b"`, `""`, `["a"]`)
}

func (g *conditions) leaf() string {
	switch g.r.IntN(12) {
	case 0, 1:
		return g.field() + g.pick(" == ", " != ") + g.literal()
	case 2:
		return g.literal() + g.pick(" == ", " != ", " < ", " >= ") + g.field()
	case 3, 4:
		return g.field() + g.pick(" < ", " <= ", " > ", " >= ") + g.literal()
	case 5, 6:
		return g.field() + g.pick(" startsWith ", " endsWith ", " contains ", " not contains ") + g.pick(`"a"`, `"ab"`, `"b"`, `""`)
	case 7:
		return g.field() + g.pick(" in ", " not in ") + "[" + g.literal() + ", " + g.literal() + "]"
	case 8:
		return g.field() + " matches " + g.pick(`"^a"`, `"b$"`, `"^ab?$"`)
	case 9:
		return g.pick(`"a"`, "1", `"k"`) + g.pick(" in ", " not in ") + g.pick("event.data.x", "event.data.y")
	case 10:
		return g.pick("any", "none") + "(" + g.pick("event.data.x", "event.data.y") + ", # " + g.pick(`== "a"`, "in [1, 2]") + ")"
	}
	return g.pick(g.field(), `type(`+g.field()+`) == "`+g.pick("nil", "string", "integer", "float", "map", "list", "boolean")+`"`,
		"("+g.field()+" ?? "+g.literal()+") "+g.pick("==", "<", ">", "!=")+" "+g.literal(),
		g.field()+g.pick(" in ", " not in ")+"1..2", "len("+g.field()+") > "+g.pick("0", "1"))
}

func (g *conditions) condition(depth int) string {
	if depth == 0 {
		return g.leaf()
	}
	switch g.r.IntN(8) {
	case 0, 1, 2, 3:
		return "(" + g.condition(depth-1) + " and " + g.condition(depth-1) + ")"
	case 4, 5:
		return "(" + g.condition(depth-1) + " or " + g.condition(depth-1) + ")"
	case 6:
		return "not (" + g.condition(depth-1) + ")"
	}
	return "(" + g.condition(depth-1) + " ? " + g.condition(depth-1) + " : " + g.condition(depth-1) + ")"
}

// neighbourhood are values at and around the literals of conditions.
func neighbourhood() []any {
	return []any{
		nil, true, false, int64(0), int64(1), int64(2), int64(3), 0.5, 1.0, 1.5, 1.7, 2.0,
		"", "a", "ab", "abb", "b", "ba", "aa", "c", "xab",
		[]any{},
		[]any{"a"},
		[]any{int64(1)},
		[]any{"ab", "b"},
		[]any{nil},
		map[string]any{"k": "a"},
		map[string]any{"k": int64(1)},
		map[string]any{"a": true},
		map[string]any{"k": nil},
	}
}

// look finds the value of a path.
func look(v any, path []any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int64:
			list, _ := v.([]any)
			if v = nil; p < int64(len(list)) {
				v = list[p]
			}
		}
	}
	return v
}

// TestConditionsAreSound: what the analyser calls never true is true of no event
// around the literals, a dead branch makes no difference, what it says cannot be false is false of none, and of the
// anchors of a condition that is true at least one holds.
func TestConditionsAreSound(t *testing.T) {
	t.Parallel()
	g := &conditions{rand.New(rand.NewPCG(1, 2))}
	values := neighbourhood()
	never, always, branches, anchored := 0, 0, 0, 0
	for range 6000 {
		text := g.condition(1 + g.r.IntN(3))
		compiler := expression.NewCompiler("event")
		p, err := compiler.Compile(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		c, err := expression.ConditionsOf(text, "event")
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		dead, can := c.Dead(attributes), c.CanBeFalse(attributes)
		clauses, indexed := c.WhenTrueOrFailed().Clauses()
		whole := len(dead) > 0 && dead[0].Whole
		var part *expression.Program // without the dead part
		switch {
		case whole:
			never++
		case len(dead) > 0 && strings.HasPrefix(text[dead[0].Offset:], dead[0].Part):
			branches++
			without := text[:dead[0].Offset] + "false" + text[dead[0].Offset+len(dead[0].Part):]
			if part, err = compiler.Compile(without); err != nil {
				t.Fatalf("%s: the part %s: %v", text, dead[0].Part, err)
			}
		}
		if !can {
			always++
		}
		if indexed {
			anchored++
		}
		s := compiler.NewState()
		for range 150 {
			event := map[string]any{"type": g.pick("a", "ab", "b", "c", "1"), "data": map[string]any{
				"x": values[g.r.IntN(len(values))], "y": values[g.r.IntN(len(values))],
			}}
			s.Reset(event)
			got, err := p.Test(s)
			if (got || err != nil) && indexed && !reached(clauses, event) {
				t.Fatalf("%s\nis %t (%v) of %v, and no clause holds", text, got, err, event)
			}
			if err != nil {
				continue
			}
			if got && whole {
				t.Fatalf("%s\nis true of %v, and should not: %s", text, event, dead[0].Why)
			}
			if !got && !can {
				t.Fatalf("%s\nis false of %v", text, event)
			}
			if part != nil {
				if without, err := part.Test(s); err == nil && without != got {
					t.Fatalf("%s\n%s makes a difference for %v", text, dead[0].Part, event)
				}
			}
		}
	}
	// Otherwise the test says nothing.
	if never < 500 || always < 50 || branches < 200 || anchored < 1000 {
		t.Errorf("%d never, %d always, %d with a dead branch, %d with anchors", never, always, branches, anchored)
	}
}

func reached(clauses []expression.Clause, event map[string]any) bool {
	return slices.ContainsFunc(clauses, func(cl expression.Clause) bool {
		return !slices.ContainsFunc(cl, func(a expression.Atom) bool { return !a.Holds(look(event, a.Term.Path)) })
	})
}

func BenchmarkConditions(b *testing.B) {
	const text = `event.type == "net.link.down" and event.data.role in ["access", "edge"] and (event.data.count > 3 or event.data.site startsWith "ams")`
	for b.Loop() {
		c, err := expression.ConditionsOf(text, "event")
		if err != nil || c.Dead(attributes) != nil || !c.CanBeFalse(attributes) || c.WhenTrueOrFailed() == nil || c.Form() == "" {
			b.Fatal("wrong")
		}
	}
}

// FuzzConditions: whatever compiles can be weighed, and the answers are sound
// for a few events.
func FuzzConditions(f *testing.F) {
	for _, text := range []string{
		`event.type == "a" and event.data.x in ["a", 1, nil] or event.data.y[0] < 3`,
		`let a = event.data; (a.x ?? 3) > 2 ? a.y matches "^a+b" : any(a.y, # in [1]) and not ("k" in a.x)`,
		`if event.data.x startsWith "a" { event.data.x < "b" } else { type(event.data.x) == "map" } || 1 < event.data.y < 2`,
		`!(event.data.x[1:] == nil && len(event.data["odd name"]) not in 1..3)`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		compiler := expression.NewCompiler("event")
		p, err := compiler.Compile(text)
		if err != nil {
			return
		}
		c, err := expression.ConditionsOf(text, "event")
		if err != nil {
			t.Fatal(err)
		}
		dead, can := c.Dead(attributes), c.CanBeFalse(attributes)
		clauses, indexed := c.WhenTrueOrFailed().Clauses()
		if c.Form() == "" || len(c.Sum()) == 0 {
			t.Fatal("no form or no terms")
		}
		whole := len(dead) > 0 && dead[0].Whole
		s := compiler.NewState()
		for i, v := range neighbourhood() {
			event := map[string]any{"type": "a", "data": map[string]any{"x": v, "y": neighbourhood()[(i*7)%len(neighbourhood())]}}
			s.Reset(event)
			got, err := p.Test(s)
			if (got || err != nil && !errors.Is(err, expression.ErrSteps)) && indexed && !reached(clauses, event) {
				t.Fatalf("no clause holds of %v: %t %v", event, got, err)
			}
			switch {
			case err != nil:
			case got && whole:
				t.Fatalf("true of %v: %s", event, dead[0].Why)
			case !got && !can:
				t.Fatalf("false of %v", event)
			}
		}
	})
}

// TestConditionsAreBounded: the longest texts are weighed in no time worth
// speaking of.
func TestConditionsAreBounded(t *testing.T) {
	t.Parallel()
	join := func(n int, sep, format string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = strings.ReplaceAll(format, "?", fmt.Sprint(i))
		}
		return strings.Join(parts, sep)
	}
	doubled := "let a0 = event.x == 1; "
	for i := range 60 {
		doubled += fmt.Sprintf("let a%d = a%d and a%d; ", i+1, i, i)
	}
	nested, question := "event.x == 1", "event.x"
	for i := range 50 {
		if i < 25 {
			question = fmt.Sprintf("((%s) ? event.x == %d : event.y == %d)", question, i, i)
		}
		nested = fmt.Sprintf("(event.x == %d or event.y == %d and %s)", i, i, nested)
	}
	for name, text := range map[string]string{
		"and of one field":   join(800, " and ", "event.x != ?"),
		"and of many fields": join(800, " and ", "event.x? == 1"),
		"or":                 join(900, " or ", "event.x == ?"),
		"or of and":          join(200, " or ", `(event.x == ? and event.y == "?" and event.z != ?)`),
		"and of or":          join(250, " and ", `(event.x == ? or event.y == ?)`),
		"and of or of one":   "event.x == 1 and event.y == 1 and " + join(250, " and ", `(event.x? == ? or event.x == 3)`),
		"list":               "event.x in [" + join(3000, ",", "?") + "] and event.x > 4000",
		"doubled":            doubled + "a60",
		"nested":             nested,
		"conditional":        question,
		"texts":              join(400, " and ", `event.x contains "a?"`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := expression.ConditionsOf(text, "event")
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			c.Dead(attributes)
			c.CanBeFalse(attributes)
			c.WhenTrueOrFailed().Clauses()
			c.Form()
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it takes %v", took)
			}
		})
	}
}
