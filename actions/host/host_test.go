package host_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/host"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// TestMain makes this binary its own reaper, plugins and router.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "reaper":
			os.Exit(host.ReaperMain(os.Args[2:]))
		case "plugin":
			servePlugin(os.Args[2])
		case "router":
			childRouter(os.Args[2])
		}
	}
	if os.Getenv("TEST_PLUGIN") != "" {
		servePlugin(os.Getenv("TEST_PLUGIN"))
	}
	goleak.VerifyTestMain(m)
}

// fake is the plugin under test; params say what to do.
type fake struct {
	name      string
	described atomic.Int64
}

type order struct {
	Do   string `json:"do"`
	File string `json:"file"`
	Text string `json:"text"`
	N    int    `json:"n"`
}

func (f *fake) Describe() actions.Description {
	f.described.Add(1)
	return actions.Description{
		Name: "fake", Version: "1.2.3", Summary: "a test",
		SettingsSchema: json.RawMessage(`{"type":"object","additionalProperties":false,"properties":{"greeting":{"type":"string"}}}`),
		ParamsSchema:   json.RawMessage(`{"type":["object","null"],"properties":{"n":{"type":"integer"}}}`),
		DryRun:         f.name == "dry",
	}
}

func (f *fake) Configure(context.Context, actions.Settings) error { return nil }

func (f *fake) Credits() int {
	if f.name == "two" {
		return 2
	}
	return 256
}

func (f *fake) Run(ctx context.Context, req *actions.Request) (*actions.Result, error) {
	var o order
	if err := req.Decode(&o); err != nil {
		return nil, actions.Permanent(err)
	}
	switch o.Do {
	case "echo":
		return &actions.Result{Output: o.Text}, nil
	case "pid":
		return &actions.Result{Output: strconv.Itoa(os.Getpid())}, nil
	case "described":
		return &actions.Result{Output: strconv.FormatInt(f.described.Load(), 10)}, nil
	case "fail":
		return &actions.Result{Output: "half"}, actions.RetryAfter(errors.New("busy"), 7*time.Second)
	case "permanent":
		return nil, fmt.Errorf("outer: %w", actions.Permanent(errors.New("never")))
	case "wait":
		_ = os.WriteFile(o.File, nil, 0o600)
		<-ctx.Done()
		return &actions.Result{Output: "stopped cleanly"}, nil
	case "meet":
		return meet(ctx, o)
	case "stubborn":
		_ = os.WriteFile(o.File, []byte(strconv.Itoa(os.Getpid())), 0o600)
		select {}
	case "panic":
		panic(o.Text)
	case "env":
		return &actions.Result{Output: strings.Join(os.Environ(), "\n")}, nil
	case "stdin":
		b, err := io.ReadAll(os.Stdin)
		return &actions.Result{Output: fmt.Sprintf("%d bytes, %v", len(b), err)}, nil
	case "noise":
		noise()
		return &actions.Result{Output: "quiet again"}, nil
	case "spawn":
		if err := spawn(o.File); err != nil {
			return nil, err
		}
		if o.Text == "crash" {
			os.Exit(3)
		}
		return &actions.Result{}, nil
	}
	return hog(ctx, o)
}

// meet returns when n runs are here at once.
func meet(ctx context.Context, o order) (*actions.Result, error) {
	f, err := os.OpenFile(o.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	_, _ = f.Write([]byte("x"))
	_ = f.Close()
	for ctx.Err() == nil {
		if b, _ := os.ReadFile(o.File); len(b) >= o.N {
			return &actions.Result{}, nil
		}
		<-time.After(time.Millisecond)
	}
	return nil, ctx.Err()
}

// fd is the plugin's real output; go-plugin has put pipes in its place.
func fd(n int) *os.File {
	d, err := syscall.Dup(n) // a File closes its descriptor when it is collected
	if err != nil {
		panic(err)
	}
	return os.NewFile(uintptr(d), "fd")
}

func noise() {
	fmt.Fprintln(fd(2), `{"@message":1,"@level":2,"@timestamp":true}`)
	fmt.Fprintln(fd(2), "\x1b[31mred\x00\xff")
	_, _ = fd(2).Write(bytes.Repeat([]byte("y"), 1<<20))
	_, _ = fd(2).Write([]byte("\n"))
	for range 64 {
		_, _ = fd(1).Write(bytes.Repeat([]byte("z"), 4<<10))
		fmt.Print(strings.Repeat("p", 4<<10))
	}
	fmt.Println()
	actions.Logger().Warn("structured", "port", 7)
}

// spawn leaves two processes behind: one in the group, one with a session of its
// own and no environment that holds the pipes. Their pids go to file.
func spawn(file string) error {
	sh := `sleep 1000 & echo $! >>"$0"; setsid env -i /bin/sh -c 'echo $$ >>"$0"; exec /bin/sleep 1000' "$0" & wait_for() { while [ "$(wc -l <"$0")" -lt 2 ]; do :; done; }; wait_for`
	cmd := exec.Command("/bin/sh", "-c", sh, file)
	cmd.Stdout, cmd.Stderr = fd(1), fd(2)
	return cmd.Run()
}

func servePlugin(name string) {
	switch name {
	case "exit":
		os.Exit(4)
	case "unary":
		serveUnary()
	case "wire":
		serveWire()
	case "torment":
		serveTorment()
	case "future", "both":
		serveVersions(name)
	case "no-configure":
		serveParts(true, false)
	case "no-stream":
		serveParts(false, true)
	default:
		actions.Serve(&fake{name: name})
	}
	os.Exit(0)
}

// childRouter runs a host that leaves descendants behind, and waits to be
// killed.
func childRouter(dir string) {
	cfg := testConfig(slog.New(slog.DiscardHandler))
	cfg.RunDir = dir
	h, err := host.New(cfg)
	if err == nil {
		err = h.Add(host.Spec{Action: "a", Plugin: "fake"})
	}
	if err == nil {
		_, err = h.Run(context.Background(), "a", request("1", order{Do: "spawn", File: filepath.Join(dir, "pids")}))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	res, _ := h.Run(context.Background(), "a", request("2", order{Do: "pid"}))
	fmt.Println(res.GetOutput())
	select {}
}

func testConfig(log *slog.Logger) host.Config {
	desc := (&fake{}).Describe()
	return host.Config{
		Log: log,
		Bundled: map[string]actions.Description{
			"fake": desc, "two": desc, "unary": desc, "exit": desc, "dry": (&fake{name: "dry"}).Describe(),
			"wire": desc, "torment": desc, "future": desc, "both": desc, "no-configure": desc, "no-stream": desc,
		},
		CancelGrace: 300 * time.Millisecond,
	}
}

func request(id string, o order) *actionv1.RunRequest {
	params, _ := json.Marshal(o)
	return &actionv1.RunRequest{DeliveryId: id, Attempt: 1, Params: params, Event: []byte(`{}`)}
}

// syncBuffer is a log to look into.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

type bundle struct {
	*host.Host
	log *syncBuffer
	ctx context.Context
}

func setup(t testing.TB, change func(*host.Config), specs ...host.Spec) *bundle {
	t.Helper()
	log := &syncBuffer{}
	cfg := testConfig(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if change != nil {
		change(&cfg)
	}
	h, err := host.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(func() {
		h.Close(ctx)
		cancel()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for _, s := range specs {
		if err := h.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	return &bundle{h, log, ctx}
}

// do runs one order that must have a result.
func (b *bundle) do(t testing.TB, id string, o order) *actionv1.RunResponse {
	t.Helper()
	res, err := b.Run(b.ctx, "a", request(id, o))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (b *bundle) pid(t testing.TB, id string) int {
	t.Helper()
	n, err := strconv.Atoi(b.do(t, id, order{Do: "pid"}).GetOutput())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// until polls for what only another process can bring about.
func until(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		<-time.After(time.Millisecond)
	}
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z ")) && syscall.Kill(pid, 0) == nil
}

func readPids(t testing.TB, file string) []int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, f := range strings.Fields(string(text)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	if len(out) != 2 {
		t.Fatalf("pids %q, want two", text)
	}
	return out
}

// external writes an executable and returns a spec for it.
func external(t testing.TB, content []byte, mode os.FileMode) host.Spec {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plug")
	if err := os.WriteFile(path, content, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return host.Spec{Action: "a", Plugin: path, SHA256: hex.EncodeToString(sum[:])}
}

func isKind(err error) string {
	var e *host.Error
	switch {
	case err == nil:
		return "none"
	case !errors.As(err, &e):
		return "other"
	case e.Crashed():
		return "crashed"
	case e.Unavailable():
		return "unavailable"
	case e.Timeout():
		return "timeout"
	case e.Late():
		return "late"
	}
	return "?"
}
