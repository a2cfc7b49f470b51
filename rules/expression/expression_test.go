package expression_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules/expression"
)

// event is what the tests look at.
func event() map[string]any {
	return map[string]any{
		"type":   "net.link.down",
		"source": "sw1",
		"id":     "1",
		"data": map[string]any{
			"interface": "eth1", "role": "access", "big": int64(9007199254740993), "n": int64(4), "f": 1.5, "one": 1.0,
			"flag": true, "off": false, "null": nil, "empty": "", "umlaut": "früh",
			"tags": []any{"a", "b", "c"}, "nums": []any{int64(3), int64(1), 2.5}, "none": []any{},
			"ports": []any{
				map[string]any{"name": "p1", "up": true, "speed": int64(10)},
				map[string]any{"name": "p2", "up": false, "speed": int64(40)},
				map[string]any{"name": "p3"},
			},
			"nested": map[string]any{"x": map[string]any{"y": "z"}},
		},
	}
}

func eval(t *testing.T, text string) (any, error) {
	t.Helper()
	c := expression.NewCompiler("event")
	p, err := c.Compile(text)
	if err != nil {
		t.Fatalf("compile %s: %v", text, err)
	}
	s := c.NewState()
	s.Reset(event())
	return p.Eval(s)
}

func TestEval(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want any
	}{
		// A missing field is nil at any depth.
		{`event.data.zz`, nil},
		{`event.zz.y.x`, nil},
		{`event.data.interface.a.b`, nil},
		{`event.data.n.a`, nil},
		{`event.data.null.a.b`, nil},
		{`event.data.flag?.a`, nil},
		{`event.data.tags.a`, nil},
		{`event.data.tags[5]`, nil},
		{`event.data.tags?.[5]`, nil},
		{`event.data.tags[-1]`, "c"},
		{`event.data.tags[-4]`, nil},
		{`event.data.interface[0]`, nil},
		{`event.data["interface"]`, "eth1"},
		{`event.data[event.data.zz]`, nil},
		{`event.data.nested["x"].y`, "z"},
		{`event.data.nested[event.data.zz ?? "x"].y`, "z"},
		// Equality and membership take nil as a value.
		{`event.data.zz == nil`, true},
		{`event.data.null == nil`, true},
		{`event.data.zz == ""`, false},
		{`event.data.zz != ""`, true},
		{`event.data.zz in ["", "a"]`, false},
		{`event.data.zz not in ["", "a"]`, true},
		{`event.data.zz in [nil, "a"]`, true},
		{`event.data.n in ["1", "a"]`, false},
		{`event.data.n in [4, 5]`, true},
		{`event.data.n in 1..10`, true},
		{`"a" in event.data.tags`, true},
		{`"a" in event.data.zz`, false},
		{`"x" in event.data.nested`, true},
		{`event.data.n in event.data.nested`, false},
		{`event.data.tags == ["a", "b", "c"]`, true},
		{`event.data.nested == {x: {y: "z"}}`, true},
		{`event.data.n == "4"`, false},
		{`event.data.flag == 1`, false},
		// Ordering and text tests are false on what they do not take.
		{`event.data.zz > 5`, false},
		{`event.data.zz <= 5`, false},
		{`not (event.data.zz > 5)`, true},
		{`event.data.role > 5`, false},
		{`event.data.tags < 5`, false},
		{`"b" > "a"`, true},
		{`event.data.n startsWith "x"`, false},
		{`event.data.zz startsWith ""`, false},
		{`event.data.interface startsWith "eth"`, true},
		{`event.data.interface not endsWith "9"`, true},
		{`event.data.tags contains "a"`, false},
		{`event.data.interface contains "th"`, true},
		{`event.data.interface matches "^eth[0-9]+$"`, true},
		{`event.data.n matches "4"`, false},
		{`event.data.zz not matches "4"`, true},
		// nil as a condition is false, and sides are taken in order.
		{`event.data.zz and event.data.role`, false},
		{`not event.data.zz`, true},
		{`event.data.zz or event.data.flag`, true},
		{`event.data.zz ? 1 : 2`, int64(2)},
		{`if event.data.flag { "y" } else { "n" }`, "y"},
		{`event.data.off and 1 + "x" == 2`, false},
		{`event.data.flag or 1 + "x" == 2`, true},
		{`event.data.zz ?? "x"`, "x"},
		{`(event.data.zz ?? event.data.n) + 1`, int64(5)},
		// Integers are exact.
		{`event.data.big == 9007199254740993`, true},
		{`event.data.big == 9007199254740992`, false},
		{`event.data.big == 9007199254740992.0`, false},
		{`event.data.big > 9007199254740992.0`, true},
		{`event.data.big + 1`, int64(9007199254740994)},
		{`event.data.one == 1`, true},
		{`1 in [event.data.one]`, true},
		{`event.data.n % 3`, int64(1)},
		{`event.data.n / 8`, 0.5},
		{`2 ** 3`, 8.0},
		{`-event.data.n * 2`, int64(-8)},
		{`event.data.f + 1`, 2.5},
		{`1 < event.data.n < 5`, true},
		{`event.source + "/" + event.data.interface`, "sw1/eth1"},
		// let, predicates, functions.
		{`let p = event.data.ports; len(p) > 2 and p[0].name == "p1"`, true},
		{`any(event.data.ports, .up)`, true},
		{`all(event.data.ports, .up)`, false},
		{`none(event.data.zz, # == 1)`, true},
		{`all(event.data.zz, # == 1)`, true},
		{`one(event.data.tags, # == "a")`, true},
		{`event.data.tags | filter(# != "b") | len()`, int64(2)},
		{`filter(event.data.zz, true)`, []any{}},
		{`map(event.data.ports, .name)`, []any{"p1", "p2", "p3"}},
		{`map(event.data.tags, #index)`, []any{int64(0), int64(1), int64(2)}},
		{`count(event.data.ports, .speed > 5)`, int64(2)},
		{`sum(event.data.nums)`, 6.5},
		{`sum(event.data.zz)`, int64(0)},
		{`sum(event.data.ports, .speed ?? 0)`, int64(50)},
		{`find(event.data.ports, .speed == 40).name`, "p2"},
		{`find(event.data.ports, .speed == 41).name`, nil},
		{`findIndex(event.data.tags, # == "c")`, int64(2)},
		{`findLastIndex(event.data.tags, # == "x")`, int64(-1)},
		{`sortBy(event.data.nums, #, "desc")`, []any{int64(3), 2.5, int64(1)}},
		{`sort(event.data.nums)`, []any{int64(1), 2.5, int64(3)}},
		{`any(event.data.ports, any(event.data.tags, # == "a"))`, true},
		{`len(event.data.zz)`, int64(0)},
		{`len(event.data.umlaut)`, int64(4)},
		{`event.data.umlaut[1:3]`, "rü"},
		{`event.data.tags[1:]`, []any{"b", "c"}},
		{`event.data.tags[:-1]`, []any{"a", "b"}},
		{`event.data.zz[1:]`, nil},
		{`upper(event.data.role)`, "ACCESS"},
		{`split("a,b", ",")`, []any{"a", "b"}},
		{`join(event.data.nums, "-")`, "3-1-2.5"},
		{`max(event.data.nums)`, int64(3)},
		{`min(1, event.data.nums, 0.5)`, 0.5},
		{`mean(event.data.nums)`, 6.5 / 3},
		{`median(event.data.nums)`, 2.5},
		{`int("42") + int(1.9)`, int64(43)},
		{`round(2.5)`, int64(3)},
		{`abs(-3)`, int64(3)},
		{`string(5) + string(true)`, "5true"},
		{`keys(event.data.nested)`, []any{"x"}},
		{`uniq([1, 1.0, "a", "a"])`, []any{int64(1), "a"}},
		{`flatten([1, [2, [3]]])`, []any{int64(1), int64(2), int64(3)}},
		{`concat([1], event.data.zz, [2])`, []any{int64(1), int64(2)}},
		{`take(event.data.tags, 2)`, []any{"a", "b"}},
		{`first(event.data.none)`, nil},
		{`type(event.data.zz) + type(1) + type(1.5)`, "nilintegerfloat"},
		{`bitand(6, 3)`, int64(2)},
		{`fromBase64(toBase64("hi"))`, "hi"},
		{`replace("aXbX", "X", "-")`, "a-b-"},
		{`{name: event.type, "n": 1}`, map[string]any{"name": "net.link.down", "n": int64(1)}},
	} {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			got, err := eval(t, tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEvalError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{`event.data.role + 1`, `+ takes two numbers or two strings, not string and integer`},
		{`event.data.zz + "x"`, `+ takes two numbers or two strings, not nil and string`},
		{`event.data.f % 2`, `% takes two integers, not float and integer`},
		{`-event.data.role`, `- takes a number, not a string`},
		{`event.data.n / 0`, `division by zero`},
		{`event.data.n % 0`, `division by zero`},
		{`9223372036854775807 + event.data.n`, `the result of + does not fit an integer`},
		{`10.0 ** 400`, `the result of ** is not a finite number`},
		{`"a" in event.data.role`, `the right side of in is a string (it takes a list or a map; for text use contains)`},
		{`event.data.role and true`, `event.data.role is a string, not true or false (compare it with something)`},
		{`not event.data.n`, `event.data.n is an integer, not true or false (compare it with something)`},
		{`event.data.role ? 1 : 2`, `event.data.role is a string, not true or false (compare it with something)`},
		{`any(event.data.role, # == 1)`, `any: it takes a list, not a string`},
		{`any(event.data.tags, #)`, `the predicate of any is a string, not true or false (compare it with something)`},
		{`upper(event.data.zz)`, `upper: it takes a string, not nil`},
		{`len(event.data.n)`, `len: it takes a string, a list or a map, not an integer`},
		{`sort([1, "a"])`, `sort: an integer and a string have no order (sort numbers or strings)`},
		{`int("x")`, `int: the text is not an integer`},
		{`{(event.data.zz): 1}`, `a map key is nil (only strings are possible)`},
	} {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			v, err := eval(t, tt.text)
			if err == nil {
				t.Fatalf("no error but %v", v)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCompileError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		offset     int
		want       string
	}{
		{"empty", "  ", 0, `the expression is empty`},
		{"unknown name", `event.type == foo`, 14, `unknown name "foo" (fields are written event.data.foo; text is written in quotes)`},
		{"environment", `$env.event`, 0, `unknown name "$env" (fields are written event.data.$env; text is written in quotes)`},
		{"assignment", `event.type = "x"`, 11, `= is not an operator (write == to compare)`},
		{"ends early", `event.type ==`, 12, `the expression ends too early`},
		{"unknown function", `leng(event.type) > 1`, 0, `unknown function "leng" (did you mean "len"?)`},
		{"repeat", `repeat("x", 9)`, 0, `repeat is not available: its result has no limit`},
		{"reduce", `reduce([1], #acc + #, 0)`, 0, `reduce is not available: its cost has no limit (use sum, count, join or map)`},
		{"now", `now()`, 0, `now is not available: an event means the same at any time (use event.time)`},
		{"method", `event.type.String()`, 11, `values have no methods (write the function first, as in len(event.data.list))`},
		{"range", `1..event.data.n`, 1, `the ends of a range must be written out as integers`},
		{"long range", `1..1001`, 1, `the range has more than 1000 elements`},
		{"dynamic pattern", `event.type matches event.data.re`, 19, `the pattern of matches must be written out as a string`},
		{"bad pattern", `event.type matches "("`, 19, "bad pattern: missing closing ): `(`"},
		{"deep predicates", `any([1], any([1], any([1], true)))`, 18, `predicates are nested deeper than 2`},
		{"coalesce", `event.type ?? "x" == "x"`, 18, `?? cannot be mixed with another operator (put parentheses around it)`},
		{"sequence", `1; 2`, 0, `only one expression is possible here (; separates let from its body alone)`},
		{"let event", `let event = 1; event`, 4, `"event" is taken already (choose another name)`},
		{"arguments", `trim()`, 0, `trim takes 1 to 2 arguments, not 0`},
		{"after umlaut", `"früh" == foo`, 11, `unknown name "foo" (fields are written event.data.foo; text is written in quotes)`},
		{"brackets", strings.Repeat("(", 1<<13), 64, `brackets and unary operators are nested deeper than 64`},
		{"minus", strings.Repeat("-", 1<<13) + "1", 64, `brackets and unary operators are nested deeper than 64`},
		{"not", strings.Repeat("not ", 1<<11) + "true", 256, `brackets and unary operators are nested deeper than 64`},
		{"bang", strings.Repeat("!", 1<<13) + "true", 64, `brackets and unary operators are nested deeper than 64`},
		{"long", strings.Repeat("(", 1<<20), 0, `the expression has 1048576 bytes (at most 16384)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := expression.NewCompiler("event").Compile(tt.text)
			var e *expression.Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(&expression.Error{Offset: tt.offset, Msg: tt.want}, e); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSteps runs what would take minutes and what would take all memory.
func TestSteps(t *testing.T) {
	t.Parallel()
	list := make([]any, 2000)
	for i := range list {
		list[i] = int64(i)
	}
	text := strings.Repeat("x", 1<<20)
	for _, src := range []string{
		`count(event.list, count(event.list, # < 0) > 0) > 0`,
		`any(event.list, event.text contains "y")`,
		`any(event.list, event.text matches "(x|xx)*y")`,
		`any(event.list, replace(event.text, "x", "xx") == "")`,
		`any(event.list, event.list != event.list)`,
		`len(uniq(map(event.list, ({"n": #})))) > 0`,
		`any(event.list, event.text == event.same and false)`,
		`any(event.list, event.text < event.same)`,
		`any(event.list, event.text in ["a", "b"])`,
		`any(event.list, event.map[event.text] == 1)`,
		`sort(map(event.list, # % 2 == 0 ? event.text : event.same)) == nil`,
		`len(map(event.list, map(event.list, event.text))) > 0`,
	} {
		t.Run(src, func(t *testing.T) {
			t.Parallel()
			c := expression.NewCompiler("event")
			p, err := c.Compile(src)
			if err != nil {
				t.Fatal(err)
			}
			s := c.NewState()
			s.Reset(map[string]any{
				"list": list, "text": text, "same": strings.Clone(text), "map": map[string]any{"a": int64(1)},
			})
			if _, err := p.Eval(s); err == nil || !strings.Contains(err.Error(), "more than 1000000 steps are taken") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestWhyFalse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{`event.type == "net.link.down" and event.data.role == "core"`, `event.data.role == "core" is false: event.data.role is "access"`},
		{`event.data.role == "core" and event.data.zz > 1`, `event.data.role == "core" is false: event.data.role is "access"`},
		{`event.data.zz > 1`, `event.data.zz > 1 is false: event.data.zz is missing`},
		{`event.data.null > 1`, `event.data.null > 1 is false: event.data.null is null`},
		{`event.data.role == "core" or event.data.n == 5`, `event.data.role == "core" is false: event.data.role is "access"; event.data.n == 5 is false: event.data.n is 4`},
		{`not (event.data.n == 4)`, `event.data.n == 4 is true: event.data.n is 4`},
		{`event.data.role not in ["access", "edge"]`, `event.data.role not in ["access", "edge"] is false: event.data.role is "access"`},
		{`len(event.data.tags) > 3`, `len(event.data.tags) > 3 is false: len(event.data.tags) is 3`},
		{`any(event.data.ports, .speed > 100)`, `any(event.data.ports, .speed > 100) is false: event.data.ports is [{"name":"p1","speed":10,"up":true},{"name":"p2","speed":40,"up":false},{"name":...`},
		{`event.data.off`, `event.data.off is false`},
		{`event.data.zz`, `event.data.zz is missing`},
		{`false`, `false is false`},
		{`let r = event.data.role; r == "core"`, `r == "core" is false: r is "access"`},
		{`event.data.flag ? event.data.n > 5 : true`, `event.data.flag is true; event.data.n > 5 is false: event.data.n is 4`},
		{`(event.data.n + 1) * 2 == 11`, `(event.data.n + 1) * 2 == 11 is false: event.data.n is 4`},
		{`event.data.tags[0] == "b"`, `event.data.tags[0] == "b" is false: event.data.tags[0] is "a"`},
	} {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			got, err := expression.WhyFalse(tt.text, []string{"event"}, event())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAppendJSON(t *testing.T) {
	t.Parallel()
	got, err := expression.AppendJSON(nil, map[string]any{
		"b": int64(9007199254740993), "a": []any{nil, true, 1.5, 1e21, "<\"\n>"}, "c": map[string]any{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"a":[null,true,1.5,1e+21,"<\"\n>"],"b":9007199254740993,"c":{}}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestAppendJSONLimit: a small event may hold a large text once, and an
// expression refer to it for every element of a list.
func TestAppendJSONLimit(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	list := make([]any, 1000)
	for i := range list {
		list[i] = long
	}
	if _, err := expression.AppendJSON(nil, list); err == nil || err.Error() != "the value grows over 8388608 bytes" {
		t.Errorf("error %v", err)
	}
}

// FuzzCompile: no text makes the compiler or a run of its program panic, and
// every value is one that JSON has.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		`event.type == "x" and event.data.a[0] in [1, 2.5]`, `any(event.data.tags, # == "a")`, `let x = 1; x ** 2`,
		"((((", "!!!!!not -+1", "`a``b`", `"\u{1F600}"`, `a?.b ?? c`, `{a: 1}["a"]`, `event.data | map(.x) | sortBy(#)`, `1..5`,
		`between(timeOfDay(event.data.n, "Europe/Amsterdam"), "22:00", "06:00")`, `weekday(-1e9, "UTC") in ["Sun"]`,
		`inCIDR(event.source, "10.0.0.0/8", ["::/0"])`, `versionCompare(event.data.umlaut + "1", "1.0")`, `glob("[!a-c]{x,*}?", event.source)`,
		`became("data.0.x", nil, event)`, `uniq([1, 1.0, event.data.nested, event.data.nested])`, `secondsBetween(0.1, "2026-03-06T22:41:23Z")`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := expression.NewCompiler("event")
		p, err := c.Compile(text)
		if err != nil {
			if e := new(expression.Error); !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(text) {
				t.Fatalf("offset %d of %d", e.Offset, len(text))
			}
			return
		}
		s := c.NewState()
		s.Reset(event())
		v, err := p.Eval(s)
		if err != nil {
			return
		}
		out, err := expression.AppendJSON(nil, v)
		if err != nil || !json.Valid(out) {
			t.Fatalf("%v: %s, %v", v, out, err)
		}
		if b, err := p.Test(s); err == nil && !b {
			if _, err := expression.WhyFalse(text, []string{"event"}, event()); err != nil {
				t.Fatalf("why: %v", err)
			}
		}
	})
}
