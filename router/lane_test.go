package router

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
)

const orderedRule = `
rules:
  - name: port
    when: event.type == "down"
    key: event.source
    ordered: true
    do:
      - {action: drain}
      - {action: bounce}
`

func overlapRule(word string) string {
	return fmt.Sprintf(`
rules:
  - name: nightly
    when: event.type == "down"
    key: event.source
    do: [{action: work, overlap: %s}]
`, word)
}

// takes is a run that needs d.
func takes(d time.Duration) script {
	return func(c call) (*actionv1.RunResponse, error) {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return succeed(c)
		case <-c.ctx.Done():
			return answer(actionv1.Status_STATUS_FAILED, "stopped")
		}
	}
}

func TestOrderedRuns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, orderedRule, Action{Name: "drain"}, Action{Name: "bounce"}))
		b.runner.plays("drain", takes(time.Second))
		b.runner.plays("bounce", takes(time.Second))
		b.accept(event(t, "e1", "sw1"), event(t, "e2", "sw1"), event(t, "x", "sw2"))
		b.accept(event(t, "e3", "sw1"))
		pass(500 * time.Millisecond)
		// One of each key, the steps of an event one after the other.
		ran := b.runner.ran()
		slices.Sort(ran)
		if diff := cmp.Diff([]string{"e1 drain", "x drain"}, ran); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
		first, last := b.deliveries("e1")[0], b.deliveries("e3")[1]
		if last.State != store.Ready || last.Waits != first.ID {
			t.Fatalf("the last one is %s and waits for %q, want %q", last.State, last.Waits, first.ID)
		}
		pass(10 * time.Second)
		var sw1 []string
		for _, r := range b.runner.ran() {
			if r[0] == 'e' {
				sw1 = append(sw1, r)
			}
		}
		want := []string{"e1 drain", "e1 bounce", "e2 drain", "e2 bounce", "e3 drain", "e3 bounce"}
		if diff := cmp.Diff(want, sw1); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
	})
}

// TestOrderedRetryDelaysItsKey: what waits for a retry holds up its own key, and
// what is dead none.
func TestOrderedRetryDelaysItsKey(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, orderedRule,
			Action{Name: "drain", Retry: RetryPolicy{Attempts: 2, MaxAge: time.Hour, Min: time.Minute, Max: time.Minute}}, Action{Name: "bounce"}))
		b.runner.plays("drain", func(c call) (*actionv1.RunResponse, error) {
			if c.GetEventId() == "e1" {
				return &actionv1.RunResponse{Status: actionv1.Status_STATUS_FAILED, RetryAfter: durationpb.New(time.Minute)}, nil
			}
			return succeed(c)
		})
		b.accept(event(t, "e1", "sw1"), event(t, "e2", "sw1"), event(t, "x", "sw2"))
		pass(30 * time.Second)
		if diff := cmp.Diff([]string{"e1 drain", "x bounce", "x drain"}, sorted(b.runner.ran())); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
		pass(2 * time.Minute)
		want := []string{"e1 bounce", "e1 drain", "e1 drain", "e2 bounce", "e2 drain", "x bounce", "x drain"}
		if diff := cmp.Diff(want, sorted(b.runner.ran())); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
		if d := b.deliveries("e1")[0]; d.State != store.Dead {
			t.Fatalf("it is %s, want dead", d.State)
		}
	})
}

// TestOrderedCancelOfTheFirst: the next one begins when the attempt has ended.
func TestOrderedCancelOfTheFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, orderedRule, Action{Name: "drain"}, Action{Name: "bounce"}))
		b.runner.plays("drain", func(c call) (*actionv1.RunResponse, error) {
			if c.GetEventId() != "e1" {
				return succeed(c)
			}
			<-c.ctx.Done()
			time.Sleep(2 * time.Second) // it tidies up
			return answer(actionv1.Status_STATUS_FAILED, "stopped")
		})
		b.accept(event(t, "e1", "sw1"), event(t, "e2", "sw1"))
		pass(time.Second)
		ds := b.deliveries("e1")
		b.cancelD(ds[1].ID) // it waits
		b.cancelD(ds[0].ID) // it runs
		pass(time.Second)
		if diff := cmp.Diff([]string{"e1 drain"}, b.runner.ran()); diff != "" {
			t.Fatalf("while it tidies up: -want +got\n%s", diff)
		}
		pass(1100 * time.Millisecond)
		if diff := cmp.Diff([]string{"e1 drain", "e2 drain", "e2 bounce"}, b.runner.ran()); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
	})
}

// TestOrderedOverARestart: the order stays, and so it does by a reload that takes
// ordered away, for what was accepted before.
func TestOrderedOverARestart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		actions := []Action{{Name: "drain"}, {Name: "bounce"}}
		b := running(t, setup(t, orderedRule, actions...))
		b.runner.plays("drain", hang)
		b.accept(event(t, "e1", "sw1"), event(t, "e2", "sw1"))
		pass(time.Second)
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		b.restart()
		b.run()
		if err := b.r.Reload(t.Context(), setup(t, bounceRule, actions...)); err != nil {
			t.Fatal(err)
		}
		b.runner.plays("drain", takes(time.Second))
		pass(10 * time.Second)
		if diff := cmp.Diff([]string{"e1 drain", "e1 bounce", "e2 drain", "e2 bounce"}, b.runner.ran()); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
	})
}

// TestOrderedBehindAPause: a paused action holds up what waits behind it.
func TestOrderedBehindAPause(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, orderedRule, Action{Name: "drain"}, Action{Name: "bounce"}))
		if _, err := b.r.Pause(t.Context(), "drain", ""); err != nil {
			t.Fatal(err)
		}
		b.accept(event(t, "e1", "sw1"))
		pass(time.Minute)
		if n := b.runner.count(); n != 0 {
			t.Fatalf("%d ran", n)
		}
		if err := b.r.Resume(t.Context(), "drain"); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		if diff := cmp.Diff([]string{"e1 drain", "e1 bounce"}, b.runner.ran()); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
	})
}

func TestOverlapQueue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, overlapRule("queue"), Action{Name: "work"}))
		b.runner.plays("work", takes(5*time.Second))
		for _, id := range []string{"e1", "e2", "e3"} {
			b.accept(event(t, id, "a"))
			pass(time.Second)
		}
		if diff := cmp.Diff([]string{"e1 work"}, b.runner.ran()); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
		pass(15 * time.Second)
		if diff := cmp.Diff([]string{"e1 work", "e2 work", "e3 work"}, b.runner.ran()); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
		if b.runner.peak["work"] != 1 {
			t.Fatalf("%d ran at once", b.runner.peak["work"])
		}
	})
}

func TestOverlapSkip(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, overlapRule("skip"), Action{Name: "work"}))
		b.runner.plays("work", takes(5*time.Second))
		b.accept(event(t, "e1", "a"))
		pass(time.Second)
		b.accept(event(t, "e2", "a"), event(t, "other key", "b"))
		pass(10 * time.Second)
		first, second := b.is("e1", store.Done, 1), b.is("e2", store.Cancelled, 0)
		if second.Reason != store.ReasonOverlap || second.Error != store.Overlapping(first.ID) {
			t.Fatalf("skipped for %q: %s", second.Reason, second.Error)
		}
		b.is("other key", store.Done, 1)
		if v := b.recorded("e2").Verdicts; len(v) != 1 || v[0].Verdict != VerdictMatched {
			t.Fatalf("verdicts %v", v)
		}
		b.accept(event(t, "e3", "a"))
		pass(10 * time.Second)
		b.is("e3", store.Done, 1)
		// A person may have it run.
		if o := b.retry(second.ID); o.Result != orderOK {
			t.Fatalf("retry: %+v", o)
		}
		pass(10 * time.Second)
		b.is("e2", store.Done, 1)
	})
}

// TestOverlapOfDryRuns: what is dry neither holds up nor is held up.
func TestOverlapOfDryRuns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for _, rule := range []string{orderedRule, overlapRule("skip")} {
			b := running(t, setup(t, rule, Action{Name: "work", DryRun: true}, Action{Name: "drain", DryRun: true}, Action{Name: "bounce"}))
			b.runner.plays("bounce", hang)
			for _, id := range []string{"e1", "e2"} {
				b.accept(event(t, id, "a"))
				if d := b.deliveries(id)[0]; d.State != store.Done || !d.DryRun {
					t.Fatalf("event %s: %+v", id, d)
				}
			}
			if err := b.stop(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestFanOutJoinsItsLanes: what a held record stands for waits for its turn.
func TestFanOutJoinsItsLanes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, orderedRule, Action{Name: "drain"}, Action{Name: "bounce"}))
		b.cfg.FanOut = 1
		b.build()
		b.run()
		b.runner.plays("drain", takes(time.Second))
		b.runner.plays("bounce", takes(time.Second))
		b.accept(event(t, "e1", "sw1"), event(t, "e2", "sw1"))
		pass(time.Second)
		for _, id := range []string{"e1", "e2"} {
			if o := b.retry(b.the(id).ID); o.Result != orderOK {
				t.Fatalf("retry: %+v", o)
			}
		}
		pass(10 * time.Second)
		if diff := cmp.Diff([]string{"e1 drain", "e1 bounce", "e2 drain", "e2 bounce"}, b.runner.ran()); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
	})
}

// TestRetryOfAFailedKeyJoinsItsLane: a call that is evaluated again goes into the
// lane of the rule as it is now.
func TestRetryOfAFailedKeyJoinsItsLane(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const broken = `
rules:
  - name: port
    when: event.type == "down"
    key: event.data.k
    ordered: true
    do: [{action: drain}, {action: bounce}]
`
		actions := []Action{{Name: "drain"}, {Name: "bounce"}}
		b := running(t, setup(t, broken, actions...))
		b.runner.plays("drain", takes(time.Second))
		b.accept(event(t, "e1", "sw1"))
		dead := b.is("e1", store.Dead, 0)
		if err := b.r.Reload(t.Context(), setup(t, orderedRule, actions...)); err != nil {
			t.Fatal(err)
		}
		b.accept(event(t, "e2", "sw1"))
		pass(100 * time.Millisecond)
		if o := b.retry(dead.ID); o.Result != orderOK {
			t.Fatalf("retry: %+v", o)
		}
		pass(10 * time.Second)
		// Its first step is older than those of e2, the second is written now.
		if diff := cmp.Diff([]string{"e2 drain", "e1 drain", "e2 bounce", "e1 bounce"}, b.runner.ran()); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
	})
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
