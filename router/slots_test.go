package router

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// counted is a store that counts leases by the way they were given. after, if it is
// set, is called between a commit and its answer, and may replace it.
type counted struct {
	store.Full
	mu              sync.Mutex
	leased, claimed int
	after           func() error
}

func (s *counted) Commit(ctx context.Context, txns ...store.Txn) ([]store.Result, error) {
	res, err := s.Full.Commit(ctx, txns...)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range res {
		for _, epoch := range r.Leased {
			if epoch > 0 {
				s.leased++
			}
		}
	}
	if after := s.after; after != nil {
		s.after = nil
		if err := after(); err != nil {
			return nil, err
		}
	}
	return res, err
}

func (s *counted) Claim(ctx context.Context, op store.OpID, w []store.Want, ttl time.Duration) ([]store.Lease, time.Duration, error) {
	leases, wait, err := s.Full.Claim(ctx, op, w, ttl)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claimed += len(leases)
	return leases, wait, err
}

// gave checks how many leases came with commits and how many with claims.
func (s *counted) gave(t *testing.T, leased, claimed int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff([]int{leased, claimed}, []int{s.leased, s.claimed}); diff != "" {
		t.Fatalf("leased at commit, claimed (-want +got)\n%s", diff)
	}
}

func countedBench(t *testing.T, a Action) (*bench, *counted) {
	t.Helper()
	b := newBench(t, setup(t, bounceRule, a))
	s := &counted{Full: b.cfg.Store}
	b.cfg.Store = s
	b.build()
	b.run()
	return b, s
}

func TestNewDeliveriesNeedNoClaim(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, s := countedBench(t, Action{Name: "bounce"})
		for i := range 20 {
			b.accept(event(t, fmt.Sprint("e", i), "sw1"))
			synctest.Wait()
			d := b.is(fmt.Sprint("e", i), store.Done, 1)
			if diff := cmp.Diff([]string{"1 done"}, b.history(d.ID)); diff != "" {
				t.Fatalf("history (-want +got)\n%s", diff)
			}
		}
		s.gave(t, 20, 0)
	})
}

// A lease whose answer is lost runs out, and what is then not known must be held:
// such an action's deliveries are claimed, which is asked again until it is known.
func TestActionsThatHoldAreClaimed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, s := countedBench(t, Action{Name: "bounce", Hold: true})
		b.accept(event(t, "e1", "sw1"), event(t, "e2", "sw1"))
		synctest.Wait()
		b.is("e1", store.Done, 1)
		b.is("e2", store.Done, 1)
		s.gave(t, 0, 2)
	})
}

func TestWhatFindsNoSlotIsClaimedLater(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, s := countedBench(t, Action{Name: "bounce", Concurrency: 2})
		goOn := make(chan struct{})
		b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
			<-goOn
			return succeed(c)
		})
		for i := range 7 {
			b.accept(event(t, fmt.Sprint("e", i), "sw1"))
		}
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"bounce": 2}, b.r.Busy()); diff != "" {
			t.Fatalf("busy (-want +got)\n%s", diff)
		}
		close(goOn)
		synctest.Wait()
		for i := range 7 {
			b.is(fmt.Sprint("e", i), store.Done, 1)
		}
		s.gave(t, 2, 5)
		if got := b.runner.peak["bounce"]; got != 2 {
			t.Fatalf("%d ran at a time, want 2", got)
		}
		// What came late was not overtaken, and the next needs no claim again.
		b.accept(event(t, "late", "sw1"))
		synctest.Wait()
		s.gave(t, 3, 5)
	})
}

func TestFailedCommitFreesItsSlots(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, bounceRule, Action{Name: "bounce", Concurrency: 1}))
		m := &moody{Full: b.cfg.Store}
		b.cfg.Store = m
		b.build()
		b.run()
		m.fails(store.ErrUnavailable)
		if _, err := b.r.Accept(t.Context(), fromEvents, []*rules.Event{event(t, "e1", "sw1")}); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("accept: %v", err)
		}
		if busy := b.r.Busy(); len(busy) > 0 {
			t.Fatalf("busy: %v", busy)
		}
		m.fails(nil)
		b.accept(event(t, "e2", "sw1"))
		pass(3 * time.Second)
		b.is("e2", store.Done, 1)
	})
}

// A router that is told to stop while a commit is under way runs what that
// leased, and answers for it.
func TestShutdownRunsWhatACommitLeased(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, s := countedBench(t, Action{Name: "bounce"})
		s.after = func() error {
			b.cancel()
			time.Sleep(500 * time.Millisecond) // the bubble's clock
			return nil
		}
		b.accept(event(t, "e1", "sw1"))
		if err := <-b.done; err != nil {
			t.Fatal(err)
		}
		b.done = nil
		d := b.is("e1", store.Done, 1)
		if diff := cmp.Diff([]string{"1 done"}, b.history(d.ID)); diff != "" {
			t.Fatalf("history (-want +got)\n%s", diff)
		}
	})
}

// When the answer comes only after the drain, nothing is begun any more; the next
// start runs it.
func TestShutdownDoesNotWaitForAHangingCommit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, s := countedBench(t, Action{Name: "bounce"})
		s.after = func() error {
			b.cancel()
			time.Sleep(8 * time.Second) // the bubble's clock
			return nil
		}
		begun := time.Now()
		b.accept(event(t, "e1", "sw1"))
		if err := <-b.done; err != nil {
			t.Fatal(err)
		}
		b.done = nil
		if took := time.Since(begun); took > 10*time.Second {
			t.Fatalf("the shutdown took %v", took)
		}
		if n := b.runner.count(); n > 0 {
			t.Fatalf("%d attempts were begun after the drain", n)
		}
		b.restart()
		b.run()
		pass(time.Second)
		d := b.is("e1", store.Done, 1)
		if diff := cmp.Diff([]string{"1 lost", "2 done"}, b.history(d.ID)); diff != "" {
			t.Fatalf("history (-want +got)\n%s", diff)
		}
	})
}

// TestRunningIsBoundedInBytes: however many slots there are, what runs takes no
// more memory than that, and no action is kept out by the large events of another.
func TestRunningIsBoundedInBytes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const rule = `
rules:
  - {name: large, when: 'event.source == "large"', do: [{action: large}]}
  - {name: small, when: 'event.source == "small"', do: [{action: small}]}
`
		b := running(t, setup(t, rule, Action{Name: "large", Concurrency: 100}, Action{Name: "small"}))
		goOn := make(chan struct{})
		b.runner.plays("large", func(c call) (*actionv1.RunResponse, error) {
			<-goOn
			return succeed(c)
		})
		data := `"` + strings.Repeat("x", 4<<20) + `"`
		const n = 24
		for i := range n {
			b.accept(eventOf(t, fmt.Sprint("e", i), "large", data))
		}
		synctest.Wait()
		// Of what is claimed only the number is known before.
		if got := b.r.Busy()["large"]; got < 10 || got > 20 {
			t.Fatalf("%d events of 4 MiB run", got)
		}
		b.accept(event(t, "s", "small"))
		synctest.Wait()
		b.is("s", store.Done, 1)
		close(goOn)
		pass(time.Second)
		for i := range n {
			b.is(fmt.Sprint("e", i), store.Done, 1)
		}
		if busy := b.r.Busy(); len(busy) > 0 || b.r.slots.size != 0 {
			t.Fatalf("in the end %v are busy, with %d bytes", busy, b.r.slots.size)
		}
	})
}
