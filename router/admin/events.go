package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/pointsman/pointsman/router/store"
)

// NoSuchEvent is the detail of the problem that an id is not known.
const NoSuchEvent = "there is no such event"

func (a *api) listEvents(w http.ResponseWriter, r *http.Request) {
	p := a.params(r, "since", "until", "source", "ce_source", "id", "limit", "before", "after")
	q := store.EventQuery{
		ID: p.text("id"), Source: p.text("source"), CESource: p.text("ce_source"),
		Since: p.time("since"), Until: p.time("until"),
		Before: p.cursor("before"), After: p.cursor("after"), Limit: p.limit(),
	}
	if q.Before != "" && q.After != "" {
		p.fail("bad_parameter", "before and after exclude each other")
	}
	if p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	events, err := a.Store.Events(r.Context(), q)
	if err != nil {
		a.fail(w, r, fmt.Errorf("list events: %w", err))
		return
	}
	page := Events{Events: convert(events, eventRecord)}
	if n := len(events); n == q.Limit {
		page.Next = events[n-1].UID
	}
	a.write(w, r, http.StatusOK, page)
}

// find returns the events of an id, newest first. The id is an acceptance's UID
// or, when there is no such acceptance, the id attribute.
func (a *api) find(ctx context.Context, id, source, ceSource string, limit int) ([]store.Event, error) {
	q := store.EventQuery{Source: source, CESource: ceSource, Limit: limit}
	if IsUID(id) {
		q.UID = id
		events, err := a.Store.Events(ctx, q)
		if err != nil || len(events) > 0 {
			return events, wrap("find event", err)
		}
		q.UID = ""
	}
	q.ID = id
	events, err := a.Store.Events(ctx, q)
	if err == nil && len(events) == 0 {
		err = problemf(http.StatusNotFound, "not_found", NoSuchEvent)
	}
	return events, wrap("find event", err)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (a *api) showEvent(w http.ResponseWriter, r *http.Request) {
	p := a.params(r, "source", "ce_source", "all")
	all, limit := p.bool("all"), 1
	if all {
		limit = MaxPage
	}
	if p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	events, err := a.find(r.Context(), r.PathValue("id"), p.text("source"), p.text("ce_source"), limit)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	details := make([]EventDetail, len(events))
	for i := range events {
		if details[i], err = a.detail(r.Context(), &events[i]); err != nil {
			a.fail(w, r, err)
			return
		}
	}
	if all {
		a.write(w, r, http.StatusOK, EventDetails{Events: details})
		return
	}
	a.write(w, r, http.StatusOK, details[0])
}

func (a *api) detail(ctx context.Context, e *store.Event) (EventDetail, error) {
	deliveries, err := a.Store.Deliveries(ctx, store.DeliveryQuery{EventUID: e.UID, Limit: MaxPage})
	if err != nil {
		return EventDetail{}, fmt.Errorf("list deliveries of event: %w", err)
	}
	d := EventDetail{
		Event: eventRecord(e), Verdicts: e.Verdicts, Deliveries: convert(deliveries, deliveryRecord),
	}
	if d.Verdicts == nil {
		d.Verdicts = []store.Verdict{}
	}
	if len(deliveries) == MaxPage {
		more, err := a.Store.Deliveries(ctx, store.DeliveryQuery{
			EventUID: e.UID, Before: deliveries[MaxPage-1].ID, Limit: 1,
		})
		if err != nil {
			return EventDetail{}, fmt.Errorf("list deliveries of event: %w", err)
		}
		d.DeliveriesMore = len(more) > 0
	}
	return d, nil
}
