package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// TestQuarantineServed: a running router tells of a rule that took too much
// where people look, stays ready, and a reload frees the rule.
func TestQuarantineServed(t *testing.T) {
	t.Parallel()
	s := newSite(t, routerConfig, routerRules+
		"  - {name: costly, when: 'all(event.data.l, all(event.data.l, # == 1))', do: [{action: work}]}\n", succeeds)
	r := s.serve()
	body := fmt.Sprintf(`{"specversion":"1.0","id":"e1","source":"test","type":"work","data":{"l":[1%s]}}`, strings.Repeat(",1", 2000))
	resp, err := http.Post(r.events+"/events", "application/cloudevents+json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("status %d", resp.StatusCode)
	}
	r.all("done", 1) // the other rule
	ready := r.readiness()
	if !ready.OK || len(ready.Rules) != 1 || ready.Rules[0].Name != "costly" || !strings.Contains(ready.Rules[0].Reason, "gets 50000 in place of 1000000 until ") {
		t.Errorf("readyz: %+v", ready)
	}
	for _, line := range []string{"pointsman_rules_quarantined 1", "pointsman_rules_unindexed 1", `pointsman_rule_overruns_total{rule="costly"} 1`} {
		if text := r.metrics(); !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("metrics have no %s", line)
		}
	}
	var why []struct{ Rule, Verdict, Reason string }
	r.ask(&why, "why", "e1")
	if len(why) != 2 || why[1].Verdict != "error" || !strings.Contains(why[1].Reason, "; the rule is in quarantine until ") {
		t.Errorf("why: %+v", why)
	}
	r.signal(syscall.SIGHUP)
	r.until("out of quarantine", func() bool { return len(r.readiness().Rules) == 0 })
	if text := r.metrics(); !strings.Contains(text, "\npointsman_rules_quarantined 0\n") {
		t.Error("metrics still have a rule in quarantine")
	}
}

// metrics is what a scrape gets.
func (r *served) metrics() string {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.admin+"/metrics", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}
