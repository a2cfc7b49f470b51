package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router"
)

// post sends a body to a path of the public listener.
func (r *served) post(path, body string, headers map[string]string) (status int, answer string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.events+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// A signed request runs an action, once, and is no stranger after a restart.
func TestStandardWebhooksSource(t *testing.T) {
	t.Parallel()
	const key, body = "canary of 24 bytes, here", `{"type": "work", "timestamp": "2026-11-23T12:00:00Z", "data": {"n": 1}}`
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(key))
	s := newSite(t, routerConfig+"sources:\n  - {name: billing, type: standard-webhooks, auth: {hmac: {secret: '${file:secret}'}}}\n", routerRules, succeeds)
	s.write("secret", secret+"\n")
	at := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(mac, "msg_1.%s.%s", at, body)
	headers := map[string]string{
		"webhook-id": "msg_1", "webhook-timestamp": at,
		"webhook-signature": "v1,AAAA v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)),
	}
	r := s.serve()
	for _, want := range []string{"false", "true"} {
		if status, text := r.post("/hooks/billing", body, headers); status != http.StatusAccepted || !strings.Contains(text, `"duplicate":`+want) {
			t.Errorf("%d %s, want duplicate %s", status, text, want)
		}
	}
	if status, text := r.post("/hooks/billing", body+" ", headers); status != http.StatusUnauthorized {
		t.Errorf("altered: %d %s", status, text)
	}
	r.all("done", 1)
	r.signal(syscall.SIGTERM)
	r.ended(20 * time.Second)
	r = s.serve()
	if status, text := r.post("/hooks/billing", body, headers); status != http.StatusAccepted || !strings.Contains(text, `"duplicate":true`) {
		t.Errorf("after a restart: %d %s", status, text)
	}
	if done := r.all("done", 1); done[0].EventID != "msg_1" {
		t.Errorf("%+v", done)
	}
	for _, text := range []string{r.said(), s.read("pointsman-data/pointsman.db"), s.read("pointsman-data/pointsman.db-wal")} {
		if strings.Contains(text, "canary") || strings.Contains(text, secret) {
			t.Error("the secret is logged or stored")
		}
	}
}

// What the http action signs, another router takes, whichever form the secret
// has.
func TestRoutersPassEventsOn(t *testing.T) {
	t.Parallel()
	for name, secret := range map[string]string{
		"text":   "a secret of some bytes",
		"base64": "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"whsec_": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := newSite(t, routerConfig+"sources:\n  - {name: from, type: standard-webhooks, auth: {hmac: {secret: "+secret+"}}}\n", routerRules, succeeds).serve()
			from := newSite(t, routerConfig+"  - {name: pass-on, plugin: http, settings: {url: '"+to.events+"/hooks/from', secret: "+secret+"}}\n",
				"rules: [{name: all, when: 'true', do: [{action: pass-on}]}]\n", succeeds).serve()
			if code := from.send("e1", "work"); code != http.StatusAccepted {
				t.Fatalf("sent: %d", code)
			}
			sent := from.all("done", 1)
			if done := to.all("done", 1); done[0].EventID != sent[0].ID {
				t.Errorf("%+v is from %+v", done, sent)
			}
		})
	}
}

// B13: nothing starts that anyone could sign for.
func TestEmptySecretIsRefused(t *testing.T) {
	t.Parallel()
	for kind, keys := range map[string]string{
		"webhook":           ", header: X-Signature}}, event: {type: body.type}}",
		"standard-webhooks": "}}}",
	} {
		s := newSite(t, routerConfig+"sources:\n  - {name: a, type: "+kind+", auth: {hmac: {secret: ''"+keys+"\n", routerRules, succeeds)
		code, text := s.refused("serve")
		if code != exitCannotRun || !strings.Contains(text, "pointsman.yaml:13:") || !strings.Contains(text, "the secret is empty") {
			t.Errorf("%s: exit code %d: %s", kind, code, text)
		}
	}
}

// Who may send to POST /events, and for how long ids are remembered, is
// reloaded; what was accepted before stays known.
func TestReloadTakesEvents(t *testing.T) {
	t.Parallel()
	s := newSite(t, routerConfig, routerRules, succeeds)
	r := s.serve()
	reload := func(events string) {
		t.Helper()
		var before, now router.Status
		r.get("/api/v1/status", &before)
		s.write("pointsman.yaml", routerConfig+events)
		r.signal(syscall.SIGHUP)
		r.until("reloaded", func() bool {
			r.get("/api/v1/status", &now)
			if now.ReloadError != "" {
				t.Fatal(now.ReloadError)
			}
			return now.Reloaded.After(before.Reloaded)
		})
	}
	event := func(id string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"test","type":"work"}`
	}
	for _, step := range []struct {
		events, id, token string
		status            int
		answer            string
	}{
		{"", "e1", "", http.StatusAccepted, `"duplicate":false`},
		{"events: {auth: {bearer: first-token-of-someone}}\n", "e2", "", http.StatusUnauthorized, `"unauthorized"`},
		{"", "e2", "first-token-of-someone", http.StatusAccepted, `"duplicate":false`},
		{"events: {auth: {bearer: second-token-of-someone}}\n", "e3", "first-token-of-someone", http.StatusUnauthorized, `"unauthorized"`},
		{"", "e1", "second-token-of-someone", http.StatusAccepted, `"duplicate":true`},
		{"events: {dedup: 0s}\n", "e4", "", http.StatusAccepted, `"duplicate":false`},
		{"", "e4", "", http.StatusAccepted, `"duplicate":false`},
	} {
		if step.events != "" {
			reload(step.events)
		}
		headers := map[string]string{"Content-Type": "application/cloudevents+json"}
		if step.token != "" {
			headers["Authorization"] = "Bearer " + step.token
		}
		if status, text := r.post("/events", event(step.id), headers); status != step.status || !strings.Contains(text, step.answer) {
			t.Errorf("%+v: %d %s", step, status, text)
		}
	}
}
