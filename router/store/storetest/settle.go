package storetest

import (
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pointsman/pointsman/router/store"
)

var settleTests = []test{
	{"done, dead, held", func(s *suite) {
		for state, action := range map[store.DeliveryState]string{store.Done: "a", store.Dead: "b", store.Held: "c", store.Cancelled: "d"} {
			id := s.put(action, action)[0]
			l := s.one(action)
			o := s.outcome(&l, state)
			o.Reason, o.Error, o.Crashes, o.Suspect, o.Attempts = "why", "boom", 2, true, 5
			s.settle(o, store.SettledOK)
			s.settle(o, store.SettledOK) // again
			d := s.show(id)
			s.equal("delivery", d, store.Delivery{State: state, Reason: "why", Error: "boom", Crashes: 2, Suspect: true, Attempts: 5, Starts: 1, Action: action},
				cmpopts.IgnoreFields(store.Delivery{}, "ID", "EventUID", "EventID", "Source", "CESource", "Rule", "Step", "Params", "Key", "Created", "Updated", "Budget", "Due", "Epoch"))
			s.equal("attempt", must(s.s.History(s.ctx, id))(s), []store.Attempt{*o.Attempt})
			s.Advance(time.Hour)
			s.none(action)
		}
	}},
	{"ready after a delay", func(s *suite) {
		id := s.put("1", "a")[0]
		l := s.one("a")
		o := s.outcome(&l, store.Ready)
		o.Delay, o.Attempts, o.Crashes, o.Suspect, o.Error = time.Minute, 1, 1, true, "e"
		s.settle(o, store.SettledOK)
		s.equal("due", s.show(id).Due, s.Now().Add(time.Minute).UTC())
		s.Advance(time.Minute - time.Millisecond)
		s.none("a")
		s.settle(o, store.SettledOK)
		s.Advance(time.Millisecond)
		next := s.one("a")
		s.equal("lease", []any{next.Number, next.Delivery.Attempts, next.Delivery.Crashes, next.Delivery.Suspect, next.Delivery.Error, next.Epoch > l.Epoch, next.Lost == nil},
			[]any{2, 1, 1, true, "e", true, true})
		s.settle(o, store.SettledLost)
		s.history(id, "1 failed", "2 running")
	}},
	{"a release takes the start back", func(s *suite) {
		id := s.put("1", "a")[0]
		for range 3 {
			l := s.one("a")
			s.equal("number", l.Number, 1)
			o := store.Outcome{ID: id, Epoch: l.Epoch, State: store.Ready}
			s.settle(o, store.SettledOK)
			s.settle(o, store.SettledOK)
			s.history(id)
			s.equal("starts", s.show(id).Starts, 0)
		}
	}},
	{"unknown and never leased", func(s *suite) {
		id := s.put("1", "a")[0]
		s.settle(store.Outcome{ID: "none", Epoch: 1, State: store.Done}, store.SettledLost)
		s.settle(store.Outcome{ID: id, Epoch: 0, State: store.Done}, store.SettledLost)
		s.one("a")
	}},
	{"each for itself", func(s *suite) {
		s.put("1", "a")
		s.put("2", "a")
		ls := s.claim("a", 2)
		stale := s.outcome(&ls[0], store.Done)
		stale.Epoch++
		got := must(s.s.Settle(s.ctx, stale, s.outcome(&ls[1], store.Done), s.outcome(&ls[0], store.Dead)))(s)
		s.equal("settled", got, []store.Settled{store.SettledLost, store.SettledOK, store.SettledOK})
		s.equal("state", s.show(ls[0].Delivery.ID).State, store.Dead)
	}},
	{"after a cancel", func(s *suite) {
		id := s.put("1", "a")[0]
		l := s.one("a")
		s.change(store.Change{ID: id, Kind: store.Cancel}, store.ChangedOK)
		s.equal("held", must(s.s.Extend(s.ctx, []store.LeaseRef{l.Ref()}, ttl))(s), []bool{false})
		o := s.outcome(&l, store.Done)
		s.settle(o, store.SettledCancelled)
		s.settle(o, store.SettledCancelled)
		s.history(id, "1 done")
		s.equal("state", s.show(id).State, store.Cancelled)
		s.Advance(time.Hour)
		s.none("a")
	}},
}

var changeTests = []test{
	{"cancel", func(s *suite) {
		for state, action := range map[store.DeliveryState]string{store.Held: "b", store.Dead: "c", store.Ready: "d"} {
			id := s.put(action, action)[0]
			l := s.one(action)
			s.settle(s.outcome(&l, state), store.SettledOK)
			s.change(store.Change{ID: id, Kind: store.Cancel}, store.ChangedOK)
			s.change(store.Change{ID: id, Kind: store.Cancel}, store.ChangedRefused)
			s.equal("state", s.show(id).State, store.Cancelled)
			s.none(action)
		}
		id := s.put("done", "done")[0]
		l := s.one("done")
		s.settle(s.outcome(&l, store.Done), store.SettledOK)
		s.change(store.Change{ID: id, Kind: store.Cancel}, store.ChangedRefused)
		s.change(store.Change{ID: "none", Kind: store.Cancel}, store.ChangedNotFound)
	}},
	{"retry", func(s *suite) {
		for state, action := range map[store.DeliveryState]string{store.Held: "b", store.Dead: "c", store.Cancelled: "d"} {
			id := s.put(action, action)[0]
			l := s.one(action)
			o := s.outcome(&l, state)
			o.Attempts, o.Reason, o.Error, o.Crashes = 4, "why", "boom", 3
			s.settle(o, store.SettledOK)
			s.Advance(time.Hour)
			s.change(store.Change{ID: id, Kind: store.Retry}, store.ChangedOK)
			next := s.one(action)
			d := next.Delivery
			// The error stays until the next outcome; the reason and the crashes go.
			s.equal("lease", []any{d.Budget, d.BudgetFrom, d.Attempts, d.Reason, d.Error, d.Crashes, next.Number, next.Lost == nil, next.Epoch > l.Epoch},
				[]any{s.Now().UTC(), 4, 4, "", "boom", 0, 2, true, true})
			s.settle(o, store.SettledLost)
			s.settle(s.outcome(&next, store.Done), store.SettledOK)
		}
	}},
	{"retry refused", func(s *suite) {
		id := s.put("1", "a")[0]
		retry := store.Change{ID: id, Kind: store.Retry}
		s.change(retry, store.ChangedRefused)
		l := s.one("a")
		s.change(retry, store.ChangedRefused)
		s.settle(s.outcome(&l, store.Done), store.SettledOK)
		s.change(retry, store.ChangedRefused)
		s.change(store.Change{ID: "none", Kind: store.Retry}, store.ChangedNotFound)
		t := s.txn("fan", "f")
		t.Deliveries[0].State, t.Deliveries[0].Reason, t.Deliveries[0].Count = store.Held, store.ReasonFanOut, 3
		s.commit([]store.Txn{t}, store.StatusNew)
		s.change(store.Change{ID: t.Deliveries[0].ID, Kind: store.Retry}, store.ChangedRefused)
	}},
	{"retry of what a cancel overtook", func(s *suite) {
		id := s.put("1", "a")[0]
		l := s.one("a")
		s.change(store.Change{ID: id, Kind: store.Cancel}, store.ChangedOK)
		s.history(id, "1 cancelled")
		s.change(store.Change{ID: id, Kind: store.Retry}, store.ChangedOK)
		s.settle(s.outcome(&l, store.Done), store.SettledLost)
		next := s.one("a")
		s.equal("number", next.Number, 2)
		s.history(id, "1 cancelled", "2 running")
	}},
	{"retry while the cancelled attempt goes on", func(s *suite) {
		if s.Second == nil {
			return // the one process there is waits for its own attempts
		}
		ended, silent := s.put("1", "a")[0], s.put("2", "b")[0]
		l := s.one("a")
		s.one("b")
		for _, id := range []string{ended, silent} {
			s.change(store.Change{ID: id, Kind: store.Cancel}, store.ChangedOK)
			s.change(store.Change{ID: id, Kind: store.Retry}, store.ChangedOK)
		}
		s.none("a")
		s.equal("held", must(s.s.Extend(s.ctx, []store.LeaseRef{l.Ref()}, ttl))(s), []bool{false})
		s.settle(s.outcome(&l, store.Done), store.SettledLost)
		s.equal("number", s.one("a").Number, 2)
		s.none("b")
		// A second round changes nothing.
		s.change(store.Change{ID: silent, Kind: store.Cancel}, store.ChangedOK)
		s.change(store.Change{ID: silent, Kind: store.Retry}, store.ChangedOK)
		s.none("b")
		s.Advance(ttl)
		s.equal("number", s.one("b").Number, 2)
	}},
	{"bury", func(s *suite) {
		bury := func(id string, want store.Changed) {
			s.Helper()
			s.change(store.Change{ID: id, Kind: store.Bury, Reason: store.ReasonAge, Error: "no such action"}, want)
		}
		id := s.put("1", "a")[0]
		bury(id, store.ChangedOK)
		d := s.show(id)
		s.equal("buried", []any{d.State, d.Reason, d.Error}, []any{store.Dead, store.ReasonAge, "no such action"})
		s.none("a")
		bury(id, store.ChangedRefused)
		bury("none", store.ChangedNotFound)

		// A lease that is held is not touched; one that ran out is lost.
		id = s.put("2", "a")[0]
		l := s.one("a")
		bury(id, store.ChangedRefused)
		s.Advance(ttl)
		bury(id, store.ChangedOK)
		s.equal("state", s.show(id).State, store.Dead)
		s.history(id, "1 lost")
		s.settle(s.outcome(&l, store.Done), store.SettledLost)
		s.none("a")
		s.change(store.Change{ID: id, Kind: store.Retry}, store.ChangedOK)
		next := s.one("a")
		s.equal("number", next.Number, 2)
	}},
	{"retry with another call", func(s *suite) {
		t := s.txn("1", "a")
		t.Deliveries[0].State, t.Deliveries[0].Reason = store.Dead, store.ReasonEvaluation
		s.commit([]store.Txn{t}, store.StatusNew)
		more := s.delivery(&t.Event, "c")
		s.change(store.Change{ID: t.Deliveries[0].ID, Kind: store.Retry, Replace: &store.Call{Step: 2, Action: "b", Params: []byte(`[1]`), Key: "k2"}, Also: []store.Delivery{more}}, store.ChangedOK)
		s.none("a")
		l := s.one("b")
		s.equal("call", []any{l.Delivery.Step, string(l.Delivery.Params), l.Delivery.Key}, []any{2, "[1]", "k2"})
		c := s.one("c")
		s.equal("also", []any{c.Delivery.ID, string(c.Event)}, []any{more.ID, string(t.Event.JSON)})
		s.equal("counts", len(must(s.s.Counts(s.ctx))(s)), 2)
	}},
	{"expand", func(s *suite) {
		t := s.txn("1", "a")
		fan := t.Deliveries[0]
		fan.State, fan.Reason, fan.Count, fan.Params = store.Held, store.ReasonFanOut, 3, nil
		t.Deliveries[0] = fan
		s.commit([]store.Txn{t}, store.StatusNew)
		part := store.Change{ID: fan.ID, Kind: store.Expand, Also: []store.Delivery{s.delivery(&t.Event, "x"), s.delivery(&t.Event, "x")}}
		s.change(part, store.ChangedOK)
		part.Also = []store.Delivery{s.delivery(&t.Event, "x")}
		s.change(part, store.ChangedRefused) // From is stale
		s.equal("half", []any{s.show(fan.ID).Expanded, s.show(fan.ID).State}, []any{2, store.Held})
		part.From = 2
		s.change(part, store.ChangedOK)
		s.equal("whole", []any{s.show(fan.ID).Expanded, s.show(fan.ID).State}, []any{3, store.Done})
		s.change(part, store.ChangedRefused)
		s.equal("claimed", len(s.claim("x", 10)), 3)
	}},
}

var keeperTests = []test{
	{"starts are counted per instance", func(s *suite) {
		for want := uint64(2); want < 4; want++ {
			s.s = s.Reopen(s.T, s.s)
			s.equal("start", must(s.s.Enter(s.ctx, store.Instance{ID: "router-1"}))(s), want)
		}
		s.s = s.Reopen(s.T, s.s)
		s.equal("start", must(s.s.Enter(s.ctx, store.Instance{ID: "router-2"}))(s), uint64(1))
	}},
	{"revisions", func(s *suite) {
		_, err := s.s.Revision(s.ctx, "x")
		s.equal("error", err, store.ErrNotFound, cmpopts.EquateErrors())
		rev := store.Revision{ID: "x", Created: s.Now().UTC(), Data: []byte("a")}
		must(0, s.s.PutRevision(s.ctx, rev))(s)
		must(0, s.s.PutRevision(s.ctx, store.Revision{ID: "x", Data: []byte("b")}))(s)
		s.equal("revision", must(s.s.Revision(s.ctx, "x"))(s), rev)
	}},
	{"an older start is fenced", func(s *suite) {
		if s.Second == nil {
			s.Skip("the store admits one process only")
		}
		s.put("1", "a")
		l := s.one("a")
		old := s.s
		s.s = s.Second(s.T, old)
		s.enter()
		_, _, err := old.Claim(s.ctx, "op", []store.Want{{Action: "a", N: 1}}, ttl)
		s.equal("claim", err, store.ErrFenced, cmpopts.EquateErrors())
		_, err = old.Extend(s.ctx, []store.LeaseRef{l.Ref()}, ttl)
		s.equal("extend", err, store.ErrFenced, cmpopts.EquateErrors())
		_, err = old.Settle(s.ctx, s.outcome(&l, store.Done))
		s.equal("settle", err, store.ErrFenced, cmpopts.EquateErrors())
		s.equal("lost", s.one("a").Lost != nil, true)
	}},
	{"closed", func(s *suite) {
		must(0, s.s.Close())(s)
		must(0, s.s.Close())(s)
		_, err := s.s.Commit(s.ctx, s.txn("1"))
		s.equal("commit", err, store.ErrClosed, cmpopts.EquateErrors())
		_, _, err = s.s.Claim(s.ctx, "op", []store.Want{{Action: "a", N: 1}}, ttl)
		s.equal("claim", err, store.ErrClosed, cmpopts.EquateErrors())
		_, err = s.s.Events(s.ctx, store.EventQuery{})
		s.equal("events", err, store.ErrClosed, cmpopts.EquateErrors())
	}},
}
