package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// liveTime bounds everything that is waited for in tests with real processes.
const liveTime = 30 * time.Second

// live is a router whose configuration says nothing of ports, such as that of an
// example. It must end well when it is told to.
type live struct{ *served }

// startLive runs serve on dir/pointsman.yaml, to which free ports are added,
// until the test ends.
func startLive(t *testing.T, dir string, env ...string) *live {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir, bin: bin, env: env}
	const ports = "listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\n"
	if text := s.read("pointsman.yaml"); !strings.HasSuffix(text, ports) { // not started here before
		s.write("pointsman.yaml", text+ports)
	}
	l := &live{s.serve()}
	t.Cleanup(l.stop)
	return l
}

// stop ends the router as a service manager does, and waits for it.
func (l *live) stop() {
	_ = l.cmd.Process.Signal(syscall.SIGTERM) // it may have ended before
	if code := l.ended(liveTime); code != exitOK {
		l.t.Errorf("serve exits with %d\n%s", code, l.log())
	}
}

func (l *live) log() string { return l.said() }

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
