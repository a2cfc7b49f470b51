package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestTrapToAction: what docs/sources/snmptrap.md shows, through a whole router.
func TestTrapToAction(t *testing.T) {
	t.Parallel()
	snmptrap, err := exec.LookPath("snmptrap")
	if err != nil {
		t.Skip("snmptrap is NOT installed (make deps): nothing was tested")
	}
	page, err := os.ReadFile("../../docs/sources/snmptrap.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, part := range strings.Split(string(page), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(part, "```")
		blocks = append(blocks, text)
	}
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of YAML", len(blocks))
	}
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.LocalAddr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	sources := strings.NewReplacer("0.0.0.0:9162", addr, "192.0.2.0/24", "127.0.0.1",
		"${env:TRAP_COMMUNITY}", "net-ops-7", "${env:TRAP_AUTH}", "a pass phrase", "${env:TRAP_PRIV}", "another phrase").Replace(blocks[0])
	s := newSite(t, sources+strings.Replace(routerConfig, "name: work", "name: bounce-port", 1), blocks[1], "echo \"$@\" >> ran\n")
	r := s.serve()
	send := func(args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		args = append(args, addr, "", "1.3.6.1.6.3.1.1.5.3", "1.3.6.1.2.1.2.2.1.1.3", "i", "3", "1.3.6.1.2.1.2.2.1.7.3", "i", "1")
		cmd := exec.CommandContext(ctx, snmptrap, args...)
		cmd.Env = []string{"MIBS=", "HOME=" + t.TempDir(), "SNMP_PERSISTENT_DIR=" + t.TempDir()}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	v3 := []string{"-v3", "-Ci", "-u", "ops", "-l", "authPriv", "-a", "SHA-256", "-A", "a pass phrase", "-x", "AES", "-X", "another phrase"}
	r.until("the listener", func() bool { return strings.Contains(r.said(), `"source listens"`) })
	send("-v2c", "-c", "net-ops-7")
	send(v3...) // the same port: throttled by once
	if done := r.all("done", 1); len(done) != 1 {
		t.Errorf("%d deliveries", len(done))
	}
	if got := s.read("ran"); got != "--device 127.0.0.1 --index 3\n" {
		t.Errorf("ran %q", got)
	}
	var page1 struct{ Events []struct{ Source string } }
	r.until("two events", func() bool {
		return r.get("/api/v1/events?source=traps", &page1) == http.StatusOK && len(page1.Events) == 2
	})
}
