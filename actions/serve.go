package actions

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// The handshake. It tells a plugin that it was started by a router; it is no
// secret and protects nothing.
const (
	ProtocolVersion  = 1
	MagicCookieKey   = "POINTSMAN_PLUGIN"
	MagicCookieValue = "pointsman.action.v1"
	// PluginName is the name under which go-plugin dispenses the service.
	PluginName = "action"
)

// drainFlush is how long a drained plugin gives its last results to leave.
const drainFlush = 200 * time.Millisecond

// Handshake returns the handshake for go-plugin.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  ProtocolVersion,
		MagicCookieKey:   MagicCookieKey,
		MagicCookieValue: MagicCookieValue,
	}
}

// Plugin is the go-plugin side of a Server.
type Plugin struct {
	plugin.NetRPCUnsupportedPlugin
	Service *Server
}

var _ plugin.GRPCPlugin = (*Plugin)(nil)

// GRPCServer implements plugin.GRPCPlugin.
func (p *Plugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	actionv1.RegisterActionServiceServer(s, p.Service)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin; it returns an
// actionv1.ActionServiceClient.
func (p *Plugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return actionv1.NewActionServiceClient(c), nil
}

// Serve is main for a plugin. It does not return.
//
// Started by a router it serves a until the router ends it. SIGTERM drains: no
// new runs, open ones are finished and answered, exit 0. SIGINT and SIGPIPE are
// ignored. What the action prints on os.Stdout goes to standard error, which
// the router logs.
//
// Started by hand it says what it is and exits 1; with the argument "describe"
// it prints the Description as JSON and exits 0.
func Serve(a Action) {
	if len(os.Args) == 2 && os.Args[1] == "describe" {
		os.Exit(describe(a))
	}
	if os.Getenv(MagicCookieKey) != MagicCookieValue {
		d := a.Describe()
		fmt.Fprintf(os.Stderr, "%s %s: %s\n\n"+
			"This is a plugin of pointsman, which starts it by itself. Name it in pointsman.yaml:\n\n"+
			"    actions:\n      - {name: %s, plugin: %s, sha256: ...}\n\n"+
			"To see its settings and parameters: %s describe\nTo try it: pointsman plugins test %s\n",
			d.Name, d.Version, d.Summary, d.Name, os.Args[0], os.Args[0], os.Args[0])
		os.Exit(1)
	}
	s := NewServer(a)
	stderr := os.Stderr
	s.onUse = func() {
		// go-plugin has put pipes in place of both, which block the writer when
		// the router does not read them.
		os.Stdout, os.Stderr = stderr, stderr
	}
	// Notify and not Ignore: an ignored signal is inherited by every process the
	// plugin starts.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: Handshake(),
		Plugins:         plugin.PluginSet{PluginName: &Plugin{Service: s}},
		Logger:          hclog.NewNullLogger(),
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			g := grpc.NewServer(append(opts, ServerOptions()...)...)
			go func() {
				<-term
				s.drain()
				// The last results are queued; GracefulStop lets them out, but would
				// wait for ever for go-plugin's own open streams.
				time.AfterFunc(drainFlush, g.Stop)
				g.GracefulStop()
			}()
			return g
		},
	})
	os.Exit(0)
}

func describe(a Action) int {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(a.Describe()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Logger returns a logger whose lines the router repeats in its own log, with
// their level and attributes. Lines over 8 KiB are cut, and more than 100 a
// second are dropped and counted.
func Logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(stderr{}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// stderr writes to standard error itself, whatever os.Stderr is at the time.
type stderr struct{}

func (stderr) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := syscall.Write(syscall.Stderr, p[n:])
		if err == syscall.EINTR || err == syscall.EAGAIN {
			continue
		}
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}
