package host_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/host"
)

// hog takes as much of something as the order says.
func hog(ctx context.Context, o order) (*actions.Result, error) {
	switch o.Do {
	case "memory":
		var all [][]byte
		for range o.N {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
		}
		runtime.KeepAlive(all)
		return &actions.Result{Output: "took it"}, nil
	case "files":
		var all []*os.File
		defer func() {
			for _, f := range all {
				_ = f.Close()
			}
		}()
		for range o.N {
			f, err := os.Open(os.DevNull)
			if err != nil {
				return &actions.Result{Output: strconv.Itoa(len(all))}, nil
			}
			all = append(all, f)
		}
		return &actions.Result{Output: "no limit"}, nil
	case "processes":
		for i := range o.N {
			if err := exec.Command("/bin/sleep", "1000").Start(); err != nil {
				return &actions.Result{Output: strconv.Itoa(i)}, nil
			}
		}
		<-ctx.Done()
		return &actions.Result{Output: "no limit"}, nil
	case "cpu":
		return spin(ctx, o)
	case "identity":
		return identity(o)
	}
	return nil, actions.Permanent(fmt.Errorf("unknown order %q", o.Do))
}

// spin burns a processor for n milliseconds, and says how much of it it got.
func spin(ctx context.Context, o order) (*actions.Result, error) {
	end := time.Now().Add(time.Duration(o.N) * time.Millisecond)
	for time.Now().Before(end) && ctx.Err() == nil {
	}
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return nil, err
	}
	nice, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		return nil, err
	}
	used := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	return &actions.Result{Output: fmt.Sprintf("%d %d", used.Milliseconds(), 20-nice)}, nil
}

func identity(o order) (*actions.Result, error) {
	_, err := os.Open(o.File)
	groups, _ := os.Getgroups()
	return &actions.Result{Output: fmt.Sprintf("%d %d %d %v %s %v", os.Getuid(), os.Geteuid(), os.Getgid(), groups,
		os.Getenv("HOME"), errors.Is(err, os.ErrPermission))}, nil
}

func limited(l host.Limits) host.Spec {
	s := modes()["stream"]
	s.Limits = l
	return s
}

// groupsOf skips the test without rights to make control groups.
func groupsOf(t *testing.T, controller string) string {
	t.Helper()
	dir := host.ControlGroup(controller)
	if dir == "" {
		t.Skipf("NOT TESTED: limits by a control group; there is none for %s that this user may divide", controller)
	}
	return dir
}

// leftGroups are those of any test of this process.
func leftGroups(t *testing.T, dir, instance string) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, host.GroupPrefix(instance)+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		group bool
		want  string
	}{
		"control group":   {true, "it took more than limits.memory"},
		"resource limits": {false, "out of memory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var dir string
			if tc.group {
				dir = groupsOf(t, "memory")
			}
			instance := "memory-" + name + strconv.Itoa(os.Getpid())
			b := setup(t, func(c *host.Config) { c.Instance = instance }, limited(host.Limits{Memory: 256 << 20}))
			if !tc.group {
				host.WithoutControlGroups(b.Host)
			}
			if _, err := b.Run(b.ctx, "a", request("0", order{Do: "memory", N: 64})); err != nil {
				if strings.Contains(err.Error(), "exit status 66") {
					t.Skip("NOT TESTED: memory of a plugin with the race detector, which maps more than any limit")
				}
				t.Fatal(err)
			}
			_, err := b.Run(b.ctx, "a", request("1", order{Do: "memory", N: 2000}))
			if isKind(err) != "crashed" || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			b.do(t, "2", order{Do: "memory", N: 64})
			if tc.group != !strings.Contains(b.log.String(), "weaker without a control group") {
				t.Error("the log does not fit")
			}
			if tc.group {
				if left := leftGroups(t, dir, instance); len(left) != 1 {
					t.Errorf("groups %q, want one", left)
				}
				b.Close(b.ctx)
				if left := leftGroups(t, dir, instance); len(left) != 0 {
					t.Errorf("groups %q are left", left)
				}
			}
		})
	}
}

func TestFilesLimit(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, limited(host.Limits{Files: 64}))
	got := b.do(t, "1", order{Do: "files", N: 1000}).GetOutput()
	if n, err := strconv.Atoi(got); err != nil || n < 16 || n > 64 {
		t.Errorf("opened %s files", got)
	}
	b.do(t, "2", order{Do: "echo"})
}

func TestProcessesLimit(t *testing.T) {
	t.Parallel()
	t.Run("control group", func(t *testing.T) {
		t.Parallel()
		groupsOf(t, "pids")
		b := setup(t, nil, limited(host.Limits{Processes: 64}))
		pid := b.pid(t, "0")
		// A runtime that gets no thread ends; a plugin that only gets no process lives.
		res, err := b.Run(b.ctx, "a", request("1", order{Do: "processes", N: 500}))
		n, _ := strconv.Atoi(res.GetOutput())
		switch {
		case err != nil && (isKind(err) != "crashed" || !strings.Contains(err.Error(), "it met limits.processes")):
			t.Errorf("got %v", err)
		case err == nil && (n == 0 || n > 64):
			t.Errorf("got %q", res.GetOutput())
		}
		b.Close(b.ctx)
		if alive(pid) {
			t.Error("the plugin is left")
		}
	})
	t.Run("counted", func(t *testing.T) {
		t.Parallel()
		b := setup(t, nil, limited(host.Limits{Processes: 64}))
		host.WithoutControlGroups(b.Host)
		b.do(t, "0", order{Do: "echo"})
		_, err := b.Run(b.ctx, "a", request("1", order{Do: "processes", N: 500}))
		if isKind(err) != "crashed" || !strings.Contains(err.Error(), "it took more than limits.processes") {
			t.Errorf("got %v", err)
		}
		b.do(t, "2", order{Do: "echo"})
	})
}

func TestCPULimit(t *testing.T) {
	t.Parallel()
	measure := func(t *testing.T, b *bundle) (ms, nice int) {
		t.Helper()
		out := b.do(t, "1", order{Do: "cpu", N: 2000}).GetOutput()
		if _, err := fmt.Sscan(out, &ms, &nice); err != nil {
			t.Fatal(out)
		}
		return ms, nice
	}
	t.Run("control group", func(t *testing.T) {
		t.Parallel()
		groupsOf(t, "cpu")
		b := setup(t, nil, limited(host.Limits{CPU: 20}))
		// 20 % of two seconds, and the start.
		if ms, nice := measure(t, b); ms > 1000 || nice != 0 {
			t.Errorf("used %d ms of 2000 with nice %d", ms, nice)
		}
	})
	t.Run("priority", func(t *testing.T) {
		t.Parallel()
		b := setup(t, nil, limited(host.Limits{CPU: 20}))
		host.WithoutControlGroups(b.Host)
		if _, nice := measure(t, b); nice != 19 {
			t.Errorf("nice %d", nice)
		}
	})
	t.Run("time", func(t *testing.T) {
		t.Parallel()
		b := setup(t, nil, limited(host.Limits{CPUTime: time.Second}))
		_, err := b.Run(b.ctx, "a", request("1", order{Do: "cpu", N: 50_000}))
		if isKind(err) != "crashed" || !strings.Contains(err.Error(), "it took more than limits.cpu_time") {
			t.Errorf("got %v", err)
		}
		b.do(t, "2", order{Do: "echo"})
	})
}

func TestUser(t *testing.T) {
	t.Parallel()
	spec := modes()["stream"]
	spec.User = "nobody"
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("NOT TESTED: plugins with a user of their own; there is no user nobody")
	}
	if os.Geteuid() != 0 {
		b := setup(t, nil, spec)
		_, err := b.Run(b.ctx, "a", request("1", order{Do: "echo"}))
		if isKind(err) != "unavailable" || !strings.Contains(err.Error(), "only a router that runs as root") {
			t.Errorf("got %v", err)
		}
		t.Skip("NOT TESTED: plugins with a user of their own; it needs root")
	}
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}

	for name, spec := range map[string]host.Spec{"bundled": spec, "limited": func() host.Spec { s := spec; s.Limits.Files = 64; return s }()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := t.TempDir()
			b := setup(t, func(c *host.Config) { c.RunDir = filepath.Join(run, "run") }, spec)
			got := b.do(t, "1", order{Do: "identity", File: secret}).GetOutput()
			want := fmt.Sprintf("%s %[1]s %s [%[2]s] %s true", nobody.Uid, nobody.Gid, nobody.HomeDir)
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			pid := b.pid(t, "2")
			file := filepath.Join(os.TempDir(), "pointsman-user-"+strconv.Itoa(pid))
			defer os.Remove(file)
			b.do(t, "3", order{Do: "spawn", File: file})
			pids := append(readPids(t, file), pid)
			open, err := os.ReadFile(filepath.Join(run, "run", "sockets-of-users"))
			if err != nil {
				t.Fatal(err)
			}
			b.Close(b.ctx)
			for _, pid := range pids {
				if alive(pid) {
					t.Errorf("process %d is left", pid)
				}
			}
			if _, err := os.Stat(string(open)); !os.IsNotExist(err) {
				t.Errorf("%s is left", open)
			}
		})
	}
	spec.User = "nobody-of-this-name"
	b := setup(t, nil, spec)
	if _, err := b.Run(b.ctx, "a", request("1", order{})); isKind(err) != "unavailable" || !strings.Contains(err.Error(), "unknown user nobody-of-this-name") {
		t.Errorf("got %v", err)
	}
}

// The reaper of a plugin under another user dies first: its processes are found
// all the same.
func TestSweepOfAUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: the sweep of plugins with a user of their own; it needs root")
	}
	spec := modes()["stream"]
	spec.User = "nobody"
	instance := "sweep-user-" + strconv.Itoa(os.Getpid())
	b := setup(t, func(c *host.Config) { c.Instance = instance }, spec)
	pid := b.pid(t, "1")
	if n, err := host.Sweep(b.ctx, instance); err != nil || n == 0 {
		t.Errorf("swept %d, %v", n, err)
	}
	if alive(pid) {
		t.Error("the plugin is left")
	}
}

func TestRefusedLimits(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for want, l := range map[string]host.Limits{
		"limits.memory: 5 is less than 16777216": {Memory: 5},
		"limits.files: 5 is less than 16":        {Files: 5},
		"limits.processes: 5 is less than 16":    {Processes: 5},
		"limits.cpu: -1 is less than 1":          {CPU: -1},
		"limits.cpu_time":                        {CPUTime: time.Millisecond},
	} {
		if err := b.Add(limited(l)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// What a killed router leaves of groups, the next one removes.
func TestLeftGroupsAreRemoved(t *testing.T) {
	t.Parallel()
	dir := groupsOf(t, "pids")
	instance := "left-" + strconv.Itoa(os.Getpid())
	if err := os.Mkdir(filepath.Join(dir, host.GroupPrefix(instance)+"x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Sweep(t.Context(), instance); err != nil {
		t.Fatal(err)
	}
	if left := leftGroups(t, dir, instance); len(left) != 0 {
		t.Errorf("groups %q are left", left)
	}
}

// memory is a figure of this process, in bytes.
func memory(t testing.TB, key string) int64 {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), key); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no " + key)
	return 0
}
