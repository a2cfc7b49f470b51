// Package exec is the action that runs a command: a fixed argv from the
// settings, arguments from the rule, no shell in between.
package exec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/actions"
)

// pipeGrace is how long a command that ended may leave its output open through
// a process it started.
const pipeGrace = time.Second

const settingsSchema = `{
  "type": "object",
  "additionalProperties": false,
  "required": ["command"],
  "properties": {
    "command": {
      "description": "The program and its fixed arguments. A program with a slash is relative to pointsman.yaml.",
      "type": "array", "minItems": 1, "maxItems": 256,
      "items": {"type": "string", "pattern": "^[^\\x00]*$"},
      "prefixItems": [{"minLength": 1}]
    },
    "dir": {"description": "Where the command runs; relative to pointsman.yaml, which is the default.", "type": "string"},
    "env": {
      "description": "Added to the environment.",
      "type": "object",
      "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
      "additionalProperties": {"type": "string"}
    },
    "permanent_exit_codes": {
      "description": "Exit codes after which trying again cannot help.",
      "type": "array",
      "items": {"type": "integer", "minimum": 1, "maximum": 255}
    }
  }
}`

const paramsSchema = `{
  "type": ["object", "null"],
  "additionalProperties": false,
  "properties": {
    "args": {
      "description": "Appended to the command; each becomes exactly one argument.",
      "type": "array", "maxItems": 4096,
      "items": {"type": ["string", "number", "boolean"]}
    },
    "stdin": {"description": "What the command reads. Left out: the request as JSON.", "type": "string"}
  }
}`

// Description is what the plugin says of itself.
func Description() actions.Description {
	return actions.Description{
		Name:           "exec",
		Version:        "1.0.0",
		Summary:        "Run a command, without a shell.",
		SettingsSchema: json.RawMessage(settingsSchema),
		ParamsSchema:   json.RawMessage(paramsSchema),
		Idempotency:    actions.IdempotentNone,
		DryRun:         true,
	}
}

type settings struct {
	Command   []string          `json:"command"`
	Dir       string            `json:"dir"`
	Env       map[string]string `json:"env"`
	Permanent []int             `json:"permanent_exit_codes"`
}

type params struct {
	Args  []json.RawMessage `json:"args"`
	Stdin *string           `json:"stdin"`
}

// Action runs one configured command.
type Action struct {
	argv      []string
	path      string
	dir       string
	env       []string
	permanent map[int]bool
}

// New returns the action; Configure makes it usable.
func New() *Action { return &Action{} }

// Describe implements actions.Action.
func (a *Action) Describe() actions.Description { return Description() }

// Configure implements actions.Configurer.
func (a *Action) Configure(_ context.Context, s actions.Settings) error {
	var set settings
	if err := s.Decode(&set); err != nil {
		return err
	}
	if len(set.Command) == 0 || set.Command[0] == "" {
		return errors.New("command: name a program")
	}
	for i, arg := range set.Command {
		if strings.ContainsRune(arg, 0) {
			return fmt.Errorf("command: argument %d has a NUL byte", i)
		}
	}
	a.dir = inside(s.Dir, set.Dir)
	a.argv = set.Command
	a.path = set.Command[0]
	if strings.Contains(a.path, "/") {
		a.path = inside(s.Dir, a.path)
	}
	a.env = environment(os.Environ())
	for name, value := range set.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return fmt.Errorf("env: %q cannot be an environment variable", name)
		}
		a.env = append(a.env, name+"="+value)
	}
	a.permanent = make(map[int]bool, len(set.Permanent))
	for _, code := range set.Permanent {
		if code < 1 || code > 255 {
			return fmt.Errorf("permanent_exit_codes: %d is not between 1 and 255", code)
		}
		a.permanent[code] = true
	}
	return nil
}

// inside makes path absolute, from dir.
func inside(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// environment keeps what a command may see of the plugin's own environment: the
// allowed names, and the mark by which pointsman finds processes left behind.
func environment(from []string) []string {
	var out []string
	for _, kv := range from {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH", "HOME", "LANG", "TZ", "TMPDIR", "POINTSMAN_SESSION":
			out = append(out, kv)
		default:
			if strings.HasPrefix(name, "LC_") {
				out = append(out, kv)
			}
		}
	}
	return out
}

// Run implements actions.Action.
func (a *Action) Run(ctx context.Context, req *actions.Request) (*actions.Result, error) {
	if len(a.argv) == 0 {
		return nil, errors.New("not configured")
	}
	var p params
	if err := req.Decode(&p); err != nil {
		return nil, actions.Permanent(fmt.Errorf("params: %w", err))
	}
	argv, err := arguments(a.argv, p.Args)
	if err != nil {
		return nil, actions.Permanent(err)
	}
	if req.DryRun {
		return &actions.Result{Output: fmt.Sprintf("dry run: would run %q in %s", argv, a.dir)}, nil
	}
	stdin := []byte(nil)
	if p.Stdin != nil {
		stdin = []byte(*p.Stdin)
	} else if stdin, err = requestJSON(req); err != nil {
		return nil, actions.Permanent(err)
	}
	out := &output{limit: actions.MaxOutput}
	err = a.start(ctx, req, argv, stdin, out)
	return &actions.Result{Output: out.String()}, a.outcome(ctx, err)
}

func (a *Action) start(ctx context.Context, req *actions.Request, argv []string, stdin []byte, out *output) error {
	cmd := osexec.CommandContext(ctx, a.path, argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Dir = a.dir
	cmd.Env = append(append([]string(nil), a.env...),
		"POINTSMAN_DELIVERY_ID="+req.DeliveryID,
		"POINTSMAN_ATTEMPT="+strconv.Itoa(req.Attempt),
		"POINTSMAN_RULE="+req.Rule,
		"POINTSMAN_HOPS="+strconv.Itoa(req.Hops()),
		"POINTSMAN_EVENT_ID="+strings.ReplaceAll(req.EventID, "\x00", ""))
	cmd.Stdin = bytes.NewReader(stdin)
	// One writer for both makes os/exec use one pipe, so the order is kept.
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = pipeGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd.Run()
}

// outcome turns how the command ended into what the router is told.
func (a *Action) outcome(ctx context.Context, err error) error {
	var exit *osexec.ExitError
	switch {
	case err == nil, errors.Is(err, osexec.ErrWaitDelay):
		// The command itself ended with 0; only its output was still held open.
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("killed: %w", context.Cause(ctx))
	case errors.As(err, &exit):
		if exit.Exited() {
			err = fmt.Errorf("exit code %d", exit.ExitCode())
			if a.permanent[exit.ExitCode()] {
				return actions.Permanent(err)
			}
			return err
		}
		return errors.New(exit.String())
	}
	// Also a program that is missing: it may come back, as after an upgrade.
	return fmt.Errorf("start: %w", err)
}

// arguments appends args to the fixed argv, each as exactly one element.
func arguments(fixed []string, args []json.RawMessage) ([]string, error) {
	argv := append([]string(nil), fixed...)
	for i, raw := range args {
		raw = bytes.TrimSpace(raw)
		arg := string(raw)
		switch {
		case len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || raw[0] == 'n':
			return nil, fmt.Errorf("params: args[%d] is not a string, number or boolean", i)
		case raw[0] == '"':
			if err := json.Unmarshal(raw, &arg); err != nil {
				return nil, fmt.Errorf("params: args[%d]: %w", i, err)
			}
		}
		if strings.ContainsRune(arg, 0) {
			return nil, fmt.Errorf("params: args[%d] has a NUL byte, which no argument can hold", i)
		}
		argv = append(argv, arg)
	}
	return argv, nil
}

// requestJSON is what a command reads by default.
func requestJSON(req *actions.Request) ([]byte, error) {
	text, err := json.Marshal(struct {
		DeliveryID string          `json:"delivery_id"`
		Attempt    int             `json:"attempt"`
		Epoch      uint64          `json:"epoch"`
		Rule       string          `json:"rule"`
		Action     string          `json:"action"`
		EventID    string          `json:"event_id"`
		Key        string          `json:"key"`
		Event      json.RawMessage `json:"event"`
		Params     json.RawMessage `json:"params"`
	}{
		req.DeliveryID, req.Attempt, req.Epoch, req.Rule, req.Action, req.EventID, req.Key,
		orNull(req.EventJSON), orNull(req.Params),
	})
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	return append(text, '\n'), nil
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
