package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocs: every command in docs/reliability.md names tests and faults that
// exist, and every fault is there.
func TestDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	runs := regexp.MustCompile(`go test -run '?([^' ]+)'? (\./[a-z/-]+)`).FindAllStringSubmatch(string(page), -1)
	if len(runs) < 30 {
		t.Fatalf("%d commands found", len(runs))
	}
	for _, m := range runs {
		paths, err := filepath.Glob(filepath.Join("../..", m[2], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
		for name := range strings.SplitSeq(m[1], `\|`) {
			name, _, _ = strings.Cut(name, "/")
			if !strings.Contains(all.String(), "func "+name+"(t *testing.T)") {
				t.Errorf("%s has no test %s", m[2], name)
			}
		}
	}
	shown := map[string]bool{}
	for _, m := range regexp.MustCompile("torture `([a-z-]+)`").FindAllStringSubmatch(string(page), -1) {
		shown[m[1]] = true
	}
	for _, f := range faults() {
		if !shown[f.name] {
			t.Errorf("the fault %s has no row", f.name)
		}
		delete(shown, f.name)
	}
	for name := range shown {
		t.Errorf("there is no fault %s", name)
	}
}
