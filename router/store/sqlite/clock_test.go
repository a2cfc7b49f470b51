package sqlite

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// setClock is the clock of a host, which people may set.
type setClock struct{ by atomic.Int64 }

func (c *setClock) set(by time.Duration) { c.by.Add(int64(by)) }
func (c *setClock) Now() time.Time       { return time.Now().Add(time.Duration(c.by.Load())) }

// TestClockIsSet: whatever people do to the clock, a lease lasts as long as it was
// given for, nothing waits longer than it was told to, and nothing is accepted
// twice.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour, -time.Second, 2 * time.Second} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { clockIsSet(t, by) })
		})
	}
}

func clockIsSet(t *testing.T, by time.Duration) {
	var clock setClock
	begun := time.Now()
	path := filepath.Join(t.TempDir(), "pm.db")
	open := func() *DB {
		t.Helper()
		db, err := Open(Config{Path: path, Now: clock.Now, Steady: func() time.Duration { return time.Since(begun) }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Enter(t.Context(), store.Instance{ID: "i"}); err != nil {
			t.Fatal(err)
		}
		return db
	}
	db := open()
	defer func() { _ = db.Close() }()
	claim := func(n int) []store.Lease {
		t.Helper()
		leases, _, err := db.Claim(t.Context(), "", []store.Want{{Action: "act", N: n}}, 15*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return leases
	}
	commit := func(n int, want store.Status) {
		t.Helper()
		txn := eventTxn(fmt.Sprint(n), 10)
		txn.Dedup = 48 * time.Hour
		res, err := db.Commit(t.Context(), txn)
		if err != nil || res[0].Status != want {
			t.Fatalf("event %d: %v, %v, want %v", n, res, err, want)
		}
	}
	fail := func(l store.Lease) {
		t.Helper()
		_, err := db.Settle(t.Context(), store.Outcome{
			ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Ready, Delay: 30 * time.Second, Attempt: &store.Attempt{Outcome: "failed"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	commit(1, store.StatusNew)
	commit(2, store.StatusNew)
	commit(3, store.StatusNew)
	running := claim(1)
	for _, l := range claim(2) {
		fail(l)
	}
	clock.set(by)
	soon := claim(10)
	for _, l := range soon {
		if l.Delivery.ID == running[0].Delivery.ID {
			t.Fatalf("the lease was taken away when the clock was set by %s", by)
		}
		if by < 30*time.Second {
			t.Fatalf("a delivery that must wait 30 s was due at once when the clock was set by %s", by)
		}
		fail(l)
	}
	if held, err := db.Extend(t.Context(), []store.LeaseRef{running[0].Ref()}, 15*time.Second); err != nil || !held[0] {
		t.Fatalf("extend: %v, %v", held, err)
	}
	for n := 1; n <= 3; n++ {
		commit(n, store.StatusDuplicate)
	}
	time.Sleep(14 * time.Second)
	if leases := claim(10); len(leases) > 0 {
		t.Fatalf("%d claimed before the lease had run out", len(leases))
	}
	time.Sleep(2 * time.Second)
	if leases := claim(10); len(leases) != 1 || leases[0].Lost == nil {
		t.Fatalf("%d claimed after the lease had run out", len(leases))
	}
	time.Sleep(15 * time.Second) // 31 s
	if leases := claim(10); len(leases) < 2 {
		t.Fatalf("%d claimed, want the two that waited 30 s", len(leases))
	}
	// A clock that is set while the router is away makes nothing wait longer either.
	time.Sleep(time.Minute)
	for _, l := range claim(10) {
		fail(l)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	clock.set(by)
	db = open()
	time.Sleep(31 * time.Second)
	if leases := claim(10); len(leases) != 3 {
		t.Fatalf("%d claimed after a restart, want 3", len(leases))
	}
}
