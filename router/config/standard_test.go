package config_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// standardSecret is the one of the specification's example.
const standardSecret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func loadWith(t *testing.T, text, secret string) (*config.Config, error) {
	t.Helper()
	opt := options()
	opt.Env = func(string) (string, bool) { return secret, true }
	return config.Load(write(t, text), opt)
}

func TestStandardWebhooksSource(t *testing.T) {
	t.Parallel()
	c, err := loadWith(t, `
sources:
  - name: billing
    type: standard-webhooks
    auth: {hmac: {secret: "${env:S}"}}
`, "whsec_"+standardSecret)
	if err != nil {
		t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(standardSecret)
	if err != nil {
		t.Fatal(err)
	}
	s := c.Sources[0]
	want := config.Auth{Kind: config.AuthStandardWebhooks, Secrets: []config.Secret{config.NewSecret(string(key))}}
	if diff := cmp.Diff(want, s.Auth, reveal); diff != "" {
		t.Error(diff)
	}
	if !s.Hook() || s.Dedup != 24*time.Hour || s.Auth.Kind.String() != "standard-webhooks" {
		t.Errorf("%+v", s)
	}
}

func TestStandardWebhooksKeys(t *testing.T) {
	t.Parallel()
	decoded, _ := base64.StdEncoding.DecodeString(standardSecret)
	for secret, want := range map[string][]string{
		"whsec_" + standardSecret: {string(decoded)},
		standardSecret:            {string(decoded), standardSecret},
		"not base64, 16 bytes":    {"not base64, 16 bytes"},
		"16bytesof+base64":        {"16bytesof+base64"}, // what it decodes to is too short
	} {
		c, err := loadWith(t, "sources: [{name: a, type: standard-webhooks, auth: {hmac: {secrets: [\"${env:S}\"]}}}]\n", secret)
		if err != nil {
			t.Errorf("%s: %v", secret, err)
			continue
		}
		var got []string
		for _, s := range c.Sources[0].Auth.Secrets {
			got = append(got, s.Reveal())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", secret, diff)
		}
	}
}

func TestStandardWebhooksProblems(t *testing.T) {
	t.Parallel()
	const hmac = "auth: {hmac: {secret: \"${env:S}\"}}"
	source := func(keys string) string { return "sources: [{name: a, type: standard-webhooks, " + keys + "}]\n" }
	for name, tc := range map[string]struct{ in, secret, want string }{
		"B13 empty secret":  {source(hmac), "", `1:68: the secret is empty`},
		"B13 empty literal": {source("auth: {hmac: {secret: \"\"}}"), "", `1:68: the secret is empty`},
		"short":             {source(hmac), "canary-15-bytes", `1:68: the secret has 15 bytes, at least 16 are needed (openssl rand -hex 32 makes a good one)`},
		"short key":         {source(hmac), "whsec_Y2FuYXJ5LTE1LWJ5dGVz", `1:68: the key that follows whsec_ is too short (16 bytes or more are needed)`},
		"not base64":        {source(hmac), "whsec_canary!!!!!!!!!!!!", `1:68: what follows whsec_ is not base64`},
		"no auth":           {source("dedup: 1d"), "", `1:11: "auth" is missing`},
		"none":              {source("auth: none"), "", `1:52: type standard-webhooks is signed (write {hmac: {secret: ...}}, or type: webhook)`},
		"bearer": {source("auth: {bearer: canary-token-of-someone}"), "", `
1:52: "hmac" is missing
1:53: unknown key "bearer" (known: hmac)`},
		"text":       {source("auth: {hmac: canary-token-of-someone}"), "", `1:59: want a mapping, got text (its keys: secret, secrets)`},
		"no secret":  {source("auth: {hmac: {}}"), "", `1:59: want either secret or secrets`},
		"no secrets": {source("auth: {hmac: {secrets: []}}"), "", `1:69: want at least one secret`},
		"header":     {source("auth: {hmac: {secret: \"${env:S}\", header: X-Sig}}"), longSecret, `1:80: unknown key "header" (known: secret, secrets)`},
		"misspelled": {source("auth: {hmac: {secrt: canary-literal-secret}}"), "", `
1:59: want either secret or secrets
1:60: unknown key "secrt" (did you mean "secret"?)`},
		"dedup":      {source(hmac + ", dedup: 5m"), longSecret, `1:89: 5m is out of range (15m to 366d)`},
		"each":       {source(hmac + ", each: body.list"), longSecret, `1:11: "event" is missing`},
		"each, keys": {source(hmac + ", each: body.list, event: {data: item}"), longSecret, "1:106: \"id\" is missing\n1:106: \"type\" is missing"},
		"expression": {source(hmac + ", event: {subject: boddy.x}"), longSecret, `1:99: unknown name "boddy" (known: body, headers, query; text is written in quotes)`},
	} {
		_, err := loadWith(t, tc.in, tc.secret)
		var list strictyaml.Errors
		if !errors.As(err, &list) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: a secret is shown: %v", name, err)
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
}

// What becomes of a request when the source says nothing of events.
func TestStandardWebhooksTranslation(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct{ keys, body, want string }{
		"the usual shape": {
			"", `{"type": "invoice.paid", "timestamp": "2026-11-23T11:00:00Z", "data": {"n": 1}}`,
			`"type":"invoice.paid","datacontenttype":"application/json","time":"2026-11-23T12:00:00Z","data":{"n":1}}`,
		},
		"data is null":     {"", `{"type": "a", "data": null}`, `"type":"a","datacontenttype":"application/json","time":"2026-11-23T12:00:00Z","data":null}`},
		"no data":          {"", `{"type": "a", "n": 1}`, `"type":"a","datacontenttype":"application/json","time":"2026-11-23T12:00:00Z","data":{"n":1,"type":"a"}}`},
		"no type":          {"", `{"data": 1}`, `"type":"standard-webhooks","datacontenttype":"application/json","time":"2026-11-23T12:00:00Z","data":{"data":1}}`},
		"type is a number": {"", `{"type": 1, "data": 2}`, `"type":"standard-webhooks","datacontenttype":"application/json","time":"2026-11-23T12:00:00Z","data":2}`},
		"type is empty":    {"", `{"type": "", "data": 2}`, `"type":"standard-webhooks","datacontenttype":"application/json","time":"2026-11-23T12:00:00Z","data":2}`},
		"a list":           {"", `["type", "data"]`, `"type":"standard-webhooks","datacontenttype":"application/json","time":"2026-11-23T12:00:00Z","data":["type","data"]}`},
		"a text":           {"", `"type"`, `"type":"standard-webhooks","datacontenttype":"application/json","time":"2026-11-23T12:00:00Z","data":"type"}`},
		"null":             {"", `null`, `"type":"standard-webhooks","datacontenttype":"application/json","time":"2026-11-23T12:00:00Z","data":null}`},
		"some expressions": {
			", event: {subject: body.data.s, time: body.timestamp}", `{"type": "a", "timestamp": "2026-11-23T11:00:00Z", "data": {"s": "x"}}`,
			`"type":"a","datacontenttype":"application/json","subject":"x","time":"2026-11-23T11:00:00Z","data":{"s":"x"}}`,
		},
		"each": {
			`, each: body, event: {type: '"a"', id: item.id}`, `[{"id": "msg_1", "data": 1}]`,
			`"type":"a","datacontenttype":"application/json","time":"2026-11-23T12:00:00Z","data":{"data":1,"id":"msg_1"}}`,
		},
	} {
		c := load(t, "sources: [{name: a, type: standard-webhooks, auth: {hmac: {secret: \"${env:TOKEN}\"}}"+tc.keys+"}]\n")
		tr, err := rules.NewTranslator(c.Sources[0].Translation)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		evs, err := tr.Events(rules.Request{Body: []byte(tc.body), Headers: map[string]string{"webhook-id": "msg_1"}, Time: at}, rules.Limits{}, 10)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := `{"specversion":"1.0","id":"msg_1","source":"pointsman:/hooks/a",` + tc.want
		if diff := cmp.Diff(want, string(evs[0].JSON())); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
