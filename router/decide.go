package router

import (
	"errors"
	"fmt"
	"time"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
)

// The words for how an attempt ended, as in docs/operate.md.
const (
	outcomeDone      = "done"
	outcomeFailed    = "failed"
	outcomePermanent = "permanent"
	outcomeTimeout   = "timeout"
	outcomeCrashed   = "crashed"
	outcomeReleased  = "released"
	outcomeCancelled = "cancelled"
)

const (
	// maxCrashes is how many plugin crashes, each while it ran alone, make a
	// delivery dead.
	maxCrashes = 3
	// unavailablePause bounds the wait for a plugin that cannot be started.
	unavailablePause = 5 * time.Second
	// maxOutput is how much of an attempt's output is kept.
	maxOutput = 64 << 10
	maxError  = 4 << 10
)

// ended is how an attempt ended.
type ended struct {
	// resp is the plugin's word, or err says why there is none. Both nil: it was
	// never started, because of cause.
	resp *actionv1.RunResponse
	err  error
	// cause is why the attempt was asked to stop, nil if it was not.
	cause          error
	started, ended time.Time
	// alone: nothing else ran in the same plugin process.
	alone bool
}

// decide turns how an attempt ended into what becomes of the delivery. It is
// the whole retry policy, and pure but for the jitter.
//
// The plugin's own word wins over a cancellation that crossed it, unless it
// says it failed because it was told to stop. Shutdowns, lost leases, plugin
// restarts and crashes are not counted as attempts.
func decide(d *store.Delivery, a *Action, l *store.Lease, e ended, rnd func() float64) store.Outcome {
	out := store.Outcome{
		ID: d.ID, Epoch: l.Epoch, State: store.Ready,
		Attempts: d.Attempts, Crashes: d.Crashes, Suspect: d.Suspect, Error: d.Error,
	}
	att := &store.Attempt{Number: l.Number, Started: e.started, Ended: e.ended}
	if e.resp == nil && e.err == nil { // stopped before it began
		if errors.Is(e.cause, errCancelled) {
			out.State = store.Cancelled
		}
		return out
	}
	if e.resp != nil {
		att.Output = cut(e.resp.GetOutput(), maxOutput)
		att.Error = cut(e.resp.GetError(), maxError)
	} else {
		att.Error = cut(e.err.Error(), maxError)
	}
	out.Attempt, out.Error = att, att.Error

	switch status := e.resp.GetStatus(); {
	case e.resp != nil && status == actionv1.Status_STATUS_DONE:
		att.Outcome = outcomeDone
		out.State, out.Error, out.Suspect = store.Done, "", false
		out.Attempts++
	case e.resp != nil && status == actionv1.Status_STATUS_PERMANENT:
		att.Outcome = outcomePermanent
		out.State, out.Reason, out.Suspect = store.Dead, store.ReasonPermanent, false
		out.Attempts++
	case errors.Is(e.cause, errCancelled):
		att.Outcome = outcomeCancelled
		out.State = store.Cancelled
	case crashed(e.err):
		decideCrash(&out, att, a, e, rnd)
	case unavailable(e.err):
		out.Attempt = nil
		out.Delay = time.Duration((0.5 + rnd()/2) * float64(unavailablePause))
	case errors.Is(e.cause, errStopping), errors.Is(e.cause, errLeaseLost):
		att.Outcome = outcomeReleased
		if a.Hold && e.resp == nil { // it had to be ended; what it did is not known
			att.Outcome = outcomeCrashed
			out.State, out.Reason = store.Held, store.ReasonUncertain
		}
	case errors.Is(e.cause, errTimeout):
		att.Outcome = outcomeTimeout
		if e.resp == nil {
			if a.Hold { // its process was ended; what it did is not known
				out.State, out.Reason = store.Held, store.ReasonUncertain
				return out
			}
			out.Error = fmt.Sprintf("timed out after %s", a.Timeout)
			att.Error = out.Error
		}
		decideRetry(&out, d, a, e, rnd)
	default:
		att.Outcome = outcomeFailed
		if att.Error == "" {
			att.Error = "the plugin failed without saying why"
			out.Error = att.Error
		}
		decideRetry(&out, d, a, e, rnd)
	}
	return out
}

// decideCrash: the plugin died while the attempt was open, and everything it
// started is gone.
func decideCrash(out *store.Outcome, att *store.Attempt, a *Action, e ended, rnd func() float64) {
	att.Outcome = outcomeCrashed
	stopped := errors.Is(e.cause, errStopping)
	switch {
	case a.Hold:
		out.State, out.Reason = store.Held, store.ReasonUncertain
	case stopped:
		att.Outcome = outcomeReleased
	case e.alone:
		out.Suspect = true
		out.Crashes++
		out.Delay = jitter(a.Retry, out.Crashes-1, rnd)
		if out.Crashes >= maxCrashes {
			out.State, out.Reason, out.Delay = store.Dead, store.ReasonCrashes, 0
			out.Error = fmt.Sprintf("crashed its plugin %d times: %s", out.Crashes, att.Error)
		}
	default:
		// One of several; each runs alone next and only then it counts.
		out.Suspect = true
	}
}

// decideRetry counts the attempt and spends the budget.
func decideRetry(out *store.Outcome, d *store.Delivery, a *Action, e ended, rnd func() float64) {
	out.Suspect = false
	out.Attempts++
	n := out.Attempts - d.BudgetFrom
	if a.Retry.Attempts > 0 && n >= a.Retry.Attempts {
		out.State, out.Reason = store.Dead, store.ReasonAttempts
		return
	}
	out.Delay = jitter(a.Retry, n-1, rnd)
	if ra := e.resp.GetRetryAfter().AsDuration(); ra > 0 {
		// A target that names an instant names the same to everybody. But what it
		// permits does not become too old by waiting longer.
		out.Delay = ra + max(out.Delay, time.Duration(rnd()*float64(ra/10)))
		if a.Retry.MaxAge > 0 && e.ended.Add(out.Delay).Sub(d.Budget) >= a.Retry.MaxAge {
			out.Delay = ra
		}
	}
	if a.Retry.MaxAge > 0 && e.ended.Add(out.Delay).Sub(d.Budget) >= a.Retry.MaxAge {
		out.State, out.Reason, out.Delay = store.Dead, store.ReasonAge, 0
	}
}

// jitter is full jitter over an exponential back-off: uniform between 0 and
// min(max, min * 2^n).
// (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.)
func jitter(p RetryPolicy, n int, rnd func() float64) time.Duration {
	top := p.Max
	if n < 40 {
		if d := p.Min << n; d > 0 && d < p.Max {
			top = d
		}
	}
	return time.Duration(rnd() * float64(top))
}

func crashed(err error) bool {
	var c interface{ Crashed() bool }
	return errors.As(err, &c) && c.Crashed()
}

func late(err error) bool {
	var l interface{ Late() bool }
	return errors.As(err, &l) && l.Late()
}

func unavailable(err error) bool {
	var u interface{ Unavailable() bool }
	return errors.As(err, &u) && u.Unavailable()
}

// cut shortens s to at most n bytes and says so.
func cut(s string, n int) string {
	const mark = " [cut]"
	if len(s) <= n {
		return s
	}
	n -= len(mark)
	for n > 0 && s[n]&0xC0 == 0x80 { // not inside a character
		n--
	}
	return s[:n] + mark
}
