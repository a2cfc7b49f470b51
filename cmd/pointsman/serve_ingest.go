package main

import (
	"context"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

// newIngest wires the public handler to the router.
func (s *server) newIngest(metrics *router.Metrics) *ingest.Handler {
	c := s.cfg
	return ingest.New(ingest.Config{
		Accept: func(ctx context.Context, from router.Origin, evs []*rules.Event) ([]router.Result, error) {
			return s.router.Accept(ctx, from, evs)
		},
		Dedup: c.Events.Dedup, Origins: c.Events.Origins,
		Body: c.Limits.Body, BatchBody: c.Limits.BatchBody, Batch: c.Limits.Batch, Depth: c.Limits.Depth,
		Rejected: func(source string) { metrics.Events.WithLabelValues(source, router.EventRejected).Inc() },
		Log:      s.log,
	})
}
