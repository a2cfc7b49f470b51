package probe_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/monitor/memory/memorytest"
	"github.com/pointsman/pointsman/router/monitor/probe"
)

// What the file says of many targets is what each check does.
func TestConfigured(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.Host, r.URL.Path)
	}))
	t.Cleanup(srv.Close)
	for name, keys := range map[string]string{
		"http":    "http: {url: '" + srv.URL + "/{target}', headers: {Host: '{target}.example.net'}, body: '{target}.example.net /a'}",
		"tcp":     "tcp: {address: '" + srv.Listener.Addr().String() + "', send: \"GET /{target} HTTP/1.0\\r\\n\\r\\n\", expect: ' /a$'}",
		"command": "command: {argv: [echo, '{target}'], output: '^a'}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "pointsman.yaml")
			text := "sources:\n  - {name: p, type: probe, " + keys + ", targets: [a, b], interval: 1s, down_after: 1, up_after: 1}\n"
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := config.Load(path, config.Options{})
			if err != nil {
				t.Fatal(err)
			}
			src, err := probe.Configured("p", cfg.Sources[0].Probe, nil)
			if err != nil {
				t.Fatal(err)
			}
			s := &memorytest.Store{}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- src.Run(ctx, s.Accept, s) }()
			if err := s.Until(ctx, func() bool { return s.Writes() == 2 }); err != nil {
				t.Fatal("no baseline of two targets")
			}
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			var up []string
			for key, data := range s.States() {
				if strings.Contains(string(data), `"state":"up"`) {
					up = append(up, key)
				}
			}
			if len(up) != 1 {
				t.Fatalf("%q are up", up)
			}
		})
	}
}
