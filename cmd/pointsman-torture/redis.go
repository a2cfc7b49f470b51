package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// redisServer is a redis-server on a port of its own that syncs each write.
type redisServer struct {
	dir, addr string
	run       *process
}

// newRedis starts a server in dir.
func newRedis(dir string) (*redisServer, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &redisServer{dir: dir, addr: ln.Addr().String()}
	_ = ln.Close()
	return s, s.start()
}

func hasRedis() bool {
	_, err := exec.LookPath("redis-server")
	return err == nil
}

func (s *redisServer) start() error {
	_, port, _ := net.SplitHostPort(s.addr)
	var err error
	s.run, err = start(filepath.Join(s.dir, "redis.log"), nil, "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
	if err != nil {
		return err
	}
	for late := time.Now().Add(patience); time.Now().Before(late); time.Sleep(poll) {
		if _, err := s.do("PING"); err == nil {
			return nil
		}
	}
	return fmt.Errorf("redis-server does not answer: %s", tail(s.run.log))
}

// do sends one command and returns the first line of the answer.
func (s *redisServer) do(args ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintf(conn, "%s\r\n", strings.Join(args, " ")); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", err
	}
	if line = strings.TrimSpace(line); strings.HasPrefix(line, "-") {
		return "", fmt.Errorf("redis: %s", line)
	}
	return line, nil
}

// The ways of a wire.
const (
	passes int32 = iota
	cuts         // one answer of five is dropped and its connection closed
	holds        // nothing goes through, nothing is closed
)

// wire is a TCP proxy before Redis.
type wire struct {
	ln   net.Listener
	to   string
	mode atomic.Int32
	cuts atomic.Int64
	wg   sync.WaitGroup

	mu    sync.Mutex // guards conns and rng
	conns map[net.Conn]bool
	rng   *rand.Rand
}

func newWire(to string, rng *rand.Rand) (*wire, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{ln: ln, to: to, conns: map[net.Conn]bool{}, rng: rng}
	w.wg.Go(w.accept)
	return w, nil
}

func (w *wire) addr() string { return w.ln.Addr().String() }

func (w *wire) close() {
	_ = w.ln.Close()
	w.mode.Store(passes)
	w.closeAll()
	w.wg.Wait()
}

// closeAll closes every connection.
func (w *wire) closeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Close()
	}
}

func (w *wire) accept() {
	for {
		near, err := w.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.DialTimeout("tcp", w.to, time.Second)
		if err != nil {
			_ = near.Close()
			continue
		}
		w.mu.Lock()
		w.conns[near], w.conns[far] = true, true
		w.mu.Unlock()
		w.wg.Go(func() { w.pipe(far, near, false) })
		w.wg.Go(func() { w.pipe(near, far, true) })
	}
}

// pipe copies one direction until either side ends.
func (w *wire) pipe(to, from net.Conn, answers bool) {
	defer func() {
		_, _ = to.Close(), from.Close()
		w.mu.Lock()
		delete(w.conns, to)
		delete(w.conns, from)
		w.mu.Unlock()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		for w.mode.Load() == holds {
			time.Sleep(poll)
		}
		if answers && n > 0 && w.mode.Load() == cuts && w.chance() {
			w.cuts.Add(1)
			return
		}
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}

func (w *wire) chance() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(5) == 0
}
