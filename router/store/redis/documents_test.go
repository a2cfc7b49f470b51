package redis_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/pointsman/pointsman/router/store"
)

// starting is an event whose delivery of action a asks to be leased at once.
func starting(id string) store.Txn {
	t := txn(id, "a")
	t.Lease = ttl
	t.Deliveries[0].Start = true
	return t
}

// TestRefusedEventLeavesNothing: what is set of an event beside the script is
// there exactly if the event was accepted.
func TestRefusedEventLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := newClock()
	db := open(t, s.url(), "a", c.Now)
	enter(t, db, "i")
	first := txn("1", "a")
	check(db.Commit(t.Context(), first))(t)
	before := s.contents()
	stale, conflict := txn("2", "a", "b"), txn("1", "a")
	stale.States = []store.StateWrite{{State: store.State{Key: "k", Version: 2}, Read: 1}}
	conflict.Strict, conflict.Event.Digest = true, [16]byte{1}
	r := check(db.Commit(t.Context(), stale, first, conflict))(t)
	want := []store.Status{store.StatusStale, store.StatusDuplicate, store.StatusConflict}
	if diff := cmp.Diff(want, []store.Status{r[0].Status, r[1].Status, r[2].Status}); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, s.contents()); diff != "" {
		t.Errorf("refused events changed keys (-before +after):\n%s", diff)
	}
	check(db.Commit(t.Context(), txn("1", "a")))(t) // it is counted, and no more
	delete(before, "{pm:a}:u:"+first.Event.UID)
	after := s.contents()
	delete(after, "{pm:a}:u:"+first.Event.UID)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("a duplicate changed keys (-before +after):\n%s", diff)
	}

	// Sent again when its mark is another event's, it is refused and stays whole.
	c.Advance(2 * time.Hour)
	second := txn("1", "a")
	r = check(db.Commit(t.Context(), second, first))(t)
	if r[0].Status != store.StatusNew || r[1].Status != store.StatusDuplicate || r[1].UID != second.Event.UID {
		t.Errorf("again: %+v", r)
	}
	if l := claim(t, db, "a"); len(l) != 2 || string(l[0].Event) != "{}" || string(l[1].Event) != "{}" {
		t.Errorf("leases: %+v", l)
	}

	s.do("HSET", "{pm:a}:meta", "full", "1")
	before = s.contents()
	if _, err := db.Commit(t.Context(), txn("3", "a")); !errors.Is(err, store.ErrFull) {
		t.Errorf("when it is full: %v", err)
	}
	if diff := cmp.Diff(before, s.contents()); diff != "" {
		t.Errorf("a full store changed (-before +after):\n%s", diff)
	}
}

func TestAnotherLayoutIsRefused(t *testing.T) {
	t.Parallel()
	for name, fields := range map[string][]any{"older": {"seq", "1"}, "newer": {"seq", "1", "layout", "3"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.do(append([]any{"HSET", "{pm:a}:meta"}, fields...)...)
			before := s.contents()
			db := open(t, s.url(), "a", nil)
			_, enterErr := db.Enter(t.Context(), store.Instance{ID: "i"})
			_, commitErr := db.Commit(t.Context(), txn("1", "a"))
			for _, err := range []error{enterErr, commitErr} {
				if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "another version of pointsman") {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(before, s.contents()); diff != "" {
				t.Errorf("refused calls changed keys (-before +after):\n%s", diff)
			}
		})
	}
}

// TestLostReplyOfLeases: a Commit that leased and whose reply was lost gives the
// same leases when it is repeated, but none that a Claim has given meanwhile.
func TestLostReplyOfLeases(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.addr)
	db := open(t, "redis://"+p.addr+"/0", "a", nil)
	enter(t, db, "i")
	p.armed.Store(true)
	first := starting("1")
	r := check(db.Commit(t.Context(), first))(t)
	if p.cuts.Load() != 1 || r[0].Status != store.StatusNew || len(r[0].Leased) != 1 || r[0].Leased[0] == 0 {
		t.Fatalf("after %d lost replies: %+v", p.cuts.Load(), r)
	}
	if l := claim(t, db, "a"); len(l) != 0 {
		t.Errorf("claimed %d beside the lease", len(l))
	}
	again := check(db.Commit(t.Context(), first))(t)
	if diff := cmp.Diff(r[0].Leased, again[0].Leased); diff != "" {
		t.Errorf("the same Txn again (-first +again):\n%s", diff)
	}
	lease := store.Lease{Delivery: first.Deliveries[0], Epoch: r[0].Leased[0], Number: 1}
	if got := check(db.Settle(t.Context(), done(&lease)))(t); got[0] != store.SettledOK {
		t.Errorf("settled: %v", got)
	}

	waiting := starting("2")
	check(db.Commit(t.Context(), txn("3", "a"), waiting))(t) // not before what is due
	if l := claim(t, db, "a"); len(l) != 2 {
		t.Fatalf("claimed %d", len(l))
	}
	if again := check(db.Commit(t.Context(), waiting))(t); len(again[0].Leased) != 0 {
		t.Errorf("what was claimed is leased again: %+v", again)
	}
}

// TestOlderStartLeasesNothing: who was fenced off accepts, and another runs it.
func TestOlderStartLeasesNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	old, db := open(t, s.url(), "a", nil), open(t, s.url(), "a", nil)
	enter(t, old, "i")
	enter(t, db, "i")
	if r := check(old.Commit(t.Context(), starting("1")))(t); r[0].Status != store.StatusNew || len(r[0].Leased) != 0 {
		t.Errorf("committed: %+v", r)
	}
	if l := claim(t, db, "a"); len(l) != 1 {
		t.Errorf("claimed %d", len(l))
	}
}

// TestLeasesDeleted has someone delete the index of what is leased: what still
// runs is settled, and what its router left is taken over.
func TestLeasesDeleted(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := newClock()
	db := open(t, s.url(), "a", c.Now)
	enter(t, db, "i")
	check(db.Commit(t.Context(), txn("1", "a"), txn("2", "a"), txn("3", "a")))(t)
	leases := claim(t, db, "a")
	s.do("DEL", "{pm:a}:l:a")
	if got := check(db.Settle(t.Context(), done(&leases[0])))(t); got[0] != store.SettledOK {
		t.Errorf("settled: %v", got)
	}
	check(db.Retain(t.Context(), store.Policy{}))(t)
	leased := check(db.Deliveries(t.Context(), store.DeliveryQuery{States: []store.DeliveryState{store.Leased}}))(t)
	if len(leased) != 2 {
		t.Errorf("%d are listed as leased", len(leased))
	}
	c.Advance(ttl)
	l := claim(t, db, "a")
	if len(l) != 2 || l[0].Lost == nil || l[1].Lost == nil {
		t.Errorf("leases: %+v", l)
	}
}

func TestCallDeletedFromOutside(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s.url(), "a", nil)
	enter(t, db, "i")
	a, b := txn("1", "a"), txn("2", "a")
	check(db.Commit(t.Context(), a, b))(t)
	s.do("DEL", "{pm:a}:c:"+a.Deliveries[0].ID)
	l := claim(t, db, "a")
	if len(l) != 1 || l[0].Delivery.ID != b.Deliveries[0].ID {
		t.Fatalf("leases: %+v", l)
	}
	dead := check(db.Deliveries(t.Context(), store.DeliveryQuery{States: []store.DeliveryState{store.Dead}}))(t)
	if len(dead) != 1 || !strings.Contains(dead[0].Error, "its call is missing") || dead[0].Starts != 0 {
		t.Errorf("dead: %+v", dead)
	}
}

// TestManyInOneCall: more than a Lua call takes arguments, over a border of the
// index of ids.
func TestManyInOneCall(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s.url(), "a", nil)
	enter(t, db, "i")
	var txns []store.Txn
	for range 2500 {
		txns = append(txns, starting(uuid.NewString()))
	}
	var outs []store.Outcome
	for i, r := range check(db.Commit(t.Context(), txns...))(t) {
		if r.Status != store.StatusNew || len(r.Leased) != 1 {
			t.Fatalf("%d: %+v", i, r)
		}
		outs = append(outs, done(&store.Lease{Delivery: txns[i].Deliveries[0], Epoch: r.Leased[0], Number: 1}))
	}
	for i, r := range check(db.Commit(t.Context(), txns...))(t) {
		if r.Status != store.StatusDuplicate || r.UID != txns[i].Event.UID || len(r.Leased) != 1 {
			t.Fatalf("again, %d: %+v", i, r)
		}
	}
	for i, got := range check(db.Settle(t.Context(), outs...))(t) {
		if got != store.SettledOK {
			t.Fatalf("%d: settled %v", i, got)
		}
	}
	for _, i := range []int{0, 1023, 1024, 2499} {
		evs := check(db.Events(t.Context(), store.EventQuery{ID: txns[i].Event.ID}))(t)
		if len(evs) != 1 || evs[0].UID != txns[i].Event.UID {
			t.Errorf("event %d: %+v", i, evs)
		}
	}
}

// TestSentAgainWithoutIndex: what was stored stays, though the set that says so
// was deleted from outside.
func TestSentAgainWithoutIndex(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s.url(), "a", nil)
	enter(t, db, "i")
	first := txn("1", "a")
	check(db.Commit(t.Context(), first))(t)
	s.do("DEL", "{pm:a}:evs")
	if r := check(db.Commit(t.Context(), first))(t); r[0].UID != first.Event.UID {
		t.Errorf("sent again: %+v", r)
	}
	if l := claim(t, db, "a"); len(l) != 1 || string(l[0].Event) != "{}" {
		t.Errorf("leases: %+v", l)
	}
}
