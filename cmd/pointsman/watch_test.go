package main

import (
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// baseline waits until a source has stored what it saw first, in n states.
func (r *served) baseline(source string, n int) {
	r.t.Helper()
	db, err := sql.Open("sqlite", "file:"+r.path("pointsman-data/pointsman.db")+"?mode=ro")
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	r.until("a baseline of "+source, func() bool {
		var stored int
		err := db.QueryRowContext(r.t.Context(), "SELECT count(*) FROM states WHERE key LIKE ?", "/source/"+source+"/%").Scan(&stored)
		return err == nil && stored == n
	})
}

// A file that changes runs an action, and one that changed while the router was
// away another.
func TestFileSource(t *testing.T) {
	t.Parallel()
	s := newSite(t, routerConfig+"sources:\n  - {name: conf, type: file, path: watched}\n",
		`rules: [{name: r, when: 'event.type startsWith "pointsman.file."', do: [{action: work, with: {args: ["${{ event.data.op }}", "${{ event.subject }}"]}}]}]`,
		"echo \"$@\" >> ran\n")
	s.write("watched/a", "1")
	r := s.serve()
	r.baseline("conf", 64)
	s.write("watched/a", "22")
	r.all("done", 1)
	r.signal(syscall.SIGTERM)
	r.ended(20 * time.Second)
	if err := os.Rename(s.path("watched/a"), s.path("watched/b")); err != nil {
		t.Fatal(err)
	}
	r = s.serve()
	r.all("done", 2)
	if got, want := s.read("ran"), "modify "+s.path("watched/a")+"\nrename "+s.path("watched/b")+"\n"; got != want {
		t.Fatalf("%q, want %q", got, want)
	}
}

// An interface that goes down runs an action, and one that did while the router
// was away another.
func TestNetlinkSource(t *testing.T) {
	t.Parallel()
	const namespaceEnv = "POINTSMAN_TEST_NAMESPACE"
	if os.Getenv(namespaceEnv) == "" {
		namespaced(t, namespaceEnv)
		return
	}
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	ip("link", "set", "lo", "up")
	ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
	ip("link", "set", "v0", "up")
	ip("link", "set", "v1", "up")
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); ; <-tick.C { // the kernel takes its time
		out, err := exec.CommandContext(t.Context(), "ip", "-br", "link", "show", "dev", "v0").CombinedOutput()
		if err == nil && strings.Contains(string(out), " UP ") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("v0 has no carrier: %v %s", err, out)
		}
	}
	s := newSite(t, routerConfig+"sources:\n  - {name: network, type: netlink, watch: [link], interfaces: [v0]}\n",
		`rules: [{name: r, when: 'event.type startsWith "net."', do: [{action: work, with: {args: ["${{ event.type }}", "${{ event.data.interface }}"]}}]}]`,
		"echo \"$@\" >> ran\n")
	r := s.serve()
	r.baseline("network", 32)
	ip("link", "set", "v1", "down")
	r.all("done", 1)
	r.signal(syscall.SIGTERM)
	r.ended(20 * time.Second)
	ip("link", "set", "v1", "up")
	r = s.serve()
	r.all("done", 2)
	if got := s.read("ran"); got != "net.link.down v0\nnet.link.up v0\n" {
		t.Fatalf("%q", got)
	}
}

// namespaced runs the calling test again, as a process in a network namespace of
// its own with the variable set, and reports what became of it.
func namespaced(t *testing.T, variable string) {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("NETLINK IS NOT TESTED: ip (iproute2) is missing")
	}
	if _, err := program(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=150s")
	cmd.Env = append(os.Environ(), variable+"=1", "TMPDIR="+filepath.Dir(t.TempDir()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil && strings.Contains(string(out), "--- PASS: "+t.Name()):
	case err != nil && !errors.As(err, &exit):
		t.Skipf("NETLINK IS NOT TESTED: no network namespace can be made: %s", err)
	default:
		t.Fatalf("%v: %s", err, out)
	}
}
