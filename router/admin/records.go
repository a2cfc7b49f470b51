package admin

import (
	"encoding/json"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// Event is an event as the API shows it.
type Event struct {
	// UID names this acceptance; an id may have been accepted more than once.
	UID string `json:"uid"`
	// Event is the CloudEvent in its JSON format.
	Event json.RawMessage `json:"event"`
	// Source is the configured source's name.
	Source   string    `json:"source"`
	Received time.Time `json:"received"`
	// Duplicates counts later arrivals that were suppressed.
	Duplicates int `json:"duplicates"`
	// Revision is the rule set that was in force.
	Revision string `json:"revision"`
	// Verdicts are those recorded at accept, in a list that was asked for with
	// verdicts=true; nil and left out in any other list.
	Verdicts []store.Verdict `json:"verdicts,omitzero"`
}

// EventDetail is an event with what came of it.
type EventDetail struct {
	Event
	// Deliveries, newest first, at most MaxPage; DeliveriesMore says that there
	// are more.
	Deliveries     []Delivery `json:"deliveries"`
	DeliveriesMore bool       `json:"deliveries_more"`
}

// Delivery is a delivery as the API shows it.
type Delivery struct {
	ID string `json:"id"`
	// EventID is the id attribute of the event, EventUID its acceptance.
	EventID  string `json:"event_id"`
	EventUID string `json:"event_uid"`
	Source   string `json:"source"`
	CESource string `json:"ce_source"`
	Rule     string `json:"rule"`
	Step     int    `json:"step"`
	Action   string `json:"action"`
	State    string `json:"state"`
	Reason   string `json:"reason"`
	// Attempts are the counted ones.
	Attempts int `json:"attempts"`
	// Due is when a ready delivery may start; null in any other state.
	Due    *time.Time `json:"due"`
	Error  string     `json:"error"`
	Key    string     `json:"key"`
	DryRun bool       `json:"dry_run"`
	// Waits is the delivery that must finish first, of a ready one that ordered or
	// overlap: queue keeps waiting; else empty.
	Waits string `json:"waits"`
	// Count is how many deliveries a record with reason fan_out stands for.
	Count   int       `json:"count"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// DeliveryDetail is a delivery with its parameters and attempts.
type DeliveryDetail struct {
	Delivery
	Params json.RawMessage `json:"params"`
	// History has the attempts, oldest first.
	History []Attempt `json:"history"`
}

// Attempt is one start of a delivery and how it ended.
type Attempt struct {
	Number  int       `json:"number"`
	Started time.Time `json:"started"`
	// Ended is null while the attempt runs.
	Ended   *time.Time `json:"ended"`
	Outcome string     `json:"outcome"`
	Error   string     `json:"error"`
	Output  string     `json:"output"`
}

// Events is a page, as Deliveries and EventDetails are. Next, when it is not empty, is
// the value of before (or after, when after was given) for the next page.
type Events struct {
	Events []Event `json:"events"`
	Next   string  `json:"next"`
}

// EventDetails are all events of one id, newest first, at most MaxPage.
type EventDetails struct {
	Events []EventDetail `json:"events"`
}

// Deliveries is a page of deliveries; see Events.
type Deliveries struct {
	Deliveries []Delivery `json:"deliveries"`
	Next       string     `json:"next"`
}

func eventRecord(e *store.Event) Event {
	return Event{
		UID: e.UID, Event: rawJSON(e.JSON), Source: e.Source, Received: e.Received.UTC(),
		Duplicates: e.Duplicates, Revision: e.Revision,
	}
}

func eventWithVerdicts(e *store.Event) Event {
	r := eventRecord(e)
	r.Verdicts = verdictsOf(e)
	return r
}

func verdictsOf(e *store.Event) []store.Verdict {
	if e.Verdicts == nil {
		return []store.Verdict{}
	}
	return e.Verdicts
}

func deliveryRecord(d *store.Delivery) Delivery {
	r := Delivery{
		ID: d.ID, EventID: d.EventID, EventUID: d.EventUID, Source: d.Source, CESource: d.CESource,
		Rule: d.Rule, Step: d.Step, Action: d.Action, State: d.State.String(), Reason: d.Reason,
		Attempts: d.Attempts, Error: d.Error, Key: d.Key, DryRun: d.DryRun, Waits: d.Waits, Count: d.Count,
		Created: d.Created.UTC(), Updated: d.Updated.UTC(),
	}
	if d.State == store.Ready {
		r.Due = instant(d.Due)
	}
	return r
}

func attemptRecord(t *store.Attempt) Attempt {
	return Attempt{
		Number: t.Number, Started: t.Started.UTC(), Ended: instant(t.Ended),
		Outcome: t.Outcome, Error: t.Error, Output: t.Output,
	}
}

// instant is nil for the zero time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// rawJSON is null for what is not JSON, so that one damaged record does not
// take the whole answer with it.
func rawJSON(b []byte) json.RawMessage {
	if !json.Valid(b) {
		return json.RawMessage("null")
	}
	return b
}

func convert[S, D any](in []S, f func(*S) D) []D {
	out := make([]D, len(in))
	for i := range in {
		out[i] = f(&in[i])
	}
	return out
}
