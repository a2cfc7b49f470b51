package rules_test

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/expression"
	"github.com/pointsman/pointsman/rules/scenario"
)

// TestDocs: every rule file shown in the documentation of rules loads, without
// a warning, and every function it names is there.
func TestDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllSubmatch(page, -1)
	if len(blocks) < 3 {
		t.Fatalf("%d blocks", len(blocks))
	}
	for _, b := range blocks {
		if bytes.HasPrefix(b[1], []byte("tests:")) { // TestDocsTests
			continue
		}
		rs, err := rules.LoadFiles([]rules.File{{Name: "docs/rules.md", Data: b[1]}}, rules.Options{})
		if err != nil {
			t.Errorf("%v\n%s", err, b[1])
			continue
		}
		if w := rs.Warnings(); len(rs.Rules()) == 0 || len(w) > 0 {
			t.Errorf("%d rules, warnings %v\n%s", len(rs.Rules()), w, b[1])
		}
	}
	_, functions, _ := strings.Cut(string(page), "## Functions")
	functions, _, _ = strings.Cut(functions, "## Templates")
	for _, f := range expression.Functions() {
		if !regexp.MustCompile(`(?m)(^    .*|` + "`" + `)\b` + f + `\b`).MatchString(functions) {
			t.Errorf("function %s is not documented", f)
		}
	}
}

// TestDocsTests: the tests that the page shows are those of its first rule, and
// pass.
func TestDocsTests(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	rule := regexp.MustCompile("(?ms)^```yaml\n(rules:.*?)^```$").FindSubmatch(page)
	rs, err := rules.LoadFiles([]rules.File{{Name: "docs/rules.md", Data: rule[1]}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tests := regexp.MustCompile("(?ms)^```yaml\n(tests:.*?)^```$").FindAllSubmatch(page, -1)
	if len(tests) == 0 {
		t.Fatal("no tests")
	}
	for _, b := range tests {
		suite, err := scenario.Parse("docs/rules.md", b[1], rs)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range scenario.Run(rs, suite, scenario.Options{Dedup: 24 * time.Hour}, nil) {
			for _, f := range r.Failures {
				t.Errorf("%s step %d: %v", r.Test, f.Step, f.Diff)
			}
		}
	}
}

// TestFunctionExamples: every example of the page of functions has the result
// that stands beside it, and there is one of every function.
func TestFunctionExamples(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/functions.md")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile("(?ms)^```json\n(.*?)^```$").FindSubmatch(page)
	ev, err := rules.ParseEvent(text[1], rules.Limits{Depth: 64})
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `(.+?)` \\| `(.+?)` \\|").FindAllSubmatch(page, -1)
	shown := map[string]bool{}
	for _, row := range rows {
		example, want := string(row[1]), string(row[2])
		for _, name := range regexp.MustCompile(`\w+\(`).FindAllString(example, -1) {
			shown[strings.TrimSuffix(name, "(")] = true
		}
		if got := evaluate(t, example, ev); got != evaluate(t, want, ev) {
			t.Errorf("%s is %s, the page says %s", example, got, want)
		}
	}
	for _, f := range expression.Functions() {
		if !shown[f] {
			t.Errorf("function %s has no example", f)
		}
	}
}

// evaluate is the type and the JSON of an expression's value.
func evaluate(t *testing.T, text string, ev *rules.Event) string {
	t.Helper()
	c := expression.NewCompiler("event")
	p, err := c.Compile(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	s := c.NewState()
	s.Reset(ev.Value())
	v, err := p.Eval(s)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	out, err := expression.AppendJSON(nil, v)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return expression.TypeName(v) + " " + string(out)
}

// TestDocsExample: the first rule of the page makes of the event below it what
// the page says.
func TestDocsExample(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindSubmatch(page)
	m := load(t, string(block[1])).MatchValue(linkDown())
	if len(m) != 1 || m[0].Key != "sw1/eth1" {
		t.Fatalf("matches %+v", m)
	}
	if got := string(m[0].Calls[0].Params); !strings.Contains(string(page), "`"+got+"`") {
		t.Errorf("params %s", got)
	}
}
