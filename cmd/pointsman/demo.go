package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/examples"
	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
)

// demoTime bounds the whole demo.
const demoTime = time.Minute

func (a *app) demoCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on real input, in a temporary folder",
		Long: "Start a router on examples/demo in a temporary folder, send it events over HTTP and show what\n" +
			"happens: a match, a retry, a duplicate, a suppressed repeat, a dead letter and its retry by hand, and\n" +
			"why an event matched nothing. It needs no other service and leaves nothing behind.",
		Example: "  pointsman demo",
		Args:    cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), demoTime)
			defer cancel()
			return a.demo(ctx)
		}),
	}
}

// demo is one run of the demo: a real router process and what is known of it.
type demo struct {
	a      *app
	dir    string
	events *client
	admin  *client
	log    tailLog
}

func (a *app) demo(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "pointsman-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{a: a, dir: dir}
	if err := d.unpack(); err != nil {
		return fmt.Errorf("unpack the example: %w", err)
	}
	stop, err := d.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for _, step := range []func(context.Context) error{
		d.matchAndRetry, d.duplicate, d.throttled, d.deadLetter, d.whyNothing,
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("%w\n%s", err, d.log.text())
		}
	}
	d.title("That was the main job")
	d.say("Everything above went through the store in %s; nothing is kept.", filepath.Join(dir, "pointsman-data"))
	d.say("The files are in examples/demo. Next: README.md, docs/rules.md.")
	return nil
}

// unpack copies examples/demo and makes both listeners take free ports.
func (d *demo) unpack() error {
	sub, err := fs.Sub(examples.Demo, "demo")
	if err != nil {
		return err
	}
	if err := os.CopyFS(d.dir, sub); err != nil {
		return err
	}
	for _, script := range []string{"bounce.sh", "ticket.sh"} {
		if err := os.Chmod(filepath.Join(d.dir, script), 0o700); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(d.file(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\n")
	return errors.Join(err, f.Close())
}

func (d *demo) file() string { return filepath.Join(d.dir, "pointsman.yaml") }

// start runs `pointsman serve` and waits until it is ready. stop ends it and
// waits for its end.
func (d *demo) start(ctx context.Context) (stop func() error, err error) {
	d.title("Starting the router: pointsman serve -c examples/demo/pointsman.yaml")
	cmd := exec.Command("/proc/self/exe", "serve", "-c", d.file())
	logs, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the router: %w", err)
	}
	addrs := make(chan [2]string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(logs)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var line struct{ Msg, Events, Admin string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
				addrs <- [2]string{line.Events, line.Admin}
			}
			d.log.add(lines.Text())
		}
	}()
	stop = func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-read
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("the router ended badly: %w\n%s", err, d.log.text())
		}
		return nil
	}
	select {
	case got := <-addrs:
		d.events = d.a.newClient("http://"+got[0], "", "")
		d.admin = d.a.newClient("http://"+got[1], "", "")
		d.say("events on http://%s/events, admin on http://%s, process %d", got[0], got[1], cmd.Process.Pid)
	case <-read:
		return nil, errors.Join(errors.New("the router did not start"), stop())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), stop())
	}
	if err := d.ready(ctx); err != nil {
		return nil, errors.Join(err, stop())
	}
	token, err := os.ReadFile(filepath.Join(d.dir, "pointsman-data", "admin-token"))
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	d.admin.token = strings.TrimSpace(string(token))
	return stop, nil
}

// ready waits until the router accepts events.
func (d *demo) ready(ctx context.Context) error {
	for {
		var got router.Readiness
		err := d.admin.get(ctx, "/readyz", nil, &got)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the router is not ready: %w", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// tailLog keeps the last lines of the router's log.
type tailLog struct {
	mu    sync.Mutex
	lines []string
}

func (t *tailLog) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines = append(t.lines, line); len(t.lines) > 20 {
		t.lines = t.lines[1:]
	}
}

func (t *tailLog) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}

func (d *demo) title(format string, args ...any) { _ = d.a.printf("\n"+format+"\n", args...) }
func (d *demo) say(format string, args ...any)   { _ = d.a.printf("    "+format+"\n", args...) }

// send posts one event file and tells the answer.
func (d *demo) send(ctx context.Context, file string) (id string, err error) {
	text, err := os.ReadFile(filepath.Join(d.dir, "events", file))
	if err != nil {
		return "", err
	}
	var ev struct {
		ID, Source, Type string
		Data             json.RawMessage
	}
	if err := json.Unmarshal(text, &ev); err != nil {
		return "", err
	}
	d.say("POST /events   %s from %s, id %s, data %s", ev.Type, ev.Source, ev.ID, ev.Data)
	var answer struct {
		ID, Source string
		Duplicate  bool
	}
	err = d.events.call(ctx, http.MethodPost, "/events", "application/cloudevents+json", text, &answer)
	if err != nil {
		return "", err
	}
	if answer.Duplicate {
		d.say("202            duplicate of an event that is already here: nothing is started")
	} else {
		d.say("202            on disk, with everything it causes")
	}
	return answer.ID, nil
}

// detail reads the event and tells what the rules said.
func (d *demo) detail(ctx context.Context, id string) (admin.EventDetail, error) {
	var ev admin.EventDetail
	if err := d.admin.get(ctx, api("events", id), nil, &ev); err != nil {
		return ev, err
	}
	for _, v := range ev.Verdicts {
		text := "rule " + v.Rule + ": " + v.Verdict
		if v.Reason != "" {
			text += ", " + v.Reason
		}
		d.say("%s", text)
	}
	return ev, nil
}

// follow tells each attempt of a delivery as it ends, until the delivery stands
// in one of the states.
func (d *demo) follow(ctx context.Context, id string, seen int, states ...string) (int, error) {
	for {
		var got admin.DeliveryDetail
		if err := d.admin.get(ctx, api("deliveries", id), nil, &got); err != nil {
			return seen, err
		}
		for ; seen < len(got.History) && got.History[seen].Ended != nil; seen++ {
			t := got.History[seen]
			text := strings.ReplaceAll(strings.TrimSpace(t.Output), "\n", " | ")
			if t.Error != "" {
				text = t.Error + ": " + text
			}
			d.say("attempt %d %s after %s: %s", t.Number, t.Outcome, t.Ended.Sub(t.Started).Round(time.Millisecond), text)
		}
		for _, s := range states {
			if got.State == s {
				d.say("delivery is %s", s)
				return seen, nil
			}
		}
		select {
		case <-ctx.Done():
			return seen, fmt.Errorf("delivery %s is still %s: %w", id, got.State, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (d *demo) plugin(ctx context.Context, action string) error {
	var got struct {
		Actions []router.ActionStatus `json:"actions"`
	}
	if err := d.admin.get(ctx, api("actions"), nil, &got); err != nil {
		return err
	}
	for _, s := range got.Actions {
		if s.Name == action {
			d.say("plugin %s %s of action %s started as process %d", s.Plugin, s.Version, s.Name, s.PID)
		}
	}
	return nil
}

func (d *demo) matchAndRetry(ctx context.Context) error {
	d.title("1. A port goes down: a rule matches, its first attempt fails and is retried")
	id, err := d.cause(ctx, "access-port-down.json")
	if err != nil {
		return err
	}
	if _, err = d.follow(ctx, id, 0, "done"); err != nil {
		return err
	}
	return d.plugin(ctx, "bounce-port")
}

// cause sends an event that causes one delivery, and returns that one's id.
func (d *demo) cause(ctx context.Context, file string) (string, error) {
	id, err := d.send(ctx, file)
	if err != nil {
		return "", err
	}
	ev, err := d.detail(ctx, id)
	if err != nil {
		return "", err
	}
	if len(ev.Deliveries) != 1 {
		return "", fmt.Errorf("want 1 delivery of event %s, have %d", id, len(ev.Deliveries))
	}
	d.say("delivery %s of action %s", ev.Deliveries[0].ID, ev.Deliveries[0].Action)
	return ev.Deliveries[0].ID, nil
}

func (d *demo) duplicate(ctx context.Context) error {
	d.title("2. The monitor sends the same event again")
	id, err := d.send(ctx, "access-port-down.json")
	if err != nil {
		return err
	}
	var ev admin.EventDetail
	if err := d.admin.get(ctx, api("events", id), nil, &ev); err != nil {
		return err
	}
	d.say("event %s has %d duplicate and still %d delivery", id, ev.Duplicates, len(ev.Deliveries))
	return nil
}

func (d *demo) throttled(ctx context.Context) error {
	d.title("3. The port flaps again within ten minutes: a new event, but once: 10m holds")
	id, err := d.send(ctx, "access-port-down-again.json")
	if err != nil {
		return err
	}
	_, err = d.detail(ctx, id)
	return err
}

func (d *demo) deadLetter(ctx context.Context) error {
	d.title("4. A core link goes down while the ticket system is away: a dead letter, retried by hand")
	dead, err := d.cause(ctx, "core-link-down.json")
	if err != nil {
		return err
	}
	seen, err := d.follow(ctx, dead, 0, "dead")
	if err != nil {
		return err
	}
	d.say("... somebody repairs the ticket system: touch ticket-system-is-up")
	if err := os.WriteFile(filepath.Join(d.dir, "ticket-system-is-up"), nil, 0o600); err != nil {
		return err
	}
	d.say("pointsman deliveries retry %s", dead)
	var answer json.RawMessage
	if err := d.admin.post(ctx, api("deliveries", "retry"), map[string]any{"ids": []string{dead}}, &answer); err != nil {
		return err
	}
	_, err = d.follow(ctx, dead, seen, "done")
	return err
}

func (d *demo) whyNothing(ctx context.Context) error {
	d.title("5. A distribution link goes down and nothing runs. pointsman why dist7-77")
	id, err := d.send(ctx, "distribution-link-down.json")
	if err != nil {
		return err
	}
	var got struct {
		Verdicts []router.RuleVerdict `json:"verdicts"`
	}
	if err := d.admin.get(ctx, api("events", id, "why"), url.Values{}, &got); err != nil {
		return err
	}
	for _, v := range got.Verdicts {
		d.say("%-22s %-12s %s", v.Rule, v.Verdict, v.Reason)
	}
	return nil
}
