package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// redisServer starts a redis-server of the test's own and returns its URL.
func redisServer(t *testing.T, args ...string) string {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("NOT RUN: several routers on one Redis; install redis-server (make deps)")
	}
	addr := freePort(t)
	_, port, _ := strings.Cut(addr, ":")
	cmd := exec.Command(bin, append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--appendonly", "yes",
	}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return "redis://" + addr + "/0"
}

// freePort is an address on which nothing listens.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

const sharedConfig = `
name: shared
store: %s
listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
shutdown_grace: 3s
actions:
  - name: work
    plugin: exec
    settings: {command: [./work.sh], env: {SHARED: %q}}
    concurrency: 4
    retry: {min: 10ms, max: 50ms}
`

// sharedLedger is idempotent by the event's id; the lock shows two runs of one
// delivery at a time, on whichever router.
const sharedLedger = `
cd "$SHARED"
exec 9>"locks/$POINTSMAN_DELIVERY_ID"
flock -n 9 || echo "overlap $POINTSMAN_DELIVERY_ID" >>ledger
sleep 0.05
mkdir "effects/$POINTSMAN_EVENT_ID" 2>/dev/null || echo "again $POINTSMAN_EVENT_ID" >>ledger
`

// pair is two routers with one name on one Redis.
func pair(t *testing.T) (a, b *served, shared *site) {
	t.Helper()
	url := redisServer(t)
	shared = &site{t: t, dir: t.TempDir()}
	for _, dir := range []string{"locks", "effects"} {
		if err := os.Mkdir(shared.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Sprintf(sharedConfig, url, shared.dir)
	a = newSite(t, config, routerRules, sharedLedger).serve()
	b = newSite(t, config, routerRules, sharedLedger).serve()
	return a, b, shared
}

func (s *site) effects() int {
	list, err := os.ReadDir(s.path("effects"))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(list)
}

// await polls what processes do; slow is for what takes as long as a lease.
func await(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(within)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not %s within %v", what, within)
		}
	}
}

// TestTwoRoutersShareAQueue: each event is accepted once whichever router it
// comes to, and each delivery runs on one router at a time.
func TestTwoRoutersShareAQueue(t *testing.T) {
	t.Parallel()
	a, b, shared := pair(t)
	const n = 60
	for i := range n {
		first, second := a, b
		if i%2 == 1 {
			first, second = b, a
		}
		for _, r := range []*served{first, second} {
			if code := r.send(fmt.Sprint("e", i), "work"); code != http.StatusAccepted {
				t.Fatalf("event %d: %d\n%s", i, code, r.said())
			}
		}
	}
	a.all("done", n)
	if got := shared.effects(); got != n {
		t.Errorf("%d effects of %d events", got, n)
	}
	if text := shared.read("ledger"); text != "" {
		t.Errorf("run twice:\n%s", text)
	}
	var events []struct {
		Duplicates int `json:"duplicates"`
	}
	b.ask(&events, "events", "list")
	for i, e := range events {
		if e.Duplicates != 1 {
			t.Errorf("event %d has %d duplicates, want 1", i, e.Duplicates)
		}
	}
	if len(events) != n {
		t.Errorf("%d events, want %d", len(events), n)
	}
}

// TestTakeover: what a dead router had leased is run by another within the lease
// and five seconds, by itself at once after its restart, and never beside a run
// that still goes on.
func TestTakeover(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes as long as a lease")
	}
	a, b, shared := pair(t)
	const n = 80
	for i := range n {
		if code := a.send(fmt.Sprint("e", i), "work"); code != http.StatusAccepted {
			t.Fatalf("event %d: %d", i, code)
		}
	}
	a.signal(syscall.SIGKILL)
	a.ended(5 * time.Second)
	killed := time.Now()
	await(t, 20*time.Second, "taken over", func() bool { return shared.effects() == n })
	t.Logf("all effects %v after the kill", time.Since(killed).Round(time.Millisecond))
	if text := shared.read("ledger"); strings.Contains(text, "overlap") {
		t.Errorf("two at once:\n%s", text)
	}

	// Again, but the killed one comes back at once and takes its own.
	c := (&served{site: a.site}).serve()
	b.signal(syscall.SIGTERM)
	b.ended(10 * time.Second)
	for i := range n {
		if code := c.send(fmt.Sprint("f", i), "work"); code != http.StatusAccepted {
			t.Fatalf("event %d: %d", i, code)
		}
	}
	c.signal(syscall.SIGKILL)
	c.ended(5 * time.Second)
	back := time.Now()
	(&served{site: a.site}).serve()
	await(t, 10*time.Second, "run after the restart", func() bool { return shared.effects() == 2*n })
	t.Logf("all effects %v after the restart", time.Since(back).Round(time.Millisecond))
}
