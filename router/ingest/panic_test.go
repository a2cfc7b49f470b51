package ingest_test

import (
	"context"
	"testing"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

// TestPanic: a request that makes the router panic is answered and counted, and
// the next ones are served.
func TestPanic(t *testing.T) {
	t.Parallel()
	panics := make(chan any, 2)
	s := serve(t, ingest.Config{Panicked: func(v any) { panics <- v }})
	good := s.sink.answer
	s.sink.answer = func(context.Context, []*rules.Event) ([]router.Result, error) { panic("out of range") }
	got := s.post(with(""), "Content-Type", structured)
	if got.status != 500 || got.problem.Code != "internal" {
		t.Errorf("%d: %s", got.status, got.body)
	}
	if len(panics) != 1 || <-panics != "out of range" {
		t.Error("the panic was not counted")
	}
	s.sink.answer = good
	if got := s.post(with(""), "Content-Type", structured); got.status != 202 {
		t.Errorf("the next one: %d: %s", got.status, got.body)
	}
}
