package ingest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

func (rig *authRig) captures(t *testing.T) []router.Capture {
	t.Helper()
	list, ok := rig.handler.Captures("hook")
	if !ok {
		t.Fatal("no such source")
	}
	return list
}

// TestCaptures: what was sent and what became of it is shown, newest first and
// without secrets.
func TestCaptures(t *testing.T) {
	t.Parallel()
	hook := newHook(t, rules.Translation{Each: "body.list", Type: "item.type", ID: "item.id", Data: "nil", Strip: []string{"body.hidden", "headers.x-hidden", "query.hidden"}})
	hook.Auth = ingest.Token("X-Vendor-Token", authKey)
	rig := newAuthRig(t, ingest.Sources{Hooks: []ingest.Hook{hook}})
	proof := "X-Vendor-Token: " + authKey
	const good = `{"list": [{"type": "t", "id": "1", "api_key": "canary", "n": 123456789012345678901}], "hidden": "canary", "password": "canary", "token": null}`
	for i, send := range []struct {
		path, body string
		headers    []string
		status     int
	}{
		{"/hooks/hook?site=ams1&access_token=canary&hidden=canary&code=canary", good, []string{proof, "X-Hidden: canary", "X-Other-Secret: canary", "Cookie: canary", "X-Site: a"}, 202},
		{"/hooks/hook", `{"list": "canaries"}`, []string{proof}, 422},
		{"/hooks/hook", `password=canary {`, []string{proof}, 400},
		{"/hooks/hook", `{"list": ["canary of a stranger"]}`, []string{"X-Vendor-Token: canary"}, 401},
	} {
		if res := rig.send(t, send.path, send.body, send.headers...); res.status != send.status {
			t.Fatalf("%d: %d %s", i, res.status, res.body)
		}
	}
	list := rig.captures(t)
	if text := fmt.Sprint(list); strings.Contains(text, "canary") || strings.Contains(text, authKey) || len(list) != 4 {
		t.Fatalf("%d captures, or a secret: %s", len(list), text)
	}
	if c := list[0]; c.Status != 401 || c.Code != "unauthorized" || c.Body != "" || c.Headers["x-vendor-token"] != "***" || len(c.Events) != 0 {
		t.Errorf("a stranger: %+v", c)
	}
	if c := list[1]; c.Status != 400 || c.Code != "bad_json" || c.Body != "" || c.Size != 17 {
		t.Errorf("no JSON: %+v", c)
	}
	if c := list[2]; c.Status != 422 || c.Detail != "each: it yields string, not a list" || c.Body != `{"list":"canaries"}` {
		t.Errorf("not translated: %+v", c)
	}
	first := list[3]
	if first.Received.IsZero() || first.Size != len(good) || first.Status != 202 || first.Truncated {
		t.Errorf("%+v", first)
	}
	if diff := cmp.Diff(`{"list":[{"api_key":"***","id":"1","n":123456789012345678901,"type":"t"}],"password":"***","token":null}`, first.Body); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"site": "ams1", "access_token": "***", "hidden": "***", "code": "***"}, first.Query); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{"x-site": "a", "x-hidden": "***", "x-other-secret": "***", "cookie": "***", "x-vendor-token": "***"} {
		if first.Headers[name] != want {
			t.Errorf("%s: %q", name, first.Headers[name])
		}
	}
	want := `{"specversion":"1.0","id":"1","source":"pointsman:/hooks/hook","type":"t","datacontenttype":"application/json","data":null}`
	if len(first.Events) != 1 || string(first.Events[0]) != want {
		t.Errorf("%s", first.Events)
	}
	if _, ok := rig.handler.Captures("other"); ok {
		t.Error("a source that is none has captures")
	}
}

// TestCapturesAreBounded: neither many requests nor large ones nor strangers use
// up the memory or push out what counts.
func TestCapturesAreBounded(t *testing.T) {
	t.Parallel()
	hook := newHook(t, rules.Translation{Type: `"t"`, ID: "body.id"})
	hook.Auth, hook.Body = ingest.Bearer(authKey, false), 1<<20
	rig := newAuthRig(t, ingest.Sources{Hooks: []ingest.Hook{hook}})
	proof := "Authorization: Bearer " + authKey
	for i := range 12 {
		if res := rig.send(t, "/hooks/hook", fmt.Sprintf(`{"id": "e%d"}`, i), proof); res.status != 202 {
			t.Fatal(res.body)
		}
	}
	for range 20 {
		rig.send(t, "/hooks/hook", "{}")
	}
	list := rig.captures(t)
	if len(list) != 13 || list[0].Status != 401 || list[3].Body != `{"id":"e11"}` || list[12].Body != `{"id":"e2"}` {
		t.Errorf("%d captures: %+v", len(list), list)
	}
	large := `{"id": "large", "secret": "canary", "text": "` + strings.Repeat("é", 200<<10) + `"}`
	if res := rig.send(t, "/hooks/hook", large, proof); res.status != 202 {
		t.Fatal(res.body)
	}
	if res := rig.send(t, "/hooks/hook", `hello, my_token=canary; "password": "canary canary" end`, proof); res.status != 400 {
		t.Fatal(res.body)
	}
	if c := rig.captures(t)[0]; c.Body != `hello, my_token=***; "password": *** end` {
		t.Errorf("text: %s", c.Body)
	}
	c := rig.captures(t)[1]
	if !c.Truncated || len(c.Body) > 64<<10 || len(c.Body) < 60<<10 || c.Size != len(large) || strings.Contains(c.Body, "canary") ||
		c.EventsLeftOut != 1 || len(c.Events) != 0 {
		t.Errorf("size %d, body %d, %d events left out", c.Size, len(c.Body), c.EventsLeftOut)
	}
}

// TestCapturesOfManySources: all of them together are bounded, and those of a
// source that is removed go.
func TestCapturesOfManySources(t *testing.T) {
	t.Parallel()
	var hooks []ingest.Hook
	for i := range 30 {
		hook := newHook(t, rules.Translation{Type: `"t"`})
		hook.Name = fmt.Sprintf("hook%d", i)
		hooks = append(hooks, hook)
	}
	rig := newAuthRig(t, ingest.Sources{Hooks: hooks})
	body := `{"text": "` + strings.Repeat("x", 50<<10) + `"}`
	var sending sync.WaitGroup
	for _, hook := range hooks {
		sending.Go(func() {
			for range 10 {
				rig.send(t, "/hooks/"+hook.Name, body)
			}
		})
	}
	sending.Wait()
	size := 0
	for _, hook := range hooks {
		list, ok := rig.handler.Captures(hook.Name)
		if !ok {
			t.Fatalf("%s is gone", hook.Name)
		}
		for _, c := range list {
			size += len(c.Body) + len(c.Events[0])
		}
	}
	if size > 8<<20 || size < 7<<20 {
		t.Errorf("%d bytes are kept", size)
	}
	rig.handler.SetSources(ingest.Sources{Hooks: hooks[:1]})
	rig.handler.SetSources(ingest.Sources{Hooks: hooks})
	if list, _ := rig.handler.Captures("hook5"); len(list) != 0 {
		t.Errorf("%d captures of a source that was removed", len(list))
	}
}
