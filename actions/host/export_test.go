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

// WithoutControlGroups makes h one of a system that has none. It is for before
// the first start.
func WithoutControlGroups(h *Host) { h.root = "/nonexistent" }

// ControlGroup is where groups under a controller can be made, empty when
// nowhere.
func ControlGroup(controller string) string {
	dir, err := controlBase("", controller)
	if err != nil {
		return ""
	}
	// What may be read need not be writable.
	probe, err := os.MkdirTemp(dir, "pointsman-test-")
	if err != nil {
		return ""
	}
	_ = os.Remove(probe)
	return dir
}

// GroupPrefix begins the names of an instance's control groups.
func GroupPrefix(instance string) string { return groupPrefix(instance) }
