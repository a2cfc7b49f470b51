package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLinksOfDocs: what a page of this repository links to is there, headings
// included.
func TestLinksOfDocs(t *testing.T) {
	t.Parallel()
	const root = "../.."
	link := regexp.MustCompile(`\]\(([^)#:\s]*)(#[^)\s]*)?\)`)
	pages := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root, d.IsDir() && (d.Name() == "bin" || d.Name() == "testdata"):
			return fs.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		pages++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			target := path
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(path), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s is not there", path, m[1])
				continue
			}
			if m[2] != "" && !headings(t, target)[m[2][1:]] {
				t.Errorf("%s: %s has no heading %s", path, m[1], m[2])
			}
		}
		return nil
	})
	if err != nil || pages < 30 {
		t.Fatalf("%d pages, %v", pages, err)
	}
}

// headings are the anchors that a page has, as GitHub makes them.
func headings(t *testing.T, page string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(string(text), -1) {
		words := strings.Map(func(c rune) rune {
			switch {
			case c == ' ':
				return '-'
			case c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z':
				return c
			}
			return -1
		}, strings.ToLower(m[1]))
		out[words] = true
	}
	return out
}
