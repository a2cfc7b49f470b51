package storetest

import (
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

var commitTests = []test{
	{"new, duplicate, conflict", func(s *suite) {
		a := s.txn("1", "act")
		s.commit([]store.Txn{a}, store.StatusNew)
		again := s.txn("1", "act")
		r := s.commit([]store.Txn{again}, store.StatusDuplicate)
		s.equal("uid of the first", r[0].UID, a.Event.UID)
		other := s.txn("1")
		other.Event.Digest = [16]byte{2}
		s.commit([]store.Txn{other}, store.StatusDuplicate)
		other.Strict = true
		r = s.commit([]store.Txn{other}, store.StatusConflict)
		s.equal("uid of the first", r[0].UID, a.Event.UID)
		again.Strict = true
		s.commit([]store.Txn{again}, store.StatusDuplicate)
		evs := must(s.s.Events(s.ctx, store.EventQuery{}))(s)
		want := a.Event
		want.Duplicates = 3
		s.equal("events", evs, []store.Event{want})
		s.equal("deliveries", len(must(s.s.Deliveries(s.ctx, store.DeliveryQuery{}))(s)), 1)
	}},
	{"the window ends exactly", func(s *suite) {
		s.put("1")
		s.Advance(time.Hour - time.Millisecond)
		s.commit([]store.Txn{s.txn("1")}, store.StatusDuplicate)
		s.Advance(time.Millisecond)
		second := s.txn("1")
		s.commit([]store.Txn{second}, store.StatusNew)
		r := s.commit([]store.Txn{s.txn("1")}, store.StatusDuplicate)
		s.equal("uid of the second", r[0].UID, second.Event.UID)
	}},
	{"identity is source, ce source and id", func(s *suite) {
		s.put("1")
		a, b, c := s.txn("1"), s.txn("1"), s.txn("2")
		a.Event.Source, b.Event.CESource = "other", "/other"
		// The parts do not run into each other.
		d := s.txn("e1")
		d.Event.Source, d.Event.CESource = "sr", "c/c"
		s.commit([]store.Txn{a, b, c, d}, store.StatusNew, store.StatusNew, store.StatusNew, store.StatusNew)
		s.commit([]store.Txn{s.txn("1"), a}, store.StatusDuplicate, store.StatusDuplicate)
	}},
	{"dedup 0 neither looks nor marks", func(s *suite) {
		free := s.txn("1")
		free.Dedup = 0
		s.commit([]store.Txn{free}, store.StatusNew)
		s.put("1")
		free.Event.UID = s.id()
		s.commit([]store.Txn{free}, store.StatusNew)
	}},
	{"a batch is in order and each for itself", func(s *suite) {
		first := s.txn("1", "act")
		first.States = []store.StateWrite{{State: store.State{Key: "k", Version: 1, Data: []byte("a")}}}
		dup := s.txn("1", "act")
		stale := s.txn("2", "act")
		stale.States = []store.StateWrite{{State: store.State{Key: "other", Version: 1}}, {State: store.State{Key: "k", Version: 9}}}
		next := s.txn("3", "act")
		next.States = []store.StateWrite{{State: store.State{Key: "k", Version: 2, Data: []byte("b")}, Read: 1}}
		r := s.commit([]store.Txn{first, dup, stale, next}, store.StatusNew, store.StatusDuplicate, store.StatusStale, store.StatusNew)
		s.equal("uids", []string{r[0].UID, r[1].UID, r[2].UID, r[3].UID}, []string{first.Event.UID, first.Event.UID, "", next.Event.UID})
		// The stale one left no event, no mark, no state and no delivery.
		s.equal("events", len(must(s.s.Events(s.ctx, store.EventQuery{}))(s)), 2)
		s.equal("claimed", len(s.claim("act", 10)), 2)
		st := must(s.s.Load(s.ctx, "k", "other"))(s)
		s.equal("states", st, []store.State{{Key: "k", Version: 2, Data: []byte("b")}, {Key: "other"}})
		stale.States = nil
		s.commit([]store.Txn{stale}, store.StatusNew)
	}},
	{"deliveries keep every field", func(s *suite) {
		t := s.txn("1", "a", "a", "a")
		t.Deliveries[0].DryRun, t.Deliveries[0].State, t.Deliveries[0].Step = true, store.Done, 4
		t.Deliveries[1].State, t.Deliveries[1].Reason, t.Deliveries[1].Error = store.Dead, store.ReasonEvaluation, "boom"
		t.Deliveries[2].State, t.Deliveries[2].Reason, t.Deliveries[2].Count, t.Deliveries[2].Params = store.Held, store.ReasonFanOut, 5000, nil
		s.commit([]store.Txn{t}, store.StatusNew)
		s.none("a")
		s.reopen()
		s.none("a")
		for i := range t.Deliveries {
			got := s.show(t.Deliveries[i].ID)
			got.Updated, got.Due, got.Epoch = time.Time{}, time.Time{}, 0
			s.equal("delivery", got, t.Deliveries[i])
		}
	}},
	{"wake", func(s *suite) {
		drain(s)
		s.put("1", "act")
		woken(s, "commit")
		l := s.one("act")
		drain(s)
		s.settle(s.outcome(&l, store.Ready), store.SettledOK)
		woken(s, "settle")
		l = s.one("act")
		s.settle(s.outcome(&l, store.Dead), store.SettledOK)
		drain(s)
		s.change(store.Change{ID: l.Delivery.ID, Kind: store.Retry}, store.ChangedOK)
		woken(s, "change")
	}},
	{"a restart forgets nothing", func(s *suite) { survive(s, s.Reopen) }},
	{"a crash forgets nothing", func(s *suite) {
		if s.Kill == nil {
			s.Skip("the harness cannot kill")
		}
		survive(s, s.Kill)
	}},
}

func drain(s *suite) {
	select {
	case <-s.s.Wake():
	default:
	}
}

func woken(s *suite, after string) {
	s.Helper()
	select {
	case <-s.s.Wake():
	case <-time.After(5 * time.Second):
		s.Fatalf("not woken after %s", after)
	}
}

// survive checks that all that was answered is there again.
func survive(s *suite, again func(*testing.T, store.Full) store.Full) {
	a := s.txn("1", "ready", "leased", "done", "held", "dead", "cancelled")
	a.States = []store.StateWrite{{State: store.State{Key: "k", Version: 3, Data: []byte("x"), Expires: s.Now().Add(time.Hour).UTC()}}}
	s.commit([]store.Txn{a, s.txn("1")}, store.StatusNew, store.StatusDuplicate)
	must(0, s.s.PutRevision(s.ctx, store.Revision{ID: "rev", Created: s.Now().UTC(), Data: []byte("text")}))(s)
	leased := s.one("leased")
	for action, state := range map[string]store.DeliveryState{"done": store.Done, "held": store.Held, "dead": store.Dead} {
		l := s.one(action)
		s.settle(s.outcome(&l, state), store.SettledOK)
	}
	s.change(store.Change{ID: a.Deliveries[5].ID, Kind: store.Cancel}, store.ChangedOK)
	events, deliveries := must(s.s.Events(s.ctx, store.EventQuery{}))(s), must(s.s.Deliveries(s.ctx, store.DeliveryQuery{}))(s)
	counts := must(s.s.Counts(s.ctx))(s)

	s.s = again(s.T, s.s)
	s.enter()
	s.equal("events", must(s.s.Events(s.ctx, store.EventQuery{}))(s), events)
	s.equal("deliveries", must(s.s.Deliveries(s.ctx, store.DeliveryQuery{}))(s), deliveries)
	s.equal("counts", must(s.s.Counts(s.ctx))(s), counts)
	s.equal("state", must(s.s.Load(s.ctx, "k"))(s), []store.State{a.States[0].State})
	s.equal("revision", string(must(s.s.Revision(s.ctx, "rev"))(s).Data), "text")
	s.commit([]store.Txn{s.txn("1")}, store.StatusDuplicate)
	s.history(a.Deliveries[2].ID, "1 done")
	s.equal("ready", s.one("ready").Lost, (*store.Attempt)(nil))
	l := s.one("leased") // at once: its router is gone
	if l.Lost == nil || l.Lost.Number != 1 || l.Number != 2 || l.Epoch <= leased.Epoch {
		s.Fatalf("lease after the restart: %+v", l)
	}
	s.history(l.Delivery.ID, "1 lost", "2 running")
	s.settle(s.outcome(&leased, store.Done), store.SettledLost)
	s.settle(s.outcome(&l, store.Done), store.SettledOK)
	for _, action := range []string{"done", "held", "dead", "cancelled"} {
		s.none(action)
	}
}
