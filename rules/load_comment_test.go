package rules_test

import (
	"strings"
	"testing"

	"github.com/pointsman/pointsman/rules"
)

// TestExpressionCutByComment: # is the element of a predicate and, after a space,
// the beginning of a comment in YAML.
func TestExpressionCutByComment(t *testing.T) {
	t.Parallel()
	const file = "rules:\n  - name: a\n    when: any(event.data.tags, # == \"x\")\n    do: [{action: a}]\n"
	_, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(file)}}, rules.Options{})
	if err == nil || !strings.Contains(err.Error(), "r.yaml:3:30: rule \"a\": the expression ends too early (a # after a space begins a comment in YAML: put the expression in quotes)") {
		t.Errorf("%v", err)
	}
	quoted := strings.Replace(file, `any(event.data.tags, # == "x")`, `'any(event.data.tags, # == "x")' # a comment`, 1)
	if _, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(quoted)}}, rules.Options{}); err != nil {
		t.Error(err)
	}
}
