package scenario_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/rules/scenario"
	"github.com/pointsman/pointsman/rules/schema/schematest"
)

func readTests(file []byte) error {
	_, err := scenario.Parse("r_test.yaml", file, nil)
	return err
}

func testsSchema(t *testing.T) []byte {
	t.Helper()
	text, err := scenario.Schema()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestSchemaIsThatOfTheReader: every key that the reader knows is described, and
// no other.
func TestSchemaIsThatOfTheReader(t *testing.T) {
	t.Parallel()
	schematest.Compare(t, schematest.Config{
		Where:  "rules/scenario/schema.go",
		Schema: testsSchema(t), Read: readTests,
		Open: []string{"tests[].steps[].event", "tests[].steps[].expect[].with"},
	})
}

// TestSchemaOfDocs: the test files of the documentation and of the examples fit.
func TestSchemaOfDocs(t *testing.T) {
	t.Parallel()
	s := schematest.Compile(t, testsSchema(t))
	page, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, ok := strings.Cut(string(page), "```yaml\ntests:")
	shown, _, closed := strings.Cut(shown, "```")
	if !ok || !closed {
		t.Fatal("docs/rules.md shows no tests")
	}
	texts := []string{"tests:" + shown}
	files, err := filepath.Glob("../../examples/*/rules_test.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	for _, text := range texts {
		if err := schematest.Validate(s, []byte(text)); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

// TestSchemaAndReaderRefuse: both refuse what is wrong.
func TestSchemaAndReaderRefuse(t *testing.T) {
	t.Parallel()
	s := schematest.Compile(t, testsSchema(t))
	for _, text := range []string{
		"", "tests:", "test: []", "tests: {}", "tests: [{name: a}]", "tests: [{steps: []}]", "tests: [{name: 5, steps: []}]",
		"tests: [{name: a, steps: [{}]}]", "tests: [{name: a, steps: [{event: {type: a}}]}]", "tests: [{name: a, steps: [{expect: []}]}]",
		"tests: [{name: a, steps: [{event: x, expect: []}]}]", "tests: [{name: a, steps: [{event: {}, expect: []}]}]",
		"tests: [{name: a, steps: [{event: {type: 5}, expect: []}]}]", "tests: [{name: a, steps: [{event: {type: a, Ext: b}, expect: []}]}]",
		"tests: [{name: a, steps: [{event: {type: a, ext: []}, expect: []}]}]", "tests: [{name: a, steps: [{event: {type: a, specversion: \"0.3\"}, expect: []}]}]",
		"tests: [{name: a, steps: [{at: 5, event: {type: a}, expect: []}]}]", "tests: [{name: a, steps: [{event: {type: a}, expect: {}}]}]",
		"tests: [{name: a, steps: [{event: {type: a}, expect: [{rule: a}]}]}]", "tests: [{name: a, steps: [{event: {type: a}, expect: [{action: a}]}]}]",
		"tests: [{name: a, steps: [{event: {type: a}, expect: [{rule: a, action: b, wiht: 1}]}]}]",
	} {
		if readTests([]byte(text)) == nil {
			t.Errorf("the reader takes %s", text)
		}
		if schematest.Validate(s, []byte(text)) == nil {
			t.Errorf("the schema takes %s", text)
		}
	}
	const fits = "tests: [{name: a, steps: [{at: 1m, event: {type: a, ext: 5, data: [1]}, expect: [{rule: a, action: b, with: 1}, {rule: a, error: x}]}]}]"
	if err := readTests([]byte(fits)); err != nil {
		t.Error(err)
	}
	if err := schematest.Validate(s, []byte(fits)); err != nil {
		t.Error(err)
	}
}
