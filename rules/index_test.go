package rules_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules"
)

// pairs is how many rules are tried on events by default. With
// POINTSMAN_INDEX_PAIRS set to a number, it is that many, such as 20000000.
const pairs = 300_000

// TestIndexIsExact compares what the index finds with what trying every rule
// does, for random rules and random events.
func TestIndexIsExact(t *testing.T) {
	t.Parallel()
	want, seed := pairs, uint64(1)
	if text := os.Getenv("POINTSMAN_INDEX_PAIRS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		want = n
	}
	tried, matched, failed, skipped := 0, 0, 0, 0
	for ; tried < want; seed++ {
		g := &ruleMaker{rand.New(rand.NewPCG(seed, 7))}
		n := 20 + g.r.IntN(800)
		rs := loadRules(t, g.rules(n))
		skipped += n - len(rs.Unindexed())
		for range 100 {
			ev := g.event()
			all := rs.MatchEach(ev)
			if diff := cmp.Diff(outcomes(all), outcomes(rs.MatchValue(ev))); diff != "" {
				t.Fatalf("seed %d: event %v:\n%s", seed, ev, diff)
			}
			tried += n
			matched += len(all)
			for _, m := range all {
				if m.Err != nil {
					failed++
				}
			}
		}
	}
	t.Logf("%d pairs, %d matches, %d failures", tried, matched, failed)
	if matched < tried/100 || failed < tried/1000 || skipped == 0 {
		t.Errorf("the rules are dull: %d pairs, %d matches, %d failures", tried, matched, failed)
	}
}

func loadRules(t testing.TB, text string) *rules.Ruleset {
	t.Helper()
	rs, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(text)}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// outcomes are matches in a form that can be compared.
func outcomes(matches []rules.Match) []string {
	out := make([]string, len(matches))
	for i, m := range matches {
		out[i] = fmt.Sprintf("%s %v %s %v", m.Rule.Name, m.Err, m.Key, m.KeyErr)
	}
	return out
}

// ruleMaker makes rules and events of the same few fields and values.
type ruleMaker struct{ r *rand.Rand }

func (g *ruleMaker) pick(options ...string) string { return options[g.r.IntN(len(options))] }

func (g *ruleMaker) rules(n int) string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: r%d, when: %s, do: [{action: log}]}\n", i, strconv.Quote(g.condition(g.r.IntN(4))))
	}
	return b.String()
}

func (g *ruleMaker) field() string {
	switch g.r.IntN(12) {
	case 0: // many
		return fmt.Sprintf("event.data.f%d", g.r.IntN(200))
	case 1:
		return fmt.Sprintf("event.data.l[%d]", g.r.IntN(200)-100)
	}
	return g.pick("event.type", "event.data.a", "event.data.b", "event.data.c", "event.data.a.b", "event.data.a.b.c", "event.data.l[0]",
		"event.data.l[-1]", "event.data.l", `event.data["odd name"]`, "event.data.absent", "event.data", "event.source", "event.data.m.k")
}

func (g *ruleMaker) literal() string {
	return g.pick(`"a"`, `"b"`, `"abc"`, `"net.link.down"`, `""`, `"ä"`, "0", "1", "-1", "2.5", "1.0", "true", "false", "nil", "[]", `["a"]`,
		"9007199254740992", "9007199254740993", "9007199254740994", "9007199254740992.0", "-9007199254740993", "9223372036854775807", "1e300")
}

func (g *ruleMaker) list() string {
	parts := make([]string, g.r.IntN(5))
	for i := range parts {
		parts[i] = g.literal()
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (g *ruleMaker) text() string {
	return g.pick(`"a"`, `"ab"`, `"abc"`, `"b"`, `"net."`, `"net.link"`, `".down"`, `"link"`, `""`, `"ä"`, `"net.link.down"`)
}

func (g *ruleMaker) leaf() string {
	f := g.field()
	switch g.r.IntN(24) {
	case 0, 1, 2, 3, 4:
		return f + " == " + g.literal()
	case 5:
		return g.literal() + g.pick(" == ", " != ", " < ", " >= ") + f
	case 6, 7:
		return f + g.pick(" in ", " not in ") + g.list()
	case 8:
		return f + g.pick(" startsWith ", " endsWith ", " contains ", " not startsWith ") + g.text()
	case 9, 10:
		return f + g.pick(" < ", " <= ", " > ", " >= ", " != ") + g.literal()
	case 11:
		return f + " matches " + g.pick(`"^net"`, `"^a|b$"`, `"a.c"`, `"down$"`, `"(?i)NET"`, `"^$"`, `"l(in)k"`, `"x*"`, `"^(net)\\.link"`, `"(ab)+c?"`, `"(?m)^b$"`,
			`"^(ab|net)"`, `"(link|ab).*(down|c)$"`, `"(a|b|net)[.a-c]"`, `"(ab|(a|bc)+|)$"`)
	case 12:
		return g.literal() + " in " + f
	case 13:
		return g.pick("any", "none") + "(" + f + ", # " + g.pick("== "+g.literal(), "in "+g.list()) + ")"
	case 14:
		return f // as a condition: often an error
	case 15:
		return g.pick("len", "upper", "int", "first") + "(" + f + ") == " + g.literal()
	case 16:
		return f + g.pick(" + ", " - ", " * ", " / ") + g.pick("1", `"a"`, "0") + " == " + g.literal()
	case 17:
		return f + g.pick(" == ", " != ", " in ", " < ") + g.field()
	case 18:
		return "(" + f + " ?? " + g.literal() + ")" + g.pick(" == ", " != ", " > ") + g.literal()
	case 19:
		return "(" + f + " ?? " + g.field() + ")" + g.pick(" == ", " in ") + g.field()
	case 20:
		return g.pick("hasPrefix", "hasSuffix", "equalFold") + "(" + f + ", " + g.text() + ")"
	case 21:
		return g.pick(`glob("net.*", `+f+")", `glob("*b*", `+f+")", "inCIDR("+f+`, "10.0.0.0/8")`, "isIP("+f+")", "type("+f+`) == "string"`, "type("+f+`) == "list"`)
	case 22:
		return g.pick(`became("b", "a")`, `changed("a.b")`, "between("+f+", 1, 3)", f+" in 1..3", f+" == nil", f+" != nil")
	}
	return g.pick("all", "any", "count", "one") + "(" + f + ", # > 1)" + g.pick("", " == true", " >= 1")
}

func (g *ruleMaker) condition(depth int) string {
	if depth <= 0 {
		return g.leaf()
	}
	sub := func() string { return g.condition(depth - 1 - g.r.IntN(2)) }
	switch g.r.IntN(12) {
	case 0, 1, 2, 3, 4:
		return "(" + sub() + " and " + sub() + ")"
	case 5, 6:
		return "(" + sub() + " or " + sub() + ")"
	case 7:
		return "not (" + sub() + ")"
	case 8:
		return "(" + sub() + " ? " + sub() + " : " + sub() + ")"
	case 9:
		v := fmt.Sprintf("v%d", g.r.IntN(1<<30))
		return "(let " + v + " = " + g.pick(g.field(), g.leaf()) + "; " + v + g.pick("", " == "+g.literal()) + " and " + sub() + ")"
	case 10:
		return "((" + sub() + ")" + g.pick(" == ", " ?? ", " != ") + "(" + sub() + "))"
	}
	return `event.type == "net.link.down" and ` + g.field() + " == " + g.literal() + " and " + sub()
}

func (g *ruleMaker) value(depth int) any {
	options := []any{
		nil, true, false, "", "a", "b", "ab", "abc", "net.link.down", "net.link", "10.1.2.3", "ä", int64(0), int64(1), int64(-1), int64(2), 2.5, math.Copysign(0, -1), 1e300,
		int64(9007199254740992), int64(9007199254740993), int64(9007199254740994), 9007199254740992.0, int64(9223372036854775807), int64(-9007199254740993),
	}
	n := g.r.IntN(len(options) + 6)
	switch {
	case n < len(options):
		return options[n]
	case depth > 2:
		return nil
	case n%2 == 0:
		list := make([]any, g.r.IntN(4))
		for i := range list {
			list[i] = g.value(depth + 1)
		}
		return list
	}
	m := map[string]any{}
	for _, k := range []string{"a", "b", "c", "k", "net.link.down"} {
		if g.r.IntN(2) == 0 {
			m[k] = g.value(depth + 1)
		}
	}
	return m
}

func (g *ruleMaker) event() map[string]any {
	data := map[string]any{}
	for _, k := range []string{"a", "b", "c", "l", "odd name", "m"} {
		if g.r.IntN(4) > 0 {
			data[k] = g.value(0)
		}
	}
	for range 8 {
		data[fmt.Sprintf("f%d", g.r.IntN(200))] = g.value(0)
	}
	if g.r.IntN(10) == 0 {
		long := make([]any, 70)
		for i := range long {
			long[i] = g.value(3)
		}
		data["l"] = long
	}
	if g.r.IntN(3) == 0 {
		data["snapshots"] = map[string]any{"prechange": g.value(0), "postchange": map[string]any{"b": g.value(1)}}
	}
	ev := map[string]any{"type": g.pick("net.link.down", "net.link.up", "a", "b"), "source": g.pick("a", "sw1"), "data": any(data)}
	if g.r.IntN(10) == 0 {
		ev["data"] = g.value(0)
	}
	return ev
}

// TestUnindexed: check warns of the rules that the index cannot find, and of no
// others; constant and contradictory rules have warnings of their own.
func TestUnindexed(t *testing.T) {
	t.Parallel()
	g := &ruleMaker{rand.New(rand.NewPCG(11, 11))}
	var lint rules.Lint
	rs, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(g.rules(3000))}}, rules.Options{Lint: &lint})
	if err != nil {
		t.Fatal(err)
	}
	warned, whole := map[int]bool{}, map[int]bool{}
	for _, w := range lint.Warnings {
		switch w.Code {
		case "unindexed":
			warned[w.Line] = true
		case "constant-condition", "never-true", "always-true":
			whole[w.Line] = true
		}
	}
	tried := map[int]bool{}
	for _, r := range rs.Unindexed() {
		tried[r.Line] = true
		if !warned[r.Line] && !whole[r.Line] {
			t.Errorf("rule %s is not in the index, and check does not warn of it", r.Name)
		}
	}
	for line := range warned {
		if !tried[line] {
			t.Errorf("line %d: check warns of a rule that is in the index", line)
		}
	}
	if len(warned) < 100 || len(tried) > 2900 {
		t.Errorf("%d warnings, %d rules not in the index", len(warned), len(tried))
	}
}

// TestCertainlyFalse: a rule that is false whatever it costs to find out does not
// run over, and one that may be true does.
func TestCertainlyFalse(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("rules:\n")
	for i := range 30 {
		fmt.Fprintf(&text, "  - {name: r%d, when: 'event.data.long matches \"%sy\" and event.data.n == %d', do: [{action: log}]}\n", i, strings.Repeat("x?", 30), i)
	}
	rs := loadRules(t, text.String())
	ev := map[string]any{"type": "a", "data": map[string]any{"long": strings.Repeat("x", 900_000) + "y", "n": int64(7)}}
	if got := outcomes(rs.MatchEach(ev)); len(got) != 30 {
		t.Fatalf("each rule should run over: %v", got)
	}
	matches := rs.MatchValue(ev)
	if len(matches) != 1 || matches[0].Rule.Name != "r7" || !matches[0].Overrun() {
		t.Errorf("%v", outcomes(matches))
	}
}
