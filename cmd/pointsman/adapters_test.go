package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

const (
	vendorSecret = "canary-secret-of-the-vendor"
	vendorOld    = "canary-secret-of-last-year"
)

// hookSite is a handler with one source, on no network.
type hookSite struct {
	t       *testing.T
	handler *ingest.Handler
	evs     []*rules.Event
	seen    map[string]bool
}

// newHookSite configures one source by the text of its keys.
func newHookSite(t *testing.T, source string) *hookSite {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pointsman.yaml")
	text := "rules: []\nlisten: 0.0.0.0:1\nevents: {auth: {bearer: \"${env:S}\"}}\nsources: [{" + source + "}]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, config.Options{Env: func(name string) (string, bool) {
		return map[string]string{"S": vendorSecret, "OLD": vendorOld}[name], true
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := load(t.Context(), cfg, nil, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &hookSite{t: t, seen: map[string]bool{}}
	s.handler = ingest.New(ingest.Config{Accept: func(_ context.Context, _ router.Origin, evs []*rules.Event) ([]router.Result, error) {
		out := make([]router.Result, len(evs))
		for i, ev := range evs {
			key := ev.Source() + " " + ev.ID()
			out[i].Duplicate = s.seen[key]
			s.seen[key] = true
			s.evs = append(s.evs, ev)
			if strings.Contains(string(ev.JSON()), "canary") {
				t.Errorf("a secret is in an event: %s", ev.JSON())
			}
		}
		return out, nil
	}})
	s.handler.SetSources(ingestSources(l))
	return s
}

// post sends a body to the source hook.
func (s *hookSite) post(body string, headers map[string]string) (int, string) {
	s.t.Helper()
	return s.do(http.MethodPost, "/hooks/hook", body, headers)
}

func (s *hookSite) do(method, path, body string, headers map[string]string) (int, string) {
	s.t.Helper()
	req := httptest.NewRequestWithContext(s.t.Context(), method, path, strings.NewReader(body))
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, req)
	return rec.Code, rec.Body.String()
}

func macOf(algorithm func() hash.Hash, key, text string) []byte {
	mac := hmac.New(algorithm, []byte(key))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// vendorAuth is one way in which a product proves itself.
type vendorAuth struct {
	adapter, auth string
	// prove makes the headers for a body, as the vendor's documentation says.
	prove func(secret, body string) map[string]string
}

func bearerProof(secret, _ string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + secret}
}

func hexProof(header, prefix string, algorithm func() hash.Hash) func(secret, body string) map[string]string {
	return func(secret, body string) map[string]string {
		return map[string]string{header: prefix + hex.EncodeToString(macOf(algorithm, secret, body))}
	}
}

func standardProof(secret, body string) map[string]string {
	at := strconv.FormatInt(time.Now().Unix(), 10)
	return map[string]string{
		"webhook-id": "msg-1", "webhook-timestamp": at,
		"webhook-signature": "v1," + base64.StdEncoding.EncodeToString(macOf(sha256.New, secret, "msg-1."+at+"."+body)),
	}
}

func grafanaProof(secret, body string) map[string]string {
	at := strconv.FormatInt(time.Now().Unix(), 10)
	return map[string]string{
		"X-Grafana-Alerting-Timestamp": at,
		"X-Grafana-Alerting-Signature": hex.EncodeToString(macOf(sha256.New, secret, at+":"+body)),
	}
}

const rotated = `["${env:S}", "${env:OLD}"]`

func vendorAuths() []vendorAuth {
	return []vendorAuth{
		{"netbox", `{hmac: {secrets: ` + rotated + `}}`, hexProof("X-Hook-Signature", "", sha512.New)},
		{"nautobot", `{hmac: {secrets: ` + rotated + `}}`, hexProof("X-Hook-Signature", "", sha512.New)},
		{"alertmanager", `{bearer: ` + rotated + `}`, bearerProof},
		{"grafana", `{hmac: {secrets: ` + rotated + `}}`, hexProof("X-Grafana-Alerting-Signature", "", sha256.New)},
		{"grafana", `{hmac: {secrets: ` + rotated + `, timestamp: X-Grafana-Alerting-Timestamp}}`, grafanaProof},
		{"github", `{hmac: {secrets: ` + rotated + `}}`, hexProof("X-Hub-Signature-256", "sha256=", sha256.New)},
		{"gitlab", `{token: ` + rotated + `}`, func(secret, _ string) map[string]string {
			return map[string]string{"X-Gitlab-Token": secret}
		}},
		{"gitlab", `{hmac: {secrets: ` + rotated + `}}`, standardProof},
		{"pagerduty", `{hmac: {secrets: ` + rotated + `}}`, func(secret, body string) map[string]string {
			// Two signatures while PagerDuty's own secret is replaced.
			good := hexProof("X-PagerDuty-Signature", "v1=", sha256.New)(secret, body)
			good["X-PagerDuty-Signature"] = "v1=" + strings.Repeat("0", 64) + "," + good["X-PagerDuty-Signature"]
			return good
		}},
		{"librenms", `{bearer: ` + rotated + `}`, bearerProof},
		// How SNS signs is tested where a server of Amazon can be played.
		{"sns", `{bearer: ` + rotated + `}`, bearerProof},
		{"eventgrid", `{bearer: ` + rotated + `}`, bearerProof},
		{"terraform-cloud", `{hmac: {secrets: ` + rotated + `}}`, hexProof("X-TFE-Notification-Signature", "", sha512.New)},
	}
}

// TestAdaptersProveTheSender: with the vendor's proof the requests beside the
// definition are taken and answered as it says, again they are duplicates, and
// without it nobody is let in.
func TestAdaptersProveTheSender(t *testing.T) {
	t.Parallel()
	tried := map[string]bool{}
	for _, v := range vendorAuths() {
		tried[v.adapter] = true
		t.Run(v.adapter, func(t *testing.T) {
			t.Parallel()
			files, err := filepath.Glob("../../router/config/adapters/" + v.adapter + "/tests/*.json")
			if err != nil || len(files) < 3 {
				t.Fatalf("%d requests, %v", len(files), err)
			}
			for _, file := range files {
				s := newHookSite(t, "name: hook, type: "+v.adapter+", auth: "+v.auth)
				s.proves(v, file)
			}
		})
	}
	for _, name := range config.Adapters() {
		if !tried[name] {
			t.Errorf("nobody tries how %s proves itself", name)
		}
	}
}

// A source of SNS as it is configured takes nothing that is not signed, and asks
// nobody for a certificate of a topic that it does not know.
func TestSNSSourceIsSigned(t *testing.T) {
	t.Parallel()
	s := newHookSite(t, "name: hook, type: sns, auth: {sns: {topics: [\"arn:aws:sns:eu-west-1:123456789012:network-alarms\"]}}")
	text, err := os.ReadFile("../../router/config/adapters/sns/tests/alarm.json")
	if err != nil {
		t.Fatal(err)
	}
	var c struct{ Body json.RawMessage }
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	body := strings.ReplaceAll(string(c.Body), "network-alarms", "another")
	for _, headers := range []map[string]string{nil, {"X-Amz-Sns-Message-Type": "Notification"}} {
		if status, answer := s.post(body, headers); status != http.StatusUnauthorized {
			t.Errorf("%v: %d %s", headers, status, answer)
		}
	}
}

// proves sends one request in every way.
func (s *hookSite) proves(v vendorAuth, file string) {
	t := s.t
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Headers map[string]string
		Body    json.RawMessage
		Want    []json.RawMessage
		Problem string
	}
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	send := func(body string, proof map[string]string) (int, string) {
		headers := map[string]string{"Content-Type": "application/json"}
		for _, from := range []map[string]string{c.Headers, proof} {
			for name, value := range from {
				headers[name] = value
			}
		}
		return s.post(body, headers)
	}
	body := string(c.Body)
	for i, secret := range []string{vendorSecret, vendorOld} {
		status, answer := send(body, v.prove(secret, body))
		switch {
		case c.Headers["aeg-event-type"] == "SubscriptionValidation":
			if status != http.StatusOK || !strings.Contains(answer, `{"validationResponse":`) {
				t.Errorf("%s: %d %s", file, status, answer)
			}
		case c.Problem != "":
			if status != http.StatusUnprocessableEntity || !strings.Contains(answer, `"code":"not_translated"`) ||
				!strings.Contains(answer, "(type "+v.adapter+")") {
				t.Errorf("%s: %d %s", file, status, answer)
			}
		case status != http.StatusAccepted || strings.Count(answer, fmt.Sprintf(`"duplicate":%v`, i > 0)) != len(c.Want):
			t.Errorf("%s: %d %s, want %d events", file, status, answer, len(c.Want))
		}
	}
	before := len(s.evs)
	bad := []map[string]string{nil, v.prove("canary-secret-of-nobody", body), v.prove("", body)}
	if proof := v.prove(vendorSecret, body+" "); !strings.Contains(fmt.Sprint(proof), vendorSecret) {
		bad = append(bad, proof)
	}
	for _, proof := range bad {
		if status, answer := send(body, proof); status != http.StatusUnauthorized {
			t.Errorf("%s, %v: %d %s", file, proof, status, answer)
		}
	}
	if len(s.evs) != before {
		t.Errorf("%s: events of requests that nobody proved", file)
	}
}
