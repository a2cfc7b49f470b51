package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// MaxOthers is how many other events of the same id why counts.
const MaxOthers = 10

// maxOutputs is of how many deliveries the output is looked up.
const maxOutputs = 20

// Why is the answer to why: each rule's verdict on one event, and what became of
// it.
type Why struct {
	// UID is empty for an event that was not sent.
	UID string `json:"uid"`
	// Event is the recorded one; null for an event that was not sent.
	Event *Event `json:"event"`
	// InForce: the rules that decided are the ones in force now, Revision.
	InForce  bool   `json:"in_force"`
	Revision string `json:"revision"`
	// Others is how many other events with the same id were accepted, at most
	// MaxOthers.
	Others   int       `json:"others"`
	Verdicts []Verdict `json:"verdicts"`
	// DeliveriesMore: the event has more than MaxPage deliveries; the oldest are
	// missing here.
	DeliveriesMore bool `json:"deliveries_more"`
}

// Verdict is one rule's verdict and its deliveries, in the order of steps.
type Verdict struct {
	router.RuleVerdict
	// Deliveries of a rule that is held for its event's fan-out is the one record
	// that all these rules share.
	Deliveries []WhyDelivery `json:"deliveries"`
}

// WhyDelivery is a delivery and its account for people.
type WhyDelivery struct {
	Delivery
	// Summary says how it stands, and Next what to do about it: a command, or
	// nothing.
	Summary string `json:"summary"`
	Next    string `json:"next"`
	// Output is the last line that its attempts put out, cut at maxTold; of the
	// first maxOutputs deliveries that were started.
	Output string `json:"output"`
}

func (a *api) whyEvent(w http.ResponseWriter, r *http.Request) {
	p := a.params(r, "source", "ce_source", "rule")
	if p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	ctx := r.Context()
	events, err := a.find(ctx, r.PathValue("id"), p.text("source"), p.text("ce_source"), 1+MaxOthers)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	ev := &events[0]
	verdicts, err := a.Orders.Why(ctx, *ev, only(p.text("rule"))...)
	if err == nil {
		verdicts, err = a.ofRule(ctx, ev, p.text("rule"), verdicts)
	}
	if err != nil {
		a.fail(w, r, wrap("explain event", err))
		return
	}
	record := eventRecord(ev)
	why := Why{
		UID: ev.UID, Event: &record, Revision: a.Router.Status().Revision, Others: len(events) - 1,
		Verdicts: convert(verdicts, verdictRecord),
	}
	why.InForce = why.Revision == ev.Revision
	if err := a.deliveriesOf(ctx, &why); err != nil {
		a.fail(w, r, err)
		return
	}
	a.write(w, r, http.StatusOK, why)
}

func (a *api) whyBody(w http.ResponseWriter, r *http.Request) {
	p := a.params(r, "rule")
	if p.err == nil {
		p.err = wantJSON(r, "application/cloudevents+json", "application/json")
	}
	if p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.fail(w, r, fmt.Errorf("read body: %w", err))
		return
	}
	ev, err := rules.ParseEvent(body, rules.Limits{Depth: a.Depth})
	if err != nil {
		a.fail(w, r, fmt.Errorf("parse event: %w", err))
		return
	}
	verdicts, err := a.Orders.Explain(r.Context(), ev, only(p.text("rule"))...)
	if err == nil {
		verdicts, err = a.ofRule(r.Context(), nil, p.text("rule"), verdicts)
	}
	if err != nil {
		a.fail(w, r, wrap("explain event", err))
		return
	}
	a.write(w, r, http.StatusOK, Why{
		InForce: true, Revision: a.Router.Status().Revision,
		Verdicts: convert(verdicts, verdictRecord),
	})
}

// only is the rule that was asked for, or no name for all.
func only(rule string) []string {
	if rule == "" {
		return nil
	}
	return []string{rule}
}

func verdictRecord(v *router.RuleVerdict) Verdict {
	r := Verdict{*v, []WhyDelivery{}}
	r.Conditions, r.Calls = orEmpty(r.Conditions), orEmpty(r.Calls)
	return r
}

// ofRule keeps the verdict of one rule when it is named. A rule that came after
// the recorded event ev is told from one that is nowhere.
func (a *api) ofRule(
	ctx context.Context, ev *store.Event, rule string, verdicts []router.RuleVerdict,
) ([]router.RuleVerdict, error) {
	if rule == "" {
		return verdicts, nil
	}
	isIt := func(v router.RuleVerdict) bool { return v.Rule == rule }
	if i := slices.IndexFunc(verdicts, isIt); i >= 0 {
		return verdicts[i : i+1], nil
	}
	none := problemf(http.StatusNotFound, "not_found", "there was no such rule")
	if ev == nil {
		return nil, none
	}
	parsed, err := rules.ParseStored(ev.JSON)
	if err != nil {
		return nil, none // the event cannot be explained by today's rules either
	}
	today, err := a.Orders.Explain(ctx, parsed, rule)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(today, isIt); i >= 0 {
		return nil, problemf(http.StatusNotFound, "not_found",
			"there was no such rule when the event was accepted (revision %s); the one in force now (revision %s) would say %s: %s",
			ev.Revision, a.Router.Status().Revision, today[i].Verdict, today[i].Reason)
	}
	return nil, none
}

// deliveriesOf adds to each verdict what became of it.
func (a *api) deliveriesOf(ctx context.Context, why *Why) error {
	ds, err := a.Store.Deliveries(ctx, store.DeliveryQuery{EventUID: why.UID, Limit: MaxPage})
	if err != nil {
		return fmt.Errorf("list deliveries of event: %w", err)
	}
	if len(ds) == MaxPage {
		more, err := a.Store.Deliveries(ctx, store.DeliveryQuery{EventUID: why.UID, Before: ds[MaxPage-1].ID, Limit: 1})
		if err != nil {
			return fmt.Errorf("list deliveries of event: %w", err)
		}
		why.DeliveriesMore = len(more) > 0
	}
	t := a.teller()
	byRule := make(map[string][]WhyDelivery)
	var held []WhyDelivery
	outputs := 0
	for i := range slices.Backward(ds) {
		d := &ds[i]
		told := WhyDelivery{Delivery: deliveryRecord(d)}
		told.Summary, told.Next = t.tell(d)
		if d.Starts > 0 && outputs < maxOutputs {
			outputs++
			history, err := a.Store.History(ctx, d.ID)
			if err != nil {
				return fmt.Errorf("read history: %w", err)
			}
			told.Output = lastLine(history)
		}
		if d.Reason == store.ReasonFanOut {
			held = append(held, told)
		} else {
			byRule[d.Rule] = append(byRule[d.Rule], told)
		}
	}
	for i := range why.Verdicts {
		v := &why.Verdicts[i]
		if v.Verdict == router.VerdictHeld {
			v.Deliveries = append(v.Deliveries, held...)
		}
		v.Deliveries = append(v.Deliveries, byRule[v.Rule]...)
		slices.SortStableFunc(v.Deliveries, func(x, y WhyDelivery) int { return x.Step - y.Step })
	}
	return nil
}

// lastLine is the last line that the last attempt with any output put out.
func lastLine(history []store.Attempt) string {
	for i := range slices.Backward(history) {
		lines := strings.Split(strings.TrimSpace(history[i].Output), "\n")
		if text := strings.TrimSpace(lines[len(lines)-1]); text != "" {
			return short(text)
		}
	}
	return ""
}
