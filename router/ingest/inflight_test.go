package ingest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

// TestInFlight: what all requests hold together is bounded; what is beyond is
// refused with 503 and Retry-After, and there is room again when they are
// answered.
func TestInFlight(t *testing.T) {
	t.Parallel()
	const most = 1280 << 10
	entered, leave := make(chan struct{}, 100), make(chan struct{})
	h := ingest.New(ingest.Config{
		InFlight: most,
		Accept: func(_ context.Context, _ router.Origin, evs []*rules.Event) ([]router.Result, error) {
			entered <- struct{}{}
			<-leave
			return make([]router.Result, len(evs)), nil
		},
	})
	srv := httptest.NewServer(h)
	defer srv.Close()
	event := with(`"data":"` + strings.Repeat("x", 300<<10) + `",`)
	post := func(body string) *http.Response {
		resp, err := http.Post(srv.URL+"/events", structured, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return nil
		}
		return resp
	}
	enter := func() {
		select {
		case <-entered:
		case <-time.After(30 * time.Second):
			t.Fatal("a request did not get as far as the router")
		}
	}
	var held sync.WaitGroup
	for range 3 {
		held.Go(func() {
			if resp := post(event); resp != nil {
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusAccepted {
					t.Errorf("status %d", resp.StatusCode)
				}
			}
		})
		enter()
	}
	if n := h.InFlight(); n < 3*300<<10 || n > most {
		t.Errorf("%d bytes in flight", n)
	}
	resp := post(event)
	if resp == nil {
		t.FailNow()
	}
	var problem struct{ Code string }
	err := json.NewDecoder(resp.Body).Decode(&problem)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || problem.Code != "busy" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d %q, Retry-After %q, %v", resp.StatusCode, problem.Code, resp.Header.Get("Retry-After"), err)
	}
	held.Go(func() { // a small one still fits
		if resp := post(with(`"data":"` + strings.Repeat("x", 60<<10) + `",`)); resp != nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusAccepted {
				t.Errorf("a small one: status %d", resp.StatusCode)
			}
		}
	})
	enter()
	close(leave)
	held.Wait()
	until(t, "nothing in flight", func() bool { return h.InFlight() == 0 })
	if resp := post(event); resp != nil {
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Errorf("afterwards: status %d", resp.StatusCode)
		}
	}
}

// TestLargerThanAllInFlight: a request that is larger than the bound is taken
// while it is alone.
func TestLargerThanAllInFlight(t *testing.T) {
	t.Parallel()
	run(t, ingest.Config{InFlight: 1 << 10}, []exchange{
		{name: "large", header: ct(structured), body: with(`"data":"` + strings.Repeat("x", 1<<19) + `",`), status: 202},
		{name: "large gzip", header: append(ct(structured), "Content-Encoding", "gzip"), body: zip(t, with(`"data":"`+strings.Repeat("x", 1<<19)+`",`)), status: 202},
	})
}

// TestClaimedLengthTakesNoMemory: a body takes memory when it comes, not when it
// is announced; also one that is signed, which is read before it is known who
// sends it.
func TestClaimedLengthTakesNoMemory(t *testing.T) {
	t.Parallel()
	const clients, claimed = 100, 60 << 20
	h := ingest.New(ingest.Config{Accept: func(context.Context, router.Origin, []*rules.Event) ([]router.Result, error) { return nil, nil }, Body: 64 << 20, InFlight: 1 << 40})
	h.SetSources(ingest.Sources{Events: ingest.Events{Auth: ingest.HMAC(ingest.HMACConfig{Secrets: []string{authKey}, Header: "X-Signature"})}})
	srv := httptest.NewServer(h)
	defer srv.Close()
	for range clients {
		conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "POST /events HTTP/1.1\r\nHost: h\r\nX-Signature: 00\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n{", structured, claimed); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all bodies begun", func() bool { return h.InFlight() >= clients*512 })
	if n := h.InFlight(); n > clients*(64<<10+1) {
		t.Fatalf("%d bytes for %d bodies of which one byte came", n, clients)
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(30 * time.Second); !ok(); <-tick.C {
		if time.Now().After(late) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
