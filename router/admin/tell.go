package admin

import (
	"fmt"
	"strings"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// maxTold is how much of a delivery's error its account repeats, in bytes; the
// record has all of it.
const maxTold = 300

// teller puts into words how deliveries stand.
type teller struct {
	actions map[string]router.ActionStatus
	now     time.Time
}

func (a *api) teller() *teller {
	t := &teller{actions: make(map[string]router.ActionStatus), now: a.Now()}
	for _, s := range a.Router.Actions() {
		t.actions[s.Name] = s
	}
	return t
}

// tell says how a delivery stands, in one sentence that begins with its state,
// and the command that is next, if one is.
func (t *teller) tell(d *store.Delivery) (summary, next string) {
	switch d.State {
	case store.Ready:
		return t.ready(d)
	case store.Leased:
		return t.leased(d), ""
	case store.Done:
		return t.done(d), ""
	case store.Dead:
		return t.dead(d), "pointsman deliveries retry " + d.ID
	case store.Held:
		return t.held(d), "pointsman deliveries retry " + d.ID
	case store.Cancelled:
		if d.Reason == store.ReasonOverlap {
			return "cancelled: overlap, nothing was run" + colon(d.Error), "pointsman deliveries retry " + d.ID
		}
		return fmt.Sprintf("cancelled by hand at %s%s%s", t.clock(d.Updated), after(d.Attempts), last(d.Error)), ""
	}
	return d.State.String() + last(d.Error), ""
}

func (t *teller) ready(d *store.Delivery) (summary, next string) {
	act, configured := t.actions[d.Action]
	number := d.Starts + 1
	switch {
	case !configured:
		return fmt.Sprintf("ready, but it waits: action %s was removed from the configuration%s", d.Action, last(d.Error)),
			"pointsman deliveries cancel " + d.ID
	case act.State == "broken":
		return fmt.Sprintf("ready, but it waits: action %s is broken: %s", d.Action, short(act.LastError)), "pointsman actions list"
	case d.Waits != "":
		summary = fmt.Sprintf("ready: attempt %d waits for delivery %s%s", number, d.Waits, sameKey(d.Key))
	case d.Due.After(t.now):
		summary = fmt.Sprintf("ready: attempt %d at %s (in %s)", number, t.clock(d.Due), span(d.Due.Sub(t.now)))
	case act.Concurrency > 0 && act.Running >= act.Concurrency:
		summary = fmt.Sprintf("ready: attempt %d waits for a free slot of %s (%d of %d run)", number, d.Action, act.Running, act.Concurrency)
	default:
		summary = fmt.Sprintf("ready: attempt %d is due", number)
	}
	if used := d.Attempts - d.BudgetFrom; used > 0 && act.Retry.Attempts > 0 {
		summary += fmt.Sprintf(", %d of %d used up", used, act.Retry.Attempts)
	}
	return summary + last(d.Error), ""
}

// sameKey says what a delivery has in common with the one it waits for.
func sameKey(key string) string {
	if key == "" {
		return " of the same rule, which is not finished"
	}
	return fmt.Sprintf(" of the same rule and key %q, which is not finished", short(key))
}

func (t *teller) leased(d *store.Delivery) string {
	text := fmt.Sprintf("leased: attempt %d runs since %s (%s", max(d.Starts, 1), t.clock(d.Updated), span(t.now.Sub(d.Updated)))
	if act, ok := t.actions[d.Action]; ok && act.Timeout != "" {
		text += ", timeout " + act.Timeout
	}
	return text + ")" + last(d.Error)
}

func (t *teller) done(d *store.Delivery) string {
	switch {
	case d.Reason == store.ReasonFanOut:
		return fmt.Sprintf("done: its %d deliveries were written by hand at %s", d.Count, t.clock(d.Updated))
	case d.DryRun:
		return "done: a dry run, nothing was run"
	}
	return fmt.Sprintf("done at %s%s", t.clock(d.Updated), after(d.Attempts))
}

func (t *teller) dead(d *store.Delivery) string {
	text := "dead" + after(d.Attempts)
	switch d.Reason {
	case store.ReasonKey:
		return "dead, never run: the rule's key failed" + colon(d.Error)
	case store.ReasonEvaluation:
		return "dead, never run: the step's if or with failed" + colon(d.Error)
	case store.ReasonParams:
		return "dead, never run: the plugin does not take these parameters" + colon(d.Error)
	case store.ReasonAttempts:
		text += ", retry.attempts is used up"
	case store.ReasonAge:
		text += ", retry.max_age has passed"
	case store.ReasonPermanent:
		text += ", the plugin said that trying again cannot help"
	case store.ReasonCrashes:
		text += ", it crashed its plugin while it ran alone"
	default:
		text += strings.TrimSuffix(", "+d.Reason, ", ")
	}
	return text + last(d.Error)
}

func (t *teller) held(d *store.Delivery) string {
	switch d.Reason {
	case store.ReasonFanOut:
		text := fmt.Sprintf("held: fan_out, %d deliveries", d.Count)
		if d.Expanded > 0 {
			text += fmt.Sprintf(" of which %d are written", d.Expanded)
		}
		return text + ", none of them runs until you say so: retry writes them all, cancel drops them"
	case store.ReasonUncertain:
		return fmt.Sprintf("held: uncertain, nobody knows what attempt %d did: look whether it took effect, then retry or cancel%s",
			max(d.Starts, 1), last(d.Error))
	}
	return "held: " + d.Reason + last(d.Error)
}

// clock is a time of today without its date, by UTC.
func (t *teller) clock(at time.Time) string {
	at = at.UTC()
	if at.Format(time.DateOnly) == t.now.UTC().Format(time.DateOnly) {
		return at.Format("15:04:05Z")
	}
	return at.Format("2006-01-02T15:04:05Z")
}

// span is a duration to the second.
func span(d time.Duration) string { return rules.ShortDuration(max(d, 0).Round(time.Second)) }

func after(attempts int) string {
	switch attempts {
	case 0:
		return ""
	case 1:
		return " after 1 attempt"
	}
	return fmt.Sprintf(" after %d attempts", attempts)
}

func last(text string) string {
	if text == "" {
		return ""
	}
	return "; last error: " + short(text)
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + short(text)
}

// short cuts a text between two characters.
func short(text string) string {
	if len(text) <= maxTold {
		return text
	}
	n := maxTold
	for n > 0 && text[n]&0xC0 == 0x80 {
		n--
	}
	return text[:n] + "..."
}
