package router

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
)

func TestAnEventIsDelivered(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce"}))
		res := b.accept(event(t, "e1", "sw1"))
		if res[0].Duplicate || res[0].Conflict || res[0].UID == "" {
			t.Errorf("result %+v", res[0])
		}
		pass(100 * time.Millisecond)
		d := b.is("e1", store.Done, 1)
		if diff := cmp.Diff([]string{"1 done"}, b.history(d.ID)); diff != "" {
			t.Error(diff)
		}
		if got := string(b.runner.calls[0].GetParams()); got != `{"args":["sw1"]}` {
			t.Errorf("params %s", got)
		}
	})
}

// Each row: how successive attempts end, and what becomes of the delivery.
func TestAttempts(t *testing.T) {
	t.Parallel()
	timeout := "timeout"
	tests := []struct {
		name     string
		scripts  []script // the last one for all that follow
		within   time.Duration
		state    store.DeliveryState
		reason   string
		attempts int
		history  []string
	}{
		{"failures until it is done", []script{fail, fail, succeed}, 3 * time.Second, store.Done, "", 3, []string{"1 failed", "2 failed", "3 done"}},
		{"permanent is dead at once", []script{refuse}, 0, store.Dead, store.ReasonPermanent, 1, []string{"1 permanent"}},
		{"attempts used up", []script{fail}, 3 * time.Second, store.Dead, store.ReasonAttempts, 3, []string{"1 failed", "2 failed", "3 failed"}},
		{"retry-after is kept", []script{retryAfter(20 * time.Minute), succeed}, 20*time.Minute - time.Second, store.Ready, "", 1, []string{"1 failed"}},
		{"and is over a tenth later", []script{retryAfter(20 * time.Minute), succeed}, 22*time.Minute + time.Second, store.Done, "", 2, []string{"1 failed", "2 done"}},
		{"retry-after beyond max_age", []script{retryAfter(2 * time.Hour)}, 0, store.Dead, store.ReasonAge, 1, []string{"1 failed"}},
		{"too old when it is due", []script{retryAfter(59 * time.Minute), fail}, time.Hour, store.Dead, store.ReasonAttempts, 3, nil},
		{"timeouts count", []script{hang}, 3 * time.Minute, store.Dead, store.ReasonAttempts, 3, []string{"1 " + timeout, "2 " + timeout, "3 " + timeout}},
		{"a plugin that cannot start costs nothing", []script{notThere, notThere, notThere, notThere, succeed}, time.Minute, store.Done, "", 1, []string{"1 done"}},
		{"a plugin that cannot start for longer than max_age", []script{notThere}, time.Hour + 6*time.Second, store.Dead, store.ReasonAge, 0, nil},
		{"three crashes alone", []script{crash}, 5 * time.Second, store.Dead, store.ReasonCrashes, 0, []string{"1 crashed", "2 crashed", "3 crashed", "4 crashed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := running(t, setup(t, bounceRule, Action{Name: "bounce"}))
				b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
					return tt.scripts[min(b.runner.count(), len(tt.scripts))-1](c)
				})
				b.accept(event(t, "e1", "sw1"))
				pass(tt.within + 100*time.Millisecond)
				d := b.is("e1", tt.state, tt.attempts)
				if d.Reason != tt.reason {
					t.Errorf("reason %q, want %q", d.Reason, tt.reason)
				}
				if diff := cmp.Diff(tt.history, b.history(d.ID)); tt.history != nil && diff != "" {
					t.Errorf("history (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestConcurrencyIsPerAction(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		text := bounceRule + `
  - {name: page, when: 'event.type == "down"', do: [{action: page}]}
`
		b := running(t, setup(t, text, Action{Name: "bounce", Concurrency: 3, Timeout: 10 * time.Minute}, Action{Name: "page", Concurrency: 2}))
		b.runner.plays("bounce", hang)
		for i := range 20 {
			b.accept(event(t, string(rune('a'+i)), "sw1"))
		}
		pass(50 * time.Millisecond)
		if got := b.runner.peak; got["bounce"] != 3 || got["page"] > 2 {
			t.Errorf("at once: %v, want 3 of bounce and at most 2 of page", got)
		}
		done, err := b.db.Deliveries(t.Context(), store.DeliveryQuery{Action: "page", States: []store.DeliveryState{store.Done}})
		if err != nil || len(done) != 20 {
			t.Errorf("%d of page done beside a hung action, %v", len(done), err)
		}
	})
}

// A plugin dies under several runs, by the fault of one.
func TestOnlyThePoisonDies(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce", Concurrency: 8}))
		died := make(chan struct{})
		b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
			switch first := c.GetAttempt() == 1; {
			case first && c.GetEventId() == "poison":
				time.Sleep(time.Second) // until the others run
				close(died)
				return nil, crashError{}
			case first:
				<-died
				return nil, crashError{}
			case c.GetEventId() == "poison":
				return nil, crashError{}
			}
			b.runner.mu.Lock()
			n := b.runner.active["bounce"]
			b.runner.mu.Unlock()
			if n != 1 {
				t.Errorf("suspect %s runs beside %d others", c.GetEventId(), n-1)
			}
			return succeed(c)
		})
		ids := []string{"a", "b", "poison", "c", "d"}
		for _, id := range ids {
			b.accept(event(t, id, id))
		}
		pass(20 * time.Second)
		for _, id := range ids {
			if id == "poison" {
				d := b.is(id, store.Dead, 0)
				if d.Reason != store.ReasonCrashes || d.Crashes != 3 {
					t.Errorf("poison: reason %s after %d crashes", d.Reason, d.Crashes)
				}
				continue
			}
			d := b.is(id, store.Done, 1)
			if diff := cmp.Diff([]string{"1 crashed", "2 done"}, b.history(d.ID)); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// What a shutdown does to running attempts, by what they do then.
func TestShutdown(t *testing.T) {
	t.Parallel()
	late := func(c call) (*actionv1.RunResponse, error) {
		<-c.ctx.Done()
		return succeed(c)
	}
	// silent was told to stop, said nothing, and was ended: what it did is not
	// known.
	silent := func(c call) (*actionv1.RunResponse, error) {
		<-c.ctx.Done()
		return nil, errors.New("no result in time, the plugin was stopped")
	}
	tests := []struct {
		name    string
		hold    bool
		script  script
		state   store.DeliveryState
		history []string
	}{
		{"it ends in the grace", false, func(c call) (*actionv1.RunResponse, error) {
			time.Sleep(5 * time.Second)
			return succeed(c)
		}, store.Done, []string{"1 done"}},
		{"it ends when asked to", false, hang, store.Ready, []string{"1 released"}},
		{"it is done when asked to stop", false, late, store.Done, []string{"1 done"}},
		{"it is killed", false, deaf, store.Ready, []string{"1 released"}},
		{"it is killed and held", true, deaf, store.Held, []string{"1 crashed"}},
		{"it says nothing", false, silent, store.Ready, []string{"1 released"}},
		{"it says nothing and is held", true, silent, store.Held, []string{"1 crashed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := running(t, setup(t, bounceRule, Action{Name: "bounce", Hold: tt.hold, Timeout: time.Hour}))
				b.runner.plays("bounce", tt.script)
				b.accept(event(t, "e1", "sw1"))
				pass(time.Second)
				begun := time.Now()
				if err := b.stop(); err != nil {
					t.Errorf("run: %v", err)
				}
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("stopping took %v, the grace is 10 s", took)
				}
				if _, err := b.r.Accept(t.Context(), fromEvents, nil); !errors.Is(err, ErrStopping) {
					t.Errorf("accept afterwards: %v", err)
				}
				attempts := 0
				if tt.state == store.Done {
					attempts = 1
				}
				d := b.is("e1", tt.state, attempts)
				if diff := cmp.Diff(tt.history, b.history(d.ID)); diff != "" {
					t.Errorf("history (-want +got):\n%s", diff)
				}
				b.restart()
				b.run()
				pass(time.Second)
				want := store.Done
				if tt.hold {
					want = store.Held
				}
				if d := b.the("e1"); d.State != want {
					t.Errorf("after the restart it is %s (%s)", d.State, d.Error)
				}
			})
		})
	}
}

// The router dies with the attempt open: nothing was settled.
func TestCrashOfTheRouter(t *testing.T) {
	t.Parallel()
	for _, hold := range []bool{false, true} {
		t.Run(map[bool]string{false: "retry", true: "hold"}[hold], func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := newBench(t, setup(t, bounceRule, Action{Name: "bounce", Hold: hold}))
				if _, err := b.db.Enter(t.Context(), store.Instance{ID: "one"}); err != nil {
					t.Fatal(err)
				}
				p := &pending{from: fromEvents, ev: event(t, "e1", "sw1"), setup: b.r.setup.Load(), left: newCountdown(1)}
				p.matches = p.setup.Rules.Match(p.ev)
				b.r.commits.commit(t.Context(), []*pending{p})
				leases, _, err := b.db.Claim(t.Context(), "op", []store.Want{{Action: "bounce", N: 1, Durable: true}}, time.Minute)
				if err != nil || len(leases) != 1 {
					t.Fatalf("%d leases, %v", len(leases), err)
				}
				b.restart()
				b.run()
				pass(time.Second)
				if hold {
					d := b.is("e1", store.Held, 0)
					if d.Reason != store.ReasonUncertain || b.runner.count() != 0 {
						t.Errorf("reason %s, %d runs", d.Reason, b.runner.count())
					}
					if o := b.retry(d.ID); o.Result != orderOK {
						t.Errorf("retry of held: %+v", o)
					}
					pass(time.Second)
				}
				d := b.is("e1", store.Done, 1)
				if diff := cmp.Diff([]string{"1 lost", "2 done"}, b.history(d.ID)); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// A removed action's deliveries wait for it, but not for ever.
func TestRemovedAction(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first := setup(t, bounceRule, Action{Name: "bounce", Retry: RetryPolicy{Attempts: 3, MaxAge: 72 * time.Hour, Min: time.Second, Max: time.Second}})
		b := running(t, first)
		b.runner.plays("bounce", retryAfter(time.Minute))
		b.accept(event(t, "e1", "sw1"), event(t, "e2", "sw2"))
		pass(time.Second)
		if err := b.r.Reload(t.Context(), setup(t, "rules: []\n")); err != nil {
			t.Fatal(err)
		}
		b.runner.plays("bounce", succeed)
		pass(time.Hour)
		b.is("e1", store.Ready, 1)
		if err := b.r.Reload(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		b.is("e1", store.Done, 2)
		b.is("e2", store.Done, 2)

		b.runner.plays("bounce", retryAfter(time.Minute))
		b.accept(event(t, "e3", "sw3"))
		pass(time.Second)
		if err := b.r.Reload(t.Context(), setup(t, "rules: []\n")); err != nil {
			t.Fatal(err)
		}
		pass(23 * time.Hour)
		b.is("e3", store.Ready, 1)
		pass(2 * time.Hour)
		if d := b.is("e3", store.Dead, 1); d.Reason != store.ReasonAge {
			t.Errorf("reason %s: %s", d.Reason, d.Error)
		}
	})
}

func TestLongRunKeepsItsLease(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce", Timeout: 10 * time.Minute}))
		b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
			time.Sleep(5 * time.Minute)
			return succeed(c)
		})
		b.accept(event(t, "e1", "sw1"))
		pass(6 * time.Minute)
		d := b.is("e1", store.Done, 1)
		if !slices.Equal(b.history(d.ID), []string{"1 done"}) {
			t.Errorf("history %v", b.history(d.ID))
		}
	})
}

// A plugin that cannot start must not make the router turn over everything that
// waits for it.
func TestMuchWaitsForABrokenPlugin(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := setup(t, bounceRule, Action{Name: "bounce"})
		b := running(t, s)
		b.runner.plays("bounce", notThere)
		for i := range 300 {
			b.accept(event(t, fmt.Sprint("e", i), "sw1"))
		}
		pass(time.Minute)
		if n := b.runner.count(); n > 4*60 {
			t.Errorf("%d tries in a minute for 300 deliveries", n)
		}
		b.runner.plays("bounce", succeed)
		pass(7 * time.Second)
		done, err := b.db.Deliveries(t.Context(), store.DeliveryQuery{States: []store.DeliveryState{store.Done}})
		if err != nil || len(done) != 300 {
			t.Errorf("%d done soon after it was mended, %v", len(done), err)
		}
	})
}

// A crash under a concurrency of one is laid to the delivery; so it must have
// been alone, even when the concurrency was raised meanwhile.
func TestConcurrencyRaisedWhileRunning(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce", Concurrency: 1}))
		b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
			if c.GetEventId() != "first" || c.GetAttempt() > 1 {
				return succeed(c)
			}
			time.Sleep(5 * time.Second)
			b.runner.mu.Lock()
			defer b.runner.mu.Unlock()
			if n := len(b.runner.calls); n != 1 {
				t.Errorf("%d runs until the crash", n)
			}
			return nil, crashError{}
		})
		b.accept(event(t, "first", "sw1"))
		pass(100 * time.Millisecond)
		if err := b.r.Reload(t.Context(), setup(t, bounceRule, Action{Name: "bounce", Concurrency: 2})); err != nil {
			t.Fatal(err)
		}
		b.accept(event(t, "second", "sw2"))
		pass(10 * time.Second)
		if d := b.is("first", store.Done, 1); d.Crashes != 1 {
			t.Errorf("%d crashes", d.Crashes)
		}
		b.is("second", store.Done, 1)
	})
}
