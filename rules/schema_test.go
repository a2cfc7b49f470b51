package rules_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/schema/schematest"
)

func readRules(file []byte) error {
	_, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: file}}, rules.Options{})
	return err
}

func rulesSchema(t *testing.T) []byte {
	t.Helper()
	text, err := rules.Schema()
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
		Where:  "rules/schema.go",
		Schema: rulesSchema(t), Read: readRules, Open: []string{"rules[].do[].with"},
	})
}

// TestSchemaOfDocs: the rule files of the documentation and of the examples fit.
func TestSchemaOfDocs(t *testing.T) {
	t.Parallel()
	s := schematest.Compile(t, rulesSchema(t))
	page, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := [][]byte{}
	for _, b := range regexp.MustCompile("(?ms)^```yaml\n(rules:.*?)^```$").FindAllSubmatch(page, -1) {
		texts = append(texts, b[1])
	}
	files, err := filepath.Glob("../examples/*/rules.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	for _, text := range texts {
		if err := schematest.Validate(s, text); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

// TestSchemaAndReaderRefuse: both refuse what is wrong, and both take an empty
// file.
func TestSchemaAndReaderRefuse(t *testing.T) {
	t.Parallel()
	s := schematest.Compile(t, rulesSchema(t))
	for _, text := range []string{
		"rule: []", "rules: {}", "rules: [x]", "rules: [{}]", "[]",
		"rules: [{name: a, when: x == 1}]", "rules: [{name: a, do: [{action: b}]}]", "rules: [{when: true, do: [{action: b}]}]",
		"rules: [{name: a, when: true, do: []}]", "rules: [{name: a, when: true, do: {action: b}}]",
		"rules: [{name: a b, when: true, do: [{action: b}]}]", "rules: [{name: 5, when: true, do: [{action: b}]}]",
		"rules: [{name: a, when: [true], do: [{action: b}]}]", "rules: [{name: a, when: true, do: [{actoin: b}]}]",
		"rules: [{name: a, when: true, do: [{action: b, if: {}}]}]", "rules: [{name: a, when: true, do: [{with: {}}]}]",
		"rules: [{name: a, when: true, once: 10, do: [{action: b}]}]", "rules: [{name: a, when: true, once: soon, do: [{action: b}]}]",
		"rules: [{name: a, when: true, ordered: queue, do: [{action: b}]}]", "rules: [{name: a, when: true, do: [{action: b, overlap: wait}]}]",
		"rules: [{name: a, when: true, dry_run: yes, do: [{action: b}]}]", "rules: [{name: a, when: true, onec: 1m, do: [{action: b}]}]",
	} {
		if readRules([]byte(text)) == nil {
			t.Errorf("the reader takes %s", text)
		}
		if schematest.Validate(s, []byte(text)) == nil {
			t.Errorf("the schema takes %s", text)
		}
	}
	for _, text := range []string{
		"", "rules:", "rules: []", "rules: [{name: a, when: true, once: 1h30m, do: [{action: b, with: [1]}]}]",
		"rules: [{name: a, when: true, ordered: true, do: [{action: b}]}, {name: c, when: true, ordered: false, do: [{action: b, overlap: skip}]}]",
	} {
		if err := readRules([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if err := schematest.Validate(s, []byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}
