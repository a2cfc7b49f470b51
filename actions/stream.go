package actions

import (
	"context"
	"errors"
	"io"
	"runtime"
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

// maxIdle is how many goroutines of runs that are over wait for the next ones.
// Their stacks are as large as the action needs; a new one would have to grow
// for every run, which is most of what a run costs that does little.
const maxIdle = 64

type runKey struct {
	id      string
	attempt uint32
}

// stream is the plugin's end of one Stream call.
type stream struct {
	srv  *Server
	wire actionv1.ActionService_StreamServer
	ctx  context.Context
	stop context.CancelFunc // ends ctx, and with it all runs
	wg   sync.WaitGroup

	mu      sync.Mutex
	open    map[runKey]context.CancelFunc
	results []*actionv1.RunResponse
	// sending: the goroutine of a run is at it. err is how that failed; nothing
	// is sent after it.
	sending bool
	err     error
	// idle goroutines wait for a job on these; each has room for one. closed:
	// none becomes idle any more.
	idle   []chan job
	closed bool
}

// job is one run.
type job struct {
	key    runKey
	req    *actionv1.RunRequest
	ctx    context.Context
	cancel context.CancelFunc
}

// Stream implements the wire contract. Each open run has its own goroutine. When
// the router closes its side, open runs are finished and answered; when the stream
// breaks, they are cancelled. Either way Stream returns after the last of them.
func (s *Server) Stream(wire actionv1.ActionService_StreamServer) error {
	if err := wire.Send(&actionv1.StreamResponse{Credits: uint32(s.credits)}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(wire.Context())
	defer cancel()
	st := &stream{srv: s, wire: wire, ctx: ctx, stop: cancel, open: make(map[runKey]context.CancelFunc)}
	err := st.receive()
	if err != nil {
		cancel()
	}
	st.close()
	st.wg.Wait()
	return errors.Join(err, st.err)
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
	ctx, cancel := within(st.ctx, r)
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
	st.hand(job{key, r, ctx, cancel})
	return nil
}

// hand gives a run to a goroutine: the one that was idle last, or a new one.
func (st *stream) hand(j job) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if n := len(st.idle); n > 0 {
		st.idle[n-1] <- j // has room
		st.idle = st.idle[:n-1]
		return
	}
	st.wg.Go(func() { st.work(j) })
}

// work does runs until it is not needed any more.
func (st *stream) work(j job) {
	next := make(chan job, 1)
	for ok := true; ok; {
		if st.srv.begin() {
			// No recover, and end only after the result is sent: see drain.
			st.finish(j, st.srv.run(j.ctx, j.req))
			st.srv.end()
		} else {
			st.finish(j, stopping(j.req))
		}
		st.mu.Lock()
		if st.closed || len(st.idle) >= maxIdle {
			st.mu.Unlock()
			return
		}
		st.idle = append(st.idle, next)
		st.mu.Unlock()
		j = job{}
		j, ok = <-next
	}
}

// close ends the goroutines that are idle, the others end with their runs.
func (st *stream) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.closed = true
	for _, next := range st.idle {
		close(next)
	}
	st.idle = nil
}

// finish sends a result, with those of other runs that end meanwhile. Who finds
// another goroutine at sending leaves it to that one: to wake one that does
// nothing else costs more than to send.
func (st *stream) finish(j job, res *actionv1.RunResponse) {
	j.cancel()
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.open, j.key)
	st.results = append(st.results, res)
	if st.sending {
		return
	}
	st.sending = true
	defer func() { st.sending = false }()
	for len(st.results) > 0 && st.err == nil {
		st.mu.Unlock()
		// Runs that came together and take little end together: let them.
		runtime.Gosched()
		err := st.wire.Send(&actionv1.StreamResponse{Results: st.take()})
		st.mu.Lock()
		if err != nil {
			st.err = err
			st.stop()
		}
	}
}

// take returns what goes into the next message.
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
