package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLockOfTheDead: the lock of a router that was killed may be in the hands of
// a child that it was forking; it is waited for. That of a living one is not.
func TestLockOfTheDead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	held, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := held.WriteString(strconv.Itoa(os.Getpid()) + "\n"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if _, err := openDataDir(dir); err == nil || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Fatalf("the lock of a living process: %v", err)
	}
	if took := time.Since(begun); took > lockWait/2 {
		t.Errorf("waited %v for a living process", took)
	}
	cmd := exec.CommandContext(t.Context(), "true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := held.WriteAt([]byte(strconv.Itoa(cmd.Process.Pid)+"\n       "), 0); err != nil {
		t.Fatal(err)
	}
	released := make(chan error)
	time.AfterFunc(50*time.Millisecond, func() { released <- held.Close() })
	d, err := openDataDir(dir)
	if err != nil {
		t.Fatalf("the lock of a dead process: %v", err)
	}
	d.close()
	if err := <-released; err != nil {
		t.Error(err)
	}
}
