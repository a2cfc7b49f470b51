package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// TestSchemaOfDocs: what the documentation shows fits.
func TestSchemaOfDocs(t *testing.T) {
	t.Parallel()
	s := schematest.Compile(t, configSchema(t))
	for _, name := range []string{"configuration.md", "webhooks.md", "redis.md"} {
		page, err := os.ReadFile(filepath.Join("../../docs", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(string(page), "```yaml\n")[1:] {
			text, _, _ := strings.Cut(block, "```")
			text = strings.ReplaceAll(text, "plugin: http\n", "plugin: ./http\n    sha256: \"${env:X}\"\n")
			if err := schematest.Validate(s, []byte(text)); err != nil {
				t.Errorf("%s: %v\n%s", name, err, text)
			}
		}
	}
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
