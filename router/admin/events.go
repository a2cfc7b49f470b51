package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// NoSuchEvent is the detail of the problem that an id is not known.
const NoSuchEvent = "there is no such event"

func (a *api) listEvents(w http.ResponseWriter, r *http.Request) {
	p := a.params(r, "since", "until", "source", "ce_source", "id", "limit", "before", "after", "verdicts")
	q := store.EventQuery{
		ID: p.text("id"), Source: p.text("source"), CESource: p.text("ce_source"),
		Since: p.time("since"), Until: p.time("until"),
		Before: p.cursor("before"), After: p.cursor("after"), Limit: p.limit(),
	}
	record := eventRecord
	if p.bool("verdicts") {
		record = eventWithVerdicts
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
	page := Events{Events: convert(events, record)}
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
	d := EventDetail{Event: eventWithVerdicts(e), Deliveries: convert(deliveries, deliveryRecord)}
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

// Revision is a rule set as it was in force.
type Revision struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	// DryRun: the router ran with --dry-run, so every rule was one of a dry run.
	DryRun bool `json:"dry_run"`
	// Files are the rule files in the order they were loaded.
	Files []RuleFile `json:"files"`
}

// RuleFile is the text of a rule file.
type RuleFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

func (a *api) showRevision(w http.ResponseWriter, r *http.Request) {
	p := a.params(r)
	if p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	rs, created, err := a.Orders.Revision(r.Context(), r.PathValue("id"))
	if err != nil {
		a.fail(w, r, wrap("find revision", err))
		return
	}
	rev := Revision{ID: r.PathValue("id"), Created: created.UTC(), DryRun: rs.DryRun(), Files: []RuleFile{}}
	for _, f := range rs.Files() {
		rev.Files = append(rev.Files, RuleFile{Name: f.Name, Text: string(f.Data)})
	}
	a.write(w, r, http.StatusOK, rev)
}
