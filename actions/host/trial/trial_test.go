package trial_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/conformance"
	"github.com/pointsman/pointsman/actions/host"
	"github.com/pointsman/pointsman/actions/host/trial"
)

// TestMain makes this binary its own reaper, and its copy a plugin whose file
// name says what is wrong with it.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "reaper" {
		os.Exit(host.ReaperMain(os.Args[2:]))
	}
	if os.Getenv(actions.MagicCookieKey) != "" {
		serve(filepath.Base(os.Args[0]))
	}
	goleak.VerifyTestMain(m)
}

func serve(fault string) {
	if fault == "ignores SIGTERM" {
		// After the SDK has asked for it; its channel then gets nothing.
		go func() {
			for {
				signal.Ignore(syscall.SIGTERM)
				<-time.After(time.Millisecond)
			}
		}()
	}
	actions.Serve(&plugin{fault: fault})
}

// plugin keeps the contract but for its fault.
type plugin struct{ fault string }

func (p *plugin) Describe() actions.Description {
	return actions.Description{
		Name: "trial", Version: "1.0.0", Summary: "a test", DryRun: true,
		SettingsSchema: json.RawMessage(`{"type": "object", "additionalProperties": false, "properties": {"colour": {"type": "string"}}}`),
		ParamsSchema:   json.RawMessage(`{"type": "object", "additionalProperties": false, "properties": {"do": {"type": "string"}}}`),
	}
}

func (p *plugin) Configure(_ context.Context, s actions.Settings) error {
	var set struct {
		Colour string `json:"colour"`
	}
	err := s.Decode(&set)
	switch {
	case p.fault == "takes any setting":
		return nil
	case p.fault == "quotes settings" && err != nil:
		return fmt.Errorf("%w in %s", err, s.JSON)
	}
	return err
}

func (p *plugin) Run(ctx context.Context, req *actions.Request) (*actions.Result, error) {
	var o struct {
		Do string `json:"do"`
	}
	if err := req.Decode(&o); err != nil {
		if p.fault == "retries unfit parameters" {
			return nil, err
		}
		return nil, actions.Permanent(err)
	}
	switch p.fault {
	case "dies":
		fmt.Fprintln(os.Stderr, "the last words")
		os.Exit(7)
	case "large events":
		if len(req.EventJSON) > 1<<20 {
			return nil, errors.New("too large")
		}
	case "prints":
		fd, err := syscall.Dup(1)
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), "stdout")
		defer f.Close()
		_, _ = io.WriteString(f, "hello\n")
	case "silent dry run":
		if req.DryRun {
			return &actions.Result{}, nil
		}
	}
	switch o.Do {
	case "fail":
		return nil, actions.RetryAfter(errors.New("busy"), time.Second)
	case "fail for good":
		if p.fault == "fails for good as any other" {
			return nil, errors.New("no")
		}
		return nil, actions.Permanent(errors.New("no"))
	case "slow":
		if p.fault == "ignores cancel" {
			ctx = context.WithoutCancel(ctx)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Minute):
		}
	}
	return &actions.Result{Output: "did it"}, nil
}

// try runs the trial of a plugin with a fault, all of it or some checks.
func try(t *testing.T, fault string, only ...string) (*trial.Report, map[string]trial.Result) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), fault)
	if err := os.WriteFile(path, self, 0o700); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(self)
	n := 0
	report, err := trial.Run(t.Context(), trial.Config{
		Spec: host.Spec{
			Action: "test", Plugin: path, SHA256: hex.EncodeToString(sum[:]),
			Env: []string{"GORACE=atexit_sleep_ms=0"}, // the race detector waits a second at exit
		},
		Options: conformance.Options{
			Params:    json.RawMessage(`{}`),
			Failing:   json.RawMessage(`{"do": "fail"}`),
			Permanent: json.RawMessage(`{"do": "fail for good"}`),
			Slow:      json.RawMessage(`{"do": "slow"}`),
		},
		Only: only,
		Each: func(trial.Result) error { n++; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if n != len(report.Results) {
		t.Errorf("%d results came, %d are in the report", n, len(report.Results))
	}
	by := make(map[string]trial.Result)
	for _, r := range report.Results {
		by[r.Check] = r
	}
	return report, by
}

// Not parallel: the time to end on SIGTERM is that of the contract, and short on
// a machine that is busy with the other tests.
func TestTrialPassesAGoodPlugin(t *testing.T) {
	report, _ := try(t, "good")
	for _, r := range report.Results {
		if r.Outcome != trial.OK {
			t.Errorf("%+v", r)
		}
	}
	if report.Description.Name != "trial" || report.Count(trial.OK) != len(report.Results) {
		t.Errorf("%+v", report)
	}
}

func TestTrialFindsFaults(t *testing.T) {
	t.Parallel()
	for fault, tc := range map[string]struct{ check, want string }{
		"takes any setting":           {"refuses unknown settings", "was taken; refuse it with INVALID_ARGUMENT"},
		"quotes settings":             {"refuses unknown settings", "quotes the value of a setting"},
		"retries unfit parameters":    {"withstands parameters that do not fit its schema", "want STATUS_PERMANENT"},
		"dies":                        {"runs alone", "the process ended (exit status 7"},
		"large events":                {"takes a large event", `error "too large"`},
		"silent dry run":              {"honours dry run", "must say in its output"},
		"fails for good as any other": {"says of a failure for good that it is one", "want STATUS_PERMANENT"},
		"ignores cancel":              {"stops a slow run that is cancelled", "no result within 5s"},
		"ignores SIGTERM":             {"ends on SIGTERM", "still there 2s after SIGTERM"},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			report, by := try(t, fault, "describes itself", tc.check)
			if r := by[tc.check]; r.Outcome != trial.Failed || !strings.Contains(r.Detail, tc.want) {
				t.Errorf("%s: %+v, want %q", tc.check, r, tc.want)
			}
			if r := by["describes itself"]; r.Outcome != trial.OK {
				t.Errorf("%+v", r)
			}
			if report.Count(trial.Failed) == 0 {
				t.Error("nothing is counted as failed")
			}
			if fault == "dies" && strings.Join(by["runs alone"].Log, "\n") != "the last words" {
				t.Errorf("log %q", by["runs alone"].Log)
			}
		})
	}
}

func TestTrialRemarksOnOutput(t *testing.T) {
	t.Parallel()
	_, by := try(t, "prints", "keeps standard output for the handshake")
	r := by["keeps standard output for the handshake"]
	if r.Outcome != trial.OK || !strings.Contains(r.Detail, "6 bytes came after it") {
		t.Errorf("%+v", r)
	}
}

func TestTrialOfSomethingElse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hello")
	text := []byte("#!/bin/sh\necho oops >&2\necho hello there\n")
	if err := os.WriteFile(path, text, 0o700); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	report, err := trial.Run(t.Context(), trial.Config{
		Spec: host.Spec{Action: "test", Plugin: path, SHA256: hex.EncodeToString(sum[:])},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != 1 || !strings.Contains(report.Results[0].Detail, `printed "hello there\n"`) ||
		strings.Join(report.Results[0].Log, "") != "oops" {
		t.Errorf("%+v", report.Results)
	}
}
