package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// group is the control group of one start of a plugin: one folder, or one for
// each controller where the system has version 1.
type group struct {
	root string // put before every path of the system; empty but in tests
	name string
	made []made
}

type made struct {
	controller, dir string
}

// setting is what to write in a file of a group; optional where not every
// system has the file.
type setting struct {
	file, value string
	optional    bool
}

// memoryFiles are those of either version.
func memoryFiles(bytes int64) []setting {
	n := strconv.FormatInt(bytes, 10)
	return []setting{
		{"memory.max", n, true},
		{"memory.swap.max", "0", true},
		{"memory.oom.group", "1", true},
		{"memory.limit_in_bytes", n, true},
		{"memory.memsw.limit_in_bytes", n, true},
	}
}

func cpuFiles(percent int) []setting {
	n := strconv.Itoa(percent * 1000)
	return []setting{
		{"cpu.max", n + " 100000", true},
		{"cpu.cfs_period_us", "100000", true},
		{"cpu.cfs_quota_us", n, true},
	}
}

// groupName names the group of a session after the instance, so that a later
// router of it finds what is left.
func groupName(instance, session string) string {
	_, random, _ := strings.Cut(session, "/")
	return groupPrefix(instance) + random
}

func groupPrefix(instance string) string {
	sum := sha256.Sum256([]byte(instance))
	return "pointsman-" + hex.EncodeToString(sum[:8]) + "-"
}

// add puts the group under a controller and writes the settings. On an error it
// is not under it.
func (g *group) add(controller string, settings []setting) error {
	base, err := controlBase(g.root, controller)
	if err != nil {
		return err
	}
	dir := filepath.Join(base, g.name)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	undo := func(err error) error {
		if !slices.ContainsFunc(g.made, func(m made) bool { return m.dir == dir }) {
			err = errors.Join(err, os.Remove(dir))
		}
		return err
	}
	wrote := 0
	for _, s := range settings {
		err = os.WriteFile(filepath.Join(dir, s.file), []byte(s.value), 0)
		switch {
		case err == nil:
			wrote++
		case !s.optional || !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission):
			return undo(err)
		}
	}
	if wrote == 0 {
		return undo(fmt.Errorf("%s: it has no limits for %s", dir, controller))
	}
	g.made = append(g.made, made{controller, dir})
	return nil
}

// procs are the files by which a process enters, and those by which no more can
// be started in it.
func (g *group) procs() (enter, stop []string) {
	for _, m := range g.made {
		if file := filepath.Join(m.dir, "cgroup.procs"); !slices.Contains(enter, file) {
			enter = append(enter, file)
		}
		if m.controller == "pids" {
			stop = append(stop, filepath.Join(m.dir, "pids.max"))
		}
	}
	return enter, stop
}

// verdict says which limits were met.
func (g *group) verdict() string {
	var out []string
	for _, m := range g.made {
		switch {
		case m.controller == "memory" && (counted(m.dir, "memory.events", "oom_kill") || counted(m.dir, "memory.oom_control", "oom_kill")):
			out = append(out, "it took more than limits.memory")
		case m.controller == "pids" && counted(m.dir, "pids.events", "max"):
			out = append(out, "it met limits.processes")
		}
	}
	return strings.Join(out, ", ")
}

func counted(dir, file, key string) bool {
	text, _ := os.ReadFile(filepath.Join(dir, file))
	for line := range bytes.Lines(text) {
		if f := strings.Fields(string(line)); len(f) == 2 && f[0] == key {
			return f[1] != "0"
		}
	}
	return false
}

// remove removes a group whose processes are gone.
func (g *group) remove() {
	for _, m := range g.made {
		removeGroup(m.dir)
	}
}

// removeGroup waits a little: a group may count a process that has been waited
// for.
func removeGroup(dir string) {
	for range 100 {
		if err := os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// removeGroups removes what earlier starts of an instance left.
func removeGroups(instance string) {
	for _, controller := range []string{"memory", "pids", "cpu"} {
		base, err := controlBase("", controller)
		if err != nil {
			continue
		}
		left, _ := filepath.Glob(filepath.Join(base, groupPrefix(instance)+"*"))
		for _, dir := range left {
			removeGroup(dir)
		}
	}
}

// controlBase is the folder in which groups under a controller can be made: the
// router's own, or in version 2 the one above it when it was handed to the
// router, as systemd does with Delegate= and DelegateSubgroup=. root is put
// before every path.
func controlBase(root, controller string) (string, error) {
	cgroups, err := os.ReadFile(root + "/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile(root + "/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(cgroups)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		switch {
		case slices.Contains(strings.Split(f[1], ","), controller):
			if dir := mounted(string(mounts), "cgroup", controller, f[2]); dir != "" {
				return root + dir, nil
			}
		case f[0] == "0" && f[1] == "":
			if dir := mounted(string(mounts), "cgroup2", "", f[2]); dir != "" {
				if base := dividable(root+dir, controller); base != "" {
					return base, nil
				}
			}
		}
	}
	return "", fmt.Errorf("no control group for %s that this router may divide", controller)
}

// mounted finds where a group of a hierarchy is in the file system (proc(5),
// /proc/PID/mountinfo).
func mounted(mounts, kind, option, path string) string {
	for line := range strings.Lines(mounts) {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 3 || g[0] != kind {
			continue
		}
		if option != "" && !slices.Contains(strings.Split(g[2], ","), option) {
			continue
		}
		if rel, err := filepath.Rel(f[3], path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return filepath.Join(f[4], rel)
		}
	}
	return ""
}

// dividable finds the group of version 2, own or the one above, whose children
// can be under a controller.
func dividable(own, controller string) string {
	candidates := []string{own}
	switch filepath.Ext(own) {
	case ".service", ".scope", ".slice":
	default: // a subgroup of a unit
		candidates = append(candidates, filepath.Dir(own))
	}
	for _, dir := range candidates {
		if !listed(dir, "cgroup.controllers", controller) {
			continue
		}
		// A group with processes of its own refuses it.
		if !listed(dir, "cgroup.subtree_control", controller) {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0)
		}
		if listed(dir, "cgroup.subtree_control", controller) {
			return dir
		}
	}
	return ""
}

func listed(dir, file, word string) bool {
	text, _ := os.ReadFile(filepath.Join(dir, file))
	return slices.Contains(strings.Fields(string(text)), word)
}
