package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/router/store/crashpoint"
)

// fault is one thing that goes wrong.
type fault struct {
	name string
	// stores are those it makes sense with; nil: both.
	stores []string
	// routers is how many share the store, 0 for one.
	routers int
	// slow: it takes longer than a lease, so the short run leaves it out.
	slow bool
	// byHand: only when it is asked for by name.
	byHand bool
	// light ones are added to others.
	light bool
	// needs says what it takes; "" when that is there.
	needs func(*tools) string
	// prepare comes before the routers start.
	prepare func(*round) error
	// inject does it under load, makes it good again and tells since when it is.
	inject func(context.Context, *round) (time.Time, error)
}

func faults() []*fault {
	redis, sqlite := []string{storeRedis}, []string{storeSQLite}
	return []*fault{
		{name: "router-kill", light: true, inject: killRouter},
		{name: "plugin-kill", light: true, inject: killPlugin},
		{name: "router-term", light: true, inject: termRouter},
		{name: "crash-point", inject: crashAtPoints},
		{name: "reload-storm", inject: reloadStorm},
		{name: "clock-step", inject: stepClock},
		{name: "no-files", inject: noFiles},
		{name: "disk-full", stores: sqlite, needs: needsMount, prepare: smallDisk, inject: fillDisk},
		{name: "disk-error", stores: sqlite, needs: needsStrace, inject: failSync},
		{name: "disk-slow", stores: sqlite, needs: needsStrace, inject: slowSync},
		{name: "disk-kill", stores: sqlite, needs: needsStrace, inject: killAtWrite},
		{name: "redis-kill", stores: redis, light: true, inject: killRedis},
		{name: "redis-away", stores: redis, inject: redisAway},
		{name: "redis-long", stores: redis, byHand: true, inject: redisLong},
		{name: "redis-stop", stores: redis, inject: stopRedis},
		{name: "wire-cut", stores: redis, inject: cutWire},
		{name: "wire-hold", stores: redis, inject: holdWire},
		{name: "redis-oom", stores: redis, inject: fillRedis},
		{name: "script-flush", stores: redis, inject: flushScripts},
		{name: "flushall", stores: redis, inject: flushAll},
		{name: "rolling", stores: redis, routers: 2, inject: rolling},
		{name: "takeover", stores: redis, routers: 2, slow: true, inject: takeover},
		{name: "router-freeze", stores: redis, routers: 2, slow: true, inject: freezeRouter},
		{name: "freeze-at-point", stores: redis, routers: 2, slow: true, inject: freezeAtPoint},
	}
}

func (r *round) pause(ctx context.Context, least, most time.Duration) {
	sleep(ctx, least+time.Duration(r.rng.Int64N(int64(most-least))))
}

// killRouter kills a router and starts it again at once.
func killRouter(ctx context.Context, r *round) (time.Time, error) {
	r.pause(ctx, 50*time.Millisecond, 600*time.Millisecond)
	p := r.any()
	p.process().kill()
	since := time.Now()
	return since, p.serve(ctx)
}

// killPlugin kills a plugin's process or a reaper.
func killPlugin(ctx context.Context, r *round) (time.Time, error) {
	r.pause(ctx, 50*time.Millisecond, 400*time.Millisecond)
	if all := below(r.any().process().pid()); len(all) > 0 {
		_ = syscall.Kill(all[r.rng.IntN(len(all))], syscall.SIGKILL) // it may have ended meanwhile
	}
	return time.Now(), nil
}

// termRouter ends a router as a service manager does and starts it again.
func termRouter(ctx context.Context, r *round) (time.Time, error) {
	r.pause(ctx, 50*time.Millisecond, 400*time.Millisecond)
	p := r.any()
	if err := r.term(p); err != nil {
		return time.Time{}, err
	}
	since := time.Now()
	return since, p.serve(ctx)
}

func (r *round) term(p *pointsman) error {
	p.process().signal(syscall.SIGTERM)
	code, err := p.process().wait(patience)
	if err == nil && code != 0 {
		r.violate(kindFault, "exit code %d after SIGTERM: %s", code, tail(p.process().log))
	}
	return err
}

// crashAtPoints restarts a router again and again, each time one that ends
// itself at a point.
func crashAtPoints(ctx context.Context, r *round) (time.Time, error) {
	p := r.any()
	hits := filepath.Join(r.dir, "points")
	for _, pt := range r.points {
		p.process().kill()
		n := 1
		if !pt.rare {
			n += r.rng.IntN(5)
		}
		err := p.launch(fmt.Sprintf("POINTSMAN_CRASH=%s|%d|kill", pt, n), "POINTSMAN_CRASH_LOG="+hits)
		if err != nil && p.process().running() {
			return time.Time{}, err
		}
		// One that is not reached is not an error here: the report lists it.
		_, _ = p.process().wait(4 * time.Second)
	}
	p.process().kill()
	since := time.Now()
	text, _ := os.ReadFile(hits)
	r.res.Points = strings.Split(strings.TrimSpace(string(text)), "\n")
	return since, p.serve(ctx)
}

// reloadStorm reloads as fast as it goes, every third time a broken file. No
// request may notice.
func reloadStorm(ctx context.Context, r *round) (time.Time, error) {
	p := r.routes[0]
	path := filepath.Join(p.dir, "rules.yaml")
	refused, failed := r.load.counts()
	write := func(text string) error {
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	}
	for i := range 100 {
		text := rulesText
		switch i % 3 {
		case 0:
			text += fmt.Sprintf("  - {name: more-%d, when: 'event.type == \"more\"', do: [{action: other}]}\n", i%7)
		case 1:
			text += "  - {name: broken, when: 'event.'}\n"
		}
		if err := write(text); err != nil {
			return time.Time{}, err
		}
		p.process().signal(syscall.SIGHUP)
		sleep(ctx, 20*time.Millisecond)
	}
	if err := write(rulesText); err != nil {
		return time.Time{}, err
	}
	p.process().signal(syscall.SIGHUP)
	if refusedNow, failedNow := r.load.counts(); refusedNow > refused || failedNow > failed {
		r.violate(kindFault, "%d events were refused and %d not answered while rules were reloaded", refusedNow-refused, failedNow-failed)
	}
	return time.Now(), nil
}

// clocks are how wrong a clock is, one after the other. From the first to the last
// it is less than the window of duplicates and max_age, which are 24 h: who sets a
// clock by more than those ends them.
var clocks = [...]time.Duration{
	time.Hour, 0, -time.Hour, 10 * time.Hour, -10 * time.Hour, time.Second, -time.Second, 5 * time.Minute, -5 * time.Minute,
}

// stepClock sets the clock of a router to and fro. The other one of two, and Redis,
// have the right time.
func stepClock(ctx context.Context, r *round) (time.Time, error) {
	p := r.any()
	set := func(by time.Duration) error {
		path := p.clock()
		if err := os.WriteFile(path+".new", []byte(by.String()), 0o600); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	}
	r.clockSet = true
	for range 3 { // long enough that a window begins and ends
		if err := set(clocks[r.rng.IntN(len(clocks))]); err != nil {
			return time.Time{}, err
		}
		r.pause(ctx, 200*time.Millisecond, 4*time.Second)
	}
	return time.Now(), set(0)
}

// noFiles takes the file descriptors away that a router has left: it can open
// no file, no connection and no plugin.
func noFiles(ctx context.Context, r *round) (time.Time, error) {
	run := r.any().process()
	pid := run.pid()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return time.Time{}, err
	}
	var old unix.Rlimit
	few := unix.Rlimit{Cur: uint64(len(open) + r.rng.IntN(4))}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		return time.Time{}, err
	}
	few.Max = old.Max
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &few, nil); err != nil {
		return time.Time{}, err
	}
	if all := below(pid); len(all) > 0 { // so that it needs some
		_ = syscall.Kill(all[r.rng.IntN(len(all))], syscall.SIGKILL)
	}
	r.load.client.CloseIdleConnections()
	if r.wire != nil {
		r.wire.closeAll()
	}
	sleep(ctx, 2500*time.Millisecond)
	since := time.Now()
	if text, _ := os.ReadFile(run.log); strings.Contains(string(text), "plugin crashed too often") {
		r.violate(kindFault, "a plugin was given up for crashes, and it was the router that had no files: %s", tail(run.log))
	}
	return since, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil)
}

// rolling restarts one router after the other; there is always one.
func rolling(ctx context.Context, r *round) (time.Time, error) {
	for range 2 {
		for _, p := range r.routes {
			if err := r.term(p); err != nil {
				return time.Time{}, err
			}
			if err := p.serve(ctx); err != nil {
				return time.Time{}, err
			}
			r.pause(ctx, 50*time.Millisecond, 300*time.Millisecond)
		}
	}
	return time.Now(), nil
}

// leaseTime is the router's lease and what comes on top until another takes over.
const leaseTime = 15*time.Second + 2*time.Second

// takeover kills one of two routers and leaves it dead until the other has taken
// over what it had leased.
func takeover(ctx context.Context, r *round) (time.Time, error) {
	r.pause(ctx, 50*time.Millisecond, 600*time.Millisecond)
	p := r.routes[1]
	p.process().kill()
	since := time.Now()
	sleep(ctx, leaseTime)
	return since.Add(leaseTime), p.serve(ctx)
}

// freezeRouter stops one of two routers for longer than a lease; what it then
// wants to store must be refused.
func freezeRouter(ctx context.Context, r *round) (time.Time, error) {
	r.pause(ctx, 50*time.Millisecond, 600*time.Millisecond)
	p := r.routes[1].process()
	p.signal(syscall.SIGSTOP)
	sleep(ctx, leaseTime)
	p.signal(syscall.SIGCONT)
	return time.Now(), nil
}

// freezeAtPoint is freezeRouter at a step of the store.
func freezeAtPoint(ctx context.Context, r *round) (time.Time, error) {
	p := r.routes[1]
	hits := filepath.Join(r.dir, "points")
	if err := r.term(p); err != nil {
		return time.Time{}, err
	}
	pt := point{store: storeRedis, step: "claim", moment: crashpoint.After}
	if i := slices.IndexFunc(r.points, func(pt point) bool { return !pt.rare }); i >= 0 {
		pt = r.points[i]
	}
	if err := p.launch(fmt.Sprintf("POINTSMAN_CRASH=%s|%d|stop", pt, 20+r.rng.IntN(20)), "POINTSMAN_CRASH_LOG="+hits); err != nil {
		return time.Time{}, err
	}
	stopped := func() bool { _, err := os.Stat(hits); return err == nil }
	for late := time.Now().Add(patience); !stopped() && time.Now().Before(late) && ctx.Err() == nil; {
		sleep(ctx, poll)
	}
	if stopped() {
		r.note("stopped at %s", pt)
		sleep(ctx, leaseTime)
	}
	p.process().signal(syscall.SIGCONT)
	return time.Now(), p.ready(ctx)
}
