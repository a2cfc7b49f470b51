package router

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
)

type crashError struct{}

func (crashError) Error() string { return "plugin died: signal: killed" }
func (crashError) Crashed() bool { return true }

type absentError struct{}

func (absentError) Error() string     { return "no such file" }
func (absentError) Unavailable() bool { return true }

func TestDecide(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	end := start.Add(3 * time.Second)
	action := Action{
		Name: "bounce", Concurrency: 4, Timeout: 30 * time.Second,
		Retry: RetryPolicy{Attempts: 3, MaxAge: time.Hour, Min: time.Second, Max: time.Minute},
	}
	hold := action
	hold.Hold = true
	resp := func(s actionv1.Status, text string, after time.Duration) *actionv1.RunResponse {
		r := &actionv1.RunResponse{Status: s, Error: text, Output: "out"}
		if after > 0 {
			r.RetryAfter = durationpb.New(after)
		}
		return r
	}
	failed := resp(actionv1.Status_STATUS_FAILED, "exit status 1", 0)
	att := func(outcome, text, output string) *store.Attempt {
		return &store.Attempt{Number: 4, Started: start, Ended: end, Outcome: outcome, Error: text, Output: output}
	}
	tests := []struct {
		name   string
		d      store.Delivery
		action Action
		e      ended
		want   store.Outcome
	}{
		{
			"done ends it and clears the error",
			store.Delivery{Attempts: 1, Error: "old", Suspect: true},
			action,
			ended{resp: resp(actionv1.Status_STATUS_DONE, "", 0)},
			store.Outcome{State: store.Done, Attempts: 2, Attempt: att("done", "", "out")},
		},
		{
			"done wins over a shutdown that crossed it",
			store.Delivery{},
			action,
			ended{resp: resp(actionv1.Status_STATUS_DONE, "", 0), cause: errStopping},
			store.Outcome{State: store.Done, Attempts: 1, Attempt: att("done", "", "out")},
		},
		{
			"permanent is dead at once",
			store.Delivery{},
			action,
			ended{resp: resp(actionv1.Status_STATUS_PERMANENT, "no such port", 0)},
			store.Outcome{
				State: store.Dead, Reason: store.ReasonPermanent, Attempts: 1, Error: "no such port",
				Attempt: att("permanent", "no such port", "out"),
			},
		},
		{
			"failed is tried again after full jitter over min * 2^n",
			store.Delivery{Attempts: 1},
			action,
			ended{resp: failed},
			store.Outcome{
				State: store.Ready, Delay: time.Second, Attempts: 2, Error: "exit status 1",
				Attempt: att("failed", "exit status 1", "out"),
			},
		},
		{
			"retry-after is waited for, and a tenth of it with jitter besides",
			store.Delivery{},
			action,
			ended{resp: resp(actionv1.Status_STATUS_FAILED, "busy", 90*time.Second)},
			store.Outcome{
				State: store.Ready, Delay: 94500 * time.Millisecond, Attempts: 1, Error: "busy",
				Attempt: att("failed", "busy", "out"),
			},
		},
		{
			"the last attempt of the budget",
			store.Delivery{Attempts: 2},
			action,
			ended{resp: failed},
			store.Outcome{
				State: store.Dead, Reason: store.ReasonAttempts, Attempts: 3, Error: "exit status 1",
				Attempt: att("failed", "exit status 1", "out"),
			},
		},
		{
			"a retry by hand restarted the budget",
			store.Delivery{Attempts: 3, BudgetFrom: 3},
			action,
			ended{resp: failed},
			store.Outcome{
				State: store.Ready, Delay: 500 * time.Millisecond, Attempts: 4, Error: "exit status 1",
				Attempt: att("failed", "exit status 1", "out"),
			},
		},
		{
			"the next attempt would be past max_age",
			store.Delivery{Budget: start.Add(-time.Hour)},
			action,
			ended{resp: failed},
			store.Outcome{
				State: store.Dead, Reason: store.ReasonAge, Attempts: 1, Error: "exit status 1",
				Attempt: att("failed", "exit status 1", "out"),
			},
		},
		{
			"a timeout counts",
			store.Delivery{},
			action,
			ended{err: errors.New("no answer"), cause: errTimeout},
			store.Outcome{
				State: store.Ready, Delay: 500 * time.Millisecond, Attempts: 1, Error: "timed out after 30s",
				Attempt: att("timeout", "timed out after 30s", ""),
			},
		},
		{
			"a shutdown is not counted and due at once",
			store.Delivery{Attempts: 1},
			action,
			ended{resp: failed, cause: errStopping},
			store.Outcome{
				State: store.Ready, Attempts: 1, Error: "exit status 1",
				Attempt: att("released", "exit status 1", "out"),
			},
		},
		{
			"permanent is heard during a shutdown",
			store.Delivery{},
			action,
			ended{resp: resp(actionv1.Status_STATUS_PERMANENT, "no", 0), cause: errStopping},
			store.Outcome{
				State: store.Dead, Reason: store.ReasonPermanent, Attempts: 1, Error: "no",
				Attempt: att("permanent", "no", "out"),
			},
		},
		{
			"stopped before it began takes the start back",
			store.Delivery{Attempts: 1, Error: "old"},
			action,
			ended{cause: errStopping},
			store.Outcome{State: store.Ready, Attempts: 1, Error: "old"},
		},
		{
			"cancelled while it ran",
			store.Delivery{},
			action,
			ended{resp: failed, cause: errCancelled},
			store.Outcome{State: store.Cancelled, Error: "exit status 1", Attempt: att("cancelled", "exit status 1", "out")},
		},
		{
			"a crash among several makes each a suspect and counts for none",
			store.Delivery{Attempts: 1},
			action,
			ended{err: crashError{}},
			store.Outcome{
				State: store.Ready, Attempts: 1, Suspect: true, Error: "plugin died: signal: killed",
				Attempt: att("crashed", "plugin died: signal: killed", ""),
			},
		},
		{
			"a crash alone counts against it",
			store.Delivery{Crashes: 1, Suspect: true},
			action,
			ended{err: crashError{}, alone: true},
			store.Outcome{
				State: store.Ready, Crashes: 2, Suspect: true, Delay: time.Second, Error: "plugin died: signal: killed",
				Attempt: att("crashed", "plugin died: signal: killed", ""),
			},
		},
		{
			"the third crash alone is its death",
			store.Delivery{Crashes: 2, Suspect: true},
			action,
			ended{err: crashError{}, alone: true},
			store.Outcome{
				State: store.Dead, Reason: store.ReasonCrashes, Crashes: 3, Suspect: true,
				Error:   "crashed its plugin 3 times: plugin died: signal: killed",
				Attempt: att("crashed", "plugin died: signal: killed", ""),
			},
		},
		{
			"a crash is held where the action says so",
			store.Delivery{},
			hold,
			ended{err: crashError{}},
			store.Outcome{
				State: store.Held, Reason: store.ReasonUncertain, Error: "plugin died: signal: killed",
				Attempt: att("crashed", "plugin died: signal: killed", ""),
			},
		},
		{
			"an attempt that a shutdown killed is held where the action says so",
			store.Delivery{},
			hold,
			ended{err: crashError{}, cause: errStopping},
			store.Outcome{
				State: store.Held, Reason: store.ReasonUncertain, Error: "plugin died: signal: killed",
				Attempt: att("crashed", "plugin died: signal: killed", ""),
			},
		},
		{
			"an attempt that gave no answer to a shutdown is held where the action says so",
			store.Delivery{},
			hold,
			ended{err: errors.New("no answer"), cause: errStopping},
			store.Outcome{
				State: store.Held, Reason: store.ReasonUncertain, Error: "no answer",
				Attempt: att("crashed", "no answer", ""),
			},
		},
		{
			"an attempt that a shutdown killed is released",
			store.Delivery{},
			action,
			ended{err: crashError{}, cause: errStopping},
			store.Outcome{
				State: store.Ready, Error: "plugin died: signal: killed",
				Attempt: att("released", "plugin died: signal: killed", ""),
			},
		},
		{
			"a plugin that cannot start costs nothing but time",
			store.Delivery{Attempts: 1},
			action,
			ended{err: absentError{}},
			store.Outcome{State: store.Ready, Attempts: 1, Delay: 3750 * time.Millisecond, Error: "no such file"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.d.ID = "d1"
			if tt.d.Budget.IsZero() {
				tt.d.Budget = start.Add(-time.Minute)
			}
			tt.e.started, tt.e.ended = start, end
			tt.want.ID, tt.want.Epoch = "d1", 7
			got := decide(&tt.d, &tt.action, &store.Lease{Delivery: tt.d, Epoch: 7, Number: 4}, tt.e, func() float64 { return 0.5 })
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
		})
	}
}

func TestJitterIsBoundedByMinAndMax(t *testing.T) {
	t.Parallel()
	p := RetryPolicy{Min: time.Second, Max: 15 * time.Minute}
	for n, top := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 9: 512 * time.Second, 10: 15 * time.Minute, 199: 15 * time.Minute} {
		if got := jitter(p, n, func() float64 { return 1 }); got != top {
			t.Errorf("after %d attempts: at most %v, want %v", n, got, top)
		}
		if got := jitter(p, n, func() float64 { return 0 }); got != 0 {
			t.Errorf("after %d attempts: at least %v, want 0", n, got)
		}
	}
}

// TestHerdAfterAnOutage: 100,000 deliveries that are due at the same instant while their
// target is down for an hour: when it is back, they come evenly.
func TestHerdAfterAnOutage(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(20261123, 1))
	a := &Action{Retry: RetryPolicy{Attempts: 200, Min: time.Second, Max: 15 * time.Minute}}
	const herd, down, looked = 100_000, time.Hour, 15 * time.Minute
	calls := make([]int, (down+looked)/time.Second)
	for range herd {
		d := store.Delivery{}
		for at := time.Duration(0); at < down+looked; {
			calls[at/time.Second]++
			out := decide(&d, a, &store.Lease{}, ended{err: errors.New("connection refused")}, rng.Float64)
			if out.State != store.Ready {
				t.Fatalf("%s after %d attempts", out.State, out.Attempts)
			}
			d.Attempts = out.Attempts
			at += out.Delay
		}
	}
	sum, peak := 0, 0
	for _, n := range calls[down/time.Second:] {
		sum += n
		peak = max(peak, n)
	}
	mean := float64(sum) / looked.Seconds()
	if calls[0] < herd || float64(peak) > 1.35*mean {
		t.Errorf("%d calls in the first second; after an hour %.0f in a second, %d at most", calls[0], mean, peak)
	}
}

func TestCutKeepsCharactersWhole(t *testing.T) {
	t.Parallel()
	if got, want := cut("aé€bcdefgh", 10), "aé [cut]"; got != want {
		t.Errorf("cut = %q, want %q", got, want)
	}
	if got := cut("short", 10); got != "short" {
		t.Errorf("cut = %q", got)
	}
}

// TestHerdIsSpread: retries that one instant would make due together are spread
// evenly over the whole of what jitter may take, also those whose target said
// when it will be back.
func TestHerdIsSpread(t *testing.T) {
	t.Parallel()
	const herd, buckets = 100_000, 50
	now := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	action := Action{Name: "bounce", Retry: RetryPolicy{Attempts: 200, MaxAge: 24 * time.Hour, Min: time.Second, Max: 15 * time.Minute}}
	tests := []struct {
		name     string
		attempts int
		after    time.Duration
		from, to time.Duration
	}{
		{"the fourth attempt", 3, 0, 0, 8 * time.Second},
		{"after a long outage", 30, 0, 0, 15 * time.Minute},
		{"the target says when", 0, time.Hour, time.Hour, time.Hour + 6*time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(1, 2)).Float64
			resp := &actionv1.RunResponse{Status: actionv1.Status_STATUS_FAILED, Error: "away"}
			if tt.after > 0 {
				resp.RetryAfter = durationpb.New(tt.after)
			}
			var due [buckets]int
			for range herd {
				out := decide(&store.Delivery{Attempts: tt.attempts, Budget: now}, &action, &store.Lease{}, ended{resp: resp, started: now, ended: now}, rnd)
				if out.State != store.Ready || out.Delay < tt.from || out.Delay >= tt.to {
					t.Fatalf("%v in %v, want ready in %v to %v", out.State, out.Delay, tt.from, tt.to)
				}
				due[int(buckets*(out.Delay-tt.from)/(tt.to-tt.from))]++
			}
			for i, n := range due {
				if want := herd / buckets; n < want*85/100 || n > want*115/100 {
					t.Errorf("part %d of %d has %d, want about %d: %v", i+1, buckets, n, want, due)
				}
			}
		})
	}
}
