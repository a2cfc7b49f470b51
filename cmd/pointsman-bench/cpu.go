package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of CPU times in /proc; the kernel shows it as 100 Hz on every
// architecture that Go runs on.
const tick = 10 * time.Millisecond

// meter takes the CPU times of a process, of all below it, of a redis-server
// (0: none) and of this program.
type meter struct {
	pid, redis int
	before     cpu
	err        error
}

// cpu is CPU time by process.
type cpu struct{ server, plugins, redis, generator time.Duration }

func startCPU(pid, redis int) *meter {
	m := &meter{pid: pid, redis: redis}
	m.before, m.err = cpuTimes(pid, redis)
	return m
}

// stop stores what was used since the start.
func (c *meter) stop(m *measurement) error {
	after, err := cpuTimes(c.pid, c.redis)
	if c.err != nil {
		err = c.err
	}
	m.cpu = cpu{
		after.server - c.before.server, after.plugins - c.before.plugins,
		after.redis - c.before.redis, after.generator - c.before.generator,
	}
	return err
}

// process is what /proc tells of one.
type process struct {
	parent int
	used   time.Duration
}

// processes reads all of them.
func processes() (map[int]process, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := make(map[int]process, len(stats))
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		// The name in parentheses may hold anything, ) too.
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if len(fields) < 13 {
			continue
		}
		parent, _ := strconv.Atoi(string(fields[1]))
		user, _ := strconv.ParseInt(string(fields[11]), 10, 64)
		system, _ := strconv.ParseInt(string(fields[12]), 10, 64)
		all[id] = process{parent, time.Duration(user+system) * tick}
	}
	return all, nil
}

// cpuTimes returns the times of pid, its descendants, redis and this process.
func cpuTimes(pid, redis int) (times cpu, err error) {
	all, err := processes()
	if err != nil {
		return times, err
	}
	if _, ok := all[pid]; !ok {
		return times, fmt.Errorf("process %d is gone", pid)
	}
	for id, p := range all {
		switch {
		case id == pid:
			times.server += p.used
		case id == redis:
			times.redis += p.used
		case id == os.Getpid():
			times.generator += p.used
		case below(all, id, pid):
			times.plugins += p.used
		}
	}
	return times, nil
}

// below says that id descends from pid.
func below(all map[int]process, id, pid int) bool {
	for up := all[id].parent; up > 1; up = all[up].parent {
		if up == pid {
			return true
		}
	}
	return false
}

// warnMemory says when dir is in memory, where a sync costs nothing.
func warnMemory(dir string) {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) == nil && fs.Type == unix.TMPFS_MAGIC {
		fmt.Fprintf(os.Stderr, "pointsman-bench: %s is in memory, so syncing is free; name a folder on a disk with -dir\n", dir)
	}
}

// storeKind is the store's kind without its address, which may hold a password.
func storeKind(url string) string {
	kind, _, _ := strings.Cut(url, ":")
	return kind
}

// probeDisk measures how long a sync of 64 KiB takes in dir: the ratio is not
// independent of a disk that others keep busy.
func probeDisk(dir string) (quantile, error) {
	f, err := os.CreateTemp(dir, "probe-")
	if err != nil {
		return quantile{}, err
	}
	defer f.Close()
	took := make([]time.Duration, 100)
	for i := range took {
		if _, err := f.Write(make([]byte, 64<<10)); err != nil {
			return quantile{}, err
		}
		begun := time.Now()
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return quantile{}, err
		}
		took[i] = time.Since(begun)
	}
	return quantiles(took), nil
}
