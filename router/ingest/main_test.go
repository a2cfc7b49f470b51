package ingest_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

func TestMain(m *testing.M) {
	// net/http gives a client half a second to read an answer that came before
	// the end of its request.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

const (
	structured = "application/cloudevents+json"
	batched    = "application/cloudevents-batch+json"
)

// with returns a good event with further members, each with a comma behind it.
func with(members string) string {
	return `{` + members + `"specversion":"1.0","id":"1","source":"/s","type":"t"}`
}

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// sink is an Accepter that keeps what it is given.
type sink struct {
	mu   sync.Mutex
	evs  []*rules.Event
	from router.Origin
	// answer, if any, answers instead of "all are new".
	answer func(ctx context.Context, evs []*rules.Event) ([]router.Result, error)
}

func (s *sink) accept(ctx context.Context, from router.Origin, evs []*rules.Event) ([]router.Result, error) {
	s.mu.Lock()
	s.evs, s.from = append(s.evs, evs...), from
	s.mu.Unlock()
	if s.answer != nil {
		return s.answer(ctx, evs)
	}
	return make([]router.Result, len(evs)), nil
}

func (s *sink) origin() router.Origin {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from
}

func (s *sink) events() []*rules.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.evs
}

// site is a real server on loopback.
type site struct {
	t       *testing.T
	addr    string
	client  *http.Client
	handler *ingest.Handler
	sink    *sink
}

// serve starts a server; a nil cfg.Accept is a sink. Each change is made before
// it starts.
func serve(t *testing.T, cfg ingest.Config, changes ...func(*http.Server)) *site {
	t.Helper()
	s := &site{t: t, sink: &sink{}}
	if cfg.Accept == nil {
		cfg.Accept = s.sink.accept
	}
	s.handler = ingest.New(cfg)
	srv := ingest.NewServer(s.handler, 1000)
	for _, change := range changes {
		change(srv)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln)
	}()
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 10}
	s.client = &http.Client{
		Transport: transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = srv.Close()
		<-done
	})
	return s
}

// received is an answer with its body.
type received struct {
	status int
	header http.Header
	body   string
	// problem is the body of an error.
	problem struct {
		Type, Title, Code, Detail, Attribute string
		Status                               int
		Index                                *int
		Offset                               *int64
	}
	// close: the server said that it closes the connection.
	close bool
}

// request sends a request; header are names and values in turn.
func (s *site) request(method, path string, body io.Reader, header ...string) received {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addr+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header[header[i]] = append(req.Header[header[i]], header[i+1])
	}
	res, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	return s.read(res)
}

func (s *site) post(body string, header ...string) received {
	s.t.Helper()
	return s.request(http.MethodPost, "/events", strings.NewReader(body), header...)
}

func (s *site) read(res *http.Response) received {
	s.t.Helper()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	r := received{status: res.StatusCode, header: res.Header, body: string(text), close: res.Close}
	if r.status < 400 {
		return r
	}
	if res.Request != nil && res.Request.Method == http.MethodHead {
		return r
	}
	if res.Header.Get("Content-Type") != "application/problem+json" {
		return r // of net/http itself
	}
	if err := json.Unmarshal(text, &r.problem); err != nil {
		s.t.Fatalf("%v in %q", err, text)
	}
	if r.problem.Status != r.status || r.problem.Code == "" || r.problem.Detail == "" || r.problem.Title == "" || r.problem.Type != "about:blank" {
		s.t.Errorf("incomplete problem %s", text)
	}
	return r
}

// raw writes bytes to a fresh connection and returns it with a reader. The
// connection is closed with the test and has a deadline.
func (s *site) raw(text string) (net.Conn, *bufio.Reader) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		s.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// answers reads n answers.
func (s *site) answers(r *bufio.Reader, n int) []received {
	s.t.Helper()
	var out []received
	for range n {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			s.t.Fatalf("answer %d: %v", len(out), err)
		}
		out = append(out, s.read(res))
		_ = res.Body.Close()
	}
	return out
}

func zip(t testing.TB, text string) string {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}
