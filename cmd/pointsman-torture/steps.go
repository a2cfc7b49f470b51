package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/redis"
	"github.com/pointsman/pointsman/router/store/sqlite"
)

// stepsArg makes this binary, built with -tags torture, take a store through
// every step in which it writes; checkArg makes it look at what another such run
// left when it was ended at a crash point. Both are followed by the store's
// kind, its path or URL, and the name of a router.
const (
	stepsArg = "store-steps"
	checkArg = "store-check"
)

func openStore(kind, at, name string) (store.Full, error) {
	if kind == storeRedis {
		return redis.Open(redis.Config{URL: at, Name: name})
	}
	return sqlite.Open(sqlite.Config{Path: at})
}

// Words of the journal beside the states of deliveries.
const (
	wordTry    = "try"  // what follows is about to be written
	wordOK     = "ok"   // it is: the store said so
	wordTxn    = "txn"  // an event and the deliveries that come with it
	statHere   = "here" // an event that is stored
	statAbsent = "absent"
)

// steps is one run through a store. Its journal says what was tried and what
// was answered, one line each: word, thing, state.
type steps struct {
	ctx     context.Context
	s       store.Full
	journal io.Writer
	err     error
	n       int
}

// runSteps is the process that is ended at a point.
func runSteps(ctx context.Context, kind, at, name string, journal io.Writer) error {
	s, err := openStore(kind, at, name)
	if err != nil {
		return err
	}
	st := &steps{ctx: ctx, s: s, journal: journal}
	st.all()
	return errors.Join(st.err, s.Close())
}

// do writes the journal around one call. Things are pairs of a name and the
// state it will have.
func (st *steps) do(call func() error, things ...string) {
	if st.err != nil {
		return
	}
	say := func(word string) {
		for i := 0; i < len(things); i += 2 {
			fmt.Fprintln(st.journal, word, things[i], things[i+1])
		}
	}
	say(wordTry)
	if st.err = call(); st.err == nil {
		say(wordOK)
	}
}

func (st *steps) id() string {
	st.n++
	return fmt.Sprintf("018f0000-0000-7000-8000-%012x", st.n)
}

func (st *steps) delivery(ev *store.Event, action string) store.Delivery {
	return store.Delivery{
		ID: st.id(), EventUID: ev.UID, EventID: ev.ID, Source: ev.Source, CESource: ev.CESource, Rule: "r", Action: action,
		State: store.Ready, Params: []byte(`{"a":1}`), Key: "k", Created: ev.Received, Budget: ev.Received,
	}
}

// commit writes an event with a delivery for each action, and a state. It
// returns the deliveries.
func (st *steps) commit(id string, dedup time.Duration, change func(*store.Txn), actions ...string) []store.Delivery {
	ev := store.Event{
		UID: st.id(), Source: "src", CESource: "/ce", ID: id, Type: "t", Received: time.Now().UTC(), JSON: []byte(`{"id":"` + id + `"}`),
		Digest: [16]byte{1}, Revision: "rev", Verdicts: []store.Verdict{{Rule: "r", Verdict: "matched"}},
	}
	t := store.Txn{Event: ev, Dedup: dedup}
	t.States = []store.StateWrite{{State: store.State{Key: "s-" + id, Version: 1, Expires: time.Now().Add(dedup)}}}
	for _, a := range actions {
		t.Deliveries = append(t.Deliveries, st.delivery(&ev, a))
	}
	if change != nil {
		change(&t)
	}
	things := []string{"event/" + id, statHere}
	group := []string{wordTxn, "event/" + id}
	for _, d := range t.Deliveries {
		things = append(things, d.ID, d.State.String())
		group = append(group, d.ID)
	}
	if st.err == nil {
		fmt.Fprintln(st.journal, strings.Join(group, " "))
	}
	st.do(func() error {
		got, err := st.s.Commit(st.ctx, t)
		if err == nil && got[0].Status != store.StatusNew {
			err = fmt.Errorf("commit %s: status %d", id, got[0].Status)
		}
		return err
	}, things...)
	return t.Deliveries
}

// lease claims the one delivery of an action.
func (st *steps) lease(d store.Delivery) store.Lease {
	var l store.Lease
	st.do(func() error {
		leases, _, err := st.s.Claim(st.ctx, store.OpID(uuid.NewString()), []store.Want{{Action: d.Action, N: 10, Durable: true}}, time.Minute)
		if err == nil && len(leases) != 1 {
			err = fmt.Errorf("claim %s: %d leases", d.Action, len(leases))
		}
		if err == nil {
			l = leases[0]
		}
		return err
	}, d.ID, store.Leased.String())
	return l
}

// settle ends a lease; becomes is what the delivery is then, if not state.
func (st *steps) settle(l store.Lease, state, becomes store.DeliveryState, ran bool) {
	o := store.Outcome{ID: l.Delivery.ID, Epoch: l.Epoch, State: state, Attempts: l.Delivery.Attempts}
	if ran {
		o.Attempts++
		o.Attempt = &store.Attempt{Number: l.Number, Started: time.Now().UTC(), Ended: time.Now().UTC(), Outcome: "done"}
	}
	st.do(func() error {
		_, err := st.s.Settle(st.ctx, o)
		return err
	}, l.Delivery.ID, becomes.String())
}

func (st *steps) change(c store.Change, things ...string) {
	st.do(func() error {
		got, err := st.s.Change(st.ctx, c)
		if err == nil && got[0] != store.ChangedOK {
			err = fmt.Errorf("change %s: %d", c.ID, got[0])
		}
		return err
	}, things...)
}

// all goes through every step that a store has.
func (st *steps) all() {
	st.do(func() error { _, err := st.s.Enter(st.ctx, store.Instance{ID: "i", Host: "h", PID: 1}); return err })
	for _, rev := range []string{"rev", "unused"} {
		st.do(func() error { return st.s.PutRevision(st.ctx, store.Revision{ID: rev, Data: []byte(rev)}) })
	}
	a := st.commit("one", time.Hour, nil, "a", "b", "c", "d", "e")
	st.commit("unmatched", time.Hour, nil)
	st.duplicate()
	st.do(func() error { _, err := st.s.Load(st.ctx, "s-one"); return err })

	l := st.lease(a[0])
	st.do(func() error { _, err := st.s.Extend(st.ctx, []store.LeaseRef{l.Ref()}, time.Minute); return err })
	st.settle(l, store.Done, store.Done, true)
	l = st.lease(a[1]) // given back, then dead, then run again as another call
	st.settle(l, store.Ready, store.Ready, false)
	l = st.lease(a[1])
	st.settle(l, store.Dead, store.Dead, true)
	ready, cancelled := store.Ready.String(), store.Cancelled.String()
	st.change(store.Change{ID: a[1].ID, Kind: store.Retry, Replace: &store.Call{Action: "b", Key: "k"}}, a[1].ID, ready)
	l = st.lease(a[2]) // cancelled while it runs
	st.change(store.Change{ID: a[2].ID, Kind: store.Cancel}, a[2].ID, cancelled)
	st.settle(l, store.Done, store.Cancelled, true)
	st.change(store.Change{ID: a[3].ID, Kind: store.Bury, Reason: store.ReasonAge, Error: "no such action"}, a[3].ID, store.Dead.String())

	f := st.commit("fan", time.Hour, func(t *store.Txn) {
		t.Deliveries[0].State, t.Deliveries[0].Reason, t.Deliveries[0].Count = store.Held, store.ReasonFanOut, 2
	}, "f")
	var also []store.Delivery
	if st.err == nil {
		ev := store.Event{UID: f[0].EventUID, ID: "fan", Source: "src", CESource: "/ce", Received: time.Now().UTC()}
		also = []store.Delivery{st.delivery(&ev, "f"), st.delivery(&ev, "f")}
		st.change(store.Change{ID: f[0].ID, Kind: store.Expand, Also: also}, f[0].ID, store.Done.String(), also[0].ID, ready, also[1].ID, ready)
	}
	for _, d := range []store.Delivery{a[1], a[4]} {
		st.settle(st.lease(d), store.Done, store.Done, true)
	}
	st.finish("f", also...)
	st.retain()
}

// finish runs what an action has.
func (st *steps) finish(action string, ds ...store.Delivery) {
	var leases []store.Lease
	var things []string
	for _, d := range ds {
		things = append(things, d.ID, store.Leased.String())
	}
	st.do(func() (err error) {
		leases, _, err = st.s.Claim(st.ctx, store.OpID(uuid.NewString()), []store.Want{{Action: action, N: 10, Durable: true}}, time.Minute)
		return err
	}, things...)
	for _, l := range leases {
		st.settle(l, store.Done, store.Done, true)
	}
}

// duplicate sends an event again, and one that fails as a whole.
func (st *steps) duplicate() {
	t := store.Txn{Dedup: time.Hour, Event: store.Event{
		UID: st.id(), Source: "src", CESource: "/ce", ID: "one", Type: "t", Received: time.Now().UTC(), JSON: []byte("{}"), Digest: [16]byte{1},
	}}
	st.do(func() error {
		got, err := st.s.Commit(st.ctx, t)
		if err == nil && got[0].Status != store.StatusDuplicate {
			err = fmt.Errorf("commit again: status %d", got[0].Status)
		}
		return err
	})
	if _, ok := st.s.(*sqlite.DB); !ok {
		return // a script refuses before it writes
	}
	bad := store.Txn{Event: t.Event}
	bad.Event.ID = "bad"
	d := st.delivery(&bad.Event, "a")
	bad.Deliveries = []store.Delivery{d, d} // one id twice
	st.do(func() error {
		if _, err := st.s.Commit(st.ctx, bad); err == nil {
			return errors.New("an event with one delivery twice was committed")
		}
		return nil
	})
}

// retain fills the store, with an event that has expired altogether, and has
// what is finished removed, by age and by size.
func (st *steps) retain() {
	const fill = 2100 // more than a segment of ids, and enough for a checkpoint
	json := []byte(`{"text":"` + strings.Repeat("x", 5000) + `"}`)
	old := st.commit("old", time.Millisecond, nil, "g")
	l := st.lease(old[0])
	st.settle(l, store.Done, store.Done, true)
	for range fill / 100 {
		txns := make([]store.Txn, 100)
		for i := range txns {
			id := st.id()
			txns[i].Event = store.Event{UID: id, Source: "fill", ID: id, Type: "t", Received: time.Now().UTC(), JSON: json, Revision: "rev"}
		}
		st.do(func() error { _, err := st.s.Commit(st.ctx, txns...); return err })
	}
	time.Sleep(50 * time.Millisecond) // for the checkpoint that this caused, and the expiry of what is old
	var gone []string
	for _, id := range []string{"one", "unmatched", "fan", "old"} {
		gone = append(gone, "event/"+id, "")
	}
	st.do(func() error {
		_, err := st.s.Retain(st.ctx, store.Policy{Events: time.Nanosecond, Deliveries: time.Nanosecond, Keep: "kept"})
		return err
	}, gone...)
	st.do(func() error {
		_, err := st.s.Retain(st.ctx, store.Policy{Events: time.Hour, Deliveries: time.Hour, Size: 1, Keep: "kept"})
		return err
	})
}

// journal is what is known of a run that was ended.
type journal struct {
	// may are the states that each thing may have now.
	may map[string][]string
	// txns are the things that are written together.
	txns [][]string
	// retained: from then on what is finished may be gone.
	retained bool
}

func parseJournal(text string) *journal {
	j := &journal{may: map[string][]string{}}
	for l := range strings.Lines(text) {
		f := strings.Fields(l)
		switch {
		case f[0] == wordTxn:
			j.txns = append(j.txns, f[1:])
		case len(f) == 2:
			j.retained = true
		case f[0] == wordOK:
			j.may[f[1]] = []string{f[2]}
		case j.may[f[1]] == nil:
			j.may[f[1]] = []string{statAbsent, f[2]}
		default:
			j.may[f[1]] = append(j.may[f[1]], f[2])
		}
	}
	return j
}

// checkSteps opens what a run left and returns what is wrong with it.
func checkSteps(ctx context.Context, kind, at, name, text string) ([]string, error) {
	s, err := openStore(kind, at, name)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, err := s.Enter(ctx, store.Instance{ID: "i", Host: "h", PID: 2}); err != nil {
		return nil, err
	}
	c := &stepsCheck{ctx: ctx, s: s, j: parseJournal(text), now: map[string]string{}}
	if err := errors.Join(c.read(), c.again(), c.finish()); err != nil {
		return nil, err
	}
	return c.wrong, nil
}

type stepsCheck struct {
	ctx   context.Context
	s     store.Full
	j     *journal
	now   map[string]string
	wrong []string
}

func (c *stepsCheck) add(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// read compares what is there with the journal.
func (c *stepsCheck) read() error {
	evs, err := c.s.Events(c.ctx, store.EventQuery{Source: "src"})
	if err != nil {
		return err
	}
	for _, ev := range evs {
		if c.now["event/"+ev.ID] != "" {
			c.add("event %s is stored twice", ev.ID)
		}
		c.now["event/"+ev.ID] = statHere
	}
	ds, err := c.s.Deliveries(c.ctx, store.DeliveryQuery{})
	if err != nil {
		return err
	}
	counts := map[string]int{}
	for _, d := range ds {
		c.now[d.ID] = d.State.String()
		counts[d.Action+" "+d.State.String()]++
	}
	for _, thing := range slices.Sorted(maps.Keys(c.j.may)) {
		state := c.now[thing]
		if state == "" {
			state = statAbsent
			if c.j.retained {
				continue
			}
		}
		if !slices.Contains(c.j.may[thing], state) {
			c.add("%s is %s, it may be %v", thing, state, c.j.may[thing])
		}
	}
	for _, t := range c.j.txns {
		for _, thing := range t[1:] {
			if (c.now[thing] == "") != (c.now[t[0]] == "") && !c.j.retained {
				c.add("%s and %s were written together, and one is missing", t[0], thing)
			}
		}
	}
	got, err := c.s.Counts(c.ctx)
	for _, n := range got {
		if k := n.Action + " " + n.State.String(); counts[k] != n.N {
			c.add("counted are %d deliveries %s, and there are %d", n.N, k, counts[k])
		}
		delete(counts, n.Action+" "+n.State.String())
	}
	if len(counts) > 0 {
		c.add("not counted are %v", counts)
	}
	return err
}

// again sends each event once more: it is a duplicate exactly if it is stored.
func (c *stepsCheck) again() error {
	for _, t := range c.j.txns {
		id := strings.TrimPrefix(t[0], "event/")
		if id == "old" || c.j.retained {
			continue
		}
		got, err := c.s.Commit(c.ctx, store.Txn{Dedup: time.Hour, Event: store.Event{
			UID: uuid.Must(uuid.NewV7()).String(), Source: "src", CESource: "/ce", ID: id, Type: "t", Received: time.Now().UTC(), JSON: []byte("{}"), Digest: [16]byte{1},
		}})
		if err != nil {
			return err
		}
		if (got[0].Status == store.StatusDuplicate) != (c.now[t[0]] == statHere) {
			c.add("%s is stored: %t, and again it has status %d", t[0], c.now[t[0]] == statHere, got[0].Status)
		}
	}
	return nil
}

// finish runs everything that is unfinished to its end.
func (c *stepsCheck) finish() error {
	wants := make([]store.Want, 0, 7)
	for _, a := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		wants = append(wants, store.Want{Action: a, N: 10, Durable: true})
	}
	leases, _, err := c.s.Claim(c.ctx, store.OpID(uuid.NewString()), wants, time.Minute)
	if err != nil {
		return err
	}
	for _, l := range leases {
		got, err := c.s.Settle(c.ctx, store.Outcome{ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Done, Attempts: 1, Attempt: &store.Attempt{
			Number: l.Number, Started: time.Now().UTC(), Ended: time.Now().UTC(), Outcome: "done",
		}})
		if err != nil || got[0] != store.SettledOK {
			c.add("delivery %s cannot be settled: %v, %v", l.Delivery.ID, got, err)
		}
	}
	left, err := c.s.Deliveries(c.ctx, store.DeliveryQuery{States: []store.DeliveryState{store.Ready, store.Leased}})
	for _, d := range left {
		c.add("delivery %s of action %s is %s and cannot be claimed", d.ID, d.Action, d.State)
	}
	return err
}
