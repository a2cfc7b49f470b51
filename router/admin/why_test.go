package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/router/admin/admintest"
	"github.com/pointsman/pointsman/router/store"
)

// An event that was not sent is explained, when it is one.
func TestWhyOfAnEventNotSent(t *testing.T) {
	t.Parallel()
	s := serve(t, sample(), nil)
	event := `{"specversion":"1.0","id":"x","source":"sw1","type":"t","data":{"n":1}}`
	why := decodeAs[admin.Why](t, s, request{
		method: "POST", path: "/api/v1/why", body: event,
		header: map[string]string{"Content-Type": "application/cloudevents+json; charset=utf-8"},
	})
	if why.UID != "" || len(why.Verdicts) != 2 {
		t.Errorf("%+v", why)
	}
	for name, body := range map[string]string{
		"not JSON":     `{`,
		"no type":      `{"specversion":"1.0","id":"x","source":"sw1"}`,
		"repeated":     `{"specversion":"1.0","id":"x","id":"y","source":"sw1","type":"t"}`,
		"an array":     `[` + event + `]`,
		"too deep":     `{"specversion":"1.0","id":"x","source":"sw1","type":"t","data":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`,
		"wrong type":   `{"specversion":"1.0","id":1,"source":"sw1","type":"t"}`,
		"invalid text": "{\"specversion\":\"1.0\",\"id\":\"\xff\",\"source\":\"sw1\",\"type\":\"t\"}",
	} {
		resp, answer := call(t, s, request{method: "POST", path: "/api/v1/why", body: body})
		var p admin.Problem
		if err := json.Unmarshal(answer, &p); err != nil || resp.StatusCode != http.StatusBadRequest || p.Code == "" {
			t.Errorf("%s: %d %s", name, resp.StatusCode, answer)
		}
	}
}

// What became of a delivery is told in one sentence, with the command that is
// next.
func TestWhyTellsOfDeliveries(t *testing.T) {
	t.Parallel()
	// The clock stands at Time(20), which is 15:07:00Z.
	for _, tt := range []struct {
		name          string
		state         store.DeliveryState
		change        func(*store.Delivery)
		summary, next string
	}{
		{"new", store.Ready, func(d *store.Delivery) { d.Due = admintest.Time(10) }, `ready: attempt 1 is due`, ``},
		{"retried", store.Ready, func(d *store.Delivery) {
			d.Due, d.Attempts, d.Starts, d.Error = admintest.Time(80), 2, 3, "exit code 1"
		}, `ready: attempt 4 at 15:08:00Z (in 1m), 2 of 200 used up; last error: exit code 1`, ``},
		{"tomorrow", store.Ready, func(d *store.Delivery) { d.Due = admintest.Time(36020) }, `ready: attempt 1 at 2025-06-16T01:07:00Z (in 10h)`, ``},
		{"no slot", store.Ready, func(d *store.Delivery) { d.Action = "busy" }, `ready: attempt 1 waits for a free slot of busy (2 of 2 run)`, ``},
		{"broken", store.Ready, func(d *store.Delivery) { d.Action = "broken" }, `ready, but it waits: action broken is broken: it exits at once`, `pointsman actions list`},
		{"removed", store.Ready, func(d *store.Delivery) { d.Action = "gone" }, `ready, but it waits: action gone was removed from the configuration`, `pointsman deliveries cancel ID`},
		{"running", store.Leased, func(d *store.Delivery) { d.Starts = 3 }, `leased: attempt 3 runs since 15:06:50Z (10s, timeout 30s)`, ``},
		{"done", store.Done, func(d *store.Delivery) { d.Attempts = 1 }, `done at 15:06:50Z after 1 attempt`, ``},
		{"dry run", store.Done, func(d *store.Delivery) { d.DryRun = true }, `done: a dry run, nothing was run`, ``},
		{"expanded", store.Done, func(d *store.Delivery) { d.Reason, d.Count = store.ReasonFanOut, 5000 }, `done: its 5000 deliveries were written by hand at 15:06:50Z`, ``},
		{
			"used up", store.Dead, func(d *store.Delivery) { d.Reason, d.Attempts, d.Error = store.ReasonAttempts, 200, "exit code 1" },
			`dead after 200 attempts, retry.attempts is used up; last error: exit code 1`, `pointsman deliveries retry ID`,
		},
		{"too old", store.Dead, func(d *store.Delivery) { d.Reason, d.Error = store.ReasonAge, "no such action" }, `dead, retry.max_age has passed; last error: no such action`, `pointsman deliveries retry ID`},
		{
			"permanent", store.Dead, func(d *store.Delivery) { d.Reason, d.Attempts, d.Error = store.ReasonPermanent, 1, "no such port" },
			`dead after 1 attempt, the plugin said that trying again cannot help; last error: no such port`, `pointsman deliveries retry ID`,
		},
		{"crashes", store.Dead, func(d *store.Delivery) { d.Reason = store.ReasonCrashes }, `dead, it crashed its plugin while it ran alone`, `pointsman deliveries retry ID`},
		{"key", store.Dead, func(d *store.Delivery) { d.Reason, d.Error = store.ReasonKey, "key: it is nil" }, `dead, never run: the rule's key failed: key: it is nil`, `pointsman deliveries retry ID`},
		{"with", store.Dead, func(d *store.Delivery) { d.Reason, d.Error = store.ReasonEvaluation, "with: it is nil" }, `dead, never run: the step's if or with failed: with: it is nil`, `pointsman deliveries retry ID`},
		{
			"params", store.Dead, func(d *store.Delivery) { d.Reason, d.Error = store.ReasonParams, strings.Repeat("ö", 400) },
			`dead, never run: the plugin does not take these parameters: ` + strings.Repeat("ö", 150) + `...`, `pointsman deliveries retry ID`,
		},
		{
			"fan-out", store.Held, func(d *store.Delivery) { d.Reason, d.Count, d.Rule = store.ReasonFanOut, 5000, "" },
			`held: fan_out, 5000 deliveries, none of them runs until you say so: retry writes them all, cancel drops them`, `pointsman deliveries retry ID`,
		},
		{
			"half expanded", store.Held, func(d *store.Delivery) { d.Reason, d.Count, d.Expanded, d.Rule = store.ReasonFanOut, 5000, 2000, "" },
			`held: fan_out, 5000 deliveries of which 2000 are written, none of them runs until you say so: retry writes them all, cancel drops them`, `pointsman deliveries retry ID`,
		},
		{
			"uncertain", store.Held, func(d *store.Delivery) { d.Reason, d.Starts, d.Error = store.ReasonUncertain, 2, "plugin died" },
			`held: uncertain, nobody knows what attempt 2 did: look whether it took effect, then retry or cancel; last error: plugin died`, `pointsman deliveries retry ID`,
		},
		{
			"behind another", store.Ready, func(d *store.Delivery) { d.Waits, d.Key = "D1", "sw1" },
			`ready: attempt 1 waits for delivery D1 of the same rule and key "sw1", which is not finished`, ``,
		},
		{
			"behind another without a key", store.Ready, func(d *store.Delivery) { d.Waits, d.Key = "D1", "" },
			`ready: attempt 1 waits for delivery D1 of the same rule, which is not finished`, ``,
		},
		{
			"skipped", store.Cancelled, func(d *store.Delivery) { d.Reason, d.Error = store.ReasonOverlap, store.Overlapping("D1") },
			`cancelled: overlap, nothing was run: delivery D1 of the same rule, step and key was not finished`, `pointsman deliveries retry ID`,
		},
		{"cancelled", store.Cancelled, func(d *store.Delivery) { d.Attempts = 2 }, `cancelled by hand at 15:06:50Z after 2 attempts`, ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ev := admintest.Event(1, "events", "sw1", "e1")
			d := admintest.Delivery(10, ev, "bounce", "port", tt.state)
			tt.change(&d)
			f := &admintest.Fake{
				StatusInfo: router.Status{Revision: "r1"},
				ActionList: []router.ActionStatus{
					{Name: "port", State: "running", Concurrency: 4, Timeout: "30s", Retry: router.RetryStatus{Attempts: 200}},
					{Name: "busy", State: "running", Concurrency: 2, Running: 2},
					{Name: "broken", State: "broken", LastError: "it exits at once"},
				},
				Verdicts: []router.RuleVerdict{
					{Rule: "bounce", Verdict: router.VerdictHeld}, {Rule: "other", Verdict: router.VerdictNotMatched},
				},
				EventList: []store.Event{ev}, DeliveryList: []store.Delivery{d},
				Attempts: map[string][]store.Attempt{d.ID: {{Number: 1, Output: "first\nsecond\n\n"}, {Number: 2}}},
			}
			why := decodeAs[admin.Why](t, serve(t, f, nil), request{path: "/api/v1/events/e1/why"})
			if len(why.Verdicts) != 2 || len(why.Verdicts[0].Deliveries) != 1 || why.Verdicts[1].Deliveries == nil || len(why.Verdicts[1].Deliveries) != 0 {
				t.Fatalf("verdicts %+v", why.Verdicts)
			}
			got := why.Verdicts[0].Deliveries[0]
			if diff := cmp.Diff([]string{tt.summary, strings.ReplaceAll(tt.next, "ID", d.ID)}, []string{got.Summary, got.Next}); diff != "" {
				t.Fatal(diff)
			}
			if want := map[bool]string{true: "second"}[d.Starts > 0]; got.Output != want {
				t.Fatalf("output %q, want %q", got.Output, want)
			}
		})
	}
}

// The event is told with its verdicts: whether its rules are still in force, and
// how many others had its id.
func TestWhyTellsOfTheEvent(t *testing.T) {
	t.Parallel()
	f := &admintest.Fake{
		StatusInfo: router.Status{Revision: "r2"},
		Verdicts:   []router.RuleVerdict{{Rule: "came-later", Verdict: "not_matched", Reason: "no"}},
		EventList: []store.Event{
			admintest.Event(1, "netbox", "sw1", "e1"), admintest.Event(2, "events", "sw2", "e1"), admintest.Event(3, "events", "sw1", "e1"),
		},
	}
	s := serve(t, f, nil)
	why := decodeAs[admin.Why](t, s, request{path: "/api/v1/events/e1/why?source=events"})
	got := fmt.Sprintf("%t %t %s %s %t %d", why.UID == admintest.UID(3), why.Event.Received.Equal(admintest.Time(3)), why.Event.Revision, why.Revision, why.InForce, why.Others)
	if want := "true true r1 r2 false 1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	f.Verdicts = nil
	resp, answer := call(t, s, request{path: "/api/v1/events/e1/why?rule=nope"})
	if resp.StatusCode != http.StatusNotFound || !strings.Contains(string(answer), `"there was no such rule"`) {
		t.Errorf("%d %s", resp.StatusCode, answer)
	}
}

// later is a router whose rules are all newer than its events.
type later struct{ admintest.Fake }

func (l *later) Why(context.Context, store.Event, ...string) ([]router.RuleVerdict, error) {
	return nil, nil
}

// A rule that came after the event is told from one that is nowhere.
func TestWhyOfALaterRule(t *testing.T) {
	t.Parallel()
	f := &later{Fake: admintest.Fake{
		StatusInfo: router.Status{Revision: "r2"}, EventList: []store.Event{admintest.Event(1, "events", "sw1", "e1")},
		Verdicts: []router.RuleVerdict{{Rule: "late", Verdict: "matched", Reason: "when is true"}},
	}}
	s := serve(t, &f.Fake, func(c *admin.Config) { c.Orders, c.Now = f, time.Now })
	resp, answer := call(t, s, request{path: "/api/v1/events/e1/why?rule=late"})
	var p admin.Problem
	want := "there was no such rule when the event was accepted (revision r1); the one in force now (revision r2) would say matched: when is true"
	if err := json.Unmarshal(answer, &p); err != nil || resp.StatusCode != http.StatusNotFound || p.Detail != want {
		t.Errorf("%d %s", resp.StatusCode, answer)
	}
}
