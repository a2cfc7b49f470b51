package host

import (
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

// imageArg stands in the reaper's arguments for the image in imageFD.
const imageArg = "image"

// ReaperMain is the hidden command "reaper": args are the path of the program
// (or "image" for the file passed on descriptor 5) and then its argv. It runs
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
	// process that cleans up; SIGCHLD wakes the loop.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	child := make(chan os.Signal, 1)
	signal.Notify(child, syscall.SIGCHLD)

	status := os.NewFile(statusFD, "status")
	if len(args) < 2 || status == nil {
		fmt.Fprintln(os.Stderr, "reaper: started by pointsman only")
		return 2
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintf(status, "fail child subreaper: %v\n", err)
		return 127
	}
	pid, err := startChild(args[0], args[1:])
	if err != nil {
		fmt.Fprintf(status, "fail %v\n", err)
		return 127
	}
	fmt.Fprintf(status, "pid %d\n", pid)

	r := &reaper{main: pid}
	r.supervise(child, orders())
	r.killAll()
	fmt.Fprintf(status, "exit %s\n", describeExit(r.status))
	return r.status.ExitStatus()
}

func startChild(path string, argv []string) (int, error) {
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
	return syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: files,
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
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
	ended  bool
	status syscall.WaitStatus
}

// supervise returns when the plugin's main process has ended or everything is
// to be killed.
func (r *reaper) supervise(child <-chan os.Signal, orders <-chan byte) {
	for {
		r.reap()
		if r.ended {
			return
		}
		select {
		case <-child:
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
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return true
		case pid == 0:
			return false
		case pid == r.main:
			r.ended, r.status = true, ws
		}
	}
}

// killAll returns when no descendant is left. This process is their subreaper:
// an orphan becomes its child, so no child means no descendant.
func (r *reaper) killAll() {
	for !r.reap() {
		for _, p := range descendants(snapshot(), os.Getpid()) {
			_ = syscall.Kill(p, syscall.SIGKILL)
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
