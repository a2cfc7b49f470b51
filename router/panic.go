package router

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// errPanic is a mistake of pointsman that concerns one event alone.
var errPanic = errors.New("a panic in the router, see its log")

// Panicked counts a panic that was contained and logs where it was. It is called
// while the goroutine panics. where is what was given up: "request" or "event".
func (m *Metrics) Panicked(log *slog.Logger, where string, value any) {
	m.Panics.WithLabelValues(where).Inc()
	log.Error("a panic was contained: please report it", "where", where, "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
}

// contain is deferred around what is done for events before anything is written,
// and makes an error of a panic. Every other panic ends the process, which is
// started anew on what is stored: one of an attempt too, for nobody would know
// whether its plugin still runs it.
func (r *Router) contain(err *error) {
	if v := recover(); v != nil {
		r.metrics.Panicked(r.log, "event", v)
		*err = errPanic
	}
}
