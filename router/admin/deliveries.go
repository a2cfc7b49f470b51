package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/store"
)

func (a *api) listDeliveries(w http.ResponseWriter, r *http.Request) {
	p := a.params(r, "state*", "rule", "action", "event", "since", "until", "limit", "before")
	q := store.DeliveryQuery{
		Rule: p.text("rule"), Action: p.text("action"), States: p.states(),
		Since: p.time("since"), Until: p.time("until"), Before: p.cursor("before"), Limit: p.limit(),
	}
	if p.err == nil {
		p.err = a.ofEvent(r.Context(), &q, p.text("event"))
	}
	if p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	deliveries, err := a.Store.Deliveries(r.Context(), q)
	if err != nil {
		a.fail(w, r, fmt.Errorf("list deliveries: %w", err))
		return
	}
	page := Deliveries{Deliveries: convert(deliveries, deliveryRecord)}
	if n := len(deliveries); n == q.Limit {
		page.Next = deliveries[n-1].ID
	}
	a.write(w, r, http.StatusOK, page)
}

// ofEvent restricts q to an event: an acceptance's UID or, when no delivery is
// of such an acceptance, the id attribute.
func (a *api) ofEvent(ctx context.Context, q *store.DeliveryQuery, event string) error {
	q.EventID = event
	if !IsUID(event) {
		return nil
	}
	some, err := a.Store.Deliveries(ctx, store.DeliveryQuery{EventUID: event, Limit: 1})
	if err != nil {
		return fmt.Errorf("find deliveries of event: %w", err)
	}
	if len(some) > 0 {
		q.EventID, q.EventUID = "", event
	}
	return nil
}

func (a *api) showDelivery(w http.ResponseWriter, r *http.Request) {
	if p := a.params(r); p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	ctx, id := r.Context(), r.PathValue("id")
	deliveries, err := a.Store.Deliveries(ctx, store.DeliveryQuery{ID: id, Limit: 1})
	if err == nil && len(deliveries) == 0 {
		err = problemf(http.StatusNotFound, "not_found", "there is no such delivery")
	}
	if err != nil {
		a.fail(w, r, fmt.Errorf("find delivery: %w", err))
		return
	}
	history, err := a.Store.History(ctx, id)
	if err != nil {
		a.fail(w, r, fmt.Errorf("read history: %w", err))
		return
	}
	a.write(w, r, http.StatusOK, DeliveryDetail{
		Delivery: deliveryRecord(&deliveries[0]),
		Params:   rawJSON(deliveries[0].Params),
		History:  convert(history, attemptRecord),
	})
}

// Order is the body of deliveries/retry and deliveries/cancel: either IDs or
// Filter.
type Order struct {
	IDs    []string `json:"ids,omitempty"`
	Filter *Filter  `json:"filter,omitempty"`
	// DryRun changes nothing; each result is ok for what would be ordered.
	DryRun bool `json:"dry_run,omitempty"`
	// Expect, when it is given, is how many deliveries must be selected; with
	// another number nothing is changed (409, count_changed).
	Expect *int `json:"expect,omitempty"`
}

// Filter selects deliveries. State is required; the rest is as in a list.
type Filter struct {
	State  []string `json:"state"`
	Rule   string   `json:"rule,omitempty"`
	Action string   `json:"action,omitempty"`
	Event  string   `json:"event,omitempty"`
	Since  string   `json:"since,omitempty"`
	Until  string   `json:"until,omitempty"`
}

// Results tell what became of an order, in the order of ids or, for a filter,
// newest first.
type Results struct {
	DryRun bool `json:"dry_run"`
	// Selected is how many deliveries the order was for.
	Selected int              `json:"selected"`
	Results  []router.Ordered `json:"results"`
}

func (a *api) retry(w http.ResponseWriter, r *http.Request) {
	a.order(w, r, a.Orders.Retry, store.Dead, store.Held, store.Cancelled)
}

func (a *api) cancel(w http.ResponseWriter, r *http.Request) {
	a.order(w, r, a.Orders.Cancel, store.Ready, store.Leased, store.Dead, store.Held)
}

type orderFunc func(ctx context.Context, ids []string) ([]router.Ordered, error)

// order selects, then orders in steps of MaxPage. When a step fails, the
// results of the steps before it stand, and the rest is reported as error.
func (a *api) order(w http.ResponseWriter, r *http.Request, do orderFunc, allowed ...store.DeliveryState) {
	var o Order
	err := decode(r, &o)
	if err == nil {
		err = a.params(r).err
	}
	if err == nil {
		err = a.choose(r.Context(), &o, allowed)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	if o.Expect != nil && *o.Expect != len(o.IDs) {
		a.fail(w, r, problemf(http.StatusConflict, "count_changed",
			"%d deliveries were expected and %d are selected; nothing was changed", *o.Expect, len(o.IDs)))
		return
	}
	answer := Results{DryRun: o.DryRun, Selected: len(o.IDs), Results: make([]router.Ordered, 0, len(o.IDs))}
	for part := range slices.Chunk(o.IDs, MaxPage) {
		var done []router.Ordered
		if o.DryRun {
			done, err = a.foresee(r.Context(), part, o.Filter != nil, allowed)
		} else {
			done, err = do(r.Context(), part)
		}
		if err != nil {
			break
		}
		answer.Results = append(answer.Results, done...)
	}
	if err != nil && len(answer.Results) == 0 {
		a.fail(w, r, fmt.Errorf("order: %w", err))
		return
	}
	if err != nil {
		reason := a.problem(r, err).Detail
		for _, id := range o.IDs[len(answer.Results):] {
			answer.Results = append(answer.Results, router.Ordered{ID: id, Result: "error", Reason: reason})
		}
	}
	a.write(w, r, http.StatusOK, answer)
}

// choose checks the order and puts the ids that a filter selects in o.IDs.
func (a *api) choose(ctx context.Context, o *Order, allowed []store.DeliveryState) error {
	switch {
	case (len(o.IDs) > 0) == (o.Filter != nil):
		return problemf(http.StatusBadRequest, "bad_body", "give either ids or filter")
	case slices.Contains(o.IDs, ""):
		return problemf(http.StatusBadRequest, "bad_body", "an id is empty")
	case o.Filter == nil:
		return nil
	}
	q, err := a.filter(ctx, o.Filter, allowed)
	if err != nil {
		return err
	}
	for {
		page, err := a.Store.Deliveries(ctx, q)
		if err != nil {
			return fmt.Errorf("select deliveries: %w", err)
		}
		for i := range page {
			o.IDs = append(o.IDs, page[i].ID)
		}
		if len(o.IDs) > MaxOrder {
			return problemf(http.StatusBadRequest, "too_many",
				"the filter selects more than %d deliveries (restrict it with rule, action, since or until)", MaxOrder)
		}
		if len(page) < q.Limit {
			return nil
		}
		q.Before = page[len(page)-1].ID
	}
}

func (a *api) filter(ctx context.Context, f *Filter, allowed []store.DeliveryState) (store.DeliveryQuery, error) {
	q := store.DeliveryQuery{Rule: f.Rule, Action: f.Action, Limit: MaxPage}
	var err error
	if q.States, err = parseStates(f.State); err != nil {
		return q, problemf(http.StatusBadRequest, "bad_body", "filter.state: %v", err)
	}
	if len(q.States) == 0 {
		return q, problemf(http.StatusBadRequest, "bad_body", "filter.state is missing")
	}
	for _, s := range q.States {
		if !slices.Contains(allowed, s) {
			return q, problemf(http.StatusBadRequest, "bad_body", "filter.state: this order is not for %s deliveries", s)
		}
	}
	now := a.Now()
	for _, t := range []struct {
		name, text string
		to         *time.Time
	}{{"since", f.Since, &q.Since}, {"until", f.Until, &q.Until}} {
		if t.text == "" {
			continue
		}
		if *t.to, err = ParseTime(t.text, now); err != nil {
			return q, problemf(http.StatusBadRequest, "bad_body", "filter.%s: %v", t.name, err)
		}
	}
	return q, a.ofEvent(ctx, &q, f.Event)
}

// foresee answers for a dry run. What a filter selected was looked at already.
func (a *api) foresee(
	ctx context.Context, ids []string, selected bool, allowed []store.DeliveryState,
) ([]router.Ordered, error) {
	out := make([]router.Ordered, len(ids))
	for i, id := range ids {
		out[i] = router.Ordered{ID: id, Result: "ok"}
		if selected {
			continue
		}
		found, err := a.Store.Deliveries(ctx, store.DeliveryQuery{ID: id, Limit: 1})
		switch {
		case err != nil:
			return nil, fmt.Errorf("find delivery: %w", err)
		case len(found) == 0:
			out[i].Result = "not_found"
		case !slices.Contains(allowed, found[0].State):
			out[i].Result, out[i].Reason = "refused", "it is "+found[0].State.String()
		}
	}
	return out, nil
}
