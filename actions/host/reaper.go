package host

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// File descriptors of the reaper, beside standard input, output and error.
const (
	controlFD = 3 // from the router; end of file: kill everything
	statusFD  = 4 // to the router: "pid N", then "exit TEXT" or "fail TEXT"
	imageFD   = 5 // the verified image of an external plugin
)

// Orders on the control pipe.
const (
	orderTerm = 't' // SIGTERM to the plugin's process group
	orderKill = 'k' // SIGKILL to every descendant
)

// confineArg is the reaper's option for a confinement, in JSON.
const confineArg = "-confine"

// watchEvery is how often tasks are counted where no control group does it.
const watchEvery = 100 * time.Millisecond

// imageArg stands in the reaper's arguments for the image in imageFD.
const imageArg = "image"

// ReaperMain is the hidden command "reaper": args are the path of the program
// (or "image" for the file passed on descriptor 5) and then its argv; before them
// may be "-confine" and what to confine it to. It runs
// the program as a child, and whatever way it ends (the program exits, the
// router closes the control pipe or dies) it kills and waits for every process
// that descends from the program, those with a session of their own too, before
// it returns the exit code for this process.
//
// It must be called from the main goroutine of a process of its own.
func ReaperMain(args []string) int {
	runtime.LockOSThread()
	for _, fd := range []int{controlFD, statusFD, imageFD} {
		syscall.CloseOnExec(fd)
	}
	// A signal to the whole process group or control group must not end the one
	// process that cleans up; SIGCHLD wakes the loop. They are caught and not
	// ignored, which the plugin would inherit.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	child := make(chan os.Signal, 1)
	signal.Notify(child, syscall.SIGCHLD)

	status := os.NewFile(statusFD, "status")
	var limits confinement
	if len(args) > 2 && args[0] == confineArg {
		if err := json.Unmarshal([]byte(args[1]), &limits); err != nil {
			args = nil
		} else {
			args = args[2:]
		}
	}
	if len(args) < 2 || status == nil {
		fmt.Fprintln(os.Stderr, "reaper: started by pointsman only")
		return 2
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintf(status, "fail child subreaper: %v\n", err)
		return 127
	}
	pid, err := startChild(args[0], args[1:], &limits)
	if err != nil {
		fmt.Fprintf(status, "fail %v\n", err)
		return 127
	}
	fmt.Fprintf(status, "pid %d\n", pid)

	r := &reaper{main: pid, limits: &limits}
	r.supervise(child, orders())
	r.killAll()
	text := describeExit(r.status)
	if r.over {
		text += ", it took more than limits.processes"
	}
	if limit := limits.CPUSeconds; limit > 0 && r.status.Signaled() && r.used >= time.Duration(limit)*time.Second-100*time.Millisecond {
		text += ", it took more than limits.cpu_time"
	}
	fmt.Fprintf(status, "exit %s\n", text)
	return r.status.ExitStatus()
}

func startChild(path string, argv []string, limits *confinement) (int, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	files := []uintptr{null.Fd(), 1, 2}
	if path == imageArg {
		// The descriptor stays open in the child: an interpreter opens the script
		// through this path once more.
		path = fmt.Sprintf("/proc/self/fd/%d", len(files))
		files = append(files, imageFD)
	}
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: files,
		Sys: &syscall.SysProcAttr{
			Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: limits.Credential, Ptrace: limits.held(),
		},
	})
	if err != nil || !limits.held() {
		return pid, err
	}
	if err := limits.apply(pid); err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
		return 0, fmt.Errorf("limits cannot be set: %w", err)
	}
	return pid, nil
}

// orders passes on the bytes of the control pipe; it is closed at its end.
func orders() <-chan byte {
	out := make(chan byte)
	go func() {
		defer close(out)
		control := os.NewFile(controlFD, "control")
		var b [1]byte
		for {
			if _, err := io.ReadFull(control, b[:]); err != nil {
				return
			}
			out <- b[0]
		}
	}()
	return out
}

type reaper struct {
	main   int
	limits *confinement
	over   bool // it had more tasks than it may
	ended  bool
	status syscall.WaitStatus
	used   time.Duration // processor time of the main process, when it ended
}

// supervise returns when the plugin's main process has ended or everything is
// to be killed.
func (r *reaper) supervise(child <-chan os.Signal, orders <-chan byte) {
	var count <-chan time.Time
	if r.limits.Watch > 0 {
		t := time.NewTicker(watchEvery)
		defer t.Stop()
		count = t.C
	}
	for {
		r.reap()
		if r.ended {
			return
		}
		select {
		case <-child:
		case <-count:
			if tasks(snapshot(), os.Getpid()) > r.limits.Watch {
				r.over = true
				return
			}
		case o, ok := <-orders:
			if !ok || o == orderKill {
				return
			}
			if o == orderTerm {
				_ = syscall.Kill(-r.main, syscall.SIGTERM)
			}
		}
	}
}

// reap collects every child that has ended and says whether none is left.
func (r *reaper) reap() (none bool) {
	for {
		var ws syscall.WaitStatus
		var u syscall.Rusage
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, &u)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return true
		case pid == 0:
			return false
		case pid == r.main:
			r.ended, r.status = true, ws
			r.used = time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
}

// killAll returns when no descendant is left. This process is their subreaper:
// an orphan becomes its child, so no child means no descendant. A whole group is
// killed at once, so that none of it can be born in between.
func (r *reaper) killAll() {
	for _, file := range r.limits.Stop {
		_ = os.WriteFile(file, []byte("0"), 0)
	}
	self := os.Getpid()
	for !r.reap() {
		table := snapshot()
		groups := make(map[int]int, len(table))
		for _, p := range table {
			groups[p.pid] = p.group
		}
		own := groups[self]
		for _, pid := range descendants(table, self) {
			if g := groups[pid]; g > 1 && g != own {
				_ = syscall.Kill(-g, syscall.SIGKILL)
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if r.reap() {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func describeExit(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return "signal: " + strings.ToLower(ws.Signal().String())
	}
	return fmt.Sprintf("exit status %d", ws.ExitStatus())
}
