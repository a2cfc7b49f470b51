package actions_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/actions"
)

// TestMain makes this binary a plugin.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_SERVE") != "" {
		actions.Serve(nothing{})
	}
	goleak.VerifyTestMain(m)
}

type nothing struct{}

func (nothing) Describe() actions.Description {
	return actions.Description{Name: "nothing", Version: "0.1.0", Summary: "Do nothing.", Idempotency: actions.IdempotentNatural}
}

func (nothing) Run(context.Context, *actions.Request) (*actions.Result, error) { return nil, nil }

func serve(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = []string{"TEST_SERVE=1"}
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestByHand(t *testing.T) {
	t.Parallel()
	out, errs, code := serve(t)
	if out != "" || code != 1 || !strings.HasPrefix(errs, "nothing 0.1.0: Do nothing.\n") || !strings.Contains(errs, "pointsman plugins test ") {
		t.Errorf("exit %d\n%s\n%s", code, out, errs)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	out, errs, code := serve(t, "describe")
	var d actions.Description
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != 0 || errs != "" || d.Name != "nothing" {
		t.Errorf("exit %d, %v\n%s\n%s", code, err, out, errs)
	}
}

func TestDecodeIsStrict(t *testing.T) {
	t.Parallel()
	var v struct {
		A int `json:"a"`
	}
	for text, ok := range map[string]bool{
		``: true, `null`: true, `{}`: true, `{"a":1}`: true,
		`{"b":1}`: false, `{"a":1} {}`: false, `{"a":"x"}`: false, `[]`: false,
	} {
		r := actions.Request{Params: json.RawMessage(text)}
		if err := r.Decode(&v); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestDescriptionCheck(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]actions.Description{
		"name":               {Name: "Upper", Version: "1"},
		"version":            {Name: "a"},
		"summary":            {Name: "a", Version: "1", Summary: strings.Repeat("x", 201)},
		"schema of params":   {Name: "a", Version: "1", ParamsSchema: json.RawMessage("{")},
		"schema of settings": {Name: "a", Version: "1", SettingsSchema: bytes.Repeat([]byte(" "), actions.MaxSchema+1)},
		"idempotency":        {Name: "a", Version: "1", Idempotency: "maybe"},
	} {
		if err := d.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
