package http_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/actiontest"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/plugins/http"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// request is what a target saw.
type request struct {
	Method, URI string
	Header      nethttp.Header
	Body        string
}

// target answers with answer and remembers every request.
type target struct {
	*httptest.Server
	mu   sync.Mutex
	seen []request
}

func newTarget(t *testing.T, answer nethttp.HandlerFunc) *target {
	t.Helper()
	tg := &target{}
	tg.Server = httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		tg.mu.Lock()
		tg.seen = append(tg.seen, request{r.Method, r.RequestURI, r.Header, string(body)})
		tg.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(tg.Close)
	return tg
}

func (tg *target) last(t *testing.T) request {
	t.Helper()
	tg.mu.Lock()
	defer tg.mu.Unlock()
	if len(tg.seen) == 0 {
		t.Fatal("no request came")
	}
	return tg.seen[len(tg.seen)-1]
}

func (tg *target) count() int {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	return len(tg.seen)
}

// start configures the action; more are further settings, each as ,"key":value.
func start(t *testing.T, url, more string) *actiontest.Harness {
	t.Helper()
	return actiontest.Start(t, http.New(), actions.Settings{JSON: settings(url, more)})
}

func settings(url, more string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"url": %q%s}`, url, more))
}

func TestConformance(t *testing.T) {
	tg := newTarget(t, nil)
	actiontest.Run(t, func() actions.Action { return http.New() }, actiontest.Options{
		Settings: settings(tg.URL+"/hook", `, "method": "POST", "headers": {"X-A": "b"}, "secret": "0123456789abcdef", "allow": ["127.0.0.0/8"]`),
		Params:   json.RawMessage(`{"body": {"a": 1}, "query": {"q": ["x", 2]}, "headers": {"X-B": true}}`),
	})
}

func TestTheEventIsTheDefaultBody(t *testing.T) {
	t.Parallel()
	tg := newTarget(t, nil)
	event := `{"specversion":"1.0","id":"e1","source":"s","type":"t","data":{"n":12345678901234567890}}`
	res := start(t, tg.URL+"/hook", "").Do(t.Context(), &actionv1.RunRequest{DeliveryId: "d-1", Attempt: 1, Event: []byte(event)})
	if res.GetStatus() != actionv1.Status_STATUS_DONE {
		t.Fatal(res)
	}
	got := tg.last(t)
	if got.Body != event || got.Method != "POST" || got.URI != "/hook" {
		t.Errorf("%+v", got)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/cloudevents+json; charset=utf-8", "Webhook-Id": "d-1", "Pointsman-Hops": "1",
		"User-Agent": "pointsman", "Webhook-Signature": "",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	tg := newTarget(t, nil)
	for name, tc := range map[string]struct {
		path, settings, params string
		want                   request // of Header, those named are compared
	}{
		"object": {
			"/a", "", `{"body": {"n": 12345678901234567890, "s": "é"}}`,
			request{"POST", "/a", nethttp.Header{"Content-Type": {"application/json"}}, `{"n": 12345678901234567890, "s": "é"}`},
		},
		"text": {
			"/", `, "method": "PUT"`, `{"body": "a\nb"}`,
			request{"PUT", "/", nethttp.Header{"Content-Type": {"text/plain; charset=utf-8"}}, "a\nb"},
		},
		"text of a type": {
			"/", "", `{"body": "<a/>", "headers": {"content-type": "application/xml"}}`,
			request{"POST", "/", nethttp.Header{"Content-Type": {"application/xml"}}, "<a/>"},
		},
		"nothing": {
			"/", `, "method": "PATCH"`, `{"body": null}`,
			request{"PATCH", "/", nethttp.Header{"Content-Type": nil}, ""},
		},
		"get":   {"/x", `, "method": "GET"`, `null`, request{"GET", "/x", nil, ""}},
		"false": {"/x", "", `{"body": false}`, request{"POST", "/x", nil, "false"}},
		"query": {
			"/x?a=1", `, "method": "GET"`, `{"query": {"z": "&=#é", "b": [1.50, true]}}`,
			request{"GET", "/x?a=1&b=1.50&b=true&z=%26%3D%23%C3%A9", nil, ""},
		},
		"headers": {
			"/", `, "headers": {"Authorization": "Token abc"}`, `{"headers": {"X-Interface": "eth1; $(id)", "x-n": 1}}`,
			request{"POST", "/", nethttp.Header{"Authorization": {"Token abc"}, "X-Interface": {"eth1; $(id)"}, "X-N": {"1"}}, "EVENT"},
		},
	} {
		res := start(t, tg.URL+tc.path, tc.settings).Run(t.Context(), tc.params)
		if res.GetStatus() != actionv1.Status_STATUS_DONE {
			t.Errorf("%s: %v", name, res)
			continue
		}
		got := tg.last(t)
		for header, want := range tc.want.Header {
			if diff := cmp.Diff(want, got.Header[header]); diff != "" {
				t.Errorf("%s: %s: %s", name, header, diff)
			}
		}
		if tc.want.Body == "EVENT" {
			tc.want.Body = got.Body
		}
		got.Header = tc.want.Header
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestParametersThatAreRefused(t *testing.T) {
	t.Parallel()
	tg := newTarget(t, nil)
	h := start(t, tg.URL+"/?token=fixed", `, "headers": {"Authorization": "Token abc"}`)
	for params, want := range map[string]string{
		`{"url": "http://127.0.0.1/"}`:                  `json: unknown field "url"`,
		`{"method": "DELETE"}`:                          `json: unknown field "method"`,
		`{"headers": {"authorization": "x"}}`:           `headers: "authorization" is set by the settings`,
		`{"headers": {"Host": "169.254.169.254"}}`:      `headers: "Host" cannot be set`,
		`{"headers": {"Transfer-Encoding": "chunked"}}`: `headers: "Transfer-Encoding" cannot be set`,
		`{"headers": {"webhook-id": "1"}}`:              `headers: "webhook-id" cannot be set`,
		`{"headers": {"X-A": "a\r\nX-B: b"}}`:           `headers: "X-A" has a control character in its value`,
		`{"headers": {"X A": "a"}}`:                     `headers: "X A" is not the name of a header`,
		`{"headers": {"X-A": {}}}`:                      `headers: "X-A": not a string, number or boolean`,
		`{"headers": {"x-a": "1", "X-A": "2"}}`:         `is there twice`,
		`{"query": {"token": "mine"}}`:                  `query: "token" is set by the settings' url`,
		`{"query": {"a": null}}`:                        `query: "a": not a string, number or boolean`,
		`{"query": {"a": [[]]}}`:                        `query: "a": not a string, number or boolean`,
	} {
		res := h.Run(t.Context(), params)
		if res.GetStatus() != actionv1.Status_STATUS_PERMANENT || !strings.HasPrefix(res.GetError(), "params: ") || !strings.HasSuffix(res.GetError(), want) {
			t.Errorf("%s: %v %q", params, res.GetStatus(), res.GetError())
		}
	}
	if n := tg.count(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const (
		done, failed, dead = actionv1.Status_STATUS_DONE, actionv1.Status_STATUS_FAILED, actionv1.Status_STATUS_PERMANENT
	)
	for _, tc := range []struct {
		code       int
		retryAfter string
		status     actionv1.Status
		after      time.Duration
		text       string
	}{
		{200, "", done, 0, ""},
		{202, "", done, 0, ""},
		{204, "", done, 0, ""},
		{299, "", done, 0, ""},
		{304, "", dead, 0, "answered 304 Not Modified"},
		{400, "", dead, 0, "answered 400 Bad Request"},
		{401, "9", dead, 0, "answered 401 Unauthorized"},
		{403, "", dead, 0, "answered 403 Forbidden"},
		{404, "", failed, 0, "answered 404 Not Found"},
		{408, "", failed, 0, "answered 408 Request Timeout"},
		{409, "", failed, 0, "answered 409 Conflict"},
		{410, "", dead, 0, "answered 410 Gone"},
		{422, "", dead, 0, "answered 422 Unprocessable Entity"},
		{429, "17", failed, 17 * time.Second, "answered 429 Too Many Requests"},
		{500, "", failed, 0, "answered 500 Internal Server Error"},
		{501, "", failed, 0, "answered 501 Not Implemented"},
		{503, "Mon, 23 Nov 2026 12:01:30 GMT", failed, 90 * time.Second, "answered 503 Service Unavailable"},
		{503, "99999999999999999999", failed, 24 * time.Hour, "answered 503 Service Unavailable"},
		{503, "soon", failed, 0, "answered 503 Service Unavailable"},
		{599, "", failed, 0, "answered 599"},
		{600, "", dead, 0, "answered 600"},
	} {
		t.Run(fmt.Sprintf("%d %s", tc.code, tc.retryAfter), func(t *testing.T) {
			t.Parallel()
			tg := newTarget(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
				if tc.retryAfter != "" {
					w.Header().Set("Retry-After", tc.retryAfter)
				}
				w.WriteHeader(tc.code)
				if tc.code != 204 && tc.code != 304 {
					_, _ = io.WriteString(w, "why")
				}
			})
			res := actiontest.Start(t, http.NewAt(now), actions.Settings{JSON: settings(tg.URL, "")}).Run(t.Context(), "null")
			if res.GetStatus() != tc.status || res.GetRetryAfter().AsDuration() != tc.after || res.GetError() != tc.text {
				t.Errorf("%v", res)
			}
			if tc.code != 204 && tc.code != 304 && !strings.HasSuffix(res.GetOutput(), "\nwhy") {
				t.Errorf("output %q", res.GetOutput())
			}
			if tg.count() != 1 {
				t.Errorf("%d requests", tg.count())
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"0": 0, "120": 2 * time.Minute, " 5 ": 5 * time.Second,
		"Sun, 06 Nov 1994 08:49:40 GMT":  3 * time.Second,
		"Sunday, 06-Nov-94 08:49:40 GMT": 3 * time.Second,
		"Sun Nov  6 08:49:40 1994":       3 * time.Second,
		"Sun, 06 Nov 1994 08:00:00 GMT":  0,
		"Sun, 06 Nov 2994 08:00:00 GMT":  24 * time.Hour,
		"":                               -1, "-1": -1, "1.5": -1, "1e9": -1, "Sun, 99 Nov 1994": -1,
	} {
		got, ok := http.RetryAfter(text, now)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	inner := newTarget(t, nil)
	for _, code := range []int{301, 302, 303, 307, 308} {
		tg := newTarget(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			w.Header().Set("Location", inner.URL+"/private")
			w.WriteHeader(code)
		})
		res := start(t, tg.URL, "").Run(t.Context(), "null")
		want := fmt.Sprintf("answered %d %s: redirects are not followed (set url to where it leads)", code, nethttp.StatusText(code))
		if res.GetStatus() != actionv1.Status_STATUS_PERMANENT || res.GetError() != want {
			t.Errorf("%d: %v", code, res)
		}
	}
	if inner.count() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestTheEnvironmentsProxyIsNotUsed(t *testing.T) {
	proxy := newTarget(t, nil)
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	// net/http never takes a proxy for loopback names, so another name is needed.
	res := start(t, "http://pointsman.invalid/", "").Run(t.Context(), "null")
	if res.GetStatus() != actionv1.Status_STATUS_FAILED || !strings.HasPrefix(res.GetError(), "no answer from pointsman.invalid: dial tcp") {
		t.Errorf("%v", res)
	}
	if proxy.count() != 0 {
		t.Error("the proxy was asked")
	}
}

func TestOutputIsBoundedAndKeepsNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "canary-of-the-settings"
	for name, tc := range map[string]struct{ begin, want string }{
		"long":    {strings.Repeat("x", 200<<10), "\n[answer cut]"},
		"repeats": {"you sent Bearer " + secret + " and key-" + secret, "200 OK\nyou sent *** and key-***"},
	} {
		tg := newTarget(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) { _, _ = io.WriteString(w, tc.begin) })
		h := start(t, tg.URL+"?k="+secret, `, "headers": {"Authorization": "Bearer `+secret+`"}`)
		out := h.Run(t.Context(), "null").GetOutput()
		if len(out) > actions.MaxOutput || !strings.HasSuffix(out, tc.want) || strings.Contains(out, secret) {
			t.Errorf("%s: %d bytes, end %q", name, len(out), out[max(0, len(out)-60):])
		}
		if name == "long" && len(out) != actions.MaxOutput {
			t.Errorf("%d bytes are kept", len(out))
		}
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	res := start(t, gone.URL+"/canary-path?k=canary-query", "").Run(t.Context(), "null")
	if res.GetStatus() != actionv1.Status_STATUS_FAILED || !strings.Contains(res.GetError(), "connection refused") ||
		strings.Contains(res.GetError(), "canary") {
		t.Errorf("%v", res)
	}
	// A connection that ends without an answer is tried again by the router, not here.
	tg := newTarget(t, func(nethttp.ResponseWriter, *nethttp.Request) { panic(nethttp.ErrAbortHandler) })
	res = start(t, tg.URL, "").Run(t.Context(), "null")
	if res.GetStatus() != actionv1.Status_STATUS_FAILED || tg.count() != 1 {
		t.Errorf("%v after %d requests", res, tg.count())
	}
}

func TestTheTimeOfAnAttemptEndsIt(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	tg := newTarget(t, func(nethttp.ResponseWriter, *nethttp.Request) { <-release })
	defer close(release)
	h := start(t, tg.URL, "")
	ctx, cancel := timeoutAfter(t, 50*time.Millisecond)
	defer cancel()
	res := h.Run(ctx, "null")
	if res.GetStatus() != actionv1.Status_STATUS_FAILED || !strings.HasPrefix(res.GetError(), "no answer from 127.0.0.1:") {
		t.Errorf("%v", res)
	}
}

func TestTheStatusCountsThoughTheBodyIsCutOff(t *testing.T) {
	t.Parallel()
	tg := newTarget(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "half")
	})
	if res := start(t, tg.URL, "").Run(t.Context(), "null"); res.GetStatus() != actionv1.Status_STATUS_DONE || res.GetOutput() != "200 OK\nhalf" {
		t.Errorf("%v", res)
	}
}

func TestDryRunSendsNothing(t *testing.T) {
	t.Parallel()
	tg := newTarget(t, nil)
	res := start(t, tg.URL+"/canary?k=canary", "").Do(t.Context(), &actionv1.RunRequest{
		DeliveryId: "d", Attempt: 1, DryRun: true, Params: []byte(`{"body": "12345"}`),
	})
	want := "dry run: would POST 5 bytes to " + tg.URL
	if res.GetStatus() != actionv1.Status_STATUS_DONE || res.GetOutput() != want || tg.count() != 0 {
		t.Errorf("%v", res)
	}
}

// The example of the specification.
// (Standard Webhooks 1.0.0, README; the same vector is in its libraries.)
func TestStandardWebhooksVector(t *testing.T) {
	t.Parallel()
	key, err := http.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := http.Signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestRequestsAreSigned(t *testing.T) {
	t.Parallel()
	tg := newTarget(t, nil)
	raw := []byte("a key of twenty bytes")
	now := time.Unix(1614265330, 0)
	for _, secret := range []string{string(raw), "whsec_" + base64.StdEncoding.EncodeToString(raw)} {
		h := actiontest.Start(t, http.NewAt(now), actions.Settings{JSON: settings(tg.URL, fmt.Sprintf(`, "secret": %q`, secret))})
		h.Do(t.Context(), &actionv1.RunRequest{DeliveryId: "0193-abc", Attempt: 1, Params: []byte(`{"body": {"a": "é"}}`)})
		got := tg.last(t)
		mac := hmac.New(sha256.New, raw)
		fmt.Fprintf(mac, "%s.%s.%s", "0193-abc", "1614265330", got.Body)
		want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		if got.Header.Get("Webhook-Signature") != want || got.Header.Get("Webhook-Timestamp") != "1614265330" || got.Header.Get("Webhook-Id") != "0193-abc" {
			t.Errorf("%v, want %s", got.Header, want)
		}
	}
}
