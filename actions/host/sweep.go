package host

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sessionEnv marks every process that descends from a plugin, as
// INSTANCE/RANDOM.
const sessionEnv = "POINTSMAN_SESSION"

// proc is one row of /proc.
type proc struct {
	pid, parent, group, session int
	threads                     int
	zombie                      bool
}

// snapshot reads the process table.
func snapshot() []proc {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var out []proc
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		if p, ok := parseStat(pid, text); ok {
			out = append(out, p)
		}
	}
	return out
}

// parseStat reads /proc/PID/stat; the name in it may hold anything, so fields
// count from the last parenthesis.
func parseStat(pid int, text []byte) (proc, bool) {
	i := bytes.LastIndexByte(text, ')')
	if i < 0 {
		return proc{}, false
	}
	f := bytes.Fields(text[i+1:])
	if len(f) < 4 {
		return proc{}, false
	}
	var n [3]int // parent, group, session
	for k := range n {
		var err error
		if n[k], err = strconv.Atoi(string(f[k+1])); err != nil {
			return proc{}, false
		}
	}
	p := proc{pid: pid, parent: n[0], group: n[1], session: n[2], zombie: f[0][0] == 'Z' || f[0][0] == 'X'}
	if len(f) > 17 {
		p.threads, _ = strconv.Atoi(string(f[17]))
	}
	return p, true
}

// descendants lists the processes below the roots, without the roots.
func descendants(table []proc, roots ...int) []int {
	below := make(map[int]bool, len(roots))
	for _, r := range roots {
		below[r] = true
	}
	var out []int
	for more := true; more; {
		more = false
		for _, p := range table {
			if !below[p.pid] && below[p.parent] {
				below[p.pid] = true
				out = append(out, p.pid)
				more = true
			}
		}
	}
	return out
}

// Sweep kills every process that an earlier router of this instance left
// behind, and returns when they are gone. It is for the start of a router, after
// it has locked its data and before anything is settled as lost; the instance
// must have no other router running. It returns how many were found.
func Sweep(ctx context.Context, instance string) (int, error) {
	n, err := sweep(ctx, instance+"/", 0)
	if err == nil {
		removeGroups(instance)
	}
	return n, err
}

// sweep kills what carries a mark with this prefix, belongs to the session, or
// descends from either, until nothing of it is left.
func sweep(ctx context.Context, mark string, session int) (int, error) {
	found := make(map[int]bool)
	pending := make(map[int]int) // pid -> pidfd of what was killed
	defer func() {
		for _, fd := range pending {
			_ = unix.Close(fd)
		}
	}()
	for {
		alive := victims(mark, session)
		if len(alive) == 0 && len(pending) == 0 {
			return len(found), nil
		}
		for pid, fd := range alive {
			found[pid] = true
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			if old, ok := pending[pid]; ok {
				_ = unix.Close(old)
			}
			pending[pid] = fd
		}
		for pid, fd := range pending {
			// An orphan of a router that is process 1 is that router's to wait for.
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(poll, 0); n > 0 && err == nil {
				_ = unix.Close(fd)
				delete(pending, pid)
			}
		}
		select {
		case <-ctx.Done():
			return len(found), fmt.Errorf("sweep: processes %v are still there: %w", keys(pending), ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func keys(m map[int]int) []int {
	var out []int
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// victims returns a pidfd for each process to kill. The pidfd is opened before
// the process is looked at, so a pid that is used again in between is never hit.
func victims(mark string, session int) map[int]int {
	self := os.Getpid()
	table := snapshot()
	fds := make(map[int]int)
	var roots []int
	for _, p := range table {
		if p.pid == self || p.zombie {
			continue
		}
		fd, err := unix.PidfdOpen(p.pid, 0)
		if err != nil {
			continue
		}
		now, ok := stat(p.pid)
		if ok && ((session != 0 && now.session == session) || marked(p.pid, mark)) {
			fds[p.pid] = fd
			roots = append(roots, p.pid)
			continue
		}
		_ = unix.Close(fd)
	}
	for _, pid := range descendants(table, roots...) {
		if _, ok := fds[pid]; ok || pid == self {
			continue
		}
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			// Parents come before their children here.
			if p, ok := stat(pid); ok && !p.zombie {
				if _, ok := fds[p.parent]; ok {
					fds[pid] = fd
					continue
				}
			}
			_ = unix.Close(fd)
		}
	}
	return fds
}

func stat(pid int) (proc, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, false
	}
	return parseStat(pid, text)
}

// marked says whether a process was started with a mark of this prefix.
func marked(pid int, mark string) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	for kv := range bytes.SplitSeq(env, []byte{0}) {
		if value, ok := strings.CutPrefix(string(kv), sessionEnv+"="); ok {
			return strings.HasPrefix(value, mark)
		}
	}
	return false
}
