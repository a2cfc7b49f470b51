package log_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/actiontest"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/plugins/log"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	actiontest.Run(t, func() actions.Action { return log.New(slog.New(slog.DiscardHandler)) },
		actiontest.Options{Params: json.RawMessage(`{"a": [1, {"b": null}]}`)})
}

func TestLine(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	h := actiontest.Start(t, log.New(slog.New(slog.NewTextHandler(&buf, nil))), actions.Settings{})
	for params, want := range map[string]string{
		`{"text": "a\nb",  "n": 12345678901234567890}`: `delivery="delivery-1" rule="rule" event_id="event-1" params={"text":"a\nb","n":12345678901234567890}`,
	} {
		r := h.Run(t.Context(), params)
		if r.GetStatus() != actionv1.Status_STATUS_DONE || r.GetOutput() != want {
			t.Errorf("got %v %q, want %q", r.GetStatus(), r.GetOutput(), want)
		}
	}
	if r := h.Run(t.Context(), "null"); !strings.HasSuffix(r.GetOutput(), "params=null") {
		t.Errorf("without parameters: %q", r.GetOutput())
	}
	if n := strings.Count(buf.String(), "\n"); n != 2 {
		t.Errorf("%d lines for 2 runs:\n%s", n, buf.String())
	}
}
