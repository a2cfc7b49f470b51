package config_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

func TestWebhookSource(t *testing.T) {
	t.Parallel()
	c := load(t, `
sources:
  - name: monitor
    type: webhook
    auth: {hmac: {secret: "${env:TOKEN}", header: x-signature, prefix: "sha256="}}
    dedup: 72h
    body: 256KiB
    each: body.alerts
    event:
      type: '"monitor." + item.status'
      id: item.id
  - {name: plain, type: webhook, event: {type: body.type}}
`)
	want := []config.Source{
		{
			Name: "monitor", Type: "webhook", Dedup: 72 * time.Hour, Body: 256 << 10, Pos: config.Pos{Line: 3, Col: 5},
			Auth: config.Auth{
				Kind: config.AuthHMAC, Header: "X-Signature", Algorithm: "sha256", Encoding: "hex", Prefix: "sha256=",
				Secrets: []config.Secret{config.NewSecret(longSecret)},
			},
			Translation: rules.Translation{Name: "monitor", Each: "body.alerts", Type: `"monitor." + item.status`, ID: "item.id"},
		},
		{
			Name: "plain", Type: "webhook", Dedup: 24 * time.Hour, Pos: config.Pos{Line: 12, Col: 5},
			Translation: rules.Translation{Name: "plain", Type: "body.type"},
		},
	}
	if diff := cmp.Diff(want, c.Sources, reveal); diff != "" {
		t.Error(diff)
	}
}

func TestWebhookProblems(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"no event": {"sources: [{name: a, type: webhook}]\n", `1:11: "event" is missing`},
		"no type":  {"sources: [{name: a, type: webhook, event: {}}]\n", `1:43: "type" is missing`},
		"keys": {"sources: [{name: a, type: webhook, rte: 1, event: {type: '\"t\"', tpye: x}}]\n", `
1:36: unknown key "rte" (did you mean "rate"?)
1:65: unknown key "tpye" (did you mean "type"?)`},
		"expressions": {"sources:\n  - name: a\n    type: webhook\n    each: item\n    event:\n      type: event.type\n      id: |\n        item.id +\n          (1\n      subject: ${{ body.s }}\n      source: '${env:TOKEN}'\n      data: ''\n", `
4:11: unknown name "item" (known: body, headers, query; text is written in quotes)
6:13: unknown name "event" (known: body, headers, query, item; text is written in quotes)
9:12: the expression ends too early
10:16: this is an expression already (write it without ${{ and }})
11:16: a reference is not possible in an expression: what it yields is stored with the event
12:13: the expression is empty (remove the key, or write one)`},
		"size":     {"sources: [{name: a, type: webhook, body: 1GiB, event: {type: body.t}}]\n", `1:42: 1073741824 bytes are out of range (1024 to 67108864)`},
		"reserved": {"sources: [{name: events, type: webhook, event: {type: body.t}}]\n", `1:18: the name "events" is reserved`},
		"token":    {"sources: [{name: a, type: webhook, auth: {token: \"${env:TOKEN}\"}, event: {type: body.t}}]\n", `1:43: token is for senders with a header of their own (use bearer)`},
		"open to other hosts": {"listen: :80\nevents: {auth: {bearer: \"${env:TOKEN}\"}}\nsources:\n  - {name: a, type: webhook, event: {type: body.t}}\n  - {name: b, type: webhook, auth: none, event: {type: body.t}}\n", `
4:5: source "a" is open to other hosts and asks for no authentication (set auth, listen on 127.0.0.1, or say insecure: true at the top level)
5:36: source "b" is open to other hosts and asks for no authentication (set auth, listen on 127.0.0.1, or say insecure: true at the top level)`},
	} {
		_, err := config.Load(write(t, tc.in), options())
		var list strictyaml.Errors
		if !errors.As(err, &list) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var lines []string
		for _, e := range list {
			head, _, _ := strings.Cut(strings.TrimPrefix(e.Error(), e.File+":"), "\n")
			lines = append(lines, head)
		}
		if diff := cmp.Diff(strings.TrimPrefix(tc.want, "\n"), strings.Join(lines, "\n")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if c := load(t, "listen: :80\ninsecure: true\nsources: [{name: a, type: webhook, event: {type: body.t}}]\n"); len(c.Sources) != 1 {
		t.Error("insecure")
	}
}
