package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/rules/schema/schematest"
)

func configSchema(t *testing.T) []byte {
	t.Helper()
	text, err := config.Schema(map[string]json.RawMessage{
		"exec": json.RawMessage(`{"type": "object", "additionalProperties": false, "required": ["command"],
			"properties": {"command": {"type": "array", "items": {"type": "string", "minLength": 1}}}}`),
		"log": nil,
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func readConfig(t *testing.T) func([]byte) error {
	path := filepath.Join(t.TempDir(), "pointsman.yaml")
	opt := options()
	opt.Bundled = []string{"exec", "http", "log"}
	opt.Env = func(string) (string, bool) { return longSecret, true }
	return func(file []byte) error {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(path, opt)
		return err
	}
}

// TestSchemaIsThatOfTheReader: every key that the reader knows is described, and
// no other; every new type of source is found here by itself.
func TestSchemaIsThatOfTheReader(t *testing.T) {
	t.Parallel()
	schematest.Compare(t, schematest.Config{
		Where:  "router/config/schema.go, a key of a source in sourceFields or everySource of router/config/schema_sources.go",
		Schema: configSchema(t), Read: readConfig(t), Open: []string{"actions[].settings"},
		// For senders without a header of their own.
		Refused: []string{"auth.token", "auth.header"},
	})
}

// TestSchemaAndReaderRefuse: both refuse what is wrong.
func TestSchemaAndReaderRefuse(t *testing.T) {
	t.Parallel()
	s := schematest.Compile(t, configSchema(t))
	read := readConfig(t)
	for _, text := range []string{
		"nmae: x", "name: 5", "name: -x", "listen: x", "listen: 8080", "insecure: yes", "admin: {token: short}",
		"store: mysql", "durability: sometimes", "rules: rules.yaml", "rules: [/etc/x.yaml]", "rules: [5]",
		"shutdown_grace: 10", "shutdown_grace: soon", "tls: {cert: x}", "[]", "x",
		"events: {auth: some}", "events: {auth: {bearer: x}}", "events: {auth: {}}", "events: {auth: {query: true}}",
		"events: {auth: {basic: {user: x}}}", "events: {auth: {hmac: {secret: 0123456789abcdef0}}}",
		"events: {auth: {hmac: {header: X, secret: 0123456789abcdef0, secrets: [0123456789abcdef0]}}}",
		"events: {auth: {hmac: {header: X, secret: 0123456789abcdef0, algorithm: md5}}}",
		"events: {auth: {token: 0123456789abcdef0}}", "events: {dedup: 1 day}", "events: {origins: [\"a/b\"]}",
		"retention: {size: 5}", "limits: {batch: 0}", "limits: {batch: 1.5}", "limits: {body: big}", "limits: {depth: \"5\"}",
		"sources: [{name: a}]", "sources: [{type: webhook}]", "sources: [{name: a, type: carrier-pigeon}]",
		"sources: [{name: a, type: webhook}]", "sources: [{name: a, type: webhook, event: {id: body.x}}]",
		"sources: [{name: a, type: webhook, evnt: {}, event: {type: body.x}}]",
		"sources: [{name: a, type: standard-webhooks}]", "sources: [{name: a, type: standard-webhooks, auth: none}]",
		"sources: [{name: a, type: standard-webhooks, auth: {bearer: 0123456789abcdef0}}]",
		"sources: [{name: a, type: standard-webhooks, auth: {hmac: {secret: 0123456789abcdef0}}, each: body}]",
		"actions: [{name: a}]", "actions: [{plugin: log}]", "actions: [{name: a, plugin: nothing}]",
		"actions: [{name: a, plugin: ./x}]", "actions: [{name: a, plugin: ./x, sha256: abc}]",
		"actions: [{name: a, plugin: log, sha256: \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"}]",
		"actions: [{name: a, plugin: log, mtls: true}]", "actions: [{name: a, plugin: log, concurrency: 0}]",
		"actions: [{name: a, plugin: log, on_uncertain: panic}]", "actions: [{name: a, plugin: log, retry: {attempts: 0}}]",
		"actions: [{name: a, plugin: log, settings: []}]",
	} {
		if read([]byte(text)) == nil {
			t.Errorf("the reader takes %s", text)
		}
		if schematest.Validate(s, []byte(text)) == nil {
			t.Errorf("the schema takes %s", text)
		}
	}
	for _, source := range refusedSources() {
		text := "sources: [{name: a, " + source + "}]"
		if read([]byte(text)) == nil {
			t.Errorf("the reader takes %s", text)
		}
		if schematest.Validate(s, []byte(text)) == nil {
			t.Errorf("the schema takes %s", text)
		}
	}
	// The settings of a bundled plugin are those it says.
	for text, fits := range map[string]bool{
		"actions: [{name: a, plugin: exec, settings: {command: [x]}}]":                    true,
		"actions: [{name: a, plugin: exec, settings: {command: [\"${env:X}\"]}}]":         true,
		"actions: [{name: a, plugin: exec, settings: {comand: [x]}}]":                     false,
		"actions: [{name: a, plugin: exec}]":                                              false,
		"actions: [{name: a, plugin: log, settings: {x: 1}}]":                             false,
		"actions: [{name: a, plugin: log, settings: {}}]":                                 true,
		"actions: [{name: a, plugin: ./x, sha256: \"${file:x}\", settings: {comand: 1}}]": true,
	} {
		if err := schematest.Validate(s, []byte(text)); (err == nil) != fits {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestDefaultsOfSchema: what the schema calls a default changes nothing when it
// is written.
func TestDefaultsOfSchema(t *testing.T) {
	t.Parallel()
	var root struct {
		Properties map[string]struct{ Default any }
	}
	text := configSchema(t)
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	tried := 0
	same := func(without, with string) {
		t.Helper()
		tried++
		if diff := cmp.Diff(loadedAs(t, without), loadedAs(t, with)); diff != "" {
			t.Errorf("-without +with\n%s: %s", with, diff)
		}
	}
	for key, p := range root.Properties {
		if p.Default != nil {
			same("{}", key+": "+asYAML(t, p.Default))
		}
	}
	minimal := map[string]string{
		"webhook": "event: {type: body.t}", "standard-webhooks": "auth: {hmac: {secret: " + longSecret + "}}", "schedule": "every: 5m",
		"snmptrap": "listen: \"127.0.0.1:9162\", community: c", "syslog": "listen: \"tcp://127.0.0.1:5514\"", "probe": "icmp: a",
		"netlink": "watch: [link]", "file": "path: a",
	}
	for _, name := range config.Adapters() {
		minimal[name] = "dedup: " + map[bool]string{true: "72h", false: "24h"}[name == "github"]
	}
	for kind, fields := range typesOfSchema(t, text) {
		without := "type: " + kind + ", " + minimal[kind]
		for key, value := range fields {
			if !strings.Contains(minimal[kind], key+":") {
				same("sources: [{name: a, "+without+"}]", "sources: [{name: a, "+without+", "+key+": "+asYAML(t, value)+"}]")
			}
		}
	}
	if tried < 50 {
		t.Errorf("only %d defaults", tried)
	}
}

// typesOfSchema are the defaults of the keys of each type of source.
func typesOfSchema(t *testing.T, text []byte) map[string]map[string]any {
	t.Helper()
	type field struct {
		Default any
		Const   string
	}
	var root struct {
		Properties struct {
			Sources struct {
				Items struct {
					AllOf []struct {
						Then struct{ Properties map[string]field }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]map[string]any)
	for _, form := range root.Properties.Sources.Items.AllOf {
		p := form.Then.Properties
		kind := p["type"].Const
		out[kind] = make(map[string]any)
		for key, f := range p {
			if f.Default != nil {
				out[kind][key] = f.Default
			}
		}
	}
	return out
}

func asYAML(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// loadedAs is a configuration as JSON, but for where it was.
func loadedAs(t *testing.T, text string) string {
	t.Helper()
	path := write(t, text+"\n")
	opt := options()
	opt.Bundled = []string{"exec", "http", "log"}
	c, err := config.Load(path, opt)
	if err != nil {
		t.Fatalf("%s: %s", text, err)
	}
	c.File, c.Warnings = "", nil
	out, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(out), filepath.Dir(path), "DIR")
}

// refusedSources are mistakes that are easily made, without name.
func refusedSources() []string {
	secret := longSecret
	return []string{
		"type: webhook, event: {type: body.t}, auth: {hmac: {secret: " + secret + "}}",
		"type: webhook, event: {type: body.t}, auth: {hmac: {secret: " + secret + ", header: X, tolerance: 1m}}",
		"type: webhook, event: {type: body.t}, auth: {token: " + secret + "}",
		"type: webhook, event: {type: body.t}, auth: {bearer: []}",
		"type: webhook, event: {type: body.t}, auth: {bearer: " + secret + ", header: X}",
		"type: webhook, event: {type: body.t, extensions: {Site: body.s}}",
		"type: webhook, event: {type: body.t}, strip: [secret]",
		"type: webhook, event: {type: body.t}, decode: [headers.x]",
		"type: webhook, event: {type: body.t}, text: maybe",
		"type: webhook, event: {type: body.t}, rate: 100",
		"type: netbox, auth: {token: " + secret + "}", "type: netbox, auth: {hmac: {}}", "type: netbox, evnt: {}",
		"type: gitlab, auth: {hmac: {secret: " + secret + ", header: X}}",
		"type: sns, auth: {sns: {}}", "type: sns, auth: {sns: {topics: [orders]}}",
		"type: github, auth: {sns: {topics: [\"arn:aws:sns:eu-central-1:123456789012:a\"]}}",

		"type: schedule", "type: schedule, cron: \"0 * * * *\", every: 5m", "type: schedule, cron: \"0 0 * * * *\"",
		"type: schedule, cron: hourly", "type: schedule, every: 5", "type: schedule, at: tomorrow", "type: schedule, at: []",
		"type: schedule, at: 2026-12-24", "type: schedule, every: 5m, catch_up: yes", "type: schedule, every: 5m, except: [christmas]",
		"type: schedule, every: 5m, timezone: UTC+1!", "type: schedule, every: 5m, auth: none", "type: schedule, every: 5m, dedup: 1h",

		"type: snmptrap, community: c", "type: snmptrap, listen: \":9162\"", "type: snmptrap, listen: \":9162\", users: []",
		"type: snmptrap, listen: 9162, community: c", "type: snmptrap, listen: \"udp://:9162\", community: c",
		"type: snmptrap, listen: \":9162\", users: [{name: ops}]",
		"type: snmptrap, listen: \":9162\", users: [{name: ops, auth: sha1, auth_passphrase: " + secret + "}]",
		"type: snmptrap, listen: \":9162\", users: [{name: ops, auth: sha256, auth_passphrase: short}]",
		"type: snmptrap, listen: \":9162\", users: [{name: ops, auth: sha256, auth_passphrase: " + secret + ", priv: aes}]",
		"type: snmptrap, listen: \":9162\", community: c, engine_id: router1",
		"type: snmptrap, listen: \":9162\", community: c, allow: [localhost]",
		"type: snmptrap, listen: \":9162\", community: c, names: {linkDown: 1.3.6.1}",

		"type: syslog", "type: syslog, listen: \"127.0.0.1:5514\"", "type: syslog, listen: \"http://127.0.0.1:5514\"",
		"type: syslog, listen: \"tls://127.0.0.1:5514\"", "type: syslog, listen: \"udp://127.0.0.1:5514\", idle: 1h",
		"type: syslog, listen: \"udp://127.0.0.1:5514\", allow: []", "type: syslog, listen: \"udp://127.0.0.1:5514\", allow: 192.0.2.7",
		"type: syslog, listen: \"tcp://127.0.0.1:5514\", max_line: 8192", "type: syslog, listen: \"tcp://127.0.0.1:5514\", connections: 0",
		"type: syslog, listen: \"tcp://127.0.0.1:5514\", tls: {cert: a, key: b}",

		"type: probe", "type: probe, icmp: 192.0.2.1, tcp: \"192.0.2.1:22\"", "type: probe, http: www.example.net",
		"type: probe, http: {method: GET}", "type: probe, http: {url: \"https://a.example.net/\", method: FETCH}",
		"type: probe, http: {url: \"https://a.example.net/\", status: ok}", "type: probe, http: {url: \"https://a.example.net/\", status: 2000}",
		"type: probe, http: {url: \"https://a.example.net/\", header: {}}", "type: probe, tcp: 192.0.2.1", "type: probe, tcp: {address: a}",
		"type: probe, tls: {address: \"a:443\", expires_within: 30d}", "type: probe, dns: {name: a.example.net, type: NS}",
		"type: probe, dns: {type: A}", "type: probe, icmp: \"https://a.example.net/\"", "type: probe, command: ./check.sh",
		"type: probe, command: []", "type: probe, command: {argv: [a], exit: 256}", "type: probe, icmp: 192.0.2.1, interval: 30",
		"type: probe, icmp: 192.0.2.1, down_after: 0", "type: probe, icmp: \"{target}\", targets: []",
		"type: probe, icmp: \"{target}\", targets: [a, a]", "type: probe, icmp: \"{target}\", targets: a",

		"type: netlink", "type: netlink, watch: []", "type: netlink, watch: link", "type: netlink, watch: [links]",
		"type: netlink, watch: [link, link]", "type: netlink, watch: [link], limit: 0", "type: netlink, watch: [link], buffer: 4096",
		"type: netlink, watch: [link], interfaces: [\"\"]", "type: netlink, watch: [link], interface: [eth0]",

		"type: file", "type: file, path: \"\"", "type: file, path: [a]", "type: file, path: a, match: \"*.conf\"",
		"type: file, path: a, settle: 100", "type: file, path: a, recursive: yes", "type: file, path: a, limit: 1000000",
	}
}
