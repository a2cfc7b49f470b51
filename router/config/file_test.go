package config_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config"
)

func TestNetlink(t *testing.T) {
	t.Parallel()
	s := source(t, "{name: n1, type: netlink, watch: [link, route], interfaces: ['eth*'], except: [eth9], limit: 5, buffer: 1MiB}")
	want := &config.Netlink{Watch: []string{"link", "route"}, Interfaces: []string{"eth*"}, Except: []string{"eth9"}, Limit: 5, Buffer: 1 << 20}
	if diff := cmp.Diff(want, s.Netlink); diff != "" || !s.Monitor() {
		t.Error(diff)
	}
	s = source(t, "{name: n1, type: netlink, watch: [neighbour]}")
	if diff := cmp.Diff(&config.Netlink{Watch: []string{"neighbour"}, Limit: 10_000, Buffer: 4 << 20}, s.Netlink); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string]string{
		"":                                   `"watch" is missing`,
		", watch: []":                        "want at least one of link, address, route, neighbour",
		", watch: [links]":                   `unknown value "links" (did you mean "link"?)`,
		", watch: [link, link]":              "link is there twice",
		", watch: [link], interfaces: ['[']": `"[" is not a pattern`,
		", watch: [link], limit: 0":          "out of range",
		", watch: [link], buffer: 1KiB":      "out of range",
	} {
		refused(t, "{name: n1, type: netlink"+text+"}", want)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	s := source(t, "{name: f1, type: file, path: /etc/x/, recursive: true, match: ['*.conf'], except: [.git], sha256: true, settle: 1s, limit: 7}")
	want := &config.File{
		Path: "/etc/x", Recursive: true, Match: []string{"*.conf"}, Except: []string{".git"}, SHA256: true, Settle: time.Second, Limit: 7,
	}
	if diff := cmp.Diff(want, s.File); diff != "" || !s.Monitor() {
		t.Error(diff)
	}
	c := load(t, "sources:\n  - {name: f1, type: file, path: sub}\n")
	want = &config.File{Path: filepath.Join(c.Dir, "sub"), Settle: 100 * time.Millisecond, Limit: 10_000}
	if diff := cmp.Diff(want, c.Sources[0].File); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string]string{
		"":                            `"path" is missing`,
		", path: ''":                  "the path is empty",
		", path: a, match: ['']":      `"" is not a pattern`,
		", path: a, settle: 0s":       "out of range",
		", path: a, recursive: maybe": "want true or false",
	} {
		refused(t, "{name: f1, type: file"+text+"}", want)
	}
}
