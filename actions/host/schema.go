package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	schemakind "github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/pointsman/pointsman/actions"
)

// maxParams is how long parameters may be.
const maxParams = 1 << 20

// schemas are the compiled schemas of one plugin.
type schemas struct {
	settings, params *jsonschema.Schema
}

// noFetch refuses references to other documents.
type noFetch struct{}

func (noFetch) Load(url string) (any, error) {
	return nil, fmt.Errorf("reference to %s: a schema must be complete in itself", url)
}

// CompileSchema compiles a plugin's JSON Schema (draft 2020-12 unless it says
// otherwise). Nothing is fetched. An empty text gives nil.
func CompileSchema(text json.RawMessage) (*jsonschema.Schema, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	if len(text) > actions.MaxSchema {
		return nil, fmt.Errorf("schema has %d bytes, at most %d", len(text), actions.MaxSchema)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noFetch{})
	if err := c.AddResource("schema.json", doc); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return s, nil
}

func compile(d actions.Description) (*schemas, error) {
	settings, err := CompileSchema(d.SettingsSchema)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	params, err := CompileSchema(d.ParamsSchema)
	if err != nil {
		return nil, fmt.Errorf("params: %w", err)
	}
	return &schemas{settings, params}, nil
}

func (s *schemas) checkSettings(raw json.RawMessage) error {
	if s.settings == nil {
		var none map[string]json.RawMessage
		if err := json.Unmarshal(raw, &none); err != nil || len(none) > 0 {
			return errors.New("settings: this plugin takes none")
		}
		return nil
	}
	return validate(s.settings, "settings", raw)
}

func (s *schemas) checkParams(raw json.RawMessage) error {
	if len(raw) > maxParams {
		return fmt.Errorf("params: %d bytes, at most %d", len(raw), maxParams)
	}
	if s.params == nil {
		return nil
	}
	return validate(s.params, "params", raw)
}

func validate(s *jsonschema.Schema, what string, raw json.RawMessage) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		raw = json.RawMessage("null")
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	err = s.Validate(v)
	var ve *jsonschema.ValidationError
	if errors.As(err, &ve) {
		return errors.New(strings.Join(leaves(ve, what, nil), "; "))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// leaves says of each place what is wrong there, at most 10.
func leaves(e *jsonschema.ValidationError, what string, out []string) []string {
	if len(e.Causes) == 0 && len(out) < 10 {
		at := what
		for _, part := range e.InstanceLocation {
			at += "." + part
		}
		return append(out, at+": "+explain(e.ErrorKind))
	}
	for _, c := range e.Causes {
		out = leaves(c, what, out)
	}
	return out
}

// explain says what is wrong without the value that is: it may be a secret of
// the settings or the data of somebody's event. Names of properties are shown.
func explain(k jsonschema.ErrorKind) string {
	number := func(r *big.Rat) string {
		f, _ := r.Float64()
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	switch k := k.(type) {
	case *schemakind.Pattern:
		return fmt.Sprintf("does not match pattern %q", k.Want)
	case *schemakind.Format:
		return "is not a valid " + k.Want
	case *schemakind.Minimum:
		return "must be at least " + number(k.Want)
	case *schemakind.Maximum:
		return "must be at most " + number(k.Want)
	case *schemakind.ExclusiveMinimum:
		return "must be more than " + number(k.Want)
	case *schemakind.ExclusiveMaximum:
		return "must be less than " + number(k.Want)
	case *schemakind.MultipleOf:
		return "must be a multiple of " + number(k.Want)
	}
	return k.LocalizedString(message.NewPrinter(language.English))
}
