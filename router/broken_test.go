package router

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// errInDoubt is what a store says that does not know what is on its disk.
var errInDoubt = fmt.Errorf("write store x.db: %w: a write failed and %w: disk I/O error", store.ErrUnavailable, store.ErrBroken)

// TestBrokenStoreEndsTheRouter: after a sync that failed nothing is accepted, what
// runs may end within its grace, and Run says why it ended. The next start runs
// again what was not settled.
func TestBrokenStoreEndsTheRouter(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, bounceRule, Action{Name: "bounce"}))
		s := &moody{Full: b.db}
		b.cfg.Store = s
		b.build()
		release, cut := make(chan struct{}), false
		b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
			select {
			case <-release:
			case <-c.ctx.Done():
				cut = true
			}
			return succeed(c)
		})
		b.run()
		b.accept(event(t, "a", "sw1"))
		synctest.Wait()
		s.fails(errInDoubt)
		if _, err := b.r.Accept(t.Context(), fromEvents, []*rules.Event{event(t, "b", "sw1")}); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("an event that could not be stored: %v", err)
		}
		pass(5 * time.Second)
		if _, err := b.r.Accept(t.Context(), fromEvents, []*rules.Event{event(t, "c", "sw1")}); !errors.Is(err, ErrStopping) {
			t.Fatalf("an event while the router ends: %v", err)
		}
		select {
		case err := <-b.done:
			t.Fatalf("it ended while an attempt had grace left: %v", err)
		default:
		}
		close(release)
		begun := time.Now()
		err := <-b.done
		if !errors.Is(err, store.ErrBroken) || !strings.Contains(err.Error(), "disk I/O error") {
			t.Fatalf("Run returned %v", err)
		}
		if took := time.Since(begun); took > time.Second || cut {
			t.Fatalf("it ended %s after the attempt; the attempt was cut off: %t", took, cut)
		}
		b.done = nil
		b.restart()
		b.run()
		pass(time.Second)
		b.is("a", store.Done, 1)
		if b.runner.count() != 1 {
			t.Fatalf("ran %v", b.runner.ran())
		}
	})
}

// TestBrokenStoreEndsAnIdleRouter: an outcome that cannot be stored is enough.
func TestBrokenStoreEndsAnIdleRouter(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, bounceRule, Action{Name: "bounce"}))
		s := &moody{Full: b.db}
		b.cfg.Store = s
		b.build()
		b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
			s.fails(errInDoubt)
			return succeed(c)
		})
		b.run()
		b.accept(event(t, "a", "sw1"))
		if err := <-b.done; !errors.Is(err, store.ErrBroken) {
			t.Fatalf("Run returned %v", err)
		}
		b.done = nil
	})
}
