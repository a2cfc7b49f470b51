package router

import (
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

const (
	// maxRunningSize is how many bytes of events and parameters the attempts that
	// run may have together; each action may have one besides.
	maxRunningSize = 64 << 20
	// unseenSize is what a delivery is taken for of which only the number is known.
	unseenSize = 1 << 20
)

// slots are the places in which attempts run, by action. A place is taken from
// before the store is asked for a lease until the attempt has ended. Router.mu
// guards all of it.
type slots struct {
	busy map[string]int
	// size is the bytes of what runs.
	size int
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

// fits says whether n bytes more may run for an action. Router.mu is held.
func (r *Router) fits(action string, n int) bool {
	return r.slots.size+n <= maxRunningSize || r.slots.busy[action] == 0
}

// sizeOf is what an attempt keeps in memory.
func sizeOf(d *store.Delivery, event []byte) int { return len(event) + len(d.Params) }

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
		if most := (maxRunningSize - r.slots.size) / unseenSize; n > most {
			n, full = most, most <= 0
			if most <= 0 && r.slots.busy[name] == 0 {
				n, full = 1, false
			}
		}
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
		r.slots.size += sizeOf(&leases[i].Delivery, leases[i].Event)
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
			if size := sizeOf(d, t.Event.JSON); n > 0 && r.fits(d.Action, size) {
				n--
				r.slots.busy[d.Action]++
				r.slots.size += size
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
				r.vacate(d, t.Event.JSON)
				continue
			}
			l := &store.Lease{Delivery: *d, Epoch: results[i].Leased[j], Number: d.Starts + 1, Event: t.Event.JSON}
			l.Delivery.State, l.Delivery.Epoch, l.Delivery.Start = store.Leased, l.Epoch, false
			r.start(l, s, begun)
		}
	}
}

// vacate frees the slot of a delivery.
func (r *Router) vacate(d *store.Delivery, event []byte) {
	r.mu.Lock()
	full := maxRunningSize-r.slots.size < unseenSize
	r.slots.busy[d.Action]--
	r.slots.size -= sizeOf(d, event)
	hungry := r.slots.hungry[d.Action] || full // which may be what others wait for
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
