package router

import (
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// Reasons why the router cannot accept, by who found them.
const (
	reasonStarting = "starting"
	reasonStore    = "store"
	reasonWrite    = "write"
	reasonFull     = "full"
	reasonStopping = "stopping"
)

// writeTrouble is how long a write that failed keeps the router unready: while it
// is, hardly anyone sends what could show that writes work again.
const writeTrouble = 5 * time.Second

// health collects what /readyz says. The zero value is ready.
type health struct {
	mu         sync.Mutex
	reasons    map[string]string
	until      map[string]time.Time // reasons that end by themselves
	shortfalls []store.Shortfall
}

func (h *health) set(reason, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reasons == nil {
		h.reasons = make(map[string]string)
	}
	h.reasons[reason] = text
	delete(h.until, reason)
}

// setUntil is set for a reason that ends by itself.
func (h *health) setUntil(reason, text string, until time.Time) {
	h.set(reason, text)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.until == nil {
		h.until = make(map[string]time.Time)
	}
	h.until[reason] = until
}

// writeFailed notes a write that failed by the store's fault, and ends the
// router when only a restart can help.
func (r *Router) writeFailed(err error) {
	r.doom(err)
	r.health.setUntil(reasonWrite, "store: "+err.Error(), time.Now().Add(writeTrouble))
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
	// Reasons why it cannot, each once; empty: it can. Sorted.
	Reasons []string
	// Shortfalls are settings of the store below the wanted durability.
	Shortfalls []store.Shortfall
	// Rules are in quarantine, by name.
	Rules []Broken
}

// Health returns the state as of now.
func (r *Router) Health() Health {
	h := &r.health
	out := Health{Rules: r.slow.list()}
	h.mu.Lock()
	defer h.mu.Unlock()
	out.Shortfalls = slices.Clone(h.shortfalls)
	for reason, text := range h.reasons {
		if until, ends := h.until[reason]; ends && time.Now().After(until) {
			continue
		}
		out.Reasons = append(out.Reasons, text)
	}
	slices.Sort(out.Reasons)
	out.Reasons = slices.Compact(out.Reasons)
	return out
}
