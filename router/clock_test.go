package router

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/sqlite"
)

// TestClockIsSet: setting the clock to and fro while an attempt runs and another
// waits takes no lease away, runs nothing twice and leaves nothing waiting, and is
// told.
func TestClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour, 23 * time.Hour, -24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var set atomic.Int64
				begun := time.Now()
				now := func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
				b := newBench(t, setup(t, bounceRule, Action{Name: "bounce", Timeout: time.Hour, Retry: RetryPolicy{Attempts: 3, MaxAge: 24 * time.Hour, Min: time.Minute, Max: time.Minute}}))
				if err := b.db.Close(); err != nil {
					t.Fatal(err)
				}
				var err error
				b.db, err = sqlite.Open(sqlite.Config{Path: b.path, Now: now, Steady: func() time.Duration { return time.Since(begun) }})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = b.db.Close() })
				b.cfg.Store, b.cfg.Now, b.cfg.Rand = b.db, now, func() float64 { return 0.5 }
				b.build()
				release := make(chan struct{})
				b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
					switch {
					case c.GetEventId() == "waits" && c.GetAttempt() == 1:
						return fail(c)
					case c.GetEventId() == "runs":
						select {
						case <-release:
						case <-c.ctx.Done():
							t.Errorf("the attempt was ended when the clock was set by %s", by)
						}
					}
					return succeed(c)
				})
				b.run()
				b.accept(event(t, "runs", "sw1"), event(t, "waits", "sw2"))
				pass(time.Second)
				set.Store(int64(by))
				pass(20 * time.Second) // longer than a lease
				b.accept(event(t, "new", "sw3"))
				pass(time.Second)
				b.is("new", store.Done, 1)
				if res := b.accept(event(t, "runs", "sw1")); !res[0].Duplicate {
					t.Error("an event is accepted again")
				}
				pass(20 * time.Second) // the minute's half is over
				b.is("waits", store.Done, 2)
				set.Store(0)
				pass(20 * time.Second)
				close(release)
				pass(time.Second)
				b.is("runs", store.Done, 1)
				if n := testutil.ToFloat64(b.r.metrics.ClockSet); n != 2 || !strings.Contains(b.log.String(), "the clock was set") {
					t.Errorf("told %v times", n)
				}
			})
		})
	}
}
