package host

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// Runs that wait are sent together, without a timer, up to these limits.
const (
	maxRuns      = 64
	maxRunsBytes = 1 << 20
)

// errNotSent: the run was not sent to this process; another may take it.
var errNotSent = errors.New("not sent")

// errLate: the time in which the run may begin was over before it was sent.
var errLate = errors.New("its time was over before it was sent")

// late: this process may have stood still since the caller looked.
func late(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Now().After(deadline)
}

type runKey struct {
	id      string
	attempt uint32
}

type outcome struct {
	res *actionv1.RunResponse
	err error
}

// call is one run on its way. done has room for its one outcome.
type call struct {
	ctx  context.Context
	key  runKey
	req  *actionv1.RunRequest
	size int
	done chan outcome
}

// stream shares one Stream call among runs. Its two loops end when the call
// does; fail then settles what is left.
type stream struct {
	wire  actionv1.ActionService_StreamClient
	limit int // runs open at a time
	kick  chan struct{}

	mu      sync.Mutex
	queue   []*call
	open    map[runKey]*call
	cancels []*actionv1.CancelRun
	broken  bool
}

func newStream(wire actionv1.ActionService_StreamClient, limit int) *stream {
	return &stream{wire: wire, limit: limit, kick: make(chan struct{}, 1), open: make(map[runKey]*call)}
}

// add queues a run.
func (s *stream) add(ctx context.Context, req *actionv1.RunRequest) (*call, error) {
	c := &call{
		ctx:  ctx,
		key:  runKey{req.GetDeliveryId(), req.GetAttempt()},
		req:  req,
		size: len(req.GetEvent()) + len(req.GetParams()) + len(req.GetKey()) + 512, // ids and names are short
		done: make(chan outcome, 1),
	}
	s.mu.Lock()
	if s.broken {
		s.mu.Unlock()
		return nil, errNotSent
	}
	s.queue = append(s.queue, c)
	s.mu.Unlock()
	s.wake()
	return c, nil
}

func (s *stream) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// drop takes back a run that was not sent yet; false when it was.
func (s *stream) drop(c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, q := range s.queue {
		if q == c {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			return true
		}
	}
	return false
}

// cancel asks the plugin to stop a run.
func (s *stream) cancel(c *call) {
	s.mu.Lock()
	if s.open[c.key] == c {
		s.cancels = append(s.cancels, &actionv1.CancelRun{DeliveryId: c.key.id, Attempt: c.key.attempt})
	}
	s.mu.Unlock()
	s.wake()
}

// sendLoop sends what waits until ctx ends or the wire breaks.
func (s *stream) sendLoop(ctx context.Context) {
	for {
		select {
		case <-s.kick:
		case <-ctx.Done():
			return
		}
		for {
			// The runs of one claim come from goroutines that are all ready now:
			// let them queue, so that they go in one message.
			runtime.Gosched()
			msg := s.take()
			if msg == nil {
				break
			}
			if s.wire.Send(msg) != nil {
				return // Recv has the reason.
			}
		}
	}
}

// take makes the next message of what waits, nil when nothing may be sent.
func (s *stream) take() *actionv1.StreamRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return nil
	}
	n, size := 0, 0
	var later []*call
	msg := &actionv1.StreamRequest{Cancels: s.cancels}
	s.cancels = nil
	for n < len(s.queue) && len(msg.Runs) < maxRuns && len(s.open) < s.limit {
		c := s.queue[n]
		if len(msg.Runs) > 0 && size+c.size > maxRunsBytes {
			break
		}
		n++
		if s.open[c.key] != nil {
			later = append(later, c) // the same attempt is still open
			continue
		}
		if late(c.ctx) {
			c.done <- outcome{err: errLate}
			continue
		}
		size += c.size
		s.open[c.key] = c
		msg.Runs = append(msg.Runs, c.req)
	}
	s.queue = append(later, s.queue[n:]...)
	if len(s.queue) == 0 {
		s.queue = nil
	}
	if len(msg.Runs) == 0 && len(msg.Cancels) == 0 {
		return nil
	}
	return msg
}

// recvLoop hands out results until the wire breaks, and says why it did.
func (s *stream) recvLoop() error {
	for {
		msg, err := s.wire.Recv()
		if err != nil {
			return err
		}
		s.mu.Lock()
		for _, r := range msg.GetResults() {
			// An unknown key is an attempt that is over: its result is too late.
			key := runKey{r.GetDeliveryId(), r.GetAttempt()}
			if c := s.open[key]; c != nil {
				delete(s.open, key)
				c.done <- outcome{res: r}
			}
		}
		s.mu.Unlock()
		s.wake()
	}
}

// fail ends all runs: those sent with err, those that wait with errNotSent.
func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = true
	for _, c := range s.queue {
		c.done <- outcome{err: errNotSent}
	}
	for _, c := range s.open {
		c.done <- outcome{err: err}
	}
	s.queue, s.open, s.cancels = nil, nil, nil
}
