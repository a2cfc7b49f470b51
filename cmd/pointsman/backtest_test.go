package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/admin/admintest"
	"github.com/pointsman/pointsman/router/store"
)

const recordedRules = `
rules:
  - name: bounce
    when: event.type == "link" and event.data.role == "access"
    key: event.data.port
    once: 10m
    do:
      - {action: work, with: {args: ["${{ event.data.port }}"]}}
      - {action: work, if: event.data.twice}
  - name: page
    when: event.type == "link" and event.data.role == "core"
    do: [{action: work, with: {args: ["${{ event.data.site }}"]}}]
  - {name: trial, when: event.type == "link", dry_run: true, do: [{action: work}]}
  - {name: breaks, when: event.data.n + 1 > 5, do: [{action: work}]}
`

// backtestSite runs a router that has recorded the events, and has beside it the
// folder of a candidate.
func backtestSite(t *testing.T, candidate string, events ...string) *served {
	t.Helper()
	t.Parallel()
	s := newSite(t, routerConfig, recordedRules, "echo ran >> ran\n")
	s.write("candidate/pointsman.yaml", strings.ReplaceAll(routerConfig, "./work.sh", "./none.sh"))
	s.write("candidate/rules/rules.yaml", candidate)
	r := s.serve()
	r.sendAll(events...)
	return r
}

// sendAll sends events as one batch; each is an id and its data.
func (r *served) sendAll(events ...string) {
	r.t.Helper()
	batch := make([]string, len(events))
	for i, e := range events {
		id, data, _ := strings.Cut(e, " ")
		batch[i] = fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"sw1","type":"link","subject":"port","data":%s}`, id, data)
	}
	resp, err := http.Post(r.events+"/events", "application/cloudevents-batch+json", strings.NewReader("["+strings.Join(batch, ",")+"]"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		r.t.Fatalf("status %d", resp.StatusCode)
	}
}

// backtest runs the command with the candidate, from another folder.
func (r *served) backtest(args ...string) (code int, stdout, stderr string) {
	r.t.Helper()
	var out, diag bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &diag)
	a.env = func(name string) string {
		return map[string]string{"POINTSMAN_ADMIN_URL": r.admin, "POINTSMAN_TOKEN": r.token}[name]
	}
	args = append([]string{"backtest", "-c", r.path("candidate/pointsman.yaml")}, args...)
	code = a.run(r.t.Context(), args)
	return code, out.String(), diag.String()
}

// found runs it for JSON.
func (r *served) found(args ...string) (rep backtestReport) {
	r.t.Helper()
	code, out, diag := r.backtest(append(args, "-o", "json")...)
	if code != exitOK {
		r.t.Fatalf("exit code %d: %s", code, diag)
	}
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	return rep
}

var linkEvents = []string{
	`a1 {"role": "access", "port": "eth1", "twice": true, "n": 1}`,
	`a2 {"role": "access", "port": "eth1", "n": 9}`,
	`a3 {"role": "access", "port": "eth2", "n": 1}`,
	`c1 {"role": "core", "site": "ams1", "n": 1}`,
	`c2 {"role": "core", "n": "x"}`,
	`l1 {"role": "lab", "port": "eth1", "n": 1}`,
}

// The rules in force find nothing: the record and the replay agree on windows,
// skipped steps, dry runs and errors.
func TestBacktestOfTheSame(t *testing.T) {
	r := backtestSite(t, recordedRules, linkEvents...)
	rep := r.found()
	if rep.AddedTotal+rep.RemovedTotal+rep.ChangedTotal != 0 || rep.Events != 6 {
		t.Fatalf("%+v", rep)
	}
	var got []string
	for _, x := range rep.Rules {
		text := fmt.Sprintf("%s %d %d", x.Rule, x.Recorded, x.Candidate)
		if x.DryRun != nil {
			text += fmt.Sprintf(", dry %d %d", x.DryRun.Recorded, x.DryRun.Candidate)
		}
		got = append(got, fmt.Sprintf("%s, errors %d", text, x.Errors))
	}
	// The token of a router is in its folder, not in the candidate's.
	cmd := exec.CommandContext(t.Context(), r.bin, "backtest", "-c", "candidate/pointsman.yaml")
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "POINTSMAN_ADMIN_URL="+r.admin, "POINTSMAN_TOKEN=")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "6 events") {
		t.Fatalf("%v: %s", err, out)
	}
	want := []string{
		"bounce 2 2, errors 0", "page 1 1, errors 1", "trial 0 0, dry 6 6, errors 0", "breaks 1 1, errors 1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("rules (-want +got):\n%s", diff)
	}
}

const candidateRules = `
rules:
  - name: bounce
    when: event.type == "link" and event.data.role in ["access", "lab"]
    key: event.data.port
    once: 10m
    do:
      - {action: work, with: {args: ["-p", "${{ event.data.port }}"]}}
      - {action: work, if: event.data.twice}
  - name: page-core
    when: event.type == "link" and event.data.role == "core" and event.data.site != nil
    do: [{action: work, with: {args: ["${{ event.data.site }}"]}}]
  - {name: trial, when: event.data.role == "core", dry_run: true, do: [{action: work}]}
  - {name: breaks, when: event.data.n > 4 and event.data.role != "access", do: [{action: work}]}
  - {name: all, when: event.type == "link", do: [{action: work}]}
`

func TestBacktest(t *testing.T) {
	r := backtestSite(t, candidateRules, linkEvents...)
	ran := func() int { return strings.Count(r.read("ran"), "ran") }
	// Those of dry runs are done at once, those of commands when they have run.
	r.until("the commands", func() bool { return ran() == 5 })
	before := ran()
	code, table, diag := r.backtest("--examples", "1")
	if code != exitOK || diag != "" {
		t.Fatalf("exit code %d: %s", code, diag)
	}
	golden(t, "testdata/backtest.txt", scrub(table))
	_, text, _ := r.backtest("--examples", "1", "-o", "json")
	golden(t, "testdata/backtest.json", scrub(text))
	if n := ran(); n != before {
		t.Fatalf("%d commands ran before, %d after", before, n)
	}

	one := r.found("--rule", "all")
	if len(one.Rules) != 1 || one.Rules[0].AddedTotal != 6 || one.RemovedTotal != 0 {
		t.Fatalf("of one rule: %+v", one)
	}
	if rep := r.found("--source", "netbox"); rep.Events != 0 || rep.AddedTotal != 0 {
		t.Fatalf("of another source: %+v", rep)
	}
	if rep := r.found("--include-dry-runs"); rep.RemovedTotal != 1+1+4 { // page, breaks, trial
		t.Fatalf("with dry runs: %+v", rep)
	}
	if code, _, diag := r.backtest("--rule", "nope"); code != exitFindings || !strings.Contains(diag, `has a rule "nope"`) {
		t.Fatalf("an unknown rule: exit code %d: %s", code, diag)
	}
}

// golden compares with a file, or rewrites it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", file, diff)
	}
}

// scrub replaces what is different each time.
func scrub(text string) string {
	text = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`).ReplaceAllString(text, "TIME")
	text = regexp.MustCompile(`fired [0-9a-z]+ ago`).ReplaceAllString(text, "fired AGO ago")
	return regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).ReplaceAllString(text, "UID")
}

// More events than a page has; all are looked at, the first hundred are named.
func TestBacktestPages(t *testing.T) {
	r := backtestSite(t, candidateRules)
	for b := range 3 {
		events := make([]string, 500)
		for i := range events {
			events[i] = fmt.Sprintf(`e%d {"n": 1, "role": "none"}`, b*500+i)
		}
		r.sendAll(events...)
	}
	rep := r.found("--rule", "all")
	all := rep.Rules[0]
	if rep.Events != 1500 || all.AddedTotal != 1500 || len(all.Added) != 100 || all.Added[0] != "e0" || all.Added[99] != "e99" {
		t.Fatalf("%d events, %d added, named %v", rep.Events, all.AddedTotal, all.Added)
	}
}

// A window that was opened before --since is open in the replay, and the record
// from before it is not reported.
func TestBacktestWarmsUp(t *testing.T) {
	r := backtestSite(t, recordedRules, `a1 {"role": "access", "port": "eth1", "n": 1}`)
	var page struct {
		Events []struct{ Received time.Time }
	}
	r.get("/api/v1/events?limit=1", &page)
	since := page.Events[0].Received.Add(time.Millisecond)
	for !time.Now().After(since) {
		<-time.After(time.Millisecond)
	}
	r.sendAll(`a2 {"role": "access", "port": "eth1", "n": 1}`)
	rep := r.found("--since", since.Format(time.RFC3339Nano), "--rule", "bounce")
	if rep.Events != 1 || rep.WarmUpEvents != 1 || rep.AddedTotal != 0 || rep.Rules[0].Recorded != 0 {
		t.Fatalf("%+v", rep)
	}
	// The record begins within the ten minutes before.
	if rep.UncertainUntil == nil || !rep.UncertainUntil.Equal(rep.RecordBegins.Add(10*time.Minute)) {
		t.Fatalf("begins %v, uncertain until %v", rep.RecordBegins, rep.UncertainUntil)
	}
}

func TestBacktestCannotRun(t *testing.T) {
	r := backtestSite(t, "rules:\n  - {name: r, when: event.type = 1, do: [{action: work}]}\n")
	if code, _, diag := r.backtest(); code != exitCannotRun || !strings.Contains(diag, "rules/rules.yaml:2:") {
		t.Errorf("an invalid candidate: exit code %d: %s", code, diag)
	}
	r.write("candidate/rules/rules.yaml", "rules:\n  - {name: r, when: event.type == \"x\", do: [{action: nope}]}\n")
	if code, _, diag := r.backtest(); code != exitCannotRun || !strings.Contains(diag, `there is no action "nope"`) {
		t.Errorf("an unknown action: exit code %d: %s", code, diag)
	}
	r.write("candidate/rules/rules.yaml", candidateRules)
	if code, _, diag := r.backtest("--since", "yesterday"); code != exitUsage {
		t.Errorf("a bad --since: exit code %d: %s", code, diag)
	}
	if code, _, diag := r.backtest("--url", "http://127.0.0.1:1"); code != exitCannotRun || !strings.Contains(diag, "cannot reach the router") {
		t.Errorf("no router: exit code %d: %s", code, diag)
	}
	r.token = "not the token of this router"
	if code, _, diag := r.backtest(); code != exitCannotRun || !strings.Contains(diag, "refuses the token") {
		t.Errorf("another token: exit code %d: %s", code, diag)
	}
}

// On a terminal a long run shows how far it is, and leaves nothing behind.
func TestProgress(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	begun := now
	a := newApp(nil, nil, &out)
	a.now = func() time.Time { return now }
	if a.newProgress(now, now) != nil {
		t.Fatal("progress without a terminal")
	}
	a.terminal = func(any) bool { return true }
	p := a.newProgress(begun.Add(-48*time.Hour), begun)
	p.add(begun.Add(-24 * time.Hour)) // the record begins in the middle
	if out.Len() > 0 {
		t.Fatalf("shown at once: %q", out.String())
	}
	now = now.Add(2 * time.Second)
	p.add(begun.Add(-18 * time.Hour))
	p.add(begun.Add(-17 * time.Hour)) // too soon for another line
	now = now.Add(2 * time.Second)
	p.add(begun.Add(-12 * time.Hour))
	p.end()
	const want = "\r[=======                       ]  25%  2 events, 1/s, 6s left" +
		"\r[===============               ]  50%  4 events, 1/s, 4s left"
	blank := "\r" + strings.Repeat(" ", len(want)/2-1) + "\r"
	if diff := cmp.Diff(want+blank, out.String()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}

// Interrupted, it reports what it has looked at; a revision that is gone leaves
// the verdicts to compare.
func TestBacktestInterrupted(t *testing.T) {
	t.Parallel()
	s := &site{t: t, dir: t.TempDir()}
	s.write("pointsman.yaml", "actions: [{name: work, plugin: log}]\n")
	s.write("rules/rules.yaml", "rules:\n  - {name: all, when: event.type startsWith \"net\", do: [{action: work}]}\n")
	f := &admintest.Fake{}
	for n := range 1000 {
		ev := admintest.Event(n, "events", "sw1", fmt.Sprint("e", n))
		ev.Verdicts = []store.Verdict{{Rule: "all", Verdict: "matched"}, {Rule: "gone", Verdict: "error", Reason: "when: x"}}
		f.Accept(ev)
	}
	h := adminHandler(f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pages atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("verdicts") && pages.Add(1) == 4 {
			cancel()
			<-r.Context().Done()
			return
		}
		h.ServeHTTP(w, r)
	}))
	defer srv.Close()
	var out, diag bytes.Buffer
	a := newApp(nil, &out, &diag)
	a.env = func(string) string { return testToken }
	code := a.run(ctx, []string{"backtest", "-c", s.path("pointsman.yaml"), "--url", srv.URL, "--since", "2000-01-01T00:00:00Z", "-o", "json"})
	var rep backtestReport
	if err := json.Unmarshal(out.Bytes(), &rep); err != nil {
		t.Fatalf("exit code %d, %v: %s%s", code, err, out.String(), diag.String())
	}
	if code != exitFindings || !rep.Interrupted || !strings.Contains(diag.String(), "interrupted after") {
		t.Fatalf("exit code %d, interrupted %v: %s", code, rep.Interrupted, diag.String())
	}
	// The page on the way when it was interrupted counts or does not.
	if rep.Events < 400 || rep.Events > 600 || rep.AddedTotal+rep.RemovedTotal != 0 || rep.Rules[0].Recorded != rep.Events {
		t.Fatalf("%+v", rep)
	}
}
