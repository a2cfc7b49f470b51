package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// usage is what the kernel says of a process.
type usage struct {
	rss int           // bytes, resident now
	cpu time.Duration // used so far
}

func usageOf(t *testing.T, pid int) usage {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var u usage
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == "VmRSS:" {
			n, _ := strconv.Atoi(f[1])
			u.rss = n << 10
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	u.cpu = time.Duration(user+system) * 10 * time.Millisecond
	return u
}

// TestIdle bounds what a router costs that does nothing. The time until it is
// ready depends on the machine: it is reported, and bounded loosely.
func TestIdle(t *testing.T) {
	t.Parallel()
	s := newSite(t, routerConfig, routerRules, succeeds)
	r := s.serve()
	if code := r.send("e1", "work"); code != http.StatusAccepted { // starts the plugin
		t.Fatalf("sent: %d", code)
	}
	r.all("done", 1)
	const span = 3 * time.Second
	before := usageOf(t, r.cmd.Process.Pid)
	<-time.After(span)
	after := usageOf(t, r.cmd.Process.Pid)
	share := float64(after.cpu-before.cpu) / float64(span)
	t.Logf("ready after %v, %d MiB resident, %.2f %% of a CPU", r.ready.Round(time.Millisecond), after.rss>>20, 100*share)
	if r.ready > 3*time.Second {
		t.Errorf("ready after %v", r.ready)
	}
	if after.rss > 60<<20 {
		t.Errorf("%d MiB resident, want at most 60", after.rss>>20)
	}
	if share > 0.02 {
		t.Errorf("%.1f %% of a CPU while idle", 100*share)
	}
}
