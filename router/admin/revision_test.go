package admin_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/router/admin/admintest"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// The rules of a revision are shown as they were written, and not found when
// they are gone.
func TestShowRevision(t *testing.T) {
	t.Parallel()
	const text = "rules:\n  - {name: r, when: event.type == \"<é>\", do: [{action: a}]}\n"
	rs, err := rules.LoadFiles([]rules.File{{Name: "rules/a.yaml", Data: []byte(text)}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{false, true} {
		f := sample()
		if f.RuleSet = rs; dry {
			f.RuleSet = rs.AsDryRun()
		}
		s := serve(t, f, nil)
		got := decodeAs[admin.Revision](t, s, request{path: "/api/v1/revisions/" + admintest.RuleRevision})
		want := admin.Revision{
			ID: admintest.RuleRevision, Created: admintest.Time(0).UTC(), DryRun: dry,
			Files: []admin.RuleFile{{Name: "rules/a.yaml", Text: text}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("revision (-want +got):\n%s", diff)
		}
		if resp, _ := call(t, s, request{path: "/api/v1/revisions/gone"}); resp.StatusCode != http.StatusNotFound {
			t.Errorf("status %d of a revision that is gone", resp.StatusCode)
		}
	}
}

// A list has verdicts when it is asked for them, none as an empty list, and the
// member is left out otherwise.
func TestListEventsWithVerdicts(t *testing.T) {
	t.Parallel()
	f := &admintest.Fake{}
	e := admintest.Event(1, "events", "sw1", "one")
	e.Verdicts = []store.Verdict{{Rule: "r", Verdict: "matched", Reason: "why"}}
	f.Accept(e)
	f.Accept(admintest.Event(2, "events", "sw1", "two"))
	s := serve(t, f, nil)
	for query, want := range map[string][]any{
		"?verdicts=true":  {[]any{}, []any{map[string]any{"rule": "r", "verdict": "matched", "reason": "why"}}},
		"?verdicts=false": {nil, nil},
		"":                {nil, nil},
	} {
		page := decodeAs[struct{ Events []map[string]any }](t, s, request{path: "/api/v1/events" + query})
		var got []any
		for _, e := range page.Events {
			if v, there := e["verdicts"]; there != (query == "?verdicts=true") {
				t.Errorf("%q: verdicts %v", query, v)
			}
			got = append(got, e["verdicts"])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
	}
}
