package storetest

import (
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// starting returns an event whose deliveries ask to be leased at once.
func (s *suite) starting(id string, actions ...string) store.Txn {
	t := s.txn(id, actions...)
	t.Lease = ttl
	for i := range t.Deliveries {
		t.Deliveries[i].Start = true
	}
	return t
}

// leased makes the lease that a Commit gave, which must be one.
func (s *suite) leased(t *store.Txn, r store.Result, i int) store.Lease {
	s.Helper()
	if len(r.Leased) != len(t.Deliveries) || r.Leased[i] == 0 {
		s.Fatalf("leased %v, want an epoch for delivery %d of %d", r.Leased, i, len(t.Deliveries))
	}
	d := t.Deliveries[i]
	d.Start = false
	return store.Lease{Delivery: d, Epoch: r.Leased[i], Number: d.Starts + 1, Event: t.Event.JSON}
}

// left expects that a Commit leased nothing.
func (s *suite) left(r store.Result) {
	s.Helper()
	for _, epoch := range r.Leased {
		s.equal("epoch", epoch, uint64(0))
	}
}

var startTests = []test{
	{"leased as it is written", func(s *suite) {
		t := s.starting("1", "a", "b")
		r := s.commit([]store.Txn{t}, store.StatusNew)[0]
		s.none("a")
		for i, action := range []string{"a", "b"} {
			l := s.leased(&t, r, i)
			s.equal("held", must(s.s.Extend(s.ctx, []store.LeaseRef{l.Ref()}, ttl))(s), []bool{true})
			s.settle(s.outcome(&l, store.Done), store.SettledOK)
			s.settle(s.outcome(&l, store.Done), store.SettledOK)
			s.history(l.Delivery.ID, "1 done")
			s.none(action)
		}
		s.equal("counts", must(s.s.Counts(s.ctx))(s), []store.Count{
			{Action: "a", State: store.Done, N: 1}, {Action: "b", State: store.Done, N: 1},
		})
	}},
	{"only what asks for it", func(s *suite) {
		t := s.starting("1", "a", "b", "c")
		t.Deliveries[0].Start = false
		t.Deliveries[2].State = store.Dead
		r := s.commit([]store.Txn{t}, store.StatusNew)[0]
		s.equal("leased", []bool{r.Leased[0] > 0, r.Leased[1] > 0, r.Leased[2] > 0}, []bool{false, true, false})
		s.one("a")
		u := s.starting("2", "d")
		u.Lease = 0
		s.left(s.commit([]store.Txn{u}, store.StatusNew)[0])
		s.one("d")
	}},
	{"not before what is due", func(s *suite) {
		old := s.put("1", "a")
		t := s.starting("2", "a", "b")
		r := s.commit([]store.Txn{t}, store.StatusNew)[0]
		s.equal("leased", []bool{r.Leased[0] > 0, r.Leased[1] > 0}, []bool{false, true})
		var got []string
		for _, l := range s.claim("a", 10) {
			got = append(got, l.Delivery.ID)
		}
		s.equal("claimed", got, []string{old[0], t.Deliveries[0].ID})
		// What was left by the same call counts as well.
		plain := s.txn("3", "c")
		r = s.commit([]store.Txn{plain, s.starting("4", "c")}, store.StatusNew, store.StatusNew)[1]
		s.left(r)
		s.equal("claimed", len(s.claim("c", 10)), 2)
	}},
	{"beside what waits for its time", func(s *suite) {
		s.put("1", "a")
		l := s.one("a")
		t := s.starting("2", "a")
		s.leased(&t, s.commit([]store.Txn{t}, store.StatusNew)[0], 0) // beside one that runs
		o := s.outcome(&l, store.Ready)
		o.Delay = time.Minute
		s.settle(o, store.SettledOK)
		t = s.starting("3", "a")
		s.leased(&t, s.commit([]store.Txn{t}, store.StatusNew)[0], 0) // beside a retry
		s.Advance(time.Minute)
		s.left(s.commit([]store.Txn{s.starting("4", "a")}, store.StatusNew)[0])
	}},
	{"not in a lane", func(s *suite) {
		t := s.starting("1", "a", "a")
		for i := range t.Deliveries {
			t.Deliveries[i].Lane = "lane"
		}
		s.left(s.commit([]store.Txn{t}, store.StatusNew)[0])
		s.equal("claimed", s.one("a").Delivery.ID, t.Deliveries[0].ID)
	}},
	{"not by a duplicate", func(s *suite) {
		t := s.starting("1", "a")
		r := s.commit([]store.Txn{t}, store.StatusNew)[0]
		again := s.starting("1", "a")
		s.left(s.commit([]store.Txn{again}, store.StatusDuplicate)[0])
		s.none("a")
		l := s.leased(&t, r, 0)
		s.settle(s.outcome(&l, store.Done), store.SettledOK)
	}},
	{"runs out", func(s *suite) {
		t := s.starting("1", "a")
		first := s.leased(&t, s.commit([]store.Txn{t}, store.StatusNew)[0], 0)
		s.Advance(ttl - time.Millisecond)
		s.none("a")
		s.Advance(time.Millisecond)
		l := s.one("a")
		s.equal("lost, number, epoch", []any{l.Lost != nil && l.Lost.Number == 1, l.Number, l.Epoch > first.Epoch}, []any{true, 2, true})
		s.equal("event", string(l.Event), string(t.Event.JSON))
		s.settle(s.outcome(&first, store.Done), store.SettledLost)
		s.settle(s.outcome(&l, store.Done), store.SettledOK)
		s.history(l.Delivery.ID, "1 lost", "2 done")
	}},
	{"taken back", func(s *suite) {
		t := s.starting("1", "a")
		l := s.leased(&t, s.commit([]store.Txn{t}, store.StatusNew)[0], 0)
		s.settle(store.Outcome{ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Ready}, store.SettledOK)
		again := s.one("a")
		s.equal("number, lost", []any{again.Number, again.Lost == nil}, []any{1, true})
	}},
	{"cancelled while it runs", func(s *suite) {
		t := s.starting("1", "a")
		l := s.leased(&t, s.commit([]store.Txn{t}, store.StatusNew)[0], 0)
		s.change(store.Change{ID: l.Delivery.ID, Kind: store.Cancel}, store.ChangedOK)
		s.settle(s.outcome(&l, store.Done), store.SettledCancelled)
		s.history(l.Delivery.ID, "1 done")
	}},
	{"after a restart", func(s *suite) {
		t := s.starting("1", "a", "b")
		r := s.commit([]store.Txn{t}, store.StatusNew)[0]
		l := s.leased(&t, r, 0)
		s.reopen()
		s.settle(s.outcome(&l, store.Done), store.SettledLost)
		for _, action := range []string{"a", "b"} {
			again := s.one(action)
			s.equal("lost, number", []any{again.Lost != nil && again.Lost.Number == 1, again.Number}, []any{true, 2})
			s.equal("event", string(again.Event), string(t.Event.JSON))
		}
	}},
}
