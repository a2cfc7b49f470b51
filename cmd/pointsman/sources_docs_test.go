package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/rules"
)

// The pages on sources: every configuration loads, every sample event is one,
// and every rule matches a sample.
func TestSourcePages(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"probe.md", "netlink.md", "file.md"} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("../../docs/sources", page))
			if err != nil {
				t.Fatal(err)
			}
			var events []*rules.Event
			for _, block := range blocksOf(string(text), "json") {
				ev, err := rules.ParseEvent([]byte(block), rules.Limits{})
				if err != nil {
					t.Fatalf("%s: %s", err, block)
				}
				events = append(events, ev)
			}
			dir := t.TempDir()
			for _, block := range blocksOf(string(text), "yaml") {
				name, _, _ := strings.Cut(strings.TrimPrefix(block, "# "), "\n")
				path := filepath.Join(dir, filepath.Base(name))
				if err := os.WriteFile(path, []byte(block), 0o600); err != nil {
					t.Fatal(err)
				}
				if name == "pointsman.yaml" {
					_, err := config.Load(path, config.Options{Bundled: bundledNames(), Env: func(string) (string, bool) { return "a secret of some length", true }})
					if err != nil {
						t.Errorf("%s: %s", err, block)
					}
					continue
				}
				set, err := rules.Load(os.DirFS(dir), rules.Options{}, filepath.Base(name))
				if err != nil {
					t.Errorf("%s: %s", err, block)
					continue
				}
				matched := map[string]bool{}
				for _, ev := range events {
					for _, m := range set.Match(ev) {
						if m.Err != nil || m.KeyErr != nil {
							t.Errorf("%s: %v %v", name, m.Err, m.KeyErr)
						}
						for _, c := range m.Calls {
							if c.Err != nil {
								t.Errorf("%s: %s", name, c.Err)
							}
						}
						matched[m.Rule.Name] = true
					}
				}
				if len(matched) != strings.Count(block, "- name:") {
					t.Errorf("%s: only %v match a sample", name, matched)
				}
			}
			if len(events) == 0 {
				t.Error("no sample event")
			}
		})
	}
}

// fenced returns the blocks of a language.
func blocksOf(page, language string) []string {
	var out []string
	for _, part := range strings.Split(page, "```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		out = append(out, block)
	}
	return out
}
