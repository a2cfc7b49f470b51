package replay_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/replay"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func load(t testing.TB, text string) *rules.Ruleset {
	t.Helper()
	rs, err := rules.Load(fstest.MapFS{"r.yaml": {Data: []byte("rules:\n" + text)}}, rules.Options{}, "r.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func event(t testing.TB, id, data string) *rules.Event {
	t.Helper()
	ev, err := rules.ParseEvent(fmt.Appendf(nil,
		`{"specversion":"1.0","id":%q,"source":"s","type":"down","subject":"eth1","data":%s}`, id, data), rules.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

const base = `
  - name: r
    when: event.type == "down"
    key: event.data.k
    once: 10m
    do:
      - {action: a, with: {n: "${{ event.data.n }}"}}
      - {action: b, if: event.data.big}
`

func TestAccept(t *testing.T) {
	t.Parallel()
	type in struct {
		after time.Duration
		data  string
	}
	valid := func(action string, params json.RawMessage) error {
		if strings.Contains(string(params), "-1") {
			return errors.New("n is negative")
		}
		return nil
	}
	for _, tt := range []struct {
		name  string
		rules string
		in    []in
		want  []string // verdict, runs, reason
	}{
		{"no match", "  - {name: r, when: event.data.x == 1, do: [{action: a}]}\n", []in{{0, `{}`}}, nil},
		{"the window ends at exactly once", base, []in{
			{0, `{"k":1,"n":1,"big":true}`}, {10*time.Minute - 1, `{"k":1,"n":1}`}, {10 * time.Minute, `{"k":1,"n":1,"big":true}`},
		}, []string{"matched true ", "throttled false once 10m: fired 9m59s earlier, until 2026-03-01T12:10:00Z", "matched true "}},
		{"a step is skipped", base, []in{{0, `{"k":1,"n":1}`}}, []string{"matched true step 2 (b) skipped: its if is false"}},
		{"a step fails, the other runs", base, []in{{0, `{"k":1,"big":true}`}}, []string{
			`error true step 1 (a): with.n: event.data.n is nil (write ?? "x" for a default)`,
		}},
		{"parameters do not fit", base, []in{{0, `{"k":1,"n":-1}`}}, []string{
			"error false step 1 (a): with: n is negative; step 2 (b) skipped: its if is false",
		}},
		{"the key fails and opens no window", base, []in{{0, `{"n":1}`}, {1, `{"k":1,"n":1,"big":true}`}}, []string{
			`error false key: event.data.k is nil (write ?? "x" for a default)`, "matched true ",
		}},
		{"when fails", "  - {name: r, when: 'event.data.n + \"x\" == 1', do: [{action: a}]}\n", []in{{0, `{"n":1}`}}, []string{
			"error false when: + takes two numbers or two strings, not integer and string",
		}},
		{
			"all steps are skipped", "  - {name: r, when: event.type == \"down\", do: [{action: a, if: event.data.x}]}\n",
			[]in{{0, `{}`}},
			[]string{"skipped false step 1 (a) skipped: its if is false"},
		},
		{
			"a dry run", "  - {name: r, when: event.type == \"down\", dry_run: true, do: [{action: a}]}\n",
			[]in{{0, `{}`}},
			[]string{"dry_run true "},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := replay.New(replay.Config{Rules: load(t, tt.rules), Validate: valid})
			var got []string
			for i, x := range tt.in {
				for _, o := range w.Accept(event(t, fmt.Sprint(i), x.data), start.Add(x.after)) {
					got = append(got, fmt.Sprintf("%s %t %s", o.Verdict, o.Runs(), o.Reason))
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("outcomes (-want +got):\n%s", diff)
			}
		})
	}
}

// Windows that are over are forgotten, those that are open are not.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	w := replay.New(replay.Config{Rules: load(t, `
  - {name: r, when: event.type == "down", key: event.data.k, once: 1h, do: [{action: a}]}
`)})
	fires := func(k int, at time.Duration) bool {
		o := w.Accept(event(t, "x", fmt.Sprintf(`{"k":%d}`, k)), start.Add(at))
		return o[0].Verdict == replay.Matched
	}
	for k := range 5000 {
		if !fires(k, time.Duration(k)*time.Second) {
			t.Fatalf("key %d is throttled", k)
		}
	}
	if fires(4999, 5000*time.Second) || fires(1500, 5000*time.Second) {
		t.Fatal("an open window is forgotten")
	}
	if !fires(1, 5000*time.Second) {
		t.Fatal("a window is open for too long")
	}
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, from, to, want string }{
		{"the same, in another order", `{"a":1,"b":[1,2]}`, `{"b":[1,2],"a":1}`, ""},
		{"an element", `{"args":["-p","eth1"]}`, `{"args":["-p","eth2"]}`, `with.args[1]: "eth1" "eth2"`},
		{"one more, one less", `{"a":[1],"b":[1]}`, `{"a":[],"b":[1,2]}`, `with.a[0]: 1 -; with.b[1]: - 2`},
		{"members", `{"a":{"x y":1,"p":null}}`, `{"a":{"q":null}}`, `with.a.p: null -; with.a.q: - null; with.a["x y"]: 1 -`},
		{"numbers as written", `{"a":9007199254740993}`, `{"a":9007199254740992}`, `with.a: 9007199254740993 9007199254740992`},
		{"another kind", `{"a":[1]}`, `{"a":{"0":1}}`, `with.a: [1] {"0":1}`},
		{"a list becomes a text", `[1]`, `"<1>"`, `with: [1] "<1>"`},
		{"a text becomes a list", `"1"`, `[1]`, `with: "1" [1]`},
		{"nothing at all", `null`, `{"a":1}`, `with: null {"a":1}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, d := range replay.Differences("with", json.RawMessage(tt.from), json.RawMessage(tt.to)) {
				text := func(v json.RawMessage) string {
					if v == nil {
						return "-"
					}
					return string(v)
				}
				got = append(got, d.Path+": "+text(d.Old)+" "+text(d.New))
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "; ")); diff != "" {
				t.Fatalf("differences (-want +got):\n%s", diff)
			}
		})
	}
}

// compare puts a candidate to events with what the rules before made of them.
func compare(t *testing.T, before, candidate string, cfg replay.CompareConfig, data ...string) replay.Report {
	t.Helper()
	was := load(t, before)
	w := replay.New(replay.Config{Rules: was})
	cfg.Rules = load(t, candidate)
	c := replay.NewComparison(cfg)
	for i, text := range data {
		at := start.Add(time.Duration(i) * time.Minute)
		rec := replay.Record{UID: fmt.Sprint("u", i), Source: "events", Received: at, Event: event(t, fmt.Sprint("e", i), text), Rules: was}
		for _, o := range w.Accept(rec.Event, at) {
			rec.Verdicts = append(rec.Verdicts, replay.Recorded{Rule: o.Rule.Name, Verdict: o.Verdict, Reason: o.Reason})
		}
		c.Add(rec)
	}
	return c.Report()
}

// short is a report as text: rule, counts, ids.
func short(r replay.Report) []string {
	var out []string
	side := func(name string, c *replay.Counts) {
		text := fmt.Sprintf("%s %d %d", name, c.Recorded, c.Candidate)
		if c.AddedTotal > 0 {
			text += fmt.Sprintf(" +%v", c.Added)
		}
		if c.RemovedTotal > 0 {
			text += fmt.Sprintf(" -%v", c.Removed)
		}
		out = append(out, text)
	}
	for i := range r.Rules {
		x := &r.Rules[i]
		side(x.Rule, &x.Counts)
		if x.DryRun != nil {
			side(x.Rule+" dry", x.DryRun)
		}
		if x.ChangedTotal > 0 {
			out = append(out, fmt.Sprintf("%s changed %v", x.Rule, x.Changed))
		}
		if x.Errors > 0 {
			out = append(out, fmt.Sprintf("%s errors %d: %s", x.Rule, x.Errors, x.FirstError))
		}
	}
	return out
}

func TestCompare(t *testing.T) {
	t.Parallel()
	const n = `  - {name: r, when: event.data.n > %s, %s do: [{action: a, with: {n: "${{ event.data.n }}"}}]}` + "\n"
	rule := func(limit, more string) string { return fmt.Sprintf(n, limit, more) }
	events := []string{`{"n":1}`, `{"n":2}`, `{"n":3}`, `{"n":4}`}
	for _, tt := range []struct {
		name              string
		before, candidate string
		cfg               replay.CompareConfig
		want              []string
		added, removed    int
	}{
		{"the same", rule("2", ""), rule("2", ""), replay.CompareConfig{}, []string{"r 2 2"}, 0, 0},
		{"wider", rule("2", ""), rule("1", ""), replay.CompareConfig{}, []string{"r 2 3 +[e1]"}, 1, 0},
		{"narrower", rule("2", ""), rule("3", ""), replay.CompareConfig{}, []string{"r 2 1 -[e2]"}, 0, 1},
		{"a window", rule("1", ""), rule("1", "once: 2m,"), replay.CompareConfig{}, []string{"r 3 2 -[e2]"}, 0, 1},
		{"no window any more", rule("1", "once: 2m,"), rule("1", ""), replay.CompareConfig{}, []string{"r 2 3 +[e2]"}, 1, 0},
		{
			"goes into a dry run", rule("2", ""), rule("2", "dry_run: true,"),
			replay.CompareConfig{},
			[]string{"r 2 0 -[e2 e3]", "r dry 0 2 +[e2 e3]"},
			0, 2,
		},
		{
			"a dry run stays one, wider", rule("2", "dry_run: true,"), rule("1", "dry_run: true,"),
			replay.CompareConfig{},
			[]string{"r 0 0", "r dry 2 3 +[e1]"},
			0, 0,
		},
		{
			"a dry run becomes real, counted as a run", rule("2", "dry_run: true,"), rule("1", ""),
			replay.CompareConfig{DryRuns: true},
			[]string{"r 2 3 +[e1]"},
			1, 0,
		},
		{
			"renamed", rule("2", ""), strings.Replace(rule("2", ""), "name: r", "name: q", 1),
			replay.CompareConfig{},
			[]string{"q 0 2 +[e2 e3]", "r 2 0 -[e2 e3]"},
			2, 2,
		},
		{
			"only one rule", rule("2", ""), strings.Replace(rule("2", ""), "name: r", "name: q", 1),
			replay.CompareConfig{Rule: "q"},
			[]string{"q 0 2 +[e2 e3]"},
			2, 0,
		},
		{
			"other parameters", rule("2", ""), strings.Replace(rule("2", ""), "with: {n:", "with: {m: 1, n:", 1),
			replay.CompareConfig{},
			[]string{"r 2 2", "r changed [e2 e3]"},
			0, 0,
		},
		{
			"fails now", rule("3", ""), strings.Replace(rule("3", ""), "event.data.n }", "event.data.x }", 1),
			replay.CompareConfig{},
			[]string{"r 1 0 -[e3]", `r errors 1: step 1 (a): with.n: event.data.x is nil (write ?? "x" for a default)`},
			0, 1,
		},
		{
			"failed then", strings.Replace(rule("3", ""), "event.data.n }", "event.data.x }", 1), rule("3", ""),
			replay.CompareConfig{},
			[]string{"r 0 1 +[e3]"},
			1, 0,
		},
		{
			"a step failed then, the other ran",
			"  - {name: r, when: event.data.n > 3, do: [{action: a}, {action: b, with: {x: \"${{ event.data.x }}\"}}]}\n",
			"  - {name: r, when: event.data.n > 3, do: [{action: a}]}\n",
			replay.CompareConfig{},
			[]string{"r 1 1"},
			0, 0,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rep := compare(t, tt.before, tt.candidate, tt.cfg, events...)
			if diff := cmp.Diff(tt.want, short(rep)); diff != "" || rep.AddedTotal != tt.added || rep.RemovedTotal != tt.removed {
				t.Fatalf("added %d, removed %d, report (-want +got):\n%s", rep.AddedTotal, rep.RemovedTotal, diff)
			}
			want := []replay.Rename{}
			if tt.name == "renamed" {
				want = append(want, replay.Rename{From: "r", To: "q", Events: 2})
			}
			if diff := cmp.Diff(want, rep.Renamed); diff != "" {
				t.Fatalf("renamed (-want +got):\n%s", diff)
			}
		})
	}
}

// Each difference is explained by what both sides say of the event.
func TestExamples(t *testing.T) {
	t.Parallel()
	const before = `
  - {name: r, when: event.data.n > 2, once: 1h, do: [{action: a, with: {n: "${{ event.data.n }}", l: [1, 2]}}, {action: b}]}
  - {name: gone, when: event.data.n == 1, do: [{action: a}]}
`
	const candidate = `
  - {name: r, when: event.data.n > 1, once: 90s, do: [{action: a, with: {n: "${{ event.data.n }}", l: [1, 3]}}, {action: c}]}
`
	rep := compare(t, before, candidate, replay.CompareConfig{Examples: 1}, `{"n":1}`, `{"n":3}`, `{"n":2}`, `{"n":4}`)
	type texts struct{ ID, Recorded, Candidate, Changes string }
	var got []texts
	for _, r := range rep.Rules {
		for _, list := range [][]replay.Example{r.AddedExamples, r.RemovedExamples, r.ChangedExamples} {
			for _, e := range list {
				got = append(got, texts{e.ID, e.Recorded, e.Candidate, strings.Join(e.Changes, "; ")})
			}
		}
	}
	want := []texts{
		{"e3", "throttled: once 1h: fired 2m earlier, until 2026-03-01T13:01:00Z", "matched", ""},
		{"e1", "matched", "matched", "a: with.l[1]: was 2, is 3; c is called, too; b is not called any more"},
		{"e0", "matched", "there is no such rule", ""},
	}
	opt := cmpopts.EquateEmpty()
	if diff := cmp.Diff(want, got, opt); diff != "" {
		t.Fatalf("examples (-want +got):\n%s", diff)
	}
}

// What came before the comparison counts for windows and for nothing else.
func TestWarmUp(t *testing.T) {
	t.Parallel()
	rs := load(t, "  - {name: r, when: event.type == \"down\", once: 10m, do: [{action: a}]}\n")
	c := replay.NewComparison(replay.CompareConfig{Config: replay.Config{Rules: rs}})
	c.WarmUp(event(t, "before", `{}`), start)
	c.Add(replay.Record{
		UID: "u", Received: start.Add(time.Minute), Event: event(t, "e", `{}`), Rules: rs,
		Verdicts: []replay.Recorded{{Rule: "r", Verdict: replay.Throttled}},
	})
	if diff := cmp.Diff([]string{"r 0 0"}, short(c.Report())); diff != "" || c.Report().Events != 1 {
		t.Fatalf("report (-want +got):\n%s", diff)
	}
}

// Of a large difference the first hundred ids are listed, and all are counted.
func TestManyDifferences(t *testing.T) {
	t.Parallel()
	rep := compare(t, "  []\n", "  - {name: r, when: event.type == \"down\", do: [{action: a}]}\n", replay.CompareConfig{},
		strings.Split(strings.Repeat("{} ", 250), " ")[:250]...)
	r := rep.Rules[0]
	if len(r.Added) != 100 || r.Added[99] != "e99" || r.AddedTotal != 250 || rep.AddedTotal != 250 {
		t.Fatalf("%d ids, %d in all", len(r.Added), r.AddedTotal)
	}
}

// FuzzDifferences: nothing differs from itself, and what has no difference is the
// same JSON.
func FuzzDifferences(f *testing.F) {
	f.Add(`{"a":[1,{"b":null}]}`, `{"a":[1,{"b":false}]}`)
	f.Add(`[1,2,3]`, `{"0":1}`)
	f.Add(`{"x y":"é","":1e400}`, `{"x y":"e","":-0}`)
	f.Fuzz(func(t *testing.T, x, y string) {
		same := func(text string) string {
			dec := json.NewDecoder(strings.NewReader(text))
			dec.UseNumber()
			var v any
			if dec.Decode(&v) != nil {
				t.Skip()
			}
			out, err := json.Marshal(v)
			if err != nil {
				t.Skip()
			}
			return string(out)
		}
		cx, cy := same(x), same(y)
		if d := replay.Differences("v", json.RawMessage(x), json.RawMessage(x)); len(d) > 0 {
			t.Fatalf("%s differs from itself: %v", x, d)
		}
		if d := replay.Differences("v", json.RawMessage(x), json.RawMessage(y)); (len(d) == 0) != (cx == cy) {
			t.Fatalf("%s and %s: %v", x, y, d)
		}
	})
}
