package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// maxOutput is how much of a command's output is kept, in bytes.
	maxOutput = 64 << 10
	// pipeGrace is how long a command that ended may leave its output open through
	// a process it started.
	pipeGrace = time.Second
)

// CommandConfig is a program to be run. There is no shell.
type CommandConfig struct {
	// Argv is the program and its arguments; Dir is where it runs.
	Argv []string
	Dir  string
	// Exit are the expected exit codes; none: 0.
	Exit []int
	// Output must match the first 64 KiB of both streams; nil: not looked at.
	Output *regexp.Regexp
}

// Command runs a program with a small environment (PATH, HOME, LANG, LC_*, TZ and
// TMPDIR) and nothing on stdin. At the timeout its process group is killed.
func Command(c CommandConfig) Check {
	env := environment(os.Environ())
	return func(ctx context.Context) Result {
		out := &output{}
		cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
		cmd.Dir, cmd.Env = c.Dir, env
		// One writer for both makes os/exec use one pipe, so the order is kept.
		cmd.Stdout, cmd.Stderr = out, out
		cmd.WaitDelay = pipeGrace
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		err := cmd.Run()
		if errors.Is(err, exec.ErrWaitDelay) {
			// What it left behind holds the output open, so the group is still its own.
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		return c.judge(err, out)
	}
}

func (c *CommandConfig) judge(err error, out *output) Result {
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
	case errors.As(err, &exit):
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, exec.ErrNotFound), isLocal(err):
		return Result{Err: fmt.Errorf("%w: %w", ErrLocal, err)}
	default:
		return Result{Err: err}
	}
	code := 0
	if exit != nil {
		code = exit.ExitCode()
	}
	text := strings.ToValidUTF8(string(out.kept), "\uFFFD")
	res := Result{Data: map[string]any{"exit_code": code, "output": text}}
	if out.cut {
		res.Data["truncated"] = true
	}
	switch {
	case exit != nil && !exit.Exited():
		res.Err = errors.New(exit.String())
		delete(res.Data, "exit_code")
	case len(c.Exit) == 0 && code != 0, len(c.Exit) > 0 && !slices.Contains(c.Exit, code):
		res.Err = fmt.Errorf("exit code %d", code)
	case c.Output != nil && !c.Output.Match(out.kept):
		res.Err = errors.New("the output does not match what is expected")
	}
	return res
}

// environment keeps what a command may see of the router's own.
func environment(from []string) []string {
	var out []string
	for _, kv := range from {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH", "HOME", "LANG", "TZ", "TMPDIR":
			out = append(out, kv)
		default:
			if strings.HasPrefix(name, "LC_") {
				out = append(out, kv)
			}
		}
	}
	return out
}

// output keeps the beginning of what is written and drops the rest.
type output struct {
	kept []byte
	cut  bool
}

func (o *output) Write(p []byte) (int, error) {
	room := maxOutput - len(o.kept)
	if len(p) > room {
		o.cut = true
	}
	o.kept = append(o.kept, p[:min(len(p), room)]...)
	return len(p), nil
}
