package host

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// confinement is what a reaper does to the plugin before its first instruction.
type confinement struct {
	Credential *syscall.Credential `json:"credential,omitempty"`
	Data       uint64              `json:"data,omitempty"`        // RLIMIT_DATA in bytes
	Files      uint64              `json:"files,omitempty"`       // RLIMIT_NOFILE
	CPUSeconds uint64              `json:"cpu_seconds,omitempty"` // RLIMIT_CPU
	Nice       int                 `json:"nice,omitempty"`
	Procs      []string            `json:"procs,omitempty"` // files of control groups to enter
	Stop       []string            `json:"stop,omitempty"`  // files that take a 0 to let nothing be started
	Watch      int                 `json:"watch,omitempty"` // tasks at most, to be counted
}

// held says whether the plugin has to be stopped at its start.
func (c *confinement) held() bool {
	return c.Data+c.Files+c.CPUSeconds > 0 || c.Nice != 0 || len(c.Procs) > 0 || c.Watch > 0
}

// apply confines a process that is stopped by ptrace at its exec, and lets it go.
func (c *confinement) apply(pid int) error {
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &ws, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		break
	}
	if !ws.Stopped() {
		return fmt.Errorf("it ended at its start: %s", describeExit(ws))
	}
	if err := c.resources(pid); err != nil {
		return err
	}
	if c.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, pid, c.Nice); err != nil {
			return fmt.Errorf("priority: %w", err)
		}
	}
	for _, file := range c.Procs {
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("control group: %w", err)
		}
	}
	return syscall.PtraceDetach(pid)
}

// resources sets the resource limits. Those of another user's process may be set
// by who has the capability SYS_RESOURCE, or by who has the user's real ids: this
// thread has them for the while. It is the main goroutine's own, see ReaperMain.
func (c *confinement) resources(pid int) error {
	if u := c.Credential; u != nil {
		uid, gid := os.Getuid(), os.Getgid()
		if err := realIDs(int(u.Uid), int(u.Gid)); err != nil {
			return err
		}
		defer func() { _ = realIDs(uid, gid) }()
	}
	for _, l := range []struct {
		name     string
		resource int
		value    uint64
	}{{"data", unix.RLIMIT_DATA, c.Data}, {"open files", unix.RLIMIT_NOFILE, c.Files}, {"processor time", unix.RLIMIT_CPU, c.CPUSeconds}} {
		if l.value == 0 {
			continue
		}
		if err := lower(pid, l.resource, l.value); err != nil {
			return fmt.Errorf("resource limit of %s: %w", l.name, err)
		}
	}
	return nil
}

// realIDs changes the real ids of this thread alone, and no effective one.
func realIDs(uid, gid int) error {
	keep := ^uintptr(0)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), keep, keep); e != 0 {
		return fmt.Errorf("setresgid: %w", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), keep, keep); e != 0 {
		return fmt.Errorf("setresuid: %w", e)
	}
	return nil
}

// lower sets both limits; never above the hard one that is there.
func lower(pid, resource int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &now); err != nil {
		return err
	}
	value = min(value, now.Max)
	hard := value
	if resource == unix.RLIMIT_CPU { // SIGXCPU says why, SIGKILL comes a second later
		hard = min(value+1, now.Max)
	}
	return unix.Prlimit(pid, resource, &unix.Rlimit{Cur: value, Max: hard}, nil)
}

// tasks counts the threads of all descendants.
func tasks(table []proc, root int) int {
	n := 0
	below := make(map[int]bool)
	for _, pid := range descendants(table, root) {
		below[pid] = true
	}
	for _, p := range table {
		if below[p.pid] {
			n += max(p.threads, 1)
		}
	}
	return n
}
