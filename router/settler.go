package router

import (
	"context"
	"errors"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// settler is the one goroutine that stores outcomes. It takes what is waiting
// and repeats until it is stored: an outcome that was earned is not lost to a
// store that is away for a while. Meanwhile the slots stay taken.
type settler struct {
	r  *Router
	in chan settling
	// gaveUp ends the repeating at shutdown, some time after close; abandon ends
	// it.
	gaveUp  context.Context
	abandon context.CancelFunc
}

// badTries is how often an outcome that the store does not take, for a reason of
// its own, is tried alone before its lease is left to run out.
const badTries = 5

type settling struct {
	out  store.Outcome
	then func(store.Settled)
}

func newSettler(r *Router) *settler {
	s := &settler{r: r, in: make(chan settling, maxBatch)}
	s.gaveUp, s.abandon = context.WithCancel(context.Background())
	return s
}

// settle has then called when the outcome is stored or refused for good, by the
// goroutine that stores: it must be quick. SettledLost also stands for a store
// that did not come back before the router ended; the lease then runs out by
// itself.
func (s *settler) settle(out store.Outcome, then func(store.Settled)) {
	s.in <- settling{out, then}
}

// close ends run; nothing is settled afterwards.
func (s *settler) close() { close(s.in) }

func (s *settler) run() {
	defer s.abandon()
	batch := make([]settling, 0, maxBatch)
	for first := range s.in {
		batch = append(batch[:0], first)
	more:
		for len(batch) < maxBatch {
			select {
			case st, ok := <-s.in:
				if !ok {
					break more
				}
				batch = append(batch, st)
			default:
				break more
			}
		}
		s.store(batch)
	}
}

// store returns when every outcome of the batch is stored or given up.
func (s *settler) store(batch []settling) {
	outs := make([]store.Outcome, len(batch))
	for i, st := range batch {
		outs[i] = st.out
	}
	pause := 50 * time.Millisecond
	for tries := 1; ; tries++ {
		call, cancel := context.WithTimeout(s.gaveUp, commitTime)
		res, err := s.r.cfg.Store.Settle(call, outs...)
		cancel()
		if err == nil {
			s.r.health.clear(reasonWrite)
			for i, st := range batch {
				st.then(res[i])
			}
			return
		}
		bad := !broken(err) && s.gaveUp.Err() == nil
		if bad && len(batch) > 1 {
			// One of them cannot be stored; it must not hold up its neighbours.
			for i := range batch {
				s.store(batch[i : i+1])
			}
			return
		}
		s.r.doom(err)
		if errors.Is(err, store.ErrFenced) || errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrBroken) || bad && tries == badTries || !sleep(s.gaveUp, pause) {
			s.r.log.Error("outcomes are not stored; their deliveries will be run again or held",
				"outcomes", len(batch), "error", err)
			for _, st := range batch {
				st.then(store.SettledLost)
			}
			return
		}
		s.r.metrics.StoreUnavailable.Inc()
		s.r.writeFailed(err)
		s.r.log.Warn("storing outcomes, trying again", "outcomes", len(batch), "error", err)
		pause = min(2*pause, 2*time.Second)
	}
}
