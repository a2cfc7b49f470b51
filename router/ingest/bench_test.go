package ingest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

// discard is a ResponseWriter that costs nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// BenchmarkPost compares a structured event of 1 KB through the handler with a
// handler that reads the body and answers 202, without and with a real server.
func BenchmarkPost(b *testing.B) {
	var fields []string
	for i := range 45 {
		fields = append(fields, fmt.Sprintf(`"field%02d":"value %d"`, i, i))
	}
	body := with(`"data":{` + strings.Join(fields, ",") + `},`)
	accepted := make([]router.Result, 1)
	handlers := []struct {
		name string
		http.Handler
	}{
		{"bare", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err == nil {
				w.WriteHeader(http.StatusAccepted)
			}
		})},
		{"events", ingest.New(ingest.Config{Accept: func(context.Context, router.Origin, []*rules.Event) ([]router.Result, error) {
			return accepted, nil
		}})},
	}
	for _, h := range handlers {
		b.Run("handler/"+h.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			text := strings.NewReader(body)
			req := httptest.NewRequest(http.MethodPost, "/events", text)
			req.Header.Set("Content-Type", structured)
			begun := used(b)
			for b.Loop() {
				text.Reset(body)
				req.Body = io.NopCloser(text)
				h.ServeHTTP(&discard{http.Header{}}, req)
			}
			b.ReportMetric(float64((used(b)-begun).Nanoseconds())/1e3/float64(b.N), "cpu-µs/request")
		})
	}
	for _, h := range handlers {
		b.Run("server/"+h.name, func(b *testing.B) {
			b.ReportAllocs()
			srv := httptest.NewServer(h)
			defer srv.Close()
			defer http.DefaultClient.CloseIdleConnections()
			for b.Loop() {
				res, err := http.Post(srv.URL+"/events", structured, strings.NewReader(body))
				if err != nil || res.StatusCode != http.StatusAccepted {
					b.Fatal(res, err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
}

// BenchmarkServe sends small events over 32 connections to a server as it is in
// use, whose router answers what waits at once, as after a commit. It reports
// the processor time of a request, client included.
func BenchmarkServe(b *testing.B) {
	body := with("")
	request := fmt.Appendf(nil, "POST /events HTTP/1.1\r\nHost: router\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", structured, len(body), body)
	waiting := make(chan chan struct{}, 64)
	defer close(waiting)
	go func() {
		for first := range waiting {
			close(first)
			for range len(waiting) {
				close(<-waiting)
			}
		}
	}()
	accepted := make([]router.Result, 1)
	commit := func() {
		done := make(chan struct{})
		waiting <- done
		<-done
	}
	plain := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err == nil {
			commit()
			w.WriteHeader(http.StatusAccepted)
		}
	})}
	events := ingest.NewServer(ingest.New(ingest.Config{Accept: func(context.Context, router.Origin, []*rules.Event) ([]router.Result, error) {
		commit()
		return accepted, nil
	}}), 100)
	for name, srv := range map[string]*http.Server{"bare": plain, "events": events} {
		b.Run(name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			go func() { _ = srv.Serve(l) }()
			defer srv.Close()
			conns := make([]net.Conn, 32)
			for i := range conns {
				if conns[i], err = net.Dial("tcp", l.Addr().String()); err != nil {
					b.Fatal(err)
				}
				defer conns[i].Close()
			}
			begun, n := used(b), 0
			for b.Loop() {
				var wg sync.WaitGroup
				for _, c := range conns {
					wg.Go(func() { post(b, c, request) })
				}
				wg.Wait()
				n += 10 * len(conns)
			}
			b.ReportMetric(float64((used(b)-begun).Nanoseconds())/1e3/float64(n), "cpu-µs/request")
		})
	}
}

// post sends ten requests, one after the other.
func post(b *testing.B, c net.Conn, request []byte) {
	in := bufio.NewReader(c)
	for range 10 {
		if _, err := c.Write(request); err != nil {
			b.Error(err)
			return
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != http.StatusAccepted {
			b.Error(res, err)
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
}

// used is the processor time of this process.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
