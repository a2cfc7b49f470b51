package redis_test

import (
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// TestRouterWithAnotherClock: a state lasts as long as it was to last by the clock
// of the router that wrote it, however wrong that is.
func TestRouterWithAnotherClock(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	clock := newClock() // the server's
	db := open(t, s.url(), "a", clock.Now)
	enter(t, db, "i")
	for _, wrong := range []time.Duration{0, -time.Hour, time.Hour} {
		t.Run(wrong.String(), func(t *testing.T) {
			key := "k" + wrong.String()
			x := txn(key, "a")
			x.Event.Received = clock.Now().Add(wrong)
			x.States = []store.StateWrite{{State: store.State{
				Key: key, Version: 7, Data: []byte("open"), Expires: x.Event.Received.Add(time.Minute),
			}}}
			if res := check(db.Commit(t.Context(), x))(t); res[0].Status != store.StatusNew {
				t.Fatalf("%v", res)
			}
			version := func() uint64 {
				t.Helper()
				return check(db.Load(t.Context(), key))(t)[0].Version
			}
			clock.Advance(59 * time.Second)
			if version() != 7 {
				t.Error("the state is gone before its time")
			}
			y := txn(key+"y", "a")
			y.States = []store.StateWrite{{State: store.State{Key: key, Version: 8, Data: []byte("y")}}}
			if res := check(db.Commit(t.Context(), y))(t); res[0].Status != store.StatusStale {
				t.Errorf("a state that is in force was overwritten: %v", res)
			}
			clock.Advance(2 * time.Second)
			if version() != 0 {
				t.Error("the state outlives its time")
			}
		})
	}
}
