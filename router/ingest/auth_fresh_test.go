package ingest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

// A signed time of sending is checked, and is the time of an event that has no
// other.
func TestSignedTimestamp(t *testing.T) {
	t.Parallel()
	const body = `{"n": 1}`
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	sign := func(text string) string {
		mac := hmac.New(sha256.New, []byte(authKey))
		mac.Write([]byte(text))
		return "X-Signature: " + hex.EncodeToString(mac.Sum(nil))
	}
	at := func(off time.Duration) string { return strconv.FormatInt(now.Add(off).Unix(), 10) }
	for name, tc := range map[string]struct {
		headers []string
		status  int
		code    string
	}{
		"good":            {[]string{"X-Sent: " + at(0), sign(at(0) + ":" + body)}, 202, ""},
		"a minute early":  {[]string{"X-Sent: " + at(time.Minute), sign(at(time.Minute) + ":" + body)}, 202, ""},
		"a minute late":   {[]string{"X-Sent: " + at(-time.Minute), sign(at(-time.Minute) + ":" + body)}, 202, ""},
		"too early":       {[]string{"X-Sent: " + at(61*time.Second), sign(at(61*time.Second) + ":" + body)}, 401, "timestamp"},
		"too late":        {[]string{"X-Sent: " + at(-61*time.Second), sign(at(-61*time.Second) + ":" + body)}, 401, "timestamp"},
		"changed":         {[]string{"X-Sent: " + at(1), sign(at(0) + ":" + body + " ")}, 401, "unauthorized"},
		"body alone":      {[]string{"X-Sent: " + at(0), sign(body)}, 401, "unauthorized"},
		"other separator": {[]string{"X-Sent: " + at(0), sign(at(0) + "." + body)}, 401, "unauthorized"},
		"none":            {[]string{sign(":" + body)}, 401, "unauthorized"},
		"two":             {[]string{"X-Sent: " + at(0), "X-Sent: " + at(0), sign(at(0) + ":" + body)}, 400, "duplicate_header"},
		"no number":       {[]string{"X-Sent: now", sign("now:" + body)}, 401, "timestamp"},
	} {
		hook := newHook(t, rules.Translation{Type: `"t"`})
		hook.Auth = ingest.HMAC(ingest.HMACConfig{
			Secrets: []string{authOther, authKey}, Header: "x-signature", Timestamp: "x-sent", Separator: ":",
			Tolerance: time.Minute, Now: func() time.Time { return now },
		})
		rig := newAuthRig(t, ingest.Sources{Hooks: []ingest.Hook{hook}})
		res := rig.send(t, "/hooks/hook", body, tc.headers...)
		if res.status != tc.status || res.code != tc.code {
			t.Errorf("%s: %d %s, want %d %s", name, res.status, res.body, tc.status, tc.code)
		}
		if name == "good" && !rig.events()[0].Time().Equal(now) {
			t.Errorf("time %s", rig.events()[0].Time())
		}
	}
}

// Any of several tokens is taken, so that one can be replaced without a gap.
func TestSeveralTokens(t *testing.T) {
	t.Parallel()
	for name, auth := range map[string]ingest.Auth{
		"Authorization: Bearer ": ingest.Bearer(authKey, false, authOther),
		"X-Vendor: ":             ingest.Token("x-vendor", authKey, authOther),
	} {
		hook := newHook(t, rules.Translation{Type: `"t"`})
		hook.Auth = auth
		rig := newAuthRig(t, ingest.Sources{Hooks: []ingest.Hook{hook}})
		for token, want := range map[string]int{authKey: 202, authOther: 202, authKey + "x": 401, authKey[1:]: 401} {
			if res := rig.send(t, "/hooks/hook", "{}", name+token); res.status != want {
				t.Errorf("%s%s: %d", name, token, res.status)
			}
		}
	}
}

// JSON as text/plain is taken where the source says so, and nowhere else.
func TestHookText(t *testing.T) {
	t.Parallel()
	for text, want := range map[bool]int{true: 202, false: 415} {
		hook := newHook(t, rules.Translation{Type: `"t"`})
		hook.Text = text
		rig := newAuthRig(t, ingest.Sources{Hooks: []ingest.Hook{hook}})
		if res := rig.send(t, "/hooks/hook", `{"n": 1}`, "Content-Type: text/plain; charset=UTF-8"); res.status != want {
			t.Errorf("%v: %d %s", text, res.status, res.body)
		}
	}
}
