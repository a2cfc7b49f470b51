package actions

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// MaxMessage is how many bytes one gRPC message may have, both ways.
const MaxMessage = 16 << 20

// Window is how many bytes a router may have on their way before the plugin has
// taken them. Without a fixed one gRPC measures the connection with a ping for
// nearly every message, which both sides pay for.
const Window = 1 << 20

// maxError is how many bytes of an error's text travel.
const maxError = 4 << 10

// Server answers the wire contract with an Action. Serve uses it; it is
// exported for test kits and for programs that bring their own gRPC server.
type Server struct {
	actionv1.UnimplementedActionServiceServer

	action  Action
	credits int

	mu       sync.Mutex
	running  int
	draining bool
	idle     chan struct{}
	// ready is called at the first Describe.
	ready sync.Once
	onUse func()
}

// NewServer returns a Server for a.
func NewServer(a Action) *Server {
	s := &Server{action: a, credits: DefaultCredits, idle: make(chan struct{})}
	if l, ok := a.(Limiter); ok {
		s.credits = max(l.Credits(), 1)
	}
	return s
}

// ServerOptions are those a gRPC server needs for the contract's limits.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
		grpc.StaticStreamWindowSize(Window), grpc.StaticConnWindowSize(Window),
	}
}

// Describe implements the wire contract.
func (s *Server) Describe(context.Context, *actionv1.DescribeRequest) (*actionv1.DescribeResponse, error) {
	if s.onUse != nil {
		s.ready.Do(s.onUse)
	}
	return s.action.Describe().wire(), nil
}

// Configure implements the wire contract.
func (s *Server) Configure(ctx context.Context, r *actionv1.ConfigureRequest) (*actionv1.ConfigureResponse, error) {
	c, ok := s.action.(Configurer)
	if !ok {
		var none struct{}
		if err := decode(r.GetSettings(), &none); err != nil {
			return nil, status.Error(codes.InvalidArgument, "this plugin takes no settings")
		}
		return &actionv1.ConfigureResponse{}, nil
	}
	settings := r.GetSettings()
	if len(bytes.TrimSpace(settings)) == 0 {
		settings = []byte("{}")
	}
	err := c.Configure(ctx, Settings{Action: r.GetAction(), JSON: settings, Dir: r.GetDir()})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, text(err.Error(), maxError))
	}
	return &actionv1.ConfigureResponse{}, nil
}

// Run implements the wire contract.
func (s *Server) Run(ctx context.Context, r *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	if !s.begin() {
		return stopping(r), nil
	}
	defer s.end()
	ctx, cancel := within(ctx, r)
	defer cancel()
	return s.run(ctx, r), nil
}

// within gives a run its time.
func within(ctx context.Context, r *actionv1.RunRequest) (context.Context, context.CancelFunc) {
	if t := r.GetTimeout(); t != nil {
		return context.WithTimeout(ctx, t.AsDuration())
	}
	return context.WithCancel(ctx)
}

// run does one run.
func (s *Server) run(ctx context.Context, r *actionv1.RunRequest) *actionv1.RunResponse {
	res, err := s.action.Run(ctx, &Request{
		DeliveryID: r.GetDeliveryId(),
		Attempt:    int(r.GetAttempt()),
		Epoch:      r.GetEpoch(),
		Rule:       r.GetRule(),
		Action:     r.GetAction(),
		EventID:    r.GetEventId(),
		Key:        r.GetKey(),
		EventJSON:  r.GetEvent(),
		Params:     r.GetParams(),
		DryRun:     r.GetDryRun(),
	})
	return response(r, res, err)
}

func response(r *actionv1.RunRequest, res *Result, err error) *actionv1.RunResponse {
	out := &actionv1.RunResponse{
		DeliveryId: r.GetDeliveryId(),
		Attempt:    r.GetAttempt(),
		Status:     actionv1.Status_STATUS_DONE,
	}
	if res != nil {
		out.Output = text(res.Output, MaxOutput)
	}
	if err == nil {
		return out
	}
	out.Status = actionv1.Status_STATUS_FAILED
	out.Error = text(err.Error(), maxError)
	var permanent permanentError
	var retry retryError
	switch {
	case errors.As(err, &permanent):
		out.Status = actionv1.Status_STATUS_PERMANENT
	case errors.As(err, &retry):
		out.RetryAfter = durationpb.New(retry.after)
	}
	return out
}

// begin counts a run in, unless the plugin is stopping.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.running++
	return true
}

func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if s.draining && s.running == 0 {
		close(s.idle)
	}
}

// drain refuses new runs and waits for the open ones.
func (s *Server) drain() {
	s.mu.Lock()
	if !s.draining {
		s.draining = true
		if s.running == 0 {
			close(s.idle)
		}
	}
	s.mu.Unlock()
	<-s.idle
}

// stopping answers a run that was not begun.
func stopping(r *actionv1.RunRequest) *actionv1.RunResponse {
	return response(r, nil, RetryAfter(errors.New("not run: the plugin is stopping"), time.Second))
}
