package rules_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/rules"
)

// What one rule may take of one event, whatever both are.
const (
	maxCPU   = 250 * time.Millisecond
	maxAlloc = 64 << 20
	maxEvent = 1 << 20
)

// cost runs f and returns the processor time of its thread and what it
// allocated. Nothing else may run in the process meanwhile, so tests that call
// it are not parallel; other processes do not matter.
func cost(f func()) (cpu time.Duration, alloc uint64) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after runtime.MemStats
	var start, end syscall.Rusage
	runtime.ReadMemStats(&before)
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &start); err != nil {
		panic(err)
	}
	f()
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &end); err != nil {
		panic(err)
	}
	runtime.ReadMemStats(&after)
	used := func(r *syscall.Rusage) time.Duration { return time.Duration(r.Utime.Nano() + r.Stime.Nano()) }
	return used(&end) - used(&start), after.TotalAlloc - before.TotalAlloc
}

// exact skips a test under the race detector, which is used with -short and
// changes both time and memory.
func exact(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it measures")
	}
}

// check fails the test when a rule on an event takes more than it may.
func check(t *testing.T, rs *rules.Ruleset, ev *rules.Event) {
	t.Helper()
	// Scanning the event and making its values is not the rule's work: it is done
	// once for all rules.
	valuesCPU, values := cost(func() { ev.Value() })
	ev, err := rules.ParseEvent(ev.JSON(), rules.Limits{Depth: 2000})
	if err != nil {
		t.Fatal(err)
	}
	var m []rules.Match
	cpu, alloc := cost(func() { m = rs.Match(ev) })
	cpu, alloc = max(0, cpu-valuesCPU), alloc-min(alloc, values)
	outcome := "false"
	for i := range m {
		outcome = outcomeOf(&m[i])
	}
	t.Logf("%8s %6.1f MiB %s", cpu.Round(time.Millisecond/10), float64(alloc)/(1<<20), outcome)
	if cpu > maxCPU {
		t.Errorf("takes %s", cpu)
	}
	if alloc > maxAlloc {
		t.Errorf("allocates %d MiB", alloc>>20)
	}
}

func outcomeOf(m *rules.Match) string {
	for _, err := range []error{m.Err, m.KeyErr} {
		if err != nil {
			return err.Error()
		}
	}
	failed := 0
	for _, c := range m.Calls {
		if c.Err != nil {
			failed++
		}
	}
	return fmt.Sprintf("true, %d of %d calls failed", failed, len(m.Calls))
}

// hostile makes an event of data, which may be JSON text.
func hostile(t *testing.T, data any) *rules.Event {
	t.Helper()
	text, ok := data.(string)
	if !ok {
		b, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	if len(text) > maxEvent {
		t.Fatalf("the data has %d bytes", len(text))
	}
	ev, err := rules.NewEvent(rules.Attributes{ID: "1", Source: "x", Type: "x"}, []byte(text), rules.Limits{Depth: 2000})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func times(n int, text string) []string {
	return strings.Split(strings.Repeat(text+"\x00", n)[:n*(len(text)+1)-1], "\x00")
}

// ruleOf makes a rule of a condition.
func ruleOf(t *testing.T, when string) *rules.Ruleset {
	t.Helper()
	return ruleText(t, "rules:\n  - name: x\n    when: "+quoted(when)+"\n    do: [{action: a}]\n")
}

func quoted(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}

func ruleText(t *testing.T, text string) *rules.Ruleset {
	t.Helper()
	rs, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(text)}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// lets is a chain of n values, each made of the one before by body, where @ is
// the one before.
func lets(n int, first, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "let v0 = %s; ", first)
	for i := range n {
		fmt.Fprintf(&b, "let v%d = %s; ", i+1, strings.ReplaceAll(body, "@", fmt.Sprintf("v%d", i)))
	}
	return b.String() + fmt.Sprintf("type(v%d) == 'x'", n)
}

// TestCostByHand: conditions made to be expensive, on events made for them.
func TestCostByHand(t *testing.T) { //nolint:paralleltest // it measures the process
	exact(t)
	nums := "[" + strings.Join(times(500_000, "0"), ",") + "]"
	unique := make([]int, 100_000)
	for i := range unique {
		unique[i] = i
	}
	shuffled := rand.New(rand.NewPCG(1, 2)).Perm(120_000)
	long := strings.Repeat("a", 1_000_000)
	umlauts := strings.Repeat("é", 500_000)
	texts := times(1000, strings.Repeat("a", 1000))
	short := times(250_000, "a")
	keys := map[string]any{}
	for i := range 15 {
		keys[strings.Repeat("k", 60_000)+fmt.Sprint(i)] = i
	}
	many := map[string]any{}
	for i := range 70_000 {
		many[fmt.Sprint(i)] = i
	}
	eight := times(800, "x")
	deep := strings.Repeat("[", 900) + strings.Repeat("]", 900)
	body := strings.Repeat("#.a == nil and ", 1000) + "true"
	for _, tt := range []struct {
		name, when string
		data       any
	}{
		{"cubic by uniq", `all(event.data, all(event.data, len(uniq(event.data)) > 0))`, eight},
		{"cubic by in", `all(event.data, all(event.data, not ("y" in event.data)))`, eight},
		{"large body", `all(event.data, ` + body + `)`, nums},
		{"large body twice", `all(event.data, all(event.data, ` + body + `))`, eight},
		{"arithmetic in a body", `all(event.data, ` + strings.Repeat("# + 1.5 > 0 and ", 900) + `true)`, nums},
		{"integers in a body", `all(event.data, ` + strings.Repeat("# * 1000 + 5000 > 0 and ", 600) + `true)`, nums},
		{"concat in a body", `all(event.data, ` + strings.Repeat("# + 'b' != '' and ", 800) + `true)`, short},
		{"functions in a body", `all(event.data, ` + strings.Repeat("abs(#)+", 1500) + `1 > 0)`, nums},
		{"maps in a body", `all(event.data, nil != {"a": #})`, nums},
		{"maps in a large body", `all(event.data, ` + strings.Repeat(`nil != {"a": #} and `, 700) + `true)`, nums},
		{"wide maps in a body", `all(event.data, nil != {"a": #,"b":#,"c":#,"d":#,"e":#,"f":#,"g":#,"h":#,"i":#})`, nums},
		{"lists in a body", `all(event.data, [#] != nil)`, nums},
		{"kept lists", `len(map(event.data, [#])) == 0`, nums},
		{"kept maps", `len(map(event.data, ({"a": #}))) == 0`, nums},
		{"map of map", `len(map(event.data, map(event.data, #))) == 0`, nums},
		{"filter", `len(filter(event.data, filter(event.data, true) != nil)) == 0`, nums},
		{"doubling", lets(200, `"ab"`, `@ + @`), nil},
		{"doubling a long text", lets(200, `event.data`, `@ + @`), long},
		{"growing", lets(300, `event.data`, `@ + "a"`), long},
		{"replace grows", lets(50, `event.data`, `replace(@, "a", "aaaaaaaa")`), long},
		{"replace keeps", lets(300, `event.data`, `replace(@, "a", "b")`), long},
		{"replace a few", lets(300, `event.data`, `replace(@, "b", "c")`), strings.Repeat(long[:1000]+"b", 900)},
		{"replace nothing", lets(100, `event.data`, `replace(@, "", "-")`), long},
		{"split and join", lets(100, `event.data`, `join(split(@, ""), "")`), long},
		{"split long parts", lets(100, `event.data`, `split(join(split(event.data, "a"), "bb"), "b")`), long},
		{"split after", lets(100, `event.data`, `len(splitAfter(event.data, "a"))`), long},
		{"join numbers", lets(200, `1`, `len(join(event.data, ","))`), nums},
		{"join floats in a body", `all(event.data, len(join(event.data)) > 0)`, "[" + strings.Join(times(45_000, "1.2345678901234567e-5"), ",") + "]"},
		{"lists double", lets(200, `event.data`, `concat(@, @)`), nums},
		{"flatten a tree", lets(60, `[1]`, `[@, @]`) + ` and len(flatten(v60)) > 0`, nil},
		{"compare trees", `let a = [1]; let b = [1]; ` + trees(30) + `a30 == b30`, nil},
		{"flatten deep", `all(event.data.l, len(flatten(event.data.d)) == 0)`, `{"l":` + nums[:500_000] + `],"d":` + deep + `}`},
		{"flatten wide", lets(200, `1`, `len(flatten([event.data, event.data]))`), nums},
		{"uniq unique", lets(200, `1`, `len(uniq(event.data))`), unique},
		{"uniq lists", `len(uniq(map(event.data, [#]))) == 0`, unique},
		{"sort", lets(200, `1`, `len(sort(event.data))`), nums},
		{"sort once", `len(sort(event.data)) == 0`, shuffled[:100_000]},
		{"sort short texts once", `len(sort(map(event.data, string(#)))) == 0`, shuffled[:80_000]},
		{"sort texts", lets(200, `1`, `len(sort(event.data))`), texts},
		{"sort short texts", lets(200, `1`, `len(sort(event.data))`), short},
		{"sortBy", lets(200, `1`, `len(sortBy(event.data, -#))`), unique},
		{"sortBy one long text", `len(sortBy(event.data.l, event.data.t)) == 0`, map[string]any{"l": unique[:50_000], "t": long[:500_000]}},
		{"median", lets(200, `1`, `median(event.data)`), unique},
		{"reverse", lets(200, `event.data`, `reverse(@)`), nums},
		{"keys", lets(200, `1`, `len(keys(event.data))`), many},
		{"values", lets(200, `1`, `len(values(event.data))`), many},
		{"long keys", `all(event.data.n, len(keys(event.data.k)) > 0)`, map[string]any{"n": unique[:5000], "k": keys}},
		{"equal maps of long keys", `all(event.data.n, event.data.k == event.data.k)`, map[string]any{"n": unique[:5000], "k": keys}},
		{"equal maps", `all(event.data.n, event.data.k == event.data.k)`, map[string]any{"n": unique[:1000], "k": many}},
		{"equal texts", `all(event.data.n, event.data.t == event.data.t + "")`, map[string]any{"n": unique[:5000], "t": long[:900_000]}},
		{"compare texts", `all(event.data.n, event.data.t <= event.data.u)`, map[string]any{"n": unique[:5000], "t": long[:450_000], "u": long[:450_000]}},
		{"compare many texts", `all(event.data, all(event.data, # <= "` + strings.Repeat("a", 1000) + `"))`, texts},
		{"contains", `all(event.data.n, not (event.data.t contains "` + strings.Repeat("a", 40) + `b"))`, map[string]any{"n": unique[:5000], "t": long[:900_000]}},
		{"contains a long text", `all(event.data.n, not (event.data.t contains event.data.u))`, map[string]any{"n": unique[:5000], "t": long[:800_000], "u": long[:100_000] + "b"}},
		{"contains in short texts", `all(event.data, all(event.data, ` + strings.Repeat(`not (# contains "ab") and `, 500) + `true))`, times(1000, strings.Repeat("a", 31))},
		{"indexOf", `all(event.data.n, indexOf(event.data.t, "b") > 5)`, map[string]any{"n": unique[:5000], "t": umlauts[:900_000] + "b"}},
		{"lastIndexOf", `all(event.data.n, lastIndexOf(event.data.t, "ab") < 5)`, map[string]any{"n": unique[:5000], "t": long[:900_000]}},
		{"trim a set", `trim(event.data.t, event.data.s) == "x"`, map[string]any{"t": umlauts[:400_000], "s": strings.Repeat("ü", 200_000) + "é"}},
		{"trim a short set", lets(200, `1`, `len(trim(event.data, "aüöäé"))`), umlauts},
		{"upper", lets(200, `event.data`, `upper(@)`), umlauts},
		{"lower", lets(200, `event.data`, `lower(@)`), strings.Repeat("Ⱥ", 250_000)},
		{"equalFold", lets(200, `event.data`, `equalFold(event.data, event.data + "x")`), strings.Repeat("ß", 400_000)},
		{"base64", lets(100, `event.data`, `toBase64(@)`), long},
		{"base64 and back", lets(100, `event.data`, `fromBase64(toBase64(@))`), long},
		{"hash in a loop", `all(event.data.n, sha256(event.data.t) != "")`, map[string]any{"n": unique[:5000], "t": long[:900_000]}},
		{"hash of short texts", `all(event.data, ` + strings.Repeat(`sha256(#) != "" and `, 700) + `true)`, short},
		{"parts", lets(200, `event.data`, `@[1:]`), umlauts},
		{"len", lets(400, `1`, `len(event.data)`), umlauts},
		{"regex", `event.data matches "(x+x+)+y"`, strings.Repeat("x", 1_000_000)},
		{"regex of many threads", `event.data matches "(a?){50}b.{40}c|(a|aa|aaa|aaaa)*d"`, long},
		{"regex of the most threads", `event.data matches "(.?){600}b"`, long[:8_000]},
		{"regex of middle threads", `event.data matches "([ab]?.?){50}c"`, long[:50_000]},
		{"regex of few threads", `event.data matches "a?a?a?a?a?a?a?a?a?a?b"`, long[:600_000]},
		{"regex of long classes", `event.data matches "` + strings.Repeat(`[\\pL\\pN]?`, 20) + `b"`, umlauts},
		{"regex in a loop", `all(event.data.n, not (event.data.t matches "a*b"))`, map[string]any{"n": unique[:5000], "t": long[:900_000]}},
		{"regex on long texts", `all(event.data, not (# matches "(a*)*b"))`, texts},
		{"regex on short texts", `all(event.data, ` + strings.Repeat(`not (# matches "(a|b)+c$") and `, 400) + `true)`, short},
		{"large regex on short texts", `all(event.data, not (# matches "(a.?){450}c"))`, times(50_000, strings.Repeat("a", 12))},
		{"large regex on empty texts", `all(event.data, not (# matches "(a?){900}b"))`, times(250_000, "")},
		{"largest regex on empty texts", `all(event.data, not (# matches "` + strings.Repeat("(a?){900}", 7) + `b"))`, times(250_000, "")},
		{"largest regex on short texts", `all(event.data, not (# matches "` + strings.Repeat("(a?.?){900}", 4) + `b"))`, times(50_000, strings.Repeat("a", 12))},
		{"largest regex on a long text", `event.data matches "` + strings.Repeat("(a?.?){900}", 4) + `b"`, long[:900]},
		{"largest regex of two", `event.data[0] matches "` + strings.Repeat("(a?.?){900}", 4) + `b" or event.data[1] matches "` + strings.Repeat("(a?.?){900}", 4) + `c"`, []string{long[:450], long[:450]}},
		{"glob", `glob("*a*a*a*a*a*a*b", event.data)`, long},
		{"glob in a loop", `all(event.data, not glob("*a*a*b", #))`, texts},
		{"range", `all(1..1000, all(1..1000, ` + strings.Repeat("# > 0 and ", 1000) + `true))`, nil},
		{"networks", `all(event.data, not inCIDR(#, "10.0.0.0/8", "192.168.0.0/16"))`, times(60_000, "2001:db8::1")},
		{"many networks", `all(event.data, not inCIDR(#, ` + strings.Join(times(900, `"10.0.0.0/8"`), ",") + `))`, times(60_000, "2001:db8::1")},
		{"times of day", `all(event.data, timeOfDay(#, "Europe/Amsterdam") != "x")`, times(30_000, "2026-03-06T22:41:23.123456Z")},
		{"times of day of numbers", `all(event.data, weekday(#, "Europe/Amsterdam") != "x")`, unique},
		{"times of day in a body", `all(event.data, ` + strings.Repeat(`timeOfDay(#, "UTC") != "x" and `, 400) + `true)`, unique},
		{"differences", `all(event.data, secondsBetween(#, "2026-03-06T22:41:23.123456Z") != 0.5)`, times(30_000, "2026-03-06T22:41:23.123456Z")},
		{"durations", `all(event.data, duration(#) != 0.5)`, times(70_000, "1d2h3m4s5ms")},
		{"durations in a body", `all(event.data, ` + strings.Repeat(`duration(#) != 0.5 and `, 500) + `true)`, times(70_000, "1d2h3m4s5ms")},
		{"long durations", `all(event.data, duration(#) != 0.5)`, times(10_000, strings.Repeat("1.123456ms", 6))},
		{"versions", `all(event.data, versionCompare(#, "15.2(4)M3") <= 0)`, times(60_000, "15.2(4)M3")},
		{"long versions", `all(event.data, versionCompare(#, #) == 0)`, times(4000, strings.Repeat("1a", 60))},
		{"versions in a body", `all(event.data, ` + strings.Repeat(`versionCompare(#, "15.2(4)M3") == 0 and `, 300) + `true)`, times(60_000, "15.2(4)M3")},
		{"changes", `all(event.data.l, not changed("a", event.data.s))`, map[string]any{"l": unique, "s": map[string]any{"prechange": map[string]any{"a": texts[:100]}, "postchange": map[string]any{"a": texts[:100]}}}},
		{"string of floats", `all(event.data, ` + strings.Repeat(`string(#) != "x" and `, 600) + `true)`, "[" + strings.Join(times(45_000, "1.2345678901234567e-5"), ",") + "]"},
		{"floats of texts", `all(event.data, ` + strings.Repeat(`float(#) != "x" and `, 600) + `true)`, times(40_000, "1.2345678901234567e-5")},
		{"float of a long text", lets(100, `1`, `float(event.data)`), strings.Repeat("1", 300) + "." + strings.Repeat("1", 900_000)},
		{"floats of a long text", `all(event.data.n, float(event.data.t) > 0)`, map[string]any{"n": unique[:5000], "t": "1." + strings.Repeat("1", 900_000)}},
		{"powers", `all(event.data, ` + strings.Repeat(`1.0000001 ** # > 0 and `, 600) + `true)`, unique},
		{"get", `all(event.data.n, get(event.data.k, event.data.t) == nil)`, map[string]any{"n": unique[:5000], "k": keys, "t": "x"}},
		{"index by long texts", `all(event.data.n, event.data.k[event.data.t] == nil)`, map[string]any{"n": unique[:5000], "k": many, "t": long[:10_000]}},
	} {
		t.Run(tt.name, func(t *testing.T) { //nolint:paralleltest // it measures the process
			rs, ev := ruleOf(t, tt.when), hostile(t, dataOf(tt.data))
			check(t, rs, ev)
		})
	}
}

// dataOf quotes a text that is no JSON.
func dataOf(data any) any {
	text, ok := data.(string)
	if ok && !strings.HasPrefix(text, "[") && !strings.HasPrefix(text, "{") {
		return quoted(text)
	}
	return data
}

func trees(n int) string {
	var b strings.Builder
	b.WriteString("let a0 = [a]; let b0 = [b]; ")
	for i := range n {
		fmt.Fprintf(&b, "let a%d = [a%d, a%d]; let b%d = [b%d, b%d]; ", i+1, i, i, i+1, i, i)
	}
	return b.String()
}

// TestCostOfRule: a rule has one budget for all its expressions, however many
// they are.
func TestCostOfRule(t *testing.T) { //nolint:paralleltest // it measures the process
	exact(t)
	nums := "[" + strings.Join(times(500_000, "0"), ",") + "]"
	tail := ""
	for i := range 300 {
		tail += fmt.Sprintf("          p%d: \"${{ @ }}\"\n", i)
	}
	rule := func(key, value string) string {
		return "rules:\n  - name: x\n    when: event.id == '1'\n    key: " + quoted(key) + "\n    do:\n      - action: a\n        with:\n" +
			strings.ReplaceAll(tail, "@", value) + "      - action: b\n        with:\n" + strings.ReplaceAll(tail, "@", value)
	}
	umlauts := quoted(strings.Repeat("é", 500_000))
	many := map[string]any{}
	for i := range 60_000 {
		many[fmt.Sprint(i)] = map[string]any{}
	}
	for _, tt := range []struct {
		name, rule string
		data       any
	}{
		{"the data", rule("event.id", "event.data"), nums},
		{"maps", rule("event.id", "event.data"), many},
		{"a text", rule("event.id", "event.data"), umlauts},
		{"a text within texts", strings.ReplaceAll(rule("event.id", "event.data"), "${{", "x ${{"), umlauts},
		{"a text that needs escapes", rule("event.id", "replace(event.data, 'é', '\\\\u0001')"), umlauts},
		{"predicates", rule("event.id", "count(event.data, # == 0)"), nums},
		{"a long key", rule("event.data", "event.id"), umlauts},
		{"a tree", rule("event.id", "let a = [event.id,event.id]; let b = [a,a]; let c = [b,b]; let d = [c,c]; let e = [d,d]; let f = [e,e]; let g = [f,f]; g"), nums},
	} {
		t.Run(tt.name, func(t *testing.T) { //nolint:paralleltest // it measures the process
			check(t, ruleText(t, tt.rule), hostile(t, tt.data))
		})
	}
}

// grammar makes random conditions of the kinds of values, so that most of them
// get to work instead of failing at once.
type grammar struct {
	*rand.Rand
	inside int // predicates around
	left   int // parts it may have still
}

func (g *grammar) pick(options ...func() string) string { return options[g.IntN(len(options))]() }

func (g *grammar) end() bool { g.left--; return g.left < 0 }

func (g *grammar) words(ws ...string) string { return ws[g.IntN(len(ws))] }

func (g *grammar) condition() string {
	if g.end() {
		return g.words("true", "event.data.flag", `event.data.t contains "b"`)
	}
	return g.pick(
		func() string { return "(" + g.condition() + g.words(" and ", " or ") + g.condition() + ")" },
		func() string { return "not " + g.condition() },
		func() string { return g.number() + g.words(" < ", " == ", " >= ") + g.number() },
		func() string { return g.text() + g.words(" == ", " contains ", " < ", " startsWith ") + g.text() },
		func() string {
			return "(" + g.text() + ` matches "` + g.words("(a|b)*c", "x{20}y", "(.a?){30}z", "^[^q]*q$") + `")`
		},
		func() string { return `glob("*a*b?{c,d*}", ` + g.text() + ")" },
		func() string { return g.number() + " in " + g.list() },
		func() string { return g.list() + " == " + g.list() },
		func() string { return "versionCompare(" + g.text() + `, "1.0") == nil` },
		func() string { return "between(" + g.text() + `, "a", "b")` },
		func() string { return "equalFold(" + g.text() + ", " + g.text() + ")" },
		func() string { return g.loop(g.words("any", "all", "none"), g.condition) },
	)
}

// loop is a predicate, or what needs none where they are nested already.
func (g *grammar) loop(name string, body func() string) string {
	if g.inside == 2 {
		return "(" + g.number() + " > 0)"
	}
	list := g.list()
	g.inside++
	defer func() { g.inside-- }()
	return name + "(" + list + ", " + body() + ")"
}

func (g *grammar) number() string {
	if g.end() {
		if g.inside > 0 {
			return g.words("#index", "1", "2.5")
		}
		return g.words("event.data.n", "3", "-1.5", "event.data.big")
	}
	return g.pick(
		func() string { return "len(" + g.list() + ")" },
		func() string { return "len(" + g.text() + ")" },
		func() string { return "(" + g.number() + g.words(" + ", " - ", " * ") + g.number() + ")" },
		func() string { return "indexOf(" + g.text() + ", " + g.text() + ")" },
		func() string { return "(median(event.data.l) ?? 0)" },
		func() string { return "int(" + g.number() + ")" },
		func() string {
			if g.inside == 2 {
				return "#index"
			}
			return "(" + g.loop("count", g.condition) + ")"
		},
	)
}

func (g *grammar) text() string {
	if g.end() {
		if g.inside > 0 {
			return g.words("string(#index)", "event.data.t", `"ab"`)
		}
		return g.words("event.data.t", "event.data.u", `"ü"`)
	}
	return g.pick(
		func() string { return "(" + g.text() + " + " + g.text() + ")" },
		func() string { return g.words("upper", "lower", "trim", "sha256", "toBase64") + "(" + g.text() + ")" },
		func() string { return "replace(" + g.text() + `, "a", "` + g.words("", "bb", "b") + `")` },
		func() string { return "trim(" + g.text() + ", " + g.text() + ")" },
		func() string { return "(" + g.text() + ")[1:-1]" },
		func() string { return "join(split(" + g.text() + `, "` + g.words("", "a", "b") + `"), "-")` },
		func() string { return "string(" + g.number() + ")" },
	)
}

func (g *grammar) list() string {
	if g.end() {
		return g.words("event.data.l", "event.data.s", "event.data.o", "event.data.e", "1..1000")
	}
	return g.pick(
		func() string { return "concat(" + g.list() + ", " + g.list() + ")" },
		func() string { return g.words("reverse", "uniq", "flatten") + "(" + g.list() + ")" },
		func() string { return "sort(split(" + g.text() + `, "b"))` },
		func() string { return "[" + g.number() + ", " + g.text() + "]" },
		func() string { return "keys(event.data.m)" },
		func() string { return "take(" + g.list() + ", 900)" },
		func() string {
			if g.inside == 2 {
				return "[#, #]"
			}
			return g.loop("map", func() string { return "[" + g.number() + ", #]" })
		},
		func() string {
			if g.inside == 2 {
				return "[#index]"
			}
			return g.loop("filter", g.condition)
		},
	)
}

// events of random shapes, each of up to 1 MiB.
func randomEvent(t *testing.T, r *rand.Rand) *rules.Event {
	share := func(most int) int { return 1 + r.IntN(most)*r.IntN(100)/100 }
	many := map[string]any{}
	for i := range share(10_000) {
		many[strings.Repeat("k", r.IntN(20))+fmt.Sprint(i)] = i
	}
	objects := make([]any, share(2000))
	for i := range objects {
		objects[i] = map[string]any{"a": i, "b": strings.Repeat("b", r.IntN(30))}
	}
	list := make([]any, share(50_000))
	for i := range list {
		list[i] = r.IntN(1000)
	}
	deep := any([]any{})
	for range share(900) {
		deep = []any{deep}
	}
	return hostile(t, map[string]any{
		"t": strings.Repeat("ab", share(120_000)), "u": strings.Repeat("éb", share(60_000)), "l": list, "m": many, "o": objects,
		"s": times(share(5000), strings.Repeat("a", share(15))), "e": times(800, "x"), "d": deep, "n": r.IntN(100), "big": 1e300, "flag": true,
	})
}

// TestCostAtRandom: so do random conditions on random events, of which a good
// part must be expensive for this to mean anything.
func TestCostAtRandom(t *testing.T) { //nolint:paralleltest // it measures the process
	exact(t)
	const events, conditions = 6, 50
	overruns, compiled := 0, 0
	var slowest time.Duration
	for seed := range uint64(events) {
		r := rand.New(rand.NewPCG(seed, 7))
		ev := randomEvent(t, r)
		ev.Value()
		for range conditions {
			g := &grammar{Rand: r, left: 6 + r.IntN(60)}
			when := g.loop(g.words("any", "all", "none"), g.condition)
			rs, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte("rules: [{name: x, when: " + quoted(when) + ", do: [{action: a}]}]")}}, rules.Options{})
			if err != nil { // only because it is nested too deep
				if !strings.Contains(err.Error(), "nested deeper") {
					t.Fatalf("%v\n%s", err, when)
				}
				continue
			}
			compiled++
			var m []rules.Match
			cpu, alloc := cost(func() { m = rs.Match(ev) })
			slowest = max(slowest, cpu)
			if len(m) > 0 && m[0].Overrun() {
				overruns++
			}
			if cpu > maxCPU || alloc > maxAlloc {
				t.Errorf("seed %d: %s and %d MiB for\n%s", seed, cpu, alloc>>20, when)
			}
		}
	}
	t.Logf("%d of %d ran over, the slowest took %s", overruns, compiled, slowest)
	if compiled < events*conditions/2 || overruns < compiled/10 || overruns > compiled*9/10 {
		t.Errorf("%d of %d ran over", overruns, compiled)
	}
}
