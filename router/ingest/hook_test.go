package ingest_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

func newHook(t *testing.T, tr rules.Translation) ingest.Hook {
	t.Helper()
	tr.Name = "hook"
	compiled, err := rules.NewTranslator(tr)
	if err != nil {
		t.Fatal(err)
	}
	return ingest.Hook{Name: "hook", Dedup: time.Hour, Translator: compiled}
}

func hookRig(t *testing.T, tr rules.Translation) *authRig {
	t.Helper()
	return newAuthRig(t, ingest.Sources{Hooks: []ingest.Hook{newHook(t, tr)}})
}

func TestHookAnswers(t *testing.T) {
	t.Parallel()
	rig := hookRig(t, rules.Translation{Each: "body.list", Type: `"t"`, ID: "item.id"})
	res := rig.send(t, "/hooks/hook?x=1", `{"list": [{"id": "1"}, {"id": "2"}, {"id": "1"}]}`)
	want := `[{"id":"1","source":"hook","duplicate":false},{"id":"2","source":"hook","duplicate":false},{"id":"1","source":"hook","duplicate":true}]` + "\n"
	if diff := cmp.Diff(want, res.body); diff != "" || res.status != 202 || res.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", res.status, diff)
	}
	if diff := cmp.Diff(router.Origin{Source: "hook", Dedup: time.Hour}, rig.from[0]); diff != "" {
		t.Error(diff)
	}
	if res := rig.send(t, "/hooks/hook", `{"list": []}`); res.status != 202 || res.body != "[]\n" {
		t.Errorf("nothing: %d %s", res.status, res.body)
	}
	// Derived ids: sent again, it is a duplicate and no conflict.
	rig = hookRig(t, rules.Translation{Type: `"t"`})
	for _, want := range []string{`"duplicate":false`, `"duplicate":true`} {
		if res := rig.send(t, "/hooks/hook", `{"a": 1}`); res.status != 202 || !strings.Contains(res.body, want) {
			t.Errorf("%s, want %s", res.body, want)
		}
	}
}

func TestHookInputs(t *testing.T) {
	t.Parallel()
	const text = `{"n": 1}`
	for name, tc := range map[string]struct {
		path, body string
		headers    []string
		status     int
		code       string
	}{
		"no type":          {"/hooks/hook", text, nil, 202, ""},
		"json":             {"/hooks/hook", text, []string{"Content-Type: Application/JSON; charset=UTF-8"}, 202, ""},
		"json of a vendor": {"/hooks/hook", text, []string{"Content-Type: application/vnd.x+json"}, 202, ""},
		"form":             {"/hooks/hook", "n=1", []string{"Content-Type: application/x-www-form-urlencoded"}, 202, ""},
		"bad form":         {"/hooks/hook", "n=%zz", []string{"Content-Type: application/x-www-form-urlencoded"}, 400, "bad_form"},
		"form not UTF-8":   {"/hooks/hook", "n=%ff", []string{"Content-Type: application/x-www-form-urlencoded"}, 400, "bad_form"},
		"multipart":        {"/hooks/hook", text, []string{"Content-Type: multipart/form-data; boundary=x"}, 415, "unsupported_media_type"},
		"text":             {"/hooks/hook", text, []string{"Content-Type: text/plain"}, 415, "unsupported_media_type"},
		"xml":              {"/hooks/hook", text, []string{"Content-Type: application/xml"}, 415, "unsupported_media_type"},
		"another charset":  {"/hooks/hook", text, []string{"Content-Type: application/json; charset=latin1"}, 415, "unsupported_media_type"},
		"two types":        {"/hooks/hook", text, []string{"Content-Type: application/json", "Content-Type: text/xml"}, 400, "duplicate_header"},
		"brotli":           {"/hooks/hook", text, []string{"Content-Encoding: br"}, 415, "unsupported_media_type"},
		"empty":            {"/hooks/hook", "", nil, 400, "bad_json"},
		"not json":         {"/hooks/hook", "{", nil, 400, "bad_json"},
		"garbage behind":   {"/hooks/hook", "{} x", nil, 400, "bad_json"},
		"byte order mark":  {"/hooks/hook", "\ufeff{}", nil, 400, "bad_json"},
		"duplicate key":    {"/hooks/hook", `{"n":1,"n":2}`, nil, 400, "duplicate_key"},
		"deep":             {"/hooks/hook", strings.Repeat("[", 65) + strings.Repeat("]", 65), nil, 400, "too_deep"},
		"number":           {"/hooks/hook", `{"n":1e400}`, nil, 400, "number_range"},
		"large":            {"/hooks/hook", `{"n":"` + strings.Repeat("x", 64<<10) + `"}`, nil, 413, "too_large"},
		"unknown":          {"/hooks/other", text, nil, 404, "not_found"},
		"none":             {"/hooks/", text, nil, 404, "not_found"},
		"below":            {"/hooks/hook/", text, nil, 404, "not_found"},
		"not clean":        {"/hooks/../hooks/hook", text, nil, 404, "not_found"},
		"encoded":          {"/hooks/%68ook", text, nil, 404, "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := hookRig(t, rules.Translation{Type: `"t"`})
			res := rig.send(t, tc.path, tc.body, tc.headers...)
			if res.status != tc.status || res.code != tc.code {
				t.Errorf("%d %s, want %d %s", res.status, res.body, tc.status, tc.code)
			}
			if got := len(rig.events()); (got == 1) != (tc.status == 202) {
				t.Errorf("%d events were accepted", got)
			}
			rig.mu.Lock()
			defer rig.mu.Unlock()
			if (len(rig.rejected) == 1) != (tc.status != 202) {
				t.Errorf("counted as rejected: %v", rig.rejected)
			}
		})
	}
}

func TestHookTranslationProblems(t *testing.T) {
	t.Parallel()
	rig := hookRig(t, rules.Translation{Each: "body", Type: "item.type", Time: "item.time"})
	for body, want := range map[string]string{
		`{"canary": 1}`:           `{"type":"about:blank","title":"Unprocessable Entity","status":422,"code":"not_translated","detail":"each: it yields map, not a list","attribute":"each"}`,
		`[{"type":"a"},"canary"]`: `{"type":"about:blank","title":"Unprocessable Entity","status":422,"code":"not_translated","detail":"event.type of item 1: it yields nothing","attribute":"event.type","index":1}`,
		`[{"type":"a","time":"canary"}]`: `{"type":"about:blank","title":"Unprocessable Entity","status":422,"code":"not_translated",` +
			`"detail":"event.time of item 0: attribute time is not a timestamp (RFC 3339)","attribute":"event.time","index":0}`,
		"[" + strings.Repeat(`{"type":"a"},`, 10) + `{"type":"a"}]`: `{"type":"about:blank","title":"Request Entity Too Large","status":413,"code":"too_many_events",` +
			`"detail":"each: there are more items than a request may have","attribute":"each"}`,
	} {
		res := rig.send(t, "/hooks/hook", body)
		if diff := cmp.Diff(want+"\n", res.body); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
	if n := len(rig.events()); n != 0 {
		t.Errorf("%d events of requests that were refused", n)
	}
	rig.mu.Lock()
	defer rig.mu.Unlock()
	if text := rig.log.String(); strings.Contains(text, "canary") || !strings.Contains(text, "event.type of item 1") {
		t.Errorf("log: %s", text)
	}
}

// What proves who sends is in no event, though an expression asks for it.
func TestHookHidesProofs(t *testing.T) {
	t.Parallel()
	hook := newHook(t, rules.Translation{Type: `"t"`, Data: "[headers, query]"})
	hook.Auth = ingest.Token("X-Vendor-Token", authKey)
	rig := newAuthRig(t, ingest.Sources{Hooks: []ingest.Hook{hook}})
	res := rig.send(t, "/hooks/hook?access_token=canary&site=ams1&site=rtm1", "{}", "X-Vendor-Token: "+authKey,
		"Authorization: Bearer canary", "Proxy-Authorization: canary", "Cookie: canary=1", "X-Site: a", "X-Site: b", "Accept-Encoding: x", "User-Agent: y")
	if res.status != 202 {
		t.Fatal(res.body)
	}
	want := `[{"accept-encoding":"x","content-length":"2","user-agent":"y","x-site":"a, b"},{"site":"ams1"}]`
	if diff := cmp.Diff(want, string(rig.events()[0].Data())); diff != "" {
		t.Error(diff)
	}
}

func TestHookForm(t *testing.T) {
	t.Parallel()
	rig := hookRig(t, rules.Translation{Type: "body.type", Data: "body"})
	if res := rig.send(t, "/hooks/hook", "type=a.b&x=1&x=%C3%A9&%22=", "Content-Type: application/x-www-form-urlencoded"); res.status != 202 {
		t.Fatal(res.body)
	}
	if diff := cmp.Diff(`{"\"":"","type":"a.b","x":["1","é"]}`, string(rig.events()[0].Data())); diff != "" {
		t.Error(diff)
	}
}

func TestHookMethods(t *testing.T) {
	t.Parallel()
	rig := hookRig(t, rules.Translation{Type: `"t"`})
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		req, err := http.NewRequestWithContext(t.Context(), method, rig.URL+"/hooks/hook", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := rig.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != 405 || res.Header.Get("Allow") != "POST" {
			t.Errorf("%s: %d, Allow %q", method, res.StatusCode, res.Header.Get("Allow"))
		}
	}
}

func TestHookLimits(t *testing.T) {
	t.Parallel()
	hook := newHook(t, rules.Translation{Type: `"t"`})
	hook.Body = 1 << 20
	rig := newAuthRig(t, ingest.Sources{Hooks: []ingest.Hook{hook}})
	if res := rig.send(t, "/hooks/hook", `"`+strings.Repeat("x", 200<<10)+`"`); res.status != 202 {
		t.Errorf("a source's own limit: %d %s", res.status, res.body)
	}
	rig.handler.Stop()
	if res := rig.send(t, "/hooks/hook", "{}"); res.status != 503 || res.header.Get("Retry-After") == "" {
		t.Errorf("stopping: %d %s", res.status, res.body)
	}
}

func TestSetSourcesReplacesAll(t *testing.T) {
	t.Parallel()
	rig := hookRig(t, rules.Translation{Type: `"before"`})
	if res := rig.send(t, "/hooks/hook", "{}"); res.status != 202 {
		t.Fatal(res.body)
	}
	hook := newHook(t, rules.Translation{Type: `"after"`})
	hook.Name = "other"
	rig.handler.SetSources(ingest.Sources{Events: ingest.Events{Auth: ingest.Bearer(authKey, false)}, Hooks: []ingest.Hook{hook}})
	if res := rig.send(t, "/hooks/hook", "{}"); res.status != 404 {
		t.Errorf("removed: %d", res.status)
	}
	if res := rig.send(t, "/events", authEvent, asEvent); res.status != 401 {
		t.Errorf("POST /events: %d", res.status)
	}
	if res := rig.send(t, "/hooks/other", "{}"); res.status != 202 {
		t.Errorf("added: %d", res.status)
	}
	if evs := rig.events(); len(evs) != 2 || evs[1].Type() != "after" {
		t.Errorf("%d events", len(evs))
	}
}

func TestHookNotDurable(t *testing.T) {
	t.Parallel()
	rig := hookRig(t, rules.Translation{Type: `"t"`})
	down := ingest.New(ingest.Config{Accept: func(_ context.Context, _ router.Origin, _ []*rules.Event) ([]router.Result, error) {
		return nil, errors.Join(router.ErrUnavailable)
	}})
	down.SetSources(ingest.Sources{Hooks: []ingest.Hook{newHook(t, rules.Translation{Type: `"t"`})}})
	rig.Config.Handler = down
	if res := rig.send(t, "/hooks/hook", "{}"); res.status != 503 || res.code != "unavailable" || res.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", res.status, res.body)
	}
}
