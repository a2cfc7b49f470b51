package actions_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pointsman/pointsman/actions"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// meeting is an action whose runs end when n of them are there.
type meeting struct {
	nothing
	n int

	mu   sync.Mutex
	come int
	all  chan struct{}
}

func (m *meeting) Run(ctx context.Context, r *actions.Request) (*actions.Result, error) {
	m.mu.Lock()
	if m.come++; m.come == 1 {
		m.all = make(chan struct{})
	}
	all := m.all
	if m.come == m.n {
		m.come = 0
		close(all)
	}
	m.mu.Unlock()
	select {
	case <-all:
		return &actions.Result{Output: r.EventID}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// client serves a over a socket until the test ends.
func client(t *testing.T, a actions.Action) actionv1.ActionServiceClient {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(actions.ServerOptions()...)
	actionv1.RegisterActionServiceServer(g, actions.NewServer(a))
	served := make(chan error)
	go func() { served <- g.Serve(l) }()
	conn, err := grpc.NewClient("unix:"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return actionv1.NewActionServiceClient(conn)
}

// TestStreamRounds sends as many runs at once as there are credits, several
// times: more than there are idle goroutines kept, and with those of the round
// before. Each must be answered once with its own result, and Stream must end.
func TestStreamRounds(t *testing.T) {
	t.Parallel()
	const n = actions.DefaultCredits
	wire, err := client(t, &meeting{n: n}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first, err := wire.Recv(); err != nil || first.GetCredits() != n {
		t.Fatal(first, err)
	}
	for round := range 4 {
		msg, want := &actionv1.StreamRequest{}, make(map[string]string)
		for i := range n {
			id := strconv.Itoa(round*n + i)
			want[id] = "event " + id
			msg.Runs = append(msg.Runs, &actionv1.RunRequest{DeliveryId: id, Attempt: 1, EventId: "event " + id})
		}
		if err := wire.Send(msg); err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string)
		for answers := 0; answers < n; {
			res, err := wire.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range res.GetResults() {
				got[r.GetDeliveryId()] = r.GetOutput()
				answers++
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	}
	if err := wire.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if msg, err := wire.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(msg, err)
	}
}

// TestStreamRefusesTooMany: a run beyond the credits breaks the stream, and with
// it those that are open.
func TestStreamRefusesTooMany(t *testing.T) {
	t.Parallel()
	wire, err := client(t, &meeting{n: 2 * actions.DefaultCredits}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Recv(); err != nil {
		t.Fatal(err)
	}
	msg := &actionv1.StreamRequest{}
	for i := range actions.DefaultCredits + 1 {
		msg.Runs = append(msg.Runs, &actionv1.RunRequest{DeliveryId: strconv.Itoa(i), Attempt: 1})
	}
	if err := wire.Send(msg); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = wire.Recv()
	}
	if errors.Is(err, io.EOF) {
		t.Fatal("the stream ended as if all was well")
	}
}
