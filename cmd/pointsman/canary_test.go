package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// canaries are one secret for each place that takes one. None may come out.
var canaries = map[string]string{
	"EVENTS": "canary-bearer-of-events", "HMAC": "canary-key-of-the-hook", "OLD_HMAC": "canary-old-key-of-the-hook",
	"BASIC": "canary-password", "QUERY": "canary-token-in-the-query", "SIGN": "canary-signing-key-of-http",
	"HEADER": "canary-authorization-of-http", "URL": "canary-in-the-url", "ENV": "canary-in-the-environment",
}

const canaryConfig = `
data_dir: ./pointsman-data
rules: [rules.yaml]
events: {auth: {bearer: "${env:EVENTS}"}}
sources:
  - {name: signed, type: webhook, auth: {hmac: {secrets: ["${env:HMAC}", "${env:OLD_HMAC}"], header: X-Signature}}, event: {type: '"hook"', data: '{headers: headers, query: query, body: body}'}}
  - {name: people, type: webhook, auth: {basic: {user: monitor, password: "${env:BASIC}"}}, event: {type: '"hook"', data: headers}}
  - {name: dc, type: netbox, auth: {bearer: "${env:EVENTS}"}}
  - {name: query, type: webhook, auth: {bearer: "${env:QUERY}", query: true}, event: {type: '"hook"', data: query}}
actions:
  - name: call
    plugin: http
    settings: {url: "TARGET/hook?k=${env:URL}", secret: "${env:SIGN}", headers: {Authorization: "Bearer ${env:HEADER}"}}
    retry: {attempts: 2, min: 10ms, max: 20ms}
  - name: run
    plugin: exec
    settings: {command: [./fail.sh], env: {SECRET: "${env:ENV}"}}
    retry: {attempts: 2, min: 10ms, max: 20ms}
`

const canaryRules = `
rules:
  - name: everything
    when: event.type != nil
    do: [{action: call}, {action: run}]
`

// TestNoSecretComesOut runs good and bad requests and failing deliveries
// through a real router with a secret wherever one can be, and then looks for
// them in everything that leaves it.
func TestNoSecretComesOut(t *testing.T) {
	t.Parallel()
	// The target repeats what it was sent, secrets too, and fails.
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+canaries["HEADER"] || r.URL.Query().Get("k") != canaries["URL"] {
			t.Error("the settings did not reach the target")
		}
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "you sent %s to %s", r.Header.Get("Authorization"), r.RequestURI)
	}))
	defer target.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"pointsman.yaml": strings.ReplaceAll(canaryConfig, "TARGET", target.URL),
		"rules.yaml":     canaryRules,
		"fail.sh":        "#!/bin/sh\n[ -n \"$SECRET\" ] && echo 'has its secret' && exit 1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var env []string
	for name, value := range canaries {
		env = append(env, name+"="+value)
	}
	l := startLive(t, dir, env...)
	var out strings.Builder // every answer
	sent := sendCanaries(l, &out)
	l.until("every delivery is dead", func() bool { return len(l.deliveries("dead")) == 2*sent })
	for _, path := range []string{
		"/readyz", "/metrics", "/api/v1/status", "/api/v1/events", "/api/v1/deliveries", "/api/v1/actions", "/api/v1/sources", "/api/v1/schedules",
		"/api/v1/plugins", "/api/v1/plugins/http", "/api/v1/plugins/exec", "/api/v1/nothing",
		"/api/v1/sources/signed/captures", "/api/v1/sources/people/captures", "/api/v1/sources/query/captures", "/api/v1/sources/dc/captures",
	} {
		_, body := l.get(path)
		out.WriteString(body)
	}
	for _, d := range l.deliveries("") {
		_, body := l.get("/api/v1/deliveries/" + d.ID)
		out.WriteString(body)
		if want := map[string]string{"call": "you sent *** to /hook?k=***", "run": "has its secret"}[d.Action]; !strings.Contains(body, want) {
			t.Errorf("%s: %s", d.Action, body)
		}
		for _, path := range []string{"/api/v1/events/" + d.Event, "/api/v1/events/" + d.Event + "/why"} {
			_, body = l.get(path)
			out.WriteString(body)
		}
	}
	// What is written at the end counts too.
	l.stop()
	search := map[string]string{"an answer": out.String(), "the log": l.log()}
	err := filepath.WalkDir(filepath.Join(dir, "pointsman-data"), func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		search[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(search["the log"]) == 0 || len(search[filepath.Join(dir, "pointsman-data", "pointsman.db")]) == 0 {
		t.Fatal("nothing to search")
	}
	for where, text := range search {
		for name, canary := range canaries {
			for form, needle := range map[string]string{
				"": canary, " in base64": base64.StdEncoding.EncodeToString([]byte("monitor:" + canary)), " in hex": hex.EncodeToString([]byte(canary)),
			} {
				if strings.Contains(text, needle) {
					t.Errorf("the secret %s%s is in %s", name, form, where)
				}
			}
		}
		if strings.Contains(text, "canary") {
			t.Errorf("part of a secret is in %s", where)
		}
	}
}

// sendCanaries sends good and bad requests with secrets at every place, and
// tells how many events they made.
func sendCanaries(l *live, out io.Writer) int {
	l.t.Helper()
	mac := func(key, body string) string {
		m := hmac.New(sha256.New, []byte(canaries[key]))
		m.Write([]byte(body))
		return hex.EncodeToString(m.Sum(nil))
	}
	basic := func(password string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("monitor:"+password))
	}
	event := `{"specversion":"1.0","id":"1","source":"s","type":"t"}`
	asEvent := "Content-Type: application/cloudevents+json"
	good := 0
	for _, r := range []struct {
		path, body string
		headers    []string
		status     int
	}{
		{"/events", event, []string{asEvent, "Authorization: Bearer " + canaries["EVENTS"]}, 202},
		{"/events", event, []string{asEvent, "Authorization: Bearer " + canaries["EVENTS"] + "x"}, 401},
		{"/events?access_token=" + canaries["EVENTS"], event, []string{asEvent}, 401},
		{"/events", "{", []string{asEvent, "Authorization: Bearer " + canaries["EVENTS"]}, 400},
		{"/hooks/signed?access_token=" + canaries["QUERY"], `{"n": 1}`, []string{"X-Signature: " + mac("HMAC", `{"n": 1}`), "Authorization: Bearer " + canaries["EVENTS"]}, 202},
		{"/hooks/signed", `{"n": 2}`, []string{"X-Signature: " + mac("OLD_HMAC", `{"n": 2}`), "Cookie: a=" + canaries["BASIC"]}, 202},
		{"/hooks/signed", `{"n": 3}`, []string{"X-Signature: " + canaries["HMAC"]}, 401},
		{"/hooks/signed", `{"n":`, []string{"X-Signature: " + mac("HMAC", `{"n":`)}, 400},
		{"/hooks/people", `{"n": 1}`, []string{basic(canaries["BASIC"])}, 202},
		{"/hooks/people", `{"n": 1}`, []string{basic(canaries["BASIC"] + "x")}, 401},
		{"/hooks/query?access_token=" + canaries["QUERY"] + "&a=1", `{"n": 1}`, nil, 202},
		{"/hooks/query?access_token=" + canaries["QUERY"] + "x", `{"n": 1}`, nil, 401},
		{"/hooks/" + canaries["URL"], "{}", nil, 404},
		{"/hooks/dc", `{"event": "updated", "model": "m", "data": {"secret": "` + canaries["SIGN"] + `"}}`, []string{"Authorization: Bearer " + canaries["EVENTS"]}, 202},
		{"/hooks/dc", `{"data": {"secret": "` + canaries["SIGN"] + `"}, "api_key": "` + canaries["SIGN"] + `"}`, []string{"Authorization: Bearer " + canaries["EVENTS"]}, 422},
	} {
		status, body := l.post(r.path, r.body, r.headers...)
		if status != r.status {
			l.t.Errorf("%s %s: %d %s", r.path, r.body, status, body)
		}
		if status == http.StatusAccepted {
			good++
		}
		fmt.Fprintln(out, body)
	}
	return good
}
