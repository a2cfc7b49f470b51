package host

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of what a plugin may say.
const (
	maxLine      = 8 << 10
	linesPerSec  = 100
	maxLineAttrs = 32
)

// lineLog repeats a plugin's standard error in the router's log: each line
// bounded, cleaned, rate-limited. Whatever the plugin writes, it is read.
type lineLog struct {
	log *slog.Logger

	mu     sync.Mutex
	reason string // the first line of a panic or fatal error

	window  time.Time
	lines   int
	dropped int
}

// copy reads r to its end.
func (l *lineLog) copy(r io.Reader) {
	br := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := br.ReadSlice('\n')
		if len(line) > 0 {
			cut := errors.Is(err, bufio.ErrBufferFull)
			l.line(string(line), cut)
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = br.ReadSlice('\n')
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *lineLog) line(line string, cut bool) {
	line = clean(strings.TrimRight(line, "\r\n"))
	if line == "" {
		return
	}
	crash := strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
	if crash {
		l.mu.Lock()
		if l.reason == "" {
			l.reason = shorten(line, 200)
		}
		l.mu.Unlock()
	}
	now := time.Now()
	if now.Sub(l.window) >= time.Second {
		if l.dropped > 0 {
			l.log.Warn("plugin log lines dropped", "lines", l.dropped)
		}
		l.window, l.lines, l.dropped = now, 0, 0
	}
	if l.lines++; l.lines > linesPerSec {
		l.dropped++
		return
	}
	level, text, attrs := slog.LevelInfo, line, []slog.Attr(nil)
	switch {
	case crash:
		level = slog.LevelError
	case !cut:
		if lv, msg, as, ok := parseLine(line); ok {
			level, text, attrs = lv, msg, as
		}
	}
	if cut {
		attrs = append(attrs, slog.Bool("cut", true))
	}
	l.log.LogAttrs(context.Background(), level, "plugin says",
		append([]slog.Attr{slog.String("line", text)}, attrs...)...)
}

// crashReason is the first line of the panic that ended the plugin, if any.
func (l *lineLog) crashReason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reason
}

// parseLine reads a line of slog's or hclog's JSON form.
func parseLine(line string) (slog.Level, string, []slog.Attr, bool) {
	if !strings.HasPrefix(line, "{") {
		return 0, "", nil, false
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(line), &fields) != nil {
		return 0, "", nil, false
	}
	var msg, name string
	for _, k := range [][2]string{{"msg", "level"}, {"@message", "@level"}} {
		if json.Unmarshal(fields[k[0]], &msg) == nil && json.Unmarshal(fields[k[1]], &name) == nil {
			break
		}
		msg, name = "", ""
	}
	var level slog.Level
	if msg == "" || level.UnmarshalText([]byte(name)) != nil {
		return 0, "", nil, false
	}
	var attrs []slog.Attr
	for k, v := range fields {
		switch k {
		case "msg", "level", "time", "@message", "@level", "@timestamp":
			continue
		}
		text := string(v)
		_ = json.Unmarshal(v, &text)
		attrs = append(attrs, slog.String(clean(k), clean(text)))
	}
	slices.SortFunc(attrs, func(a, b slog.Attr) int { return strings.Compare(a.Key, b.Key) })
	if len(attrs) > maxLineAttrs {
		attrs = attrs[:maxLineAttrs]
	}
	if len(attrs) == 0 {
		return level, msg, nil, true
	}
	return level, clean(msg), []slog.Attr{{Key: "plugin_attrs", Value: slog.GroupValue(attrs...)}}, true
}

// clean replaces what is not printable, so that a line can neither forge a
// second one nor steer a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || (unicode.IsPrint(r) && r != utf8.RuneError) {
			return r
		}
		return '\uFFFD'
	}, s)
}

func shorten(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
