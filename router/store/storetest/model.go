package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// model is a store of maps that the suite compares with.
type model struct {
	marks      map[string]time.Time
	states     map[string]uint64
	deliveries map[string]*modelDelivery
	leases     []store.Lease
	version    uint64
}

type modelDelivery struct {
	action string
	state  store.DeliveryState
	due    time.Time
	epoch  uint64
	starts int
	n      int
	// open: it was cancelled while it ran, and nobody said that this ended.
	open bool
}

var modelTests = []test{
	{"random operations", func(s *suite) {
		for _, seed := range []uint64{1, 2} {
			s.s = s.Open(s.T)
			s.enter()
			m := &model{marks: map[string]time.Time{}, states: map[string]uint64{}, deliveries: map[string]*modelDelivery{}}
			r := rand.New(rand.NewPCG(seed, 7))
			for i := range 1500 {
				switch k := r.IntN(100); {
				case k < 35:
					m.commit(s, r)
				case k < 60:
					m.claim(s, r)
				case k < 80:
					m.settle(s, r)
				case k < 86:
					m.extend(s, r)
				case k < 93:
					m.change(s, r)
				case k < 99:
					s.Advance(time.Duration(r.IntN(8000)) * time.Millisecond)
				case i%5 == 0:
					s.reopen()
					for _, d := range m.deliveries {
						if d.state == store.Leased {
							d.due = s.Now()
						}
					}
				}
			}
			m.compare(s)
		}
	}},
}

func (m *model) commit(s *suite, r *rand.Rand) {
	var txns []store.Txn
	var want []store.Status
	var started []bool
	for range 1 + r.IntN(3) {
		id := fmt.Sprint(r.IntN(200))
		t := s.txn(id, []string{"a", "b", "c"}[:r.IntN(4)]...)
		t.Dedup, t.Lease = 10*time.Second, ttl
		for i := range t.Deliveries {
			t.Deliveries[i].Start = r.IntN(2) == 0
		}
		key := fmt.Sprint("k", r.IntN(5))
		m.version++
		read := m.states[key]
		if r.IntN(5) == 0 {
			read++
		}
		t.States = []store.StateWrite{{State: store.State{Key: key, Version: m.version}, Read: read}}
		alone := r.IntN(6) == 0
		if alone {
			t = store.Txn{States: t.States}
		}
		txns = append(txns, t)
		switch {
		case alone && read == m.states[key]:
			want = append(want, store.StatusNew)
			m.states[key] = m.version
		case alone:
			want = append(want, store.StatusStale)
		case m.marks[id].After(s.Now()):
			want = append(want, store.StatusDuplicate)
		case read != m.states[key]:
			want = append(want, store.StatusStale)
		default:
			want = append(want, store.StatusNew)
			m.marks[id], m.states[key] = s.Now().Add(t.Dedup), m.version
			for _, d := range t.Deliveries {
				m.deliveries[d.ID] = &modelDelivery{action: d.Action, state: store.Ready, due: s.Now(), n: len(m.deliveries)}
				started = append(started, m.start(s, &d))
			}
		}
	}
	var got []bool
	for i, res := range s.commit(txns, want...) {
		for j, d := range txns[i].Deliveries {
			if res.Status != store.StatusNew {
				continue
			}
			leased := len(res.Leased) > 0 && res.Leased[j] > 0
			if got = append(got, leased); leased {
				m.deliveries[d.ID].epoch = res.Leased[j]
				m.leases = append(m.leases, store.Lease{Delivery: d, Epoch: res.Leased[j], Number: 1})
			}
		}
	}
	s.equal("leased", got, started)
}

// start says whether a new delivery is leased as it is written, and notes it.
func (m *model) start(s *suite, d *store.Delivery) bool {
	if !d.Start {
		return false
	}
	for id, o := range m.deliveries {
		if id != d.ID && o.action == d.Action && (o.state == store.Ready || o.state == store.Leased) && !o.due.After(s.Now()) {
			return false
		}
	}
	o := m.deliveries[d.ID]
	o.state, o.due, o.starts = store.Leased, s.Now().Add(ttl), 1
	return true
}

func (m *model) claim(s *suite, r *rand.Rand) {
	action, n := []string{"a", "b", "c"}[r.IntN(3)], 1+r.IntN(4)
	var due []string
	for id, d := range m.deliveries {
		if d.action == action && (d.state == store.Ready || d.state == store.Leased) && !d.due.After(s.Now()) {
			due = append(due, id)
		}
	}
	slices.SortFunc(due, func(a, b string) int {
		x, y := m.deliveries[a], m.deliveries[b]
		if c := x.due.Compare(y.due); c != 0 {
			return c
		}
		return x.n - y.n
	})
	leases := s.claim(action, n)
	var got []string
	for _, l := range leases {
		d := m.deliveries[l.Delivery.ID]
		got = append(got, l.Delivery.ID)
		s.equal("lost", l.Lost != nil, d.state == store.Leased)
		d.starts++
		s.equal("number", l.Number, d.starts)
		s.equal("epoch grows", l.Epoch > d.epoch, true)
		d.state, d.epoch, d.due, d.open = store.Leased, l.Epoch, s.Now().Add(ttl), false
	}
	s.equal("claimed", got, due[:min(n, len(due))])
	m.leases = append(m.leases, leases...)
}

// lease picks a lease, often one that is long over.
func (m *model) lease(r *rand.Rand) *store.Lease {
	if len(m.leases) == 0 {
		return nil
	}
	return &m.leases[max(0, len(m.leases)-1-r.IntN(20))]
}

// settle ends a lease that is held, twice.
func (m *model) settle(s *suite, r *rand.Rand) {
	l := m.lease(r)
	if l == nil {
		return
	}
	d := m.deliveries[l.Delivery.ID]
	if d.state != store.Leased || d.epoch != l.Epoch || !d.due.After(s.Now()) {
		return // stale leases have tests of their own
	}
	state := []store.DeliveryState{store.Done, store.Done, store.Ready, store.Dead, store.Held}[r.IntN(5)]
	o := s.outcome(l, state)
	o.Delay = time.Duration(r.IntN(10)) * time.Second
	s.settle(o, store.SettledOK)
	s.settle(o, store.SettledOK)
	d.state, d.due = state, s.Now().Add(o.Delay)
}

func (m *model) extend(s *suite, r *rand.Rand) {
	l := m.lease(r)
	if l == nil {
		return
	}
	d := m.deliveries[l.Delivery.ID]
	held := d.state == store.Leased && d.epoch == l.Epoch
	if held && !d.due.After(s.Now()) {
		return // run out but not taken over: either answer is right
	}
	s.equal("extended", must(s.s.Extend(s.ctx, []store.LeaseRef{l.Ref()}, ttl))(s), []bool{held})
	if held {
		d.due = s.Now().Add(ttl)
	}
}

func (m *model) change(s *suite, r *rand.Rand) {
	ids := make([]string, 0, len(m.deliveries))
	for id := range m.deliveries {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return
	}
	slices.Sort(ids)
	id := ids[r.IntN(len(ids))]
	d := m.deliveries[id]
	if r.IntN(2) == 0 {
		want := store.ChangedRefused
		if d.state != store.Done && d.state != store.Cancelled {
			d.open = d.open && d.state == store.Ready || d.state == store.Leased
			want, d.state = store.ChangedOK, store.Cancelled
		}
		s.change(store.Change{ID: id, Kind: store.Cancel}, want)
		return
	}
	want := store.ChangedRefused
	if d.state == store.Dead || d.state == store.Held || d.state == store.Cancelled {
		if s.Second == nil || !d.open || d.state != store.Cancelled || !d.due.After(s.Now()) {
			d.due = s.Now()
		}
		want, d.state = store.ChangedOK, store.Ready
	}
	s.change(store.Change{ID: id, Kind: store.Retry}, want)
}

func (m *model) compare(s *suite) {
	n := map[string]int{}
	for id, d := range m.deliveries {
		got := s.show(id)
		s.equal("delivery "+id, []any{got.State, got.Starts, got.Action}, []any{d.state, d.starts, d.action})
		n[d.action+" "+d.state.String()]++
	}
	got := map[string]int{}
	for _, c := range must(s.s.Counts(s.ctx))(s) {
		got[c.Action+" "+c.State.String()] = c.N
	}
	s.equal("counts", got, n)
}
