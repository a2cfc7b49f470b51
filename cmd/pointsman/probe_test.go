package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A target that goes down runs an action, once; that it came up while the router
// was away runs another.
func TestProbeSource(t *testing.T) {
	t.Parallel()
	var checks atomic.Int64
	var broken atomic.Bool
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
		checks.Add(1)
	}))
	t.Cleanup(target.Close)
	s := newSite(t, routerConfig+"sources:\n  - {name: core-api, type: probe, http: '"+target.URL+"/health?k=canary', interval: 1s, down_after: 2, up_after: 1}\n",
		`rules: [{name: r, when: 'event.type startsWith "pointsman.probe."', do: [{action: work, with: {args: ["${{ event.data.state }}", "${{ event.subject }}"]}}]}]`,
		"echo \"$@\" >> ran\n")
	r := s.serve()
	more := func(n int64) {
		t.Helper()
		from := checks.Load()
		r.until("checks", func() bool { return checks.Load() >= from+n })
	}
	more(2) // the first has made the baseline before the second begins
	broken.Store(true)
	r.all("done", 1)
	more(3)
	if got := s.read("ran"); got != "down "+target.URL+"/health\n" {
		t.Fatalf("%q", got)
	}
	var page struct {
		Events []struct {
			Source string
			Event  struct{ Data json.RawMessage }
		}
	}
	r.get("/api/v1/events", &page)
	if len(page.Events) != 1 || page.Events[0].Source != "core-api" || !strings.Contains(string(page.Events[0].Event.Data), `"error":"status 502"`) {
		t.Fatalf("%+v", page)
	}
	r.signal(syscall.SIGTERM)
	r.ended(20 * time.Second)
	broken.Store(false)
	r = s.serve()
	r.all("done", 2)
	if got := s.read("ran"); !strings.HasSuffix(got, "up "+target.URL+"/health\n") || strings.Count(got, "\n") != 2 {
		t.Fatalf("%q", got)
	}
	if text := r.said() + s.read("pointsman-data/pointsman.db") + s.read("pointsman-data/pointsman.db-wal"); strings.Contains(text, "canary") {
		t.Error("the query of the URL is logged or stored")
	}
}

// Two routers on one Redis make the same checks, and each change is one event,
// also when the one that told the last is killed.
func TestProbeOfTwoRouters(t *testing.T) {
	t.Parallel()
	url := redisServer(t)
	var broken atomic.Bool
	var mu sync.Mutex
	seen := map[string]int{} // checks since the last change, by router
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
		mu.Lock()
		defer mu.Unlock()
		seen[r.Header.Get("X-Router")]++
	}))
	t.Cleanup(target.Close)
	serve := func(name string) *served {
		return newSite(t, fmt.Sprintf(sharedConfig, url, t.TempDir())+"sources:\n  - {name: api, type: probe, http: {url: '"+target.URL+
			"', headers: {X-Router: "+name+"}}, interval: 1s, down_after: 2, up_after: 2}\n", routerRules, succeeds).serve()
	}
	one, two := serve("one"), serve("two")
	settle := func(r *served, to bool, routers ...string) {
		t.Helper()
		broken.Store(to)
		mu.Lock()
		clear(seen)
		mu.Unlock()
		r.until("checks after a change", func() bool {
			mu.Lock()
			defer mu.Unlock()
			for _, name := range routers {
				if seen[name] < 6 {
					return false
				}
			}
			return true
		})
	}
	settle(one, false, "one", "two")
	settle(one, true, "one", "two")
	settle(one, false, "one", "two")
	settle(one, true, "one", "two")
	one.signal(syscall.SIGKILL)
	one.ended(20 * time.Second)
	settle(two, false, "two")
	var page struct {
		Events []struct{ Event struct{ Type string } }
	}
	two.get("/api/v1/events", &page)
	var got []string
	for _, e := range page.Events {
		got = append(got, strings.TrimPrefix(e.Event.Type, "pointsman.probe."))
	}
	if want := "up down up down"; strings.Join(got, " ") != want {
		t.Fatalf("%v, want %s", got, want)
	}
}
