package actions

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// Idempotency says what happens when one delivery is run twice.
type Idempotency string

// The idempotency classes.
const (
	// IdempotentNone: a second run does the thing a second time.
	IdempotentNone Idempotency = "none"
	// IdempotentKey: the plugin or its target recognises the delivery id.
	IdempotentKey Idempotency = "key"
	// IdempotentNatural: doing it twice is the same as doing it once.
	IdempotentNatural Idempotency = "natural"
)

// Description is what a plugin says of itself.
type Description struct {
	// Name has lower-case letters, digits and dashes, and begins with a letter.
	Name string `json:"name"`
	// Version is semantic, without a leading v.
	Version string `json:"version"`
	// Summary is one line for people.
	Summary string `json:"summary"`
	// SettingsSchema is a JSON Schema (draft 2020-12); empty: no settings.
	SettingsSchema json.RawMessage `json:"settings_schema,omitempty"`
	// ParamsSchema is a JSON Schema (draft 2020-12); empty: any parameters.
	ParamsSchema json.RawMessage `json:"params_schema,omitempty"`
	// Idempotency; empty means IdempotentNone.
	Idempotency Idempotency `json:"idempotency"`
	// DryRun: Request.DryRun is understood.
	DryRun bool `json:"dry_run"`
}

// MaxSchema is how many bytes a schema may have.
const MaxSchema = 256 << 10

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Check says what is wrong with a description, all of it. That a schema is a
// good schema is for the router to say.
func (d Description) Check() error {
	var errs []error
	if !nameForm.MatchString(d.Name) {
		errs = append(errs, fmt.Errorf("name %q: use lower-case letters, digits and dashes, a letter first, at most 63", d.Name))
	}
	if d.Version == "" || len(d.Version) > 64 {
		errs = append(errs, errors.New("version: 1 to 64 bytes, such as 1.0.0"))
	}
	if len(d.Summary) > 200 {
		errs = append(errs, errors.New("summary: at most 200 bytes"))
	}
	for _, s := range []struct {
		what string
		text json.RawMessage
	}{{"settings", d.SettingsSchema}, {"params", d.ParamsSchema}} {
		switch {
		case len(s.text) == 0:
		case len(s.text) > MaxSchema:
			errs = append(errs, fmt.Errorf("schema of %s: %d bytes, at most %d", s.what, len(s.text), MaxSchema))
		case !json.Valid(s.text):
			errs = append(errs, fmt.Errorf("schema of %s: not JSON", s.what))
		}
	}
	switch d.Idempotency {
	case "", IdempotentNone, IdempotentKey, IdempotentNatural:
	default:
		errs = append(errs, fmt.Errorf("idempotency %q: none, key or natural", d.Idempotency))
	}
	return errors.Join(errs...)
}

// DescriptionFrom reads a description as it comes over the wire and checks it.
func DescriptionFrom(r *actionv1.DescribeResponse) (Description, error) {
	d := Description{
		Name:           r.GetName(),
		Version:        r.GetVersion(),
		Summary:        r.GetSummary(),
		SettingsSchema: r.GetSettingsSchema(),
		ParamsSchema:   r.GetParamsSchema(),
		Idempotency:    IdempotentNone,
		DryRun:         r.GetDryRun(),
	}
	switch r.GetIdempotency() {
	case actionv1.IdempotencyClass_IDEMPOTENCY_CLASS_KEY:
		d.Idempotency = IdempotentKey
	case actionv1.IdempotencyClass_IDEMPOTENCY_CLASS_NATURAL:
		d.Idempotency = IdempotentNatural
	}
	if err := d.Check(); err != nil {
		return Description{}, fmt.Errorf("description: %w", err)
	}
	return d, nil
}

func (d Description) wire() *actionv1.DescribeResponse {
	class := actionv1.IdempotencyClass_IDEMPOTENCY_CLASS_NONE
	switch d.Idempotency {
	case IdempotentKey:
		class = actionv1.IdempotencyClass_IDEMPOTENCY_CLASS_KEY
	case IdempotentNatural:
		class = actionv1.IdempotencyClass_IDEMPOTENCY_CLASS_NATURAL
	}
	return &actionv1.DescribeResponse{
		Name:           d.Name,
		Version:        d.Version,
		Summary:        d.Summary,
		SettingsSchema: d.SettingsSchema,
		ParamsSchema:   d.ParamsSchema,
		Idempotency:    class,
		DryRun:         d.DryRun,
	}
}
