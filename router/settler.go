package router

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// settler is the one goroutine that stores outcomes. It takes what is waiting
// and repeats until it is stored: an outcome that was earned is not lost to a
// store that is away for a while. Meanwhile the slots stay taken.
type settler struct {
	r  *Router
	in chan *settling
	// giveUp ends the repeating at shutdown, some time after close.
	giveUp chan struct{}
	once   sync.Once
}

type settling struct {
	out  store.Outcome
	res  store.Settled
	done chan struct{}
}

func newSettler(r *Router) *settler {
	return &settler{r: r, in: make(chan *settling, maxBatch), giveUp: make(chan struct{})}
}

// settle returns when the outcome is stored or refused for good. SettledLost
// also stands for a store that did not come back before the router ended; the
// lease then runs out by itself.
func (s *settler) settle(out store.Outcome) store.Settled {
	st := &settling{out: out, done: make(chan struct{})}
	s.in <- st
	<-st.done
	return st.res
}

// close ends run; nothing is settled afterwards.
func (s *settler) close() { close(s.in) }

// abandon stops the repeating.
func (s *settler) abandon() { s.once.Do(func() { close(s.giveUp) }) }

func (s *settler) run(ctx context.Context) {
	batch := make([]*settling, 0, maxBatch)
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
		s.store(ctx, batch)
	}
}

func (s *settler) store(ctx context.Context, batch []*settling) {
	outs := make([]store.Outcome, len(batch))
	for i, st := range batch {
		outs[i] = st.out
	}
	pause := 50 * time.Millisecond
	for {
		call, cancel := context.WithTimeout(ctx, commitTime)
		res, err := s.r.cfg.Store.Settle(call, outs...)
		cancel()
		if err == nil {
			s.r.health.clear(reasonWrite)
			for i, st := range batch {
				st.res = res[i]
				close(st.done)
			}
			return
		}
		if errors.Is(err, store.ErrFenced) || errors.Is(err, store.ErrClosed) || s.abandoned(pause) {
			s.r.log.Error("outcomes are not stored; their deliveries will be run again or held",
				"outcomes", len(batch), "error", err)
			for _, st := range batch {
				st.res = store.SettledLost
				close(st.done)
			}
			return
		}
		s.r.metrics.StoreUnavailable.Inc()
		s.r.writeFailed(err)
		s.r.log.Warn("storing outcomes, trying again", "outcomes", len(batch), "error", err)
		pause = min(2*pause, 2*time.Second)
	}
}

// abandoned waits for d; true when the router gave up meanwhile.
func (s *settler) abandoned(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.giveUp:
		return true
	case <-t.C:
		return false
	}
}
