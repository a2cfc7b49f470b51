package host

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/pointsman/pointsman/actions"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// unaryInFlight bounds the open runs of a plugin without the stream.
const unaryInFlight = 64

// window is how many bytes a plugin may have on its way to the router: a sign of
// life waits behind them. It is fixed for the reason of actions.Window.
const window = 64 << 10

// instance is one running plugin process that has answered.
type instance struct {
	h     *Host
	spec  *Spec
	log   *slog.Logger
	proc  *process
	conn  *grpc.ClientConn
	svc   actionv1.ActionServiceClient
	desc  actions.Description
	check *schemas

	ctx    context.Context // ends with the process
	cancel context.CancelFunc
	wg     sync.WaitGroup

	stream *stream       // nil: unary calls
	slots  chan struct{} // of unary calls

	// stopped: the end is ours and not a crash.
	stopped atomic.Bool
	// overdue: it was stopped for a run that gave no result in time.
	overdue atomic.Bool
	reason  atomic.Pointer[string]
	// gone is closed when the process, its descendants and all goroutines of
	// this instance are gone and its open runs are settled.
	gone chan struct{}
}

// permanent marks a failure to start that the same file and settings will have
// again.
type permanent struct{ error }

func (e permanent) Unwrap() error { return e.error }

// launch starts a plugin and asks for its description; with begin it makes it
// ready for runs too. On an error nothing of it is left.
func (h *Host) launch(ctx context.Context, spec *Spec, begin bool) (*instance, error) {
	log := h.cfg.Log.With("action", spec.Action, "plugin", spec.Plugin)
	p, err := h.newProcess(spec, log)
	if err != nil {
		return nil, permanent{err}
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.StartTimeout)
	defer cancel()
	tlsConfig, socket, err := h.handshake(p)
	if err != nil {
		if p.image != nil {
			_ = p.image.Close()
		}
		if p.sockets != "" {
			_ = os.RemoveAll(p.sockets)
		}
		return nil, err
	}
	in := &instance{h: h, spec: spec, log: log, proc: p, gone: make(chan struct{})}
	in.ctx, in.cancel = context.WithCancel(context.Background())
	creds := insecure.NewCredentials()
	if spec.mtls() {
		creds = credentials.NewTLS(tlsConfig)
	}
	in.conn, err = grpc.NewClient("passthrough:///plugin",
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}),
		grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(actions.MaxMessage),
			grpc.MaxCallSendMsgSize(actions.MaxMessage)))
	if err != nil {
		p.kill()
		<-p.gone
		_ = os.RemoveAll(p.sockets)
		in.cancel()
		return nil, err
	}
	in.svc = actionv1.NewActionServiceClient(in.conn)
	in.wg.Go(func() {
		<-p.gone
		in.cancel()
	})
	in.wg.Go(in.drainStdio)
	stop := context.AfterFunc(in.ctx, cancel) // a call to a dead process is over
	defer stop()
	err = in.describe(ctx)
	if err == nil && begin {
		err = in.begin(ctx)
	}
	go in.cleanup()
	if err != nil {
		in.kill("it could not be started")
		<-in.gone
		return nil, err
	}
	return in, nil
}

// handshake lets go-plugin start the process and make the certificates.
func (h *Host) handshake(p *process) (cfg *tls.Config, socket string, err error) {
	defer func() {
		// A handshake that go-plugin cannot digest must not end the router.
		if r := recover(); r != nil {
			if p.cmd != nil {
				p.kill()
				<-p.gone
			}
			err = fmt.Errorf("handshake: %v", r)
		}
	}()
	config := &plugin.ClientConfig{
		HandshakeConfig:  actions.Handshake(),
		Plugins:          plugin.PluginSet{actions.PluginName: &actions.Plugin{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.NewNullLogger(),
		StartTimeout:     h.cfg.StartTimeout,
		AutoMTLS:         p.mtls,
		SkipHostEnv:      true,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.parent},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, dir string) (runner.Runner, error) {
			p.env = append(p.env, cmd.Env...)
			p.sockets = dir
			if p.account != nil {
				if err := os.Chown(dir, int(p.account.uid), int(p.account.gid)); err != nil {
					return nil, err
				}
			}
			return p, nil
		},
	}
	addr, err := plugin.NewClient(config).Start()
	if err != nil {
		return nil, "", err
	}
	return config.TLSConfig, addr.String(), nil
}

// describe asks what the plugin is and checks the settings against it.
func (in *instance) describe(ctx context.Context) error {
	res, err := in.svc.Describe(ctx, &actionv1.DescribeRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("describe: %w", in.explain(err))
	}
	if in.desc, err = actions.DescriptionFrom(res); err != nil {
		return permanent{err}
	}
	if in.check, err = compile(in.desc); err != nil {
		return permanent{err}
	}
	return nil
}

// explain adds how the process ended to an error of a call, when it has.
func (in *instance) explain(err error) error {
	select {
	case <-in.proc.gone:
		return fmt.Errorf("%w (%s)", err, in.end())
	case <-time.After(100 * time.Millisecond):
		return err
	}
}

// begin hands over the settings and opens the stream.
func (in *instance) begin(ctx context.Context) error {
	if err := in.check.checkSettings(in.spec.settings()); err != nil {
		return permanent{err}
	}
	_, err := in.svc.Configure(ctx, &actionv1.ConfigureRequest{
		Action: in.spec.Action, Settings: in.spec.settings(), Dir: in.spec.Dir,
	})
	switch status.Code(err) {
	case codes.OK:
	case codes.Unimplemented:
		if string(bytes.TrimSpace(in.spec.settings())) != "{}" {
			return permanent{errors.New("settings are configured, and the plugin has no Configure to take them")}
		}
	case codes.InvalidArgument:
		return permanent{fmt.Errorf("settings refused: %s", shorten(clean(status.Convert(err).Message()), 1000))}
	default:
		return fmt.Errorf("configure: %w", in.explain(err))
	}
	wire, err := in.svc.Stream(in.ctx)
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	// The call lives as long as the instance, the first answer must come in time.
	late := context.AfterFunc(ctx, func() { in.kill("it announced no credits in time") })
	first, err := wire.Recv()
	if !late() {
		return errors.New("stream: no credits in time")
	}
	limit := in.spec.MaxInFlight
	switch {
	case status.Code(err) == codes.Unimplemented:
		if limit <= 0 {
			limit = unaryInFlight
		}
		in.slots = make(chan struct{}, limit)
	case err != nil:
		return fmt.Errorf("stream: %w", in.explain(err))
	case first.GetCredits() == 0:
		return permanent{errors.New("stream: the first message announces no credits")}
	default:
		credits := int(min(first.GetCredits(), 1<<16))
		if limit <= 0 || limit > credits {
			limit = credits
		}
		in.stream = newStream(wire, limit)
		in.wg.Go(func() { in.stream.sendLoop(in.ctx) })
		in.wg.Go(func() {
			err := in.stream.recvLoop()
			in.kill(shorten(clean("the stream broke: "+status.Convert(err).Message()), 300))
		})
	}
	in.wg.Go(in.watch)
	return nil
}

// cleanup is the last to leave.
func (in *instance) cleanup() {
	<-in.ctx.Done()
	_ = in.conn.Close()
	in.wg.Wait()
	_ = os.RemoveAll(in.proc.sockets)
	if in.stream != nil {
		in.stream.fail(&Error{kindCrashed, in.spec.Action, errors.New(in.end())})
	}
	close(in.gone)
}

// end says how the process ended; only when it has.
func (in *instance) end() string {
	text := in.proc.exit
	if r := in.proc.lines.crashReason(); r != "" {
		text += ": " + r
	}
	if r := in.reason.Load(); r != nil {
		text = *r + " (" + text + ")"
	}
	return text
}

// kill ends the process at once, for a reason. It does not wait.
func (in *instance) kill(why string) {
	select {
	case <-in.ctx.Done():
		return
	default:
	}
	if !in.stopped.Load() {
		in.reason.CompareAndSwap(nil, &why)
	}
	in.proc.kill()
}

// terminate asks the process to end, then kills it; it returns when all is gone.
func (in *instance) terminate(why string) {
	in.reason.CompareAndSwap(nil, &why)
	in.proc.terminate()
	<-in.gone
}

// stop ends an instance without open runs.
func (in *instance) stop() {
	in.stopped.Store(true)
	ctx, cancel := context.WithTimeout(in.ctx, termGrace)
	defer cancel()
	// go-plugin's way to ask; a plugin in another language may lack it.
	err := in.conn.Invoke(ctx, "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
	if status.Code(err) != codes.Unimplemented {
		select {
		case <-in.proc.gone:
		case <-ctx.Done():
		}
	}
	in.proc.terminate()
	<-in.gone
}

// drainStdio reads what a plugin that uses go-plugin's own redirection prints;
// unread it would block.
func (in *instance) drainStdio() {
	s, err := in.conn.NewStream(in.ctx, &grpc.StreamDesc{ServerStreams: true},
		"/plugin.GRPCStdio/StreamStdio", grpc.WaitForReady(true))
	if err != nil || s.SendMsg(&emptypb.Empty{}) != nil || s.CloseSend() != nil {
		return
	}
	for s.RecvMsg(&emptypb.Empty{}) == nil {
	}
}

// watch asks for a sign of life and kills a process that gives none.
func (in *instance) watch() {
	misses := 0
	useDescribe := false
	for {
		pause := in.h.cfg.HealthEvery
		if misses > 0 {
			pause /= 5
		}
		select {
		case <-in.ctx.Done():
			return
		case <-time.After(pause):
		}
		ctx, cancel := context.WithTimeout(in.ctx, in.h.cfg.HealthDeadline)
		err := in.ping(ctx, &useDescribe)
		cancel()
		if err == nil {
			misses = 0
			continue
		}
		if misses++; misses == 3 {
			in.kill("it gave no sign of life three times")
			return
		}
	}
}

func (in *instance) ping(ctx context.Context, useDescribe *bool) error {
	if !*useDescribe {
		r, err := grpc_health_v1.NewHealthClient(in.conn).Check(ctx,
			&grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName})
		switch {
		case status.Code(err) == codes.Unimplemented || status.Code(err) == codes.NotFound:
			*useDescribe = true
		case err != nil:
			return err
		case r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING:
			return errors.New("not serving")
		default:
			return nil
		}
	}
	_, err := in.svc.Describe(ctx, &actionv1.DescribeRequest{})
	return err
}
