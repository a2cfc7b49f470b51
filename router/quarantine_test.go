package router

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// costlyRules has a rule that takes the square of the length of a list, and one
// beside it.
const costlyRules = `
rules:
  - name: costly
    when: 'all(event.data, all(event.data, # == 1))'
    do: [{action: bounce}]
  - name: cheap
    when: event.type == "down"
    do: [{action: bounce}]
`

// ones is an event with a list of n elements.
func ones(t *testing.T, id string, n int) *rules.Event {
	t.Helper()
	return eventOf(t, id, "s", "["+strings.TrimSuffix(strings.Repeat("1,", n), ",")+"]")
}

// TestQuarantine: a rule that takes too much of an event gets little of the next
// ones, decides what it can with that, and is free again after ten minutes or a
// reload. The other rules and the event go on.
func TestQuarantine(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := setup(t, costlyRules, Action{Name: "bounce"})
		b := running(t, s)
		// expect sends an event with n ones and tells what the costly rule made of it.
		sent := 0
		expect := func(n int, verdict string, quarantined ...string) store.Event {
			t.Helper()
			sent++
			id := fmt.Sprint(sent)
			b.accept(ones(t, id, n))
			if diff := cmp.Diff("costly "+verdict+", cheap matched", b.verdicts(id)); diff != "" {
				t.Errorf("event %s of %d: %s", id, n, diff)
			}
			var names []string
			for _, r := range b.r.Health().Rules {
				names = append(names, r.Name)
			}
			if diff := cmp.Diff(quarantined, names); diff != "" {
				t.Errorf("after event %s of %d: %s", id, n, diff)
			}
			return b.recorded(id)
		}
		expect(300, VerdictMatched)
		start := time.Now()
		ev := expect(2000, VerdictError, "costly")
		until := start.Add(10 * time.Minute).UTC().Format(time.RFC3339)
		want := "when: more than 1000000 steps are taken (look at fewer elements or shorter texts); the rule is in quarantine until " + until
		why, err := b.r.Why(t.Context(), ev)
		if err != nil || why[0].Reason != want || why[0].Verdict != VerdictError {
			t.Errorf("why %+v, %v", why[0], err)
		}
		health := b.r.Health()
		want = "it took too many steps of an event and gets 50000 in place of 1000000 until " + until
		if health.Rules[0].Reason != want || len(health.Reasons) > 0 {
			t.Errorf("health %+v", health)
		}
		expect(10, VerdictMatched, "costly")
		pass(time.Minute)
		expect(300, VerdictError, "costly") // too much for now
		if n := testutil.ToFloat64(b.r.metrics.RuleOverruns.WithLabelValues("costly")); n != 2 {
			t.Errorf("%v overruns", n)
		}
		pass(10*time.Minute - time.Millisecond)
		expect(10, VerdictMatched, "costly")
		pass(time.Millisecond)
		expect(300, VerdictMatched)

		expect(2000, VerdictError, "costly")
		if err := b.r.Reload(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		expect(300, VerdictMatched)
		if n := strings.Count(b.log.String(), "rule is in quarantine"); n != 2 {
			t.Errorf("%d lines in the log\n%s", n, b.log)
		}
	})
}

const costlyParameters = `
rules:
  - name: costly
    when: event.type == "down"
    do: [{action: bounce, with: {all: "${{ all(event.data, all(event.data, # == 1)) }}"}}]
`

// TestQuarantineOfParameters: parameters that take too much leave a dead
// delivery which says so, and a retry by hand evaluates with all the steps.
func TestQuarantineOfParameters(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := running(t, setup(t, costlyParameters, Action{Name: "bounce"}))
		b.accept(ones(t, "1", 2000), ones(t, "2", 300), ones(t, "3", 10))
		pass(time.Second)
		for _, id := range []string{"1", "2"} {
			d := b.is(id, store.Dead, 0)
			if !strings.HasPrefix(d.Error, "with.all: more than ") || !strings.Contains(d.Error, "in quarantine until") {
				t.Errorf("delivery %+v", d)
			}
		}
		b.is("3", store.Done, 1)
		if rs := b.r.Health().Rules; len(rs) != 1 || rs[0].Name != "costly" {
			t.Errorf("in quarantine: %v", rs)
		}
		if o := b.retry(b.the("1").ID); o.Result != "refused" || !strings.Contains(o.Reason, "still fails: with.all: more than 1000000 steps") {
			t.Errorf("retry %+v", o)
		}
		if o := b.retry(b.the("2").ID); o.Result != "ok" {
			t.Errorf("retry %+v", o)
		}
		pass(time.Second)
		b.is("2", store.Done, 1)
	})
}
