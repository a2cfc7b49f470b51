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
// executable: see package conformance.
package actiontest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/conformance"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// Options say what the suite may do with an action. An empty Dir is a folder of
// the test's own.
type Options = conformance.Options

// Check is one question to a plugin that has just been started and was not
// configured yet.
type Check = conformance.Check

// ErrSkipped means that a check was not made; the error that wraps it says why.
var ErrSkipped = conformance.ErrSkipped

// Checks returns the suite for these options.
func Checks(o Options) []Check { return conformance.Checks(o) }

// Run checks that an action keeps the contract. Each check has an action process
// of its own, as far as a connection can be one: newAction is called for each.
func Run(t *testing.T, newAction func() actions.Action, o Options) {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o = o.Resolve()
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
	return h.Do(ctx, conformance.Request(id, json.RawMessage(params)))
}

// Do does one run. The timeout of the request is that of ctx when it has none.
func (h *Harness) Do(ctx context.Context, r *actionv1.RunRequest) *actionv1.RunResponse {
	h.t.Helper()
	res, err := conformance.Stream(h.t.Context(), h.Client, ctx.Done(), r)
	if err != nil {
		h.t.Fatalf("run: %v", err)
	}
	return res[0]
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

// shortDir is a folder whose path leaves room for a socket's name; the test's
// own has the name of the test in it.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "at-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
