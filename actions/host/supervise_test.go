package host_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/actions/host"
)

func TestCrashMidRun(t *testing.T) {
	t.Parallel()
	for name, spec := range modes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil, spec)
			pid := b.pid(t, "0")
			_, err := b.Run(b.ctx, "a", request("1", order{Do: "panic", Text: "poison"}))
			if isKind(err) != "crashed" || !strings.Contains(err.Error(), "panic: poison") {
				t.Errorf("got %v", err)
			}
			if alive(pid) {
				t.Error("the process is still there")
			}
			start := time.Now()
			next := b.pid(t, "2")
			t.Logf("next run served after %v", time.Since(start))
			if next == pid {
				t.Error("not a new process")
			}
			if st := b.Status()[0]; st.Restarts != 1 || st.State != host.Running || st.PID != next || st.Version != "1.2.3" {
				t.Errorf("status %+v", st)
			}
		})
	}
}

func TestDescendantsAreGoneWhenTheCrashIsReported(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, modes()["stream"])
	file := filepath.Join(t.TempDir(), "pids")
	_, err := b.Run(b.ctx, "a", request("1", order{Do: "spawn", File: file, Text: "crash"}))
	if isKind(err) != "crashed" {
		t.Fatal(err)
	}
	for _, pid := range readPids(t, file) {
		if alive(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, modes()["stream"])
	file := filepath.Join(t.TempDir(), "pids")
	b.do(t, "1", order{Do: "spawn", File: file})
	pids := readPids(t, file)
	for _, pid := range pids {
		if !alive(pid) {
			t.Errorf("process %d ended early", pid)
		}
	}
	pids = append(pids, b.pid(t, "2"))
	b.Close(b.ctx)
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
	if _, err := b.Run(b.ctx, "a", request("3", order{})); isKind(err) != "unavailable" {
		t.Errorf("after close: %v", err)
	}
}

func TestReaperKilledFirst(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, modes()["stream"])
	file := filepath.Join(t.TempDir(), "pids")
	b.do(t, "1", order{Do: "spawn", File: file})
	pid := b.pid(t, "2")
	// The one without mark left the tree too; nothing but its reaper knows it.
	marked := readPids(t, file)[0]
	var reaper int
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Sscanf(string(stat[strings.LastIndexByte(string(stat), ')')+4:]), "%d", &reaper)
	done := make(chan error, 1)
	go func() {
		_, err := b.Run(b.ctx, "a", request("3", order{Do: "stubborn", File: file + ".open"}))
		done <- err
	}()
	until(t, 5*time.Second, "run open", func() bool { _, err := os.Stat(file + ".open"); return err == nil })
	if err := syscall.Kill(reaper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-done; isKind(err) != "crashed" {
		t.Errorf("got %v", err)
	}
	for _, p := range []int{pid, marked} {
		if alive(p) {
			t.Errorf("process %d is left", p)
		}
	}
	if p := readPids(t, file)[1]; alive(p) {
		_ = syscall.Kill(p, syscall.SIGKILL)
	}
}

func TestRouterKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe", "router", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var word string
	if _, err := fmt.Fscanln(out, &word); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(word)
	if err != nil {
		t.Fatal(word)
	}
	pids := append(readPids(t, filepath.Join(dir, "pids")), pid)
	start := time.Now()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for _, pid := range pids {
		until(t, time.Second, fmt.Sprintf("process %d gone", pid), func() bool { return !alive(pid) })
	}
	t.Logf("all gone %v after the router", time.Since(start))
}

func TestSweep(t *testing.T) {
	t.Parallel()
	instance := "sweep-" + strconv.Itoa(os.Getpid())
	cmd := exec.Command("/bin/sh", "-c", "env -i /bin/sleep 1000 & exec /bin/sleep 1000")
	cmd.Env = []string{"POINTSMAN_SESSION=" + instance + "/x"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("/bin/sleep", "1000")
	other.Env = []string{"POINTSMAN_SESSION=" + instance + "-other/x"}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	until(t, 5*time.Second, "sleep started", func() bool {
		c, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
		return strings.HasPrefix(string(c), "/bin/sleep")
	})
	n, err := host.Sweep(ctx, instance)
	if err != nil || n != 2 {
		t.Errorf("swept %d, %v; want 2", n, err)
	}
	if !alive(other.Process.Pid) {
		t.Error("a process of another instance was killed")
	}
	_ = other.Process.Kill()
	_ = other.Wait()
	if n, err := host.Sweep(ctx, instance); n != 0 || err != nil {
		t.Errorf("second sweep: %d, %v", n, err)
	}
}

// With the health service and, in a plugin that has none, by Describe.
func TestFrozenPluginIsReplaced(t *testing.T) {
	t.Parallel()
	for name, spec := range modes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, func(c *host.Config) {
				c.HealthEvery, c.HealthDeadline = 200*time.Millisecond, 500*time.Millisecond
			}, spec)
			pid := b.pid(t, "0")
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			until(t, 5*time.Second, "plugin frozen", func() bool {
				stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
				return strings.Contains(string(stat), ") T ")
			})
			_, err := b.Run(b.ctx, "a", request("1", order{Do: "echo"}))
			if isKind(err) != "crashed" || !strings.Contains(err.Error(), "no sign of life") {
				t.Errorf("got %v", err)
			}
			if b.pid(t, "2") == pid || alive(pid) {
				t.Error("not replaced")
			}
		})
	}
}

// A plugin without the health service is asked Describe, and lives.
func TestHealthByDescribe(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *host.Config) { c.HealthEvery = 10 * time.Millisecond }, modes()["unary"])
	pid := b.pid(t, "0")
	asked := func() int {
		n, err := strconv.Atoi(b.do(t, "1", order{Do: "described"}).GetOutput())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := asked()
	until(t, 10*time.Second, "Describe asked", func() bool { return asked() >= first+5 })
	if b.pid(t, "2") != pid {
		t.Error("the plugin was replaced")
	}
}

// Runs that are open when the time of Close is over have crashed, and nothing of
// them goes on.
func TestCloseWithOpenRuns(t *testing.T) {
	t.Parallel()
	for name, spec := range modes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil, spec)
			pid := b.pid(t, "0")
			file := filepath.Join(t.TempDir(), "open")
			results := make(chan error, 2)
			for _, id := range []string{"1", "2"} {
				go func() {
					_, err := b.Run(b.ctx, "a", request(id, order{Do: "stubborn", File: file + id}))
					results <- err
				}()
			}
			until(t, 10*time.Second, "runs open", func() bool {
				_, err1 := os.Stat(file + "1")
				_, err2 := os.Stat(file + "2")
				return err1 == nil && err2 == nil
			})
			ctx, cancel := context.WithCancel(b.ctx)
			cancel()
			b.Close(ctx)
			if alive(pid) {
				t.Error("the plugin still runs")
			}
			for range 2 {
				if err := <-results; isKind(err) != "crashed" || !strings.Contains(err.Error(), "the router stopped") {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

func TestCrashLoopBacksOff(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, host.Spec{Action: "a", Plugin: "exit"})
	ctx, cancel := context.WithTimeout(b.ctx, 3*time.Second)
	defer cancel()
	_, err := b.Run(ctx, "a", request("1", order{}))
	if isKind(err) != "unavailable" || !strings.Contains(err.Error(), "ended before its handshake: exit status 4") {
		t.Errorf("got %v", err)
	}
	if n := strings.Count(b.log.String(), "plugin did not start"); n < 2 || n > 7 {
		t.Errorf("%d starts in three seconds", n)
	}
}

func TestReplaceRestartsAfterOpenRuns(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, modes()["stream"])
	pid := b.pid(t, "0")
	if err := b.Replace([]host.Spec{modes()["stream"]}); err != nil {
		t.Fatal(err)
	}
	if b.pid(t, "1") != pid {
		t.Error("an unchanged action was restarted")
	}
	file := filepath.Join(t.TempDir(), "meet")
	var wg sync.WaitGroup
	wg.Go(func() { b.do(t, "2", order{Do: "meet", File: file, N: 2}) })
	until(t, 5*time.Second, "run open", func() bool { _, err := os.Stat(file); return err == nil })
	changed := modes()["stream"]
	changed.Settings = []byte(`{"greeting":"x"}`)
	if err := b.Replace([]host.Spec{changed}); err != nil {
		t.Fatal(err)
	}
	f, _ := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	_, _ = f.WriteString("x")
	_ = f.Close()
	wg.Wait()
	if b.pid(t, "3") == pid || alive(pid) {
		t.Error("the changed action was not restarted")
	}
	if err := b.Replace(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Run(b.ctx, "a", request("4", order{})); isKind(err) != "unavailable" {
		t.Errorf("removed action: %v", err)
	}
}

func TestTermDrains(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, modes()["stream"])
	pid := b.pid(t, "0")
	file := filepath.Join(t.TempDir(), "meet")
	var wg sync.WaitGroup
	wg.Go(func() {
		if r := b.do(t, "1", order{Do: "meet", File: file, N: 2}); r.GetError() != "" {
			t.Errorf("the open run was not finished: %v", r)
		}
	})
	until(t, 5*time.Second, "run open", func() bool { _, err := os.Stat(file); return err == nil })
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString("x")
	_ = f.Close()
	wg.Wait()
	until(t, 5*time.Second, "plugin gone", func() bool { return b.Status()[0].State != host.Running })
	if b.pid(t, "2") == pid {
		t.Error("not restarted")
	}
}
