// Package admintest has a router in memory, for tests of the admin listener and
// of what asks it. Nothing but tests imports it.
package admintest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

var (
	_ admin.Router    = (*Fake)(nil)
	_ admin.Orders    = (*Fake)(nil)
	_ admin.Reader    = (*Fake)(nil)
	_ admin.Schedules = (*Fake)(nil)
)

// Fake is a router with its store. Its fields are set before it is served and
// changed after by its methods only, which are safe for concurrent use.
type Fake struct {
	Readiness    router.Readiness
	StatusInfo   router.Status
	ActionList   []router.ActionStatus
	PluginList   []router.PluginStatus
	SourceList   []router.SourceStatus
	ScheduleList []router.ScheduleStatus
	Verdicts     []router.RuleVerdict
	EventList    []store.Event
	DeliveryList []store.Delivery
	Attempts     map[string][]store.Attempt
	// Err is what every method that can fail answers.
	Err error
	// FailAfter makes orders fail after this many calls; 0: never.
	FailAfter int
	// RuleSet is the one revision there is.
	RuleSet *rules.Ruleset

	mu    sync.Mutex
	calls int
}

// RuleRevision is the revision of every event.
const RuleRevision = "r1"

// UID returns the n-th uid or delivery id; they sort by n.
func UID(n int) string {
	ms := uint64(1_750_000_000_000) + uint64(n)*1000
	return fmt.Sprintf("%08x-%04x-7000-8000-%012x", ms>>16, ms&0xffff, n)
}

// Time returns the time of the n-th record.
func Time(n int) time.Time { return time.UnixMilli(1_750_000_000_000 + int64(n)*1000) }

// Event returns the n-th event, with the given identity.
func Event(n int, source, ceSource, id string) store.Event {
	text, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": id, "source": ceSource, "type": "net.link.down", "data": map[string]any{"n": n},
	})
	if err != nil {
		panic(err) // strings and a number always encode
	}
	return store.Event{
		UID: UID(n), Source: source, CESource: ceSource, ID: id, Type: "net.link.down",
		Received: Time(n), JSON: text, Revision: RuleRevision,
	}
}

// Delivery returns the n-th delivery, of an event.
func Delivery(n int, ev store.Event, rule, action string, state store.DeliveryState) store.Delivery {
	return store.Delivery{
		ID: UID(n), EventUID: ev.UID, EventID: ev.ID, Source: ev.Source, CESource: ev.CESource,
		Rule: rule, Action: action, State: state, Params: []byte(`{"args":["eth1"]}`),
		Created: Time(n), Updated: Time(n), Due: Time(n),
	}
}

// Ready implements admin.Router.
func (f *Fake) Ready() router.Readiness { return f.Readiness }

// Status implements admin.Router.
func (f *Fake) Status() router.Status { return f.StatusInfo }

// Actions implements admin.Router.
func (f *Fake) Actions() []router.ActionStatus { return f.ActionList }

// Plugins implements admin.Router.
func (f *Fake) Plugins() []router.PluginStatus { return f.PluginList }

// Sources implements admin.Router.
func (f *Fake) Sources() []router.SourceStatus { return f.SourceList }

// Schedules implements admin.Schedules.
func (f *Fake) Schedules(context.Context) ([]router.ScheduleStatus, error) {
	return f.ScheduleList, f.Err
}

// RunSchedule implements admin.Schedules.
func (f *Fake) RunSchedule(_ context.Context, name string) (router.ScheduleRun, error) {
	if !slices.ContainsFunc(f.ScheduleList, func(s router.ScheduleStatus) bool { return s.Name == name }) {
		return router.ScheduleRun{}, store.ErrNotFound
	}
	return router.ScheduleRun{ID: name + "/manual/2026-01-01T00:00:00Z", Source: name}, f.Err
}

// Why implements admin.Orders.
func (f *Fake) Why(context.Context, store.Event, ...string) ([]router.RuleVerdict, error) {
	return f.Verdicts, f.Err
}

// Explain implements admin.Orders.
func (f *Fake) Explain(context.Context, *rules.Event, ...string) ([]router.RuleVerdict, error) {
	return f.Verdicts, f.Err
}

// Revision implements admin.Orders: there is RuleSet under the id of RuleRevision.
func (f *Fake) Revision(_ context.Context, id string) (*rules.Ruleset, time.Time, error) {
	if f.RuleSet == nil || id != RuleRevision {
		return nil, time.Time{}, store.ErrNotFound
	}
	return f.RuleSet, Time(0), nil
}

// Retry implements admin.Orders.
func (f *Fake) Retry(_ context.Context, ids []string) ([]router.Ordered, error) {
	return f.order(ids, store.Ready, store.Dead, store.Held, store.Cancelled)
}

// Cancel implements admin.Orders.
func (f *Fake) Cancel(_ context.Context, ids []string) ([]router.Ordered, error) {
	return f.order(ids, store.Cancelled, store.Ready, store.Leased, store.Dead, store.Held)
}

// Pause implements admin.Pauser.
func (f *Fake) Pause(_ context.Context, action, reason string) (router.Pause, error) {
	since := Time(0)
	return router.Pause{Since: since, Reason: reason}, f.pause(action, "paused", &since, reason)
}

// Resume implements admin.Pauser.
func (f *Fake) Resume(_ context.Context, action string) error {
	return f.pause(action, "idle", nil, "")
}

func (f *Fake) pause(action, state string, since *time.Time, reason string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.ActionList, func(a router.ActionStatus) bool { return a.Name == action })
	if i < 0 {
		return store.ErrNotFound
	}
	f.ActionList[i].State, f.ActionList[i].PausedSince, f.ActionList[i].PauseReason = state, since, reason
	return nil
}

func (f *Fake) order(ids []string, to store.DeliveryState, from ...store.DeliveryState) ([]router.Ordered, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls++; f.FailAfter > 0 && f.calls > f.FailAfter {
		return nil, store.ErrUnavailable
	}
	out := make([]router.Ordered, len(ids))
	for i, id := range ids {
		out[i] = router.Ordered{ID: id, Result: "ok"}
		at := slices.IndexFunc(f.DeliveryList, func(d store.Delivery) bool { return d.ID == id })
		switch {
		case at < 0:
			out[i].Result = "not_found"
		case !slices.Contains(from, f.DeliveryList[at].State):
			out[i].Result, out[i].Reason = "refused", "it is "+f.DeliveryList[at].State.String()
		default:
			f.DeliveryList[at].State = to
		}
	}
	return out, f.Err
}

// Accept adds an event.
func (f *Fake) Accept(e store.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.EventList = append(f.EventList, e)
}

// Events implements admin.Reader.
func (f *Fake) Events(_ context.Context, q store.EventQuery) ([]store.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []store.Event
	for _, e := range f.EventList {
		if is(q.UID, e.UID) && is(q.ID, e.ID) && is(q.Source, e.Source) && is(q.CESource, e.CESource) &&
			within(e.Received, q.Since, q.Until) && (q.Before == "" || e.UID < q.Before) && e.UID > q.After {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b store.Event) int {
		if q.After != "" {
			return cmp.Compare(a.UID, b.UID)
		}
		return cmp.Compare(b.UID, a.UID)
	})
	return limited(out, q.Limit), f.Err
}

// Deliveries implements admin.Reader.
func (f *Fake) Deliveries(_ context.Context, q store.DeliveryQuery) ([]store.Delivery, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []store.Delivery
	for _, d := range f.DeliveryList {
		if is(q.ID, d.ID) && is(q.EventUID, d.EventUID) && is(q.EventID, d.EventID) && is(q.Rule, d.Rule) &&
			is(q.Action, d.Action) && (len(q.States) == 0 || slices.Contains(q.States, d.State)) &&
			within(d.Created, q.Since, q.Until) && (q.Before == "" || d.ID < q.Before) {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b store.Delivery) int { return cmp.Compare(b.ID, a.ID) })
	return limited(out, q.Limit), f.Err
}

func is(want, got string) bool { return want == "" || want == got }

func within(t, since, until time.Time) bool {
	return !t.Before(since) && (until.IsZero() || t.Before(until))
}

func limited[T any](s []T, n int) []T {
	if n == 0 {
		n = 1000
	}
	return s[:min(n, len(s))]
}

// History implements admin.Reader.
func (f *Fake) History(_ context.Context, id string) ([]store.Attempt, error) {
	return f.Attempts[id], f.Err
}

// Counts implements admin.Reader.
func (f *Fake) Counts(context.Context) ([]store.Count, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []store.Count
	for _, d := range f.DeliveryList {
		at := slices.IndexFunc(out, func(c store.Count) bool { return c.Action == d.Action && c.State == d.State })
		if at < 0 {
			out, at = append(out, store.Count{Action: d.Action, State: d.State}), len(out)
		}
		out[at].N++
	}
	return out, f.Err
}
