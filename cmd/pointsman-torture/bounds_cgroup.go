package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cage is a control group with a memory limit, of version 1 or 2.
type cage struct{ dir string }

// newCage makes one; it needs root, or a folder of control groups that was handed
// over.
func newCage(limit int64) (*cage, error) {
	name := fmt.Sprintf("pointsman-bounds-%d-%d", os.Getpid(), time.Now().UnixNano())
	var errs []error
	for _, v := range []struct{ base, limit, swap string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max", "memory.swap.max"},
	} {
		if _, err := os.Stat(filepath.Join(v.base, "cgroup.procs")); err != nil {
			errs = append(errs, err)
			continue
		}
		// Version 2 hands a controller down only when told to; it may be told.
		_ = os.WriteFile(filepath.Join(v.base, "cgroup.subtree_control"), []byte("+memory"), 0)
		c := &cage{filepath.Join(v.base, name)}
		if err := os.Mkdir(c.dir, 0o755); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := os.WriteFile(filepath.Join(c.dir, v.limit), []byte(strconv.FormatInt(limit, 10)), 0); err != nil {
			errs = append(errs, err, c.remove())
			continue
		}
		swap := "0"
		if v.limit == "memory.limit_in_bytes" {
			swap = strconv.FormatInt(limit, 10)
		}
		_ = os.WriteFile(filepath.Join(c.dir, v.swap), []byte(swap), 0) // there is none on a system without swap
		return c, nil
	}
	return nil, errors.Join(errs...)
}

// wrap writes a program that enters the group and becomes another.
func (c *cage) wrap(path, program string) error {
	script := fmt.Sprintf("#!/bin/sh\necho $$ >%s && exec %s \"$@\"\n", filepath.Join(c.dir, "cgroup.procs"), program)
	return os.WriteFile(path, []byte(script), 0o700)
}

// killed tells how many processes the kernel killed for memory in the group.
func (c *cage) killed() (int, error) {
	for _, name := range []string{"memory.events", "memory.oom_control"} {
		text, err := os.ReadFile(filepath.Join(c.dir, name))
		if err != nil {
			continue
		}
		for l := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(strings.TrimSpace(l), "oom_kill "); ok {
				return strconv.Atoi(n)
			}
		}
	}
	return 0, fmt.Errorf("%s does not count kills", c.dir)
}

// resident is the memory that its processes have now and that no file stands
// for, in bytes: of the rest the kernel can take back what it needs.
func (c *cage) resident() int64 {
	text, err := os.ReadFile(filepath.Join(c.dir, "memory.stat"))
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(text)) {
		for _, name := range []string{"anon ", "total_rss "} {
			if n, ok := strings.CutPrefix(strings.TrimSpace(l), name); ok {
				sum, _ := strconv.ParseInt(n, 10, 64)
				return sum
			}
		}
	}
	return 0
}

// remove removes the group, when its processes have gone.
func (c *cage) remove() error {
	var err error
	for late := time.Now().Add(10 * time.Second); time.Now().Before(late); time.Sleep(poll) {
		if err = os.Remove(c.dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	return err
}
