package router

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/store"
)

// whole makes a set-up dry as serve --dry-run does.
func whole(t *testing.T, s Setup) Setup {
	t.Helper()
	s.Rules = s.Rules.AsDryRun()
	var err error
	if s.Revision, err = NewRevision(s.Rules, []string{"bounce"}, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	return s
}

const windowRule = `
rules:
  - {name: bounce, when: 'event.type == "down"', key: event.source, once: 10m, do: [{action: bounce, with: {p: "${{ event.source }}"}}]}
`

// A router that is dry as a whole records and runs nothing; neither what it
// records nor its windows are those of a router that runs, and what waited from
// before waits until that one is back.
func TestDryRouter(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := setup(t, windowRule, Action{Name: "bounce"})
		b := running(t, s)
		b.runner.plays("bounce", retryAfter(5*time.Minute))
		b.accept(event(t, "before", "sw1"))
		pass(time.Second)
		b.is("before", store.Ready, 1)
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}

		b.cfg.Setup = whole(t, s)
		b.restart()
		b.run()
		b.accept(event(t, "trial", "sw1"), event(t, "again", "sw1"), event(t, "other", "sw2"))
		pass(48 * time.Hour) // far beyond max_age and the age of orphans
		var got []string
		for _, id := range []string{"trial", "again", "other"} {
			text := id + " " + b.verdicts(id)
			for _, d := range b.deliveries(id) {
				text += " " + d.State.String() + " " + string(d.Params)
				if !d.DryRun || d.Attempts > 0 {
					t.Errorf("%s: %+v", id, d)
				}
			}
			got = append(got, text)
		}
		want := []string{
			`trial bounce dry_run done {"p":"sw1"}`, "again bounce throttled", `other bounce dry_run done {"p":"sw2"}`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("recorded (-want +got):\n%s", diff)
		}
		waits := b.is("before", store.Ready, 1)
		for _, id := range []string{waits.ID, b.the("trial").ID} {
			if o := b.retry(id); o.Result != orderRefused || !strings.Contains(o.Reason, "--dry-run") {
				t.Errorf("retry: %+v", o)
			}
		}
		if err := b.r.Reload(t.Context(), whole(t, setup(t, windowRule, Action{Name: "other"}))); err != nil {
			t.Fatal(err)
		}
		pass(48 * time.Hour)
		b.is("before", store.Ready, 1) // its action is gone, and it waits all the same
		if n := b.runner.count(); n > 0 {
			t.Fatalf("ran %v", b.runner.ran())
		}
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}

		// It runs as soon as the router does, if max_age allows; the windows of the
		// trial are not its.
		s = setup(t, windowRule, Action{Name: "bounce", Retry: RetryPolicy{Attempts: 9, MaxAge: 500 * time.Hour, Min: 1, Max: 1}})
		b.cfg.Setup = s
		b.restart()
		b.run()
		b.accept(event(t, "after", "sw2"))
		pass(time.Second)
		b.is("before", store.Done, 2)
		b.is("after", store.Done, 1)
		verdicts, err := b.r.Why(t.Context(), b.recorded("trial"))
		if err != nil || len(verdicts) != 1 || verdicts[0].Verdict != VerdictDryRun {
			t.Fatalf("why of an event of the trial: %+v, %v", verdicts, err)
		}
	})
}

// The real windows are open for the router that runs again.
func TestDryRouterKeepsWindows(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := setup(t, windowRule, Action{Name: "bounce"})
		b := running(t, s)
		for _, step := range []struct {
			setup Setup
			id    string
			want  string
		}{
			{s, "e1", "bounce matched"},
			{whole(t, s), "e2", "bounce dry_run"},
			{s, "e3", "bounce throttled"},
			{whole(t, s), "e4", "bounce throttled"},
		} {
			if err := b.r.Reload(t.Context(), step.setup); err != nil {
				t.Fatal(err)
			}
			b.accept(event(t, step.id, "sw1"))
			pass(time.Minute)
			if got := b.verdicts(step.id); got != step.want {
				t.Errorf("%s: %s, want %s", step.id, got, step.want)
			}
		}
		if n := b.runner.count(); n != 1 {
			t.Errorf("ran %v", b.runner.ran())
		}
	})
}
