package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pointsman/pointsman/actions"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// wireRequest is the request as the plugin gets it: with the time it may take.
func wireRequest(ctx context.Context, req *actionv1.RunRequest) *actionv1.RunRequest {
	deadline, ok := ctx.Deadline()
	if !ok || req.GetTimeout() != nil {
		return req
	}
	return &actionv1.RunRequest{
		DeliveryId: req.GetDeliveryId(),
		Attempt:    req.GetAttempt(),
		Epoch:      req.GetEpoch(),
		Rule:       req.GetRule(),
		Action:     req.GetAction(),
		EventId:    req.GetEventId(),
		Event:      req.GetEvent(),
		Params:     req.GetParams(),
		Key:        req.GetKey(),
		Timeout:    durationpb.New(max(time.Until(deadline), 0)),
		DryRun:     req.GetDryRun(),
	}
}

// run sends one run and waits for its result. errNotSent: this process did not
// get it.
func (in *instance) run(ctx context.Context, req *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	if req.GetDryRun() && !in.desc.DryRun {
		return &actionv1.RunResponse{
			DeliveryId: req.GetDeliveryId(), Attempt: req.GetAttempt(), Status: actionv1.Status_STATUS_DONE,
			Output: "dry run: plugin " + in.desc.Name + " has none, nothing was sent to it",
		}, nil
	}
	if n := len(req.GetEvent()) + len(req.GetParams()); n > actions.MaxMessage-(64<<10) {
		return failed(req, actionv1.Status_STATUS_PERMANENT, fmt.Sprintf("event and parameters have %d bytes, more than one message holds", n)), nil
	}
	req = wireRequest(ctx, req)
	var res *actionv1.RunResponse
	var err error
	if in.stream != nil {
		res, err = in.runStream(ctx, req)
	} else {
		res, err = in.runUnary(ctx, req)
	}
	if errors.Is(err, errLate) {
		return nil, &Error{kindLate, in.spec.Action, err}
	}
	if err != nil {
		return nil, err
	}
	return normal(req, res), nil
}

func (in *instance) runStream(ctx context.Context, req *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	c, err := in.stream.add(ctx, req)
	if err != nil {
		return nil, err
	}
	select {
	case o := <-c.done:
		return o.res, o.err
	case <-ctx.Done():
	}
	if in.stream.drop(c) {
		return nil, &Error{kindUnavailable, in.spec.Action, fmt.Errorf("waited for a free place: %w", context.Cause(ctx))}
	}
	in.stream.cancel(c)
	return in.grace(ctx, c.done)
}

func (in *instance) runUnary(ctx context.Context, req *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	select {
	case in.slots <- struct{}{}:
		defer func() { <-in.slots }()
	case <-in.gone:
		return nil, errNotSent
	case <-ctx.Done():
		return nil, &Error{kindUnavailable, in.spec.Action, fmt.Errorf("waited for a free place: %w", context.Cause(ctx))}
	}
	if in.ctx.Err() != nil {
		return nil, errNotSent
	}
	if late(ctx) {
		return nil, errLate
	}
	done := make(chan outcome, 1)
	// Not ctx: a call that is cancelled has no result any more. The plugin knows
	// its time from the request.
	in.h.wg.Go(func() {
		res, err := in.svc.Run(in.ctx, req)
		if err != nil {
			res, err = in.unaryError(req, err)
		}
		done <- outcome{res, err}
	})
	select {
	case o := <-done:
		return o.res, o.err
	case <-ctx.Done():
		return in.grace(ctx, done)
	}
}

// unaryError tells a dead plugin from one that answers with an error.
func (in *instance) unaryError(req *actionv1.RunRequest, err error) (*actionv1.RunResponse, error) {
	st := status.Convert(err)
	switch st.Code() {
	case codes.Unavailable, codes.Canceled, codes.Internal:
		select {
		case <-in.proc.gone:
		case <-time.After(200 * time.Millisecond):
			if in.conn.GetState() == connectivity.Ready {
				return failed(req, actionv1.Status_STATUS_FAILED, st.Message()), nil
			}
			in.kill("the connection broke")
		}
		<-in.gone
		return nil, &Error{kindCrashed, in.spec.Action, errors.New(in.end())}
	case codes.ResourceExhausted:
		return failed(req, actionv1.Status_STATUS_PERMANENT, st.Message()), nil
	}
	return failed(req, actionv1.Status_STATUS_FAILED, st.Message()), nil
}

// grace waits for the result of a run that was cancelled, and ends a plugin that
// gives none: only then is it sure that the run does not go on beside its next
// attempt.
func (in *instance) grace(ctx context.Context, done <-chan outcome) (*actionv1.RunResponse, error) {
	t := time.NewTimer(in.h.cfg.CancelGrace)
	defer t.Stop()
	select {
	case o := <-done:
		return o.res, o.err
	case <-t.C:
	}
	in.overdue.Store(true)
	in.terminate(fmt.Sprintf("stopped: a run gave no result within %v of its cancellation", in.h.cfg.CancelGrace))
	if o := <-done; o.err == nil {
		return o.res, nil
	}
	return nil, &Error{kindTimeout, in.spec.Action, fmt.Errorf(
		"no result within %v of the cancellation, the plugin was stopped: %w", in.h.cfg.CancelGrace, context.Cause(ctx))}
}

func failed(req *actionv1.RunRequest, s actionv1.Status, text string) *actionv1.RunResponse {
	return &actionv1.RunResponse{
		DeliveryId: req.GetDeliveryId(), Attempt: req.GetAttempt(), Status: s, Error: text,
	}
}

// normal bounds what a plugin answered and replaces what it may not answer.
func normal(req *actionv1.RunRequest, r *actionv1.RunResponse) *actionv1.RunResponse {
	r.DeliveryId, r.Attempt = req.GetDeliveryId(), req.GetAttempt()
	r.Output = shorten(r.GetOutput(), actions.MaxOutput)
	r.Error = shorten(r.GetError(), 4<<10)
	switch r.GetStatus() {
	case actionv1.Status_STATUS_DONE:
		r.Error, r.RetryAfter = "", nil
	case actionv1.Status_STATUS_FAILED:
		if d := r.GetRetryAfter(); d != nil && (d.CheckValid() != nil || d.AsDuration() < 0) {
			r.RetryAfter = nil
		}
	case actionv1.Status_STATUS_PERMANENT:
		r.RetryAfter = nil
	default:
		r.Error = fmt.Sprintf("the plugin answered with the unknown status %d: %s", r.GetStatus(), r.GetError())
		r.Status, r.RetryAfter = actionv1.Status_STATUS_FAILED, nil
	}
	if r.GetStatus() != actionv1.Status_STATUS_DONE && r.GetError() == "" {
		r.Error = "the plugin gave no reason"
	}
	return r
}
