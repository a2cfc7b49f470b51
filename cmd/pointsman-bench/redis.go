package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// redisPrefix begins the names of stores for which a redis-server is started.
const redisPrefix = "redis-"

// redisServer is a redis-server that this program has started.
type redisServer struct {
	cmd  *exec.Cmd
	addr string
}

// startRedis starts a redis-server on a free port that appends to a file in dir
// and syncs it as the store's name says: redis-everysec or redis-always. For any
// other store it does nothing and returns nil.
func startRedis(ctx context.Context, store, dir string) (*redisServer, error) {
	fsync, ours := strings.CutPrefix(store, redisPrefix)
	if !ours {
		return nil, nil
	}
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is not installed (run make deps, or name other stores with -store)")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &redisServer{addr: ln.Addr().String()}
	_, port, _ := net.SplitHostPort(s.addr)
	_ = ln.Close()
	s.cmd = exec.Command(bin, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", fsync, "--maxmemory-policy", "noeviction")
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for wait := time.After(patience); ; {
		conn, err := net.Dial("tcp", s.addr)
		if err == nil {
			return s, conn.Close()
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-wait:
			s.stop()
			return nil, fmt.Errorf("redis-server does not listen on %s", s.addr)
		case <-ctx.Done():
			s.stop()
			return nil, ctx.Err()
		}
	}
}

// stop ends the server, if there is one.
func (s *redisServer) stop() {
	if s == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // killed: says nothing new
}

// pid is 0 when there is no server.
func (s *redisServer) pid() int {
	if s == nil {
		return 0
	}
	return s.cmd.Process.Pid
}
