package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	// progressAfter is how long a run is before it is worth a line.
	progressAfter = time.Second
	// progressEvery is the time between two lines.
	progressEvery = 200 * time.Millisecond
)

// progress shows on a terminal how far a walk through recorded events is. A nil
// progress shows nothing.
type progress struct {
	out        io.Writer
	now        func() time.Time
	from, to   time.Time // of the record
	begun      time.Time
	shown      time.Time
	n          int
	lineLength int
}

// newProgress returns nil when standard error is no terminal.
func (a *app) newProgress(from, to time.Time) *progress {
	if !a.terminal(a.stderr) {
		return nil
	}
	return &progress{out: a.stderr, now: a.now, from: from, to: to, begun: a.now()}
}

// add counts an event and, now and then, shows the line.
func (p *progress) add(at time.Time) {
	if p == nil {
		return
	}
	if p.n == 0 && at.After(p.from) {
		p.from = at // the record begins here
	}
	p.n++
	now := p.now()
	if now.Sub(p.begun) < progressAfter || now.Sub(p.shown) < progressEvery {
		return
	}
	p.shown = now
	p.write(p.line(at, now.Sub(p.begun)))
}

// line says how far the walk is after this long. Events may be unevenly spread,
// so what is left is an estimate by their times.
func (p *progress) line(at time.Time, took time.Duration) string {
	part := 1.0
	if whole := p.to.Sub(p.from); whole > 0 {
		part = min(1, max(0, float64(at.Sub(p.from))/float64(whole)))
	}
	left := "?"
	if part > 0 {
		left = time.Duration(float64(took) * (1 - part) / part).Round(time.Second).String()
	}
	const width = 30
	bar := strings.Repeat("=", int(part*width)) + strings.Repeat(" ", width-int(part*width))
	return fmt.Sprintf("[%s] %3.0f%%  %s, %.0f/s, %s left", bar, part*100, counted(p.n, "event"), float64(p.n)/took.Seconds(), left)
}

// write replaces the line by another one.
func (p *progress) write(line string) {
	fmt.Fprintf(p.out, "\r%s%s", line, strings.Repeat(" ", max(0, p.lineLength-len(line))))
	p.lineLength = len(line)
}

// end removes the line.
func (p *progress) end() {
	if p != nil && p.lineLength > 0 {
		p.write("")
		fmt.Fprint(p.out, "\r")
	}
}
