package host_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// serveTorment is a plugin that does what TORMENT says.
func serveTorment() {
	mode := os.Getenv("TORMENT")
	if f := beforeHandshake(mode); f != nil {
		f()
		return
	}
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	handshake := "1|1|unix|" + path + "|grpc"
	var l net.Listener
	var err error
	if mode == "symlink for a socket" {
		l, err = net.Listen("unix", path+"2")
		err = errors.Join(err, os.Symlink(path+"2", path))
	} else {
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		panic(err)
	}
	switch mode {
	case "garbage on the socket", "closes every connection":
		fmt.Println(handshake)
		badListener(l, mode == "garbage on the socket")
	case "too many fields":
		handshake += strings.Repeat("|"+strings.Repeat("x", 60), 20)
	}
	g := grpc.NewServer(grpc.MaxSendMsgSize(64 << 20))
	actionv1.RegisterActionServiceServer(g, &torment{mode: mode, server: g})
	if mode == "says it does not serve" {
		s := health.NewServer()
		s.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		grpc_health_v1.RegisterHealthServer(g, s)
	}
	fmt.Println(handshake)
	switch mode {
	case "1 GiB line on stdout after the handshake":
		go gigabyte(fd(1))
	case "endless lines on stdout after the handshake":
		go endless(fd(1), "1|1|unix|/x|grpc\n")
	}
	_ = g.Serve(l)
	select {}
}

// beforeHandshake is what never comes to serve, nil for other modes.
func beforeHandshake(mode string) func() {
	if text, ok := strings.CutPrefix(mode, "exit "); ok {
		var code int
		_, _ = fmt.Sscan(text, &code)
		return func() { os.Exit(code) }
	}
	if text, ok := strings.CutPrefix(mode, "signal "); ok {
		var n int
		_, _ = fmt.Sscan(text, &n)
		return func() {
			signal.Reset()
			_ = syscall.Kill(os.Getpid(), syscall.Signal(n))
			select {}
		}
	}
	return map[string]func(){
		"endless lines before the handshake":  func() { endless(os.Stdout, "hello\n") },
		"1 GiB line before the handshake":     func() { gigabyte(os.Stdout) },
		"handshake never ends":                func() { fmt.Print("1|1|unix|"); select {} },
		"handshake in drops":                  func() { drip("1|1|unix|/x|grpc|" + strings.Repeat("A", 1000)) },
		"handshake of NUL, ANSI and no UTF-8": func() { fmt.Print("\x00\x1b[2J\xff|||||||\n"); select {} },
		"frozen before the handshake":         func() { _ = syscall.Kill(os.Getpid(), syscall.SIGSTOP); select {} },
		"daemon before the handshake":         func() { daemon(); os.Exit(7) },
		"kills its reaper":                    func() { _ = syscall.Kill(os.Getppid(), syscall.SIGKILL); select {} },
	}[mode]
}

func drip(text string) {
	for i := range len(text) {
		fmt.Print(text[i : i+1])
		<-time.After(50 * time.Millisecond)
	}
	select {}
}

func gigabyte(w io.Writer) {
	b := bytes.Repeat([]byte("g"), 1<<20)
	for range 1 << 10 {
		_, _ = w.Write(b)
	}
	_, _ = w.Write([]byte("\n"))
}

func endless(w io.Writer, line string) {
	b := []byte(strings.Repeat(line, 1000))
	for {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

// badListener never speaks HTTP/2.
func badListener(l net.Listener, garbage bool) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if garbage {
			_, _ = io.CopyN(c, rand.Reader, 1<<20)
		}
		_ = c.Close()
	}
}

// daemon forks twice, with a session of its own and nothing of the environment,
// and holds the pipes. Its pid goes to the file in PIDS.
func daemon() {
	shell(`setsid env -i /bin/sh -c '/bin/sh -c "echo \$\$ >>$0; exec sleep 1000" "$0" &' "$0"; while ! [ -s "$0" ]; do :; done`)
}

func shell(script string) {
	cmd := exec.Command("/bin/sh", "-c", script, os.Getenv("PIDS"))
	cmd.Stdout, cmd.Stderr = fd(1), fd(2)
	_ = cmd.Run()
}

// torment is the service of a plugin that starts.
type torment struct {
	actionv1.UnimplementedActionServiceServer
	mode   string
	server *grpc.Server
}

func (p *torment) Describe(context.Context, *actionv1.DescribeRequest) (*actionv1.DescribeResponse, error) {
	res := &actionv1.DescribeResponse{Name: "torment", Version: "1.0.0"}
	switch p.mode {
	case "frozen in Describe":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {} // another thread may be stopped first
	case "never describes itself":
		select {}
	case "describes itself in 32 MiB":
		res.Summary = strings.Repeat("s", 32<<20)
	case "has a schema that is none":
		res.ParamsSchema = []byte("\x00not JSON")
	case "ends in Describe":
		os.Exit(9)
	}
	if text, ok := strings.CutPrefix(p.mode, "Describe fails with code "); ok {
		var code uint32
		_, _ = fmt.Sscan(text, &code)
		return nil, status.Error(codes.Code(code), "because of the test")
	}
	return res, nil
}

func (p *torment) Configure(context.Context, *actionv1.ConfigureRequest) (*actionv1.ConfigureResponse, error) {
	if p.mode == "never configured" {
		select {}
	}
	return &actionv1.ConfigureResponse{}, nil
}

func (p *torment) Stream(s actionv1.ActionService_StreamServer) error {
	credits := uint32(10)
	switch p.mode {
	case "no credits at all":
		select {}
	case "zero credits":
		credits = 0
	case "credits of minus one":
		credits = ^uint32(0)
	}
	if strings.HasPrefix(p.mode, "unary ") {
		return p.UnimplementedActionServiceServer.Stream(s)
	}
	if err := s.Send(&actionv1.StreamResponse{Credits: credits}); err != nil {
		return err
	}
	for first := true; ; first = false {
		if p.mode == "never reads" && !first {
			select {}
		}
		msg, err := s.Recv()
		if err != nil {
			return err
		}
		for _, r := range msg.GetRuns() {
			if err := p.answer(s, r); err != nil {
				return err
			}
		}
	}
}

// warm is the delivery that every mode answers.
const warm = "warm"

func done(r *actionv1.RunRequest) *actionv1.RunResponse {
	return &actionv1.RunResponse{
		DeliveryId: r.GetDeliveryId(), Attempt: r.GetAttempt(), Status: actionv1.Status_STATUS_DONE, Output: "fine",
	}
}

// answer does what the mode says in a run on the stream.
func (p *torment) answer(s actionv1.ActionService_StreamServer, r *actionv1.RunRequest) error {
	mode := p.mode
	if r.GetDeliveryId() == warm {
		mode = ""
	}
	switch mode {
	case "frozen in Run":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {} // another thread may be stopped first
	case "endless credits":
		for range 200_000 {
			if err := s.Send(&actionv1.StreamResponse{Credits: 1}); err != nil {
				return err
			}
		}
	case "answers for deliveries of nobody":
		for i := range 100_000 {
			other := done(r)
			other.DeliveryId = fmt.Sprint("nobody-", i)
			if err := s.Send(&actionv1.StreamResponse{Results: []*actionv1.RunResponse{other}}); err != nil {
				return err
			}
		}
	case "answers again and again":
		for range 1000 {
			if err := s.Send(&actionv1.StreamResponse{Results: []*actionv1.RunResponse{done(r), done(r)}}); err != nil {
				return err
			}
		}
		return nil
	case "closes the socket in a run":
		go p.server.Stop()
		select {}
	case "ignores SIGTERM and cancellation":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		select {}
	case "stops its reaper for ever":
		reaper := os.Getppid()
		for range 3 {
			go func() {
				for {
					_ = syscall.Kill(reaper, syscall.SIGSTOP)
				}
			}()
		}
		select {}
	case "daemon in a run":
		daemon()
		os.Exit(7)
	case "long error on the stream":
		return status.Error(codes.Internal, strings.Repeat("e", 1<<20))
	default:
		if text, ok := strings.CutPrefix(mode, "stream fails with code "); ok {
			var code uint32
			_, _ = fmt.Sscan(text, &code)
			return status.Error(codes.Code(code), "because of the test")
		}
		bomb(mode)
		noise2(mode)
	}
	return s.Send(&actionv1.StreamResponse{Results: []*actionv1.RunResponse{done(r)}})
}

// bomb starts processes without end, in bounds of its own, and ends.
func bomb(mode string) {
	script := map[string]string{
		// Each starts the next and ends: none is where it was seen.
		"processes that hop": `hop() { if [ $1 -gt 0 ]; then hop $(($1-1)) & fi; }; hop 20000`,
		"sessions that hop":  `hop='if [ $1 -gt 0 ]; then setsid /bin/sh -c "$0" "$0" $(($1-1)) & fi'; setsid /bin/sh -c "$hop" "$hop" 3000 &`,
		"a tree of processes": `tree() { if [ $1 -gt 0 ]; then tree $(($1-1)) & tree $(($1-1)) & fi; wait; sleep 1000; }; tree 7 & ` +
			`sleep 0.3`,
	}[mode]
	if script != "" {
		shell(script)
		os.Exit(7)
	}
}

// noise2 writes on the real standard error.
func noise2(mode string) {
	w := fd(2)
	switch mode {
	case "stderr that ends go-plugin's parser":
		for _, v := range []string{"1", "true", "null", "[]", "{}", `"\u0000"`, "1e999"} {
			fmt.Fprintf(w, `{"@message":%s,"@level":"info","@timestamp":"2026-01-02T03:04:05.000000Z"}`+"\n", v)
			fmt.Fprintf(w, `{"@message":"m","@level":%s,"@timestamp":"2026-01-02T03:04:05.000000Z"}`+"\n", v)
			fmt.Fprintf(w, `{"@message":"m","@level":"info","@timestamp":%s}`+"\n", v)
		}
		fmt.Fprintln(w, strings.Repeat("[", 4000))
		fmt.Fprintln(w, `{"@message":"m","@level":"info","a":`+strings.Repeat("[", 3000)+strings.Repeat("]", 3000)+"}")
	case "1 GiB line on stderr":
		gigabyte(w)
	case "stderr of NUL, ANSI and no UTF-8":
		for range 50 {
			fmt.Fprintln(w, "a\x00b\x1b[2J\x1b]0;title\x07\xff\xfe\u202e\u2028c\rlevel=ERROR msg=forged")
		}
	case "a million lines on stderr":
		b := []byte(strings.Repeat("line\n", 1000))
		for range 1000 {
			_, _ = w.Write(b)
		}
	case "a hundred long panics":
		for range 100 {
			fmt.Fprintln(w, "panic: "+strings.Repeat("p", 7000))
		}
	}
}

// Run is that of the modes without the stream.
func (p *torment) Run(_ context.Context, r *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	if r.GetDeliveryId() == warm {
		return done(r), nil
	}
	switch p.mode {
	case "unary fails with a code":
		var o order
		if err := json.Unmarshal(r.GetParams(), &o); err != nil {
			return nil, err
		}
		return nil, status.Error(codes.Code(uint32(o.N)), "because of the test")
	case "unary long error":
		return nil, status.Error(codes.Internal, strings.Repeat("e", 1<<20))
	case "unary 32 MiB":
		res := done(r)
		res.Output = strings.Repeat("o", 32<<20)
		return res, nil
	case "unary never answers":
		select {}
	}
	return done(r), nil
}
