package rules_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/rules"
)

// FuzzTemplate: a text of with without an expression comes out as it is, and no
// text panics or comes out as anything but JSON.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"a", "${{ event.id }}", "$${{ x }}", "a ${{ event.data.count }} b ${{", "${{ {a: {b: '}}'}} }}", "${{}}", "$$${{"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := json.Marshal(text)
		if err != nil {
			return
		}
		rs, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(
			"rules: [{name: a, when: event.id != nil, do: [{action: x, with: " + string(quoted) + "}]}]")}}, rules.Options{})
		if err != nil {
			return
		}
		c := rs.MatchValue(linkDown())[0].Calls[0]
		if c.Err != nil {
			return
		}
		var got any
		if err := json.Unmarshal(c.Params, &got); err != nil {
			t.Fatalf("params %s: %v", c.Params, err)
		}
		var want string
		if err := json.Unmarshal(quoted, &want); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "${{") && got != want {
			t.Fatalf("%q became %q", want, got)
		}
	})
}
