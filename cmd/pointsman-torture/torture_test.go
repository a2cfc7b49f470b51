package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/actions"
)

func TestMain(m *testing.M) {
	if os.Getenv(actions.MagicCookieKey) == actions.MagicCookieValue {
		actions.Serve(&plugin{}) // the routers of TestTorture start this binary
	}
	os.Exit(m.Run())
}

// shortRun is how long TestTorture begins rounds; one takes some seconds.
const shortRun = 30 * time.Second

// TestTorture plays rounds of kills with a fixed seed and rounds of anything
// with one that differs each time, in turns, for a while. make torture does it for longer and with faults that
// take longer than a lease.
func TestTorture(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute; make torture ROUNDS=20 runs it alone")
	}
	t.Parallel()
	dir := t.TempDir()
	tools, err := findTools(t.Context(), "", dir)
	if err != nil {
		t.Fatal(err)
	}
	o := options{stores: []string{storeSQLite, storeRedis}, short: true}
	if !hasRedis() {
		t.Log("NOT RUN: everything with Redis; install redis-server (make deps)")
		o.stores = o.stores[:1]
	}
	all := choices(o, tools)
	o.faults = []string{"router-kill", "redis-kill", "plugin-kill", "crash-point"}
	seed := rand.Uint64() >> 32
	planners := []*planner{newPlanner(1, choices(o, tools)), newPlanner(seed, all)}
	rep := newReport(seed, dir)
	for i, end := 0, time.Now().Add(shortRun); time.Now().Before(end); i++ {
		pl := planners[i%2]
		sub := filepath.Join(dir, fmt.Sprint("seed-", pl.seed))
		if err := os.MkdirAll(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		p := pl.next()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		err := errors.Join(oneRound(ctx, tools, p, sub, rep, false), ctx.Err())
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if len(rep.Violations) > 0 {
			t.Fatalf("seed %d, round %d: again with: bin/pointsman-torture -short -seed %[1]d -round %[2]d\n%[3]s", pl.seed, p.number, strings.Join(rep.Violations, "\n"))
		}
	}
	rep.finish()
	var b strings.Builder
	rep.print(&b)
	t.Log(b.String())
	if rep.Accepted == 0 || rep.Deliveries == 0 {
		t.Fatal("nothing was accepted")
	}
}

// TestPlans: what a round does follows from the seed, every fault gets its turn,
// and so does every crash point.
func TestPlans(t *testing.T) {
	t.Parallel()
	all := choices(options{stores: []string{storeSQLite, storeRedis}}, &tools{strace: true, mount: true})
	plans := func(seed uint64) (names []string, faults, hit map[string]int) {
		pl := newPlanner(seed, all)
		faults, hit = map[string]int{}, map[string]int{}
		for range 20 * len(all) {
			p := pl.next()
			names = append(names, fmt.Sprint(p.String(), p.points))
			faults[p.store+" "+p.faults[0].name]++
			for _, pt := range p.points {
				hit[p.store+pt.String()]++
			}
		}
		return names, faults, hit
	}
	a, faults, hit := plans(7)
	b, _, _ := plans(7)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Fatalf("the same seed gives other plans:\n%s", diff)
	}
	if c, _, _ := plans(8); cmp.Equal(a, c) {
		t.Fatal("another seed gives the same plans")
	}
	if len(faults) != len(all) {
		t.Fatalf("%d of %d faults", len(faults), len(all))
	}
	for name, n := range faults {
		if n != 20 {
			t.Fatalf("%s %d times of 20", name, n)
		}
	}
	if want := len(points(storeSQLite)) + len(points(storeRedis)); len(hit) != want || want < 60 {
		t.Fatalf("%d of %d crash points", len(hit), want)
	}
}

// TestFlags: what makes no sense is refused.
func TestFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-rounds", "0"}, {"-store", "mysql"}, {"-faults", "earthquake"}, {"more"}} {
		if _, err := parseFlags(args); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
	o, err := parseFlags([]string{"-rounds", "3", "-store", "redis", "-faults", "router-kill,rolling"})
	if err != nil || o.seed == 0 || len(o.faults) != 2 || o.stores[0] != storeRedis {
		t.Fatalf("%+v, %v", o, err)
	}
}
