package trial

import (
	"context"
	"log/slog"
	"slices"
	"sync"
)

// maxTail is how many lines of a plugin's standard error are kept.
const maxTail = 20

// tail is a slog.Handler that keeps what a plugin says and drops the rest.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (t *tail) Enabled(context.Context, slog.Level) bool { return true }

func (t *tail) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "plugin says" {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "line" {
			return true
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.lines = append(t.lines, a.Value.String())
		if len(t.lines) > maxTail {
			t.lines = t.lines[1:]
		}
		return false
	})
	return nil
}

func (t *tail) WithAttrs([]slog.Attr) slog.Handler { return t }

func (t *tail) WithGroup(string) slog.Handler { return t }

func (t *tail) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = nil
}

func (t *tail) last() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines == nil {
		return []string{}
	}
	return slices.Clone(t.lines)
}
