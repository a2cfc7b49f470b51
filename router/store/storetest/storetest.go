// Package storetest is the one suite that states what a store promises. Every
// implementation of store.Full passes it; where a comment in package store and
// a test here differ, the test is wrong or the comment is.
package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pointsman/pointsman/router/store"
)

// Harness makes stores for the suite. Subtests run one after the other; each
// asks for a store of its own.
type Harness struct {
	// Open returns a fresh, empty store, closed when t ends.
	Open func(t *testing.T) store.Full
	// Reopen closes the store and opens its data as a new process would.
	Reopen func(t *testing.T, s store.Full) store.Full
	// Kill, if set, opens the data as a new process would after this one was
	// killed: the store is not closed and writes no more.
	Kill func(t *testing.T, s store.Full) store.Full
	// Second, if set, opens the same data while s stays open, as a second process
	// would. A store that admits one process only leaves it nil.
	Second func(t *testing.T, s store.Full) store.Full
	// Advance moves the clock of every store of this harness.
	Advance func(d time.Duration)
	// Now reads that clock.
	Now func() time.Time
}

// suite is one subtest's view.
type suite struct {
	*testing.T
	Harness
	s   store.Full
	ctx context.Context
	ids int
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"commit", commitTests},
		{"state", stateTests},
		{"claim", claimTests},
		{"start", startTests},
		{"settle", settleTests},
		{"change", changeTests},
		{"keeper", keeperTests},
		{"operator", operatorTests},
		{"retain", retainTests},
		{"lane", laneTests},
		{"model", modelTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, tt := range group.tests {
				t.Run(tt.name, func(t *testing.T) {
					s := &suite{T: t, Harness: h, s: h.Open(t), ctx: t.Context()}
					s.enter()
					tt.run(s)
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(*suite)
}

// must fails the test on an error.
func must[T any](v T, err error) func(*suite) T {
	return func(s *suite) T {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
		return v
	}
}

func (s *suite) equal(what string, got, want any, opts ...cmp.Option) {
	s.Helper()
	if diff := cmp.Diff(want, got, append(opts, cmpopts.EquateEmpty())...); diff != "" {
		s.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func (s *suite) enter() {
	s.Helper()
	must(s.s.Enter(s.ctx, store.Instance{ID: "router-1", Host: "h", PID: 7}))(s)
}

func (s *suite) reopen() {
	s.Helper()
	s.s = s.Reopen(s.T, s.s)
	s.enter()
}

// id returns a UUIDv7 that sorts after all before.
func (s *suite) id() string {
	s.ids++
	return fmt.Sprintf("018f%04x-0000-7000-8000-%012x", s.ids>>16, s.ids)
}

// event returns an event of source "src" with the given CloudEvents id.
func (s *suite) event(id string) store.Event {
	return store.Event{
		UID: s.id(), Source: "src", CESource: "/ce", ID: id, Type: "t", Received: s.Now().UTC(),
		JSON: []byte(`{"id":"` + id + `"}`), Digest: [16]byte{1}, Revision: "rev",
		Verdicts: []store.Verdict{{Rule: "r", Verdict: "matched"}},
	}
}

func (s *suite) delivery(ev *store.Event, action string) store.Delivery {
	now := s.Now().UTC()
	return store.Delivery{
		ID: s.id(), EventUID: ev.UID, EventID: ev.ID, Source: ev.Source, CESource: ev.CESource, Rule: "r", Step: 1,
		Action: action, State: store.Ready, Params: []byte(`{"a":1}`), Key: "k", Created: now, Budget: now,
	}
}

// txn returns an event remembered for an hour with a ready delivery for each action.
func (s *suite) txn(id string, actions ...string) store.Txn {
	t := store.Txn{Event: s.event(id), Dedup: time.Hour}
	for _, a := range actions {
		t.Deliveries = append(t.Deliveries, s.delivery(&t.Event, a))
	}
	return t
}

// commit expects the statuses.
func (s *suite) commit(txns []store.Txn, want ...store.Status) []store.Result {
	s.Helper()
	results := must(s.s.Commit(s.ctx, txns...))(s)
	got := make([]store.Status, len(results))
	for i, r := range results {
		got[i] = r.Status
	}
	s.equal("statuses", got, want)
	return results
}

// put commits one new event with deliveries and returns their ids.
func (s *suite) put(id string, actions ...string) []string {
	s.Helper()
	t := s.txn(id, actions...)
	s.commit([]store.Txn{t}, store.StatusNew)
	ids := make([]string, len(t.Deliveries))
	for i := range ids {
		ids[i] = t.Deliveries[i].ID
	}
	return ids
}

const ttl = 15 * time.Second

func (s *suite) claim(action string, n int) []store.Lease {
	s.Helper()
	leases, _, err := s.s.Claim(s.ctx, store.OpID(s.id()), []store.Want{{Action: action, N: n, Durable: true}}, ttl)
	return must(leases, err)(s)
}

// one claims the only delivery that is due.
func (s *suite) one(action string) store.Lease {
	s.Helper()
	leases := s.claim(action, 10)
	if len(leases) != 1 {
		s.Fatalf("claimed %d deliveries, want 1", len(leases))
	}
	return leases[0]
}

func (s *suite) none(action string) {
	s.Helper()
	if leases := s.claim(action, 10); len(leases) != 0 {
		s.Fatalf("claimed %d deliveries, want none", len(leases))
	}
}

// outcome ends a lease with a counted attempt.
func (s *suite) outcome(l *store.Lease, state store.DeliveryState) store.Outcome {
	word := map[store.DeliveryState]string{store.Done: "done", store.Ready: "failed", store.Dead: "permanent", store.Held: "crashed"}[state]
	return store.Outcome{
		ID: l.Delivery.ID, Epoch: l.Epoch, State: state, Attempts: l.Delivery.Attempts + 1,
		Attempt: &store.Attempt{Number: l.Number, Started: s.Now().UTC(), Ended: s.Now().UTC(), Outcome: word, Output: "out"},
	}
}

func (s *suite) settle(o store.Outcome, want store.Settled) {
	s.Helper()
	s.equal("settled", must(s.s.Settle(s.ctx, o))(s), []store.Settled{want})
}

func (s *suite) change(c store.Change, want store.Changed) {
	s.Helper()
	s.equal("changed", must(s.s.Change(s.ctx, c))(s), []store.Changed{want})
}

func (s *suite) show(id string) store.Delivery {
	s.Helper()
	ds := must(s.s.Deliveries(s.ctx, store.DeliveryQuery{ID: id}))(s)
	if len(ds) != 1 {
		s.Fatalf("found %d deliveries %s, want 1", len(ds), id)
	}
	return ds[0]
}

// history gives the outcomes of a delivery's attempts by number.
func (s *suite) history(id string, want ...string) []store.Attempt {
	s.Helper()
	as := must(s.s.History(s.ctx, id))(s)
	got := make([]string, len(as))
	for i, a := range as {
		got[i] = fmt.Sprintf("%d %s", a.Number, a.Outcome)
	}
	s.equal("history", got, want)
	return as
}
