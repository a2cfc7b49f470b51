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
		"size":        {"sources: [{name: a, type: webhook, body: 1GiB, event: {type: body.t}}]\n", `1:42: 1GiB is out of range (1KiB to 64MiB)`},
		"reserved":    {"sources: [{name: events, type: webhook, event: {type: body.t}}]\n", `1:18: the name "events" is reserved`},
		"bad strip":   {"sources: [{name: a, type: webhook, strip: [secret], event: {type: body.t}}]\n", `1:44: this is not a path (write it like body.a.b, headers.x-name or query.name)`},
		"extension":   {"sources: [{name: a, type: webhook, event: {type: body.t, extensions: {Site: body.s}}}]\n", `1:77: attribute Site has a name with other characters than a-z and 0-9`},
		"tolerance":   {"sources: [{name: a, type: webhook, auth: {hmac: {secret: \"${env:TOKEN}\", header: X, tolerance: 1m}}, event: {type: body.t}}]\n", `1:85: tolerance belongs to timestamp (the header with the time of sending)`},
		"header":      {"sources: [{name: a, type: webhook, auth: {bearer: \"${env:TOKEN}\", header: X}, event: {type: body.t}}]\n", `1:67: header belongs to token (or write it within hmac)`},
		"short dedup": {"sources: [{name: a, type: grafana, dedup: 5m, auth: {hmac: {secret: \"${env:TOKEN}\", timestamp: X}}}]\n", `1:43: 5m is out of range (15m to 366d)`},
		"gitlab":      {"sources: [{name: a, type: gitlab, dedup: 5m, auth: {hmac: {secret: \"${env:TOKEN}\"}}}]\n", `1:42: 5m is out of range (15m to 366d)`},
		"no topics":   {"sources: [{name: a, type: sns, auth: {sns: {topics: []}}}]\n", `1:44: want at least one topic`},
		"bad topic":   {"sources: [{name: a, type: sns, auth: {sns: {topics: [arn:aws:sns:x]}}}]\n", `1:54: want the ARN of a topic (arn:aws:sns:REGION:ACCOUNT:NAME)`},
		"sns": {"sources: [{name: a, type: github, auth: {sns: {topics: [x]}}}]\n", `
1:41: want exactly one of hmac, bearer, basic, token, certificate
1:42: unknown key "sns" (known: hmac, bearer, basic, token, certificate, query, header)`},
		"no tokens": {"sources: [{name: a, type: webhook, auth: {bearer: []}, event: {type: body.t}}]\n", `1:51: want at least one token`},
		"an adapter": {"sources: [{name: a, type: netbox, auth: {token: \"${env:TOKEN}\"}, event: {subject: item.x, tpye: x}}]\n", `1:42: token is for senders with a header of their own (use hmac)
1:83: unknown name "item" (known: body, headers, query; text is written in quotes)
1:91: unknown key "tpye" (did you mean "type"?)`},
		"token": {"sources: [{name: a, type: webhook, auth: {token: \"${env:TOKEN}\"}, event: {type: body.t}}]\n", `1:43: "header" is missing (the header that carries the token)`},
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

func TestWebhookSourceWithEverything(t *testing.T) {
	t.Parallel()
	c := load(t, `
sources:
  - name: chat
    type: webhook
    auth: {hmac: {secret: "${env:TOKEN}", header: x-signature, timestamp: x-sent, separator: ":", tolerance: 1m}}
    text: true
    skip: body.kind == "ping"
    strip: [body.secret, headers.x-key]
    decode: [body.message]
    event:
      type: body.kind
      extensions: {severitytext: body.severity, severitynumber: "9"}
  - name: token
    type: webhook
    auth: {token: ["${env:TOKEN}", "${env:TOKEN}"], header: x-vendor-token}
    event: {type: body.kind}
`)
	secret := config.NewSecret(longSecret)
	want := []config.Source{
		{
			Name: "chat", Type: "webhook", Dedup: 24 * time.Hour, Pos: config.Pos{Line: 3, Col: 5}, Text: true,
			Auth: config.Auth{
				Kind: config.AuthHMAC, Header: "X-Signature", Algorithm: "sha256", Encoding: "hex", Secrets: []config.Secret{secret},
				Timestamp: "X-Sent", Separator: ":", Tolerance: time.Minute,
			},
			Translation: rules.Translation{
				Name: "chat", Skip: `body.kind == "ping"`, Type: "body.kind",
				Extensions: []rules.Extension{{Name: "severitytext", Text: "body.severity"}, {Name: "severitynumber", Text: "9"}},
				Strip:      []string{"body.secret", "headers.x-key"}, Decode: []string{"body.message"},
			},
		},
		{
			Name: "token", Type: "webhook", Dedup: 24 * time.Hour, Pos: config.Pos{Line: 13, Col: 5},
			Auth:        config.Auth{Kind: config.AuthToken, Header: "X-Vendor-Token", Token: secret, Secrets: []config.Secret{secret}},
			Translation: rules.Translation{Name: "token", Type: "body.kind"},
		},
	}
	if diff := cmp.Diff(want, c.Sources, reveal); diff != "" {
		t.Error(diff)
	}
}

// An adapter is told by name, type and auth; what else is said is changed.
func TestAdapterSource(t *testing.T) {
	t.Parallel()
	const auth = `auth: {hmac: {secrets: ["${env:TOKEN}", "${env:TOKEN}"]}}`
	plain := adapterSource(t, "name: dc, type: netbox, "+auth)
	secret := config.NewSecret(longSecret)
	want := config.Auth{Kind: config.AuthHMAC, Header: "X-Hook-Signature", Algorithm: "sha512", Encoding: "hex", Secrets: []config.Secret{secret, secret}}
	if diff := cmp.Diff(want, plain.Auth, reveal); diff != "" || !plain.Hook() || plain.Dedup != 24*time.Hour || plain.Translation.Name != "dc" {
		t.Errorf("%s %+v", diff, plain)
	}
	changed := adapterSource(t, `name: dc, type: netbox, `+auth+`, dedup: 1h, strip: [body.data.comments], event: {subject: body.data.name, extensions: {authid: '"x"', site: body.data.site.slug}}`)
	tr := plain.Translation
	tr.Subject = "body.data.name"
	tr.Strip = append(tr.Strip[:len(tr.Strip):len(tr.Strip)], "body.data.comments")
	tr.Extensions = nil
	for _, x := range plain.Translation.Extensions {
		if x.Name == "authid" {
			x.Text = `"x"`
		}
		tr.Extensions = append(tr.Extensions, x)
	}
	tr.Extensions = append(tr.Extensions, rules.Extension{Name: "site", Text: "body.data.site.slug"})
	if diff := cmp.Diff(tr, changed.Translation); diff != "" || changed.Dedup != time.Hour {
		t.Error(diff)
	}
}
