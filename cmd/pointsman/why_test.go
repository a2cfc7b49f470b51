package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// TestWhyPage goes through docs/why.md: its files make a router, its commands
// are run, and put out what the page shows but for times, ids and lines' ends.
func TestWhyPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/why.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := regexp.MustCompile("(?ms)`([a-z./]+)`:\n\n```(?:yaml|sh)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	for _, f := range files {
		path := filepath.Join(dir, f[1])
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(f[2]), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l := startLive(t, dir)
	run := func(command string) string {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", `pointsman() { "$BINARY" "$@"; }; `+command)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "BINARY="+l.cmd.Path, "POINTSMAN_URL="+l.events, "POINTSMAN_ADMIN_URL="+l.admin, "POINTSMAN_TOKEN="+l.token)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return plainly(string(out))
	}
	commands := 0
	for _, block := range regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(part, "\n")
			commands++
			want = plainly(want)
			got := run(command)
			// What runs in the background is as the page says after a while.
			for end := time.Now().Add(liveTime); got != want && strings.HasPrefix(command, "pointsman why"); <-time.After(50 * time.Millisecond) {
				if time.Now().After(end) {
					break
				}
				got = run(command)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s\n%s", command, diff)
			}
		}
	}
	if len(files) != 4 || commands != 11 {
		t.Errorf("%d files, %d commands", len(files), commands)
	}
}

// plainly is output without what differs from run to run.
func plainly(text string) string {
	for _, r := range [][2]string{
		{`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`, "UID"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|\d\d:\d\d:\d\dZ`, "TIME"},
		{`revision [0-9a-f]{16}`, "revision REVISION"},
		{`\(\S+ ago\)`, "(AGO)"},
		{`fired \S+ earlier`, "fired SPAN earlier"},
		{`attempt \d+ at TIME \(in \S+\), \d+ of`, "attempt N at TIME (in SPAN), N of"},
		{`\s+`, " "},
	} {
		text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
	}
	return strings.TrimSpace(text)
}

// What is long is cut and counted; --all and --rule show all of it.
func TestWhyLimits(t *testing.T) {
	t.Parallel()
	answer := &admin.Why{UID: "u1", InForce: true, Event: &admin.Event{
		UID: "u1", Source: "events", Revision: "r1", Event: json.RawMessage(`{"id":"e1","type":"t\u001b[2J","source":"sw1","subject":"rack 4"}`),
	}}
	add := func(n int, verdict string, other bool) {
		for range n {
			answer.Verdicts = append(answer.Verdicts, admin.Verdict{RuleVerdict: router.RuleVerdict{
				Rule: fmt.Sprintf("r%d", len(answer.Verdicts)), Verdict: verdict, Reason: "because", OtherType: other,
				Conditions: []rules.Condition{{Text: "a == 1", Result: fmt.Sprint(verdict == router.VerdictMatched)}},
			}})
		}
	}
	add(22, router.VerdictMatched, false)
	add(25, router.VerdictNotMatched, false)
	add(300, router.VerdictNotMatched, true)
	render := func(t whyText, why *admin.Why) string { t.now = time.Unix(0, 0); return t.render(why) }
	short := render(whyText{width: 100}, answer)
	for text, n := range map[string]int{
		"\nmatched  r": 20, "\nand 2 more (see --all, --rule NAME)\n": 1, "\nnot_matched  r": 20,
		"\nand 305 more rules are further away (see --all, --rule NAME)\n": 1, "22 matched, 325 not_matched\n": 1,
		`event e1: t\x1b[2J from sw1, subject rack 4`: 1, "\x1b": 0,
	} {
		if got := strings.Count(short, text); got != n {
			t.Errorf("%q is there %d times, not %d\n%s", text, got, n, short)
		}
	}
	all := render(whyText{width: 100, all: true}, answer)
	if m, n := strings.Count(all, "\nmatched  r"), strings.Count(all, "\nnot_matched  r"); m != 22 || n != 325 || strings.Contains(all, "--all") {
		t.Errorf("%d and %d rules with --all", m, n)
	}

	one := admin.Verdict{RuleVerdict: router.RuleVerdict{
		Rule: "many", Verdict: router.VerdictMatched, Calls: []router.RuleCall{{Action: "a", Params: json.RawMessage(`"` + strings.Repeat("x", 300) + `"`)}},
	}}
	for i := range 10 {
		one.Conditions = append(one.Conditions, rules.Condition{Text: fmt.Sprintf("c%d", i), Result: "true"})
		one.Deliveries = append(one.Deliveries, admin.WhyDelivery{Delivery: admin.Delivery{Rule: "many", State: store.Done.String()}, Summary: fmt.Sprintf("done %d", i)})
	}
	answer.Verdicts = []admin.Verdict{one}
	short = render(whyText{width: 100}, answer)
	for _, text := range []string{"c7\n", "and 2 more; --rule many shows them", "done 2\n", "and 7 more:\n", "-> pointsman deliveries list --event u1 --rule many\n", "xx…\n"} {
		if !strings.Contains(short, text) {
			t.Errorf("%q is missing\n%s", text, short)
		}
	}
	if full := render(whyText{width: 100, detail: true}, answer); !strings.Contains(full, "c9\n") || !strings.Contains(full, "done 9\n") || strings.Contains(full, "…") {
		t.Errorf("with --rule\n%s", full)
	}
}

// Lines are broken between words, below where their text begins, and words that
// are too long within; commands stay whole.
func TestWhyWidth(t *testing.T) {
	t.Parallel()
	text := whyText{width: 60}
	text.entry("when", "a comparison that is rather long for a line of sixty columns")
	text.entryUnder("", strings.Repeat("0123456789", 6)+" ö end", 2)
	text.command("pointsman deliveries retry 01a2066f-5b25-735e-b364-c37017625a9f")
	want := `  when        a comparison that is rather long for a line of
              sixty columns
              01234567890123456789012345678901234567890123
                4567890123456789 ö end
              -> pointsman deliveries retry 01a2066f-5b25-735e-b364-c37017625a9f
`
	if diff := cmp.Diff(want, text.b.String()); diff != "" {
		t.Fatal(diff)
	}
}

func TestSimilarIDs(t *testing.T) {
	t.Parallel()
	var events []admin.Event
	for _, id := range []string{"p-101", "p-102", "p-201", "q-77", "p-101", "link down 7"} {
		text, err := json.Marshal(map[string]string{"id": id})
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, admin.Event{Event: text})
	}
	for id, want := range map[string]string{
		"p-103": "p-101 p-102", "p-110": "p-101", "p-01": "p-101 p-201", "p-1015": "p-101", "101": "p-101", "down": "'link down 7'",
		"x": "", "77q": "", "p-321": "",
	} {
		if got := strings.Join(similar(id, events), " "); got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
}
