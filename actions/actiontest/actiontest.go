// Package actiontest is the conformance suite for action plugins. An author's
// whole test can be
//
//	func TestConformance(t *testing.T) {
//		actiontest.Run(t, func() actions.Action { return &wake{} }, actiontest.Options{})
//	}
//
// and Start gives a Harness for tests of the plugin's own behaviour. Both speak
// to the action through a real gRPC connection, as the router does.
//
// The checks are data, so that a program can put the same questions to an
// executable: see Checks.
package actiontest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pointsman/pointsman/actions"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// Options say what the suite may do with an action.
type Options struct {
	// Settings are valid settings; empty: {}.
	Settings json.RawMessage
	// Dir is the folder of the configuration; "" is a folder of the test's own.
	Dir string
	// Params are parameters of a run that may be done, several times, and must
	// succeed. Empty: the checks that run the action are skipped, but those
	// whose run is refused or over before it starts.
	Params json.RawMessage
	// Timeout bounds each check; 0: 10 s.
	Timeout time.Duration
}

// Run checks that an action keeps the contract. Each check has an action process
// of its own, as far as a connection can be one: newAction is called for each.
func Run(t *testing.T, newAction func() actions.Action, o Options) {
	t.Helper()
	o.resolve(t.TempDir())
	for _, c := range Checks(o) {
		t.Run(c.Name, func(t *testing.T) {
			client := dial(t, newAction())
			ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
			defer cancel()
			err := c.Run(ctx, client)
			if errors.Is(err, ErrSkipped) {
				t.Skip(err)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func (o *Options) resolve(dir string) {
	if len(bytes.TrimSpace(o.Settings)) == 0 {
		o.Settings = json.RawMessage("{}")
	}
	if o.Dir == "" {
		o.Dir = dir
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
}

// Harness runs a configured action.
type Harness struct {
	t      testing.TB
	Client actionv1.ActionServiceClient
	n      int
	mu     sync.Mutex
}

// Start serves an action over a real connection and configures it; settings may
// be empty. Everything ends with the test.
func Start(t testing.TB, a actions.Action, s actions.Settings) *Harness {
	t.Helper()
	h := &Harness{t: t, Client: dial(t, a)}
	if len(s.JSON) == 0 {
		s.JSON = json.RawMessage("{}")
	}
	if s.Action == "" {
		s.Action = "test"
	}
	_, err := h.Client.Configure(t.Context(), &actionv1.ConfigureRequest{Action: s.Action, Settings: s.JSON, Dir: s.Dir})
	if err != nil {
		t.Fatalf("configure: %v", err)
	}
	return h
}

// Run does one run with these parameters and returns its result. Each has a
// delivery id of its own.
func (h *Harness) Run(ctx context.Context, params string) *actionv1.RunResponse {
	h.t.Helper()
	h.mu.Lock()
	h.n++
	id := fmt.Sprintf("delivery-%d", h.n)
	h.mu.Unlock()
	return h.Do(ctx, request(id, json.RawMessage(params)))
}

// Do does one run. The timeout of the request is that of ctx when it has none.
func (h *Harness) Do(ctx context.Context, r *actionv1.RunRequest) *actionv1.RunResponse {
	h.t.Helper()
	res, err := runStream(h.t.Context(), h.Client, ctx.Done(), r)
	if err != nil {
		h.t.Fatalf("run: %v", err)
	}
	return res
}

// dial serves a over a socket for the test's duration.
func dial(t testing.TB, a actions.Action) actionv1.ActionServiceClient {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(shortDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(actions.ServerOptions()...)
	actionv1.RegisterActionServiceServer(g, actions.NewServer(a))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = g.Serve(l)
	}()
	conn, err := grpc.NewClient("unix:"+l.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(actions.MaxMessage), grpc.MaxCallSendMsgSize(actions.MaxMessage)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		<-served
	})
	return actionv1.NewActionServiceClient(conn)
}

func request(id string, params json.RawMessage) *actionv1.RunRequest {
	return &actionv1.RunRequest{
		DeliveryId: id, Attempt: 1, Epoch: 1, Rule: "rule", Action: "test", EventId: "event-1",
		Event:  []byte(`{"specversion":"1.0","id":"event-1","source":"test","type":"test.event","datacontenttype":"application/json","data":{"n":1}}`),
		Params: params,
	}
}

// runStream does one run over a stream of its own and cancels it when stop is
// closed.
func runStream(ctx context.Context, c actionv1.ActionServiceClient, stop <-chan struct{}, r *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	res, err := runAll(ctx, c, stop, r)
	if err != nil {
		return nil, err
	}
	return res[0], nil
}

// runAll sends runs in one message and returns their results in that order.
func runAll(ctx context.Context, c actionv1.ActionServiceClient, stop <-chan struct{}, runs ...*actionv1.RunRequest) ([]*actionv1.RunResponse, error) {
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
	if int(first.GetCredits()) < len(runs) {
		return nil, fmt.Errorf("%w: %d credits are too few for it", ErrSkipped, first.GetCredits())
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
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("after the router closed its side the stream ended with %v, want its plain end", err)
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
				return fmt.Errorf("a result that was not asked for: %q attempt %d", r.GetDeliveryId(), r.GetAttempt())
			}
			got[r.GetDeliveryId()] = r
		}
	}
	return nil
}
