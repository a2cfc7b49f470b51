package host

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever a plugin writes, each line of it is one bounded, printable entry.
func FuzzLines(f *testing.F) {
	for _, s := range []string{
		"plain\n", `{"@message":1,"@level":{},"@timestamp":[]}` + "\n", `{"msg":"m","level":"WARN","a":{"b":1}}` + "\n",
		"\x1b[2J\x00\xff", strings.Repeat("x", 3*maxLine) + "\nnext\n", "panic: p\n", "{\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var out bytes.Buffer
		l := &lineLog{log: slog.New(slog.NewJSONHandler(&out, nil))}
		l.copy(bytes.NewReader(text))
		for line := range strings.Lines(out.String()) {
			if len(line) > 8*maxLine || !utf8.ValidString(line) || strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\x1b\x00\r\n") {
				t.Errorf("entry %q", line)
			}
		}
		if len(l.crashReason()) > 200 {
			t.Error("long reason")
		}
	})
}

// A process names itself; no name may shift the fields behind it.
func FuzzStat(f *testing.F) {
	f.Add([]byte("a) R 9 9 9 ("))
	f.Fuzz(func(t *testing.T, name []byte) {
		text := append(append([]byte("7 ("), name...), ") S 5 6 4 0 -1"...)
		if p, ok := parseStat(7, text); !ok || p != (proc{pid: 7, parent: 5, group: 6, session: 4}) {
			t.Errorf("%q: %+v %v", text, p, ok)
		}
		_, _ = parseStat(7, name)
	})
}

// No handshake line but one for a socket in the folder is passed on.
func FuzzHandshake(f *testing.F) {
	f.Add([]byte("1|1|unix|/x/s|grpc|cert\n"))
	f.Add([]byte("1|1|tcp|127.0.0.1:1|grpc"))
	f.Fuzz(func(t *testing.T, line []byte) {
		p := &process{sockets: "/nonexistent", mtls: true}
		if err := p.accept(line); err == nil || p.handshake != "" || len(err.Error()) > 2000 {
			t.Errorf("%q: %v", line, err)
		}
	})
}

// In which folder groups are made, for either version and what systemd hands over.
func TestControlBase(t *testing.T) {
	t.Parallel()
	const unified = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	for name, tc := range map[string]struct {
		cgroup, mounts string
		files          map[string]string
		want           string
	}{
		"version 1":             {"4:memory:/box/a\n0::/\n", "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", nil, "/sys/fs/cgroup/memory/box/a"},
		"version 1, joined":     {"4:cpu,memory:/a\n", "31 24 0:27 /a /cg rw - cgroup cgroup rw,cpu,memory\n", nil, "/cg"},
		"version 1, elsewhere":  {"4:memory:/b\n", "31 24 0:27 /a /cg rw - cgroup cgroup rw,memory\n", nil, ""},
		"version 2, own":        {"0::/p.service\n", unified, map[string]string{"p.service": "memory"}, "/sys/fs/cgroup/p.service"},
		"version 2, subgroup":   {"0::/p.service/router\n", unified, map[string]string{"p.service/router": "", "p.service": "cpu memory"}, "/sys/fs/cgroup/p.service"},
		"version 2, not handed": {"0::/s.slice/p.service\n", unified, map[string]string{"s.slice/p.service": "", "s.slice": "memory"}, ""},
		"neither":               {"0::/\n", unified, map[string]string{".": "hugetlb"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			put := func(path, text string) {
				t.Helper()
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			put("proc/self/cgroup", tc.cgroup)
			put("proc/self/mountinfo", tc.mounts)
			for dir, controllers := range tc.files {
				put("sys/fs/cgroup/"+dir+"/cgroup.controllers", controllers+"\n")
				put("sys/fs/cgroup/"+dir+"/cgroup.subtree_control", controllers+"\n")
			}
			got, err := controlBase(root, "memory")
			if (err != nil) != (tc.want == "") || strings.TrimPrefix(got, root) != tc.want {
				t.Errorf("got %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}
