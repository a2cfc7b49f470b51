package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router"
)

const succeeds = "exit 0\n"

// What serve refuses: always exit code 3 and a text that says why.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	tests := []struct {
		name   string
		config string
		rules  string
		files  map[string]string
		want   string
	}{
		{name: "an unknown key", config: routerConfig + "polices: 1\n", want: "pointsman.yaml:12:1: "},
		{name: "a bad rule", rules: "rules:\n  - {name: x, when: 'event.type =', do: [{action: work}]}\n", want: "rules/rules.yaml:2:"},
		{name: "an action that is not configured", rules: "rules:\n  - {name: x, when: 'true', do: [{action: wrok}]}\n", want: `"work"`},
		{name: "open without authentication", config: strings.Replace(routerConfig, "127.0.0.1:0", "0.0.0.0:0", 1), want: "asks for no authentication"},
		{name: "a port that is taken", config: strings.Replace(routerConfig, "127.0.0.1:0", taken.Addr().String(), 1), want: "address already in use"},
		{name: "an admin port that is taken", config: strings.Replace(routerConfig, "{listen: 127.0.0.1:0}", "{listen: '"+taken.Addr().String()+"'}", 1), want: "address already in use"},
		{name: "junk in the instance record", files: map[string]string{"pointsman-data/instance.json": "{\"id\": \x00"}, want: "instance.json: "},
		{name: "a short admin token", files: map[string]string{"pointsman-data/admin-token": "short\n"}, want: "less than 16 characters"},
		{name: "a store that is none", files: map[string]string{"pointsman-data/pointsman.db": strings.Repeat("junk", 1024)}, want: "pointsman.db"},
		{name: "a data_dir that is a file", files: map[string]string{"pointsman-data": ""}, want: "data_dir"},
		{name: "a data_dir that cannot be written", config: routerConfig + "data_dir: /proc/self/pointsman\n", want: "data_dir: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.config == "" {
				tt.config = routerConfig
			}
			if tt.rules == "" {
				tt.rules = routerRules
			}
			s := newSite(t, tt.config, tt.rules, succeeds)
			for name, text := range tt.files {
				s.write(name, text)
			}
			code, text := s.refused("serve")
			if code != exitCannotRun || !strings.Contains(text, tt.want) || strings.Contains(text, "panic") {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, exitCannotRun, tt.want, text)
			}
		})
	}
}

func TestCheckOfTheLoadPath(t *testing.T) {
	t.Parallel()
	const literal = "\nevents: {auth: {bearer: 0123456789abcdef0123}}\n"
	tests := []struct {
		name, config, rules string
		args                []string
		code                int
		want                string
	}{
		{"sound", routerConfig, routerRules, nil, exitOK, "ok, 0 warnings"},
		{"two problems", routerConfig + "polices: 1\nactoins: 2\n", routerRules, nil, exitFindings, "2 problems"},
		{"a rule's problem", routerConfig, "rules: [{name: x}]\n", nil, exitFindings, "rules/rules.yaml:1:"},
		{"a warning", routerConfig + literal, routerRules, nil, exitOK, "warning: "},
		{"a warning and --strict", routerConfig + literal, routerRules, []string{"--strict"}, exitFindings, "--strict"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, tt.config, tt.rules, succeeds)
			code, text := s.refused(append([]string{"check"}, tt.args...)...)
			if code != tt.code || !strings.Contains(text, tt.want) || strings.Contains(text, "0123456789abcdef") {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, tt.code, tt.want, text)
			}
		})
	}
}

func TestSecondRouterOnOneFolder(t *testing.T) {
	t.Parallel()
	s := newSite(t, routerConfig, routerRules, succeeds)
	r := s.serve()
	code, text := s.refused("serve")
	want := fmt.Sprintf("is in use by another router (process %d)", r.cmd.Process.Pid)
	if code != exitCannotRun || !strings.Contains(text, want) {
		t.Errorf("exit code %d: %s", code, text)
	}
	if code := r.send("e1", "work"); code != http.StatusAccepted {
		t.Errorf("the first router answers %d", code)
	}
	r.all("done", 1)
}

// SIGTERM: attempts get the grace, the rest is released and run by the next
// start.
func TestTerminated(t *testing.T) {
	t.Parallel()
	s := newSite(t, routerConfig, routerRules, `
echo "start $POINTSMAN_EVENT_ID $POINTSMAN_ATTEMPT" >>ledger
case $POINTSMAN_EVENT_ID$POINTSMAN_ATTEMPT in
long1) setsid sleep 300 & sleep 300 ;;
short1) sleep 1 ;;
esac
echo "end $POINTSMAN_EVENT_ID $POINTSMAN_ATTEMPT" >>ledger
`)
	r := s.serve()
	for _, id := range []string{"long", "short"} {
		if code := r.send(id, "work"); code != http.StatusAccepted {
			t.Fatalf("%s: %d", id, code)
		}
	}
	r.until("running", func() bool { return strings.Count(s.read("ledger"), "start") == 2 })
	begun := time.Now()
	r.signal(syscall.SIGTERM)
	if code := r.ended(10 * time.Second); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, r.said())
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("stopping took %v, the grace is 3 s", took)
	}
	if left := s.marked(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	r = s.serve()
	r.all("done", 2)
	var shown struct {
		Attempts int
		History  []struct {
			Number  int
			Outcome string
		}
	}
	for _, d := range r.all("done", 2) {
		r.ask(&shown, "deliveries", "show", d.ID)
		want := map[string]string{"long": "[{1 released} {2 done}]", "short": "[{1 done}]"}[d.EventID]
		if got := fmt.Sprint(shown.History); got != want || shown.Attempts != 1 {
			t.Errorf("%s: history %s after %d attempts, want %s", d.EventID, got, shown.Attempts, want)
		}
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	s := newSite(t, routerConfig, routerRules, succeeds)
	r := s.serve()
	status := func() (st router.Status) {
		r.get("/api/v1/status", &st)
		return st
	}
	first := status()
	reload := func(what string, done func(router.Status) bool) {
		t.Helper()
		r.signal(syscall.SIGHUP)
		r.until(what, func() bool { return done(status()) })
	}
	s.write("rules/rules.yaml", "rules: [{name: broken, when: 'event.'}]\n")
	reload("refused", func(st router.Status) bool { return st.ReloadError != "" })
	if st := status(); st.Revision != first.Revision || !strings.Contains(st.ReloadError, "rules/rules.yaml:1:") {
		t.Errorf("after a broken file: %+v", st)
	}
	s.write("rules/rules.yaml", routerRules)
	for name, config := range map[string]string{
		"listen": strings.Replace(routerConfig, "127.0.0.1:0", "127.0.0.1:1", 1),
		"limits": routerConfig + "limits: {batch: 10}\n",
	} {
		s.write("pointsman.yaml", config)
		reload("refused for "+name, func(st router.Status) bool { return strings.Contains(st.ReloadError, name+" changed") })
	}
	if err := os.Remove(s.path("pointsman.yaml")); err != nil {
		t.Fatal(err)
	}
	reload("refused without a file", func(st router.Status) bool { return strings.Contains(st.ReloadError, "no such file") })
	if code := r.send("e1", "work"); code != http.StatusAccepted {
		t.Errorf("an event after all this: %d", code)
	}
	r.all("done", 1)
	s.write("pointsman.yaml", routerConfig)
	s.write("rules/rules.yaml", routerRules+"  - {name: more, when: 'true', do: [{action: work}]}\n")
	reload("reloaded", func(st router.Status) bool { return st.Revision != first.Revision })
	if st := status(); st.ReloadError != "" || st.Rules != 2 || !st.Reloaded.After(first.Reloaded) {
		t.Errorf("after a good file: %+v", st)
	}
	var why []router.RuleVerdict
	r.ask(&why, "why", "e1")
	if len(why) != 1 || why[0].Verdict != "matched" {
		t.Errorf("e1 is explained by other rules than it met: %+v", why)
	}
}

// A plugin that is not there: its deliveries wait, and run when it is mended.
func TestBrokenPlugin(t *testing.T) {
	t.Parallel()
	plugin, err := build("./testdata/plugin")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(plugin)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	config := func(path, sum string) string {
		return routerConfig + fmt.Sprintf("  - {name: ext, plugin: %s, sha256: '%s'}\n", path, sum)
	}
	rules := routerRules + "  - {name: ext, when: 'true', do: [{action: ext}]}\n"
	for name, broken := range map[string]string{
		"missing":    config("./missing", strings.Repeat("0", 64)),
		"wrong hash": config(plugin, strings.Repeat("0", 64)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, broken, rules, succeeds)
			if code, text := s.refused("check"); code != exitFindings || !strings.Contains(text, "pointsman.yaml:12:") {
				t.Errorf("check: exit code %d: %s", code, text)
			}
			r := s.serve()
			ready := r.readiness()
			if !ready.OK || len(ready.Actions) != 1 || ready.Actions[0].Name != "ext" || ready.Actions[0].Reason == "" {
				t.Errorf("readyz: %+v", ready)
			}
			if code := r.send("e1", "work"); code != http.StatusAccepted {
				t.Fatalf("sent: %d", code)
			}
			r.all("done", 1) // the other action
			if waiting := r.all("ready", 1); waiting[0].EventID != "e1" {
				t.Errorf("waiting: %+v", waiting)
			}
			s.write("pointsman.yaml", config(plugin, hex.EncodeToString(sum[:])))
			r.signal(syscall.SIGHUP)
			r.all("done", 2)
			if ready := r.readiness(); !ready.OK || len(ready.Actions) != 0 {
				t.Errorf("readyz: %+v", ready)
			}
		})
	}
}

// The names of the keys are what scripts rely on.
func TestQueriesOfARealRouter(t *testing.T) {
	t.Parallel()
	s := newSite(t, routerConfig, routerRules, "echo on fire; exit 3\n")
	s.write("pointsman.yaml", strings.Replace(routerConfig, "[./work.sh]", "[./work.sh], permanent_exit_codes: [3]", 1))
	r := s.serve()
	for _, id := range []string{"e1", "e1", "e2"} {
		r.send(id, "work")
	}
	dead := r.all("dead", 2)
	keys := func(m map[string]any, want ...string) {
		t.Helper()
		for _, k := range want {
			if _, ok := m[k]; !ok {
				t.Errorf("no key %q in %v", k, m)
			}
		}
	}
	delivery := []string{"id", "event_id", "source", "rule", "action", "state", "attempts", "due", "error"}
	var list []map[string]any
	r.ask(&list, "deliveries", "list", "--state", "dead", "--rule", "work", "--action", "work", "--event", "e1", "--since", "1h")
	if len(list) != 1 || list[0]["attempts"] != 1.0 || list[0]["source"] != "events" {
		t.Fatalf("deliveries list: %v", list)
	}
	keys(list[0], delivery...)
	var one map[string]any
	r.ask(&one, "deliveries", "show", list[0]["id"].(string))
	keys(one, append(delivery, "history")...)
	attempt := one["history"].([]any)[0].(map[string]any)
	keys(attempt, "number", "started", "ended", "outcome", "error", "output")
	if attempt["outcome"] != "permanent" || attempt["output"] != "on fire\n" {
		t.Errorf("attempt %v", attempt)
	}
	r.ask(&list, "events", "list", "--limit", "5")
	if len(list) != 2 || list[0]["event"].(map[string]any)["id"] != "e2" || list[1]["duplicates"] != 1.0 {
		t.Errorf("events list: %v", list)
	}
	keys(list[0], "event", "source", "received", "duplicates")
	r.ask(&one, "events", "show", "e1")
	keys(one, "event", "source", "received", "duplicates", "verdicts", "deliveries")
	keys(one["verdicts"].([]any)[0].(map[string]any), "rule", "verdict", "reason")
	r.ask(&list, "why", "e1")
	keys(list[0], "rule", "verdict", "reason")
	s.write("work.sh", "#!/bin/sh\n"+succeeds)
	var ordered []map[string]any
	r.ask(&ordered, "deliveries", "retry", dead[0].ID, dead[1].ID)
	if len(ordered) != 2 || ordered[0]["result"] != "ok" {
		t.Errorf("retry: %v", ordered)
	}
	r.all("done", 2)
}
