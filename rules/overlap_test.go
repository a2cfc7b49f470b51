package rules_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules"
)

// TestOverlapOfTheAction: a step that says nothing has the overlap of its action,
// unless its rule is ordered.
func TestOverlapOfTheAction(t *testing.T) {
	t.Parallel()
	const file = `
rules:
  - name: a
    when: event.type == "t"
    key: event.source
    do: [{action: backup}, {action: backup, overlap: allow}, {action: backup, overlap: queue}, {action: other}]
  - {name: b, when: event.type == "t", key: event.source, ordered: true, do: [{action: backup}]}
`
	rs, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(file)}}, rules.Options{Overlaps: map[string]string{"backup": "skip"}})
	if err != nil {
		t.Fatal(err)
	}
	ev, err := rules.ParseEvent([]byte(`{"specversion":"1.0","id":"1","source":"sw1","type":"t"}`), rules.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	type lane struct {
		Lane string
		Skip bool
	}
	for _, set := range []*rules.Ruleset{rs, rs.AsDryRun()} {
		var got []lane
		for _, m := range set.Match(ev) {
			for _, c := range m.Calls {
				got = append(got, lane{c.Lane, c.SkipIfBusy})
			}
		}
		want := []lane{{"a/1/ssw1", true}, {"", false}, {"a/3/ssw1", false}, {"", false}, {"b//ssw1", false}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if diff := cmp.Diff(map[string]string{"backup": "skip"}, set.Overlaps()); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
}
