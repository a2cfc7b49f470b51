package config_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config"
)

// TestDocs loads every YAML block of the pages on the configuration.
func TestDocs(t *testing.T) {
	t.Parallel()
	for name, least := range map[string]int{"configuration.md": 5, "webhooks.md": 2, "sources/schedule.md": 1} {
		testDoc(t, filepath.Join("../../docs", name), least)
	}
}

// TestWarningsOfDocs: each row of the table of warnings gives the one of its
// code, and the table has every code.
func TestWarningsOfDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n## Warnings\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| `(.+?)` \\|").FindAllStringSubmatch(table, -1) {
		documented = append(documented, row[1])
		opt := options()
		opt.Env = func(string) (string, bool) { return longSecret, true }
		c, err := config.Load(write(t, row[2]+"\n"), opt)
		if err != nil {
			t.Errorf("%s: %s", row[1], err)
			continue
		}
		if len(c.Warnings) != 1 || c.Warnings[0].Code != row[1] {
			t.Errorf("%s: %s gives %v", row[1], row[2], c.Warnings)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range regexp.MustCompile(`\.Warn\("?([^,"]*)`).FindAllStringSubmatch(string(text), -1) {
			used[call[1]] = true
		}
	}
	slices.Sort(documented)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(used)), documented); diff != "" {
		t.Errorf("-code +docs/configuration.md\n%s", diff)
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
