package exec_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/actiontest"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/plugins/exec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	actiontest.Run(t, func() actions.Action { return exec.New() }, actiontest.Options{
		Settings: json.RawMessage(`{"command": ["cat"]}`),
		Params:   json.RawMessage(`{"args": []}`),
	})
}

// start runs a shell script as the command.
func start(t *testing.T, script, more string) (*actiontest.Harness, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "do.sh"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := actions.Settings{JSON: json.RawMessage(`{"command": ["./do.sh", "fixed"]` + more + `}`), Dir: dir}
	return actiontest.Start(t, exec.New(), s), dir
}

func TestEachArgumentIsOneElement(t *testing.T) {
	t.Parallel()
	h, _ := start(t, `for a; do printf '<%s>\n' "$a"; done`, "")
	r := h.Run(t.Context(), `{"args": ["a b", "$(id)", "; rm -rf /", "", "-x", "é\n", 12345678901234567890, 1.50, 1e3, true, false]}`)
	want := "<fixed>\n<a b>\n<$(id)>\n<; rm -rf />\n<>\n<-x>\n<é\n>\n<12345678901234567890>\n<1.50>\n<1e3>\n<true>\n<false>\n"
	if diff := cmp.Diff(want, r.GetOutput()); diff != "" {
		t.Error(diff)
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	h, _ := start(t, `echo out; echo err >&2; case $2 in k) kill -9 $$;; *) exit $2;; esac`, `, "permanent_exit_codes": [3, 4]`)
	for _, tc := range []struct {
		params string
		status actionv1.Status
		text   string
	}{
		{`{"args": [0]}`, actionv1.Status_STATUS_DONE, ""},
		{`{"args": [1]}`, actionv1.Status_STATUS_FAILED, "exit code 1"},
		{`{"args": [4]}`, actionv1.Status_STATUS_PERMANENT, "exit code 4"},
		{`{"args": ["k"]}`, actionv1.Status_STATUS_FAILED, "signal: killed"},
		{`{"args": ["a\u0000b"]}`, actionv1.Status_STATUS_PERMANENT, "params: args[0] has a NUL byte, which no argument can hold"},
		{`{"args": [null]}`, actionv1.Status_STATUS_PERMANENT, "params: args[0] is not a string, number or boolean"},
		{`{"args": [{}]}`, actionv1.Status_STATUS_PERMANENT, "params: args[0] is not a string, number or boolean"},
		{`{"argv": []}`, actionv1.Status_STATUS_PERMANENT, `params: json: unknown field "argv"`},
	} {
		r := h.Run(t.Context(), tc.params)
		if r.GetStatus() != tc.status || r.GetError() != tc.text {
			t.Errorf("%s: %v %q, want %v %q", tc.params, r.GetStatus(), r.GetError(), tc.status, tc.text)
		}
		if strings.HasPrefix(tc.text, "exit") && r.GetOutput() != "out\nerr\n" {
			t.Errorf("%s: output %q", tc.params, r.GetOutput())
		}
	}
}

func TestStdin(t *testing.T) {
	t.Parallel()
	h, _ := start(t, "cat", "")
	if r := h.Run(t.Context(), `{"stdin": "plain"}`); r.GetOutput() != "plain" {
		t.Errorf("given: %q", r.GetOutput())
	}
	if r := h.Run(t.Context(), `{"stdin": ""}`); r.GetOutput() != "" {
		t.Errorf("empty: %q", r.GetOutput())
	}
	var got struct {
		DeliveryID string `json:"delivery_id"`
		Attempt    int    `json:"attempt"`
		Event      struct{ Type string }
		Params     json.RawMessage
	}
	r := h.Run(t.Context(), "null")
	if err := json.Unmarshal([]byte(r.GetOutput()), &got); err != nil {
		t.Fatal(err)
	}
	if got.DeliveryID != "delivery-3" || got.Attempt != 1 || got.Event.Type != "test.event" || string(got.Params) != "null" {
		t.Errorf("request %s", r.GetOutput())
	}
	// A command that does not read is no failure.
	h, _ = start(t, "exit 0", "")
	if r := h.Run(t.Context(), `{"stdin": "`+strings.Repeat("x", 1<<20)+`"}`); r.GetStatus() != actionv1.Status_STATUS_DONE {
		t.Errorf("unread: %v %s", r.GetStatus(), r.GetError())
	}
}

func TestEnvironmentAndFolder(t *testing.T) {
	t.Setenv("SECRET_OF_THE_ROUTER", "hunter2")
	t.Setenv("LC_ALL", "C")
	h, dir := start(t, "env; pwd", `, "env": {"SITE": "ams1"}`)
	out := h.Run(t.Context(), "null").GetOutput()
	for _, want := range []string{
		"SITE=ams1\n", "LC_ALL=C\n", "PATH=", "POINTSMAN_DELIVERY_ID=delivery-1\n",
		"POINTSMAN_ATTEMPT=1\n", "POINTSMAN_RULE=rule\n", "POINTSMAN_HOPS=1\n", "POINTSMAN_EVENT_ID=event-1\n", "\n" + dir + "\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "hunter2") {
		t.Error("the environment leaks")
	}
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	h, _ := start(t, `head -c 10000000 /dev/zero | tr '\0' x`, "")
	out := h.Run(t.Context(), "null").GetOutput()
	if len(out) != actions.MaxOutput || !strings.HasSuffix(out, "x\n[output cut]") {
		t.Errorf("%d bytes, end %q", len(out), out[len(out)-20:])
	}
}

func TestTheGroupDiesAtTheTimeout(t *testing.T) {
	t.Parallel()
	h, dir := start(t, `sleep 1000 & echo $! >pid.tmp; mv pid.tmp pid; trap '' TERM; wait`, "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(dir, "pid")); err == nil {
				cancel()
			}
			<-time.After(time.Millisecond)
		}
	}()
	start := time.Now()
	r := h.Run(ctx, "null")
	if r.GetStatus() != actionv1.Status_STATUS_FAILED || r.GetError() != "killed: context canceled" {
		t.Errorf("%v %q", r.GetStatus(), r.GetError())
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
	text, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	for end := time.Now().Add(5 * time.Second); syscall.Kill(pid, 0) == nil; {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if strings.Contains(string(stat), ") Z ") {
			break // nobody waits for orphans here
		}
		if time.Now().After(end) {
			t.Fatal("the child of the command still runs")
		}
		<-time.After(time.Millisecond)
	}
}

func TestABackgroundProcessDoesNotHoldTheRun(t *testing.T) {
	t.Parallel()
	h, _ := start(t, `sleep 3 & echo started`, "")
	r := h.Run(t.Context(), "null")
	if r.GetStatus() != actionv1.Status_STATUS_DONE || r.GetOutput() != "started\n" {
		t.Errorf("%v %q %q", r.GetStatus(), r.GetError(), r.GetOutput())
	}
}

func TestRefusedSettings(t *testing.T) {
	t.Parallel()
	for settings, want := range map[string]string{
		`{}`:                                    "command: name a program",
		`{"command": []}`:                       "command: name a program",
		`{"command": ["a\u0000"]}`:              "command: argument 0 has a NUL byte",
		`{"command": ["a"], "shell": true}`:     `json: unknown field "shell"`,
		`{"command": ["a"], "env": {"A=B":""}}`: `env: "A=B" cannot be an environment variable`,
		`{"command": ["a"], "permanent_exit_codes": [0]}`: "permanent_exit_codes: 0 is not between 1 and 255",
	} {
		err := exec.New().Configure(t.Context(), actions.Settings{JSON: json.RawMessage(settings)})
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", settings, err, want)
		}
	}
}

func TestMissingProgramIsRetried(t *testing.T) {
	t.Parallel()
	h := actiontest.Start(t, exec.New(), actions.Settings{JSON: json.RawMessage(`{"command": ["./nope"]}`), Dir: t.TempDir()})
	if r := h.Run(t.Context(), "null"); r.GetStatus() != actionv1.Status_STATUS_FAILED || !strings.Contains(r.GetError(), "no such file") {
		t.Errorf("%v %q", r.GetStatus(), r.GetError())
	}
}
