package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pointsman/pointsman/router/store"
)

var stateTests = []test{
	{"versions", func(s *suite) {
		write := func(id string, read, version uint64, want store.Status) {
			s.Helper()
			t := s.txn(id)
			t.States = []store.StateWrite{{State: store.State{Key: "k", Version: version, Data: []byte(id)}, Read: read}}
			s.commit([]store.Txn{t}, want)
		}
		s.equal("none", must(s.s.Load(s.ctx, "k"))(s), []store.State{{Key: "k"}})
		write("a", 0, 1<<62, store.StatusNew)
		write("b", 0, 5, store.StatusStale)
		write("c", 7, 5, store.StatusStale)
		write("d", 1<<62, 5, store.StatusNew)
		s.equal("d", must(s.s.Load(s.ctx, "x", "k"))(s), []store.State{{Key: "x"}, {Key: "k", Version: 5, Data: []byte("d")}})
	}},
	{"never forgotten before it expires", func(s *suite) {
		t := s.txn("a")
		st := store.State{Key: "k", Version: 1, Data: []byte("a"), Expires: s.Now().Add(time.Minute).UTC()}
		t.States = []store.StateWrite{{State: st}}
		s.commit([]store.Txn{t}, store.StatusNew)
		s.Advance(time.Minute - time.Millisecond)
		must(s.s.Retain(s.ctx, store.Policy{}))(s)
		s.equal("state", must(s.s.Load(s.ctx, "k"))(s), []store.State{st})
		s.Advance(time.Hour)
		must(s.s.Retain(s.ctx, store.Policy{}))(s)
		got := must(s.s.Load(s.ctx, "k"))(s)[0]
		u := s.txn("b")
		u.States = []store.StateWrite{{State: store.State{Key: "k", Version: 2}, Read: got.Version}}
		s.commit([]store.Txn{u}, store.StatusNew)
	}},
	{"states without an event", func(s *suite) {
		alone := func(read, version uint64, data string) store.Txn {
			return store.Txn{States: []store.StateWrite{{State: store.State{Key: "k", Version: version, Data: []byte(data)}, Read: read}}}
		}
		with := s.txn("1", "act")
		with.States = alone(1, 2, "b").States
		r := s.commit([]store.Txn{alone(0, 1, "a"), with, alone(1, 9, "x"), alone(2, 3, "c")},
			store.StatusNew, store.StatusNew, store.StatusStale, store.StatusNew)
		s.equal("uids", []string{r[0].UID, r[2].UID, r[3].UID}, []string{"", "", ""})
		s.commit([]store.Txn{alone(2, 3, "c")}, store.StatusNew) // sent again
		two := alone(3, 9, "x")
		two.States = append(two.States, store.StateWrite{State: store.State{Key: "other", Version: 1}, Read: 5})
		s.commit([]store.Txn{two}, store.StatusStale)
		want := []store.State{{Key: "k", Version: 3, Data: []byte("c")}, {Key: "other"}}
		s.equal("states", must(s.s.Load(s.ctx, "k", "other"))(s), want)
		s.equal("events", len(must(s.s.Events(s.ctx, store.EventQuery{}))(s)), 1)
		s.equal("deliveries", len(must(s.s.Deliveries(s.ctx, store.DeliveryQuery{}))(s)), 1)
		// A state that does not expire stays, whatever else goes.
		s.Advance(1000 * 24 * time.Hour)
		must(s.s.Retain(s.ctx, store.Policy{Events: time.Minute, Deliveries: time.Minute, Size: 1}))(s)
		s.reopen()
		s.equal("states", must(s.s.Load(s.ctx, "k", "other"))(s), want)
		bad := alone(3, 4, "d")
		bad.Deliveries = with.Deliveries
		if _, err := s.s.Commit(s.ctx, bad); err == nil {
			s.Fatal("deliveries without an event were written")
		}
	}},
}

var claimTests = []test{
	{"oldest due first, at most n of each action", func(s *suite) {
		var ids []string
		for i := range 6 {
			ids = append(ids, s.put(fmt.Sprint(i), []string{"a", "b"}[i%2])...)
			s.Advance(time.Second)
		}
		s.put("other", "unknown")
		leases, _, err := s.s.Claim(s.ctx, "op", []store.Want{{Action: "a", N: 2}, {Action: "b", N: 5}, {Action: "nothing", N: 5}}, ttl)
		must(0, err)(s)
		var got []string
		for _, l := range leases {
			got = append(got, l.Delivery.ID)
		}
		s.equal("claimed", got, []string{ids[0], ids[1], ids[2], ids[3], ids[5]})
	}},
	{"a lease says all", func(s *suite) {
		t := s.txn("1", "a")
		s.commit([]store.Txn{t}, store.StatusNew)
		for range 2 { // fresh, and after a restart
			l := s.one("a")
			want := t.Deliveries[0]
			want.State = store.Leased
			s.equal("delivery", l.Delivery, want, cmpopts.IgnoreFields(store.Delivery{}, "Epoch", "Due", "Updated"))
			s.equal("event", string(l.Event), string(t.Event.JSON))
			s.equal("number, lost", []any{l.Number, l.Lost == nil, l.Epoch > 0}, []any{1, true, true})
			s.settle(store.Outcome{ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Ready}, store.SettledOK)
			s.reopen()
		}
	}},
	{"never twice", func(s *suite) {
		const n = 400
		for i := range n {
			s.put(fmt.Sprint(i), "a")
		}
		var mu sync.Mutex
		seen := map[string]int{}
		var wg sync.WaitGroup
		for w := range 64 {
			wg.Go(func() {
				for i := 0; ; i++ {
					ls, _, err := s.s.Claim(s.ctx, store.OpID(fmt.Sprintf("w%d-%d", w, i)), []store.Want{{Action: "a", N: 3}}, ttl)
					if err != nil {
						s.Error(err)
					}
					if len(ls) == 0 {
						return
					}
					mu.Lock()
					for _, l := range ls {
						seen[l.Delivery.ID]++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		s.equal("deliveries", len(seen), n)
		for id, k := range seen {
			s.equal(id, k, 1)
		}
	}},
	{"the same operation, the same leases", func(s *suite) {
		s.put("1", "a")
		s.put("2", "a")
		want := []store.Want{{Action: "a", N: 1}}
		first, _, err := s.s.Claim(s.ctx, "op", want, ttl)
		must(0, err)(s)
		again, _, err := s.s.Claim(s.ctx, "op", want, ttl)
		must(0, err)(s)
		s.equal("again", again, first, cmpopts.IgnoreFields(store.Delivery{}, "Updated"))
		other, _, err := s.s.Claim(s.ctx, "op2", want, ttl)
		must(0, err)(s)
		s.equal("other", len(other) == 1 && other[0].Delivery.ID != first[0].Delivery.ID, true)
	}},
	{"wait", func(s *suite) {
		wait := func() time.Duration {
			s.Helper()
			ls, w, err := s.s.Claim(s.ctx, store.OpID(s.id()), []store.Want{{Action: "a", N: 1}}, ttl)
			must(0, err)(s)
			s.equal("claimed", len(ls), 0)
			return w
		}
		s.equal("nothing", wait(), time.Duration(0))
		s.put("1", "a")
		l := s.one("a")
		s.equal("lease", wait(), ttl)
		o := s.outcome(&l, store.Ready)
		o.Delay = 40 * time.Second
		s.settle(o, store.SettledOK)
		s.equal("retry", wait(), 40*time.Second)
		s.Advance(39 * time.Second)
		s.equal("retry", wait(), time.Second)
		s.Advance(time.Second)
		s.one("a")
	}},
	{"a lease that ran out", func(s *suite) {
		s.put("1", "a")
		first := s.one("a")
		started := s.Now()
		s.Advance(ttl - time.Millisecond)
		s.none("a")
		s.Advance(time.Millisecond)
		l := s.one("a")
		if l.Lost == nil || l.Lost.Number != 1 || l.Lost.Outcome != "lost" || !l.Lost.Started.Equal(started) || l.Number != 2 || l.Epoch <= first.Epoch {
			s.Fatalf("lease: %+v", l)
		}
		s.history(l.Delivery.ID, "1 lost", "2 running")
		s.settle(s.outcome(&first, store.Done), store.SettledLost)
		s.history(l.Delivery.ID, "1 lost", "2 running")
		s.equal("held", must(s.s.Extend(s.ctx, []store.LeaseRef{first.Ref(), l.Ref()}, ttl))(s), []bool{false, true})
		s.settle(s.outcome(&l, store.Done), store.SettledOK)
		s.history(l.Delivery.ID, "1 lost", "2 done")
	}},
	{"a lost attempt stays lost over a release", func(s *suite) {
		s.put("1", "a")
		s.one("a")
		s.Advance(ttl)
		for range 2 {
			l := s.one("a")
			s.equal("lost", l.Lost != nil && l.Lost.Number == 1 && l.Number == 2, true)
			s.settle(store.Outcome{ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Ready}, store.SettledOK)
			s.reopen()
		}
		l := s.one("a")
		s.settle(store.Outcome{ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Held, Reason: store.ReasonUncertain}, store.SettledOK)
		s.change(store.Change{ID: l.Delivery.ID, Kind: store.Retry}, store.ChangedOK)
		l = s.one("a")
		s.equal("a person has decided", []any{l.Lost == nil, l.Number}, []any{true, 2})
	}},
	{"extend", func(s *suite) {
		s.put("1", "a")
		l := s.one("a")
		s.Advance(ttl - time.Second)
		s.equal("held", must(s.s.Extend(s.ctx, []store.LeaseRef{l.Ref(), {ID: "none", Epoch: 1}}, ttl))(s), []bool{true, false})
		s.Advance(ttl - time.Millisecond)
		s.none("a")
		s.settle(s.outcome(&l, store.Done), store.SettledOK)
		s.equal("held", must(s.s.Extend(s.ctx, []store.LeaseRef{l.Ref()}, ttl))(s), []bool{false})
	}},
}
