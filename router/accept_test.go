package router

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

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

const onceRule = `
rules:
  - name: bounce
    when: event.type == "down"
    key: event.source
    once: 10m
    do: [{action: bounce}]
`

// moody is a store that can be away.
type moody struct {
	store.Full
	err     atomic.Pointer[error] // of every write and claim
	enter   atomic.Pointer[error]
	commits atomic.Int64
	txns    atomic.Int64
	// hold makes commits wait.
	hold atomic.Pointer[chan struct{}]
}

func (m *moody) fails(err error) {
	if err == nil {
		m.err.Store(nil)
		return
	}
	m.err.Store(&err)
}

func (m *moody) trouble() error {
	if err := m.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (m *moody) Enter(ctx context.Context, i store.Instance) (uint64, error) {
	if err := m.enter.Load(); err != nil {
		return 0, *err
	}
	return m.Full.Enter(ctx, i)
}

func (m *moody) Commit(ctx context.Context, txns ...store.Txn) ([]store.Result, error) {
	if hold := m.hold.Load(); hold != nil {
		select {
		case <-*hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := m.trouble(); err != nil {
		return nil, err
	}
	m.commits.Add(1)
	m.txns.Add(int64(len(txns)))
	return m.Full.Commit(ctx, txns...)
}

func (m *moody) Claim(ctx context.Context, op store.OpID, w []store.Want, ttl time.Duration) ([]store.Lease, time.Duration, error) {
	if err := m.trouble(); err != nil {
		return nil, 0, err
	}
	return m.Full.Claim(ctx, op, w, ttl)
}

func (m *moody) Settle(ctx context.Context, outs ...store.Outcome) ([]store.Settled, error) {
	if err := m.trouble(); err != nil {
		return nil, err
	}
	return m.Full.Settle(ctx, outs...)
}

// moodyBench makes a router on a store that can be away; it does not run yet.
func moodyBench(t *testing.T, s Setup) (*bench, *moody) {
	t.Helper()
	b := newBench(t, s)
	m := &moody{Full: b.db}
	b.cfg.Store = m
	b.build()
	return b, m
}

// batch makes pendings as Accept does, for one commit.
func (b *bench) batch(evs ...*rules.Event) []*pending {
	var out []*pending
	left := newCountdown(len(evs))
	for _, ev := range evs {
		p := &pending{from: fromEvents, ev: ev, setup: b.r.setup.Load(), left: left}
		p.matches = p.setup.Rules.Match(ev)
		out = append(out, p)
	}
	return out
}

func (b *bench) verdicts(id string) string {
	b.t.Helper()
	var out []string
	for _, v := range b.recorded(id).Verdicts {
		out = append(out, v.Rule+" "+v.Verdict)
	}
	return strings.Join(out, ", ")
}

func TestNothingToAccept(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce"}))
		if res := b.accept(); len(res) != 0 {
			t.Errorf("results %v", res)
		}
	})
}

func TestSameIDAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce"}))
		one := b.accept(event(t, "e1", "sw1"), event(t, "e1", "sw1"), event(t, "e1", "sw2"), eventOf(t, "e1", "sw1", `{"other": 1}`))
		for i, want := range []string{EventAccepted, EventDuplicate, EventAccepted, EventConflict} {
			if got := one[i].word(); got != want {
				t.Errorf("event %d of the request: %s, want %s", i, got, want)
			}
		}
		if again := b.accept(event(t, "e1", "sw1")); !again[0].Duplicate || again[0].UID != one[0].UID {
			t.Errorf("again: %+v", again[0])
		}
		lax := fromEvents
		lax.Strict = false
		res, err := b.r.Accept(t.Context(), lax, []*rules.Event{eventOf(t, "e1", "sw1", `{"third": 1}`)})
		if err != nil || !res[0].Duplicate {
			t.Errorf("an id that pointsman derived: %+v, %v", res, err)
		}
		pass(time.Second)
		if n := b.runner.count(); n != 2 {
			t.Errorf("%d runs: %v", n, b.runner.ran())
		}
		pass(24 * time.Hour)
		if late := b.accept(event(t, "e1", "sw1")); late[0].Duplicate {
			t.Error("still a duplicate after the window")
		}
	})
}

func TestAlertStormFiresOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, m := moodyBench(t, setup(t, onceRule, Action{Name: "bounce"}))
		b.run()
		var all sync.WaitGroup
		for i := range 1000 {
			ev := event(t, fmt.Sprint("e", i), "sw1")
			all.Go(func() {
				if _, err := b.r.Accept(t.Context(), fromEvents, []*rules.Event{ev}); err != nil {
					t.Errorf("accept: %v", err)
				}
			})
		}
		all.Wait()
		pass(time.Second)
		if n := b.runner.count(); n != 1 {
			t.Errorf("%d runs", n)
		}
		if n := m.txns.Load(); n != 1000 {
			t.Errorf("%d transactions in %d commits for 1000 events: some were stepped again", n, m.commits.Load())
		}
		pass(10 * time.Minute)
		b.accept(event(t, "next", "sw1"))
		pass(time.Second)
		if n := b.runner.count(); n != 2 {
			t.Errorf("%d runs after the window", n)
		}
	})
}

// An event must not be throttled because of one that was not accepted.
func TestThrottledOnlyByWhatIsCommitted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, onceRule, Action{Name: "bounce"}))
		commit := func(evs ...*rules.Event) {
			b.r.commits.commit(t.Context(), b.batch(evs...))
		}
		commit(event(t, "first", "sw1"))
		pass(time.Hour) // the window is over, the id is remembered
		commit(event(t, "first", "sw1"), event(t, "second", "sw1"), event(t, "third", "sw1"))
		for id, want := range map[string]string{"first": "bounce matched", "second": "bounce matched", "third": "bounce throttled"} {
			if got := b.verdicts(id); got != want {
				t.Errorf("%s: %s, want %s", id, got, want)
			}
		}
		if n := b.recorded("first").Duplicates; n != 1 {
			t.Errorf("%d duplicates counted", n)
		}
	})
}

// Two routers on one store fire a window once.
func TestTwoWritersOfOneState(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, onceRule, Action{Name: "bounce"}))
		other, err := New(b.cfg)
		if err != nil {
			t.Fatal(err)
		}
		const each = 200
		var all sync.WaitGroup
		for n, r := range []*Router{b.r, other} {
			all.Go(func() {
				for i := range each {
					for _, p := range b.batch(event(t, fmt.Sprintf("e%d-%d", n, i), fmt.Sprint("sw", i%7))) {
						r.commits.commit(t.Context(), []*pending{p})
						if p.err != nil {
							t.Errorf("commit: %v", p.err)
						}
					}
				}
			})
		}
		all.Wait()
		for i := range 7 {
			fired := 0
			evs, err := b.db.Events(t.Context(), store.EventQuery{CESource: fmt.Sprint("sw", i)})
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range evs {
				if ev.Verdicts[0].Verdict == VerdictMatched {
					fired++
				}
			}
			if fired != 1 {
				t.Errorf("sw%d fired %d times in %d events", i, fired, len(evs))
			}
		}
	})
}

// TestSteppedAgainIsAnotherTxn: a first try that the network brings late must not
// meet the uid under which the second was stored.
func TestSteppedAgainIsAnotherTxn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, onceRule, Action{Name: "bounce"}))
		rival, err := New(b.cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := &between{Full: b.cfg.Store}
		b.cfg.Store = s
		b.build()
		b.run()
		s.before(func() {
			for _, p := range b.batch(event(t, "rival", "sw1")) {
				rival.commits.commit(context.Background(), []*pending{p})
			}
		})
		b.accept(event(t, "mine", "sw1"))
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.uids) != 2 || s.uids[0] == s.uids[1] {
			t.Fatalf("uids of the two tries: %v", s.uids)
		}
	})
}

func TestWaitsForTheStoreAtStart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, m := moodyBench(t, setup(t, bounceRule, Action{Name: "bounce"}))
		m.enter.Store(&store.ErrUnavailable)
		b.run()
		pass(time.Minute)
		if h := b.r.Health(); len(h.Reasons) != 2 {
			t.Errorf("reasons %q", h.Reasons)
		}
		if _, err := b.r.Accept(t.Context(), fromEvents, []*rules.Event{event(t, "e1", "sw1")}); !errors.Is(err, ErrStopping) {
			t.Errorf("accept: %v", err)
		}
		m.enter.Store(nil)
		pass(3 * time.Second)
		if h := b.r.Health(); len(h.Reasons) != 0 {
			t.Errorf("reasons %q", h.Reasons)
		}
		b.accept(event(t, "e1", "sw1"))
	})
}

// A store that is away for a while: no 202, unready, and what was running is
// settled when it is back.
func TestStoreAwayForAWhile(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, m := moodyBench(t, setup(t, bounceRule, Action{Name: "bounce", Concurrency: 1}))
		b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
			time.Sleep(time.Second)
			return succeed(c)
		})
		b.run()
		b.accept(event(t, "e1", "sw1"), event(t, "e2", "sw2"))
		pass(500 * time.Millisecond)
		m.fails(fmt.Errorf("write: %w", store.ErrUnavailable))
		if _, err := b.r.Accept(t.Context(), fromEvents, []*rules.Event{event(t, "e3", "sw3")}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("accept: %v", err)
		}
		if h := b.r.Health(); len(h.Reasons) == 0 {
			t.Error("ready although the store cannot write")
		}
		pass(10 * time.Minute)
		if h := b.r.Health(); len(h.Reasons) == 0 {
			t.Error("ready although the store cannot write")
		}
		if n := b.runner.count(); n != 1 {
			t.Errorf("%d runs, one slot whose outcome is not stored", n)
		}
		m.fails(nil)
		pass(5 * time.Second)
		if h := b.r.Health(); len(h.Reasons) != 0 {
			t.Errorf("reasons %q", h.Reasons)
		}
		for _, id := range []string{"e1", "e2"} {
			d := b.is(id, store.Done, 1)
			if h := b.history(d.ID); len(h) != 1 {
				t.Errorf("history of %s: %v", id, h)
			}
		}
	})
}

// Writes fail while claims, which an embedded store answers from memory, work.
func TestUnreadyWhileWritesFail(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, m := moodyBench(t, setup(t, "rules: []\n"))
		b.run()
		m.fails(fmt.Errorf("write: %w", store.ErrUnavailable))
		_, err := b.r.Accept(t.Context(), fromEvents, []*rules.Event{event(t, "e1", "sw1")})
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("accept: %v", err)
		}
		if h := b.r.Health(); len(h.Reasons) != 1 {
			t.Errorf("reasons %q", h.Reasons)
		}
		m.fails(nil)
		pass(6 * time.Second) // nobody sends while it is unready
		if h := b.r.Health(); len(h.Reasons) != 0 {
			t.Errorf("reasons %q", h.Reasons)
		}
	})
}

func TestFencedRouterStops(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, m := moodyBench(t, setup(t, bounceRule, Action{Name: "bounce"}))
		b.runner.plays("bounce", hang)
		b.run()
		b.accept(event(t, "e1", "sw1"))
		pass(time.Second)
		m.fails(store.ErrFenced)
		begun := time.Now()
		err := <-b.done
		b.done = nil
		if !errors.Is(err, store.ErrFenced) {
			t.Errorf("run: %v", err)
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it went on for %v beside the one that took over", took)
		}
	})
}

// What was taken in before a shutdown is committed and answered.
func TestShutdownCommitsWhatIsQueued(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, m := moodyBench(t, setup(t, "rules: []\n"))
		b.run()
		hold := make(chan struct{})
		m.hold.Store(&hold)
		errs := make(chan error, 10)
		for i := range cap(errs) {
			ev := event(t, fmt.Sprint("e", i), "sw1")
			go func() {
				_, err := b.r.Accept(t.Context(), fromEvents, []*rules.Event{ev})
				errs <- err
			}()
		}
		synctest.Wait()
		b.cancel()
		time.AfterFunc(2*time.Second, func() { close(hold) })
		for range cap(errs) {
			if err := <-errs; err != nil {
				t.Errorf("accept: %v", err)
			}
		}
		if err := <-b.done; err != nil {
			t.Error(err)
		}
		b.done = nil
	})
}

// What rules make of events is bounded in bytes while the store is slow: more is
// not accepted, what was accepted is stored, and then there is room again.
func TestWaitingIsBoundedInBytes(t *testing.T) {
	const copies = `
rules:
  - name: copies
    when: 'true'
    do: [{action: bounce, with: {a: "${{ event.data }}", b: "${{ event.data }}", c: "${{ event.data }}"}}]
`
	inBubble(t, func(t *testing.T) {
		b, m := moodyBench(t, setup(t, copies, Action{Name: "bounce"}))
		b.run()
		hold := make(chan struct{})
		m.hold.Store(&hold)
		data := `"` + strings.Repeat("x", 1<<20) + `"`
		var stored, refused atomic.Int64
		send := func(i int) {
			_, err := b.r.Accept(t.Context(), fromEvents, []*rules.Event{eventOf(t, fmt.Sprint("e", i), "sw1", data)})
			switch {
			case err == nil:
				stored.Add(1)
			case errors.Is(err, ErrUnavailable):
				refused.Add(1)
			default:
				t.Error(err)
			}
		}
		for i := range 20 {
			go send(i)
		}
		synctest.Wait()
		if n := refused.Load(); n != 5 { // 15 of a little more than 4 MiB fit
			t.Errorf("%d of 20 refused", n)
		}
		close(hold)
		m.hold.Store(nil)
		synctest.Wait()
		if s, n := stored.Load(), refused.Load(); s != 15 || n != 5 {
			t.Errorf("%d stored, %d refused", s, n)
		}
		if send(20); stored.Load() != 16 {
			t.Error("there is no room afterwards")
		}
		if b.r.waiting.used != 0 {
			t.Errorf("%d bytes are still counted", b.r.waiting.used)
		}
	})
}

func TestEvaluationErrorsAreSaidOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, `
rules:
  - {name: when, when: 'event.data.n + 1 > 0', do: [{action: a}]}
  - {name: key, when: 'true', key: event.data.none, do: [{action: a}, {action: b}]}
  - {name: if, when: 'true', do: [{action: a, if: 'event.data.n + 1 > 0'}]}
  - {name: with, when: 'true', do: [{action: a, with: {x: "a ${{ event.data.none }}"}}]}
`, Action{Name: "a"}, Action{Name: "b"}))
		b.accept(eventOf(t, "e1", "sw1", `{"n": "x"}`))
		for _, v := range b.recorded("e1").Verdicts {
			if v.Verdict != VerdictError || strings.Count(v.Reason, v.Rule+":") > 1 || !strings.Contains(v.Reason, v.Rule) {
				t.Errorf("%s: %s %q", v.Rule, v.Verdict, v.Reason)
			}
		}
		pass(time.Second)
		ds := b.deliveries("e1")
		if len(ds) != 3 {
			t.Fatalf("%d deliveries, want one for each of key, if and with", len(ds))
		}
		reasons := map[string]string{"key": store.ReasonKey, "if": store.ReasonEvaluation, "with": store.ReasonEvaluation}
		for _, d := range ds {
			if d.State != store.Dead || d.Attempts != 0 || d.Reason != reasons[d.Rule] || strings.Count(d.Error, d.Rule+":") > 1 {
				t.Errorf("%s: %s (%s) after %d attempts: %q", d.Rule, d.State, d.Reason, d.Attempts, d.Error)
			}
		}
		if n := b.runner.count(); n != 0 {
			t.Errorf("%d runs", n)
		}
	})
}
