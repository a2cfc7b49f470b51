package router

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// watch is one source's way into the router of a bench.
type watch struct {
	b      *bench
	accept AcceptFunc
	state  StateReader
}

func (b *bench) watch(name string) *watch {
	accept, state := b.r.Feed(Origin{Source: name, Dedup: time.Hour})
	return &watch{b: b, accept: accept, state: state}
}

// load reads one key as "version data".
func (w *watch) load(key string) store.State {
	w.b.t.Helper()
	states, err := w.state.Load(w.b.t.Context(), key)
	if err != nil || len(states) != 1 || states[0].Key != key {
		w.b.t.Fatalf("load: %+v, %v", states, err)
	}
	return states[0]
}

func (w *watch) put(ev *rules.Event, read uint64, data string) (store.StateWrite, Result, error) {
	st := store.StateWrite{State: store.State{Key: "k", Data: []byte(data)}, Read: read}
	res, err := w.accept(w.b.t.Context(), ev, &st)
	return st, res, err
}

func TestSourceState(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce"}))
		a, other := b.watch("a"), b.watch("b")
		first, _, err := a.put(nil, 0, "baseline") // state alone
		if err != nil || first.Version == 0 {
			t.Fatalf("baseline: %+v, %v", first, err)
		}
		second, res, err := a.put(event(t, "e1", "sw1"), first.Version, "one")
		if err != nil || res.Duplicate || res.UID == "" {
			t.Fatalf("with an event: %+v, %v", res, err)
		}
		synctest.Wait()
		b.is("e1", store.Done, 1)
		// Stale, with an event and without one: nothing is written.
		for _, ev := range []*rules.Event{nil, event(t, "e2", "sw2")} {
			if _, _, err := a.put(ev, first.Version, "late"); !errors.Is(err, ErrStale) {
				t.Fatalf("stale: %v", err)
			}
		}
		if ds := b.deliveries("e2"); len(ds) > 0 {
			t.Fatalf("the stale event left %+v", ds)
		}
		// A duplicate is told, and its state is not written.
		if _, res, err := a.put(event(t, "e1", "sw1"), second.Version, "dup"); err != nil || !res.Duplicate {
			t.Fatalf("duplicate: %+v, %v", res, err)
		}
		third, _, err := a.put(nil, second.Version, "advanced")
		if err != nil {
			t.Fatal(err)
		}
		// The same call again, as after an answer that was lost.
		if _, err := a.accept(t.Context(), nil, &third); err != nil {
			t.Fatalf("again: %v", err)
		}
		want := store.State{Key: "k", Version: third.Version, Data: []byte("advanced")}
		if diff := cmp.Diff(want, a.load("k")); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
		// Keys of another source are apart, and so are its ids.
		if got := other.load("k"); got.Version != 0 {
			t.Fatalf("source b has %+v", got)
		}
		if _, res, err := other.put(event(t, "e1", "sw1"), 0, "b"); err != nil || res.Duplicate {
			t.Fatalf("source b: %+v, %v", res, err)
		}
		// State outlives the router.
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.put(nil, third.Version, "too late"); !errors.Is(err, ErrStopping) {
			t.Fatalf("after the end: %v", err)
		}
		b.restart()
		b.run()
		if diff := cmp.Diff(want, b.watch("a").load("k")); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
	})
}

// The state of a rule that keeps changing is no reason to tell a source that its
// own is stale.
func TestSourceStateBesideRuleState(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, onceRule, Action{Name: "bounce"}))
		rival, err := New(b.cfg)
		if err != nil {
			t.Fatal(err)
		}
		store := &between{Full: b.cfg.Store}
		b.cfg.Store = store
		b.build()
		b.run()
		store.before(func() {
			// Another router fires the same key between this one's load and commit.
			for _, p := range b.batch(event(t, "rival", "sw1")) {
				rival.commits.commit(context.Background(), []*pending{p})
			}
		})
		a := b.watch("a")
		if _, _, err := a.put(event(t, "mine", "sw1"), 0, "x"); err != nil {
			t.Fatalf("accept: %v", err)
		}
		if got := b.verdicts("mine"); got != "bounce throttled" {
			t.Fatalf("verdicts %s", got)
		}
		// Both stale at once: the source's own counts.
		store.before(func() {
			if _, _, err := (&watch{b, feedOf(rival, "a"), nil}).put(nil, a.load("k").Version, "y"); err != nil {
				t.Errorf("rival: %v", err)
			}
			for _, p := range b.batch(event(t, "rival2", "sw2")) {
				rival.commits.commit(context.Background(), []*pending{p})
			}
		})
		if _, _, err := a.put(event(t, "mine2", "sw2"), a.load("k").Version, "z"); !errors.Is(err, ErrStale) {
			t.Fatalf("accept: %v", err)
		}
		if got := string(a.load("k").Data); got != "y" {
			t.Fatalf("state %q", got)
		}
	})
}

// feedOf accepts for a router that does not run.
func feedOf(r *Router, name string) AcceptFunc {
	return func(ctx context.Context, ev *rules.Event, st *store.StateWrite) (Result, error) {
		w := *st
		w.Key, w.Version = "/source/"+name+"/"+st.Key, newVersion()
		p := &pending{from: Origin{Source: name}, ev: ev, setup: r.setup.Load(), state: &w, left: newCountdown(1)}
		r.commits.commit(ctx, []*pending{p})
		return Result{}, p.err
	}
}

// between is a store that does something before the next commit.
type between struct {
	store.Full
	mu sync.Mutex
	do func()
	// uids are those of the events that were committed, in order.
	uids []string
}

func (s *between) before(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.do = do
}

func (s *between) Commit(ctx context.Context, txns ...store.Txn) ([]store.Result, error) {
	s.mu.Lock()
	do := s.do
	s.do = nil
	for i := range txns {
		s.uids = append(s.uids, txns[i].Event.UID)
	}
	s.mu.Unlock()
	if do != nil {
		do()
	}
	return s.Full.Commit(ctx, txns...)
}
