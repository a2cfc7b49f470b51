package ingest_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/ingest"
)

func head(lines ...string) string {
	return "POST /events HTTP/1.1\r\nHost: h\r\nContent-Type: " + structured + "\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func sized(body string) string { return head("Content-Length: "+strconv.Itoa(len(body))) + body }

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

// TestFraming: each row is what arrives on one connection and the answers to
// it; nothing else is answered, and whether the server closes.
func TestFraming(t *testing.T) {
	t.Parallel()
	good := with("")
	next := sized(with(`"subject":"next",`))
	tests := []struct {
		name, in string
		statuses []int
		closed   bool
		events   int
	}{
		{"two requests", sized(good) + next, []int{202, 202}, false, 2},
		{"pipelined after a refusal", sized("x") + next, []int{400, 202}, false, 1},
		{"absolute target", strings.Replace(sized(good), "/events", "http://h/events", 1), []int{202}, false, 1},
		{"absolute target elsewhere", strings.Replace(sized(good), "/events", "http://h/events/x", 1), []int{404}, false, 0},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", []int{200}, false, 0},
		{"NUL in the path", strings.Replace(sized(good), "/events", "/events\x00", 1), []int{400}, true, 0},
		{"NUL in a header", head("X: a\x00b", "Content-Length: 0"), []int{400}, true, 0},
		{"space before a colon", head("Ce-Id : 1", "Content-Length: 0"), []int{400}, true, 0},
		{"folded header", head("Ce-Id: 1", " 2", "Content-Length: 0"), []int{400}, false, 0},
		{"no host", strings.Replace(sized(good), "Host: h\r\n", "", 1), []int{400}, true, 0},
		{"HTTP/1.0", strings.Replace(sized(good), "HTTP/1.1", "HTTP/1.0", 1), []int{202}, true, 1},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{404}, true, 0},

		{"B19 more than the limit", head("Content-Length: 1048577"), []int{413}, true, 0},
		{"B19 far more than the limit", head("Content-Length: 9223372036854775807"), []int{413}, true, 0},
		{"Content-Length out of range", head("Content-Length: 9223372036854775808"), []int{400}, true, 0},
		{"negative Content-Length", head("Content-Length: -1"), []int{400}, true, 0},
		{"Content-Length with a sign", head("Content-Length: +5") + "hello", []int{400}, true, 0},
		{"two unlike Content-Lengths", head("Content-Length: 1", "Content-Length: 2") + "xx", []int{400}, true, 0},
		{"chunked", head("Transfer-Encoding: chunked") + chunk(good[:10]) + chunk(good[10:]) + "0\r\n\r\n" + next, []int{202, 202}, false, 2},
		// The rest is no request.
		{"B20 Content-Length too small", head("Content-Length: 10") + good + "\r\n\r\n", []int{400, 400}, true, 0},
		{
			"B20 Content-Length and chunked: chunked counts",
			head("Content-Length: 5", "Transfer-Encoding: chunked") + chunk(good) + "0\r\n\r\n" + next,
			[]int{202, 202},
			false, 2,
		},
		{
			"B20 the other order, and what Content-Length leaves is no request",
			head("Transfer-Encoding: chunked", "Content-Length: 4") + "0\r\n\r\n" + next,
			[]int{400, 202},
			false, 1,
		},
		{"B20 unknown transfer coding", head("Transfer-Encoding: gzip, chunked") + chunk(good) + "0\r\n\r\n", []int{501}, true, 0},
		{"B20 two transfer codings", head("Transfer-Encoding: chunked", "Transfer-Encoding: identity") + chunk(good), []int{501}, true, 0},
		{"B20 bad chunk size", head("Transfer-Encoding: chunked") + "zz\r\n" + good + "\r\n0\r\n\r\n", []int{400}, true, 0},
		{"B20 chunk size beyond 64 bits", head("Transfer-Encoding: chunked") + "ffffffffffffffffff\r\nx\r\n0\r\n\r\n", []int{400}, true, 0},
		{"B20 chunk without its end", head("Transfer-Encoding: chunked") + "3\r\nabcX\r\n0\r\n\r\n", []int{400}, true, 0},
		{"B23 header of 1 MiB", head("X: " + strings.Repeat("x", 1<<20)), []int{431}, true, 0},
		{"B23 headers of 60 KiB", strings.Replace(sized(good), "Host", "X: "+strings.Repeat("x", 60<<10)+"\r\nHost", 1), []int{202}, false, 1},
		{"B23 1,000 headers", strings.Replace(sized(good), "Host", strings.Repeat("X-Header: some value\r\n", 1000)+"Host", 1), []int{202}, false, 1},
		{"B23 10,000 headers", head(strings.Repeat("X-Header: some value\r\n", 10_000) + "X: y"), []int{431}, true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, ingest.Config{})
			c, r := s.raw("")
			go func() { // the server may refuse to read on
				_, _ = io.WriteString(c, tt.in)
			}()
			for i, got := range s.answers(r, len(tt.statuses)) {
				if got.status != tt.statuses[i] {
					t.Errorf("answer %d: %d %s, want %d", i, got.status, got.body, tt.statuses[i])
				}
			}
			if n := len(s.sink.events()); n != tt.events {
				t.Errorf("%d events, want %d", n, tt.events)
			}
			if tt.closed {
				if rest, err := io.ReadAll(r); len(rest) > 0 || timedOut(err) {
					t.Errorf("not closed: %q, %v", rest, err)
				}
				return
			}
			// Still of use.
			if _, err := io.WriteString(c, next); err != nil {
				t.Fatal(err)
			}
			if got := s.answers(r, 1)[0]; got.status != 202 {
				t.Errorf("then %d", got.status)
			}
		})
	}
}

func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// TestBodyCutOff: B20, a Content-Length that promises too much.
func TestBodyCutOff(t *testing.T) {
	t.Parallel()
	s := serve(t, ingest.Config{})
	for _, in := range []string{
		head("Content-Length: 1000") + with(""),
		head("Transfer-Encoding: chunked") + chunk(with("")),
		head("Transfer-Encoding: chunked") + "fff\r\n" + with(""),
	} {
		c, r := s.raw(in)
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := s.answers(r, 1)[0]; got.status != 400 || got.problem.Code != "bad_body" || !got.close {
			t.Errorf("%d, close %v: %s", got.status, got.close, got.body)
		}
	}
	if n := len(s.sink.events()); n > 0 {
		t.Errorf("%d events accepted", n)
	}
}

// TestTimeouts: B22, slow clients are cut off, others are served meanwhile.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	const within = time.Second
	asMade := ingest.NewServer(nil, 16)
	if asMade.ReadHeaderTimeout != 5*time.Second || asMade.ReadTimeout != 30*time.Second || asMade.IdleTimeout != 2*time.Minute || asMade.WriteTimeout == 0 {
		t.Errorf("timeouts %v %v %v %v", asMade.ReadHeaderTimeout, asMade.ReadTimeout, asMade.IdleTimeout, asMade.WriteTimeout)
	}
	tests := []struct {
		name, in string
		change   func(*http.Server)
		status   int // 0: closed without an answer
	}{
		{"no header at all", "", func(s *http.Server) { s.ReadHeaderTimeout = within }, 0},
		{"slow header", "POST /eve", func(s *http.Server) { s.ReadHeaderTimeout = within }, 0},
		{"header without an end", "POST /events HTTP/1.1\r\nHost: h\r\nX: y\r\n", func(s *http.Server) { s.ReadHeaderTimeout = within }, 0},
		{"slow body", head("Content-Length: 100") + "{", func(s *http.Server) { s.ReadTimeout = within }, 400},
		{"slow chunk", head("Transfer-Encoding: chunked") + "5\r\n{", func(s *http.Server) { s.ReadTimeout = within }, 400},
	}
	for _, tt := range tests {
		t.Run("B22 "+tt.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, ingest.Config{}, tt.change)
			_, r := s.raw(tt.in)
			if got := s.post(with(""), "Content-Type", structured); got.status != 202 {
				t.Errorf("another client got %d", got.status)
			}
			if tt.status > 0 {
				if got := s.answers(r, 1)[0]; got.status != tt.status || got.problem.Code != "bad_body" || !got.close {
					t.Errorf("%d, close %v: %s", got.status, got.close, got.body)
				}
			}
			if rest, err := io.ReadAll(r); timedOut(err) || tt.status > 0 && len(rest) > 0 {
				t.Errorf("%q, %v", rest, err)
			}
		})
	}
	t.Run("B23 idle connections", func(t *testing.T) {
		t.Parallel()
		s := serve(t, ingest.Config{}, func(s *http.Server) { s.IdleTimeout = within })
		for range 200 {
			_, r := s.raw(sized(with("")))
			s.answers(r, 1)
			t.Cleanup(func() {
				if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
					t.Errorf("idle connection: %v", err)
				}
			})
		}
		if got := s.post(with(""), "Content-Type", structured); got.status != 202 {
			t.Errorf("a client among idle ones got %d", got.status)
		}
	})
}
