package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestEmits: which actions send events to the router itself, and of which type.
func TestEmits(t *testing.T) {
	t.Parallel()
	body := func(v any) any { return map[string]any{"body": v} }
	args := func(v ...any) any { return map[string]any{"args": v} }
	const post = `plugin: http, settings: {url: `
	tests := []struct {
		name, listen, action string
		with                 any
		want                 string // "-": none
	}{
		{"another host", "127.0.0.1:8080", post + `"http://example.net:8080/events"}`, body(map[string]any{"type": "a"}), "-"},
		{"another port", "127.0.0.1:8080", post + `"http://127.0.0.1:8081/events"}`, body(map[string]any{"type": "a"}), "-"},
		{"another path", "127.0.0.1:8080", post + `"http://127.0.0.1:8080/other"}`, body(map[string]any{"type": "a"}), "-"},
		{"another method", "127.0.0.1:8080", post + `"http://127.0.0.1:8080/events", method: PUT}`, body(map[string]any{"type": "a"}), "-"},
		{"loopback, not listened on", "10.1.2.3:8080", post + `"http://127.0.0.1:8080/events"}`, body(map[string]any{"type": "a"}), "-"},
		{"itself", "127.0.0.1:8080", post + `"http://127.0.0.1:8080/events"}`, body(map[string]any{"type": "a"}), "a"},
		{"localhost", "127.0.0.1:8080", post + `"http://LOCALHOST:8080/events/"}`, body(map[string]any{"type": "a"}), "a"},
		{"IPv6", "[::1]:8080", post + `"http://[::1]:8080/events"}`, body(map[string]any{"type": "a"}), "a"},
		{"every address", "0.0.0.0:80", post + `"http://127.0.0.1/events"}`, body(map[string]any{"type": "a"}), "a"},
		{"its name", "router.example.net:8080", post + `"http://router.example.net:8080/events"}`, body(map[string]any{"type": "a"}), "a"},
		{"a computed type", "127.0.0.1:8080", post + `"http://127.0.0.1:8080/events"}`, body(map[string]any{"type": "a.${{ event.type }}"}), ""},
		{"a computed body", "127.0.0.1:8080", post + `"http://127.0.0.1:8080/events"}`, body("${{ event.data }}"), ""},
		{"the event again", "127.0.0.1:8080", post + `"http://127.0.0.1:8080/events"}`, nil, "-"},
		{"a header", "127.0.0.1:8080", post + `"http://127.0.0.1:8080/events", headers: {Ce-Type: b}}`, body("x"), "b"},
		{
			"a header of the step", "127.0.0.1:8080", post + `"http://127.0.0.1:8080/events"}`,
			map[string]any{"body": "x", "headers": map[string]any{"ce-type": "c"}},
			"c",
		},
		{"a webhook", "127.0.0.1:8080", post + `"http://127.0.0.1:8080/hooks/x"}`, nil, ""},
		{"dry run", "127.0.0.1:8080", post + `"http://127.0.0.1:8080/events"}, dry_run: true`, body(map[string]any{"type": "a"}), "-"},
		{"send", "127.0.0.1:8080", `plugin: exec, settings: {command: [/usr/bin/pointsman, send, --type, a]}`, nil, "a"},
		{"send by arguments", "127.0.0.1:8080", `plugin: exec, settings: {command: [pointsman, send]}`, args("--source", "x", "--type=b"), "b"},
		{"send what is computed", "127.0.0.1:8080", `plugin: exec, settings: {command: [pointsman, send]}`, args("--type", "${{ event.type }}"), ""},
		{"send a file", "127.0.0.1:8080", `plugin: exec, settings: {command: [pointsman, send, "-"]}`, nil, ""},
		{"send elsewhere", "127.0.0.1:8080", `plugin: exec, settings: {command: [pointsman, send, --url, "http://example.net:8080", --type, a]}`, nil, "-"},
		{"another command", "127.0.0.1:8080", `plugin: exec, settings: {command: [pointsman, check]}`, nil, "-"},
		{"another plugin", "127.0.0.1:8080", `plugin: log`, nil, "-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "pointsman.yaml")
			text := fmt.Sprintf("listen: %q\ninsecure: true\nrules: []\nactions: [{name: a, %s}]\n", tt.listen, tt.action)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := loadConfig(path)
			if err != nil {
				t.Fatal(err)
			}
			got := "-"
			if f := emits(cfg, cfg.Actions[0]); f != nil {
				if eventType, sends := f(tt.with); sends {
					got = eventType
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
