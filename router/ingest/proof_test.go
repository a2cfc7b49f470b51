package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

// The sources of TestProofs.
const (
	plainPath  = "/hooks/plain"
	base64Path = "/hooks/base64"
	bearerPath = "/hooks/bearer"
	stdPath    = "/hooks/standard"
)

func proofRig(t *testing.T) *authRig {
	t.Helper()
	var hooks []ingest.Hook
	for path, auth := range map[string]ingest.Auth{
		plainPath:      ingest.HMAC(ingest.HMACConfig{Secrets: []string{authKey}, Header: "X-Signature", Prefix: "sha256="}),
		base64Path:     ingest.HMAC(ingest.HMACConfig{Secrets: []string{authKey}, Header: "X-Signature", Encoding: "base64"}),
		bearerPath:     ingest.Bearer(authKey, false),
		stdPath:        standardAuth(authKey),
		"/hooks/other": ingest.HMAC(ingest.HMACConfig{Secrets: []string{authOther}, Header: "X-Signature", Prefix: "sha256="}),
	} {
		hook := newHook(t, rules.Translation{Type: `"t"`})
		hook.Name, hook.Auth = strings.TrimPrefix(path, "/hooks/"), auth
		hooks = append(hooks, hook)
	}
	return newAuthRig(t, ingest.Sources{Hooks: hooks})
}

// TestProofs walks what proves who sends, by the numbers of the bad inputs: B8
// and B9 are in TestReplays, B13 is the configuration's. TestHMAC,
// TestBearerBasicToken and TestStandardWebhooks have more of each.
func TestProofs(t *testing.T) {
	t.Parallel()
	const body = `{"n": 1}`
	now := strconv.Itoa(standardNow)
	signature := func(value string) []string { return []string{"X-Signature: " + value} }
	mac := hexMAC(authKey, body)
	in64 := base64.StdEncoding.EncodeToString(authMAC(sha256.New, authKey, body))
	std := func(id, at, body string) []string { return standardHeaders(id, at, sign(authKey, id, at, body)) }
	at := func(text string) []string { return std("1", text, body) }
	second := func(first, second []string) []string { return append(append([]string{}, first...), second...) }
	good, bad := sign(authKey, "1", now, body), sign(authOther, "1", now, body)
	for name, tc := range map[string]struct {
		path, body string
		headers    []string
		status     int
		code       string
	}{
		"good, to begin with":             {plainPath, body, signature("sha256=" + mac), 202, ""},
		"good, Standard Webhooks":         {stdPath, body, at(now), 202, ""},
		"good, base64":                    {base64Path, body, signature(in64), 202, ""},
		"B1 no header":                    {plainPath, body, nil, 401, "unauthorized"},
		"B1 no header, bearer":            {bearerPath, body, nil, 401, "unauthorized"},
		"B1 no header, Standard Webhooks": {stdPath, body, nil, 401, "unauthorized"},
		"B1 no signature but the rest":    {stdPath, body, at(now)[:2], 401, "unauthorized"},
		"B2 wrong, right length":          {plainPath, body, signature("sha256=" + strings.Repeat("0", 64)), 401, "unauthorized"},
		"B2 wrong, Standard Webhooks":     {stdPath, body, standardHeaders("1", now, bad), 401, "unauthorized"},
		"B3 another source's secret":      {plainPath, body, signature("sha256=" + hexMAC(authOther, body)), 401, "unauthorized"},
		"B3 which is good there":          {"/hooks/other", body, signature("sha256=" + hexMAC(authOther, body)), 202, ""},
		"B4 empty":                        {plainPath, body, signature(""), 401, "unauthorized"},
		"B4 empty, Standard Webhooks":     {stdPath, body, standardHeaders("1", now, ""), 401, "unauthorized"},
		"B4 only the prefix":              {plainPath, body, signature("sha256="), 401, "unauthorized"},
		"B4 only the version":             {stdPath, body, standardHeaders("1", now, "v1,"), 401, "unauthorized"},
		"B4 10,000 signatures":            {plainPath, body, signature(strings.Repeat("sha256=00,", 9_999) + "sha256=" + mac), 401, "unauthorized"},
		"B4 10,000, Standard Webhooks":    {stdPath, body, standardHeaders("1", now, strings.Repeat("v1,AAAA ", 9_999)+good), 401, "unauthorized"},
		"B5 upper-case hex":               {plainPath, body, signature("sha256=" + strings.ToUpper(mac)), 202, ""},
		"B5 odd length":                   {plainPath, body, signature("sha256=" + mac[:63]), 401, "unauthorized"},
		"B5 not hex":                      {plainPath, body, signature("sha256=" + mac[:63] + "g"), 401, "unauthorized"},
		"B5 base64, no padding":           {base64Path, body, signature(strings.TrimRight(in64, "=")), 401, "unauthorized"},
		"B5 base64, much padding":         {base64Path, body, signature(in64 + "="), 401, "unauthorized"},
		"B5 no padding, Standard":         {stdPath, body, standardHeaders("1", now, strings.TrimRight(good, "=")), 401, "unauthorized"},
		"B6 sha1 for sha256":              {plainPath, body, signature("sha1=" + hex.EncodeToString(authMAC(sha1.New, authKey, body))), 401, "algorithm_not_allowed"},
		"B7 -301 s":                       {stdPath, body, at(strconv.Itoa(standardNow - 301)), 401, "timestamp"},
		"B7 +301 s":                       {stdPath, body, at(strconv.Itoa(standardNow + 301)), 401, "timestamp"},
		"B7 not a number":                 {stdPath, body, at("yesterday"), 401, "timestamp"},
		"B7 a date":                       {stdPath, body, at("2021-02-25T15:02:10Z"), 401, "timestamp"},
		"B7 10^30":                        {stdPath, body, at("1" + strings.Repeat("0", 30)), 401, "timestamp"},
		"B7 2^63-1":                       {stdPath, body, at("9223372036854775807"), 401, "timestamp"},
		"B7 negative":                     {stdPath, body, at("-" + now), 401, "timestamp"},
		"B10 id with a dot":               {stdPath, body, std("a.b", now, body), 401, "unauthorized"},
		"B10 boundary moved to the id":    {stdPath, body, standardHeaders("1."+now, now, sign(authKey, "1", now, now+"."+body)), 401, "unauthorized"},
		"B10 boundary moved to the time":  {stdPath, body, standardHeaders("1", now+".5", sign(authKey, "1", now, "5."+body)), 401, "timestamp"},
		"B11 a space more":                {plainPath, body + " ", signature("sha256=" + mac), 401, "unauthorized"},
		"B11 Standard Webhooks":           {stdPath, body + " ", at(now), 401, "unauthorized"},
		"B12 two, the first good":         {plainPath, body, second(signature("sha256="+mac), signature("sha256=00")), 400, "duplicate_header"},
		"B12 two, the second good":        {plainPath, body, second(signature("sha256=00"), signature("sha256="+mac)), 400, "duplicate_header"},
		"B12 Standard, the first good":    {stdPath, body, second(at(now), []string{"webhook-signature: " + bad}), 400, "duplicate_header"},
		"B12 Standard, the second good":   {stdPath, body, second([]string{"webhook-signature: " + bad}, at(now)), 400, "duplicate_header"},
		"B12 two ids":                     {stdPath, body, second(at(now), []string{"webhook-id: 2"}), 400, "duplicate_header"},
		"B12 two timestamps":              {stdPath, body, second(at(now), []string{"webhook-timestamp: 2"}), 400, "duplicate_header"},
		"B14 token in the query":          {bearerPath + "?access_token=" + authKey, body, nil, 401, "unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := proofRig(t)
			res := rig.send(t, tc.path, tc.body, tc.headers...)
			if res.status != tc.status || res.code != tc.code {
				t.Errorf("%d %s, want %d %s", res.status, res.body, tc.status, tc.code)
			}
			if got := len(rig.events()); (got == 1) != (tc.status == 202) {
				t.Errorf("%d events were accepted", got)
			}
			rig.mu.Lock()
			defer rig.mu.Unlock()
			if strings.Contains(res.body+rig.log.String(), "canary") {
				t.Error("a secret is shown")
			}
		})
	}
}

// TestReplays sends what someone has seen again, byte for byte, to a real router.
func TestReplays(t *testing.T) {
	t.Parallel()
	const body = `{"n": 1}`
	path := filepath.Join(t.TempDir(), "events.db")
	headers := make(http.Header)
	now := strconv.Itoa(standardNow)
	for _, h := range standardHeaders("msg_1", now, sign(authKey, "msg_1", now, body)) {
		name, value, _ := strings.Cut(h, ": ")
		headers.Set(name, value)
	}
	var log bytes.Buffer
	replay := func(t *testing.T, accept ingest.Accepter, want string) {
		t.Helper()
		hook := newHook(t, standardTranslation())
		hook.Auth = standardAuth(authKey)
		s := serve(t, ingest.Config{Accept: accept, Log: slog.New(slog.NewTextHandler(&log, nil))})
		s.handler.SetSources(ingest.Sources{Hooks: []ingest.Hook{hook}})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.addr+"/hooks/hook", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = headers.Clone()
		res, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var text bytes.Buffer
		if _, err := text.ReadFrom(res.Body); err != nil {
			t.Fatal(err)
		}
		if want := `[{"id":"msg_1","source":"hook","duplicate":` + want + "}]\n"; res.StatusCode != 202 || text.String() != want {
			t.Errorf("%d %s, want %s", res.StatusCode, text.String(), want)
		}
	}
	accept, stop := route(t, path)
	replay(t, accept, "false")
	t.Run("B8 inside the tolerance", func(t *testing.T) { replay(t, accept, "true") })
	stop()
	accept, stop = route(t, path)
	t.Run("B9 after a restart", func(t *testing.T) { replay(t, accept, "true") })
	others(t, accept, 10_000)
	t.Run("B9 after 10,000 other ids", func(t *testing.T) { replay(t, accept, "true") })
	stop()
	accept, stop = route(t, path)
	defer stop()
	t.Run("B9 after those and a restart", func(t *testing.T) { replay(t, accept, "true") })
	if log.Len() > 0 {
		t.Errorf("log: %s", log.String())
	}
}

// others has n events with ids of their own accepted from the same source.
func others(t *testing.T, accept ingest.Accepter, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for from := 0; from < n; from += 1000 {
		evs := make([]*rules.Event, 0, 1000)
		for i := range 1000 {
			ev, err := rules.NewEvent(rules.Attributes{ID: fmt.Sprintf("other_%d", from+i), Source: "pointsman:/hooks/hook", Type: "t"}, nil, rules.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			evs = append(evs, ev)
		}
		results, err := accept(ctx, router.Origin{Source: "hook", Dedup: time.Hour}, evs)
		if err != nil {
			t.Fatal(err)
		}
		for i, res := range results {
			if res.Duplicate {
				t.Fatalf("%s is a duplicate", evs[i].ID())
			}
		}
	}
}
