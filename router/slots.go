package router

import (
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// slots are the places in which attempts run, by action. A place is taken from
// before the store is asked for a lease until the attempt has ended. Router.mu
// guards all of it.
type slots struct {
	busy map[string]int
	// resting are actions whose plugins cannot start, until when.
	resting map[string]time.Time
	// hungry are actions of which more may wait than there was room for when the
	// store was asked: a slot that becomes free is worth a claim.
	hungry map[string]bool
	// open: the router runs, and new deliveries may take slots; drained: nothing may
	// be started any more.
	open, drained bool
}

func newSlots() slots {
	return slots{busy: make(map[string]int), resting: make(map[string]time.Time), hungry: make(map[string]bool)}
}

// free returns how many deliveries of an action may start now: none while it is
// paused or its plugin cannot be started. full says that it is for want of slots
// alone. Router.mu is held.
func (r *Router) free(a *Action) (n int, full bool) {
	if st := r.pauses.get(a.Name); !st.Since.IsZero() {
		return 0, false
	}
	if until, resting := r.slots.resting[a.Name]; resting {
		if time.Now().Before(until) {
			return 0, false
		}
		delete(r.slots.resting, a.Name)
	}
	n = a.Concurrency - r.slots.busy[a.Name]
	return max(0, n), n <= 0
}

// wants asks for as many deliveries of each action as it has free slots. In a dry
// run of the whole router nothing is asked for: what waits, waits on.
func (r *Router) wants(s *Setup) []store.Want {
	if s.Rules.DryRun() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	wants := make([]store.Want, 0, len(s.Actions))
	for name, a := range s.Actions {
		n, full := r.free(&a)
		r.slots.hungry[name] = full
		if n > 0 {
			wants = append(wants, store.Want{Action: name, N: n, Durable: a.Hold})
		}
	}
	slices.SortFunc(wants, func(a, b store.Want) int { return strings.Compare(a.Action, b.Action) })
	return wants
}

// claimed takes slots for leases, and notes of which actions more may wait.
func (r *Router) claimed(wants []store.Want, leases []store.Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := make(map[string]int, len(wants))
	for i := range leases {
		got[leases[i].Delivery.Action]++
	}
	for _, w := range wants {
		r.slots.busy[w.Action] += got[w.Action]
		if got[w.Action] >= w.N {
			r.slots.hungry[w.Action] = true
		}
	}
}

// reserve takes slots for new deliveries that may start at once, and asks the
// store to lease them as it writes them: in the steady state nothing waits and
// no claim is needed. Actions that hold uncertain attempts are left to claims: a
// lease whose answer is lost would make one of an attempt that never was.
func (r *Router) reserve(s *Setup, txns []store.Txn) {
	if s.Rules.DryRun() {
		return
	}
	free := make(map[string]int)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.slots.open {
		return
	}
	for i := range txns {
		t := &txns[i]
		for j := range t.Deliveries {
			d := &t.Deliveries[j]
			if d.State != store.Ready || d.Lane != "" {
				continue
			}
			n, known := free[d.Action]
			if a, ok := s.Actions[d.Action]; !known && ok && !a.Hold {
				n, _ = r.free(&a)
			}
			if n > 0 {
				n--
				r.slots.busy[d.Action]++
				d.Start, t.Lease = true, r.cfg.Lease
			}
			free[d.Action] = n
		}
	}
}

// begin starts what the store has leased of what was reserved, and frees the
// slots of the rest. results is empty if nothing was written.
func (r *Router) begin(s *Setup, txns []store.Txn, results []store.Result, begun time.Time) {
	for i := range txns {
		t := &txns[i]
		for j := range t.Deliveries {
			d := &t.Deliveries[j]
			if !d.Start {
				continue
			}
			if i >= len(results) || len(results[i].Leased) == 0 || results[i].Leased[j] == 0 {
				r.vacate(d.Action)
				continue
			}
			l := &store.Lease{Delivery: *d, Epoch: results[i].Leased[j], Number: d.Starts + 1, Event: t.Event.JSON}
			l.Delivery.State, l.Delivery.Epoch, l.Delivery.Start = store.Leased, l.Epoch, false
			r.start(l, s, begun)
		}
	}
}

// vacate frees a slot.
func (r *Router) vacate(action string) {
	r.mu.Lock()
	r.slots.busy[action]--
	hungry := r.slots.hungry[action]
	r.mu.Unlock()
	if hungry {
		r.poke()
	}
}

// restTime is how long nothing is claimed for an action whose plugin could not be
// started: few deliveries try it, the others wait where they are.
const restTime = 2 * time.Second

// rest claims nothing for an action for a while.
func (r *Router) rest(action string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots.resting[action] = time.Now().Add(restTime)
}

func (r *Router) openSlots() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots.open = true
}

// closeSlots ends reserving. It waits for what is being written just now, so that
// what that leases is started and drained, but not for a store that hangs.
func (r *Router) closeSlots() {
	r.mu.Lock()
	r.slots.open = false
	r.mu.Unlock()
	select {
	case r.commits.writing <- struct{}{}:
		<-r.commits.writing
	case <-time.After(time.Second):
	}
	r.mu.Lock()
	r.slots.drained = true
	r.mu.Unlock()
}

// Busy returns how many attempts of each action run now.
func (r *Router) Busy() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]int, len(r.slots.busy))
	for action, n := range r.slots.busy {
		if n > 0 {
			out[action] = n
		}
	}
	return out
}
