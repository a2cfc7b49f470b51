package host_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/host"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// byHand serves a service without mutual TLS, as other languages do.
func byHand(s actionv1.ActionServiceServer) {
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	g := grpc.NewServer(grpc.MaxSendMsgSize(64 << 20))
	actionv1.RegisterActionServiceServer(g, s)
	fmt.Printf("1|1|unix|%s|grpc\n", path)
	_ = g.Serve(l)
}

// wire answers as params say, whatever the contract says.
type wire struct {
	actionv1.UnimplementedActionServiceServer
	unary bool
}

func serveWire() { byHand(&wire{unary: os.Getenv("UNARY") != ""}) }

func (w *wire) Describe(context.Context, *actionv1.DescribeRequest) (*actionv1.DescribeResponse, error) {
	return &actionv1.DescribeResponse{Name: "wire", Version: "1.0.0"}, nil
}

func (w *wire) Run(_ context.Context, r *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	out, err := answers(r)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

func (w *wire) Stream(s actionv1.ActionService_StreamServer) error {
	if w.unary {
		return w.UnimplementedActionServiceServer.Stream(s)
	}
	if err := s.Send(&actionv1.StreamResponse{Credits: 10}); err != nil {
		return err
	}
	for {
		msg, err := s.Recv()
		if err != nil {
			return err
		}
		for _, r := range msg.GetRuns() {
			results, err := answers(r)
			if err != nil {
				return err
			}
			if err := s.Send(&actionv1.StreamResponse{Results: results}); err != nil {
				return err
			}
		}
	}
}

func answers(r *actionv1.RunRequest) ([]*actionv1.RunResponse, error) {
	var o order
	if err := json.Unmarshal(r.GetParams(), &o); err != nil {
		return nil, err
	}
	res := &actionv1.RunResponse{DeliveryId: r.GetDeliveryId(), Attempt: r.GetAttempt(), Status: actionv1.Status_STATUS_DONE, Output: "fine"}
	switch o.Do {
	case "big":
		res.Output = strings.Repeat("b", 32<<20)
	case "other delivery":
		res.DeliveryId = "another"
	case "other attempt":
		res.Attempt++
	case "unknown status":
		res.Status = 99
	case "no status":
		res = &actionv1.RunResponse{DeliveryId: res.DeliveryId, Attempt: res.Attempt}
	case "no reason":
		res.Status = actionv1.Status_STATUS_PERMANENT
	case "done and retry":
		res.Error, res.RetryAfter = "what", durationpb.New(time.Hour)
	case "negative retry":
		res.Status, res.Error, res.RetryAfter = actionv1.Status_STATUS_FAILED, "what", durationpb.New(-time.Hour)
	case "wild retry":
		res.Status, res.Error, res.RetryAfter = actionv1.Status_STATUS_FAILED, "what", &durationpb.Duration{Seconds: 1, Nanos: -7}
	case "long error":
		res.Status, res.Error = actionv1.Status_STATUS_FAILED, strings.Repeat("é", 1<<20)
	case "twice":
		return []*actionv1.RunResponse{res, {DeliveryId: res.DeliveryId, Attempt: res.Attempt, Status: actionv1.Status_STATUS_FAILED}}, nil
	}
	return []*actionv1.RunResponse{res}, nil
}

func wires() map[string]host.Spec {
	no := false
	return map[string]host.Spec{
		"stream": {Action: "a", Plugin: "wire", MTLS: &no},
		"unary":  {Action: "a", Plugin: "wire", MTLS: &no, Env: []string{"UNARY=1"}},
	}
}

// Whatever form a result has, the run ends, and the next is served.
func TestMalformedResults(t *testing.T) {
	t.Parallel()
	type want struct{ kind, status, text string }
	cases := map[string]map[string]want{
		"unknown status": {"": {"none", "STATUS_FAILED", "unknown status 99"}},
		"no status":      {"": {"none", "STATUS_FAILED", "unknown status 0"}},
		"no reason":      {"": {"none", "STATUS_PERMANENT", "gave no reason"}},
		"done and retry": {"": {"none", "STATUS_DONE", ""}},
		"negative retry": {"": {"none", "STATUS_FAILED", "what"}},
		"wild retry":     {"": {"none", "STATUS_FAILED", "what"}},
		"long error":     {"": {"none", "STATUS_FAILED", "éé"}},
		"twice":          {"": {"none", "STATUS_DONE", ""}},
		// On a call of its own there is no doubt which run a result is for.
		"other delivery": {"stream": {"timeout", "", "no result within"}, "unary": {"none", "STATUS_DONE", ""}},
		"other attempt":  {"stream": {"timeout", "", "no result within"}, "unary": {"none", "STATUS_DONE", ""}},
		// A message over the limit breaks the stream, and ends one call.
		"big": {"stream": {"crashed", "", "larger than max"}, "unary": {"none", "STATUS_PERMANENT", "larger than max"}},
	}
	for do, wants := range cases {
		for mode, spec := range wires() {
			t.Run(do+" "+mode, func(t *testing.T) {
				t.Parallel()
				w, ok := wants[mode]
				if !ok {
					w = wants[""]
				}
				b := setup(t, nil, spec)
				b.do(t, "0", order{Do: "fine"})
				limit := 30 * time.Second
				if w.kind == "timeout" {
					limit = 200 * time.Millisecond
				}
				ctx, cancel := context.WithTimeout(b.ctx, limit)
				defer cancel()
				res, err := b.Run(ctx, "a", request("1", order{Do: do}))
				if kind := isKind(err); kind != w.kind || err != nil && !strings.Contains(err.Error(), w.text) {
					t.Errorf("got %v, want %s %q", err, w.kind, w.text)
				}
				if err == nil {
					if res.GetStatus().String() != w.status || !strings.Contains(res.GetError(), w.text) ||
						res.GetDeliveryId() != "1" || res.GetAttempt() != 1 || res.GetRetryAfter() != nil ||
						len(res.GetError()) > 4<<10 || w.text == "" && res.GetError() != "" {
						t.Errorf("got %.300v", res)
					}
				}
				if out := b.do(t, "2", order{Do: "fine"}).GetOutput(); out != "fine" {
					t.Errorf("the next run: %q", out)
				}
			})
		}
	}
}

// serveVersions serves protocol versions of a later pointsman: both has the
// present one too.
func serveVersions(name string) {
	set := plugin.PluginSet{actions.PluginName: &actions.Plugin{Service: actions.NewServer(&fake{name: name})}}
	handshake := actions.Handshake()
	cfg := &plugin.ServeConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: map[int]plugin.PluginSet{2: set, 3: set},
		Logger:           hclog.NewNullLogger(),
		GRPCServer:       plugin.DefaultGRPCServer,
	}
	if name == "both" {
		cfg.VersionedPlugins[1] = set
	}
	plugin.Serve(cfg)
}

func TestProtocolVersions(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, host.Spec{Action: "a", Plugin: "future"})
	_, err := b.Run(b.ctx, "a", request("1", order{Do: "echo"}))
	want := `it speaks version "2" of the plugin protocol and this router speaks version 1; use a build of the plugin`
	if isKind(err) != "unavailable" || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if st := b.Status()[0]; st.State != host.Failed {
		t.Errorf("state %s", st.State)
	}
	// One that speaks several is asked for the one of this router.
	b = setup(t, nil, host.Spec{Action: "a", Plugin: "both"})
	if out := b.do(t, "1", order{Do: "echo", Text: "hello"}).GetOutput(); out != "hello" {
		t.Errorf("output %q", out)
	}
}

// parts is an older minor version: some calls are not there yet.
type parts struct {
	actionv1.ActionServiceServer
	none              actionv1.UnimplementedActionServiceServer
	stream, configure bool
}

func serveParts(stream, configure bool) {
	byHand(&parts{ActionServiceServer: actions.NewServer(&fake{}), stream: stream, configure: configure})
}

func (p *parts) Configure(ctx context.Context, r *actionv1.ConfigureRequest) (*actionv1.ConfigureResponse, error) {
	if !p.configure {
		return p.none.Configure(ctx, r)
	}
	return p.ActionServiceServer.Configure(ctx, r)
}

func (p *parts) Stream(s actionv1.ActionService_StreamServer) error {
	if !p.stream {
		return p.none.Stream(s)
	}
	return p.ActionServiceServer.Stream(s)
}

func TestOlderMinorVersions(t *testing.T) {
	t.Parallel()
	no := false
	for name, tc := range map[string]struct{ settings, want string }{
		"no-configure":               {"", ""},
		"no-stream":                  {`{"greeting":"x"}`, ""},
		"no-configure with settings": {`{"greeting":"x"}`, "the plugin has no Configure to take them"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plugin, _, _ := strings.Cut(name, " ")
			b := setup(t, nil, host.Spec{Action: "a", Plugin: plugin, MTLS: &no, Settings: []byte(tc.settings)})
			res, err := b.Run(b.ctx, "a", request("1", order{Do: "echo", Text: "hello"}))
			switch {
			case tc.want == "" && (err != nil || res.GetOutput() != "hello"):
				t.Errorf("got %v, %v", res, err)
			case tc.want != "" && (isKind(err) != "unavailable" || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
