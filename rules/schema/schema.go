// Package schema writes JSON Schemas (draft 2020-12) of the YAML files, for
// editors. What may stand in a file is described in tables of fields beside the
// code that reads it; tests compare the two.
package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
)

// Schema is a JSON Schema, or a part of one. It must not be changed once it is
// part of another.
type Schema map[string]any

// Field is one key of a mapping.
type Field struct {
	// Name is the key, Doc a sentence or two on what it means.
	Name, Doc string
	// Default is the value when the key is left out; nil: none, or told in Doc.
	Default any
	// Required: the key cannot be left out.
	Required bool
	Value    Schema
}

// Reference matches a text with ${env:NAME} or ${file:PATH} in it.
const Reference = `\$\{(env|file):[^}]+\}`

// Patterns of the texts that strictyaml reads as durations and sizes.
const (
	durationForm = `^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$`
	sizeForm     = `^[0-9]+(\.[0-9]+)?(B|[kKMGT]B|[KMGT]iB)$`
)

// Object is a mapping with these keys and no others.
func Object(fields ...Field) Schema {
	properties := Schema{}
	required := []string{}
	for _, f := range fields {
		value := maps.Clone(f.Value)
		if value == nil {
			value = Schema{}
		}
		if f.Doc != "" {
			value["description"] = f.Doc
		}
		if f.Default != nil {
			value["default"] = f.Default
		}
		properties[f.Name] = value
		if f.Required {
			required = append(required, f.Name)
		}
	}
	s := Schema{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// Anything is a value of any kind.
func Anything() Schema { return Schema{} }

// Mapping is a mapping with any keys.
func Mapping() Schema { return Schema{"type": "object"} }

// Text is a text, which matches the pattern unless that is "".
func Text(pattern string) Schema {
	s := Schema{"type": "string"}
	if pattern != "" {
		s["pattern"] = pattern
	}
	return s
}

// Expression is an expression; true, false and numbers are ones, too.
func Expression() Schema { return Schema{"type": []string{"string", "boolean", "number"}} }

// Boolean is true or false.
func Boolean() Schema { return Schema{"type": "boolean"} }

// Integer is an integer from low to high.
func Integer(low, high int) Schema {
	return Schema{"type": "integer", "minimum": low, "maximum": high}
}

// Duration is a duration such as 10m.
func Duration() Schema { return Text(durationForm) }

// Size is a size such as 1MiB.
func Size() Schema { return Text(sizeForm) }

// Word is one of a few texts.
func Word(words ...string) Schema { return Schema{"type": "string", "enum": words} }

// List is a list of items.
func List(item Schema) Schema { return Schema{"type": "array", "items": item} }

// NonEmpty is the list with at least one item.
func NonEmpty(list Schema) Schema {
	s := maps.Clone(list)
	s["minItems"] = 1
	return s
}

// OneOf is what fits at least one of the forms.
func OneOf(forms ...Schema) Schema { return Schema{"anyOf": forms} }

// Exactly one of the keys must be there.
func Exactly(object Schema, keys ...string) Schema {
	s := maps.Clone(object)
	forms := make([]Schema, len(keys))
	for i, k := range keys {
		forms[i] = Schema{"required": []string{k}}
	}
	s["oneOf"] = forms
	return s
}

// Referable lets a reference stand for any text that a schema restricts, at any
// depth of it: nobody knows what it will be replaced by.
func Referable(s Schema) Schema {
	out := Schema{}
	for k, v := range s {
		out[k] = referable(k, v)
	}
	if s["type"] != "string" && s["enum"] == nil {
		return out
	}
	for _, restricts := range []string{"pattern", "minLength", "enum", "format", "const"} {
		if s[restricts] != nil {
			rest := Schema{"anyOf": []Schema{out, Text(Reference)}}
			// What is for people stays where editors look for it.
			for _, k := range []string{"description", "default"} {
				if v, ok := out[k]; ok {
					rest[k] = v
					delete(out, k)
				}
			}
			return rest
		}
	}
	return out
}

func referable(key string, v any) any {
	switch v := v.(type) {
	case Schema:
		if key == "if" || key == "propertyNames" || key == "additionalProperties" && v["type"] == nil {
			return v
		}
		if key == "properties" {
			out := Schema{}
			for name, p := range v {
				out[name] = referable("", p)
			}
			return out
		}
		return Referable(v)
	case []Schema:
		out := make([]Schema, len(v))
		for i, s := range v {
			out[i] = Referable(s)
		}
		return out
	}
	return v
}

// Parse reads a schema that is written as JSON.
func Parse(text []byte) (Schema, error) {
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return typed(v).(Schema), nil
}

// typed makes Schema of the maps of decoded JSON.
func typed(v any) any {
	switch v := v.(type) {
	case map[string]any:
		s := Schema{}
		for k, e := range v {
			s[k] = typed(e)
		}
		return s
	case []any:
		var all []Schema
		for _, e := range v {
			if m, ok := e.(map[string]any); ok {
				all = append(all, typed(m).(Schema))
			}
		}
		if len(all) == len(v) && len(v) > 0 {
			return all
		}
	case float64:
		if v == math.Trunc(v) {
			return int64(v)
		}
	}
	return v
}

// Document writes the schema of a whole file, indented, with a line feed at its
// end. An empty file is one as well.
func Document(title, doc string, root Schema) ([]byte, error) {
	s := maps.Clone(root)
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = title
	s["description"] = doc
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return append(text, '\n'), nil
}
