package actiontest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/actiontest"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plug does what its function says.
type plug struct {
	desc actions.Description
	run  func(context.Context, *actions.Request) (*actions.Result, error)
}

func (p plug) Describe() actions.Description { return p.desc }

func (p plug) Run(ctx context.Context, r *actions.Request) (*actions.Result, error) {
	return p.run(ctx, r)
}

func good() actions.Description {
	return actions.Description{Name: "plug", Version: "1.0.0"}
}

func ok(context.Context, *actions.Request) (*actions.Result, error) {
	return &actions.Result{Output: "ok"}, nil
}

func TestSuitePassesAGoodPlugin(t *testing.T) {
	actiontest.Run(t, func() actions.Action { return plug{good(), ok} }, actiontest.Options{Params: json.RawMessage("null")})
}

func TestSuiteFindsFaults(t *testing.T) {
	t.Parallel()
	bad := good()
	bad.Name = "No Name"
	schema := good()
	schema.ParamsSchema = json.RawMessage(`{"type": "banana"}`)
	remote := good()
	remote.ParamsSchema = json.RawMessage(`{"$ref": "http://127.0.0.1:1/schema.json"}`)
	dry := good()
	dry.DryRun = true
	for name, tc := range map[string]struct {
		plug  plug
		check string
		want  string
	}{
		"name":       {plug{bad, ok}, "describes itself", `name "No Name"`},
		"schema":     {plug{schema, ok}, "has schemas that compile and take the options", "schema of params"},
		"fetch":      {plug{remote, ok}, "has schemas that compile and take the options", "schema of params"},
		"failing":    {plug{good(), func(context.Context, *actions.Request) (*actions.Result, error) { return nil, errors.New("no") }}, "runs alone", `error "no"`},
		"silent dry": {plug{dry, func(context.Context, *actions.Request) (*actions.Result, error) { return nil, nil }}, "honours dry run", "must say in its output"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := actiontest.Start(t, tc.plug, actions.Settings{})
			for _, c := range actiontest.Checks(actiontest.Options{Params: json.RawMessage("null")}) {
				if c.Name != tc.check {
					continue
				}
				if err := c.Run(t.Context(), h.Client); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q", err, tc.want)
				}
			}
		})
	}
}

func TestErrorsSurviveTheWire(t *testing.T) {
	t.Parallel()
	base := errors.New("busy")
	for name, tc := range map[string]struct {
		err    error
		status actionv1.Status
		after  time.Duration
	}{
		"plain":             {base, actionv1.Status_STATUS_FAILED, 0},
		"permanent":         {actions.Permanent(base), actionv1.Status_STATUS_PERMANENT, 0},
		"wrapped permanent": {fmt.Errorf("x: %w", actions.Permanent(base)), actionv1.Status_STATUS_PERMANENT, 0},
		"retry after":       {actions.RetryAfter(base, 90*time.Second), actionv1.Status_STATUS_FAILED, 90 * time.Second},
		"both":              {actions.RetryAfter(actions.Permanent(base), time.Hour), actionv1.Status_STATUS_PERMANENT, 0},
		"permanent nil":     {actions.Permanent(nil), actionv1.Status_STATUS_DONE, 0},
		"retry after nil":   {actions.RetryAfter(nil, time.Hour), actionv1.Status_STATUS_DONE, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.err != nil && !errors.Is(tc.err, base) {
				t.Error("the cause is lost")
			}
			h := actiontest.Start(t, plug{good(), func(context.Context, *actions.Request) (*actions.Result, error) {
				return &actions.Result{Output: "half\xff" + strings.Repeat("é", 100_000)}, tc.err
			}}, actions.Settings{})
			r := h.Run(t.Context(), "null")
			if r.GetStatus() != tc.status || r.GetRetryAfter().AsDuration() != tc.after {
				t.Errorf("got %v", r)
			}
			if tc.err != nil && !strings.Contains(r.GetError(), "busy") {
				t.Errorf("error %q", r.GetError())
			}
			if n := len(r.GetOutput()); n > actions.MaxOutput || !strings.HasPrefix(r.GetOutput(), "half\uFFFD") {
				t.Errorf("output of %d bytes", n)
			}
		})
	}
}

func TestDeadlineAndCancelEndTheContext(t *testing.T) {
	t.Parallel()
	h := actiontest.Start(t, plug{good(), func(ctx context.Context, _ *actions.Request) (*actions.Result, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}, actions.Settings{})
	r := h.Do(t.Context(), &actionv1.RunRequest{DeliveryId: "d", Attempt: 1, Timeout: durationpb.New(time.Millisecond)})
	if r.GetError() != "context deadline exceeded" {
		t.Errorf("deadline: %v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := h.Run(ctx, "null"); r.GetError() != "context canceled" {
		t.Errorf("cancel: %v", r)
	}
}

func TestEventIsDecodedWhenAsked(t *testing.T) {
	t.Parallel()
	h := actiontest.Start(t, plug{good(), func(_ context.Context, r *actions.Request) (*actions.Result, error) {
		e, err := r.Event()
		if err != nil {
			return nil, actions.Permanent(err)
		}
		return &actions.Result{Output: e.Type() + " " + e.ID()}, nil
	}}, actions.Settings{})
	if r := h.Run(t.Context(), "null"); r.GetOutput() != "test.event event-1" {
		t.Errorf("got %v", r)
	}
	r := h.Do(t.Context(), &actionv1.RunRequest{DeliveryId: "d", Attempt: 1, Event: []byte(`{"specversion":"1.0","id":7}`)})
	if r.GetStatus() != actionv1.Status_STATUS_PERMANENT || !strings.HasPrefix(r.GetError(), "event: ") {
		t.Errorf("bad event: %v", r)
	}
}
