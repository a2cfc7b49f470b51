package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Limits bound what a plugin may use, with all it starts. Zero is no limit.
//
// Memory, Processes and CPU need a control group that this router may divide
// (version 1 or 2). Without one they are less: Memory bounds the data of each
// process by itself (RLIMIT_DATA), Processes are counted ten times a second and
// a plugin with more is killed, and CPU is the lowest priority (nice 19). The
// log says so at each start.
type Limits struct {
	// Memory in bytes; 16 MiB or more.
	Memory int64
	// Files is how many each process may have open (RLIMIT_NOFILE); 16 or more.
	Files int
	// Processes counts threads, too, as the system does; 16 or more.
	Processes int
	// CPU is a share in percent of one processor; more than 100 is of several.
	CPU int
	// CPUTime that each process may use until it is killed (RLIMIT_CPU); whole
	// seconds.
	CPUTime time.Duration
}

// The least of each limit with which a plugin can start at all.
const (
	MinMemory    = 16 << 20
	MinFiles     = 16
	MinProcesses = 16
)

func (l *Limits) check() error {
	for _, v := range []struct {
		name       string
		value, min int64
	}{
		{"memory", l.Memory, MinMemory},
		{"files", int64(l.Files), MinFiles},
		{"processes", int64(l.Processes), MinProcesses},
		{"cpu", int64(l.CPU), 1},
		{"cpu_time", int64(l.CPUTime), int64(time.Second)},
	} {
		if v.value != 0 && v.value < v.min {
			return fmt.Errorf("limits.%s: %d is less than %d", v.name, v.value, v.min)
		}
	}
	return nil
}

// account is a user that a plugin runs as.
type account struct {
	uid, gid uint32
	groups   []uint32
	name     string
	home     string
}

// lookup finds the user of a spec.
func lookup(name string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("user %s: only a router that runs as root can start a plugin as another user", name)
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	a := &account{name: u.Username, home: u.HomeDir}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	number := func(text string) (n uint32) {
		v, e := strconv.ParseUint(text, 10, 32)
		err = cmp.Or(err, e)
		return uint32(v)
	}
	a.uid, a.gid = number(u.Uid), number(u.Gid)
	for _, id := range ids {
		a.groups = append(a.groups, number(id))
	}
	return a, err
}

// env replaces what the environment says of the router's own user.
func (a *account) env(from []string) []string {
	out := []string{"HOME=" + a.home, "USER=" + a.name, "LOGNAME=" + a.name}
	for _, kv := range from {
		if !strings.HasPrefix(kv, "HOME=") {
			out = append(out, kv)
		}
	}
	return out
}

// confine makes the control group of a start and says what the reaper has to do.
func (p *process) confine() *confinement {
	l := p.limits
	c := &confinement{Files: uint64(l.Files), CPUSeconds: uint64((l.CPUTime + time.Second - 1) / time.Second)}
	if p.account != nil {
		c.Credential = &syscall.Credential{Uid: p.account.uid, Gid: p.account.gid, Groups: p.account.groups}
	}
	var notes []slog.Attr
	without := func(what, instead string, err error) {
		notes = append(notes, slog.String(what, instead), slog.String(what+"_error", err.Error()))
	}
	g := &group{root: p.root, name: groupName(p.instance, p.session)}
	p.group = g
	if l.Memory > 0 {
		if err := g.add("memory", memoryFiles(l.Memory)); err != nil {
			c.Data = uint64(l.Memory)
			without("memory", "of each process by itself", err)
		}
	}
	if l.Processes > 0 {
		if err := g.add("pids", []setting{{file: "pids.max", value: strconv.Itoa(l.Processes)}}); err != nil {
			c.Watch = l.Processes
			without("processes", "counted from time to time", err)
		}
	}
	if l.CPU > 0 {
		if err := g.add("cpu", cpuFiles(l.CPU)); err != nil {
			c.Nice = 19
			without("cpu", "lowest priority", err)
		}
	}
	c.Procs, c.Stop = g.procs()
	if len(notes) > 0 {
		p.log.LogAttrs(context.Background(), slog.LevelWarn, "limits of the plugin are weaker without a control group", notes...)
	}
	return c
}

// openSockets returns a folder for the sockets of plugins with another user, who
// cannot enter the router's private one. Its name may be seen; what is in it
// belongs to one user each.
func (h *Host) openSockets() (string, error) {
	h.openMu.Lock()
	defer h.openMu.Unlock()
	if h.open != "" {
		return h.open, nil
	}
	parent := os.TempDir()
	if len(parent) > maxSocketDir-20 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "pointsman-")
	if err != nil {
		return "", err
	}
	if err = os.Chmod(dir, 0o711); err == nil && h.cfg.RunDir != "" {
		err = os.WriteFile(filepath.Join(h.cfg.RunDir, openNote), []byte(dir), 0o600)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	h.open = dir
	return dir, nil
}

// openNote is the file in RunDir with the path of the folder of openSockets.
const openNote = "sockets-of-users"
