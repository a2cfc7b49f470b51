package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// ownRedis is a redis-server that a test ends and starts again on one port and
// directory.
type ownRedis struct {
	t         *testing.T
	url, addr string
	dir       string
	cmd       *exec.Cmd
}

func newOwnRedis(t *testing.T) *ownRedis {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("NOT RUN: a router while its Redis is away; install redis-server (make deps)")
	}
	ln := freePort(t)
	s := &ownRedis{t: t, url: "redis://" + ln + "/0", addr: ln, dir: t.TempDir()}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *ownRedis) start() {
	s.t.Helper()
	_, port, _ := strings.Cut(s.addr, ":")
	s.cmd = exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always")
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *ownRedis) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// set changes a setting of the running server.
func (s *ownRedis) set(name, value string) {
	s.t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: s.addr, DisableIdentity: true})
	defer c.Close()
	if err := c.ConfigSet(s.t.Context(), name, value).Err(); err != nil {
		s.t.Fatal(err)
	}
}

const ownRedisConfig = `
store: %s
durability: process
listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
shutdown_grace: 3s
actions:
  - name: work
    plugin: exec
    settings: {command: [./work.sh]}
    concurrency: 2
    retry: {min: 10ms, max: 50ms}
`

// refusal posts an event, and returns the status and Retry-After.
func (r *served) refusal(id string) (code int, after string) {
	r.t.Helper()
	body := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"test","type":"work"}`, id)
	resp, err := http.Post(r.events+"/events", "application/cloudevents+json", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("Retry-After")
}

// refuses checks that an event is refused for now.
func (r *served) refuses(id string) {
	r.t.Helper()
	code, after := r.refusal(id)
	if seconds, err := strconv.Atoi(after); code != http.StatusServiceUnavailable || err != nil || seconds < 1 {
		r.t.Errorf("sent: %d, Retry-After %q, want 503 and a number of seconds", code, after)
	}
}

// TestRedisAway: while Redis is away senders are told to come back, the router
// hardly does anything, and once it is back everything accepted is run.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	const span, n = 7 * time.Second, 20
	redis := newOwnRedis(t)
	s := newSite(t, fmt.Sprintf(ownRedisConfig, redis.url), routerRules, `
while [ -e hold ]; do sleep 0.05; done
echo "$POINTSMAN_EVENT_ID" >>ran
`)
	r := s.serve()
	s.write("hold", "")
	for i := range n {
		if code := r.send(fmt.Sprint("e", i), "work"); code != http.StatusAccepted {
			t.Fatalf("event %d: %d", i, code)
		}
	}
	redis.kill()
	r.refuses("away")
	r.until("unready", func() bool { return !r.readiness().OK })
	_ = os.Remove(s.path("hold")) // two runs end, and their outcomes have to wait

	lines, before, begun := strings.Count(r.said(), "\n"), usageOf(t, r.cmd.Process.Pid), time.Now()
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for time.Since(begun) < span {
		<-again.C
		r.refuses("away")
		if ready := r.readiness(); ready.OK {
			t.Error("ready without Redis")
		}
	}
	took := time.Since(begun)
	share := float64(usageOf(t, r.cmd.Process.Pid).cpu-before.cpu) / float64(took)
	said := strings.Count(r.said(), "\n") - lines
	t.Logf("%v without Redis: %.2f %% of a CPU, %d log lines", took.Round(time.Millisecond), 100*share, said)
	if share > 0.05 {
		t.Errorf("%.1f %% of a CPU without Redis", 100*share)
	}
	if said >= 60 {
		t.Errorf("%d log lines without Redis:\n%s", said, r.said())
	}

	redis.start()
	back := time.Now()
	await(t, 5*time.Second, "accepting again", func() bool { return r.send("back", "work") == http.StatusAccepted })
	t.Logf("accepted again %v after the start of Redis", time.Since(back).Round(time.Millisecond))
	r.until("ready again", func() bool { return r.readiness().OK })
	r.all("done", n+1)
	ran := map[string]bool{}
	for _, id := range strings.Fields(s.read("ran")) {
		ran[id] = true
	}
	if len(ran) != n+1 || !ran["back"] || ran["away"] {
		t.Errorf("ran %v, want e0 to e%d and back", ran, n-1)
	}
}

// TestRedisOutOfMemory: at maxmemory new events are refused, what was accepted
// is run, and with more memory all goes on.
func TestRedisOutOfMemory(t *testing.T) {
	t.Parallel()
	redis := newOwnRedis(t)
	s := newSite(t, fmt.Sprintf(ownRedisConfig, redis.url), routerRules, "while [ -e hold ]; do sleep 0.05; done\n")
	r := s.serve()
	s.write("hold", "")
	const n = 10
	for i := range n {
		if code := r.send(fmt.Sprint("e", i), "work"); code != http.StatusAccepted {
			t.Fatalf("event %d: %d", i, code)
		}
	}
	redis.set("maxmemory", "100kb")
	r.refuses("more")
	if ready := r.readiness(); ready.OK || !strings.Contains(strings.Join(ready.Reasons, " "), "maxmemory") {
		t.Errorf("readyz at maxmemory: %+v", ready)
	}
	if err := os.Remove(s.path("hold")); err != nil {
		t.Fatal(err)
	}
	r.all("done", n)
	r.refuses("more")
	redis.set("maxmemory", "0")
	if code := r.send("more", "work"); code != http.StatusAccepted {
		t.Errorf("with more memory: %d\n%s", code, r.said())
	}
	r.all("done", n+1)
	r.until("ready again", func() bool { return r.readiness().OK })
}

// TestRedisPromisesLess: a setting below the durability ends the start.
func TestRedisPromisesLess(t *testing.T) {
	t.Parallel()
	redis := newOwnRedis(t)
	config := fmt.Sprintf(ownRedisConfig, redis.url)
	s := newSite(t, strings.Replace(config, "durability: process", "durability: strict", 1), routerRules, succeeds)
	await(t, 5*time.Second, "Redis answering", func() bool {
		c := goredis.NewClient(&goredis.Options{Addr: redis.addr, DisableIdentity: true})
		defer c.Close()
		return c.Ping(t.Context()).Err() == nil
	})
	redis.set("appendfsync", "everysec")
	code, text := s.refused("serve")
	if code != exitCannotRun || !strings.Contains(text, "appendfsync is everysec, want always") {
		t.Errorf("strict with everysec: exit code %d, want %d:\n%s", code, exitCannotRun, text)
	}
	redis.set("appendfsync", "always")
	r := s.serve()
	if ready := r.readiness(); len(ready.Durability) != 0 {
		t.Errorf("with always: %v", ready.Durability)
	}
}
