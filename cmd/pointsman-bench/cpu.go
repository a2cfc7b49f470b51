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

// meter takes the CPU times of a process, of all below it, and of this one.
type meter struct {
	pid    int
	before [3]time.Duration
	err    error
}

func startCPU(pid int) *meter {
	m := &meter{pid: pid}
	m.before, m.err = cpuTimes(pid)
	return m
}

// stop stores what was used since the start.
func (c *meter) stop(m *measurement) error {
	after, err := cpuTimes(c.pid)
	if c.err != nil {
		err = c.err
	}
	m.server, m.plugins, m.generator = after[0]-c.before[0], after[1]-c.before[1], after[2]-c.before[2]
	return err
}

// cpuTimes returns the times of pid, its descendants and this process.
func cpuTimes(pid int) (times [3]time.Duration, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return times, err
	}
	parent, used := map[int]int{}, map[int]time.Duration{}
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
		user, _ := strconv.ParseInt(string(fields[11]), 10, 64)
		system, _ := strconv.ParseInt(string(fields[12]), 10, 64)
		parent[id], _ = strconv.Atoi(string(fields[1]))
		used[id] = time.Duration(user+system) * tick
	}
	if _, ok := parent[pid]; !ok {
		return times, fmt.Errorf("process %d is gone", pid)
	}
	for id, t := range used {
		switch {
		case id == pid:
			times[0] += t
		case id == os.Getpid():
			times[2] += t
		default:
			for up := parent[id]; up > 1; up = parent[up] {
				if up == pid {
					times[1] += t
					break
				}
			}
		}
	}
	return times, nil
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
