package main

import (
	"crypto/sha512"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/router"
)

// TestSourcesCapture sends a router what NetBox would and asks what it saw; what
// is captured can be translated again.
func TestSourcesCapture(t *testing.T) {
	t.Parallel()
	s := newSite(t, routerConfig+"sources:\n  - {name: netbox, type: netbox, auth: {hmac: {secret: '${file:secret}'}}}\n", routerRules, succeeds)
	s.write("secret", vendorSecret)
	r := s.serve()
	body := `{"event": "updated", "object_type": "dcim.device", "request": {"id": "r-1"}, "data": {"id": 9007199254740993, "auth_psk": "canary"}, "api_token": "canary"}`
	proof := hexProof("X-Hook-Signature", "", sha512.New)
	if status, text := r.post("/hooks/netbox", body, proof(vendorSecret, body)); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, text)
	}
	if status, text := r.post("/hooks/netbox", body, proof("canary-of-a-stranger", body)); status != http.StatusUnauthorized {
		t.Errorf("%d %s", status, text)
	}
	var list []router.Capture
	r.ask(&list, "sources", "capture", "netbox")
	if len(list) != 2 || list[0].Code != "unauthorized" || list[1].Status != http.StatusAccepted || len(list[1].Events) != 1 {
		t.Fatalf("%+v", list)
	}
	if list[1].Headers["x-hook-signature"] != "***" || !strings.Contains(list[1].Body, `"api_token":"***"`) || strings.Contains(list[1].Body, "canary") {
		t.Errorf("%+v", list[1])
	}
	if status, text := r.post("/hooks/netbox", body, proof(vendorSecret, body)); status != http.StatusAccepted || !strings.Contains(text, `"duplicate":true`) {
		t.Errorf("sent again: %d %s", status, text)
	}
	var shown json.RawMessage
	r.ask(&shown, "events", "show", "r-1/dcim.device/9007199254740993/updated")
	if !strings.Contains(string(shown), "9007199254740993,") && !strings.Contains(string(shown), `"id": 9007199254740993`) {
		t.Errorf("the number is not exact: %s", shown)
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path("captured.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := s.command(t.Context(), "sources", "test", "netbox", s.path("captured.json")).Output()
	if err != nil || !strings.Contains(string(out), `"id": "r-1/dcim.device/9007199254740993/updated"`) {
		t.Errorf("%v %s", err, out)
	}
	out, err = s.command(t.Context(), "--url", r.admin, "sources", "capture", "netbox").Output()
	if err != nil || !strings.Contains(string(out), "answer:       202\n") || !strings.Contains(string(out), "event 1:\n") || strings.Contains(string(out), vendorSecret) {
		t.Errorf("%v %s", err, out)
	}
	if code, text := s.refused("--url", r.admin, "sources", "capture", "events"); code != exitFindings || !strings.Contains(text, "no source") && !strings.Contains(text, "events") {
		t.Errorf("%d %s", code, text)
	}
}
