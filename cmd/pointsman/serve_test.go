package main

import (
	"bufio"
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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router"
)

// program builds the program once for the tests below.
var program = sync.OnceValues(func() (string, error) { return build(".") })

// build compiles a package; TestMain removes the folder.
func build(pkg string) (string, error) {
	out := filepath.Join(os.Getenv(buildDirEnv), strings.ReplaceAll(filepath.Base(pkg), ".", "pointsman"))
	text, err := exec.Command("go", "build", "-o", out, pkg).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	return out, nil
}

// site is a folder with a configuration, and what runs on it.
type site struct {
	t   *testing.T
	dir string
	bin string
	// serveArgs are further arguments of serve; env are variables of all commands.
	serveArgs, env []string
}

const routerConfig = `
listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
shutdown_grace: 3s
actions:
  - name: work
    plugin: exec
    settings: {command: [./work.sh]}
    concurrency: 8
    timeout: 20s
    retry: {min: 10ms, max: 50ms}
`

const routerRules = `
rules:
  - {name: work, when: 'event.type == "work"', do: [{action: work}]}
`

func newSite(t *testing.T, config, rules, script string) *site {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: t.TempDir(), bin: bin}
	s.write("pointsman.yaml", config)
	s.write("rules/rules.yaml", rules)
	s.write("work.sh", "#!/bin/sh\n"+script)
	if err := os.Chmod(s.path("work.sh"), 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) read(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(s.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	return string(text)
}

func (s *site) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.bin, append(args, "-c", s.path("pointsman.yaml"))...)
	cmd.Env = append(append(os.Environ(), "POINTSMAN_ADMIN_URL=", "POINTSMAN_URL=", "POINTSMAN_TOKEN="), s.env...)
	return cmd
}

// refused runs a command that must end by itself, and returns its exit code and
// what it said on both streams.
func (s *site) refused(args ...string) (code int, text string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	out, err := s.command(ctx, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if ctx.Err() != nil {
		s.t.Fatalf("%v goes on: %s", args, out)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return code, string(out)
}

// served is a running router process.
type served struct {
	*site
	cmd           *exec.Cmd
	events, admin string
	token         string
	exited        chan error
	begun         time.Time
	ready         time.Duration // from its start until it was ready

	mu  sync.Mutex
	log bytes.Buffer
}

// serve starts a router and waits until it is ready.
func (s *site) serve() *served {
	s.t.Helper()
	r := s.launch()
	r.until("ready", func() bool { return r.readiness().OK })
	r.ready = time.Since(r.begun)
	return r
}

// launch starts a router and waits until it listens.
func (s *site) launch() *served {
	s.t.Helper()
	r := &served{site: s, cmd: s.command(context.Background(), append([]string{"serve"}, s.serveArgs...)...), exited: make(chan error, 1)}
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	r.begun = time.Now()
	if err := r.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	listening := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var line struct{ Msg, Events, Admin string }
			_ = json.Unmarshal(lines.Bytes(), &line)
			r.mu.Lock()
			r.log.Write(append(lines.Bytes(), '\n'))
			r.mu.Unlock()
			if line.Msg == "listening" {
				r.events, r.admin = "http://"+line.Events, "http://"+line.Admin
				close(listening)
			}
		}
		r.exited <- r.cmd.Wait()
	}()
	s.t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		r.exited <- <-r.exited
	})
	select {
	case <-listening:
	case err := <-r.exited:
		r.exited <- err
		s.t.Fatalf("serve: %v\n%s", err, r.said())
	case <-time.After(liveTime):
		s.t.Fatalf("serve does not listen:\n%s", r.said())
	}
	r.token = strings.TrimSpace(s.read("pointsman-data/admin-token"))
	return r
}

func (r *served) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// until polls a process that cannot tell by itself.
func (r *served) until(what string, done func() bool) {
	r.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(liveTime)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			r.t.Fatalf("not %s:\n%s", what, r.said())
		}
	}
}

// signal sends a signal to the router.
func (r *served) signal(sig syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
}

// ended waits for the router's exit code; -1 for a signal.
func (r *served) ended(within time.Duration) int {
	r.t.Helper()
	select {
	case err := <-r.exited:
		r.exited <- err
		return r.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		r.t.Fatalf("serve goes on after %v:\n%s", within, r.said())
		return 0
	}
}

// get asks the admin listener; 0 when it does not answer.
func (r *served) get(path string, into any) int {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.admin+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			r.t.Fatalf("%s: %v: %s", path, err, text)
		}
	}
	return resp.StatusCode
}

func (r *served) readiness() (ready router.Readiness) {
	r.t.Helper()
	if code := r.get("/readyz", &ready); code != 0 && (code == http.StatusOK) != ready.OK {
		r.t.Errorf("readyz %d says ready %v", code, ready.OK)
	}
	return ready
}

// send posts one event; 0 when the router does not answer.
func (r *served) send(id, typ string) int {
	body := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"test","type":%q,"data":{"n":1}}`, id, typ)
	resp, err := http.Post(r.events+"/events", "application/cloudevents+json", strings.NewReader(body))
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// ask runs a command against the router and decodes its JSON.
func (r *served) ask(into any, args ...string) {
	r.t.Helper()
	cmd := r.command(r.t.Context(), append(args, "--url", r.admin, "-o", "json")...)
	cmd.Env = append(cmd.Env, "POINTSMAN_TOKEN="+r.token)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("%v: %v: %s", args, err, stderr.String())
	}
	if err := json.Unmarshal(out, into); err != nil {
		r.t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// record is a delivery as the commands print it.
type record struct {
	ID      string `json:"id"`
	EventID string `json:"event_id"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
	Error   string `json:"error"`
}

// all waits until every delivery is in a state, and returns them.
func (r *served) all(state string, n int) []record {
	r.t.Helper()
	var list []record
	r.until(fmt.Sprintf("%d deliveries %s", n, state), func() bool {
		var page struct{ Deliveries []record }
		r.get("/api/v1/deliveries?limit=1000&state="+state, &page)
		list = page.Deliveries
		return len(list) >= min(n, 1000)
	})
	return list
}

// marked lists the processes that carry the router's mark.
func (s *site) marked() []string {
	var inst struct{ ID string }
	if json.Unmarshal([]byte(s.read("pointsman-data/instance.json")), &inst) != nil || inst.ID == "" {
		s.t.Fatal("no instance id")
	}
	mark := []byte("POINTSMAN_SESSION=" + inst.ID + "/")
	found, _ := filepath.Glob("/proc/[0-9]*/environ")
	var out []string
	for _, f := range found {
		if env, err := os.ReadFile(f); err == nil && bytes.Contains(env, mark) {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
			out = append(out, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return out
}
