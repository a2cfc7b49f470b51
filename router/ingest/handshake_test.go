package ingest_test

import (
	"net"
	"net/http"
	"testing"

	"github.com/pointsman/pointsman/router/ingest"
)

// TestHandshake has section 4 of CloudEvents HTTP 1.1 Web Hooks 1.0.2: consent
// is the WebHook-Allowed headers, whatever the status.
func TestHandshake(t *testing.T) {
	t.Parallel()
	// Nobody may connect here.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	callback := "http://" + ln.Addr().String() + "/?token=x"

	const origin, rate, asks = "Webhook-Request-Origin", "Webhook-Request-Rate", "Webhook-Request-Callback"
	listed := []string{"eventemitter.example.com", "Other.example.com"}
	tests := []struct {
		name    string
		origins []string
		header  []string
		status  int
		// allowed and rate are the answer's headers; an empty allowed: no consent.
		allowed, rate, code string
	}{
		{"B17 listed", listed, []string{origin, "eventemitter.example.com"}, 200, "eventemitter.example.com", "", ""},
		{"B17 with a rate", listed, []string{origin, "eventemitter.example.com", rate, "120"}, 200, "eventemitter.example.com", "120", ""},
		{"B17 case of letters", listed, []string{origin, "OTHER.example.COM"}, 200, "OTHER.example.COM", "", ""},
		{"B17 any", []string{"*"}, []string{origin, "a.example", rate, "1"}, 200, "a.example", "1", ""},
		{"B17 not listed", listed, []string{origin, "evil.example.com"}, 405, "", "", "no_consent"},
		{"B17 longer than one listed", listed, []string{origin, "eventemitter.example.com.evil.org"}, 405, "", "", "no_consent"},
		{"B17 end of one listed", listed, []string{origin, "example.com"}, 405, "", "", "no_consent"},
		{"B17 a star as origin", listed, []string{origin, "*"}, 405, "", "", "no_consent"},
		{"B17 none listed", nil, []string{origin, "eventemitter.example.com"}, 405, "", "", "no_consent"},
		{"B17 no origin", []string{"*"}, nil, 204, "", "", ""},
		{"B17 empty origin", []string{"*"}, []string{origin, ""}, 204, "", "", ""},
		{"B17 two origins", []string{"*"}, []string{origin, "a", origin, "b"}, 400, "", "", "duplicate_header"},
		{"B17 rate 0", []string{"*"}, []string{origin, "a", rate, "0"}, 400, "", "", "bad_rate"},
		{"B17 rate -1", []string{"*"}, []string{origin, "a", rate, "-1"}, 400, "", "", "bad_rate"},
		{"B17 rate abc", []string{"*"}, []string{origin, "a", rate, "abc"}, 400, "", "", "bad_rate"},
		{"B17 rate 1.5", []string{"*"}, []string{origin, "a", rate, "1.5"}, 400, "", "", "bad_rate"},
		{"B17 rate beyond 31 bits", []string{"*"}, []string{origin, "a", rate, "99999999999999999999"}, 400, "", "", "bad_rate"},
		{"B17 two rates", []string{"*"}, []string{origin, "a", rate, "1", rate, "2"}, 400, "", "", "duplicate_header"},
		{"B18 callback", []string{"*"}, []string{origin, "a", asks, callback}, 405, "", "", "no_consent"},
		{"B18 callback with a rate", []string{"*"}, []string{origin, "a", rate, "5", asks, callback}, 405, "", "", "no_consent"},
		{"B18 callback to the metadata service", []string{"*"}, []string{origin, "a", asks, "http://169.254.169.254/"}, 405, "", "", "no_consent"},
		{"B18 second callback header", []string{"*"}, []string{origin, "a", asks, "", asks, callback}, 405, "", "", "no_consent"},
		{"B18 callback without origin", []string{"*"}, []string{asks, callback}, 204, "", "", ""},
	}
	for _, tt := range tests {
		s := serve(t, ingest.Config{Origins: tt.origins})
		got := s.request(http.MethodOptions, "/events", nil, tt.header...)
		if got.status != tt.status || got.problem.Code != tt.code {
			t.Errorf("%s: %d %s, want %d %s", tt.name, got.status, got.problem.Code, tt.status, tt.code)
		}
		if got.header.Get("Webhook-Allowed-Origin") != tt.allowed || got.header.Get("Webhook-Allowed-Rate") != tt.rate {
			t.Errorf("%s: headers %v, want %q and %q", tt.name, got.header, tt.allowed, tt.rate)
		}
		if allow := got.header.Get("Allow"); allow != "POST, OPTIONS" {
			t.Errorf("%s: Allow: %q", tt.name, allow)
		}
		if len(s.sink.events()) > 0 {
			t.Errorf("%s: an event was accepted", tt.name)
		}
	}
	// Nobody connected before us: the first in the queue is this one.
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	first, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	if first.RemoteAddr().String() != c.LocalAddr().String() {
		t.Error("B18: the callback was called")
	}
}
