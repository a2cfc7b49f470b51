package rules_test

import (
	"testing"
	"time"

	"github.com/pointsman/pointsman/rules"
)

// TestStep walks through a time of its own, event by event.
func TestStep(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	type event struct {
		at     time.Duration
		once   time.Duration // 0: as before
		fire   bool
		reason string
	}
	for _, tt := range []struct {
		name   string
		once   time.Duration
		events []event
	}{
		{"without once every event fires", 0, []event{{at: 0, fire: true}, {at: 0, fire: true}}},
		{"the window ends at exactly start + once", 10 * time.Minute, []event{
			{at: 0, fire: true},
			{at: 0, reason: "once 10m: fired 0s earlier, until 2026-03-01T12:10:00Z"},
			{at: 123 * time.Second, reason: "once 10m: fired 2m3s earlier, until 2026-03-01T12:10:00Z"},
			{at: 10*time.Minute - 1, reason: "once 10m: fired 9m59s earlier, until 2026-03-01T12:10:00Z"},
			{at: 10 * time.Minute, fire: true},
			{at: 20*time.Minute - 1, reason: "once 10m: fired 9m59s earlier, until 2026-03-01T12:20:00Z"},
			{at: 20 * time.Minute, fire: true},
		}},
		{"suppressed events do not extend it", time.Minute, []event{
			{at: 0, fire: true},
			{at: 50 * time.Second, reason: "once 1m: fired 50s earlier, until 2026-03-01T12:01:00Z"},
			{at: 70 * time.Second, fire: true},
		}},
		{"a clock that goes back does not fire", time.Minute, []event{
			{at: 0, fire: true},
			{at: -time.Hour, reason: "once 1m: fired 0s earlier, until 2026-03-01T12:01:00Z"},
			{at: time.Minute, fire: true},
		}},
		{"another once applies at once", time.Hour, []event{
			{at: 0, fire: true},
			{at: 10 * time.Minute, reason: "once 1h: fired 10m earlier, until 2026-03-01T13:00:00Z"},
			{at: 11 * time.Minute, once: 5 * time.Minute, fire: true},
			{at: 17 * time.Minute, once: time.Hour, reason: "once 1h: fired 6m earlier, until 2026-03-01T13:11:00Z"},
		}},
		{"fractions", 1500 * time.Millisecond, []event{
			{at: 0, fire: true},
			{at: 250 * time.Millisecond, reason: "once 1.5s: fired 250ms earlier, until 2026-03-01T12:00:01.5Z"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &rules.Rule{Once: tt.once}
			var state []byte
			for i, e := range tt.events {
				if e.once != 0 {
					r = &rules.Rule{Once: e.once}
				}
				now := start.Add(e.at)
				got, err := rules.Step(r, state, now)
				if err != nil {
					t.Fatal(err)
				}
				if got.Fire != e.fire || got.Reason != e.reason {
					t.Fatalf("event %d: fire %t, reason %q, want %t, %q", i, got.Fire, got.Reason, e.fire, e.reason)
				}
				if got.Changed != (e.fire && r.Once > 0) {
					t.Fatalf("event %d: changed %t", i, got.Changed)
				}
				if got.Changed {
					if want := now.Add(r.Once); !got.Expires.Equal(want) {
						t.Fatalf("event %d: expires %s, want %s", i, got.Expires, want)
					}
					state = got.Data
				}
			}
		})
	}
}

func TestStepUnreadable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ state, want string }{
		{`{"v":2,"start":1}`, "state of once has form 2, this program reads form 1"},
		{`{"v":1}`, "state of once is unreadable: it has no start"},
		{``, "state of once is unreadable: unexpected end of JSON input"},
	} {
		if _, err := rules.Step(&rules.Rule{Once: time.Minute}, []byte(tt.state), time.Unix(1, 0)); text(err) != tt.want {
			t.Errorf("%q: error %v", tt.state, err)
		}
	}
}
