package router

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// poisoned panics when it is asked for the state of a key.
type poisoned struct {
	store.Full
	enter chan struct{} // the first commit waits here
	once  sync.Once
}

func (s *poisoned) Load(ctx context.Context, keys ...string) ([]store.State, error) {
	if slices.ContainsFunc(keys, func(k string) bool { return strings.Contains(k, "poison") }) {
		panic("out of range")
	}
	return s.Full.Load(ctx, keys...)
}

func (s *poisoned) Commit(ctx context.Context, txns ...store.Txn) ([]store.Result, error) {
	s.once.Do(func() { <-s.enter })
	return s.Full.Commit(ctx, txns...)
}

// TestPanicOfAnEvent: it is not accepted, and those that share its batch are.
func TestPanicOfAnEvent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, strings.Replace(bounceRule, "key:", "once: 1h\n    key:", 1), Action{Name: "bounce"}))
		s := &poisoned{Full: b.db, enter: make(chan struct{})}
		b.cfg.Store = s
		b.build()
		b.run()
		errs := map[string]chan error{}
		for _, id := range []string{"first", "a", "poison", "b"} {
			errs[id] = make(chan error, 1)
			go func() {
				_, err := b.r.Accept(t.Context(), fromEvents, []*rules.Event{event(t, id, id)})
				errs[id] <- err
			}()
			synctest.Wait() // first is being committed, the others share the next batch
		}
		close(s.enter)
		for id, got := range errs {
			if err := <-got; (id == "poison") != errors.Is(err, ErrUnavailable) {
				t.Errorf("event %s: %v", id, err)
			}
		}
		pass(time.Second)
		for _, id := range []string{"first", "a", "b"} {
			b.is(id, store.Done, 1)
		}
		if n := testutil.ToFloat64(b.r.metrics.Panics.WithLabelValues("event")); n != 2 {
			t.Errorf("%v panics counted, want that of the batch and that of the event", n)
		}
	})
}

// rotten panics in one of the router's own goroutines.
type rotten struct {
	store.Full
	in string
}

func (s *rotten) Claim(ctx context.Context, op store.OpID, want []store.Want, ttl time.Duration) ([]store.Lease, time.Duration, error) {
	if s.in == "Claim" {
		panic("out of range")
	}
	return s.Full.Claim(ctx, op, want, ttl)
}

func (s *rotten) Settle(ctx context.Context, outs ...store.Outcome) ([]store.Settled, error) {
	if s.in == "Settle" {
		panic("out of range")
	}
	return s.Full.Settle(ctx, outs...)
}

func (s *rotten) Commit(ctx context.Context, txns ...store.Txn) ([]store.Result, error) {
	if s.in == "Commit" {
		panic("out of range")
	}
	return s.Full.Commit(ctx, txns...)
}

func (s *rotten) Shortfalls(ctx context.Context, d store.Durability) ([]store.Shortfall, error) {
	if s.in == "Shortfalls" && strings.Contains(string(debug.Stack()), "keepHouse") {
		panic("out of range")
	}
	return s.Full.Shortfalls(ctx, d)
}

// TestPanicOfTheRouter: one that is not about a request or an event alone ends the
// process with what and where; in a process that goes on no goroutine is missing.
func TestPanicOfTheRouter(t *testing.T) {
	const child = "POINTSMAN_TEST_PANIC"
	if in := os.Getenv(child); in != "" {
		b := newBench(t, setup(t, bounceRule, Action{Name: "bounce"}))
		b.cfg.Store = &rotten{b.db, in}
		b.build()
		if in == "Run" {
			b.runner.plays("bounce", func(call) (*actionv1.RunResponse, error) { panic("out of range") })
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() {
			<-b.r.Started()
			_, _ = b.r.Accept(ctx, fromEvents, []*rules.Event{event(t, "a", "sw1")})
		}()
		_ = b.r.Run(ctx)
		os.Exit(0)
	}
	t.Parallel()
	for in, file := range map[string]string{
		"Claim": "dispatch.go", "Settle": "settler.go", "Commit": "committer.go", "Shortfalls": "house.go", "Run": "deliver.go",
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPanicOfTheRouter$")
		cmd.Env = append(os.Environ(), child+"="+in)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 {
			t.Errorf("%s: ended with %v:\n%s", in, err, out)
		}
		if !strings.Contains(string(out), "panic: out of range") || !strings.Contains(string(out), file) {
			t.Errorf("%s: it does not say what and where:\n%s", in, out)
		}
	}
}
