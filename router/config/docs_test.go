package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/router/config"
)

// TestDocs loads every YAML block of the pages on the configuration.
func TestDocs(t *testing.T) {
	t.Parallel()
	for name, least := range map[string]int{"configuration.md": 5, "webhooks.md": 2, "sources/schedule.md": 1} {
		testDoc(t, filepath.Join("../../docs", name), least)
	}
}

func testDoc(t *testing.T, file string, least int) {
	t.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opt := options()
	opt.Env = func(string) (string, bool) { return longSecret, true }
	blocks := strings.Split(string(page), "```yaml\n")[1:]
	if len(blocks) < least {
		t.Fatalf("%s: %d blocks", file, len(blocks))
	}
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		if strings.HasPrefix(text, "# rules/") {
			continue
		}
		path := write(t, text)
		dir := filepath.Join(filepath.Dir(path), "secrets")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "admin"), []byte(longSecret), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, opt)
		if err != nil {
			t.Errorf("%s: %s\n%s", file, err, text)
			continue
		}
		for _, w := range c.Warnings {
			t.Errorf("%s: %s\n%s", file, w, text)
		}
	}
}
