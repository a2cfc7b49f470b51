package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/router/admin/admintest"
	"github.com/pointsman/pointsman/router/store"
)

var update = flag.Bool("update", false, "rewrite the wanted output in testdata/script")

const testToken = "a token of some length"

// buildDirEnv names the folder for what the tests build.
const buildDirEnv = "POINTSMAN_TEST_BUILD"

func TestMain(m *testing.M) {
	testscript.Main(inFolder{m}, map[string]func(){"pointsman": main})
}

// inFolder runs the tests with a folder to build in.
type inFolder struct{ *testing.M }

func (f inFolder) Run() int {
	dir, err := os.MkdirTemp("", "pointsman-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	os.Setenv(buildDirEnv, dir)
	return f.M.Run()
}

func ptr[T any](v T) *T { return &v }

// fleet has events and deliveries, some with what a terminal must not get.
func fleet() *admintest.Fake {
	cet := time.FixedZone("CET", 3600)
	e1 := admintest.Event(1, "netbox", "sw1", "one")
	e2 := admintest.Event(2, "events", "sw1", "one")
	e3 := admintest.Event(3, "events", "sw2", "esc\x1b[31m\u009b\u202e")
	e2.Verdicts = []store.Verdict{{Rule: "bounce", Verdict: "matched", Reason: "role is access"}}
	dead := admintest.Delivery(12, e2, "bounce", "port", store.Dead)
	dead.Attempts, dead.Reason, dead.Error = 2, store.ReasonPermanent, "bad\r\n\x1b]0;title\x07"
	f := &admintest.Fake{
		EventList: []store.Event{e1, e2, e3},
		DeliveryList: []store.Delivery{
			admintest.Delivery(11, e1, "bounce", "port", store.Done), dead,
			admintest.Delivery(13, e3, "page", "pager", store.Ready),
			admintest.Delivery(14, e3, "page", "pager", store.Dead),
		},
		Attempts: map[string][]store.Attempt{admintest.UID(12): {{
			Number: 1, Started: admintest.Time(12), Ended: admintest.Time(13), Outcome: "permanent",
			Error: "exit status 2", Output: "line 1\nline \x1b[2J2\n",
		}}},
		ActionList: []router.ActionStatus{
			{Name: "pager", Plugin: "http", State: "idle", Concurrency: 2},
			{Name: "port", Plugin: "exec", Version: "1.0.0", State: "broken", Concurrency: 4, LastError: "exits at once"},
		},
		SourceList: []router.SourceStatus{
			{Name: "events", Type: "events", State: router.SourceOK, LastEvent: ptr(admintest.Time(3)), Accepted: 3, Duplicate: 1, Conflict: 2},
			{Name: "core", Type: "probe", State: router.SourceBroken, Reason: "no such\x1b host", Restarts: 4},
			{Name: "netbox", Type: "webhook", State: router.SourceOK, Rejected: 7},
		},
		ScheduleList: []router.ScheduleStatus{
			{
				Name: "nightly", When: "cron 30 2 * * *", Timezone: "Europe/Berlin", Jitter: "0s", CatchUp: "none",
				Last: ptr(admintest.Time(1).In(cet)), Next: []time.Time{admintest.Time(2).In(cet), admintest.Time(3).In(cet)},
			},
			{Name: "past", When: "at 2 instants", Timezone: "UTC", Jitter: "0s", CatchUp: "last", Next: []time.Time{}},
		},
		PluginList: []router.PluginStatus{{
			Name: "exec", Version: "1.0.0", Summary: "Runs a command.", Idempotency: "none",
			ParamsSchema: json.RawMessage(`{"type":"object"}`), Actions: []string{"port"},
		}},
		Verdicts: []router.RuleVerdict{
			{Rule: "bounce", Verdict: "matched", Reason: "role is access"},
			{Rule: "page", Verdict: "not_matched", Reason: "site is ams1"},
		},
	}
	// More than two pages.
	for n := range 2500 {
		f.DeliveryList = append(f.DeliveryList, admintest.Delivery(1000+n, e1, "bulk", "bulk", store.Held))
	}
	return f
}

func adminHandler(f *admintest.Fake) http.Handler {
	return admin.New(admin.Config{
		Router: f, Orders: f, Schedules: f, Store: f, Metrics: prometheus.NewRegistry(), Token: testToken, Listen: "127.0.0.1:8081",
	})
}

// eventsHandler takes events as the events listener does: the id tells what
// becomes of one.
func eventsHandler(w http.ResponseWriter, r *http.Request) {
	type event struct {
		ID     string `json:"id"`
		Source string `json:"source"`
		Type   string `json:"type"`
	}
	type answer struct {
		ID        string `json:"id"`
		Source    string `json:"source"`
		Duplicate bool   `json:"duplicate"`
		Code      string `json:"code,omitempty"`
	}
	fail := func(status int, code string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(admin.Problem{Status: status, Code: code, Detail: "the event is " + code})
	}
	if r.URL.Path != "/events" || r.Method != http.MethodPost {
		fail(http.StatusNotFound, "not_found")
		return
	}
	if r.Header.Get("Authorization") == "Bearer wrong" {
		fail(http.StatusUnauthorized, "unauthorized")
		return
	}
	body, _ := io.ReadAll(r.Body)
	var events []event
	batch := r.Header.Get("Content-Type") == "application/cloudevents-batch+json"
	if !batch {
		body = slices.Concat([]byte("["), body, []byte("]"))
	}
	if json.Unmarshal(body, &events) != nil {
		fail(http.StatusBadRequest, "bad_json")
		return
	}
	var answers []answer
	for _, e := range events {
		a := answer{ID: e.ID, Source: e.Source, Duplicate: e.ID == "dup"}
		if e.ID == "other" {
			a.Code = "conflict"
		}
		if e.Type == "" {
			fail(http.StatusBadRequest, "missing_attribute")
			return
		}
		answers = append(answers, a)
	}
	w.WriteHeader(http.StatusAccepted)
	if batch {
		_ = json.NewEncoder(w).Encode(answers)
		return
	}
	_ = json.NewEncoder(w).Encode(answers[0])
}

// Each script has a router of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			adm := httptest.NewServer(adminHandler(fleet()))
			ev := httptest.NewServer(http.HandlerFunc(eventsHandler))
			env.Defer(adm.Close)
			env.Defer(ev.Close)
			env.Setenv("ADMIN", adm.URL)
			env.Setenv("ADMIN_HOST", strings.TrimPrefix(adm.URL, "http://"))
			env.Setenv("EVENTS", ev.URL)
			env.Setenv("TOKEN", testToken)
			for i := range 20 {
				env.Setenv("UID"+string(rune('A'+i)), admintest.UID(i))
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "elements": elements, "fill": fill,
		},
		UpdateScripts: *update,
	})
}

// exits CODE program args: like exec, with the exit code wanted.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE program [args]")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exitText(exit)
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

// fill FILE: replaces @NAME@ by environment variables in a file.
func fill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fill FILE")
	}
	parts := strings.Split(ts.ReadFile(args[0]), "@")
	for i := 1; i < len(parts); i += 2 {
		parts[i] = ts.Getenv(parts[i])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(parts, "")), 0o600))
}

func exitText(e *exec.ExitError) string {
	return strings.TrimPrefix(e.Error(), "exit status ")
}

// elements N: standard output is a JSON array of N elements.
func elements(ts *testscript.TestScript, neg bool, args []string) {
	var got []json.RawMessage
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &got); err != nil {
		ts.Fatalf("not a JSON array: %v", err)
	}
	n, err := json.Marshal(len(got))
	ts.Check(err)
	if neg || len(args) != 1 || string(n) != args[0] {
		ts.Fatalf("%s elements", n)
	}
}

// TestTail follows a router in this process and is interrupted. It is not
// parallel, so that goroutines left over are its own.
func TestTail(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	f := fleet()
	asked := make(chan struct{}, 100)
	h := adminHandler(f)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		if r.URL.Query().Has("after") {
			asked <- struct{}{}
		}
	}))
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	a := newApp(strings.NewReader(""), in, &stderr)
	a.env = func(name string) string {
		return map[string]string{"POINTSMAN_ADMIN_URL": s.URL, "POINTSMAN_TOKEN": testToken}[name]
	}
	go func() { code <- a.run(ctx, []string{"events", "tail", "-o", "json"}) }()
	wait(t, asked)
	lines := json.NewDecoder(out)
	// The second becomes visible after the first, and has the smaller uid.
	for _, n := range []int{21, 20} {
		f.Accept(admintest.Event(n, "events", "sw1", "late"))
		var e admin.Event
		if err := lines.Decode(&e); err != nil || e.UID != admintest.UID(n) {
			t.Fatalf("event %d: %+v, %v", n, e, err)
		}
	}
	cancel()
	select {
	case got := <-code:
		if got != exitOK {
			t.Errorf("exit code %d: %s", got, stderr.String())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("tail does not end")
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// On a terminal a filter asks first.
func TestConfirm(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer string
		args   []string
		code   int
		asks   bool
		left   int
	}{
		{"y\n", nil, exitOK, true, 0},
		{"YES\n", nil, exitOK, true, 0},
		{"n\n", nil, exitFindings, true, 2},
		{"\n", nil, exitFindings, true, 2},
		{"", nil, exitFindings, true, 2},
		{"", []string{"--yes"}, exitOK, false, 0},
		{"", []string{"--dry-run"}, exitOK, false, 2},
	} {
		t.Run(c.answer+strings.Join(c.args, ""), func(t *testing.T) {
			t.Parallel()
			f := fleet()
			s := httptest.NewServer(adminHandler(f))
			defer s.Close()
			var stdout, stderr bytes.Buffer
			a := newApp(strings.NewReader(c.answer), &stdout, &stderr)
			a.terminal = func(any) bool { return true }
			a.env = func(string) string { return testToken }
			args := append([]string{"deliveries", "retry", "--state", "dead", "--url", s.URL}, c.args...)
			if code := a.run(t.Context(), args); code != c.code {
				t.Errorf("exit code %d: %s", code, stderr.String())
			}
			if asks := strings.Contains(stderr.String(), "retry 2 deliveries? [y/N]"); asks != c.asks {
				t.Errorf("stderr %q", stderr.String())
			}
			dead, err := f.Deliveries(t.Context(), store.DeliveryQuery{States: []store.DeliveryState{store.Dead}})
			if err != nil || len(dead) != c.left {
				t.Errorf("%d dead deliveries left, %v", len(dead), err)
			}
		})
	}
}

func wait(t *testing.T, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happens")
	}
}

// TestDocs keeps docs/cli.md complete: every command and every flag is there,
// and every command has an example.
func TestDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	a := newApp(nil, io.Discard, io.Discard)
	root := a.root()
	sections := strings.Split(string(text), "\n## ")
	section := func(heading string) string {
		for _, s := range sections {
			if strings.HasPrefix(s, heading+"\n") {
				return s
			}
		}
		return ""
	}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.HasSubCommands() || c.Hidden || c.Name() == "help" {
			return
		}
		s := section(c.CommandPath())
		if s == "" {
			t.Errorf("docs/cli.md has no section %q", "## "+c.CommandPath())
			return
		}
		if !strings.Contains(s, "    "+c.CommandPath()) && !strings.Contains(s, "\n"+c.CommandPath()) {
			t.Errorf("docs/cli.md: %s has no example", c.CommandPath())
		}
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s has no one-line help or no example", c.CommandPath())
		}
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !strings.Contains(s, "--"+f.Name) {
				t.Errorf("docs/cli.md: %s does not mention --%s", c.CommandPath(), f.Name)
			}
		})
	}
	walk(root)
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(sections[0]+section("Flags of every command"), "--"+f.Name) {
			t.Errorf("docs/cli.md does not mention --%s", f.Name)
		}
	})
}
