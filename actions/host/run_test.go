package host_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/host"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// unaryOnly hides Stream.
type unaryOnly struct {
	actionv1.UnimplementedActionServiceServer
	s *actions.Server
}

func (u unaryOnly) Describe(ctx context.Context, r *actionv1.DescribeRequest) (*actionv1.DescribeResponse, error) {
	return u.s.Describe(ctx, r)
}

func (u unaryOnly) Run(ctx context.Context, r *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	return u.s.Run(ctx, r)
}

// serveUnary speaks the wire by hand, as a plugin in another language does: no
// mutual TLS, no stream, no health service, nothing of go-plugin.
func serveUnary() {
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	g := grpc.NewServer()
	actionv1.RegisterActionServiceServer(g, unaryOnly{s: actions.NewServer(&fake{name: "unary"})})
	fmt.Printf("1|1|unix|%s|grpc\n", path)
	_ = g.Serve(l)
}

func modes() map[string]host.Spec {
	no := false
	return map[string]host.Spec{
		"stream": {Action: "a", Plugin: "fake"},
		"plain":  {Action: "a", Plugin: "fake", MTLS: &no},
		"unary":  {Action: "a", Plugin: "unary", MTLS: &no},
	}
}

func TestRunOutcomes(t *testing.T) {
	t.Parallel()
	for name, spec := range modes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil, spec)
			if r := b.do(t, "1", order{Do: "echo", Text: "hello"}); r.GetStatus() != actionv1.Status_STATUS_DONE || r.GetOutput() != "hello" {
				t.Errorf("echo: %v", r)
			}
			r := b.do(t, "2", order{Do: "fail"})
			if r.GetStatus() != actionv1.Status_STATUS_FAILED || r.GetError() != "busy" ||
				r.GetRetryAfter().AsDuration() != 7*time.Second || r.GetOutput() != "half" {
				t.Errorf("fail: %v", r)
			}
			r = b.do(t, "3", order{Do: "permanent"})
			if r.GetStatus() != actionv1.Status_STATUS_PERMANENT || r.GetError() != "outer: never" {
				t.Errorf("permanent: %v", r)
			}
			if out := b.do(t, "4", order{Do: "stdin"}).GetOutput(); out != "0 bytes, <nil>" {
				t.Errorf("stdin: %s", out)
			}
			if r := b.do(t, "5", order{Do: "echo", Text: strings.Repeat("e", 200<<10)}); len(r.GetOutput()) > actions.MaxOutput {
				t.Errorf("output of %d bytes kept", len(r.GetOutput()))
			}
			if _, err := b.Run(b.ctx, "b", request("6", order{})); isKind(err) != "unavailable" {
				t.Errorf("unknown action: %v", err)
			}
		})
	}
}

func TestDeadlineReachesThePluginAndItsResultIsPreferred(t *testing.T) {
	t.Parallel()
	for name, spec := range modes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil, spec)
			pid := b.pid(t, "0")
			ctx, cancel := context.WithTimeout(b.ctx, 100*time.Millisecond)
			defer cancel()
			res, err := b.Run(ctx, "a", request("1", order{Do: "wait", File: filepath.Join(t.TempDir(), "f")}))
			if err != nil || res.GetOutput() != "stopped cleanly" {
				t.Fatalf("%v, %v", res, err)
			}
			if b.pid(t, "2") != pid {
				t.Error("the plugin was restarted")
			}
		})
	}
}

// stoodStill is a context whose deadline passes without ending it, as when the
// process stands still just then.
type stoodStill struct{ context.Context }

func (stoodStill) Deadline() (time.Time, bool) { return time.Now().Add(-time.Millisecond), true }

func TestNothingIsSentAfterTheDeadline(t *testing.T) {
	t.Parallel()
	for name, spec := range modes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil, spec)
			pid := b.pid(t, "0")
			file := filepath.Join(t.TempDir(), "f")
			if res, err := b.Run(stoodStill{b.ctx}, "a", request("1", order{Do: "wait", File: file})); isKind(err) != "late" {
				t.Fatalf("%v, %v", res, err)
			}
			if b.pid(t, "2") != pid {
				t.Error("the plugin was restarted")
			}
			if _, err := os.Stat(file); err == nil {
				t.Error("the run was begun")
			}
		})
	}
}

func TestCancelPrefersTheResult(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, modes()["stream"])
	file := filepath.Join(t.TempDir(), "f")
	ctx, cancel := context.WithCancel(b.ctx)
	go func() {
		for {
			if _, err := os.Stat(file); err == nil || b.ctx.Err() != nil {
				cancel()
				return
			}
			<-time.After(time.Millisecond)
		}
	}()
	res, err := b.Run(ctx, "a", request("1", order{Do: "wait", File: file}))
	if err != nil || res.GetOutput() != "stopped cleanly" {
		t.Fatalf("%v, %v", res, err)
	}
}

func TestPluginThatIgnoresCancelIsGoneBeforeTheTimeoutIsReported(t *testing.T) {
	t.Parallel()
	for name, spec := range modes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil, spec)
			pid := b.pid(t, "0")
			ctx, cancel := context.WithTimeout(b.ctx, 50*time.Millisecond)
			defer cancel()
			_, err := b.Run(ctx, "a", request("1", order{Do: "stubborn", File: filepath.Join(t.TempDir(), "f")}))
			if isKind(err) != "timeout" {
				t.Fatal(err)
			}
			if alive(pid) {
				t.Error("the plugin still runs")
			}
			if b.pid(t, "2") == pid {
				t.Error("not restarted")
			}
		})
	}
}

func TestCreditsBoundTheOpenRuns(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, host.Spec{Action: "a", Plugin: "two"})
	b.pid(t, "0") // it is started before the time runs
	file := filepath.Join(t.TempDir(), "f")
	open := func() int {
		text, _ := os.ReadFile(file) // not there before the first
		return len(text)
	}
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	kinds := make(chan string, 2)
	meet := func(ctx context.Context, id string) string { // three can only meet when three are open
		res, err := b.Run(ctx, "a", request(id, order{Do: "meet", File: file, N: 3}))
		return fmt.Sprintf("%s %v", isKind(err), res.GetStatus())
	}
	for i := range 2 {
		go func() { kinds <- meet(ctx, fmt.Sprint(i)) }()
	}
	until(t, 20*time.Second, "two open runs", func() bool { return open() == 2 })
	// Its time ends before that of the others: nothing can let it in.
	short, stop := context.WithTimeout(b.ctx, 300*time.Millisecond)
	defer stop()
	if got := meet(short, "third"); strings.HasPrefix(got, "none ") || open() != 2 {
		t.Errorf("the third: %s, %d have been open", got, open())
	}
	cancel()
	for range 2 {
		if got := <-kinds; got != "none STATUS_FAILED" {
			t.Errorf("%s, want one that waited in vain for the third", got)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, modes()["stream"])
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			text := fmt.Sprint("n", i)
			res, err := b.Run(b.ctx, "a", request(text, order{Do: "echo", Text: text}))
			if err != nil || res.GetOutput() != text {
				t.Errorf("%v, %v", res, err)
			}
		})
	}
	wg.Wait()
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, modes()["stream"])
	r := request("1", order{Do: "panic", Text: "must not be sent"})
	r.DryRun = true
	res, err := b.Run(b.ctx, "a", r)
	if err != nil || !strings.Contains(res.GetOutput(), "nothing was sent") {
		t.Errorf("%v, %v", res, err)
	}
}
