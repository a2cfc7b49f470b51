// Package conformance asks an action plugin the questions that tell whether it
// keeps the contract of pointsman.action.v1. The checks are data and need a gRPC
// connection only: package actiontest puts them to an Action within a test,
// `pointsman plugins test` to any executable.
package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// Options say what the checks may do with an action. A plugin cannot be made to
// fail or to take long from outside, so checks of that need parameters that do
// it, and are skipped without.
type Options struct {
	// Settings are valid settings; empty: {}.
	Settings json.RawMessage
	// Dir is the folder of the configuration.
	Dir string
	// Params are parameters of a run that may be done, several times, and must
	// succeed. Empty: the checks that run the action are skipped.
	Params json.RawMessage
	// Failing are parameters of a run that fails and is worth another try.
	Failing json.RawMessage
	// Permanent are parameters of a run that fails for good.
	Permanent json.RawMessage
	// Slow are parameters of a run that takes a second or more unless it is
	// cancelled.
	Slow json.RawMessage
	// Timeout bounds each check; 0: 10 s.
	Timeout time.Duration
}

// Resolve puts the defaults in place of what is empty.
func (o Options) Resolve() Options {
	if len(bytes.TrimSpace(o.Settings)) == 0 {
		o.Settings = json.RawMessage("{}")
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	return o
}

// ErrSkipped means that a check was not made; the error that wraps it says why.
var ErrSkipped = errors.New("skipped")

// Check is one question to a plugin that has just been started and was not
// configured yet.
type Check struct {
	Name string
	// Run returns nil, an error that wraps ErrSkipped, or what the plugin does
	// wrong.
	Run func(ctx context.Context, c actionv1.ActionServiceClient) error
}

// Request returns a run with a small event.
func Request(id string, params json.RawMessage) *actionv1.RunRequest {
	return &actionv1.RunRequest{
		DeliveryId: id, Attempt: 1, Epoch: 1, Rule: "rule", Action: "test", EventId: "event-1",
		Event:  []byte(`{"specversion":"1.0","id":"event-1","source":"test","type":"test.event","datacontenttype":"application/json","data":{"n":1}}`),
		Params: params,
	}
}

// Stream sends runs in one message on a stream of their own and returns their
// results in that order. It cancels them when stop is closed. The error wraps
// ErrSkipped when the plugin takes fewer at a time, and has the code
// UNIMPLEMENTED when it has no stream.
func Stream(ctx context.Context, c actionv1.ActionServiceClient, stop <-chan struct{}, runs ...*actionv1.RunRequest) ([]*actionv1.RunResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.Stream(ctx)
	if err != nil {
		return nil, err
	}
	first, err := s.Recv()
	if err != nil {
		return nil, err
	}
	switch {
	case first.GetCredits() == 0:
		return nil, errors.New("the first message of the stream must announce credits, at least 1")
	case int(first.GetCredits()) < len(runs):
		return nil, fmt.Errorf("%w: it takes %d at a time", ErrSkipped, first.GetCredits())
	}
	if err := s.Send(&actionv1.StreamRequest{Runs: runs}); err != nil {
		return nil, err
	}
	results := make(chan error, 1)
	got := make(map[string]*actionv1.RunResponse)
	go func() { results <- collect(s, got, len(runs)) }()
	select {
	case err = <-results:
	case <-stop:
		var msg actionv1.StreamRequest
		for _, r := range runs {
			msg.Cancels = append(msg.Cancels, &actionv1.CancelRun{DeliveryId: r.GetDeliveryId(), Attempt: r.GetAttempt()})
		}
		if err = s.Send(&msg); err != nil {
			cancel()
		}
		err = errors.Join(err, <-results)
	}
	if err != nil {
		return nil, err
	}
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	switch _, err := s.Recv(); {
	case err == nil:
		return nil, errors.New("after the last result came another message")
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("after the router closed its side the stream did not end plainly: %w", err)
	}
	out := make([]*actionv1.RunResponse, len(runs))
	for i, r := range runs {
		out[i] = got[r.GetDeliveryId()]
	}
	return out, nil
}

func collect(s actionv1.ActionService_StreamClient, got map[string]*actionv1.RunResponse, n int) error {
	for len(got) < n {
		msg, err := s.Recv()
		if err != nil {
			return err
		}
		for _, r := range msg.GetResults() {
			if r.GetAttempt() != 1 || got[r.GetDeliveryId()] != nil {
				return fmt.Errorf("a result that was not asked for: delivery_id %q attempt %d; repeat those of the request", r.GetDeliveryId(), r.GetAttempt())
			}
			got[r.GetDeliveryId()] = r
		}
	}
	return nil
}

// calls does the runs as calls of their own, at the same time.
func calls(ctx context.Context, c actionv1.ActionServiceClient, runs ...*actionv1.RunRequest) ([]*actionv1.RunResponse, error) {
	out := make([]*actionv1.RunResponse, len(runs))
	errs := make([]error, len(runs))
	var wg sync.WaitGroup
	for i, r := range runs {
		wg.Go(func() { out[i], errs[i] = c.Run(ctx, r) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, callError(err)
		}
	}
	return out, nil
}

// callError says what to do about a call that ended with a gRPC error.
func callError(err error) error {
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		return err
	case codes.ResourceExhausted:
		return fmt.Errorf("%w (take messages of 16 MiB; gRPC's default is 4 MiB)", err)
	}
	return fmt.Errorf("the call ended with a gRPC error; answer with a RunResponse whose status says how it ended: %w", err)
}

// shape says what is wrong with the form of a result.
func shape(r *actionv1.RunResponse) error {
	failed := r.GetStatus() == actionv1.Status_STATUS_FAILED
	after := r.GetRetryAfter()
	switch {
	case r == nil:
		return errors.New("no result for a run")
	case r.GetStatus() == actionv1.Status_STATUS_DONE && r.GetError() != "":
		return fmt.Errorf("STATUS_DONE with the error %q, which is dropped; use output", r.GetError())
	case r.GetStatus() == actionv1.Status_STATUS_DONE:
	case !failed && r.GetStatus() != actionv1.Status_STATUS_PERMANENT:
		return fmt.Errorf("status %d means nothing in this version; use STATUS_DONE, STATUS_FAILED or STATUS_PERMANENT", r.GetStatus())
	case r.GetError() == "":
		return errors.New("a failure without a reason; say in error what went wrong")
	}
	switch {
	case after == nil:
	case !failed:
		return errors.New("retry_after goes with STATUS_FAILED alone")
	case after.CheckValid() != nil || after.AsDuration() < 0:
		return errors.New("retry_after must be a valid duration, not below zero")
	}
	return nil
}
