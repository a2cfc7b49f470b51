package syslog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/monitor/syslog"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a loaded machine may take for what takes milliseconds.
const patience = 60 * time.Second

// shop takes events as a router does, or refuses them while it is closed.
type shop struct {
	mu     sync.Mutex
	closed bool
	tries  int
	events []*rules.Event
	ids    map[string]int
}

func (s *shop) accept(ctx context.Context, ev *rules.Event, _ *store.StateWrite) (router.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if ctx.Err() != nil {
		return router.Result{}, ctx.Err()
	}
	if s.closed {
		return router.Result{}, fmt.Errorf("%w: closed", router.ErrUnavailable)
	}
	if s.ids == nil {
		s.ids = make(map[string]int)
	}
	s.ids[ev.ID()]++
	s.events = append(s.events, ev)
	return router.Result{UID: ev.ID()}, nil
}

func (s *shop) close(closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = closed
}

func (s *shop) tried() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries
}

// of are the data of the events of a type that are there.
func (s *shop) of(t *testing.T, kind string) []map[string]any {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []map[string]any
	for _, ev := range s.events {
		if ev.Type() != kind {
			continue
		}
		if s.ids[ev.ID()] != 1 {
			t.Fatalf("the id %q was used %d times", ev.ID(), s.ids[ev.ID()])
		}
		var data map[string]any
		if err := json.Unmarshal(ev.Data(), &data); err != nil {
			t.Fatal(err)
		}
		out = append(out, data)
	}
	return out
}

// lines are the lines that are there, sorted.
func (s *shop) lines(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, data := range s.of(t, syslog.EventType) {
		out = append(out, data["raw"].(string))
	}
	slices.Sort(out)
	return out
}

// until waits for something to be true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-tick.C
	}
}

// rig is a source that runs.
type rig struct {
	shop
	addr string
	reg  *prometheus.Registry
	log  lockedBuffer
	stop func() // ends the source and waits for it
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a source on a free port of the loopback.
func start(t *testing.T, cfg syslog.Config) *rig {
	t.Helper()
	r := &rig{reg: prometheus.NewRegistry()}
	addr := make(chan string, 1)
	cfg.Name, cfg.Metrics = "sw", syslog.NewMetrics(r.reg)
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	cfg.Log = slog.New(slog.NewJSONHandler(&r.log, nil))
	cfg.Listening = func(a net.Addr) { addr <- a.String() }
	src := syslog.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- src.Run(ctx, r.accept, nil) }()
	select {
	case r.addr = <-addr:
	case err := <-ended:
		t.Fatal(err)
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// metric is the sum of a metric's values that have the label.
func (r *rig) metric(t *testing.T, name, label string) float64 {
	t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "pointsman_syslog_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == label {
					sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	return sum
}

func (r *rig) dial(t *testing.T, network string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// wantLines waits for as many lines and compares them.
func (r *rig) wantLines(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	until(t, fmt.Sprintf("%d lines", len(want)), func() bool { return len(r.lines(t)) >= len(want) })
	if diff := cmp.Diff(want, r.lines(t)); diff != "" {
		t.Fatal(diff)
	}
}
