package host

import (
	"bytes"
	"log/slog"
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
