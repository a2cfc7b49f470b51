package actions

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// Results that wait are sent together, up to these limits.
const (
	maxResults      = 64
	maxResultsBytes = 1 << 20
)

type runKey struct {
	id      string
	attempt uint32
}

// stream is the plugin's end of one Stream call.
type stream struct {
	srv    *Server
	wire   actionv1.ActionService_StreamServer
	ctx    context.Context
	wg     sync.WaitGroup
	notify chan struct{}

	mu      sync.Mutex
	open    map[runKey]context.CancelFunc
	results []*actionv1.RunResponse
}

// Stream implements the wire contract. Each run has its own goroutine. When the
// router closes its side, open runs are finished and answered; when the stream
// breaks, they are cancelled. Either way Stream returns after the last of them.
func (s *Server) Stream(wire actionv1.ActionService_StreamServer) error {
	if err := wire.Send(&actionv1.StreamResponse{Credits: uint32(s.credits)}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(wire.Context())
	defer cancel()
	st := &stream{
		srv: s, wire: wire, ctx: ctx,
		notify: make(chan struct{}, 1),
		open:   make(map[runKey]context.CancelFunc),
	}
	stop := make(chan struct{})
	sent := make(chan error, 1)
	go func() {
		err := st.send(stop)
		if err != nil {
			cancel()
		}
		sent <- err
	}()

	err := st.receive()
	if err != nil {
		cancel()
	}
	st.wg.Wait()
	close(stop)
	return errors.Join(err, <-sent)
}

// receive starts and cancels runs until the router closes its side.
func (st *stream) receive() error {
	for {
		msg, err := st.wire.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, r := range msg.GetRuns() {
			if err := st.start(r); err != nil {
				return err
			}
		}
		for _, c := range msg.GetCancels() {
			st.mu.Lock()
			if cancel := st.open[runKey{c.GetDeliveryId(), c.GetAttempt()}]; cancel != nil {
				cancel()
			}
			st.mu.Unlock()
		}
	}
}

func (st *stream) start(r *actionv1.RunRequest) error {
	key := runKey{r.GetDeliveryId(), r.GetAttempt()}
	ctx, cancel := context.WithCancel(st.ctx)
	st.mu.Lock()
	_, twice := st.open[key]
	full := len(st.open) >= st.srv.credits
	if !twice && !full {
		st.open[key] = cancel
	}
	st.mu.Unlock()
	if twice || full {
		cancel()
		if twice {
			return status.Error(codes.InvalidArgument, "run is open already: "+text(key.id, 100))
		}
		return status.Error(codes.ResourceExhausted, "more runs than credits")
	}
	if !st.srv.begin() {
		st.finish(key, cancel, stopping(r))
		return nil
	}
	st.wg.Go(func() {
		// No recover, and end only after the result is queued: see drain.
		st.finish(key, cancel, st.srv.run(ctx, r))
		st.srv.end()
	})
	return nil
}

func (st *stream) finish(key runKey, cancel context.CancelFunc, res *actionv1.RunResponse) {
	cancel()
	st.mu.Lock()
	delete(st.open, key)
	st.results = append(st.results, res)
	st.mu.Unlock()
	select {
	case st.notify <- struct{}{}:
	default:
	}
}

// send sends what waits until stop is closed and nothing waits any more.
func (st *stream) send(stop <-chan struct{}) error {
	for {
		last := false
		select {
		case <-st.notify:
		case <-stop:
			last = true
		}
		for {
			batch := st.take()
			if len(batch) == 0 {
				break
			}
			if err := st.wire.Send(&actionv1.StreamResponse{Results: batch}); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

func (st *stream) take() []*actionv1.RunResponse {
	st.mu.Lock()
	defer st.mu.Unlock()
	n, size := 0, 0
	for n < len(st.results) && n < maxResults {
		size += len(st.results[n].GetOutput()) + len(st.results[n].GetError()) + 128
		if n > 0 && size > maxResultsBytes {
			break
		}
		n++
	}
	batch := st.results[:n:n]
	st.results = st.results[n:]
	if len(st.results) == 0 {
		st.results = nil
	}
	return batch
}
