package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestInFlight: what is configured wins, and a small group gets less.
func TestInFlight(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ configured, limit, want int64 }{
		{0, 0, 64 << 20}, {0, 512 << 20, 32 << 20}, {0, 8 << 30, 64 << 20}, {1 << 20, 512 << 20, 1 << 20}, {128 << 20, 0, 128 << 20},
	} {
		if got := inFlight(tt.configured, tt.limit); got != tt.want {
			t.Errorf("inFlight(%d, %d) = %d, want %d", tt.configured, tt.limit, got, tt.want)
		}
	}
}

// TestGroupMemory: the least limit of all groups that the process is in counts.
func TestGroupMemory(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no control groups", nil, 0},
		{"version 2", map[string]string{
			"proc/self/cgroup": "0::/system.slice/pm.service\n",
			"sys/fs/cgroup/system.slice/pm.service/memory.max": "536870912\n",
			"sys/fs/cgroup/system.slice/memory.max":            "max\n",
		}, 512 << 20},
		{"the group above has less", map[string]string{
			"proc/self/cgroup":              "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max":  "536870912\n",
			"sys/fs/cgroup/a/memory.max":    "268435456\n",
			"sys/fs/cgroup/a/b/memory.high": "max\n",
		}, 256 << 20},
		{"memory.high is a limit, too", map[string]string{
			"proc/self/cgroup":            "0::/a\n",
			"sys/fs/cgroup/a/memory.max":  "536870912\n",
			"sys/fs/cgroup/a/memory.high": "134217728\n",
		}, 128 << 20},
		{"a container whose path is the host's", map[string]string{
			"proc/self/cgroup":         "0::/kubepods/pod1/c1\n",
			"sys/fs/cgroup/memory.max": "1073741824\n",
		}, 1 << 30},
		{"version 1", map[string]string{
			"proc/self/cgroup": "9:name=systemd:/\n4:memory:/pm\n1:cpu,cpuacct:/\n0::/\n",
			"sys/fs/cgroup/memory/pm/memory.limit_in_bytes": "536870912\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":    "9223372036854771712\n",
		}, 512 << 20},
		{"version 1 without a limit", map[string]string{
			"proc/self/cgroup":                           "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 0},
		{"no limit", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
		{"nonsense", map[string]string{"proc/self/cgroup": "what\n0::\n", "sys/fs/cgroup/memory.max": "-1\n"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for name, text := range tt.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := groupMemory(root); got != tt.want {
				t.Fatalf("%d, want %d", got, tt.want)
			}
		})
	}
}
