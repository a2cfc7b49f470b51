// Package log is the action that writes one line and is always done: for a first
// look at rules, and as an example of a small plugin.
package log

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/pointsman/pointsman/actions"
)

// Action writes one line for each run.
type Action struct {
	log *slog.Logger
}

// New returns the action; it writes to logger, actions.Logger() in a plugin.
func New(logger *slog.Logger) *Action { return &Action{log: logger} }

// Describe implements actions.Action.
func (a *Action) Describe() actions.Description { return Description() }

// Description is what the plugin says of itself.
func Description() actions.Description {
	return actions.Description{
		Name:           "log",
		Version:        "1.0.0",
		Summary:        "Write one line with delivery, rule, event and parameters.",
		SettingsSchema: json.RawMessage(`{"type": "object", "additionalProperties": false}`),
		ParamsSchema:   json.RawMessage(`{"type": ["object", "null"]}`),
		Idempotency:    actions.IdempotentNone,
		DryRun:         true,
	}
}

// Run implements actions.Action. It never fails.
func (a *Action) Run(_ context.Context, req *actions.Request) (*actions.Result, error) {
	params := "null"
	var buf bytes.Buffer
	if json.Compact(&buf, req.Params) == nil && buf.Len() > 0 {
		params = buf.String()
	}
	line := fmt.Sprintf("delivery=%q rule=%q event_id=%q params=%s", req.DeliveryID, req.Rule, req.EventID, params)
	if req.DryRun {
		return &actions.Result{Output: "dry run: " + line}, nil
	}
	a.log.Info("event", "delivery_id", req.DeliveryID, "rule", req.Rule, "event_id", req.EventID, "params", params)
	return &actions.Result{Output: line}, nil
}
