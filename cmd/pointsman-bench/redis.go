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

// startRedis starts a redis-server on a free port that appends to a file in dir
// and syncs it as the store's name says: redis-everysec or redis-always. For any
// other store it does nothing.
func startRedis(ctx context.Context, store, dir string) (url string, stop func(), err error) {
	fsync, ours := strings.CutPrefix(store, redisPrefix)
	if !ours {
		return store, func() {}, nil
	}
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		return "", nil, errors.New("redis-server is not installed (run make deps, or name other stores with -store)")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr := ln.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	_ = ln.Close()
	cmd := exec.Command(bin, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", fsync, "--maxmemory-policy", "noeviction")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: says nothing new
	}
	for wait := time.After(patience); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return "redis://" + addr + "/0", stop, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-wait:
			stop()
			return "", nil, fmt.Errorf("redis-server does not listen on %s", addr)
		case <-ctx.Done():
			stop()
			return "", nil, ctx.Err()
		}
	}
}
