package rules_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

func linkDown() map[string]any {
	return map[string]any{
		"specversion": "1.0", "id": "e1", "type": "net.link.down", "source": "sw1",
		"data": map[string]any{
			"interface": "eth1", "role": "access", "site": "ams1", "count": int64(3), "big": int64(9007199254740993),
			"ratio": 0.5, "up": false, "tags": []any{"a", "b"},
		},
	}
}

func load(t testing.TB, text string) *rules.Ruleset {
	t.Helper()
	rs, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(text)}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func TestMatch(t *testing.T) {
	t.Parallel()
	rs := load(t, `
rules:
  - name: bounce
    when: event.type == "net.link.down" and event.data.role == "access"
    key: event.source + "/" + event.data.interface
    once: 10m
    do:
      - action: bounce-port
        with: {args: ["--port", "${{ event.data.interface }}", "--site", "at ${{ event.data.site }}/${{ event.data.count }}"], n: "${{ event.data.big }}"}
      - action: tell
        if: event.data.count > 5
      - action: note
        if: event.data.interface
      - action: mail
        with: {to: "${{ event.data.owner }}"}
      - action: log
  - name: other
    when: event.type == "net.link.up"
    do: [{action: log}]
  - name: broken
    when: event.data.role + 1 == 2
    do: [{action: log}]
  - name: bad-key
    when: event.data.count == 3
    key: event.data.zz
    do: [{action: log}]
`)
	type call struct {
		Action, Params, Err string
		Skipped             bool
	}
	type match struct {
		Rule, Key, State, Err, KeyErr string
		Calls                         []call
	}
	var got []match
	for _, m := range rs.MatchValue(linkDown()) {
		g := match{Rule: m.Rule.Name, Key: m.Key, State: m.StateKey(), Err: text(m.Err), KeyErr: text(m.KeyErr)}
		for i, c := range m.Calls {
			if c.Step != i {
				t.Errorf("step %d at %d", c.Step, i)
			}
			g.Calls = append(g.Calls, call{c.Action, string(c.Params), text(c.Err), c.Skipped})
		}
		got = append(got, g)
	}
	want := []match{
		{Rule: "bounce", Key: "sw1/eth1", State: "bounce/9ac66608/live/ssw1/eth1", Calls: []call{
			{Action: "bounce-port", Params: `{"args":["--port","eth1","--site","at ams1/3"],"n":9007199254740993}`},
			{Action: "tell", Skipped: true},
			{Action: "note", Err: `if: event.data.interface is a string, not true or false (compare it with something)`},
			{Action: "mail", Err: `with.to: event.data.owner is nil (write ?? "x" for a default)`},
			{Action: "log", Params: "null"},
		}},
		{Rule: "broken", Err: `when: + takes two numbers or two strings, not string and integer`},
		{Rule: "bad-key", KeyErr: `key: event.data.zz is nil (write ?? "x" for a default)`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestKey(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 65)
	for _, tt := range []struct{ key, once, want, state, err string }{
		{key: `"1"`, once: "1m", want: "1", state: "k/live/s1"},
		{key: `1`, once: "1m", want: "1", state: "k/live/i1"},
		{key: `event.data.up`, once: "1m", want: "false", state: "k/live/bfalse"},
		{key: `event.data.count`, want: "3"},
		{key: `"` + long + `"`, once: "1m", want: long, state: "k/live/h"},
		{key: `event.data.ratio`, err: `key: event.data.ratio is a float (a key is a string, an integer or a boolean)`},
		{key: `event.data.tags`, err: `key: event.data.tags is a list (a key is a string, an integer or a boolean)`},
		{key: `event.data`, err: `key: event.data is a map (a key is a string, an integer or a boolean)`},
		{key: `event.data.role - 1`, err: `key: - takes two numbers, not string and integer`},
	} {
		t.Run(tt.key, func(t *testing.T) {
			t.Parallel()
			once := ""
			if tt.once != "" {
				once = "once: " + tt.once
			}
			rs := load(t, "rules:\n  - name: k\n    when: event.id == 'e1'\n    key: '"+tt.key+"'\n    "+once+"\n    do: [{action: a}]\n")
			m := rs.MatchValue(linkDown())[0]
			if m.Key != tt.want || text(m.KeyErr) != tt.err {
				t.Errorf("key %q, error %q", m.Key, text(m.KeyErr))
			}
			got := m.StateKey()
			if strings.HasSuffix(tt.state, "/h") {
				if got = strings.TrimRight(got, "0123456789abcdef"); len(m.StateKey()) != len(got)+32 {
					t.Errorf("state key %s", m.StateKey())
				}
			}
			if kept(got) != tt.state {
				t.Errorf("state key %s, want %s", m.StateKey(), tt.state)
			}
			if (tt.err != "") != (m.Calls == nil) {
				t.Errorf("calls %v", m.Calls)
			}
		})
	}
}

// kept is a state key without the hash of the key text.
func kept(state string) string {
	parts := strings.SplitN(state, "/", 3)
	if len(parts) < 3 {
		return state
	}
	return parts[0] + "/" + parts[2]
}

// TestStateKeyStays: a reload that changes anything but name, key text and
// dry_run finds the state again.
func TestStateKeyStays(t *testing.T) {
	t.Parallel()
	key := func(text string) string {
		rs := load(t, "rules: [{name: a, when: event.id != nil, "+text+", do: [{action: x}]}]")
		return rs.MatchValue(linkDown())[0].StateKey()
	}
	base := key(`key: event.id, once: 1m`)
	if got := key(`key: event.id, once: 5m`); got != base {
		t.Errorf("another once: %s, %s", got, base)
	}
	for _, other := range []string{`key: event.source, once: 1m`, `once: 1m`, `key: event.id, once: 1m, dry_run: true`} {
		if got := key(other); got == base || got == "" {
			t.Errorf("%s has the state key %q", other, got)
		}
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ with, want, err string }{
		{with: `{b: 1, a: 1.50, c: [true, null, "x", 0x10]}`, want: `{"a":1.5,"b":1,"c":[true,null,"x",16]}`},
		{with: `"${{ event.data.count }}"`, want: `3`},
		{with: `"${{ event.data.count }} "`, want: `"3 "`},
		{with: `"${{ event.data.tags }}"`, want: `["a","b"]`},
		{with: `"${{ event.data }}"`, want: `{"big":9007199254740993,"count":3,"interface":"eth1","ratio":0.5,"role":"access","site":"ams1","tags":["a","b"],"up":false}`},
		{with: `"${{ event.data.ratio }}/${{ event.data.up }}/${{ event.data.site }}"`, want: `"0.5/false/ams1"`},
		{with: `"a $${{ b }} $5 ${x} }}"`, want: `"a ${{ b }} $5 ${x} }}"`},
		{with: `"$${{ ${{ event.id }}"`, want: `"${{ e1"`},
		{with: `'${{ {a: {b: "}}"}} }}'`, want: `{"a":{"b":"}}"}}`},
		{with: `'${{ event.data.zz ?? "x" }}'`, want: `"x"`},
		{with: `[{p: "${{ event.data.zz }}"}]`, err: `with[0].p: event.data.zz is nil (write ?? "x" for a default)`},
		{with: `"a ${{ event.data.zz }}"`, err: `with: event.data.zz is nil (write ?? "x" for a default)`},
		{with: `"a ${{ event.data.tags }}"`, err: `with: event.data.tags is a list, which cannot stand inside text (let it be the whole value)`},
		{with: `{a: "${{ event.data.role * 2 }}"}`, err: `with.a: * takes two numbers, not string and integer`},
	} {
		t.Run(tt.with, func(t *testing.T) {
			t.Parallel()
			rs := load(t, "rules: [{name: a, when: event.id != nil, do: [{action: x, with: "+tt.with+"}]}]")
			c := rs.MatchValue(linkDown())[0].Calls[0]
			if string(c.Params) != tt.want || text(c.Err) != tt.err {
				t.Errorf("params %s, error %q", c.Params, text(c.Err))
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	one := func(name string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("rules: [{name: " + name + ", when: event.id == 'x', do: [{action: a}]}]")}
	}
	fsys := fstest.MapFS{
		"rules/b.yaml": one("b"), "rules/a.yaml": one("a"), "rules/a_test.yaml": one("t"), "rules/c.yml": one("c"),
		"empty.yaml": {}, "null.yaml": {Data: []byte("rules:\n")},
	}
	for _, tt := range []struct {
		name     string
		patterns []string
		want     string
		err      string
	}{
		{"sorted, once", []string{"rules/b.yaml", "rules/*.yaml", "./rules/a.yaml"}, "a b", ""},
		{"nothing", nil, "", ""},
		{"empty files", []string{"empty.yaml", "null.yaml"}, "", ""},
		{"glob without match", []string{"other/*.yaml"}, "", ""},
		{"plain name without match", []string{"other.yaml"}, "", "other.yaml:1:1: there is no such file"},
		{"directory", []string{"rules"}, "", "rules:1:1: this is a directory (write rules/*.yaml)"},
		{"test file", []string{"rules/a_test.yaml"}, "", "rules/a_test.yaml:1:1: a file named *_test.yaml holds tests, not rules (rename it)"},
		{"bad pattern", []string{"rules/[.yaml"}, "", "rules/[.yaml:1:1: bad pattern: syntax error in pattern"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rs, err := rules.Load(fsys, rules.Options{}, tt.patterns...)
			if text(err) != tt.err {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				return
			}
			var names []string
			for _, r := range rs.Rules() {
				names = append(names, r.Name)
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("rules %s", got)
			}
			again, err := rules.LoadFiles(rs.Files(), rules.Options{})
			if err != nil || len(again.Rules()) != len(rs.Rules()) {
				t.Errorf("loaded again: %v", err)
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	opts := rules.Options{Actions: map[string]rules.Action{
		"bounce-port": {CheckParams: func(p json.RawMessage) error {
			if string(p) == `{"args":5}` {
				return errors.New("args: want a list")
			}
			return nil
		}},
		"log": {},
	}}
	for _, tt := range []struct{ name, text, want string }{
		{"all at once", `rules:
  - name: first rule
    wehn: event.type == "x"
    do: []
  - name: second
    when: event.type = "x"
    key: foo
    once: 0s
    do:
      - action: bounce_port
      - {action: bounce-port, with: {args: 5}}
      - {action: log, if: "event.a ==", with: "x ${{ event.b + }}"}
  - name: second
    when: [true]
    do: [{action: log}]
`, `r.yaml:2:5: "when" is missing
      - name: first rule
        ^
r.yaml:2:11: bad name "first rule" (1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit)
      - name: first rule
              ^
r.yaml:3:5: unknown key "wehn" (did you mean "when"?)
        wehn: event.type == "x"
        ^
r.yaml:4:9: do is empty (name at least one action)
        do: []
            ^
r.yaml:6:22: rule "second": = is not an operator (write == to compare)
        when: event.type = "x"
                         ^
r.yaml:7:10: rule "second": unknown name "foo" (fields are written event.data.foo; text is written in quotes)
        key: foo
             ^
r.yaml:8:11: rule "second": once must be longer than 0s (remove it to run for every event)
        once: 0s
              ^
r.yaml:10:17: rule "second": there is no action "bounce_port" (did you mean "bounce-port"?)
          - action: bounce_port
                    ^
r.yaml:11:37: rule "second": action "bounce-port" does not take these parameters: args: want a list
          - {action: bounce-port, with: {args: 5}}
                                        ^
r.yaml:12:37: rule "second": the expression ends too early
          - {action: log, if: "event.a ==", with: "x ${{ event.b + }}"}
                                        ^
r.yaml:12:62: rule "second": the expression ends too early
          - {action: log, if: "event.a ==", with: "x ${{ event.b + }}"}
                                                                 ^
r.yaml:13:11: rule "second": the name is taken by the rule in r.yaml:5 (give each rule its own)
      - name: second
              ^
r.yaml:14:11: rule "second": want text, got a list
        when: [true]
              ^`},
		{"literal block", `rules:
  - name: a
    when: |
      event.type == "x" and
      event.data.a = 1
    do: [{action: log}]
`, `r.yaml:5:20: rule "a": = is not an operator (write == to compare)
          event.data.a = 1
                       ^`},
		{"folded block", `rules:
  - name: a
    when: >
      event.type == "x" and
      event.data.a = 1
    do: [{action: log}]
`, `r.yaml:5:20: rule "a": = is not an operator (write == to compare)
          event.data.a = 1
                       ^`},
		{"double quoted with escapes", `rules:
  - {name: a, when: "event.type == \"früh\" and foo", do: [{action: log}]}
`, `r.yaml:2:49: rule "a": unknown name "foo" (fields are written event.data.foo; text is written in quotes)
      - {name: a, when: "event.type == \"früh\" and foo", do: [{action: log}]}
                                                    ^`},
		{"template not closed", `rules:
  - {name: a, when: event.id == "x", do: [{action: log, with: {m: "a ${{ event.id }"}}]}
`, `r.yaml:2:70: rule "a": ${{ is not closed by }} (write $${{ for the text itself)
      - {name: a, when: event.id == "x", do: [{action: log, with: {m: "a ${{ event.id }"}}]}
                                                                         ^`},
		{"template in when", `rules:
  - {name: a, when: "${{ event.id }}", do: [{action: log}]}
`, `r.yaml:2:21: rule "a": this is an expression already (write it without ${{ and }})
      - {name: a, when: "${{ event.id }}", do: [{action: log}]}
                        ^`},
		{"reference", `rules:
  - {name: a, when: event.id == "x", do: [{action: log, with: {m: "a ${env:X}"}}]}
`, `r.yaml:2:70: rule "a": ${env:...} is not possible in a rule file (secrets belong in the settings of an action in pointsman.yaml)
      - {name: a, when: event.id == "x", do: [{action: log, with: {m: "a ${env:X}"}}]}
                                                                         ^`},
		{"another top", "rule: []\n", `r.yaml:1:1: unknown key "rule" (did you mean "rules"?)
    rule: []
    ^`},
		{"not a rule", "rules: [5]\n", `r.yaml:1:9: want a mapping, got an integer (its keys: name, when, key, once, dry_run, ordered, do)
    rules: [5]
            ^`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(tt.text)}}, opts)
			if diff := cmp.Diff(tt.want, text(err)); diff != "" {
				t.Error(diff)
			}
			var one *rules.Error
			if !errors.As(err, &one) {
				t.Errorf("%T holds no *rules.Error", err)
			}
		})
	}
}

// TestLoadStrict: what is dangerous or ambiguous in YAML is refused.
func TestLoadStrict(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"alias":         "rules: [{name: &n a, when: event.id == 'x', do: [{action: *n}]}]",
		"duplicate key": "rules: []\nrules: []\n",
		"tag":           "rules: !!python/object []\n",
		"documents":     "rules: []\n---\nrules: []\n",
		"tab":           "rules:\n\t- name: a\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(text)}}, rules.Options{}); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	rs := load(t, `rules:
  - {name: a, when: 1 == 1, do: [{action: log}]}
  - {name: b, when: event.id == "x", do: [{action: log}]}
  - {name: c, when: event.id == "x", do: [{action: log}]}
`)
	var got []string
	for _, w := range rs.Warnings() {
		got = append(got, strings.SplitN(w.Error(), "\n", 2)[0])
	}
	want := []string{
		`r.yaml:2:21: rule "a": when is the same for every event (it reads no field of event)`,
		`r.yaml:4:5: rule "c": it has the when, key and do of rule "b" (remove one)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestConcurrent: one Ruleset gives each goroutine the answer of its own event.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	rs := load(t, `rules: [{name: a, when: "let i = event.id; any(event.data.tags, # == i)", key: event.id, do: [{action: log, with: "${{ event.id }}"}]}]`)
	var wg sync.WaitGroup
	for _, id := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			ev := map[string]any{"id": id, "data": map[string]any{"tags": []any{"x", id}}}
			for range 500 {
				m := rs.MatchValue(ev)
				if len(m) != 1 || m[0].Key != id || string(m[0].Calls[0].Params) != `"`+id+`"` {
					t.Errorf("%s: %v", id, m)
					return
				}
			}
		})
	}
	wg.Wait()
}

// FuzzLoad: no text panics, and what loads matches without a panic and loads
// again to the same rules.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{
		"rules: [{name: a, when: event.id == 'x', key: event.id, once: 1m, do: [{action: log, if: event.a, with: {a: '${{ event.data }}'}}]}]",
		"rules:\n  - name: a\n    when: >\n      event.type == \"x\"\n       and foo\n    do: [{action: a, with: |\n      ${{ event.id }} $${{}]",
		"a: &b [*b]", "\t", "rules: {", "\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rs, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: text}}, rules.Options{Actions: map[string]rules.Action{"log": {}}})
		if err != nil {
			var errs rules.Errors
			if !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("error %T", err)
			}
			for _, e := range errs {
				if e.Line < 1 || e.Col < 1 {
					t.Fatalf("position of %v", e)
				}
			}
			return
		}
		for _, m := range rs.MatchValue(linkDown()) {
			for _, c := range m.Calls {
				if (c.Params != nil) == (c.Skipped || c.Err != nil) || c.Params != nil && !json.Valid(c.Params) {
					t.Fatalf("call %+v", c)
				}
			}
		}
		rs.ExplainValue(linkDown())
	})
}

func BenchmarkMatch(b *testing.B) {
	var text strings.Builder
	text.WriteString("rules:\n")
	for _, role := range []string{"core", "edge", "spine", "leaf", "access", "dist", "mgmt", "oob", "lab", "none"} {
		text.WriteString("  - name: r-" + role + "\n    when: event.type == \"net.link.down\" and event.data.role == \"" + role +
			"\" and event.data.site in [\"ams1\", \"fra2\"]\n    key: event.source + \"/\" + event.data.interface\n" +
			"    once: 10m\n    do: [{action: a, with: {args: [\"--port\", \"${{ event.data.interface }}\"]}}]\n")
	}
	rs := load(b, text.String())
	ev := linkDown()
	data := ev["data"].(map[string]any)
	for i := range 40 {
		data["field"+string(rune('a'+i%26))+string(rune('a'+i/26))] = strings.Repeat("v", 16)
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(rs.MatchValue(ev)) != 1 {
			b.Fatal("no match")
		}
	}
}

// TestLoadRefusesHugeFiles (B50): a file over the limit is refused by its size,
// before any of it is read.
func TestLoadRefusesHugeFiles(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "huge.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, strictyaml.MaxSize+1); err != nil {
		t.Fatal(err)
	}
	_, err := rules.Load(os.DirFS(filepath.Dir(file)), rules.Options{}, "*.yaml")
	want := "huge.yaml:1:1: file has 67108865 bytes, the limit is 67108864 (split it)"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestExpressionsMayBeBareScalars: true, a number and false are expressions,
// though YAML reads them as something else than text.
func TestExpressionsMayBeBareScalars(t *testing.T) {
	t.Parallel()
	rs := load(t, `rules:
  - name: always
    when: true
    key: 7
    do: [{action: a}, {action: b, if: false}]
`)
	ms := rs.MatchValue(linkDown())
	if len(ms) != 1 || ms[0].Key != "7" || ms[0].Calls[0].Skipped || !ms[0].Calls[1].Skipped {
		t.Errorf("matches %+v", ms)
	}
}
