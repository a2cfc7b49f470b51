package host

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 6, 12, 0, 0, 0, time.UTC)
	b := &breaker{crashes: 3, window: time.Minute, pause: 10 * time.Second, maxPause: 30 * time.Second}
	boom := errors.New("boom")
	pass := func(want string) bool {
		t.Helper()
		probe, err := b.enter(now)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Fatalf("got %v, want %q", err, want)
		}
		return probe
	}
	// Crashes that lie further apart than the window open nothing.
	for range 6 {
		now = now.Add(31 * time.Second)
		if b.crash(now, boom) {
			t.Fatal("opened early")
		}
	}
	if pass("") {
		t.Fatal("closed, and a probe")
	}
	now = now.Add(2 * time.Second)
	if !b.crash(now, boom) {
		t.Fatal("not opened by the third crash in a minute")
	}
	for _, pause := range []time.Duration{10, 20, 30, 30} {
		pass("circuit open: it crashed 3 times within 1m0s")
		if err := b.admits(now, false); err == nil {
			t.Fatal("a run that came before is admitted")
		}
		now = now.Add(pause*time.Second - 1)
		pass("last: boom")
		now = now.Add(1)
		if !pass("") || b.admits(now, true) != nil {
			t.Fatal("no probe after the pause")
		}
		pass("half open")
		if b.admits(now, false) == nil {
			t.Fatal("a run beside the probe is admitted")
		}
		b.crash(now, boom)
		if b.admits(now, true) == nil {
			t.Fatal("the probe goes on after a crash")
		}
		b.leave(false)
	}
	now = now.Add(time.Hour)
	pass("")
	b.leave(false) // neither a result nor a crash
	pass("")
	b.leave(true)
	if pass("") || b.open(now) != nil {
		t.Fatal("not closed by a result")
	}
	b.crash(now, boom)
	b.crash(now, boom)
	pass("")
}
