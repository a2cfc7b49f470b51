package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/pointsman/pointsman/router"
)

// serve --dry-run records what would run, says so everywhere, starts no plugin
// for work and stays so over a reload. What waited from before waits.
func TestServeDryRun(t *testing.T) {
	t.Parallel()
	s := newSite(t, routerConfig, routerRules, "echo ran >> ran\nexit 75\n")
	r := s.serve()
	if code := r.send("before", "work"); code != 202 {
		t.Fatal(code)
	}
	r.until("tried", func() bool { return strings.Contains(s.read("ran"), "ran") })
	r.signal(syscall.SIGTERM)
	if code := r.ended(liveTime); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, r.said())
	}
	before := s.read("ran")

	s.serveArgs = []string{"--dry-run"}
	r = s.serve()
	if code := r.send("trial", "work"); code != 202 {
		t.Fatal(code)
	}
	if !r.readiness().DryRun {
		t.Error("readyz does not say it")
	}
	var status router.Status
	if r.get("/api/v1/status", &status); !status.DryRun {
		t.Error("the status does not say it")
	}
	if !strings.Contains(r.said(), `"waiting":1`) {
		t.Errorf("the log does not say what waits:\n%s", r.said())
	}
	check := func(id string) {
		t.Helper()
		var actions []router.ActionStatus
		r.ask(&actions, "actions", "list")
		if len(actions) != 1 || actions[0].State != "dry_run" || !actions[0].DryRun || actions[0].PID != 0 {
			t.Errorf("actions %+v", actions)
		}
		var got []struct {
			State  string
			DryRun bool `json:"dry_run"`
		}
		r.ask(&got, "deliveries", "list", "--event", id)
		if len(got) != 1 || got[0].State != "done" || !got[0].DryRun {
			t.Errorf("deliveries of %s: %+v", id, got)
		}
		if w := r.all("ready", 1); len(w) != 1 || w[0].EventID != "before" {
			t.Errorf("waiting: %+v", w)
		}
	}
	check("trial")
	s.write("rules/rules.yaml", strings.ReplaceAll(routerRules, "name: work", "name: renamed"))
	r.signal(syscall.SIGHUP)
	r.until("reloaded", func() bool { return strings.Contains(r.said(), `"msg":"reloaded"`) })
	if code := r.send("reloaded", "work"); code != 202 {
		t.Fatal(code)
	}
	check("reloaded")
	if code, text := s.refused("deliveries", "retry", r.all("ready", 1)[0].ID, "--url", r.admin); code != exitFindings || !strings.Contains(text, "--dry-run") {
		t.Errorf("retry: exit code %d: %s", code, text)
	}
	if got := s.read("ran"); got != before {
		t.Errorf("something ran")
	}
}
