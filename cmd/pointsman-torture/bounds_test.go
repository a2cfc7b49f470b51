package main

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestBounds tries every bound on both stores, with ten thousand deliveries in
// place of a million and for seconds. Numbers are of the machine and are not looked at here,
// but for those that a bound is about.
func TestBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED in short runs: it takes a minute; bin/pointsman-torture bounds runs it alone")
	}
	t.Parallel()
	dir := t.TempDir()
	o := boundsOptions{
		stores: []string{storeSQLite, storeRedis}, waiting: 10_000, herd: 2000, turns: 2, slice: 500 * time.Millisecond,
		length: 2 * time.Second, memory: 512 << 20, dir: dir, short: true,
	}
	for _, x := range tries() {
		o.tries = append(o.tries, x.name)
	}
	found, err := bounds(t.Context(), &o)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i := range found {
		found[i].print(&b)
		if len(found[i].Violations) > 0 {
			t.Errorf("%s, %s: %q", found[i].Try, found[i].Store, found[i].Violations)
		}
	}
	t.Log(b.String())
	if hasRedis() && len(found) != 2*len(tries()) || len(found) < len(tries()) {
		t.Fatalf("%d tries", len(found))
	}
	for _, f := range found {
		if len(f.Numbers) < 3 {
			t.Errorf("%s, %s: hardly anything was measured: %v", f.Try, f.Store, f.Numbers)
		}
	}
}

// TestBoundsFlags: what makes no sense is refused.
func TestBoundsFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-only", "nothing"}, {"-store", "mysql"}, {"-waiting", "1"}, {"-memory", "1"}, {"more"}} {
		if _, err := parseBounds(args); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
	o, err := parseBounds([]string{"-only", "herd,overload", "-store", "redis", "-memory", "256"})
	if err != nil || len(o.tries) != 2 || o.stores[0] != storeRedis || o.memory != 256<<20 {
		t.Fatalf("%+v, %v", o, err)
	}
}

// TestBoundsDocs: every try has a row in docs/reliability.md, and no row names
// another.
func TestBoundsDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, m := range regexp.MustCompile("`bin/pointsman-torture bounds -only ([a-z-]+)`").FindAllStringSubmatch(string(page), -1) {
		shown[m[1]] = true
	}
	for _, x := range tries() {
		if !shown[x.name] {
			t.Errorf("%s has no row", x.name)
		}
		delete(shown, x.name)
	}
	for name := range shown {
		t.Errorf("there is no try %s", name)
	}
}

// TestFindingsAreFound: what went wrong is told from what did not.
func TestFindingsAreFound(t *testing.T) {
	t.Parallel()
	now := time.Now()
	calls := func(n, beside int) (all []ran) {
		for i := range n {
			all = append(all, ran{uint64(i + 1), now.Add(time.Duration(i) * time.Millisecond), beside})
		}
		return all
	}
	for name, tt := range map[string]struct {
		calls []ran
		wrong bool
	}{
		"all is well":      {calls(100, herdSlots), false},
		"one has not run":  {calls(99, 1), true},
		"one ran twice":    {append(calls(100, 1), calls(1, 1)...), true},
		"too many at once": {calls(100, herdSlots+1), true},
	} {
		f := finding{}
		if f.crowding(tt.calls, 100); (len(f.Violations) > 0) != tt.wrong {
			t.Errorf("%s: %q", name, f.Violations)
		}
	}
	c := &crowd{name: "batches", batch: batchEvents}
	for _, tt := range []struct {
		resp  *http.Response
		wrong bool
	}{
		{nil, false}, // the request may be sent again
		{&http.Response{StatusCode: 202}, false},
		{&http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"1"}}}, false},
		{&http.Response{StatusCode: 429, Header: http.Header{}}, true},
		{&http.Response{StatusCode: 500, Header: http.Header{"Retry-After": {"1"}}}, true},
		{&http.Response{StatusCode: 400}, true},
	} {
		ta := &tally{statuses: map[string]map[int]int{}, took: time.Second}
		if ta.note(c, span{1, batchEvents}, 100, tt.resp, time.Millisecond); (len(ta.problems) > 0) != tt.wrong {
			t.Errorf("%+v: %q", tt.resp, ta.problems)
		}
	}
}

// TestCage: what is in a control group gets no more memory than that.
func TestCage(t *testing.T) {
	t.Parallel()
	c, err := newCage(64 << 20)
	if err != nil {
		t.Skipf("NOT RUN: a control group cannot be made here: %v", err)
	}
	t.Cleanup(func() {
		if err := c.remove(); err != nil {
			t.Error(err)
		}
	})
	path := t.TempDir() + "/cat"
	if err := c.wrap(path, "/bin/sh"); err != nil {
		t.Fatal(err)
	}
	p, err := start(path+".log", nil, path, "-c", "cat /proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	if code, err := p.wait(patience); code != 0 || err != nil {
		t.Fatalf("exit code %d, %v: %s", code, err, tail(path+".log"))
	}
	text, err := os.ReadFile(path + ".log")
	if err != nil || !strings.Contains(string(text), fmt.Sprintf("pointsman-bounds-%d-", os.Getpid())) {
		t.Fatalf("it is not in the group: %s, %v", text, err)
	}
	if n, err := c.killed(); n != 0 || err != nil {
		t.Fatalf("%d killed, %v", n, err)
	}
}
