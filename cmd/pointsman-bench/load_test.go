package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestDrive(t *testing.T) {
	t.Parallel()
	for _, l := range []load{
		{conns: 3, length: 50 * time.Millisecond, batch: 1},
		{conns: 3, length: 50 * time.Millisecond, batch: 7},
		{conns: 3, length: 50 * time.Millisecond, batch: 1, rate: 400},
	} {
		t.Run(fmt.Sprintf("batch %d, rate %d", l.batch, l.rate), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			seen := map[string]bool{}
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				if l.batch == 1 {
					b = fmt.Appendf(nil, "[%s]", b)
				}
				var evs []struct{ ID, Type string }
				if err := json.Unmarshal(b, &evs); err != nil || len(evs) != l.batch {
					t.Errorf("%d events, %v", len(evs), err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, ev := range evs {
					if seen[ev.ID] || ev.ID[len(ev.ID)-1] != ev.Type[len(ev.Type)-1] {
						t.Errorf("event %s of type %s, seen before: %t", ev.ID, ev.Type, seen[ev.ID])
					}
					seen[ev.ID] = true
				}
				w.WriteHeader(http.StatusAccepted)
			}))
			defer srv.Close()
			seq := sequence{next: 100}
			got, err := drive(t.Context(), strings.TrimPrefix(srv.URL, "http://"), &seq, l)
			if err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if got.events == 0 || got.events != len(seen) || seq.next != 100+int64(got.events) || got.requests*l.batch != got.events {
				t.Fatalf("sent %d events in %d requests, the handler saw %d, next is %d", got.events, got.requests, len(seen), seq.next)
			}
			for i := range got.events {
				if !seen[fmt.Sprintf("%s%0*d", idPrefix, idDigits, 100+i)] || got.starts[i] == 0 {
					t.Fatalf("event %d is missing", 100+i)
				}
			}
		})
	}
}

func TestDriveTakesOnly202(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusServiceUnavailable)
	}))
	defer srv.Close()
	_, err := drive(t.Context(), strings.TrimPrefix(srv.URL, "http://"), &sequence{}, load{conns: 1, length: time.Minute, batch: 1})
	if want := "answer \"HTTP/1.1 503 Service Unavailable\": no\n"; err == nil || err.Error() != want {
		t.Fatalf("error %v, want %s", err, want)
	}
}
