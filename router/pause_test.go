package router

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/store"
)

func TestPauseKeepsWhatIsDue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce"}))
		ctx := t.Context()
		if _, err := b.r.Pause(ctx, "bounce", "core switch is replaced"); err != nil {
			t.Fatal(err)
		}
		begun := b.r.Paused()["bounce"].Since
		if _, err := b.r.Pause(ctx, "bounce", "still"); err != nil {
			t.Fatal(err)
		}
		want := map[string]Pause{"bounce": {Since: begun, Reason: "still"}}
		if diff := cmp.Diff(want, b.r.Paused()); diff != "" || begun.IsZero() {
			t.Fatalf("-want +got\n%s", diff)
		}
		b.accept(event(t, "e1", "sw1"))
		pass(2 * time.Hour) // max_age is one hour
		d := b.is("e1", store.Ready, 0)
		if len(b.history(d.ID)) > 0 || len(b.runner.calls) > 0 {
			t.Fatalf("it ran: %v", b.history(d.ID))
		}
		// It holds over a restart.
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		b.restart()
		b.run()
		pass(time.Minute)
		b.is("e1", store.Ready, 0)
		if diff := cmp.Diff(want, b.r.Paused()); diff != "" {
			t.Fatalf("after a restart: -want +got\n%s", diff)
		}
		if err := b.r.Resume(ctx, "bounce"); err != nil {
			t.Fatal(err)
		}
		pass(100 * time.Millisecond)
		b.is("e1", store.Done, 1)
		if n := len(b.r.Paused()); n != 0 {
			t.Errorf("%d still paused", n)
		}
		if err := b.r.Resume(ctx, "bounce"); err != nil {
			t.Errorf("resumed twice: %v", err)
		}
	})
}

// The pause does not count towards max_age, the time before and after it does.
func TestPauseAndMaxAge(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce"}))
		b.runner.plays("bounce", notThere)
		b.accept(event(t, "e1", "sw1"))
		pass(40 * time.Minute)
		for range 2 { // two pauses
			if _, err := b.r.Pause(t.Context(), "bounce", ""); err != nil {
				t.Fatal(err)
			}
			pass(3 * time.Hour)
			if err := b.r.Resume(t.Context(), "bounce"); err != nil {
				t.Fatal(err)
			}
			pass(5 * time.Minute)
			b.is("e1", store.Ready, 0)
		}
		pass(11 * time.Minute) // 61 minutes in all
		if d := b.is("e1", store.Dead, 0); d.Reason != store.ReasonAge {
			t.Errorf("dead for %s", d.Reason)
		}
	})
}

func TestPauseStopsOneAction(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce"}))
		b.runner.plays("bounce", fail)
		b.accept(event(t, "e1", "sw1"))
		pass(time.Millisecond)
		// Between two attempts.
		if _, err := b.r.Pause(t.Context(), "bounce", ""); err != nil {
			t.Fatal(err)
		}
		tried := len(b.runner.calls)
		pass(30 * time.Minute)
		if n := len(b.runner.calls); n != tried || tried == 0 {
			t.Errorf("%d attempts after %d", n, tried)
		}
		if _, err := b.r.Pause(t.Context(), "nope", ""); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("unknown action: %v", err)
		}
		if err := b.r.Resume(t.Context(), "nope"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("unknown action: %v", err)
		}
	})
}

// An order given to one router holds for another on the same store.
func TestPauseReachesOtherRouters(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce"}))
		other, err := New(b.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Pause(t.Context(), "bounce", "by the other"); err != nil {
			t.Fatal(err)
		}
		pass(pauseEvery)
		b.accept(event(t, "e1", "sw1"))
		pass(time.Minute)
		b.is("e1", store.Ready, 0)
		if err := other.Resume(t.Context(), "bounce"); err != nil {
			t.Fatal(err)
		}
		pass(pauseEvery + 100*time.Millisecond)
		b.is("e1", store.Done, 1)
	})
}
