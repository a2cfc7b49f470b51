package trial

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pointsman/pointsman/actions/conformance"
	"github.com/pointsman/pointsman/actions/host"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

const (
	// settle is how long a run is given to reach the plugin; nothing outside of
	// the plugin can tell that it has.
	settle = 300 * time.Millisecond
	// termLimit is the time between the router's SIGTERM and its SIGKILL.
	termLimit = 2 * time.Second
)

// harmless returns a run, ErrSkipped without parameters.
func (t *trial) harmless() (*actionv1.RunRequest, error) {
	if len(t.cfg.Options.Params) == 0 {
		return nil, fmt.Errorf("%w: no parameters of a run that may be done are given", conformance.ErrSkipped)
	}
	return conformance.Request(rand.Text(), t.cfg.Options.Params), nil
}

// serve does one run as the router does.
func (t *trial) serve(ctx context.Context) error {
	req, err := t.harmless()
	if err != nil {
		return err
	}
	res, err := t.host.Run(ctx, t.cfg.Spec.Action, req)
	if err != nil {
		return err
	}
	if res.GetStatus() != actionv1.Status_STATUS_DONE {
		return fmt.Errorf("status %v, error %q; want done", res.GetStatus(), res.GetError())
	}
	return nil
}

func (t *trial) serves(ctx context.Context) (string, error) { return "", t.serve(ctx) }

// killed freezes the process, so that the run stays open, and kills it then.
func (t *trial) killed(ctx context.Context) (string, error) {
	if err := t.serve(ctx); err != nil {
		return "", err
	}
	pid := t.host.Status()[0].PID
	if pid == 0 {
		return "", errors.New("it ended by itself after a run")
	}
	if err := freeze(ctx, pid); err != nil {
		return "", err
	}
	open := make(chan error, 1)
	go func() { open <- t.serve(ctx) }()
	var err error
	select {
	case err = <-open: // a child of the process did it
		open = nil
	case <-time.After(settle):
	}
	if kerr := syscall.Kill(pid, syscall.SIGKILL); kerr != nil {
		return "", fmt.Errorf("kill process %d: %w", pid, kerr)
	}
	if open != nil {
		err = <-open
	}
	var lost *host.Error
	if err != nil && (!errors.As(err, &lost) || !lost.Crashed()) {
		return "", fmt.Errorf("the run that was open: %w", err)
	}
	began := time.Now()
	next := t.serve(ctx)
	if err == nil && errors.As(next, &lost) && lost.Crashed() {
		next = t.serve(ctx) // the router had not seen yet that the process was gone
	}
	if next != nil {
		return "", fmt.Errorf("the next run: %w", next)
	}
	return fmt.Sprintf("the next run was done after %v", time.Since(began).Round(time.Millisecond)), nil
}

// freeze returns when all threads of a process are stopped.
func freeze(ctx context.Context, pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return fmt.Errorf("process %d ended by itself: %w", pid, err)
		}
		if bytes.Contains(stat, []byte(") T ")) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not stop: %w", pid, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// configured starts a process that is ready for runs.
func (t *trial) configured(ctx context.Context) (*host.Probe, error) {
	p, err := t.host.Open(ctx, t.cfg.Spec)
	if err != nil {
		return nil, err
	}
	_, err = p.Client().Configure(ctx, &actionv1.ConfigureRequest{
		Action: t.cfg.Spec.Action, Settings: t.cfg.Options.Settings, Dir: t.cfg.Options.Dir,
	})
	if err != nil && status.Code(err) != codes.Unimplemented {
		p.Close()
		return nil, err
	}
	return p, nil
}

// ended waits for the end of a process that was asked to.
func ended(p *host.Probe, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.Done():
		return true
	case <-timer.C:
		return false
	}
}

func (t *trial) terminated(ctx context.Context) (string, error) {
	p, err := t.configured(ctx)
	if err != nil {
		return "", err
	}
	defer p.Close()
	p.Terminate()
	if !ended(p, termLimit) {
		return "", fmt.Errorf("still there %v after SIGTERM without a run; the router kills it then", termLimit)
	}
	how, _ := p.End()
	return how, nil
}

// drains has a run end by its own time after SIGTERM.
func (t *trial) drains(ctx context.Context) (string, error) {
	if len(t.cfg.Options.Slow) == 0 {
		return "", fmt.Errorf("%w: no parameters of a run that takes long are given", conformance.ErrSkipped)
	}
	p, err := t.configured(ctx)
	if err != nil {
		return "", err
	}
	defer p.Close()
	open := make(chan error, 1)
	go func() {
		req := conformance.Request(rand.Text(), t.cfg.Options.Slow)
		req.Timeout = durationpb.New(4 * settle)
		_, err := p.Client().Run(ctx, req)
		open <- err
	}()
	select {
	case err := <-open:
		if err == nil {
			err = fmt.Errorf("%w: the run that should take long was over within %v", conformance.ErrSkipped, settle)
		}
		return "", err
	case <-time.After(settle):
	}
	p.Terminate()
	if err := <-open; err != nil {
		return "", fmt.Errorf("the open run was lost; at SIGTERM take no new runs, finish the open ones, then exit: %w", err)
	}
	if !ended(p, termLimit) {
		return "", fmt.Errorf("still there %v after its last run", termLimit)
	}
	return "", nil
}

// quiet has the process end by itself, so that what it buffers is written.
func (t *trial) quiet(ctx context.Context) (string, error) {
	p, err := t.configured(ctx)
	if err != nil {
		return "", err
	}
	defer p.Close()
	req, err := t.harmless()
	if err != nil {
		return "", err
	}
	if _, err := p.Client().Run(ctx, req); err != nil {
		return "", err
	}
	p.Terminate()
	ended(p, termLimit)
	p.Close()
	if _, stray := p.End(); stray > 0 {
		return fmt.Sprintf("%d bytes came after it; they are discarded, so log on standard error", stray), nil
	}
	return "", nil
}
