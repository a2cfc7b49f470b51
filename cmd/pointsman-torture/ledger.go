package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/actions"
)

// ledger is the action that is run: it notes every start and every end, synced
// to disk, and its visible effect is a file named by the delivery's id, which it
// makes once. While it runs it holds a lock named by the delivery, which the
// kernel frees when its process is gone: who finds it held ran beside another.
type ledger struct {
	dir   string
	lines chan line
}

// line is one line on its way to the disk.
type line struct {
	text string
	done chan error
}

// Describe implements actions.Action.
func (l *ledger) Describe() actions.Description {
	return actions.Description{
		Name: "ledger", Version: "1.0.0", Summary: "Note each start and end.",
		SettingsSchema: json.RawMessage(`{"type": "object", "required": ["dir"], "properties": {"dir": {"type": "string"}}, "additionalProperties": false}`),
		Idempotency:    actions.IdempotentKey,
	}
}

// Configure implements actions.Configurer.
func (l *ledger) Configure(_ context.Context, s actions.Settings) error {
	var settings struct {
		Dir string `json:"dir"`
	}
	if err := s.Decode(&settings); err != nil {
		return err
	}
	l.dir, l.lines = settings.Dir, make(chan line, 64)
	f, err := os.OpenFile(filepath.Join(l.dir, "ledger"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("settings.dir: %w", err)
	}
	go l.write(f) // for the life of the process
	return nil
}

// write puts all lines that wait into one write and one sync.
func (l *ledger) write(f *os.File) {
	for first := range l.lines {
		batch := []line{first}
		for len(l.lines) > 0 {
			batch = append(batch, <-l.lines)
		}
		var b strings.Builder
		for _, ln := range batch {
			b.WriteString(ln.text)
		}
		_, err := f.WriteString(b.String())
		if err == nil {
			err = f.Sync()
		}
		for _, ln := range batch {
			ln.done <- err
		}
	}
}

// note writes what happened to a request; the time is that of the machine, the
// same in every process.
func (l *ledger) note(what string, req *actions.Request) error {
	ln := line{done: make(chan error, 1)}
	ln.text = fmt.Sprintf("%s %s %d %d %s %s %s %d\n", what, req.DeliveryID, req.Attempt, req.Epoch, req.Action, req.Rule, req.EventID, monotonic())
	l.lines <- ln
	return <-ln.done
}

func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail with this clock
	return ts.Nano()
}

// Run implements actions.Action. It does not heed ctx: what it began it ends.
func (l *ledger) Run(_ context.Context, req *actions.Request) (*actions.Result, error) {
	lock, err := os.OpenFile(filepath.Join(l.dir, "locks", req.DeliveryID), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if err := l.note("overlap", req); err != nil {
			return nil, err
		}
	}
	if err := l.note("start", req); err != nil {
		return nil, err
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(req.DeliveryID))
	n := h.Sum32()
	length := time.Duration(n%40) * time.Millisecond
	if req.Action == holdAction { // so that some are running at any time
		length += 200 * time.Millisecond
	}
	time.Sleep(length)
	if n%10 == 3 && req.Attempt == 1 && req.Action != holdAction {
		if err := l.note("fail", req); err != nil {
			return nil, err
		}
		return nil, errors.New("the first attempt of this one fails")
	}
	what := "effect"
	effect, err := os.OpenFile(filepath.Join(l.dir, "effects", req.DeliveryID), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		_ = effect.Close()
	case errors.Is(err, os.ErrExist):
		what = "again"
	default:
		return nil, err
	}
	if err := l.note(what, req); err != nil {
		return nil, err
	}
	return &actions.Result{}, l.note("end", req)
}
