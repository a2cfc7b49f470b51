package host_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/actions/host"
)

func TestRefusedExecutables(t *testing.T) {
	t.Parallel()
	script := []byte("#!/bin/sh\necho hello there\n")
	cases := map[string]struct {
		spec host.Spec
		want string
	}{
		"world-writable":  {external(t, script, 0o777), "others may write it"},
		"group-writable":  {external(t, script, 0o775), "others may write it"},
		"not executable":  {external(t, script, 0o644), "not executable"},
		"folder":          {host.Spec{Action: "a", Plugin: t.TempDir(), SHA256: strings.Repeat("0", 64)}, "not a regular file"},
		"missing":         {host.Spec{Action: "a", Plugin: "/nonexistent/x", SHA256: strings.Repeat("0", 64)}, "no such file"},
		"wrong checksum":  {func() host.Spec { s := external(t, script, 0o755); s.SHA256 = strings.Repeat("0", 64); return s }(), "not the configured sha256"},
		"unknown bundled": {host.Spec{Action: "a", Plugin: "nope"}, `no bundled plugin "nope"`},
		"no interpreter":  {external(t, []byte("#!/nonexistent/sh\n"), 0o755), "no such file"},
		"not a program":   {external(t, []byte("plain text\n"), 0o755), "exec format error"},
		"bad settings":    {host.Spec{Action: "a", Plugin: "fake", Settings: []byte(`{"colour":1}`)}, "'colour' not allowed"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil, tc.spec)
			_, err := b.Run(b.ctx, "a", request("1", order{}))
			if isKind(err) != "unavailable" || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if st := b.Status()[0]; st.State != host.Failed || !strings.Contains(st.Error, tc.want) {
				t.Errorf("status %+v", st)
			}
		})
	}
}

func TestRefusedSpecs(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for want, spec := range map[string]host.Spec{
		"absolute":              {Action: "a", Plugin: "./x", SHA256: strings.Repeat("0", 64)},
		"sha256 is required":    {Action: "a", Plugin: "/x"},
		"64 hexadecimal":        {Action: "a", Plugin: "/x", SHA256: "12"},
		"name a plugin":         {Action: "a"},
		"action without a name": {Plugin: "fake"},
	} {
		if err := b.Add(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestHostileHandshakes(t *testing.T) {
	t.Parallel()
	cert := strings.Repeat("A", 600)
	sock := `python3 -c 'import socket,os;socket.socket(socket.AF_UNIX).bind(os.environ["PLUGIN_UNIX_SOCKET_DIR"]+"/s")'; `
	cases := map[string]struct {
		script string
		mtls   bool
		want   string
	}{
		"text":          {`printf 'Welcome\033[31m!\n'`, true, `printed "Welcome\x1b[31m!`},
		"long text":     {`head -c 100000 /dev/zero | tr '\0' x`, true, "handshake refused"},
		"tcp":           {`echo "1|1|tcp|127.0.0.1:80|grpc|` + cert + `"`, true, "want a unix socket"},
		"other version": {`echo "1|9|unix|/x|grpc|` + cert + `"`, true, `version "9" of the plugin protocol and this router speaks version 1`},
		"netrpc":        {`echo "1|1|unix|/x|netrpc|` + cert + `"`, true, "want the protocol grpc"},
		"other folder":  {`echo "1|1|unix|/run/dbus/system_bus_socket|grpc|` + cert + `"`, true, "must be in the folder"},
		"dots":          {`echo "1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/../s|grpc|` + cert + `"`, true, "must be in the folder"},
		"no socket":     {`echo "1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc|` + cert + `"`, true, "no socket at that path"},
		"no cert":       {sock + `echo "1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc"`, true, "set mtls: false"},
		"bad cert":      {sock + `echo "1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc|` + cert + `"`, true, "server cert"},
		"stray cert":    {sock + `echo "1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc|` + cert + `"; exit`, false, "describe"},
		"silence":       {`exec >&-; exit 0`, true, "ended before its handshake: exit status 0"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := external(t, []byte("#!/bin/sh\n"+tc.script+"\n"), 0o755)
			spec.MTLS = &tc.mtls
			b := setup(t, nil)
			_, err := b.Describe(b.ctx, spec)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestVerifiedBytesRun(t *testing.T) {
	t.Parallel()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	spec := external(t, self, 0o755)
	spec.Env = []string{"TEST_PLUGIN=fake"}
	b := setup(t, nil, spec)
	d, err := b.Describe(b.ctx, spec)
	if err != nil || d.Name != "fake" || d.Version != "1.2.3" {
		t.Fatalf("%+v, %v", d, err)
	}
	if err := b.Validate("a", json.RawMessage(`{"n":"x"}`)); err == nil || !strings.Contains(err.Error(), "params.n: got string, want integer") {
		t.Errorf("validate: %v", err)
	}
	b.do(t, "1", order{Do: "echo"})
	// The running one does not mind a change; the next start refuses it.
	if err := os.WriteFile(spec.Plugin, append(self, 'x'), 0o755); err != nil {
		t.Fatal(err)
	}
	b.do(t, "2", order{Do: "echo"})
	if _, err := b.Run(b.ctx, "a", request("3", order{Do: "panic"})); isKind(err) != "crashed" {
		t.Fatal(err)
	}
	if _, err := b.Run(b.ctx, "a", request("4", order{Do: "echo"})); isKind(err) != "unavailable" || !strings.Contains(err.Error(), "not the configured sha256") {
		t.Errorf("got %v", err)
	}
}

func TestNoiseIsReadBoundedAndCleaned(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, modes()["stream"])
	for i := range 3 {
		if out := b.do(t, fmt.Sprint(i), order{Do: "noise"}).GetOutput(); out != "quiet again" {
			t.Fatal(out)
		}
	}
	b.Close(b.ctx)
	log := b.log.String()
	for _, want := range []string{`{\"@message\":1,`, "cut=true", "line=structured", "level=WARN", "port=7", "standard output, which is discarded"} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %s", want)
		}
	}
	if strings.ContainsAny(log, "\x1b\x00") {
		t.Error("the log has control characters")
	}
	for _, line := range strings.Split(log, "\n") {
		if len(line) > 40<<10 {
			t.Errorf("a log line of %d bytes", len(line))
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("ROUTER_SECRET", "hunter2")
	t.Setenv("LC_TEST", "yes")
	spec := modes()["stream"]
	spec.Env = []string{"EXTRA=1"}
	b := setup(t, nil, spec)
	env := b.do(t, "1", order{Do: "env"}).GetOutput()
	if strings.Contains(env, "hunter2") {
		t.Error("the router's environment leaks")
	}
	for _, want := range []string{"PATH=", "LC_TEST=yes", "EXTRA=1", "POINTSMAN_SESSION="} {
		if !strings.Contains(env, want) {
			t.Errorf("lacks %s in %s", want, env)
		}
	}
}

func TestLongRunDir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100))
	b := setup(t, func(c *host.Config) { c.RunDir = dir }, modes()["stream"])
	b.do(t, "1", order{Do: "echo"})
	short, err := os.ReadFile(filepath.Join(dir, "sockets"))
	if err != nil {
		t.Fatal(err)
	}
	b.Close(b.ctx)
	if _, err := os.Stat(string(short)); !os.IsNotExist(err) {
		t.Errorf("%s is left", short)
	}
}
