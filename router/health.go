package router

import (
	"slices"
	"sync"

	"github.com/pointsman/pointsman/router/store"
)

// Reasons why the router cannot accept, by who found them.
const (
	reasonStarting = "starting"
	reasonStore    = "store"
	reasonFull     = "full"
	reasonStopping = "stopping"
)

// health collects what /readyz says. The zero value is ready.
type health struct {
	mu         sync.Mutex
	reasons    map[string]string
	shortfalls []store.Shortfall
}

func (h *health) set(reason, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reasons == nil {
		h.reasons = make(map[string]string)
	}
	h.reasons[reason] = text
}

func (h *health) clear(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.reasons, reason)
}

func (h *health) setShortfalls(s []store.Shortfall) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shortfalls = s
}

// Health says whether the router can accept durably now.
type Health struct {
	// Reasons why it cannot; empty: it can. Sorted.
	Reasons []string
	// Shortfalls are settings of the store below the wanted durability.
	Shortfalls []store.Shortfall
}

// Health returns the state as of now.
func (r *Router) Health() Health {
	h := &r.health
	h.mu.Lock()
	defer h.mu.Unlock()
	out := Health{Shortfalls: slices.Clone(h.shortfalls)}
	for _, text := range h.reasons {
		out.Reasons = append(out.Reasons, text)
	}
	slices.Sort(out.Reasons)
	return out
}
