package config_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config"
)

func TestPluginLimits(t *testing.T) {
	t.Parallel()
	c, err := config.Load(write(t, `actions:
  - name: a
    plugin: log
    user: root
    limits: {memory: 512MiB, files: 256, processes: 64, cpu: 50%, cpu_time: 10m}
  - {name: b, plugin: log}
`), options())
	if err != nil {
		t.Fatal(err)
	}
	want := config.PluginLimits{Memory: 512 << 20, Files: 256, Processes: 64, CPU: 50, CPUTime: 10 * time.Minute}
	if diff := cmp.Diff(want, c.Actions[0].Limits); diff != "" || c.Actions[0].User != "root" {
		t.Errorf("user %q, -want +got\n%s", c.Actions[0].User, diff)
	}
	if b := c.Actions[1]; b.Limits != (config.PluginLimits{}) || b.User != "" {
		t.Errorf("limits that nobody set: %+v", b)
	}
}

func TestPluginLimitProblems(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"limits: {memory: 1MiB}":    `:4:22: 1MiB is out of range (16MiB to 1024TiB)`,
		"limits: {memory: 512}":     `:4:22: a size needs a unit`,
		"limits: {files: 3}":        `:4:21: 3 is out of range (16 to 1048576)`,
		"limits: {processes: many}": `:4:25: want an integer`,
		"limits: {cpu: \"0.5\"}":    `:4:19: want a share of one processor from 1% to 100000% (such as 50%, or 200% for two of them)`,
		"limits: {cpu: 0.5}":        `:4:19: want text`,
		"limits: {cpu: 0%}":         `:4:19: want a share of one processor`,
		"limits: {cpu: +5%}":        `:4:19: want a share of one processor`,
		"limits: {cpu: 100001%}":    `:4:19: want a share of one processor`,
		"limits: {cpu_time: 10ms}":  `:4:24: 10ms is out of range (1s to 366d)`,
		"limits: {memmory: 1GiB}":   `:4:14: unknown key "memmory"`,
		"user: nobody-of-this-name": `:4:11: there is no user "nobody-of-this-name" on this machine (create it, or leave user out)`,
		"user: [root]":              `:4:11: want`,
		"limits: 512MiB":            `:4:13: want`,
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			path := write(t, "actions:\n  - name: a\n    plugin: log\n    "+value+"\n")
			_, err := config.Load(path, options())
			if err == nil {
				t.Fatal("is accepted")
			}
			if got := strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/pointsman.yaml", ""); !strings.Contains(got, want) {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
}
