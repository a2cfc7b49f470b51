package router

import (
	"context"
	"slices"
	"sync"
)

// gate lets many in together or one alone, in the order they came, so that
// neither kind waits for ever. It is a read-write lock whose waiting ends with a
// context. The zero value is open.
type gate struct {
	mu      sync.Mutex
	inside  int
	alone   bool // the one inside is alone
	waiting []*waiter
}

type waiter struct {
	alone bool
	in    chan struct{} // closed when let in
}

// enter waits for its turn; false when ctx ended first. Who is let in calls
// leave.
func (g *gate) enter(ctx context.Context, alone bool) bool {
	g.mu.Lock()
	if len(g.waiting) == 0 && (g.inside == 0 || !g.alone && !alone) {
		g.inside++
		g.alone = alone
		g.mu.Unlock()
		return true
	}
	w := &waiter{alone: alone, in: make(chan struct{})}
	g.waiting = append(g.waiting, w)
	g.admit()
	g.mu.Unlock()
	select {
	case <-w.in:
		return true
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, w)
	if i < 0 { // let in meanwhile
		g.inside--
	} else {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	g.admit()
	return false
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.admit()
}

// admit lets in who may; mu is held.
func (g *gate) admit() {
	for len(g.waiting) > 0 {
		w := g.waiting[0]
		if g.inside > 0 && (g.alone || w.alone) {
			return
		}
		g.waiting = g.waiting[1:]
		g.inside++
		g.alone = w.alone
		close(w.in)
	}
}
