package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// inLane commits an event with a ready delivery of action a for each lane, and
// returns their ids.
func (s *suite) inLane(busy store.Busy, lanes ...string) []string {
	s.Helper()
	t := s.laneTxn(busy, lanes...)
	s.commit([]store.Txn{t}, store.StatusNew)
	ids := make([]string, len(lanes))
	for i := range ids {
		ids[i] = t.Deliveries[i].ID
	}
	return ids
}

func (s *suite) laneTxn(busy store.Busy, lanes ...string) store.Txn {
	t := store.Txn{Event: s.event(s.id())}
	for _, l := range lanes {
		d := s.delivery(&t.Event, "a")
		d.Lane, d.Busy = l, busy
		t.Deliveries = append(t.Deliveries, d)
	}
	return t
}

// next expects one delivery to be claimable, and claims it.
func (s *suite) next(id string) *store.Lease {
	s.Helper()
	l := s.one("a")
	s.equal("claimed", l.Delivery.ID, id)
	return &l
}

// end settles a lease without a delay.
func (s *suite) end(l *store.Lease, state store.DeliveryState) {
	s.Helper()
	s.settle(s.outcome(l, state), store.SettledOK)
}

func (s *suite) waits(want map[string]string) {
	s.Helper()
	for id, before := range want {
		s.equal("what "+id+" waits for", s.show(id).Waits, before)
	}
}

var laneTests = []test{
	{"one at a time, in order", func(s *suite) {
		a := s.inLane(store.BusyWait, "x", "y", "", "x")
		b := s.inLane(store.BusyWait, "x", "")
		got := s.claim("a", 10)
		ids := make([]string, len(got))
		for i := range got {
			ids[i] = got[i].Delivery.ID
		}
		s.equal("claimed", ids, []string{a[0], a[1], a[2], b[1]})
		s.equal("lane", got[0].Delivery.Lane, "x")
		s.waits(map[string]string{a[0]: "", a[3]: a[0], b[0]: a[0], a[2]: ""})
		s.end(&got[1], store.Done) // of another lane
		s.none("a")
		s.end(&got[0], store.Done)
		l := s.next(a[3])
		s.waits(map[string]string{b[0]: a[3]})
		s.end(l, store.Done)
		s.end(s.next(b[0]), store.Done)
		s.none("a")
	}},
	{"every way to finish lets the next go", func(s *suite) {
		for _, state := range []store.DeliveryState{store.Done, store.Dead, store.Held, store.Cancelled} {
			first, second := s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0]
			s.end(s.next(first), state)
			s.end(s.next(second), store.Done)
		}
		first, second := s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0]
		s.change(store.Change{ID: first, Kind: store.Cancel}, store.ChangedOK)
		s.end(s.next(second), store.Done)

		first, second = s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0]
		s.change(store.Change{ID: first, Kind: store.Bury, Reason: store.ReasonAge}, store.ChangedOK)
		s.end(s.next(second), store.Done)
	}},
	{"a retry delays its own lane", func(s *suite) {
		x, y := s.inLane(store.BusyWait, "x", "y"), s.inLane(store.BusyWait, "x", "y")
		ls := s.claim("a", 10)
		o := s.outcome(&ls[0], store.Ready)
		o.Delay = time.Minute
		s.settle(o, store.SettledOK)
		s.end(&ls[1], store.Done)
		s.end(s.next(y[1]), store.Done)
		s.none("a")
		s.waits(map[string]string{x[0]: "", y[0]: x[0]})
		s.Advance(time.Minute)
		s.end(s.next(x[0]), store.Done)
		s.end(s.next(y[0]), store.Done)
	}},
	{"the wait is until the next of a lane is due", func(s *suite) {
		s.inLane(store.BusyWait, "x")
		s.inLane(store.BusyWait, "x")
		want := []store.Want{{Action: "a", N: 5}}
		_, wait, err := s.s.Claim(s.ctx, "op", want, ttl)
		s.equal("wait", must(wait, err)(s), ttl)
	}},
	{"a lease that runs out keeps its lane", func(s *suite) {
		first, second := s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0]
		old := s.next(first)
		s.Advance(ttl)
		l := s.next(first)
		s.equal("lost", l.Lost != nil, true)
		s.settle(s.outcome(old, store.Done), store.SettledLost)
		s.none("a")
		s.end(l, store.Done)
		s.end(s.next(second), store.Done)
	}},
	{"lanes go over actions", func(s *suite) {
		t := s.laneTxn(store.BusyWait, "x", "x")
		t.Deliveries[1].Action = "b"
		s.commit([]store.Txn{t}, store.StatusNew)
		s.none("b")
		s.end(s.next(t.Deliveries[0].ID), store.Done)
		s.equal("claimed", s.one("b").Delivery.ID, t.Deliveries[1].ID)
	}},
	{"only what is ready waits and keeps waiting", func(s *suite) {
		t := s.laneTxn(store.BusyWait, "x", "x", "x", "x")
		for i, state := range []store.DeliveryState{store.Done, store.Dead, store.Held} {
			t.Deliveries[i].State, t.Deliveries[i].DryRun = state, state == store.Done
		}
		s.commit([]store.Txn{t}, store.StatusNew)
		s.end(s.next(t.Deliveries[3].ID), store.Done)
	}},
	{"a retry by hand takes its old place", func(s *suite) {
		ids := []string{s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0]}
		s.end(s.next(ids[0]), store.Dead)
		l := s.next(ids[1])
		s.change(store.Change{ID: ids[0], Kind: store.Retry}, store.ChangedOK)
		s.none("a") // one that runs goes on first
		s.waits(map[string]string{ids[0]: ids[1], ids[2]: ids[1]})
		o := s.outcome(l, store.Ready)
		s.settle(o, store.SettledOK)
		s.end(s.next(ids[0]), store.Dead)
		// And before one that could have gone at once.
		s.change(store.Change{ID: ids[0], Kind: store.Retry}, store.ChangedOK)
		s.waits(map[string]string{ids[0]: "", ids[1]: ids[0]})
		s.end(s.next(ids[0]), store.Done)
		s.end(s.next(ids[1]), store.Done)
		s.end(s.next(ids[2]), store.Done)
	}},
	{"several retries by hand", func(s *suite) {
		a, b, c := s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0]
		s.end(s.next(a), store.Held)
		s.end(s.next(b), store.Dead)
		done := must(s.s.Change(s.ctx, store.Change{ID: b, Kind: store.Retry}, store.Change{ID: a, Kind: store.Retry}))(s)
		s.equal("changed", done, []store.Changed{store.ChangedOK, store.ChangedOK})
		for _, id := range []string{a, b, c} {
			s.end(s.next(id), store.Done)
		}
	}},
	{"a retry with another lane", func(s *suite) {
		blocks := s.next(s.inLane(store.BusyWait, "y")[0])
		t := s.laneTxn(store.BusyWait, "x")
		t.Deliveries[0].State = store.Dead
		s.commit([]store.Txn{t}, store.StatusNew)
		id := t.Deliveries[0].ID
		also := s.delivery(&t.Event, "a")
		also.Lane, also.Busy = "y", store.BusySkip
		s.change(store.Change{
			ID: id, Kind: store.Retry, Replace: &store.Call{Action: "a", Lane: "y"}, Also: []store.Delivery{also},
		}, store.ChangedOK)
		s.none("a")
		s.equal("lane", s.show(id).Lane, "y")
		s.equal("also", s.show(also.ID).State, store.Cancelled)
		s.end(blocks, store.Done)
		s.end(s.next(id), store.Done)
	}},
	{"cancelled while it ran", func(s *suite) {
		for _, how := range []string{"its outcome comes", "its lease runs out"} {
			first, second := s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0]
			l := s.next(first)
			s.Advance(time.Second)
			must(s.s.Extend(s.ctx, []store.LeaseRef{l.Ref()}, ttl))(s)
			s.change(store.Change{ID: first, Kind: store.Cancel}, store.ChangedOK)
			s.none("a")
			s.waits(map[string]string{second: first})
			if how == "its outcome comes" {
				s.settle(s.outcome(l, store.Done), store.SettledCancelled)
				s.end(s.next(second), store.Done)
				continue
			}
			s.Advance(ttl - time.Second)
			s.none("a")
			s.Advance(time.Second)
			s.end(s.next(second), store.Done)
			s.settle(s.outcome(l, store.Done), store.SettledCancelled)
		}
		s.none("a")
	}},
	{"cancelled while it ran, and more", func(s *suite) {
		first, second, third := s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0]
		l := s.next(first)
		s.change(store.Change{ID: first, Kind: store.Cancel}, store.ChangedOK)
		s.change(store.Change{ID: second, Kind: store.Cancel}, store.ChangedOK)
		s.change(store.Change{ID: first, Kind: store.Retry}, store.ChangedOK)
		s.none("a") // the attempt of the first may still run
		s.settle(s.outcome(l, store.Done), store.SettledLost)
		s.end(s.next(first), store.Done)
		s.end(s.next(third), store.Done)
	}},
	{"skipped while another is not finished", func(s *suite) {
		first := s.inLane(store.BusySkip, "x")[0]
		check := func(id, by string) {
			s.Helper()
			d := s.show(id)
			s.equal("skipped", []any{d.State, d.Reason, d.Error, d.Lane}, []any{store.Cancelled, store.ReasonOverlap, store.Overlapping(by), "x"})
		}
		check(s.inLane(store.BusySkip, "x")[0], first) // ready
		l := s.next(first)
		check(s.inLane(store.BusySkip, "x")[0], first) // leased
		o := s.outcome(l, store.Ready)
		o.Delay = time.Minute
		s.settle(o, store.SettledOK)
		check(s.inLane(store.BusySkip, "x")[0], first) // waits for a retry
		s.equal("other lane", s.show(s.inLane(store.BusySkip, "y")[0]).State, store.Ready)
		s.end(s.lease("y"), store.Done)
		s.Advance(time.Minute)
		s.end(s.next(first), store.Held)
		second := s.inLane(store.BusySkip, "x")[0] // one that is held does not count
		s.end(s.next(second), store.Done)

		// Within one call, and one Txn.
		a, b, c := s.laneTxn(store.BusySkip, "x", "x"), s.laneTxn(store.BusySkip, "x"), s.laneTxn(store.BusyWait, "x")
		s.commit([]store.Txn{a, b, c}, store.StatusNew, store.StatusNew, store.StatusNew)
		check(a.Deliveries[1].ID, a.Deliveries[0].ID)
		check(b.Deliveries[0].ID, a.Deliveries[0].ID)
		s.equal("counts", s.count(store.Cancelled), 5)
		// One that was skipped can be run by hand, and then waits.
		s.change(store.Change{ID: b.Deliveries[0].ID, Kind: store.Retry}, store.ChangedOK)
		s.end(s.next(a.Deliveries[0].ID), store.Done)
		s.end(s.next(b.Deliveries[0].ID), store.Done)
		s.end(s.next(c.Deliveries[0].ID), store.Done)
		s.none("a")
	}},
	{"what does not run is not skipped", func(s *suite) {
		s.inLane(store.BusySkip, "x")
		t := s.laneTxn(store.BusySkip, "x", "x")
		t.Deliveries[0].State, t.Deliveries[0].DryRun = store.Done, true
		t.Deliveries[1].State = store.Dead
		s.commit([]store.Txn{t}, store.StatusNew)
		s.equal("states", []any{s.show(t.Deliveries[0].ID).State, s.show(t.Deliveries[1].ID).State}, []any{store.Done, store.Dead})
	}},
	{"what is expanded joins its lane", func(s *suite) {
		first := s.inLane(store.BusyWait, "x")[0]
		t := s.laneTxn(store.BusyWait, "")
		fan := &t.Deliveries[0]
		fan.State, fan.Reason, fan.Count, fan.Params = store.Held, store.ReasonFanOut, 3, nil
		s.commit([]store.Txn{t}, store.StatusNew)
		parts := s.laneTxn(store.BusyWait, "x", "y", "x").Deliveries
		s.change(store.Change{ID: fan.ID, Kind: store.Expand, Also: parts}, store.ChangedOK)
		ls := s.claim("a", 10)
		s.equal("claimed", []string{ls[0].Delivery.ID, ls[1].Delivery.ID, fmt.Sprint(len(ls))}, []string{first, parts[1].ID, "2"})
	}},
	{"lanes outlive the process", func(s *suite) {
		ids := []string{s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0]}
		s.next(ids[0])
		if s.Kill != nil {
			s.s = s.Kill(s.T, s.s)
			s.enter()
		} else {
			s.reopen()
		}
		s.waits(map[string]string{ids[0]: "", ids[1]: ids[0], ids[2]: ids[0]})
		for _, id := range ids {
			l := s.next(id)
			s.equal("lost", l.Lost != nil, id == ids[0])
			s.end(l, store.Done)
			s.reopen()
		}
	}},
	{"leases that cannot be kept", func(s *suite) {
		first, second := s.inLane(store.BusyWait, "x")[0], s.inLane(store.BusyWait, "x")[0]
		for range 3 { // released unrun
			l := s.next(first)
			s.settle(store.Outcome{ID: first, Epoch: l.Epoch, State: store.Ready}, store.SettledOK)
		}
		s.end(s.next(first), store.Done)
		s.end(s.next(second), store.Done)
	}},
	{"many at once", manyInLanes},
	{"random operations", func(s *suite) {
		for _, seed := range []uint64{1, 2, 3} {
			s.s = s.Open(s.T)
			s.enter()
			m := &laneModel{by: map[string]*laneDelivery{}, runs: map[string]*store.Lease{}, held: map[string]laneHold{}}
			r := rand.New(rand.NewPCG(seed, 11))
			for range 1200 {
				m.step(s, r)
			}
			m.drain(s)
		}
	}},
}

// lease claims what is due and wants one delivery of the lane among it.
func (s *suite) lease(lane string) *store.Lease {
	s.Helper()
	for _, l := range s.claim("a", 10) {
		if l.Delivery.Lane == lane {
			return &l
		}
	}
	s.Fatalf("nothing of lane %s is due", lane)
	return nil
}

func (s *suite) count(state store.DeliveryState) int {
	s.Helper()
	for _, c := range must(s.s.Counts(s.ctx))(s) {
		if c.State == state {
			return c.N
		}
	}
	return 0
}

// laneModel says what may run: of each lane the first of what is unfinished,
// unless one runs.
type laneModel struct {
	by   map[string]*laneDelivery
	all  []*laneDelivery // in the order written
	runs map[string]*store.Lease
	held map[string]laneHold // by lane
}

type laneDelivery struct {
	id, lane string
	state    store.DeliveryState
	due      time.Time
	// overtaken: ordered to run again while an attempt ran on.
	overtaken bool
}

// laneHold is an attempt that may run on though its delivery was cancelled.
type laneHold struct {
	lease *store.Lease
	until time.Time
}

func (d *laneDelivery) open() bool { return d.state == store.Ready || d.state == store.Leased }

// turn is the delivery of a lane that may be claimed, and when; nil: none.
func (m *laneModel) turn(lane string) (*laneDelivery, time.Time) {
	var first *laneDelivery
	for _, d := range m.all {
		switch {
		case d.lane != lane || !d.open():
		case d.state == store.Leased:
			return d, d.due
		case first == nil:
			first = d
		}
	}
	if first == nil {
		return nil, time.Time{}
	}
	due := first.due
	if h, ok := m.held[lane]; ok && h.until.After(due) {
		due = h.until
	}
	return first, due
}

func (m *laneModel) step(s *suite, r *rand.Rand) {
	open := 0
	for _, d := range m.all {
		if d.open() {
			open++
		}
	}
	switch k := r.IntN(100); {
	case k < 30 && open < 10: // so that orders meet what runs
		m.commit(s, r)
	case k < 55:
		m.claim(s, 1+r.IntN(4))
	case k < 75:
		m.settle(s, r)
	case k < 87:
		m.change(s, r)
	case k < 98:
		s.Advance(time.Duration(r.IntN(6000)) * time.Millisecond)
	default:
		s.reopen()
		clear(m.runs)
		clear(m.held) // a store may keep them a while; see claim
		for _, d := range m.all {
			if d.state == store.Leased {
				d.due = s.Now()
			}
		}
		s.Advance(ttl)
	}
}

func (m *laneModel) commit(s *suite, r *rand.Rand) {
	busy := store.Busy(r.IntN(2))
	lanes := make([]string, 1+r.IntN(3))
	for i := range lanes {
		lanes[i] = []string{"w1", "w2", "w3"}[r.IntN(3)]
		if busy == store.BusySkip {
			lanes[i] = []string{"s1", "s2"}[r.IntN(2)]
		}
	}
	for i, id := range s.inLane(busy, lanes...) {
		d := &laneDelivery{id: id, lane: lanes[i], state: store.Ready, due: s.Now()}
		if busy == store.BusySkip && slices.ContainsFunc(m.all, func(o *laneDelivery) bool { return o.lane == d.lane && o.open() }) {
			d.state = store.Cancelled
		}
		m.all, m.by[id] = append(m.all, d), d
		s.equal("written", s.show(id).State, d.state)
	}
}

func (m *laneModel) claim(s *suite, n int) {
	var due []string
	for _, lane := range []string{"w1", "w2", "w3", "s1", "s2"} {
		if d, at := m.turn(lane); d != nil && !at.After(s.Now()) {
			due = append(due, d.id)
		}
	}
	got := s.claim("a", n)
	s.equal("number claimed", len(got), min(n, len(due)))
	for i := range got {
		d := m.by[got[i].Delivery.ID]
		if !slices.Contains(due, d.id) {
			s.Fatalf("delivery %s of lane %s was claimed, and it is the turn of %v", d.id, d.lane, due)
		}
		s.equal("lost", got[i].Lost != nil, d.state == store.Leased)
		d.state, d.due, d.overtaken = store.Leased, s.Now().Add(ttl), false
		m.runs[d.id] = &got[i]
		delete(m.held, d.lane)
	}
}

// settle ends an attempt, perhaps one whose delivery was cancelled.
func (m *laneModel) settle(s *suite, r *rand.Rand) {
	for _, d := range m.all {
		l := m.runs[d.id]
		if l == nil || r.IntN(3) == 0 {
			continue
		}
		state := []store.DeliveryState{store.Done, store.Done, store.Ready, store.Dead, store.Held, store.Cancelled}[r.IntN(6)]
		o := s.outcome(l, state)
		o.Delay = time.Duration(r.IntN(8)) * time.Second
		got := must(s.s.Settle(s.ctx, o))(s)[0]
		delete(m.runs, d.id)
		if h := m.held[d.lane]; h.lease == l {
			delete(m.held, d.lane)
		}
		want := store.SettledLost
		switch d.state {
		case store.Leased:
			want, d.state, d.due = store.SettledOK, state, s.Now().Add(o.Delay)
		case store.Cancelled:
			want = store.SettledCancelled
		default:
		}
		if !d.overtaken { // what else it is called has tests of its own
			s.equal("settled", got, want)
		}
		return
	}
}

func (m *laneModel) change(s *suite, r *rand.Rand) {
	if len(m.all) == 0 {
		return
	}
	d := m.all[max(0, len(m.all)-1-r.IntN(25))]
	want, kind := store.ChangedRefused, store.Retry
	if d.open() || d.state != store.Done && r.IntN(2) == 0 {
		kind = store.Cancel
		if d.state != store.Cancelled {
			want = store.ChangedOK
		}
		if l := m.runs[d.id]; l != nil && d.state == store.Leased && d.due.After(s.Now()) {
			m.held[d.lane] = laneHold{l, d.due}
		}
		if want == store.ChangedOK {
			d.state = store.Cancelled
		}
	} else if d.state != store.Done {
		want, d.state, d.due, d.overtaken = store.ChangedOK, store.Ready, s.Now(), m.runs[d.id] != nil
	}
	s.change(store.Change{ID: d.id, Kind: kind}, want)
}

// drain runs all that is left, and compares.
func (m *laneModel) drain(s *suite) {
	s.Advance(time.Hour)
	clear(m.held)
	clear(m.runs)
	for {
		m.claim(s, 10)
		if len(m.runs) == 0 {
			break
		}
		for _, d := range m.all {
			if l := m.runs[d.id]; l != nil {
				s.end(l, store.Done)
				d.state = store.Done
			}
		}
		clear(m.runs)
	}
	for _, d := range m.all {
		s.equal("state of "+d.id, s.show(d.id).State, d.state)
	}
}

// manyInLanes has many claim and settle at once, from two processes where the
// store takes them, while more is written: no two of one lane run at a time, and
// they run in order.
func manyInLanes(s *suite) {
	const perLane, workers = 40, 6
	stores := []store.Full{s.s}
	if s.Second != nil {
		second := s.Second(s.T, s.s)
		must(second.Enter(s.ctx, store.Instance{ID: "router-2"}))(s)
		stores = append(stores, second)
	}
	lanes := []string{"x", "y", "z"}
	var mu sync.Mutex
	running, order, written, faults := map[string]int{}, map[string][]string{}, map[string][]string{}, []string{}
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			faults = append(faults, err.Error())
		}
	}
	var txns []store.Txn
	for range perLane {
		t := s.laneTxn(store.BusyWait, lanes...)
		txns = append(txns, t)
		for i, l := range lanes {
			written[l] = append(written[l], t.Deliveries[i].ID)
		}
	}
	work := func(db store.Full, n int) {
		for i := 0; s.ctx.Err() == nil; i++ {
			op := store.OpID(fmt.Sprintf("w%d-%d", n, i))
			leases, _, err := db.Claim(s.ctx, op, []store.Want{{Action: "a", N: 2}}, time.Hour)
			note(err)
			mu.Lock()
			for _, l := range leases {
				lane := l.Delivery.Lane
				if running[lane]++; running[lane] > 1 {
					faults = append(faults, "two of lane "+lane+" run at once")
				}
				order[lane] = append(order[lane], l.Delivery.ID)
			}
			done := len(faults) > 0 || len(order["x"])+len(order["y"])+len(order["z"]) == len(lanes)*perLane && len(leases) == 0
			mu.Unlock()
			for j := range leases {
				mu.Lock()
				running[leases[j].Delivery.Lane]--
				mu.Unlock()
				_, err := db.Settle(s.ctx, s.outcome(&leases[j], store.Done))
				note(err)
			}
			if done {
				return
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, t := range txns {
			_, err := stores[0].Commit(s.ctx, t)
			note(err)
		}
	})
	for n := range workers {
		wg.Go(func() { work(stores[n%len(stores)], n) })
	}
	wg.Wait()
	s.equal("faults", faults, []string{})
	s.equal("order", order, written)
}
