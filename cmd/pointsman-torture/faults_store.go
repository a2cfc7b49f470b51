package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// diskSize is that of the disk that is filled.
const diskSize = "size=32m"

func needsMount(t *tools) string {
	if t.mount {
		return ""
	}
	return "a small disk (mounting a tmpfs is not permitted: run as root)"
}

func needsStrace(t *tools) string {
	if t.strace {
		return ""
	}
	return "strace that may attach (apt-get install strace; run as root or set kernel.yama.ptrace_scope=0)"
}

// mayMount tries to mount a tmpfs.
func mayMount(dir string) bool {
	if unix.Mount("tmpfs", dir, "tmpfs", 0, diskSize) != nil {
		return false
	}
	return unix.Unmount(dir, 0) == nil
}

// mayTrace tries to follow a process that is not strace's child.
func mayTrace(ctx context.Context) bool {
	if _, err := exec.LookPath("strace"); err != nil {
		return false
	}
	victim := exec.CommandContext(ctx, "sleep", "0.5")
	if victim.Start() != nil {
		return false
	}
	err := exec.CommandContext(ctx, "strace", "-f", "-qq", "-o", os.DevNull, "-p", strconv.Itoa(victim.Process.Pid)).Run()
	_ = victim.Wait()
	return err == nil
}

// smallDisk puts a router's data on a disk that can be filled.
func smallDisk(r *round) error {
	dir := filepath.Join(r.routes[0].dir, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, diskSize); err != nil {
		return err
	}
	r.undo = append(r.undo, func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return nil
}

// fillDisk takes what is left of the disk for a while.
func fillDisk(ctx context.Context, r *round) (time.Time, error) {
	path := filepath.Join(r.routes[0].dir, "data", "filler")
	f, err := os.Create(path)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	before, _ := r.load.counts()
	for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end) && ctx.Err() == nil; {
		_, err = f.Write(make([]byte, 4096))
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			return time.Time{}, err
		}
		if err != nil {
			sleep(ctx, poll)
		}
	}
	if after, _ := r.load.counts(); after == before {
		r.note("the full disk refused no event: the log had room")
	}
	since := time.Now()
	return since, os.Remove(path)
}

// trace has strace inject something into the running router, not into what it
// has started before.
func (r *round) trace(p *pointsman, calls, inject string) (*process, error) {
	return start(filepath.Join(r.dir, "strace.log"), nil, "strace", "-f", "-qq", "-o", filepath.Join(r.dir, "strace.txt"),
		"-p", strconv.Itoa(p.process().pid()), "-e", "trace="+calls, "-e", "inject="+calls+":"+inject)
}

// detach ends strace. At times it does not heed the signal when what it follows
// is killed meanwhile; the kernel lets go of the rest.
func (p *process) detach() {
	p.signal(syscall.SIGTERM)
	if _, err := p.wait(3 * time.Second); err != nil {
		p.kill()
	}
}

// refusing waits until more events are refused than before.
func (r *round) refusing(ctx context.Context, before int) bool {
	for late := time.Now().Add(patience); time.Now().Before(late) && ctx.Err() == nil; sleep(ctx, poll) {
		if now, _ := r.load.counts(); now > before {
			return true
		}
	}
	return false
}

// failSync has syncing fail for a moment. After a sync that failed nobody knows
// what is on disk: nothing may be accepted until the restart, so the router ends
// and says why.
func failSync(ctx context.Context, r *round) (time.Time, error) {
	p := r.routes[0]
	tr, err := r.trace(p, "fsync,fdatasync", "error=EIO")
	if err != nil {
		return time.Time{}, err
	}
	code, err := p.process().wait(patience)
	since := time.Now()
	tr.detach()
	if err != nil {
		r.violate(kindFault, "no sync succeeded and the router goes on: %v", err)
		p.process().kill()
	}
	text, _ := os.ReadFile(p.process().log)
	if err == nil && (code != 3 || !strings.Contains(string(text), "it is unknown what reached the disk")) {
		r.violate(kindFault, "exit code %d after syncs failed, want 3 and the reason: %s", code, tail(p.process().log))
	}
	return since, p.serve(ctx)
}

// slowSync makes each sync take 300 ms.
func slowSync(ctx context.Context, r *round) (time.Time, error) {
	tr, err := r.trace(r.routes[0], "fsync,fdatasync", "delay_enter=300000")
	if err != nil {
		return time.Time{}, err
	}
	sleep(ctx, 3*time.Second)
	tr.detach()
	return time.Now(), nil
}

// killAtWrite ends the router at the nth write or sync of a file from now on.
func killAtWrite(ctx context.Context, r *round) (time.Time, error) {
	p := r.routes[0]
	for range 3 {
		calls := []string{"pwrite64", "fsync,fdatasync"}[r.rng.IntN(2)]
		tr, err := r.trace(p, calls, fmt.Sprintf("signal=KILL:when=%d", 1+r.rng.IntN(12)))
		if err != nil {
			return time.Time{}, err
		}
		if _, err := p.process().wait(10 * time.Second); err != nil {
			p.process().kill()
		}
		tr.detach()
		if err := p.serve(ctx); err != nil {
			return time.Time{}, err
		}
	}
	return time.Now(), nil
}

// killRedis kills the server and starts it again.
func killRedis(ctx context.Context, r *round) (time.Time, error) {
	r.pause(ctx, 50*time.Millisecond, 500*time.Millisecond)
	r.redis.run.kill()
	since := time.Now()
	return since, r.redis.start()
}

// redisAway leaves it away for a while.
func redisAway(ctx context.Context, r *round) (time.Time, error) {
	r.redis.run.kill()
	r.pause(ctx, time.Second, 5*time.Second)
	since := time.Now()
	return since, r.redis.start()
}

// longAway is how long redisLong leaves Redis away.
const longAway = 10 * time.Minute

// redisLong leaves Redis away for long and notes what the router needs meanwhile,
// with senders that try again and again.
func redisLong(ctx context.Context, r *round) (time.Time, error) {
	pid := r.routes[0].process().pid()
	r.redis.run.kill()
	before, err := usage(pid)
	if err != nil {
		return time.Time{}, err
	}
	refused, _ := r.load.counts()
	sleep(ctx, longAway)
	after, err := usage(pid)
	if err != nil {
		return time.Time{}, err
	}
	now, _ := r.load.counts()
	r.note("%s without Redis: %.2f %% of a processor, resident memory %d MiB before and %d MiB after, %d requests refused",
		longAway, 100*(after.cpu-before.cpu).Seconds()/longAway.Seconds(), before.resident>>20, after.resident>>20, now-refused)
	since := time.Now()
	return since, r.redis.start()
}

// used is what a process needs.
type used struct {
	cpu      time.Duration
	resident int64
}

// usage reads proc_pid_stat(5); a clock tick is 10 ms on Linux.
func usage(pid int) (used, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return used{}, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 22 {
		return used{}, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	var n [3]int64
	for i, at := range [...]int{11, 12, 21} {
		if n[i], err = strconv.ParseInt(f[at], 10, 64); err != nil {
			return used{}, err
		}
	}
	return used{cpu: time.Duration(n[0]+n[1]) * 10 * time.Millisecond, resident: n[2] * int64(os.Getpagesize())}, nil
}

// stopRedis has connections stand open and nobody answer.
func stopRedis(ctx context.Context, r *round) (time.Time, error) {
	r.redis.run.signal(syscall.SIGSTOP)
	r.pause(ctx, 500*time.Millisecond, 8*time.Second)
	r.redis.run.signal(syscall.SIGCONT)
	return time.Now(), nil
}

// cutWire drops answers of commands that were carried out.
func cutWire(ctx context.Context, r *round) (time.Time, error) {
	r.wire.mode.Store(cuts)
	sleep(ctx, 2500*time.Millisecond)
	r.wire.mode.Store(passes)
	if r.wire.cuts.Load() == 0 {
		r.note("no answer was cut")
	}
	return time.Now(), nil
}

// holdWire lets nothing through, then breaks every connection.
func holdWire(ctx context.Context, r *round) (time.Time, error) {
	r.wire.mode.Store(holds)
	r.pause(ctx, 500*time.Millisecond, 7*time.Second)
	r.wire.closeAll()
	r.wire.mode.Store(passes)
	return time.Now(), nil
}

// fillRedis brings the server to its maxmemory.
func fillRedis(ctx context.Context, r *round) (time.Time, error) {
	before, _ := r.load.counts()
	if _, err := r.redis.do("CONFIG", "SET", "maxmemory", "100kb"); err != nil {
		return time.Time{}, err
	}
	if !r.refusing(ctx, before) {
		r.violate(kindFault, "no event was refused while Redis was at its maxmemory")
	}
	sleep(ctx, 2*time.Second)
	since := time.Now()
	_, err := r.redis.do("CONFIG", "SET", "maxmemory", "0")
	return since, err
}

func flushScripts(ctx context.Context, r *round) (time.Time, error) {
	for range 5 {
		if _, err := r.redis.do("SCRIPT", "FLUSH"); err != nil {
			return time.Time{}, err
		}
		sleep(ctx, 100*time.Millisecond)
	}
	return time.Now(), nil
}

// flushAll empties Redis. Nothing can save what was there; the routers must stop
// and say so.
func flushAll(ctx context.Context, r *round) (time.Time, error) {
	r.load.forget(time.Now().Add(time.Hour))
	if _, err := r.redis.do("FLUSHALL"); err != nil {
		return time.Time{}, err
	}
	r.emptied = time.Now()
	r.load.forget(r.emptied)
	for _, p := range r.routes {
		code, err := p.process().wait(patience)
		if err != nil {
			r.violate(kindFault, "Redis was emptied and the router goes on: %v", err)
			continue
		}
		text, _ := os.ReadFile(p.process().log)
		if code == 0 || !strings.Contains(string(text), "emptied") {
			r.violate(kindFault, "exit code %d after Redis was emptied: %s", code, tail(p.process().log))
		}
	}
	since := time.Now()
	for _, p := range r.routes {
		if err := p.serve(ctx); err != nil {
			return since, err
		}
	}
	return since, nil
}
