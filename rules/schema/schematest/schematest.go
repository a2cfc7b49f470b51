// Package schematest compares a JSON Schema of a YAML file with what reads the
// file.
package schematest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// Compile compiles a schema, which refers to nothing but itself.
func Compile(t testing.TB, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Validate checks a YAML file against a schema, as an editor does.
func Validate(s *jsonschema.Schema, file []byte) error {
	doc, err := strictyaml.Parse("file.yaml", file)
	if err != nil {
		return err
	}
	v, _ := doc.Root().Any()
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if v, err = jsonschema.UnmarshalJSON(bytes.NewReader(text)); err != nil {
		return err
	}
	return s.Validate(v)
}

// Config is what Compare compares.
type Config struct {
	Schema []byte
	// Where names the code that makes the schema, for messages.
	Where string
	// Read reads a file and returns every problem of it.
	Read func(file []byte) error
	// Open are the places, such as "actions[].settings", whose keys and values
	// the reader does not judge.
	Open []string
	// Refused are ends of places, such as "auth.token", of keys that the reader
	// knows only to say why they are not possible there.
	Refused []string
}

// Compare walks through the schema and fails where a key has no description or
// type, where the reader knows other keys than the schema, and where one of the
// two refuses a kind of value (text, list, ...) that the other takes.
func Compare(t *testing.T, c Config) {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(c.Schema, &root); err != nil {
		t.Fatal(err)
	}
	w := walker{t: t, c: c, schema: Compile(t, c.Schema)}
	w.object("", []map[string]any{root}, func(v any) any { return v })
}

type walker struct {
	t      *testing.T
	c      Config
	schema *jsonschema.Schema
}

const unknown = "zzzzzzzzzzzzzzzz"

var (
	knownKeys  = regexp.MustCompile(`unknown key "` + unknown + `" \(known: ([^)]*)\)`)
	wrongKind  = regexp.MustCompile(`want [^(\n]*, got |a value is missing`)
	unexpected = regexp.MustCompile(`unknown key`)
)

func (w *walker) read(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.c.Read(text); err != nil {
		return err.Error()
	}
	return ""
}

// object compares the keys of a mapping, which may have several forms; in puts a
// value where the mapping is.
func (w *walker) object(at string, forms []map[string]any, in func(any) any) {
	w.t.Helper()
	properties := map[string][]map[string]any{}
	for _, f := range forms {
		p, _ := f["properties"].(map[string]any)
		for name, value := range p {
			if s, ok := value.(map[string]any); ok {
				properties[name] = append(properties[name], s)
			}
		}
	}
	known := knownKeys.FindStringSubmatch(w.read(in(map[string]any{unknown: 1})))
	if known == nil {
		w.t.Errorf("%s: the reader does not refuse an unknown key, the schema does", place(at))
		return
	}
	want := slices.DeleteFunc(strings.Split(known[1], ", "), func(name string) bool {
		refused := func(end string) bool { return strings.HasSuffix(at+"."+name, "."+end) }
		return properties[name] == nil && slices.ContainsFunc(w.c.Refused, refused)
	})
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(properties))); diff != "" {
		w.t.Errorf("%s: the reader knows other keys (-) than the schema (+): describe each in %s\n%s", place(at), w.c.Where, diff)
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		w.value(strings.TrimPrefix(at+"."+name, "."), properties[name], func(v any) any { return in(map[string]any{name: v}) })
	}
}

func place(at string) string {
	if at == "" {
		return "the top level"
	}
	return at
}

// value compares what may stand for a key.
func (w *walker) value(at string, forms []map[string]any, in func(any) any) {
	w.t.Helper()
	described := slices.ContainsFunc(forms, func(f map[string]any) bool { return f["description"] != nil })
	if !described && !strings.HasSuffix(at, "]") {
		w.t.Errorf("%s has no description: give it a field with Doc and Value in %s", at, w.c.Where)
	}
	if slices.Contains(w.c.Open, at) {
		return
	}
	forms = alternatives(forms)
	var objects, lists []map[string]any
	for _, f := range forms {
		switch {
		case f["properties"] != nil && f["type"] != nil:
			objects = append(objects, f)
		case f["items"] != nil:
			lists = append(lists, f)
		case f["type"] == nil && f["const"] == nil && f["enum"] == nil:
			w.t.Errorf("%s has no type: give its field a Value in %s", at, w.c.Where)
		}
	}
	w.kinds(at, in)
	if len(lists) > 0 {
		w.items(at, lists[0]["items"].(map[string]any), in)
	}
	if len(objects) > 0 {
		w.object(at, objects, in)
	}
}

// alternatives takes anyOf apart.
func alternatives(forms []map[string]any) []map[string]any {
	var out []map[string]any
	for _, f := range forms {
		list, ok := f["anyOf"].([]any)
		if !ok || f["properties"] != nil {
			out = append(out, f)
			continue
		}
		for _, a := range list {
			out = append(out, alternatives([]map[string]any{a.(map[string]any)})...)
		}
	}
	return out
}

// items compares the items of a list; those whose keys depend on a key of
// theirs once for each of its values.
func (w *walker) items(at string, item map[string]any, in func(any) any) {
	at += "[]"
	conditions, _ := item["allOf"].([]any)
	for _, c := range conditions {
		f := c.(map[string]any)
		then, _ := f["then"].(map[string]any)
		if then["additionalProperties"] != false {
			continue
		}
		for key, s := range f["if"].(map[string]any)["properties"].(map[string]any) {
			is := s.(map[string]any)["const"]
			w.object(fmt.Sprintf("%s(%s)", at, is), []map[string]any{then}, func(v any) any {
				m, ok := v.(map[string]any)
				if !ok {
					return in([]any{v})
				}
				both := maps.Clone(m)
				if _, given := both[key]; !given {
					both[key] = is
				}
				return in([]any{both})
			})
		}
	}
	if item["additionalProperties"] == false {
		w.value(at, []map[string]any{item}, func(v any) any { return in([]any{v}) })
		return
	}
	if conditions == nil {
		w.value(at, []map[string]any{item}, func(v any) any { return in([]any{v}) })
	}
}

// kinds compares which kinds of values are taken: what the reader says is of
// the wrong kind the schema must refuse, and what the schema refuses the reader
// must not take.
func (w *walker) kinds(at string, in func(any) any) {
	w.t.Helper()
	for _, v := range []any{"zz", "10m", 5, 1.5, true, nil, []any{}, map[string]any{}} {
		doc := in(v)
		text, err := json.Marshal(doc)
		if err != nil {
			w.t.Fatal(err)
		}
		said := w.read(doc)
		fits := Validate(w.schema, text) == nil
		switch {
		case fits && wrongKind.MatchString(said):
			w.t.Errorf("%s: the schema takes %s, the reader says %s", at, text, said)
		case !fits && said == "":
			w.t.Errorf("%s: the reader takes %s, the schema does not: %v", at, text, Validate(w.schema, text))
		case unexpected.MatchString(said):
			w.t.Errorf("%s: %s", at, said)
		}
	}
}
