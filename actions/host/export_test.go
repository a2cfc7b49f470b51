package host

import (
	"encoding/json"
	"os"
)

// CheckAgainst checks settings against a schema.
func CheckAgainst(schema, settings json.RawMessage) error {
	s, err := CompileSchema(schema)
	if err != nil {
		return err
	}
	return validate(s, "settings", settings)
}

// WithoutMemoryFiles makes h one of a system that allows no executable file in
// memory. It is for before the first start.
func WithoutMemoryFiles(h *Host) { h.memory = func(string) *os.File { return nil } }
