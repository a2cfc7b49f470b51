package router

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// Each event meets one revision as a whole and refers to it for ever.
func TestReloadUnderLoad(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		// Two rules of a revision carry its number; an event that met a mixture
		// would have two numbers.
		of := func(n int) Setup {
			return setup(t, fmt.Sprintf(`
rules:
  - {name: first-%d, when: 'event.type == "down"', do: [{action: bounce}]}
  - {name: second-%d, when: 'event.type == "down"', do: [{action: bounce}]}
`, n, n), Action{Name: "bounce", Concurrency: 50})
		}
		const revisions, events = 100, 400
		numbers := make(map[string]int)
		setups := make([]Setup, revisions)
		for n := range setups {
			setups[n] = of(n)
			numbers[setups[n].Revision.ID] = n
		}
		b := running(t, setups[0])
		var all sync.WaitGroup
		all.Go(func() {
			for _, s := range setups {
				if err := b.r.Reload(t.Context(), s); err != nil {
					t.Errorf("reload: %v", err)
				}
			}
		})
		for sender := range 4 {
			all.Go(func() {
				for i := range events / 4 {
					if _, err := b.r.Accept(t.Context(), fromEvents, []*rules.Event{event(t, fmt.Sprintf("e%d-%d", sender, i), "sw1")}); err != nil {
						t.Errorf("accept: %v", err)
					}
				}
			})
		}
		all.Wait()
		pass(time.Minute)
		evs, err := b.db.Events(t.Context(), store.EventQuery{})
		if err != nil || len(evs) != events {
			t.Fatalf("%d events, %v", len(evs), err)
		}
		met := make(map[int]bool)
		for _, ev := range evs {
			n, ok := numbers[ev.Revision]
			if !ok {
				t.Fatalf("event %s refers to revision %s", ev.ID, ev.Revision)
			}
			met[n] = true
			want := fmt.Sprintf("first-%d matched, second-%d matched", n, n)
			if got := b.verdicts(ev.ID); got != want {
				t.Errorf("event %s of revision %d: %s", ev.ID, n, got)
			}
			why, err := b.r.Why(t.Context(), ev)
			if err != nil || len(why) != 2 || why[0].Rule != fmt.Sprint("first-", n) || why[0].Verdict != VerdictMatched {
				t.Errorf("why %s: %+v, %v", ev.ID, why, err)
			}
		}
		if b.runner.count() != 2*events {
			t.Errorf("%d runs, want %d", b.runner.count(), 2*events)
		}
		t.Logf("%d events met %d of %d revisions", events, len(met), revisions)
	})
}

// A store that does not take the revision changes nothing.
func TestRefusedReload(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce"}))
		old := b.r.Setup().Revision.ID
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.r.Reload(ctx, setup(t, "rules: []\n")); err == nil {
			t.Error("no error")
		}
		if b.r.Setup().Revision.ID != old {
			t.Error("the set-up has changed")
		}
	})
}

// short is a store that promises less than it should, once it can be asked.
type short struct {
	store.Full
	away bool
}

func (s *short) Shortfalls(context.Context, store.Durability) ([]store.Shortfall, error) {
	if s.away {
		s.away = false
		return nil, store.ErrUnavailable
	}
	return []store.Shortfall{{Setting: "appendonly", Value: "no", Want: "yes", Fatal: true}}, nil
}

func TestStoreThatFallsShortIsRefusedWhenItCanBeAsked(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, "rules: []\n"))
		b.cfg.Store = &short{Full: b.db, away: true}
		b.build()
		err := b.r.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "appendonly is no, want yes") {
			t.Errorf("run: %v", err)
		}
	})
}

// fussy is a store with trouble of a certain kind.
type fussy struct {
	store.Full
	bad    func(store.Outcome) bool // outcomes it does not take
	hang   bool                     // settling never ends by itself
	extend error
	// late is how much later than the store gave them the first leases come; lost
	// counts the answers that are lost before.
	late time.Duration
	lost int
	// first is the first lease that was given.
	first store.Lease
}

func (f *fussy) Claim(ctx context.Context, op store.OpID, wants []store.Want, ttl time.Duration) ([]store.Lease, time.Duration, error) {
	leases, wait, err := f.Full.Claim(ctx, op, wants, ttl)
	if len(leases) == 0 || f.late == 0 {
		return leases, wait, err
	}
	f.first = leases[0]
	time.Sleep(f.late)
	if f.lost > 0 {
		f.lost--
		return nil, 0, store.ErrUnavailable
	}
	f.late = 0
	return leases, wait, err
}

func (f *fussy) Settle(ctx context.Context, outs ...store.Outcome) ([]store.Settled, error) {
	if f.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, o := range outs {
		if f.bad != nil && f.bad(o) {
			return nil, errors.New("cannot be written")
		}
	}
	return f.Full.Settle(ctx, outs...)
}

func (f *fussy) Extend(ctx context.Context, refs []store.LeaseRef, ttl time.Duration) ([]bool, error) {
	if f.extend != nil {
		return nil, f.extend
	}
	return f.Full.Extend(ctx, refs, ttl)
}

func TestOutcomeThatCannotBeStored(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, bounceRule, Action{Name: "bounce"}))
		b.cfg.Store = &fussy{Full: b.db, bad: func(o store.Outcome) bool { return o.State == store.Dead }}
		b.build()
		b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
			if c.GetEventId() == "bad" {
				return refuse(c)
			}
			return succeed(c)
		})
		b.run()
		b.accept(event(t, "bad", "sw1"))
		pass(100 * time.Millisecond)
		for _, id := range []string{"e1", "e2", "e3"} {
			b.accept(event(t, id, id))
		}
		pass(10 * time.Second)
		for _, id := range []string{"e1", "e2", "e3"} {
			b.is(id, store.Done, 1)
		}
	})
}

func TestShutdownWithoutItsStore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, bounceRule, Action{Name: "bounce"}))
		b.cfg.Store = &fussy{Full: b.db, hang: true}
		b.build()
		b.run()
		b.accept(event(t, "e1", "sw1"))
		pass(time.Second)
		begun := time.Now()
		if err := b.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 11*time.Second {
			t.Errorf("stopping took %v, the grace is 10 s", took)
		}
		b.restart()
		b.run()
		pass(time.Second)
		d := b.is("e1", store.Done, 1)
		if h := b.history(d.ID); len(h) != 2 || h[0] != "1 lost" {
			t.Errorf("history %v", h)
		}
	})
}

// Leases cannot be extended: the attempt ends before another may begin.
func TestLostLease(t *testing.T) {
	t.Parallel()
	for _, hold := range []bool{false, true} {
		t.Run(map[bool]string{false: "retry", true: "hold"}[hold], func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := newBench(t, setup(t, bounceRule, Action{Name: "bounce", Hold: hold, Timeout: time.Hour}))
				b.cfg.Store = &fussy{Full: b.db, extend: store.ErrUnavailable}
				b.build()
				b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
					if c.GetAttempt() > 1 {
						return succeed(c)
					}
					<-c.ctx.Done()
					time.Sleep(8 * time.Second) // beyond the lease
					return nil, errors.New("no result in time, the plugin was stopped")
				})
				b.run()
				b.accept(event(t, "e1", "sw1"))
				pass(time.Minute)
				want, runs, attempts := store.Done, 2, 1
				if hold {
					want, runs, attempts = store.Held, 1, 0
				}
				b.is("e1", want, attempts)
				if n := b.runner.count(); n != runs {
					t.Errorf("%d runs, want %d", n, runs)
				}
			})
		})
	}
}

// A router that stood still, or did not hear of its leases, until they had run
// out does not begin their attempts: by then another may run the deliveries.
// lateError says that a run was not sent because its lease had run out.
type lateError struct{}

func (lateError) Error() string { return "late" }
func (lateError) Late() bool    { return true }

// TestRunThatWasTooLate: the router stood still after it had looked whether the
// lease is held. The run that was not sent is no attempt, and the end of the
// lease is what the runner sees as its deadline.
func TestRunThatWasTooLate(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce"}))
		first := true
		b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
			if !first {
				return succeed(c)
			}
			first = false
			ends, ok := c.ctx.Deadline()
			if left := time.Until(ends); !ok || left <= 0 || left > 15*time.Second {
				t.Errorf("the deadline is in %v, %v", left, ok)
			}
			return nil, lateError{}
		})
		b.accept(event(t, "e1", "sw1"))
		pass(time.Minute)
		d := b.is("e1", store.Done, 1)
		if diff := cmp.Diff([]string{"1 done"}, b.history(d.ID)); diff != "" {
			t.Fatalf("history (-want +got)\n%s", diff)
		}
	})
}

func TestLeaseThatRanOutIsNotBegun(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		late time.Duration
		lost int
	}{
		// Not at the moment of an extension, which would give the lease back: nobody
		// has taken it over.
		{"stood still", 22 * time.Second, 0},
		{"lost answers", 6 * time.Second, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := newBench(t, setup(t, bounceRule, Action{Name: "bounce"}))
				f := &fussy{Full: b.db, late: tt.late, lost: tt.lost}
				b.cfg.Store = f
				b.build()
				b.run()
				b.accept(event(t, "e1", "sw1"))
				pass(time.Minute)
				b.is("e1", store.Done, 1)
				if n := b.runner.count(); n != 1 || b.runner.calls[0].GetEpoch() == f.first.Epoch {
					t.Errorf("%d runs, the first with epoch %d of the lease that had run out", n, b.runner.calls[0].GetEpoch())
				}
			})
		})
	}
}
