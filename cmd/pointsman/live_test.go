package main

import (
	"bufio"
	"bytes"
	"encoding/json"
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
)

// liveTime bounds everything that is waited for in tests with real processes.
const liveTime = 30 * time.Second

// liveBinary builds the program once and names it by an open file, so that
// nothing is left behind. Plugins are processes of the program, so the test
// binary cannot stand in for it.
var liveBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pointsman-live-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "pointsman")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), nil
})

// live is a router in a process of its own.
type live struct {
	t             *testing.T
	cmd           *exec.Cmd
	dir           string
	events, admin string // base URLs
	token         string

	mu   sync.Mutex // guards logs
	logs bytes.Buffer
	done chan struct{}
}

// startLive runs serve on dir/pointsman.yaml, to which free ports are added,
// until the test ends.
func startLive(t *testing.T, dir string, env ...string) *live {
	t.Helper()
	binary, err := liveBinary()
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "pointsman.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	const ports = "listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\n"
	if !strings.HasSuffix(string(text), ports) { // not started here before
		if err := os.WriteFile(config, append(text, ports...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := &live{t: t, dir: dir, done: make(chan struct{})}
	l.cmd = exec.Command(binary, "serve", "-c", config)
	l.cmd.Env = append(os.Environ(), env...)
	stderr, err := l.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening := make(chan struct{})
	go l.read(stderr, listening)
	t.Cleanup(l.stop)
	select {
	case <-listening:
	case <-l.done:
		t.Fatalf("serve ended\n%s", l.log())
	case <-time.After(liveTime):
		t.Fatalf("serve does not listen\n%s", l.log())
	}
	token, err := os.ReadFile(filepath.Join(dir, "pointsman-data", "admin-token"))
	if err != nil {
		t.Fatal(err)
	}
	l.token = strings.TrimSpace(string(token))
	l.until("the router is ready", func() bool {
		status, _ := l.get("/readyz")
		return status == http.StatusOK
	})
	return l
}

func (l *live) read(stderr io.Reader, listening chan<- struct{}) {
	defer close(l.done)
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		l.mu.Lock()
		l.logs.Write(append(lines.Bytes(), '\n'))
		l.mu.Unlock()
		var line struct{ Msg, Events, Admin string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			l.events, l.admin = "http://"+line.Events, "http://"+line.Admin
			close(listening)
		}
	}
}

// stop ends the router as a service manager does, and waits for it.
func (l *live) stop() {
	if l.cmd.ProcessState != nil {
		return
	}
	_ = l.cmd.Process.Signal(syscall.SIGTERM)
	<-l.done // the pipe must be read before Wait closes it
	if err := l.cmd.Wait(); err != nil {
		l.t.Errorf("serve: %v\n%s", err, l.log())
	}
}

func (l *live) log() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.logs.String()
}

// until polls a real process, which signals in no other way.
func (l *live) until(what string, ok func() bool) {
	l.t.Helper()
	for end := time.Now().Add(liveTime); !ok(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("waited in vain until %s\n%s", what, l.log())
		}
	}
}

// get asks the admin listener.
func (l *live) get(path string) (int, string) {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, l.admin+path, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	return l.do(req)
}

// post sends to the public listener; headers are "Name: value".
func (l *live) post(path, body string, headers ...string) (int, string) {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodPost, l.events+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	return l.do(req)
}

func (l *live) do(req *http.Request) (int, string) {
	l.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatalf("%v\n%s", err, l.log())
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// deliveries are those in a state, or all for "".
func (l *live) deliveries(state string) []liveDelivery {
	l.t.Helper()
	path := "/api/v1/deliveries"
	if state != "" {
		path += "?state=" + state
	}
	status, text := l.get(path)
	var page struct{ Deliveries []liveDelivery }
	if err := json.Unmarshal([]byte(text), &page); err != nil || status != http.StatusOK {
		l.t.Fatalf("%d %s", status, text)
	}
	return page.Deliveries
}

type liveDelivery struct {
	ID, Rule, Action, State, Error string
	Event                          string `json:"event_id"`
}
