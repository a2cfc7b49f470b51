package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/router/store/redis"
)

func TestMain(m *testing.M) {
	// toxiproxy may leave a pipe behind when both of its ends are closed at once.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*NoopToxic).Pipe"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"))
}

// server is a redis-server of a test's own.
type server struct {
	tb   testing.TB
	dir  string
	addr string
	args []string
	cmd  *exec.Cmd
}

// newServer starts a server on a free port; it ends with the test. Without a
// redis-server the test is skipped.
func newServer(tb testing.TB, args ...string) *server {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		tb.Skipf("NOT RUN: %s needs redis-server, which is not installed (make deps); the Redis store is not tested", tb.Name())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &server{tb: tb, dir: tb.TempDir(), addr: l.Addr().String(), args: args}
	if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
	s.start()
	tb.Cleanup(s.stop)
	return s
}

// start starts the server on its directory and waits until it answers.
func (s *server) start() {
	s.tb.Helper()
	s.launch()
	c := s.client()
	taken := 0
	for deadline := time.Now().Add(20 * time.Second); c.Ping(context.Background()).Err() != nil; {
		log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		if time.Now().After(deadline) {
			s.tb.Fatalf("redis-server does not answer:\n%s", log)
		}
		// Between stop and start somebody else's connection may have got the port.
		if n := strings.Count(string(log), "Failed listening on port"); n > taken {
			taken = n
			_ = s.cmd.Wait()
			s.launch()
		}
		<-time.After(10 * time.Millisecond)
	}
}

// launch starts the server and does not wait.
func (s *server) launch() {
	s.tb.Helper()
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		s.tb.Fatal(err)
	}
	args := append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--logfile", filepath.Join(s.dir, "log")}, s.args...)
	s.cmd = exec.Command("redis-server", args...)
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
}

// kill ends the server as kill -9 does.
func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// stop ends the server with whatever it has forked, so that nothing writes to
// its directory any more.
func (s *server) stop() {
	if s.cmd == nil {
		return
	}
	ended := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(ended) }()
	late := time.After(10 * time.Second)
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // refused while a first file is written
		select {
		case <-ended:
			s.cmd = nil
			return
		case <-again.C:
		case <-late:
			_ = s.cmd.Process.Kill()
		}
	}
}

func (s *server) client() *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: s.addr, DisableIdentity: true, Protocol: 2})
	s.tb.Cleanup(func() { _ = c.Close() })
	return c
}

// do runs a command.
func (s *server) do(args ...any) any {
	s.tb.Helper()
	v, err := s.client().Do(context.Background(), args...).Result()
	if err != nil {
		s.tb.Fatalf("%v: %v", args, err)
	}
	return v
}

func (s *server) url() string { return "redis://" + s.addr + "/0" }

// open opens a store there; it is closed with the test.
func open(tb testing.TB, url, name string, now func() time.Time) *redis.DB {
	tb.Helper()
	db, err := redis.Open(redis.Config{URL: url, Name: name, Now: now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

// clock is a clock that stands still.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now().Truncate(time.Microsecond)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// keysOutside lists keys that do not begin with a prefix.
func (s *server) keysOutside(prefix string) []string {
	var out []string
	for _, k := range s.client().Keys(context.Background(), "*").Val() {
		if !strings.HasPrefix(k, prefix) {
			out = append(out, fmt.Sprintf("%q", k))
		}
	}
	return out
}
