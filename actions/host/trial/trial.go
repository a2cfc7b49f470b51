// Package trial tries an action plugin: it starts the executable as the router
// does, puts the checks of package conformance to it, and then does to its
// process what happens to processes.
package trial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/conformance"
	"github.com/pointsman/pointsman/actions/host"
)

// Outcome is how a check ended.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Result is what came of one check.
type Result struct {
	Check   string  `json:"check"`
	Outcome Outcome `json:"outcome"`
	// Detail is what the plugin does wrong, why the check was skipped, or a
	// remark.
	Detail string `json:"detail"`
	// Log are the last lines the plugin wrote on standard error during a check
	// that failed.
	Log []string `json:"log"`
}

// Report is the whole trial.
type Report struct {
	// Description is what the plugin says of itself; zero when it does not start.
	Description actions.Description
	Results     []Result
}

// Count says how many results have an outcome.
func (r *Report) Count(o Outcome) int {
	n := 0
	for _, res := range r.Results {
		if res.Outcome == o {
			n++
		}
	}
	return n
}

// Config says what to try and how.
type Config struct {
	// Host is for the trial's own Host; its Log is replaced.
	Host host.Config
	// Spec is the plugin. Settings and Dir are also those of Options.
	Spec    host.Spec
	Options conformance.Options
	// Only names the checks to make, beside the first; nil: all.
	Only []string
	// Each is called with every result as it comes; nil: not.
	Each func(Result) error
}

// Run tries a plugin. Each check has a process of its own, and none is left
// when Run returns. An error means that the trial could not be made; what the
// plugin does wrong is in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	lines := &tail{}
	cfg.Host.Log = slog.New(lines)
	h, err := host.New(cfg.Host)
	if err != nil {
		return nil, err
	}
	defer h.Close(context.WithoutCancel(ctx))
	cfg.Options = cfg.Options.Resolve()
	cfg.Spec.Settings, cfg.Spec.Dir = cfg.Options.Settings, cfg.Options.Dir
	t := &trial{cfg: cfg, host: h, lines: lines, report: &Report{}}
	if err := h.Add(cfg.Spec); err != nil {
		return nil, err
	}
	for i, c := range t.checks() {
		if i > 0 && cfg.Only != nil && !slices.Contains(cfg.Only, c.name) {
			continue
		}
		failed, err := t.try(ctx, c)
		if err != nil {
			return nil, err
		}
		if failed && i == 0 {
			break // it does not start
		}
	}
	return t.report, nil
}

// trial is one Run.
type trial struct {
	cfg    Config
	host   *host.Host
	lines  *tail
	report *Report
}

// check returns a remark, or an error as that of a conformance.Check.
type check struct {
	name string
	run  func(ctx context.Context) (string, error)
}

func (t *trial) checks() []check {
	out := []check{
		{"starts", t.starts},
		{"is given a clean environment and no input", t.environment},
	}
	for _, c := range conformance.Checks(t.cfg.Options) {
		out = append(out, check{c.Name, func(ctx context.Context) (string, error) { return "", t.ask(ctx, c) }})
	}
	return append(out,
		check{"serves the router", t.serves},
		check{"is replaced when it is killed during a run", t.killed},
		check{"ends on SIGTERM", t.terminated},
		check{"finishes an open run on SIGTERM", t.drains},
		check{"keeps standard output for the handshake", t.quiet},
	)
}

func (t *trial) try(ctx context.Context, c check) (failed bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	t.lines.reset()
	checkCtx, cancel := context.WithTimeout(ctx, t.cfg.Options.Timeout)
	defer cancel()
	note, err := c.run(checkCtx)
	res := Result{Check: c.name, Outcome: OK, Detail: note, Log: []string{}}
	switch {
	case errors.Is(err, conformance.ErrSkipped):
		res.Outcome = Skipped
		res.Detail = strings.TrimPrefix(err.Error(), conformance.ErrSkipped.Error()+": ")
	case err != nil && ctx.Err() == nil:
		res.Outcome, res.Detail, res.Log = Failed, err.Error(), t.lines.last()
	case err != nil:
		return false, fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	t.report.Results = append(t.report.Results, res)
	if t.cfg.Each != nil {
		if err := t.cfg.Each(res); err != nil {
			return false, err
		}
	}
	return res.Outcome == Failed, nil
}

func (t *trial) starts(ctx context.Context) (string, error) {
	began := time.Now()
	p, err := t.host.Open(ctx, t.cfg.Spec)
	if err != nil {
		return "", err
	}
	defer p.Close()
	t.report.Description = p.Description()
	return fmt.Sprintf("in %v", time.Since(began).Round(time.Millisecond)), nil
}

// ask puts one conformance check to a process of its own.
func (t *trial) ask(ctx context.Context, c conformance.Check) error {
	p, err := t.host.Open(ctx, t.cfg.Spec)
	if err != nil {
		return err
	}
	defer p.Close()
	err = c.Run(ctx, p.Client())
	if err == nil || errors.Is(err, conformance.ErrSkipped) {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("no answer within %v: %w", t.cfg.Options.Timeout, err)
	}
	// A broken connection is seen before the process that broke it is gone.
	select {
	case <-p.Done():
		how, _ := p.End()
		return fmt.Errorf("the process ended (%s): %w", how, err)
	case <-time.After(200 * time.Millisecond):
		return err
	}
}

// environment looks at the process from outside.
func (t *trial) environment(ctx context.Context) (string, error) {
	p, err := t.host.Open(ctx, t.cfg.Spec)
	if err != nil {
		return "", err
	}
	defer p.Close()
	dir := fmt.Sprintf("/proc/%d", p.PID())
	env, err := os.ReadFile(dir + "/environ")
	if err != nil {
		return "", fmt.Errorf("%w: %w", conformance.ErrSkipped, err)
	}
	var names []string
	for _, kv := range strings.Split(strings.TrimRight(string(env), "\x00"), "\x00") {
		name, _, _ := strings.Cut(kv, "=")
		names = append(names, name)
		if !promised(name) && !slices.Contains(t.cfg.Spec.Env, kv) {
			return "", fmt.Errorf("it got the variable %s, which was not promised", name)
		}
	}
	if in, err := os.Readlink(dir + "/fd/0"); err == nil && in != os.DevNull {
		return "", fmt.Errorf("its standard input is %s, not empty", in)
	}
	return strings.Join(names, " "), nil
}

func promised(name string) bool {
	switch name {
	case "PATH", "HOME", "LANG", "TZ", "TMPDIR", "POINTSMAN_SESSION", actions.MagicCookieKey:
		return true
	}
	return strings.HasPrefix(name, "LC_") || strings.HasPrefix(name, "PLUGIN_")
}
