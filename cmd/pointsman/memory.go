package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// ballastBytes is never touched and so takes no memory; see server.run.
	ballastBytes = 48 << 20
	// goShare is the part of a control group's memory that the Go heap may have:
	// plugins, their reapers and SQLite's page cache live in the same group.
	goShare = 0.65
	// flightShare is the part of it that the bodies of requests may take by default:
	// until it is stored an event is there two to four times.
	flightShare = 16
)

// limitMemory tells the collector about the memory limit of the process's
// control group, so that it works harder rather than that the kernel kills the
// router. GOMEMLIMIT wins. It returns the limit of the group, 0 for none.
func limitMemory() int64 {
	limit := groupMemory("/")
	if limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(goShare*float64(limit)) + ballastBytes)
	}
	return limit
}

// inFlight is limits.in_flight, or what it is when nothing is configured: 64 MiB,
// less where the control group has a small limit (0: none).
func inFlight(configured, limit int64) int64 {
	const usual = 64 << 20
	switch {
	case configured > 0:
		return configured
	case limit > 0:
		return min(usual, limit/flightShare)
	default:
		return usual
	}
}

// groupMemory is the least of the memory limits that the control groups of this
// process have, from its own up to the topmost that can be seen; 0 for none. root
// is put before every path.
// (Linux, Documentation/admin-guide/cgroup-v2.rst, memory.max and memory.high;
// cgroup-v1/memory.rst, memory.limit_in_bytes.)
func groupMemory(root string) int64 {
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(groups)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		base, files := "", []string{"memory.max", "memory.high"}
		switch {
		case f[0] == "0" && f[1] == "":
			base = "sys/fs/cgroup"
		case strings.Contains(","+f[1]+",", ",memory,"):
			base, files = "sys/fs/cgroup/memory", []string{"memory.limit_in_bytes"}
		default:
			continue
		}
		// In a container the path is often that of the host, and its own group is
		// what is mounted: then only the last of these folders is there.
		for dir := filepath.Clean("/" + f[2]); ; dir = filepath.Dir(dir) {
			for _, name := range files {
				least = min(least, limitIn(filepath.Join(root, base, dir, name)))
			}
			if dir == "/" {
				break
			}
		}
	}
	// Version 1 says "none" with a number near the greatest.
	if least >= 1<<60 {
		return 0
	}
	return least
}

// limitIn reads a limit; one that is not there or "max" is none.
func limitIn(path string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n <= 0 {
		return math.MaxInt64
	}
	return n
}
