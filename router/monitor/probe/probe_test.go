package probe_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/monitor/memory/memorytest"
	"github.com/pointsman/pointsman/router/monitor/probe"
)

// script is a check that sees one letter after another: d is down, any other is
// up and, when it is not u, what the target shows. The last one stays.
func script(text string) probe.Check {
	var at int
	return func(context.Context) probe.Result {
		c := text[min(at, len(text)-1)]
		at++
		switch c {
		case 'd':
			return probe.Result{Err: errors.New("refused")}
		case 'u':
			return probe.Result{}
		}
		return probe.Result{Seen: []string{string(c)}}
	}
}

// watch runs a probe for as long as n checks take, in virtual time.
func watch(t *testing.T, s *memorytest.Store, check probe.Check, n int, edit func(*probe.Config)) {
	t.Helper()
	cfg := probe.Config{
		Source: "core", Kind: "tcp", Targets: []probe.Target{{Name: "sw1:22", Check: check}},
		Interval: 10 * time.Second, Timeout: 5 * time.Second, DownAfter: 3, UpAfter: 2,
	}
	if edit != nil {
		edit(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*cfg.Interval)
	defer cancel()
	if err := probe.New(cfg).Run(ctx, s.Accept, s); err != nil {
		t.Fatal(err)
	}
}

func types(s *memorytest.Store) string {
	var out []string
	for _, e := range s.Events() {
		out = append(out, strings.TrimPrefix(e.Type, "pointsman.probe."))
	}
	return strings.Join(out, " ")
}

func TestHysteresis(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ checks, want string }{
		"a first state is a baseline":       {"uuuu", ""},
		"down at first is one too":          {"dddd", ""},
		"and told when it ends":             {"dddduu", "up"},
		"two failures are not enough":       {"uuddudduddu", ""},
		"three are":                         {"uuddd", "down"},
		"a change is told once":             {"uudddddddd", "down"},
		"one success is not enough":         {"udddudduddddu", "down"},
		"two are":                           {"udddduuuu", "down up"},
		"and again":                         {"udddduudddduu", "down up down up"},
		"down at first needs all its times": {"dduddduu", "down up"},
		"what is shown changes":             {"aaabbb", "changed"},
		"and once is not enough":            {"aaabaacaa", ""},
		"nor two that take turns":           {"abababab", ""},
		"the first one is no change":        {"uuaaaa", ""},
		"nor is a failure":                  {"aadaadda", ""},
		"it changes while it is down":       {"aadddbb", "down up changed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &memorytest.Store{}
				watch(t, s, script(c.checks), len(c.checks), nil)
				if got := types(s); got != c.want {
					t.Fatalf("%q, want %q", got, c.want)
				}
			})
		})
	}
}

func TestEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memorytest.Store{}
		begun := time.Now()
		watch(t, s, script("uuuuudddduu"), 11, nil)
		events := s.Events()
		if len(events) != 2 {
			t.Fatalf("%+v", events)
		}
		first := begun // of the baseline; the offset is that of the name
		if at, err := time.Parse(time.RFC3339Nano, events[0].Data["since"].(string)); err != nil {
			t.Fatal(err)
		} else {
			first = at.Add(-50 * time.Second)
		}
		if d := first.Sub(begun); d < 0 || d >= 10*time.Second {
			t.Fatalf("the first check is %s after the start", d)
		}
		at := func(check int) string {
			return first.Add(time.Duration(check) * 10 * time.Second).UTC().Format(time.RFC3339Nano)
		}
		want := []memorytest.Event{
			{
				Source: "pointsman:/probes/core", Type: probe.TypeDown, Subject: "sw1:22", Time: at(7),
				Data: map[string]any{
					"probe": "core", "target": "sw1:22", "kind": "tcp", "state": "down", "previous": "up", "since": at(5),
					"lasted": 50.0, "checks": 3.0, "latency": 0.0, "error": "refused",
				},
			},
			{
				Source: "pointsman:/probes/core", Type: probe.TypeUp, Subject: "sw1:22", Time: at(10),
				Data: map[string]any{
					"probe": "core", "target": "sw1:22", "kind": "tcp", "state": "up", "previous": "down", "since": at(9),
					"lasted": 40.0, "checks": 2.0, "latency": 0.0,
				},
			},
		}
		for i := range events {
			if !strings.HasPrefix(events[i].ID, "core-") {
				t.Error(events[i].ID)
			}
			events[i].ID = ""
		}
		if diff := cmp.Diff(want, events); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestStateOutlivesTheRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memorytest.Store{}
		watch(t, s, script("u"), 3, nil)
		time.Sleep(time.Hour) // the router is away, and the target goes down
		watch(t, s, script("d"), 5, nil)
		watch(t, s, script("d"), 5, nil)
		watch(t, s, script("u"), 5, nil)
		if got := types(s); got != "down up" {
			t.Fatal(got)
		}
		if lasted := s.Events()[0].Data["lasted"].(float64); lasted < 3600 {
			t.Fatal(lasted)
		}
	})
}

// A target that comes and goes while the store is away is told when it is back.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	for name, away := range map[string][2]int{"nothing was written": {9, 0}, "the answer was lost": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &memorytest.Store{}
				watch(t, s, script("u"), 3, nil)
				s.Away(away[0], away[1])
				watch(t, s, script("dddu"), 20, nil)
				if got := types(s); got != "down up" {
					t.Fatal(got)
				}
			})
		})
	}
}

// Several routers run the same probe: each change is one event, and when one of
// them ends the other goes on.
func TestReplicas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memorytest.Store{}
		var isDown atomic.Bool
		check := func(context.Context) probe.Result {
			if isDown.Load() {
				return probe.Result{Err: errors.New("refused")}
			}
			return probe.Result{}
		}
		stop := func() context.CancelFunc {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				cfg := probe.Config{
					Source: "core", Kind: "tcp", Targets: []probe.Target{{Name: "sw1:22", Check: check}},
					Interval: 10 * time.Second, Timeout: 5 * time.Second, DownAfter: 3, UpAfter: 2,
				}
				if err := probe.New(cfg).Run(ctx, s.Accept, s); err != nil {
					t.Error(err)
				}
			}()
			return func() { cancel(); <-done }
		}
		one, two := stop(), stop()
		for range 4 {
			time.Sleep(2 * time.Minute)
			isDown.Store(!isDown.Load())
		}
		time.Sleep(2 * time.Minute)
		if got := types(s); got != "down up down up" {
			t.Fatal(got)
		}
		isDown.Store(true)
		time.Sleep(2 * time.Minute)
		one()
		isDown.Store(false)
		time.Sleep(2 * time.Minute)
		two()
		if got := types(s); got != "down up down up down up" {
			t.Fatal(got)
		}
	})
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	within := func(days ...time.Duration) func(*probe.Config) {
		return func(c *probe.Config) {
			c.Interval, c.ExpiresWithin = day/2, nil
			for _, d := range days {
				c.ExpiresWithin = append(c.ExpiresWithin, d*day)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := &memorytest.Store{}
		ends, name := time.Now().Add(40*day), "a"
		check := func(context.Context) probe.Result {
			return probe.Result{Seen: []string{name}, Expires: ends}
		}
		told := func(want ...string) {
			t.Helper()
			var got []string
			for _, e := range s.Events() {
				text := strings.TrimPrefix(e.Type, "pointsman.probe.")
				if w := e.Data["expires_within"]; w != nil {
					text += fmt.Sprint(" ", w, " ", e.Data["left"].(float64) <= 30*86400)
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
		}
		watch(t, s, check, 10, within(7, 30, 1)) // 35 days left
		told()
		watch(t, s, check, 20, within(7, 30, 1)) // 25
		told("expiring 30d true")
		watch(t, s, check, 4, within(30)) // 23
		watch(t, s, check, 4, within(7, 30, 1))
		told("expiring 30d true")
		watch(t, s, check, 42, within(7, 30, 1)) // 0
		told("expiring 30d true", "expiring 7d true", "expiring 1d true")
		name, ends = "b", time.Now().Add(90*day)
		watch(t, s, check, 4, within(7, 30, 1))
		told("expiring 30d true", "expiring 7d true", "expiring 1d true", "changed")
		name, ends = "c", time.Now().Add(9*day)
		watch(t, s, check, 3, within(7, 30, 1))
		told("expiring 30d true", "expiring 7d true", "expiring 1d true", "changed", "changed", "expiring 30d true")
	})
}

// Checks of one target never overlap, those of all targets never exceed the
// slots, and they are spread.
func TestBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memorytest.Store{}
		var now, most, all atomic.Int32
		var mu sync.Mutex
		starts := map[time.Time]bool{}
		slots := make(chan struct{}, 3)
		cfg := probe.Config{Source: "many", Kind: "tcp", Interval: 10 * time.Second, Timeout: time.Minute, Slots: slots}
		for i := range 40 {
			var mine atomic.Int32
			first := true
			cfg.Targets = append(cfg.Targets, probe.Target{Name: fmt.Sprint("t", i), Check: func(ctx context.Context) probe.Result {
				if mine.Add(1) > 1 {
					t.Error("two checks of one target")
				}
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				all.Add(1)
				if first {
					mu.Lock()
					starts[time.Now()] = true
					mu.Unlock()
				}
				first = false
				time.Sleep(time.Second)
				now.Add(-1)
				mine.Add(-1)
				return probe.Result{}
			}})
		}
		cfg.Slots = slots
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if err := probe.New(cfg).Run(ctx, s.Accept, s); err != nil {
			t.Fatal(err)
		}
		if most.Load() != 3 || all.Load() < 300 || len(starts) < 10 {
			t.Fatalf("%d at once, %d checks, %d different starts", most.Load(), all.Load(), len(starts))
		}
	})
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memorytest.Store{}
		n := 0
		watch(t, s, func(ctx context.Context) probe.Result {
			if n++; n < 3 {
				return probe.Result{}
			}
			<-ctx.Done()
			return probe.Result{Err: ctx.Err()}
		}, 8, nil)
		events := s.Events()
		if len(events) != 1 || events[0].Data["error"] != "no answer within 5s" || events[0].Data["latency"] != 5.0 {
			t.Fatalf("%+v", events)
		}
	})
}

// A check that panics does not end the router.
func TestPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memorytest.Store{}
		cfg := probe.Config{Source: "core", Kind: "tcp", Interval: time.Second, Timeout: time.Second, Targets: []probe.Target{
			{Name: "sw1:22", Check: func(context.Context) probe.Result { panic("oh") }},
		}}
		if err := probe.New(cfg).Run(t.Context(), s.Accept, s); err == nil || !strings.Contains(err.Error(), "target sw1:22: panic: oh") {
			t.Fatal(err)
		}
	})
}

// What fails on this side says nothing of the target.
func TestLocalError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memorytest.Store{}
		watch(t, s, script("u"), 2, nil)
		cfg := probe.Config{Source: "core", Kind: "tcp", Interval: time.Second, Timeout: time.Second, Targets: []probe.Target{
			{Name: "other", Check: script("u")},
			{Name: "sw1:22", Check: func(context.Context) probe.Result {
				return probe.Result{Err: fmt.Errorf("connect: %w: too many open files", probe.ErrLocal)}
			}},
		}}
		err := probe.New(cfg).Run(t.Context(), s.Accept, s)
		if !errors.Is(err, probe.ErrLocal) || !strings.Contains(err.Error(), "target sw1:22: connect: ") {
			t.Fatal(err)
		}
		if got := types(s); got != "" {
			t.Fatal(got)
		}
	})
}
