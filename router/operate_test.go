package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
)

// Orders by hand in every state.
func TestOrders(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce", Timeout: time.Hour}))
		b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
			switch c.GetEventId() {
			case "done":
				return succeed(c)
			case "dead":
				return refuse(c)
			case "ready":
				return retryAfter(10 * time.Minute)(c)
			}
			return hang(c)
		})
		for _, id := range []string{"done", "dead", "ready", "leased"} {
			b.accept(event(t, id, id))
		}
		pass(time.Second)
		order := func(what func(string) Ordered, event, result, reason string) {
			t.Helper()
			d := b.the(event)
			if o := what(d.ID); o.Result != result || o.Reason != reason || o.ID != d.ID {
				t.Errorf("order for %s, which is %s: %+v", event, d.State, o)
			}
			pass(time.Second)
		}
		order(b.retry, "done", orderRefused, "it is done")
		order(b.cancelD, "done", orderRefused, "it is done")
		order(b.retry, "ready", orderRefused, "it is ready")
		order(b.retry, "leased", orderRefused, "it is leased")
		order(b.cancelD, "ready", orderOK, "")
		b.is("ready", store.Cancelled, 1)
		order(b.cancelD, "ready", orderRefused, "it is cancelled")
		order(b.cancelD, "leased", orderOK, "")
		d := b.is("leased", store.Cancelled, 0)
		if diff := cmp.Diff([]string{"1 cancelled"}, b.history(d.ID)); diff != "" {
			t.Error(diff)
		}
		b.runner.plays("bounce", succeed)
		for _, id := range []string{"dead", "ready", "leased"} {
			order(b.retry, id, orderOK, "")
			if d := b.the(id); d.State != store.Done {
				t.Errorf("%s is %s after its retry", id, d.State)
			}
		}
		if o := b.retry("00000000-0000-7000-8000-000000000000"); o.Result != orderNotFound {
			t.Errorf("an id that is none: %+v", o)
		}
	})
}

// A retry by hand that comes before the cancelled attempt has ended waits for
// it.
func TestRetryDoesNotOvertakeTheCancelledAttempt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce", Timeout: time.Hour}))
		b.runner.plays("bounce", func(c call) (*actionv1.RunResponse, error) {
			if c.GetAttempt() > 1 {
				time.Sleep(time.Minute) // longer than a lease
				return succeed(c)
			}
			<-c.ctx.Done()
			time.Sleep(20 * time.Second) // it takes its time
			return fail(c)
		})
		b.accept(event(t, "e1", "sw1"))
		pass(time.Second)
		d := b.the("e1")
		if o := b.cancelD(d.ID); o.Result != orderOK {
			t.Fatalf("cancel: %+v", o)
		}
		if o := b.retry(d.ID); o.Result != orderOK {
			t.Fatalf("retry: %+v", o)
		}
		pass(3 * time.Minute)
		b.is("e1", store.Done, 1)
		if n := b.runner.count(); n != 2 {
			t.Errorf("%d runs", n)
		}
	})
}

func TestRetryEvaluatesAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		text := `
rules:
  - name: bounce
    when: event.type == "down"
    key: %s
    do:
      - {action: bounce, with: {port: "p${{ %s }}"}}
      - {action: page}
`
		actions := []Action{{Name: "bounce"}, {Name: "page"}}
		rules := func(key, port string) Setup { return setup(t, fmt.Sprintf(text, key, port), actions...) }
		b := running(t, rules("event.data.none", "event.data.port"))
		b.accept(eventOf(t, "key", "sw1", `{"port": 1}`))
		d := b.is("key", store.Dead, 0)
		if o := b.retry(d.ID); o.Result != orderRefused || !strings.HasPrefix(o.Reason, `rule "bounce" still fails: key: event.data.none is nil`) {
			t.Errorf("still failing: %+v", o)
		}
		if err := b.r.Reload(t.Context(), rules("event.source", "event.data.port")); err != nil {
			t.Fatal(err)
		}
		if o := b.retry(d.ID); o.Result != orderOK {
			t.Errorf("with a better key: %+v", o)
		}
		pass(time.Second)
		if got := b.runner.ran(); len(got) != 2 || !slices.Contains(got, "key bounce") || !slices.Contains(got, "key page") {
			t.Errorf("ran %v", got)
		}
		for _, d := range b.deliveries("key") {
			if d.State != store.Done || d.Key != "sw1" {
				t.Errorf("%s is %s, key %q", d.Action, d.State, d.Key)
			}
		}

		b.accept(eventOf(t, "with", "sw1", `{"slot": 2}`))
		pass(time.Second)
		var failed store.Delivery
		for _, d := range b.deliveries("with") {
			if d.Action == "bounce" {
				failed = d
			}
		}
		if failed.State != store.Dead || failed.Reason != store.ReasonEvaluation {
			t.Fatalf("with: %+v", failed)
		}
		if o := b.retry(failed.ID); o.Result != orderRefused {
			t.Errorf("still failing: %+v", o)
		}
		for _, tt := range []struct{ text, reason string }{
			{`rules: [{name: bounce, when: 'false', do: [{action: bounce}]}]`, `rule "bounce" as it is now does not match the event`},
			{`rules: [{name: other, when: 'true', do: [{action: bounce}]}]`, `rule "bounce" as it is now does not match the event`},
			{`rules: [{name: bounce, when: 'true', do: [{action: bounce, if: 'false'}]}]`, `rule "bounce" now skips it: its if is false`},
			{`rules: [{name: bounce, when: 'true', dry_run: true, do: [{action: bounce}]}]`, `rule "bounce" is dry_run now`},
		} {
			if err := b.r.Reload(t.Context(), setup(t, tt.text, actions...)); err != nil {
				t.Fatal(err)
			}
			if o := b.retry(failed.ID); o.Result != orderRefused || o.Reason != tt.reason {
				t.Errorf("with %s: %+v", tt.text, o)
			}
		}
		if err := b.r.Reload(t.Context(), rules("event.source", "event.data.slot")); err != nil {
			t.Fatal(err)
		}
		if o := b.retry(failed.ID); o.Result != orderOK {
			t.Errorf("with a better rule: %+v", o)
		}
		pass(time.Second)
		if c := b.runner.calls[len(b.runner.calls)-1]; string(c.GetParams()) != `{"port":"p2"}` || c.GetDeliveryId() != failed.ID {
			t.Errorf("ran with %s", c.GetParams())
		}
	})
}

func TestParametersThatDoNotFit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, bounceRule, Action{Name: "bounce"}))
		b.runner.validate = func(string, json.RawMessage) error { return errors.New("args: too few") }
		b.accept(event(t, "e1", "sw1"))
		pass(time.Second)
		d := b.is("e1", store.Dead, 0)
		if d.Reason != store.ReasonParams || d.Error != "with: args: too few" {
			t.Errorf("%s: %s", d.Reason, d.Error)
		}
		if got := b.verdicts("e1"); got != "bounce error" {
			t.Errorf("verdicts %s", got)
		}
		b.runner.validate = nil // another version of the plugin
		if o := b.retry(d.ID); o.Result != orderOK {
			t.Errorf("retry: %+v", o)
		}
		pass(time.Second)
		b.is("e1", store.Done, 1)
	})
}

// Nothing of a dry run ever runs.
func TestDryRun(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		text := `
rules:
  - name: dry
    when: event.type == "down"
    dry_run: true
    do: [{action: bounce, with: {port: "p${{ %s }}"}}]
  - {name: wet, when: 'event.type == "down"', do: [{action: tryout}, {action: page}]}
`
		actions := []Action{{Name: "bounce"}, {Name: "tryout", DryRun: true}, {Name: "page"}}
		b := running(t, setup(t, fmt.Sprintf(text, "event.data.port"), actions...))
		b.accept(eventOf(t, "good", "sw1", `{"port": 1}`), eventOf(t, "bad", "sw1", `{"slot": 1}`))
		pass(time.Second)
		if got := b.verdicts("good"); got != "dry dry_run, wet matched" {
			t.Errorf("verdicts %s", got)
		}
		var dead store.Delivery
		for _, d := range b.deliveries("bad") {
			if d.Rule == "dry" {
				dead = d
			}
		}
		if dead.State != store.Dead || !dead.DryRun {
			t.Fatalf("%+v", dead)
		}
		if err := b.r.Reload(t.Context(), setup(t, fmt.Sprintf(text, "event.data.slot"), actions...)); err != nil {
			t.Fatal(err)
		}
		if o := b.retry(dead.ID); o.Result != orderOK {
			t.Errorf("retry: %+v", o)
		}
		pass(time.Second)
		for _, id := range []string{"good", "bad"} {
			for _, d := range b.deliveries(id) {
				if d.State != store.Done || d.DryRun != (d.Action != "page") {
					t.Errorf("%s %s: %s, dry run %v", id, d.Action, d.State, d.DryRun)
				}
			}
		}
		if diff := cmp.Diff([]string{"bad page", "good page"}, slices.Sorted(slices.Values(b.runner.ran()))); diff != "" {
			t.Error(diff)
		}

		// An action that becomes a dry run holds back what waits for it.
		b.runner.plays("page", retryAfter(time.Minute))
		b.accept(eventOf(t, "late", "sw1", `{"slot": 1}`))
		pass(time.Second)
		n := b.runner.count()
		actions[2].DryRun = true
		if err := b.r.Reload(t.Context(), setup(t, fmt.Sprintf(text, "event.data.slot"), actions...)); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Minute)
		if got := b.runner.count(); got != n {
			t.Errorf("a queued delivery ran although its action is dry_run now: %v", b.runner.ran())
		}
		for _, d := range b.deliveries("late") {
			if d.State != store.Done {
				t.Errorf("%s is %s", d.Action, d.State)
			}
		}
	})
}

// fan is a rule set that makes n live deliveries of an event, and three others.
func fan(n int) string {
	var text strings.Builder
	text.WriteString(`
rules:
  - {name: dry, when: 'true', dry_run: true, do: [{action: bounce}]}
  - name: fan
    when: 'true'
    do:
      - {action: tryout}
      - {action: bounce, with: {x: "a${{ event.data.none }}"}}
`)
	for range n {
		text.WriteString("      - {action: bounce}\n")
	}
	return text.String()
}

func TestFanOut(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const n = 2500
		actions := []Action{{Name: "bounce", Concurrency: 100}, {Name: "tryout", DryRun: true}}
		b := running(t, setup(t, fan(n), actions...))
		b.accept(event(t, "e1", "sw1"), event(t, "e2", "sw2"))
		pass(time.Second)
		if got := b.verdicts("e1"); got != "dry dry_run, fan held" {
			t.Errorf("verdicts %s", got)
		}
		held := func(id string) store.Delivery {
			t.Helper()
			ds, err := b.db.Deliveries(t.Context(), store.DeliveryQuery{EventID: id, Until: b.recorded(id).Received.Add(1)})
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(ds, func(d store.Delivery) bool { return d.Count > 0 })
			if i < 0 || len(ds) != 4 {
				t.Fatalf("%d deliveries of %s at accept, the fan-out's is number %d", len(ds), id, i)
			}
			return ds[i]
		}
		d := held("e1")
		if d.State != store.Held || d.Count != n || b.runner.count() != 0 {
			t.Fatalf("%s, stands for %d, %d runs", d.State, d.Count, b.runner.count())
		}
		// The first step of the expansion was interrupted by a crash; the rules
		// and the actions have changed since.
		if err := b.r.Reload(t.Context(), setup(t, "rules: []\n", Action{Name: "bounce", Concurrency: 100})); err != nil {
			t.Fatal(err)
		}
		ds, err := b.r.expansion(t.Context(), &d)
		if err != nil || len(ds) != n {
			t.Fatalf("%d deliveries, %v", len(ds), err)
		}
		if res, err := b.db.Change(t.Context(), store.Change{ID: d.ID, Kind: store.Expand, Also: ds[:expandStep]}); err != nil || res[0] != store.ChangedOK {
			t.Fatalf("%v, %v", res, err)
		}
		pass(time.Minute)
		if got := b.runner.count(); got != expandStep {
			t.Errorf("%d runs after the first step", got)
		}
		if o := b.retry(d.ID); o.Result != orderOK {
			t.Errorf("retry: %+v", o)
		}
		pass(time.Minute)
		if got := b.runner.count(); got != n {
			t.Errorf("%d runs, want %d", got, n)
		}
		for _, c := range b.runner.calls {
			if c.GetEventId() != "e1" {
				t.Errorf("ran for %s", c.GetEventId())
			}
		}
		if d = held("e1"); d.State != store.Done || d.Expanded != n {
			t.Errorf("the record is %s, expanded %d", d.State, d.Expanded)
		}
		if o := b.retry(d.ID); o.Result != orderRefused {
			t.Errorf("again: %+v", o)
		}
		if o := b.cancelD(held("e2").ID); o.Result != orderOK {
			t.Errorf("cancel: %+v", o)
		}
		if o := b.retry(held("e2").ID); o.Result != orderRefused {
			t.Errorf("retry of what was dropped: %+v", o)
		}
		pass(time.Minute)
		if got := b.runner.count(); got != n {
			t.Errorf("%d runs, want %d", got, n)
		}
	})
}

// What was accepted under a larger limits.depth than the default can be read
// again.
func TestDeepEvents(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, `
rules:
  - {name: bounce, when: 'true', key: event.data.none, do: [{action: bounce}]}
`, Action{Name: "bounce"}))
		b.accept(eventOf(t, "e1", "sw1", strings.Repeat("[", 200)+strings.Repeat("]", 200)))
		if vs, err := b.r.Why(t.Context(), b.recorded("e1")); err != nil || len(vs) != 1 || vs[0].Verdict != VerdictError {
			t.Errorf("why: %+v, %v", vs, err)
		}
		if err := b.r.Reload(t.Context(), setup(t, bounceRule, Action{Name: "bounce"})); err != nil {
			t.Fatal(err)
		}
		if o := b.retry(b.the("e1").ID); o.Result != orderOK {
			t.Errorf("retry: %+v", o)
		}
	})
}
