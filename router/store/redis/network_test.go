package redis_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/redis"
)

// network is a network between a store and a server that can be made bad.
type network struct {
	t     *testing.T
	proxy *toxiproxy.Proxy
}

func newNetwork(t *testing.T, s *server) *network {
	t.Helper()
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &network{t: t, proxy: toxiproxy.NewProxy(api, t.Name(), "127.0.0.1:0", s.addr)}
	if err := n.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.proxy.Stop)
	return n
}

func (n *network) url() string { return "redis://" + n.proxy.Listen + "/0" }

// spoil adds a toxic of a kind to one direction; what it returns takes it away.
func (n *network) spoil(kind, direction, attributes string) (heal func()) {
	n.t.Helper()
	w, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(
		fmt.Sprintf(`{"type": %q, "stream": %q, "attributes": {%s}}`, kind, direction, attributes)))
	if err != nil {
		n.t.Fatal(err)
	}
	return func() {
		if err := n.proxy.Toxics.RemoveToxic(context.Background(), w.Name); err != nil {
			n.t.Error(err)
		}
	}
}

// round takes an event from its commit to its outcome.
func round(t *testing.T, db *redis.DB, id, action string) {
	t.Helper()
	if r := check(db.Commit(t.Context(), txn(id, action)))(t); r[0].Status != store.StatusNew {
		t.Errorf("commit: %+v", r)
	}
	l := claim(t, db, action)
	if len(l) != 1 || l[0].Number != 1 || l[0].Delivery.EventID != id {
		t.Fatalf("leases: %+v", l)
	}
	if held := check(db.Extend(t.Context(), []store.LeaseRef{l[0].Ref()}, ttl))(t); !held[0] {
		t.Error("extend: not held")
	}
	if got := check(db.Settle(t.Context(), done(&l[0])))(t); got[0] != store.SettledOK {
		t.Errorf("settle: %v", got)
	}
	if h := check(db.History(t.Context(), l[0].Delivery.ID))(t); len(h) != 1 {
		t.Errorf("history: %+v", h)
	}
}

// states counts deliveries by state.
func states(t *testing.T, db *redis.DB) map[store.DeliveryState]int {
	t.Helper()
	out := map[store.DeliveryState]int{}
	for _, c := range check(db.Counts(t.Context()))(t) {
		out[c.State] += c.N
	}
	return out
}

// late makes a call with a deadline that it cannot meet.
func late(t *testing.T, limit time.Duration, call func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	begun := time.Now()
	err := call(ctx)
	if took := time.Since(begun); !errors.Is(err, store.ErrUnavailable) || took > limit+time.Second {
		t.Errorf("with a deadline of %v, after %v: %v", limit, took, err)
	}
}

func TestSlowNetwork(t *testing.T) {
	t.Parallel()
	for _, direction := range []string{"upstream", "downstream"} {
		t.Run(direction, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			n := newNetwork(t, s)
			db := open(t, n.url(), "a", nil)
			enter(t, db, "i")
			heal := n.spoil("latency", direction, `"latency": 200`)
			begun := time.Now()
			round(t, db, "1", "a")
			if took := time.Since(begun); took < 5*200*time.Millisecond {
				t.Errorf("five calls took %v: the network is not slow", took)
			}
			kept := txn("2", "a")
			late(t, 50*time.Millisecond, func(ctx context.Context) error { _, err := db.Commit(ctx, kept); return err })
			// What was too late may have been done: asked again, it is done once.
			if r := check(db.Commit(t.Context(), kept))(t); r[0].UID != kept.Event.UID {
				t.Errorf("commit again: %+v", r)
			}
			op, wants := store.OpID("op"), []store.Want{{Action: "a", N: 9}}
			late(t, 50*time.Millisecond, func(ctx context.Context) error { _, _, err := db.Claim(ctx, op, wants, ttl); return err })
			l, _, err := db.Claim(t.Context(), op, wants, ttl)
			if check(l, err)(t); len(l) != 1 || l[0].Number != 1 || l[0].Lost != nil {
				t.Fatalf("claim again: %+v", l)
			}
			late(t, 50*time.Millisecond, func(ctx context.Context) error { _, err := db.Settle(ctx, done(&l[0])); return err })
			if got := check(db.Settle(t.Context(), done(&l[0])))(t); got[0] != store.SettledOK {
				t.Errorf("settle again: %v", got)
			}
			heal()
			if got := states(t, db); len(got) != 1 || got[store.Done] != 2 {
				t.Errorf("states: %v", got)
			}
			round(t, db, "3", "a")
		})
	}
}

// TestBlackHole is not parallel: it counts the goroutines of the process.
func TestBlackHole(t *testing.T) {
	for _, direction := range []string{"upstream", "downstream"} {
		t.Run(direction, func(t *testing.T) {
			s := newServer(t)
			n := newNetwork(t, s)
			db := open(t, n.url(), "a", nil)
			enter(t, db, "i")
			heal := n.spoil("timeout", direction, `"timeout": 0`)
			fall := func(calls int) {
				for i := range calls {
					late(t, 50*time.Millisecond, func(ctx context.Context) error { _, err := db.Commit(ctx, txn(fmt.Sprint(i), "a")); return err })
				}
			}
			fall(5)
			before := runtime.NumGoroutine()
			const more = 60 // a few come and go
			fall(more)
			settled := time.Now().Add(5 * time.Second)
			for runtime.NumGoroutine() > before+more/4 {
				if time.Now().After(settled) {
					t.Fatalf("%d goroutines after %d more calls, %d before", runtime.NumGoroutine(), more, before)
				}
				<-time.After(20 * time.Millisecond)
			}
			heal()
			back := time.Now().Add(5 * time.Second)
			for {
				_, err := db.Commit(t.Context(), txn("after", "b"))
				if err == nil {
					break
				}
				if time.Now().After(back) {
					t.Fatalf("5 s after the network came back: %v", err)
				}
			}
			if l := claim(t, db, "b"); len(l) != 1 {
				t.Errorf("claimed %d", len(l))
			}
			// Of each event, one delivery or none.
			evs := check(db.Events(t.Context(), store.EventQuery{}))(t)
			if got := states(t, db); got[store.Ready]+got[store.Leased] != len(evs) {
				t.Errorf("%d events, deliveries %v", len(evs), got)
			}
		})
	}
}

// again makes a call until it is answered, as its callers do.
func again(t *testing.T, call func() error) {
	t.Helper()
	late := time.Now().Add(10 * time.Second)
	for {
		err := call()
		if err == nil {
			return
		}
		if !errors.Is(err, store.ErrUnavailable) || time.Now().After(late) {
			t.Error(err)
			return
		}
	}
}

func TestResetConnections(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	n := newNetwork(t, s)
	db := open(t, n.url(), "a", nil)
	enter(t, db, "i")
	const workers, each = 8, 40
	ended := make(chan struct{})
	var reset sync.WaitGroup
	reset.Go(func() {
		tick := time.NewTicker(30 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			heal := n.spoil("reset_peer", []string{"upstream", "downstream"}[i%2], `"timeout": 0`)
			<-tick.C
			heal()
			select {
			case <-tick.C:
			case <-ended:
				return
			}
		}
	})
	var work sync.WaitGroup
	for w := range workers {
		work.Go(func() {
			action := fmt.Sprint("a", w)
			for i := range each {
				x := txn(fmt.Sprintf("%d-%d", w, i), action)
				again(t, func() error { _, err := db.Commit(t.Context(), x); return err })
				op := store.OpID(uuid.NewString())
				var leases []store.Lease
				again(t, func() (err error) {
					leases, _, err = db.Claim(t.Context(), op, []store.Want{{Action: action, N: 9}}, time.Minute)
					return err
				})
				if len(leases) != 1 || leases[0].Number != 1 || leases[0].Delivery.ID != x.Deliveries[0].ID {
					t.Errorf("event %d-%d: leases %+v", w, i, leases)
					return
				}
				again(t, func() error {
					got, err := db.Settle(t.Context(), done(&leases[0]))
					if err == nil && got[0] != store.SettledOK {
						t.Errorf("settle: %v", got)
					}
					return err
				})
			}
		})
	}
	work.Wait()
	close(ended)
	reset.Wait()
	if got := states(t, db); len(got) != 1 || got[store.Done] != workers*each {
		t.Errorf("states: %v", got)
	}
	evs := check(db.Events(t.Context(), store.EventQuery{}))(t)
	if len(evs) != workers*each {
		t.Errorf("%d events, want %d", len(evs), workers*each)
	}
	for _, d := range check(db.Deliveries(t.Context(), store.DeliveryQuery{}))(t) {
		if h := check(db.History(t.Context(), d.ID))(t); len(h) != 1 {
			t.Errorf("history: %+v", h)
		}
	}
}

// TestCutReplies cuts every connection after some bytes of replies, in the
// middle of one: the call fails, and made again it has taken effect once.
func TestCutReplies(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	n := newNetwork(t, s)
	db := open(t, n.url(), "a", nil)
	enter(t, db, "i")
	cuts := 0
	for _, bytes := range []int{1, 2, 5, 20, 60, 150, 300} {
		// cut makes a call whose reply does not come through, and makes it again.
		cut := func(call func() error) {
			t.Helper()
			heal := n.spoil("limit_data", "downstream", fmt.Sprintf(`"bytes": %d`, bytes))
			err := call()
			heal()
			if err != nil {
				cuts++
				if !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("cut after %d bytes: %v", bytes, err)
				}
			}
			again(t, call)
		}
		action := fmt.Sprint("a", bytes)
		x := txn(action, action)
		cut(func() error { _, err := db.Commit(t.Context(), x); return err })
		alone := store.Txn{States: []store.StateWrite{{State: store.State{Key: "s" + action, Version: 7, Data: []byte("x")}}}}
		cut(func() error {
			got, err := db.Commit(t.Context(), alone)
			if err == nil && got[0].Status != store.StatusNew {
				t.Errorf("cut after %d bytes: states alone answered %v", bytes, got[0].Status)
			}
			return err
		})
		var l []store.Lease
		cut(func() (err error) {
			l, _, err = db.Claim(t.Context(), store.OpID(action), []store.Want{{Action: action, N: 9}}, ttl)
			return err
		})
		if len(l) != 1 || l[0].Number != 1 || l[0].Lost != nil {
			t.Fatalf("cut after %d bytes: leases %+v", bytes, l)
		}
		cut(func() error { _, err := db.Extend(t.Context(), []store.LeaseRef{l[0].Ref()}, ttl); return err })
		cut(func() error {
			got, err := db.Settle(t.Context(), done(&l[0]))
			if err == nil && got[0] != store.SettledOK {
				t.Errorf("cut after %d bytes: settled %v", bytes, got)
			}
			return err
		})
		if h := check(db.History(t.Context(), l[0].Delivery.ID))(t); len(h) != 1 {
			t.Errorf("cut after %d bytes: history %+v", bytes, h)
		}
		if d := check(db.Deliveries(t.Context(), store.DeliveryQuery{EventID: action}))(t); len(d) != 1 || d[0].State != store.Done || d[0].Starts != 1 {
			t.Errorf("cut after %d bytes: deliveries %+v", bytes, d)
		}
	}
	if cuts < 10 {
		t.Errorf("only %d calls were cut", cuts)
	}
}

// TestSlicedReplies has replies come in pieces.
func TestSlicedReplies(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	n := newNetwork(t, s)
	db := open(t, n.url(), "a", nil)
	enter(t, db, "i")
	for direction, size := range map[string]int{"upstream": 200, "downstream": 7} {
		heal := n.spoil("slicer", direction, fmt.Sprintf(`"average_size": %d, "size_variation": 3, "delay": 100`, size))
		defer heal()
	}
	for i := range 3 {
		round(t, db, fmt.Sprint(i), "a")
	}
	if got := states(t, db); got[store.Done] != 3 {
		t.Errorf("states: %v", got)
	}
}
