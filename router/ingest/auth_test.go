package ingest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

const (
	authKey   = "canary-key-of-the-source"
	authOther = "canary-key-of-another-source"
)

// authRig is a handler on a real server with an accepter that remembers.
type authRig struct {
	*httptest.Server
	handler *ingest.Handler

	mu       sync.Mutex // guards what follows
	accepted []*rules.Event
	from     []router.Origin
	seen     map[string]bool
	rejected []string
	log      bytes.Buffer
}

func newAuthRig(t *testing.T, s ingest.Sources) *authRig {
	t.Helper()
	rig := &authRig{seen: map[string]bool{}}
	rig.handler = ingest.New(ingest.Config{
		Accept: func(_ context.Context, from router.Origin, evs []*rules.Event) ([]router.Result, error) {
			rig.mu.Lock()
			defer rig.mu.Unlock()
			out := make([]router.Result, len(evs))
			for i, ev := range evs {
				key := from.Source + "\x00" + ev.Source() + "\x00" + ev.ID()
				out[i].Duplicate = rig.seen[key]
				rig.seen[key] = true
				rig.from = append(rig.from, from)
				rig.accepted = append(rig.accepted, ev)
			}
			return out, nil
		},
		Body: 64 << 10, Batch: 10,
		Rejected: func(source string) {
			rig.mu.Lock()
			defer rig.mu.Unlock()
			rig.rejected = append(rig.rejected, source)
		},
		Log: slog.New(slog.NewTextHandler(lockedWriter{rig}, nil)),
	})
	rig.handler.SetSources(s)
	rig.Server = httptest.NewServer(rig.handler)
	t.Cleanup(rig.Close)
	return rig
}

type lockedWriter struct{ rig *authRig }

func (w lockedWriter) Write(p []byte) (int, error) {
	w.rig.mu.Lock()
	defer w.rig.mu.Unlock()
	return w.rig.log.Write(p)
}

func (rig *authRig) events() []*rules.Event {
	rig.mu.Lock()
	defer rig.mu.Unlock()
	return append([]*rules.Event(nil), rig.accepted...)
}

// reply is an answer with the code of its problem.
type reply struct {
	status int
	code   string
	header http.Header
	body   string
}

// send posts a body; headers are "Name: value", the same name may come twice.
func (rig *authRig) send(t *testing.T, path, body string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, rig.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := rig.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var p struct{ Code string }
	_ = json.Unmarshal(text, &p) // a 202 has none
	return reply{res.StatusCode, p.Code, res.Header, string(text)}
}

func authMAC(h func() hash.Hash, key, body string) []byte {
	m := hmac.New(h, []byte(key))
	m.Write([]byte(body))
	return m.Sum(nil)
}

func hexMAC(key, body string) string { return hex.EncodeToString(authMAC(sha256.New, key, body)) }

const (
	authEvent = `{"specversion":"1.0","id":"1","source":"s","type":"t"}`
	asEvent   = "Content-Type: application/cloudevents+json"
)

func TestHMAC(t *testing.T) {
	t.Parallel()
	hook := func(c ingest.HMACConfig) ingest.Sources {
		c.Header = "X-Signature"
		return ingest.Sources{Events: ingest.Events{Auth: ingest.HMAC(c)}}
	}
	plain := hook(ingest.HMACConfig{Secrets: []string{authKey}, Prefix: "sha256="})
	good := "X-Signature: sha256=" + hexMAC(authKey, authEvent)
	many := func(n int, last string) string {
		return "X-Signature: " + strings.Repeat("sha256="+hexMAC(authOther, authEvent)+",", n) + last
	}
	for name, tc := range map[string]struct {
		sources ingest.Sources
		body    string
		headers []string
		status  int
		code    string
	}{
		"good":                   {plain, authEvent, []string{good}, 202, ""},
		"no header":              {plain, authEvent, nil, 401, "unauthorized"},
		"another secret":         {plain, authEvent, []string{"X-Signature: sha256=" + hexMAC(authOther, authEvent)}, 401, "unauthorized"},
		"empty":                  {plain, authEvent, []string{"X-Signature: "}, 401, "unauthorized"},
		"only the prefix":        {plain, authEvent, []string{"X-Signature: sha256="}, 401, "unauthorized"},
		"without the prefix":     {plain, authEvent, []string{"X-Signature: " + hexMAC(authKey, authEvent)}, 401, "unauthorized"},
		"upper case":             {plain, authEvent, []string{"X-Signature: sha256=" + strings.ToUpper(hexMAC(authKey, authEvent))}, 202, ""},
		"odd length":             {plain, authEvent, []string{good[:len(good)-1]}, 401, "unauthorized"},
		"cut":                    {plain, authEvent, []string{good[:len(good)-2]}, 401, "unauthorized"},
		"not hex":                {plain, authEvent, []string{good[:len(good)-1] + "z"}, 401, "unauthorized"},
		"altered by a space":     {plain, authEvent + " ", []string{good}, 401, "unauthorized"},
		"the 16th":               {plain, authEvent, []string{many(15, good[len("X-Signature: "):])}, 202, ""},
		"the 17th":               {plain, authEvent, []string{many(16, good[len("X-Signature: "):])}, 401, "unauthorized"},
		"spaces between":         {plain, authEvent, []string{"X-Signature: sha256=00 " + good[len("X-Signature: "):]}, 202, ""},
		"two headers":            {plain, authEvent, []string{good, "X-Signature: sha256=00"}, 400, "duplicate_header"},
		"two headers, reverse":   {plain, authEvent, []string{"X-Signature: sha256=00", good}, 400, "duplicate_header"},
		"sha1 where sha256 is":   {plain, authEvent, []string{"X-Signature: sha1=" + hex.EncodeToString(authMAC(sha1.New, authKey, authEvent))}, 401, "algorithm_not_allowed"},
		"sha1 beside the other":  {plain, authEvent, []string{"X-Signature: sha1=00," + good[len("X-Signature: "):]}, 202, ""},
		"parsed after the proof": {plain, "{", nil, 401, "unauthorized"},
		"not an event":           {plain, "{", []string{"X-Signature: sha256=" + hexMAC(authKey, "{")}, 400, "bad_json"},
		"sha1 when configured": {
			hook(ingest.HMACConfig{Secrets: []string{authKey}, Algorithm: "sha1", Prefix: "sha1="}), authEvent,
			[]string{"X-Signature: sha1=" + hex.EncodeToString(authMAC(sha1.New, authKey, authEvent))},
			202, "",
		},
		"sha512 in base64": {
			hook(ingest.HMACConfig{Secrets: []string{authKey}, Algorithm: "sha512", Encoding: "base64"}), authEvent,
			[]string{"X-Signature: " + base64.StdEncoding.EncodeToString(authMAC(sha512.New, authKey, authEvent))},
			202, "",
		},
		"bad padding": {
			hook(ingest.HMACConfig{Secrets: []string{authKey}, Encoding: "base64"}), authEvent,
			[]string{"X-Signature: " + base64.RawStdEncoding.EncodeToString(authMAC(sha256.New, authKey, authEvent))},
			401, "unauthorized",
		},
		"prefix with a space": {
			hook(ingest.HMACConfig{Secrets: []string{authKey}, Prefix: "HMAC-SHA256 "}), authEvent,
			[]string{"X-Signature: HMAC-SHA256 " + hexMAC(authKey, authEvent)},
			202, "",
		},
		"the old secret": {
			hook(ingest.HMACConfig{Secrets: []string{authOther, authKey}}), authEvent,
			[]string{"X-Signature: " + hexMAC(authKey, authEvent)},
			202, "",
		},
		"no secret": {hook(ingest.HMACConfig{}), authEvent, []string{"X-Signature: " + hexMAC("", authEvent)}, 401, "unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := newAuthRig(t, tc.sources)
			res := rig.send(t, "/events", tc.body, append(tc.headers, asEvent)...)
			if res.status != tc.status || res.code != tc.code {
				t.Errorf("%d %s, want %d %s", res.status, res.body, tc.status, tc.code)
			}
			if got := len(rig.events()); (got == 1) != (tc.status == 202) {
				t.Errorf("%d events were accepted", got)
			}
			if res.header.Get("WWW-Authenticate") != "" {
				t.Error("a challenge without a scheme")
			}
			rig.mu.Lock()
			defer rig.mu.Unlock()
			if strings.Contains(res.body+rig.log.String(), "canary") {
				t.Error("a secret is shown")
			}
		})
	}
}

// The signature is over the bytes as they were sent, before a coding is undone.
func TestHMACOverTheRawBytes(t *testing.T) {
	t.Parallel()
	rig := newAuthRig(t, ingest.Sources{Events: ingest.Events{Auth: ingest.HMAC(ingest.HMACConfig{Secrets: []string{authKey}, Header: "X-Sig"})}})
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(authEvent))
	_ = z.Close()
	if res := rig.send(t, "/events", packed.String(), "X-Sig: "+hexMAC(authKey, packed.String()), "Content-Encoding: gzip", asEvent); res.status != 202 {
		t.Errorf("signed as sent: %s", res.body)
	}
	if res := rig.send(t, "/events", packed.String(), "X-Sig: "+hexMAC(authKey, authEvent), "Content-Encoding: gzip", asEvent); res.status != 401 {
		t.Errorf("signed as decoded: %s", res.body)
	}
	large := strings.Repeat("x", 64<<10+1)
	if res := rig.send(t, "/events", large, "X-Sig: "+hexMAC(authKey, large), asEvent); res.status != 413 || res.code != "too_large" {
		t.Errorf("too large: %s", res.body)
	}
	batch := "[" + strings.Repeat(" ", 100<<10) + authEvent + "]"
	if res := rig.send(t, "/events", batch, "X-Sig: "+hexMAC(authKey, batch), "Content-Type: application/cloudevents-batch+json"); res.status != 202 {
		t.Errorf("a batch: %s", res.body)
	}
}

func TestBearerBasicToken(t *testing.T) {
	t.Parallel()
	bearer := ingest.Bearer(authKey, false)
	query := ingest.Bearer(authKey, true)
	basic := ingest.Basic("monitor", authKey)
	token := ingest.Token("x-vendor-token", authKey)
	pair := func(user, password string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for name, tc := range map[string]struct {
		auth      ingest.Auth
		query     string
		headers   []string
		status    int
		code      string
		challenge string
	}{
		"none":                   {ingest.Auth{}, "", nil, 202, "", ""},
		"bearer":                 {bearer, "", []string{"Authorization: Bearer " + authKey}, 202, "", ""},
		"bearer, lower case":     {bearer, "", []string{"Authorization: bearer " + authKey}, 202, "", ""},
		"bearer, none":           {bearer, "", nil, 401, "unauthorized", `Bearer realm="pointsman"`},
		"bearer, wrong":          {bearer, "", []string{"Authorization: Bearer " + authOther}, 401, "unauthorized", `Bearer realm="pointsman"`},
		"bearer, longer":         {bearer, "", []string{"Authorization: Bearer " + authKey + "x"}, 401, "unauthorized", `Bearer realm="pointsman"`},
		"bearer, no token":       {bearer, "", []string{"Authorization: Bearer"}, 401, "unauthorized", `Bearer realm="pointsman"`},
		"bearer, bare token":     {bearer, "", []string{"Authorization: " + authKey}, 401, "unauthorized", `Bearer realm="pointsman"`},
		"bearer, two":            {bearer, "", []string{"Authorization: Bearer " + authKey, "Authorization: Bearer x"}, 400, "duplicate_header", ""},
		"bearer in the query":    {bearer, "?access_token=" + authKey, nil, 401, "unauthorized", `Bearer realm="pointsman"`},
		"query":                  {query, "?access_token=" + authKey, nil, 202, "", ""},
		"query, by header":       {query, "", []string{"Authorization: Bearer " + authKey}, 202, "", ""},
		"query, wrong":           {query, "?access_token=" + authOther, nil, 401, "unauthorized", `Bearer realm="pointsman"`},
		"query, twice":           {query, "?access_token=" + authKey + "&access_token=x", nil, 400, "duplicate_credentials", ""},
		"query, and by header":   {query, "?access_token=" + authKey, []string{"Authorization: Bearer " + authKey}, 400, "duplicate_credentials", ""},
		"basic":                  {basic, "", []string{pair("monitor", authKey)}, 202, "", ""},
		"basic, wrong password":  {basic, "", []string{pair("monitor", authOther)}, 401, "unauthorized", `Basic realm="pointsman", charset="UTF-8"`},
		"basic, wrong user":      {basic, "", []string{pair("canary", authKey)}, 401, "unauthorized", `Basic realm="pointsman", charset="UTF-8"`},
		"basic, none":            {basic, "", nil, 401, "unauthorized", `Basic realm="pointsman", charset="UTF-8"`},
		"basic, not base64":      {basic, "", []string{"Authorization: Basic canary!"}, 401, "unauthorized", `Basic realm="pointsman", charset="UTF-8"`},
		"basic, two":             {basic, "", []string{pair("monitor", authKey), pair("a", "b")}, 400, "duplicate_header", ""},
		"token":                  {token, "", []string{"X-Vendor-Token: " + authKey}, 202, "", ""},
		"token, wrong":           {token, "", []string{"X-Vendor-Token: " + authOther}, 401, "unauthorized", ""},
		"token, none":            {token, "", nil, 401, "unauthorized", ""},
		"token, two":             {token, "", []string{"X-Vendor-Token: " + authKey, "X-Vendor-Token: x"}, 400, "duplicate_header", ""},
		"token, as bearer token": {token, "", []string{"Authorization: Bearer " + authKey}, 401, "unauthorized", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := newAuthRig(t, ingest.Sources{Events: ingest.Events{Auth: tc.auth}})
			res := rig.send(t, "/events"+tc.query, authEvent, append(tc.headers, asEvent)...)
			if res.status != tc.status || res.code != tc.code || res.header.Get("WWW-Authenticate") != tc.challenge {
				t.Errorf("%d %q %s", res.status, res.header.Get("WWW-Authenticate"), res.body)
			}
			private := res.header.Get("Cache-Control") == "private"
			if want := strings.HasPrefix(name, "query") && tc.query != ""; private != want {
				t.Errorf("Cache-Control: %q", res.header.Get("Cache-Control"))
			}
			rig.mu.Lock()
			defer rig.mu.Unlock()
			if strings.Contains(res.body+rig.log.String(), "canary") {
				t.Error("a secret is shown")
			}
			if len(rig.accepted) != 0 && tc.status != 202 || len(rig.rejected) != 0 && tc.status == 202 {
				t.Error("accepted or rejected wrongly")
			}
		})
	}
}

func TestAuthPrintsNoSecret(t *testing.T) {
	t.Parallel()
	for want, auth := range map[string]ingest.Auth{
		"none": {}, "bearer": ingest.Bearer(authKey, true), "basic": ingest.Basic("canary", authKey),
		"token": ingest.Token("X", authKey), "hmac": ingest.HMAC(ingest.HMACConfig{Secrets: []string{authKey}}),
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			if got := fmt.Sprintf(verb, auth); got != want {
				t.Errorf("%s: %q, want %q", verb, got, want)
			}
		}
	}
}

// The handshake needs no proof and gives no secret away; a sender of another
// source's secret gets nowhere.
func TestSourcesHaveSecretsOfTheirOwn(t *testing.T) {
	t.Parallel()
	tr, err := rules.NewTranslator(rules.Translation{Name: "a", Type: `"t"`})
	if err != nil {
		t.Fatal(err)
	}
	rig := newAuthRig(t, ingest.Sources{
		Events: ingest.Events{Auth: ingest.Bearer(authOther, false), Origins: []string{"sender.example"}},
		Hooks:  []ingest.Hook{{Name: "a", Auth: ingest.Bearer(authKey, false), Translator: tr}},
	})
	if res := rig.send(t, "/hooks/a", "{}", "Authorization: Bearer "+authOther); res.status != 401 {
		t.Errorf("%d", res.status)
	}
	if res := rig.send(t, "/hooks/a", "{}", "Authorization: Bearer "+authKey); res.status != 202 {
		t.Errorf("%d", res.status)
	}
	if res := rig.send(t, "/events", authEvent, asEvent, "Authorization: Bearer "+authKey); res.status != 401 {
		t.Errorf("%d", res.status)
	}
}

// No header gets a request in but one that holds the right signature.
func FuzzSignatureHeader(f *testing.F) {
	good := hexMAC(authKey, authEvent)
	for _, seed := range []string{"", "sha256=", "sha256=" + good, "sha1=00,sha256=" + good, ", ,", "sha256=zz sha256=" + strings.ToUpper(good)} {
		f.Add(seed)
	}
	h := ingest.New(ingest.Config{Accept: func(_ context.Context, _ router.Origin, evs []*rules.Event) ([]router.Result, error) {
		return make([]router.Result, len(evs)), nil
	}})
	h.SetSources(ingest.Sources{Events: ingest.Events{
		Auth: ingest.HMAC(ingest.HMACConfig{Secrets: []string{authKey}, Header: "X-Sig", Prefix: "sha256="}),
	}})
	f.Fuzz(func(t *testing.T, header string) {
		req := httptest.NewRequest(http.MethodPost, "/events", strings.NewReader(authEvent))
		req.Header["X-Sig"] = []string{header}
		req.Header.Set("Content-Type", "application/cloudevents+json")
		res := httptest.NewRecorder()
		h.ServeHTTP(res, req)
		if res.Code != http.StatusUnauthorized && !strings.Contains(strings.ToLower(header), good) {
			t.Errorf("%q is answered with %d", header, res.Code)
		}
	})
}
