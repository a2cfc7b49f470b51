package storetest

import (
	"bytes"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pointsman/pointsman/router/store"
)

func eventIDs(evs []store.Event) []string {
	var ids []string
	for _, ev := range evs {
		ids = append(ids, ev.ID)
	}
	return ids
}

var operatorTests = []test{
	{"events", func(s *suite) {
		var txns []store.Txn
		start := s.Now()
		for i := range 5 {
			t := s.txn(fmt.Sprint(i))
			if i == 3 {
				t.Event.Source, t.Event.CESource = "other", "/other"
			}
			s.commit([]store.Txn{t}, store.StatusNew)
			txns = append(txns, t)
			s.Advance(time.Second)
		}
		for _, tt := range []struct {
			name string
			q    store.EventQuery
			want []string
		}{
			{"all", store.EventQuery{}, []string{"4", "3", "2", "1", "0"}},
			{"uid", store.EventQuery{UID: txns[1].Event.UID}, []string{"1"}},
			{"id", store.EventQuery{ID: "2"}, []string{"2"}},
			{"no such id", store.EventQuery{ID: "9"}, nil},
			{"source", store.EventQuery{Source: "other"}, []string{"3"}},
			{"ce source", store.EventQuery{CESource: "/ce", Limit: 2}, []string{"4", "2"}},
			{"page", store.EventQuery{Before: txns[3].Event.UID, Limit: 2}, []string{"2", "1"}},
			{"after", store.EventQuery{After: txns[1].Event.UID, Limit: 2}, []string{"2", "3"}},
			{"after the last", store.EventQuery{After: txns[4].Event.UID}, nil},
			{"since, until", store.EventQuery{Since: start.Add(time.Second), Until: start.Add(3 * time.Second)}, []string{"2", "1"}},
		} {
			s.equal(tt.name, eventIDs(must(s.s.Events(s.ctx, tt.q))(s)), tt.want)
		}
	}},
	{"deliveries", func(s *suite) {
		start := s.Now()
		t := []store.Txn{s.txn("1", "a", "b"), s.txn("2", "a")}
		s.commit(t[:1], store.StatusNew)
		s.Advance(time.Minute)
		t[1].Deliveries[0].Rule, t[1].Deliveries[0].Created = "r2", s.Now().UTC()
		s.commit(t[1:], store.StatusNew)
		one, two, three := t[0].Deliveries[0].ID, t[0].Deliveries[1].ID, t[1].Deliveries[0].ID
		l := s.one("b")
		s.settle(s.outcome(&l, store.Dead), store.SettledOK)
		for _, tt := range []struct {
			name string
			q    store.DeliveryQuery
			want []string
		}{
			{"all", store.DeliveryQuery{}, []string{three, two, one}},
			{"page", store.DeliveryQuery{Before: three, Limit: 1}, []string{two}},
			{"event uid", store.DeliveryQuery{EventUID: t[0].Event.UID}, []string{two, one}},
			{"event id", store.DeliveryQuery{EventID: "2"}, []string{three}},
			{"rule", store.DeliveryQuery{Rule: "r2"}, []string{three}},
			{"action", store.DeliveryQuery{Action: "a"}, []string{three, one}},
			{"states", store.DeliveryQuery{States: []store.DeliveryState{store.Dead, store.Held}}, []string{two}},
			{"state and event", store.DeliveryQuery{States: []store.DeliveryState{store.Ready}, EventID: "1"}, []string{one}},
			{"since", store.DeliveryQuery{Since: start.Add(time.Second)}, []string{three}},
			{"until", store.DeliveryQuery{Until: start.Add(time.Second)}, []string{two, one}},
			{"none", store.DeliveryQuery{ID: "none"}, nil},
		} {
			var got []string
			for _, d := range must(s.s.Deliveries(s.ctx, tt.q))(s) {
				got = append(got, d.ID)
			}
			s.equal(tt.name, got, tt.want)
		}
		s.equal("history of none", len(must(s.s.History(s.ctx, "none"))(s)), 0)
	}},
	{"a page is at most 1000", func(s *suite) {
		txns := make([]store.Txn, 1003)
		for i := range txns {
			txns[i] = s.txn(fmt.Sprint(i), "a")
		}
		must(s.s.Commit(s.ctx, txns...))(s)
		for _, limit := range []int{0, 5000, 1000} {
			s.equal("events", len(must(s.s.Events(s.ctx, store.EventQuery{Limit: limit}))(s)), 1000)
			s.equal("deliveries", len(must(s.s.Deliveries(s.ctx, store.DeliveryQuery{Limit: limit}))(s)), 1000)
		}
		s.equal("rest", len(must(s.s.Events(s.ctx, store.EventQuery{Before: txns[3].Event.UID}))(s)), 3)
	}},
	{"counts", func(s *suite) {
		start := s.Now().UTC()
		s.put("1", "a", "b")
		s.Advance(time.Second)
		s.put("2", "a")
		l := s.one("b")
		s.settle(s.outcome(&l, store.Done), store.SettledOK)
		s.claim("a", 1)
		s.equal("counts", must(s.s.Counts(s.ctx))(s), []store.Count{
			{Action: "a", State: store.Ready, N: 1, Oldest: start.Add(time.Second)},
			{Action: "a", State: store.Leased, N: 1, Oldest: start},
			{Action: "b", State: store.Done, N: 1},
		}, cmpopts.SortSlices(func(a, b store.Count) bool {
			return a.Action < b.Action || a.Action == b.Action && a.State < b.State
		}))
	}},
}

var retainTests = []test{
	{"by age", func(s *suite) {
		p := store.Policy{Events: 24 * time.Hour, Deliveries: 72 * time.Hour, Keep: "new"}
		for _, id := range []string{"rev", "new", "never"} {
			must(0, s.s.PutRevision(s.ctx, store.Revision{ID: id, Data: []byte(id)}))(s)
		}
		s.put("unmatched")
		for _, a := range []string{"ready", "done", "dead", "held"} {
			s.put(a, a)
		}
		for a, state := range map[string]store.DeliveryState{"done": store.Done, "dead": store.Dead, "held": store.Held} {
			l := s.one(a)
			s.settle(s.outcome(&l, state), store.SettledOK)
		}
		s.Advance(25 * time.Hour)
		r := must(s.s.Retain(s.ctx, p))(s)
		s.equal("retained", []any{r.Events, r.Deliveries, r.Full, r.Bytes > 0}, []any{2, 0, false, true})
		s.equal("events", eventIDs(must(s.s.Events(s.ctx, store.EventQuery{}))(s)), []string{"held", "dead", "ready"})
		s.equal("deliveries", len(must(s.s.Deliveries(s.ctx, store.DeliveryQuery{}))(s)), 4)
		must(s.s.Revision(s.ctx, "rev"))(s)
		must(s.s.Revision(s.ctx, "new"))(s)
		_, err := s.s.Revision(s.ctx, "never")
		s.equal("revision", err, store.ErrNotFound, cmpopts.EquateErrors())

		s.Advance(48 * time.Hour)
		r = must(s.s.Retain(s.ctx, p))(s)
		s.equal("retained", []any{r.Events, r.Deliveries}, []any{1, 2})
		s.equal("events", eventIDs(must(s.s.Events(s.ctx, store.EventQuery{}))(s)), []string{"held", "ready"})

		l := s.one("ready") // unfinished is never removed
		s.settle(s.outcome(&l, store.Done), store.SettledOK)
		held := must(s.s.Deliveries(s.ctx, store.DeliveryQuery{Action: "held"}))(s)[0]
		s.change(store.Change{ID: held.ID, Kind: store.Cancel}, store.ChangedOK)
		must(s.s.Retain(s.ctx, p))(s)
		s.equal("finished just now", len(must(s.s.Deliveries(s.ctx, store.DeliveryQuery{}))(s)), 2)
		s.change(store.Change{ID: held.ID, Kind: store.Retry}, store.ChangedRefused) // its event is gone
		_, err = s.s.Revision(s.ctx, "rev")
		s.equal("revision", err, store.ErrNotFound, cmpopts.EquateErrors())
		s.Advance(72 * time.Hour)
		must(s.s.Retain(s.ctx, p))(s)
		s.equal("deliveries", len(must(s.s.Deliveries(s.ctx, store.DeliveryQuery{}))(s)), 0)
		s.equal("counts", len(must(s.s.Counts(s.ctx))(s)), 0)
	}},
	{"by size", func(s *suite) {
		big := func(id string, actions ...string) {
			t := s.txn(id, actions...)
			t.Dedup = 24 * time.Hour
			t.Event.JSON = []byte(`{"data":"` + string(bytes.Repeat([]byte("x"), 100_000)) + `"}`)
			t.States = []store.StateWrite{{State: store.State{Key: id, Version: 1, Data: []byte("s")}}}
			s.commit([]store.Txn{t}, store.StatusNew)
		}
		base := must(s.s.Retain(s.ctx, store.Policy{}))(s).Bytes
		for i := range 4 {
			big(fmt.Sprintf("dead%d", i), "dead")
			big(fmt.Sprintf("plain%d", i))
			big(fmt.Sprintf("done%d", i), "done")
		}
		big("ready", "ready")
		for a, state := range map[string]store.DeliveryState{"dead": store.Dead, "done": store.Done} {
			for _, l := range s.claim(a, 10) {
				s.settle(s.outcome(&l, state), store.SettledOK)
			}
		}
		policy := func(events int64) store.Policy { return store.Policy{Size: base + events*110_000 + 60_000} }
		r := must(s.s.Retain(s.ctx, policy(8)))(s)
		s.equal("retained", []any{r.DeadForSize, r.Full, r.Bytes <= policy(8).Size}, []any{0, false, true})
		left := eventIDs(must(s.s.Events(s.ctx, store.EventQuery{}))(s))
		s.equal("newest stay", left[:3], []string{"ready", "done3", "plain3"})
		s.equal("oldest dead stays, oldest plain goes", []any{left[len(left)-1], len(must(s.s.Events(s.ctx, store.EventQuery{ID: "plain0"}))(s))}, []any{"dead0", 0})

		r = must(s.s.Retain(s.ctx, policy(3)))(s)
		s.equal("dead go last and are reported", []any{r.DeadForSize, r.Full}, []any{2, false})
		s.equal("left", eventIDs(must(s.s.Events(s.ctx, store.EventQuery{}))(s)), []string{"ready", "dead3", "dead2"})

		r = must(s.s.Retain(s.ctx, store.Policy{Size: 1}))(s)
		s.equal("full", []any{r.DeadForSize, r.Full}, []any{2, true})
		_, err := s.s.Commit(s.ctx, s.txn("more"))
		s.equal("error", err, store.ErrFull, cmpopts.EquateErrors())
		l := s.one("ready") // what is accepted still runs
		s.settle(s.outcome(&l, store.Done), store.SettledOK)
		r = must(s.s.Retain(s.ctx, policy(3)))(s)
		s.equal("full", r.Full, false)

		// Marks and states outlive their events.
		dup := s.txn("dead0")
		s.commit([]store.Txn{dup, s.txn("plain0"), s.txn("more")}, store.StatusDuplicate, store.StatusDuplicate, store.StatusNew)
		s.equal("state", must(s.s.Load(s.ctx, "plain0"))(s)[0].Version, uint64(1))
		s.Advance(24*time.Hour - time.Millisecond)
		must(s.s.Retain(s.ctx, policy(3)))(s)
		s.commit([]store.Txn{s.txn("dead0")}, store.StatusDuplicate)
		s.Advance(time.Millisecond)
		must(s.s.Retain(s.ctx, policy(3)))(s)
		s.commit([]store.Txn{s.txn("dead0")}, store.StatusNew)
	}},
}
