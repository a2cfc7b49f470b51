package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	adminToken = "pointsman-torture-admin-token"
	// patience bounds what must happen sooner or later: starting, stopping,
	// taking over what a dead router had leased (15 s), draining.
	patience = 90 * time.Second
	poll     = 10 * time.Millisecond
)

// process is one run of a program. Its output goes to a file.
type process struct {
	cmd  *exec.Cmd
	log  string // path
	gone chan struct{}
}

// start runs a program; env is added to ours.
func start(log string, env []string, name string, args ...string) (*process, error) {
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &process{cmd: exec.Command(name, args...), log: log, gone: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = f, f
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.gone)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

func (p *process) running() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// wait returns the exit code, -1 for the end by a signal.
func (p *process) wait(within time.Duration) (int, error) {
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-p.gone:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-late.C:
		return 0, fmt.Errorf("process %d (%s) goes on after %s", p.pid(), p.cmd.Path, within)
	}
}

func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.gone
}

// pointsman is a router on a folder of its own: what it is run with, and its
// present run.
type pointsman struct {
	binary, dir, config string

	mu     sync.Mutex // guards what follows
	run    *process
	runs   int
	events string
	admin  string
}

// clock is the file by which the router's clock is set.
func (r *pointsman) clock() string { return filepath.Join(r.dir, "clock") }

// launch starts a run and returns when it listens; the log of each run is a file.
func (r *pointsman) launch(env ...string) error {
	r.mu.Lock()
	r.runs++
	log := filepath.Join(r.dir, fmt.Sprintf("serve-%02d.log", r.runs))
	r.mu.Unlock()
	env = append(env, "POINTSMAN_CLOCK="+r.clock())
	p, err := start(log, env, r.binary, "serve", "-c", r.config)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.run, r.events, r.admin = p, "", ""
	r.mu.Unlock()
	for late := time.Now().Add(patience); ; {
		events, admin := addresses(log)
		if events != "" {
			r.mu.Lock()
			r.events, r.admin = events, admin
			r.mu.Unlock()
			return nil
		}
		select {
		case <-p.gone:
			return fmt.Errorf("%w (exit code %d): %s", errEnded, p.cmd.ProcessState.ExitCode(), tail(log))
		case <-time.After(poll):
		}
		if time.Now().After(late) {
			return fmt.Errorf("pointsman does not listen: %s", tail(log))
		}
	}
}

// errEnded says that a router ended while it started.
var errEnded = errors.New("pointsman ended")

// serve starts a run and returns when it takes events.
func (r *pointsman) serve(ctx context.Context, env ...string) error {
	if err := r.launch(env...); err != nil {
		return err
	}
	return r.ready(ctx)
}

func (r *pointsman) ready(ctx context.Context) error {
	p := r.process()
	for late := time.Now().Add(patience); ; {
		if r.get(ctx, "/readyz", nil) == nil {
			return nil
		}
		select {
		case <-p.gone:
			return fmt.Errorf("%w (exit code %d): %s", errEnded, p.cmd.ProcessState.ExitCode(), tail(p.log))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(poll):
		}
		if time.Now().After(late) {
			return fmt.Errorf("pointsman is not ready: %s", tail(p.log))
		}
	}
}

func (r *pointsman) process() *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.run
}

func (r *pointsman) addresses() (events, admin string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events, r.admin
}

func addresses(log string) (events, admin string) {
	text, err := os.ReadFile(log)
	if err != nil {
		return "", ""
	}
	for l := range bytes.Lines(text) {
		var line struct{ Msg, Events, Admin string }
		if json.Unmarshal(l, &line) == nil && line.Msg == "listening" {
			return line.Events, line.Admin
		}
	}
	return "", ""
}

// tail is the end of a log.
func tail(log string) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	return log + ": " + string(text[max(0, len(text)-600):])
}

// get asks the admin listener; another status than 200 is an error.
func (r *pointsman) get(ctx context.Context, path string, into any) error {
	return r.call(ctx, http.MethodGet, path, "", into)
}

func (r *pointsman) call(ctx context.Context, method, path, body string, into any) error {
	_, admin := r.addresses()
	if admin == "" {
		return errors.New("the router is not there")
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+admin+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// below lists the descendants of a process: reapers and plugins.
func below(pid int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	children := map[int][]int{}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || len(fields) < 2 {
			continue
		}
		parent, _ := strconv.Atoi(string(fields[1]))
		children[parent] = append(children[parent], id)
	}
	var all []int
	for next := children[pid]; len(next) > 0; next = next[1:] {
		all = append(all, next[0])
		next = append(next, children[next[0]]...)
	}
	return all
}
