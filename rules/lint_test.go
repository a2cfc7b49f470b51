package rules_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules"
)

// sender is an action that posts its body to this router.
func sender(with any) (string, bool) {
	params, _ := with.(map[string]any)
	name, _ := params["type"].(string)
	return name, true
}

// lint loads a file and returns its warnings as "line:col code message".
func lint(t testing.TB, text string) []string {
	t.Helper()
	var found rules.Lint
	opts := rules.Options{Lint: &found, Actions: map[string]rules.Action{"log": {}, "send": {Emits: sender}}}
	if _, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(text)}}, opts); err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, w := range found.Warnings {
		out = append(out, fmt.Sprintf("%d:%d %s %s", w.Line, w.Col, w.Code, w.Msg))
	}
	return out
}

func TestLint(t *testing.T) {
	t.Parallel()
	const secret = "literal-secret rule \"r\": a secret is written out here, and rules are stored with the events they decide " +
		"(put it into the settings of the action in pointsman.yaml, as ${env:NAME} or ${file:PATH})"
	const (
		correct  = "(correct it, or remove the rule)"
		stepOnly = "(correct it, or remove the step)"
	)
	tests := []struct {
		name, rule string
		want       []string
	}{
		{"nothing", `{name: r, when: event.type == "a", key: event.subject, once: 1m, do: [{action: log, if: event.data.x > 3}]}`, nil},
		{"never", `{name: r, when: event.type == "a" and event.type == "b", do: [{action: log}]}`, []string{
			`2:43 never-true rule "r": when can never be true: event.type == "b" contradicts event.type == "a" ` + correct,
		}},
		{"a number for a text", `{name: r, when: event.type == 5, do: [{action: log}]}`, []string{
			`2:21 never-true rule "r": when can never be true: event.type == 5 never holds: event.type is always a text, and not empty ` + correct,
		}},
		{"another specversion", `{name: r, when: event.specversion != "1.0", do: [{action: log}]}`, []string{
			`2:21 never-true rule "r": when can never be true: event.specversion != "1.0" never holds: event.specversion is always "1.0" ` + correct,
		}},
		{"data forgotten", `{name: r, when: event.dat.role == "a", do: [{action: log}]}`, []string{
			`2:21 never-true rule "r": when can never be true: event.dat.role == "a" never holds: event.dat.role is always missing, ` +
				`because event.dat has no fields (those of the data are under event.data) ` + correct,
		}},
		{"no name of an attribute", `{name: r, when: event.Type == "a", do: [{action: log}]}`, []string{
			`2:21 never-true rule "r": when can never be true: event.Type == "a" never holds: event.Type is always missing, ` +
				`because attributes have names of a to z and 0 to 9 (the fields of the data are under event.data) ` + correct,
		}},
		{"an extension", `{name: r, when: event.traceparent == "a" or event.seq == 5, do: [{action: log}]}`, nil},
		{"a dead side", `{name: r, when: 'event.type == "a" and (event.data.x in [] or event.data.y == 1)', do: [{action: log}]}`, []string{
			`2:45 dead-branch rule "r": a side of or can never be true: event.data.x in [] never holds (correct it, or leave it out)`,
		}},
		{"no side", `{name: r, when: event.type == "a" and (event.type == "b" or event.type == "c"), do: [{action: log}]}`, []string{
			`2:44 never-true rule "r": when can never be true: no side of event.type == "b" or event.type == "c" is possible ` + correct,
		}},
		{"if against when", `{name: r, when: event.type == "a", do: [{action: log, if: event.type == "b"}]}`, []string{
			`2:63 never-true rule "r": if can never be true where when is: event.type == "b" contradicts event.type == "a" ` + stepOnly,
		}},
		{"if on its own", `{name: r, when: event.type == "a", do: [{action: log}, {action: log, if: event.data.n > 3 and event.data.n < 2}]}`, []string{
			`2:99 never-true rule "r": if can never be true: event.data.n < 2 contradicts event.data.n > 3 ` + stepOnly,
		}},
		{"always", `{name: r, when: event.data.x == nil or event.data.x != nil, do: [{action: log}]}`, []string{
			`2:21 always-true rule "r": when is true of every event (ask for less, or write true)`,
		}},
		{"constant", `{name: r, when: true, do: [{action: log}]}`, []string{
			`2:21 constant-condition rule "r": when is the same for every event (it reads no field of event)`,
		}},
		{"unindexed", `{name: r, when: event.data.x != 3, do: [{action: log}]}`, []string{
			`2:21 unindexed rule "r": every event is tried against this rule: nothing that a field must be narrows it down ` +
				`(compare event.type or another field with a text or a number, and let the other conditions follow with and)`,
		}},
		{"key alone", `{name: r, when: event.type == "a", key: event.subject, do: [{action: log}]}`, []string{
			`2:45 unused-key rule "r": without once, ordered, or overlap in a step, the key holds nothing back (add one, or remove key)`,
		}},
		{"key of ordered", `{name: r, when: event.type == "a", key: event.subject, ordered: true, do: [{action: log}]}`, nil},
		{"key of overlap", `{name: r, when: event.type == "a", key: event.subject, do: [{action: log}, {action: log, overlap: skip}]}`, nil},
		{"key beside allow", `{name: r, when: event.type == "a", key: event.subject, do: [{action: log, overlap: allow}]}`, []string{
			`2:45 unused-key rule "r": without once, ordered, or overlap in a step, the key holds nothing back (add one, or remove key)`,
		}},
		{"ordered without key", `{name: r, when: event.type == "a", ordered: true, do: [{action: log}]}`, []string{
			`2:49 one-lane rule "r": without a key one delivery of the rule runs at a time, and a retry delays all of them ` +
				`(add a key, such as that of the device)`,
		}},
		{"not ordered without key", `{name: r, when: event.type == "a", ordered: false, do: [{action: log}]}`, nil},
		{"constant key", `{name: r, when: event.type == "a", key: '"x"', once: 1m, do: [{action: log}]}`, []string{
			`2:46 constant-key rule "r": the key is the same for every event, as it is without one (remove it, or let it read a field)`,
		}},
		{"key of the id", `{name: r, when: event.type == "a", key: event.source + "/" + event.id, once: 1m, do: [{action: log}]}`, []string{
			`2:45 useless-once rule "r": once holds nothing back: event.id is another one for each event, so each has a window of its own ` +
				`(make the key of what the events have in common)`,
		}},
		{"key of the time", `{name: r, when: event.type == "a", key: event.time, once: 1m, do: [{action: log}]}`, []string{
			`2:45 useless-once rule "r": once holds hardly anything back: event.time is another one for nearly each event ` +
				`(make the key of what the events have in common)`,
		}},
		{"key of a test of the id", `{name: r, when: event.type == "a", key: event.id startsWith "x", once: 1m, do: [{action: log}]}`, nil},
		{"secret by name", `{name: r, when: event.type == "a", do: [{action: log, with: {a: {api_key: fixed-value}}}]}`, []string{"2:79 " + secret}},
		{"secret number", `{name: r, when: event.type == "a", do: [{action: log, with: {password: 12345678}}]}`, []string{"2:76 " + secret}},
		{"secret of a flag", `{name: r, when: event.type == "a", do: [{action: log, with: {args: ["--token", fixed-value]}}]}`, []string{"2:84 " + secret}},
		{"secret in a flag", `{name: r, when: event.type == "a", do: [{action: log, with: {args: ["--password=fixed-value"]}}]}`, []string{"2:74 " + secret}},
		{"bearer", `{name: r, when: event.type == "a", do: [{action: log, with: {h: "Bearer abc123fixed-value"}}]}`, []string{"2:70 " + secret}},
		{"url", `{name: r, when: event.type == "a", do: [{action: log, with: {h: "https://joe:fixed-value@example.net/"}}]}`, []string{"2:70 " + secret}},
		{"token", `{name: r, when: event.type == "a", do: [{action: log, with: {h: ghp_fixedvalue0123456789}}]}`, []string{"2:69 " + secret}},
		{"secret in when", `{name: r, when: event.type == "a" and event.data.t == "glpat-fixedvalue01234567" and event.type == "b", do: [{action: log}]}`, []string{"2:21 " + secret}},
		{"no secrets", `{name: r, when: event.type == "a", do: [{action: log, with: {token: "${{ event.data.t }}", password: "", token_file: /run/t, ` +
			`text: "the bearer of news", u: "https://example.net:80/@x", args: [--password, --force, "--secret"], secret: true}}]}`, nil},
		{"loop", `{name: r, when: event.type startsWith "a", do: [{action: send, with: {type: ab}}]}`, []string{
			`2:53 may-loop rule "r": action "send" sends an event of type "ab" to this router, and this rule may match it: a loop ` +
				`(send another type, or exclude such events in when)`,
		}},
		{"no loop", `{name: r, when: event.type startsWith "a" and event.type != "ab", do: [{action: send, with: {type: ab}}]}`, nil},
		{"a loop of a dry run", `{name: r, dry_run: true, when: event.type == "a", do: [{action: send, with: {type: a}}]}`, nil},
		{"a type that is not seen", `{name: r, when: event.type == "a", do: [{action: send}]}`, []string{
			`2:45 may-loop rule "r": action "send" sends an event to this router whose type cannot be seen here: a loop, if this rule matches it ` +
				`or what follows from it (write the type out, or exclude such events in when)`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := append([]string{}, tt.want...)
			got := lint(t, "rules:\n  - "+tt.rule+"\n")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if text := strings.Join(got, "\n"); strings.Contains(text, "fixed") {
				t.Errorf("a secret is shown: %s", text)
			}
		})
	}
}

func TestLintOfTwoRules(t *testing.T) {
	t.Parallel()
	got := lint(t, `
rules:
  - name: first
    when: event.type == "a" and (event.data.x == 1 or event.data.y == 2)
    do: [{action: log, if: event.data.z and event.data.x == 1}]
  - name: second
    dry_run: true
    once: 5m
    when: |
      (event.data.y == 2 || event.data.x == 1)
        && event.type == "a"
    do: [{if: "event.data.x == 1 and event.data.z", action: log}]
  - name: third
    when: event.type == "a" and event.data.x == 1 or event.data.y == 2
    do: [{action: log, if: event.data.z and event.data.x == 1}]
  - name: fourth
    when: event.type == "a" and (event.data.x == 1 or event.data.y == 2)
    do: [{action: log, if: event.data.z and event.data.x == 1}]
  - name: ping
    when: event.type == "ping"
    do: [{action: send, with: {type: pong}}]
  - name: pong
    when: event.type in ["pong", "other"]
    do: [{action: log}, {action: send, with: {type: ping}}, {action: send, with: {type: elsewhere}}]
`)
	want := []string{
		`6:5 same-rule rule "second": it has the when, key and do of rule "first", written otherwise (remove one)`,
		`16:5 same-rule rule "fourth": it has the when, key and do of rule "first" (remove one)`,
		`21:10 may-loop rule "ping": action "send" sends an event of type "pong" to this router, rule "pong" may match it, ` +
			`and what that sends leads here again: a loop (send another type, or exclude such events in a when)`,
		`24:25 may-loop rule "pong": action "send" sends an event of type "ping" to this router, rule "ping" may match it, ` +
			`and what that sends leads here again: a loop (send another type, or exclude such events in a when)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLintWithErrors: warnings are there although the file is not valid.
func TestLintWithErrors(t *testing.T) {
	t.Parallel()
	var found rules.Lint
	_, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(
		"rules:\n  - {name: a, when: event.type == 5, do: [{action: log}]}\n  - {name: b}\n")}}, rules.Options{Lint: &found})
	if err == nil || len(found.Warnings) != 1 || found.Warnings[0].Code != "never-true" {
		t.Errorf("%v, warnings %v", err, found.Warnings)
	}
}

// manyRules is a file of n rules that differ.
func manyRules(n int) []byte {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - name: r%d\n    when: event.type startsWith \"net.%d.\" and event.data.role in [\"access\", \"edge\"] and event.data.n > %d\n"+
			"    key: event.source\n    once: 1m\n    do:\n      - {action: send, with: {type: net.%d, text: \"port ${{ event.data.port }}\"}}\n", i, i, i, i+1)
	}
	return []byte(b.String())
}

func BenchmarkLint(b *testing.B) {
	files := []rules.File{{Name: "r.yaml", Data: manyRules(10_000)}}
	for _, lint := range []*rules.Lint{nil, {}} {
		b.Run(fmt.Sprintf("lint=%t", lint != nil), func(b *testing.B) {
			for b.Loop() {
				if _, err := rules.LoadFiles(files, rules.Options{Lint: lint, Actions: map[string]rules.Action{"send": {Emits: sender}}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestLintOfDocs: what docs/rules.md shows as an example of a warning is one, and
// every kind of warning that a single rule can have is shown.
func TestLintOfDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Warnings\n")
	section, _, _ = strings.Cut(section, "\n## ")
	shown := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (.*?) \\|").FindAllStringSubmatch(section, -1) {
		code, example := row[1], row[2]
		shown[code] = true
		if !strings.HasPrefix(example, "`") {
			continue // words
		}
		rule := strings.Trim(example, "`")
		// A flow mapping would end within an expression that has a comma or a bracket.
		keys := regexp.MustCompile(`, (once|do): `).ReplaceAllString(rule, "\n    $1: ")
		for name, text := range map[string]string{"when": `event.type == "a"`, "do": "[{action: log}]"} {
			if !strings.Contains("\n    "+keys, "\n    "+name+": ") {
				keys += "\n    " + name + ": " + text
			}
		}
		got := lint(t, "rules:\n  - name: r\n    "+keys+"\n")
		if len(got) != 1 || !strings.Contains(got[0], " "+code+" ") {
			t.Errorf("%s is to show %s: %q", rule, code, got)
		}
	}
	for _, code := range []string{
		"never-true", "dead-branch", "always-true", "constant-condition", "unindexed", "same-rule", "unused-key", "constant-key",
		"useless-once", "literal-secret", "may-loop", "one-lane",
	} {
		if !shown[code] {
			t.Errorf("docs/rules.md does not show %s", code)
		}
	}
}
