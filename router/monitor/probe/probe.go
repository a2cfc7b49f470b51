// Package probe is the source that looks at other systems at intervals and makes
// an event when one goes down, comes up or shows something else.
//
// It hides what a check of each kind does, when checks run, and how many of them
// must agree before a state has changed.
package probe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/monitor/memory"
	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// The types of the events.
const (
	// TypeDown: down_after checks in a row have failed.
	TypeDown = "pointsman.probe.down"
	// TypeUp: after being down, up_after checks in a row have succeeded.
	TypeUp = "pointsman.probe.up"
	// TypeChanged: what the target shows is another certificate, or other DNS
	// records, in up_after checks in a row.
	TypeChanged = "pointsman.probe.changed"
	// TypeExpiring: a certificate has come closer to its end than one of
	// Config.ExpiresWithin.
	TypeExpiring = "pointsman.probe.expiring"
)

// MaxConcurrent is the usual number of checks at once in a process.
const MaxConcurrent = 64

// maxSpread is how long after the start a first check runs at the latest.
const maxSpread = time.Minute

// The most bytes of an error that an event tells, and of a subject.
const (
	maxError   = 1024
	maxSubject = 1000
)

// Result is what one check saw.
type Result struct {
	// Err says why the target counts as down; nil: it is up. An error that wraps
	// ErrLocal says nothing of the target.
	Err error
	// Seen is what the target shows, to be compared with what it showed before;
	// nil where the kind compares nothing.
	Seen []string
	// Expires is when the first certificate of the chain ends; zero: none.
	Expires time.Time
	// Data is told in events, besides what all of them have.
	Data map[string]any
}

// ErrLocal marks a check that could not be made for a reason on this side, such
// as a missing right or a program that is not there.
var ErrLocal = errors.New("the check cannot be made here")

// Check looks at one target once. It ends soon after ctx does, and is never
// called again before it has returned.
type Check func(ctx context.Context) Result

// Target is one thing to look at.
type Target struct {
	// Name is the subject of its events; unique within the probe.
	Name  string
	Check Check
}

// Config says what to look at and when.
type Config struct {
	// Source is the configured source's name.
	Source string
	// Kind is the key of the configuration that says how: http, tcp, ...
	Kind    string
	Targets []Target
	// Interval is the time from the begin of a check to that of the next; one
	// that takes longer delays the next.
	Interval time.Duration
	// Timeout of one check.
	Timeout time.Duration
	// DownAfter and UpAfter are the checks in a row that make a change; 0: 1.
	DownAfter, UpAfter int
	// ExpiresWithin are the remaining times of a certificate at which an event is
	// made, once each.
	ExpiresWithin []time.Duration
	// Slots bounds the checks at once, and is shared by all probes of a process:
	// a check runs while it holds an element. nil: MaxConcurrent for this probe.
	Slots chan struct{}
}

// Source implements router.Source.
type Source struct{ cfg Config }

// New returns the source.
func New(cfg Config) *Source {
	cfg.DownAfter, cfg.UpAfter = max(cfg.DownAfter, 1), max(cfg.UpAfter, 1)
	cfg.ExpiresWithin = slices.Sorted(slices.Values(cfg.ExpiresWithin))
	if cfg.Slots == nil {
		cfg.Slots = make(chan struct{}, MaxConcurrent)
	}
	return &Source{cfg: cfg}
}

// Run checks each target until ctx ends. It gives up only when a check cannot be
// made for a reason on this side, or when what is stored cannot be understood.
func (s *Source) Run(ctx context.Context, accept router.AcceptFunc, state router.StateReader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	for _, target := range s.cfg.Targets {
		w := &watch{
			cfg: &s.cfg, target: target,
			cell: memory.NewCell(accept, state, key(s.cfg.Kind, target.Name)),
		}
		wg.Go(func() {
			if err := w.run(ctx); err != nil && ctx.Err() == nil {
				once.Do(func() { failed = fmt.Errorf("target %s: %w", target.Name, err) })
				cancel(err)
			}
		})
	}
	wg.Wait()
	return failed
}

// key names the state of a target, whatever its name is made of.
func key(kind, target string) string {
	sum := sha256.Sum256([]byte(kind + " " + target))
	return "target/" + hex.EncodeToString(sum[:16])
}

// watch looks at one target.
type watch struct {
	cfg    *Config
	target Target
	cell   *memory.Cell
	streak streak
}

// run is the only goroutine of its target, so checks of it never overlap. A
// panic, which the supervisor cannot see in this goroutine, is an error.
func (w *watch) run(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v at %s", v, debug.Stack())
		}
	}()
	next := time.Now().Add(w.offset())
	for {
		if !sleep(ctx, time.Until(next)) {
			return nil
		}
		res, begun, took, ok := w.check(ctx)
		if !ok {
			return nil
		}
		if errors.Is(res.Err, ErrLocal) {
			return res.Err
		}
		if err := w.observe(ctx, res, begun, took); err != nil {
			return err
		}
		next = next.Add(w.cfg.Interval)
		if late := time.Since(next); late > 0 {
			// The moments stay where they were; those missed are left out.
			next = next.Add(late.Truncate(w.cfg.Interval) + w.cfg.Interval)
		}
	}
}

// offset spreads the targets over the interval, and keeps each where it is over
// restarts.
func (w *watch) offset() time.Duration {
	h := fnv.New64a()
	h.Write([]byte(w.cfg.Source + " " + w.target.Name))
	spread := min(w.cfg.Interval, maxSpread)
	return time.Duration(h.Sum64() % uint64(max(spread, 1)))
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// check makes one check in its time, which begins when there is a slot for it.
// ok is false when ctx has ended: then the result says nothing.
func (w *watch) check(ctx context.Context) (res Result, begun time.Time, took time.Duration, ok bool) {
	select {
	case w.cfg.Slots <- struct{}{}:
	case <-ctx.Done():
		return Result{}, time.Time{}, 0, false
	}
	defer func() { <-w.cfg.Slots }()
	limited, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	begun = time.Now()
	res = w.target.Check(limited)
	took = time.Since(begun)
	if res.Err != nil && limited.Err() != nil && !errors.Is(res.Err, ErrLocal) {
		res.Err = fmt.Errorf("no answer within %s", w.cfg.Timeout)
	}
	return res, begun, took, ctx.Err() == nil
}

// observe writes what has changed, in as many events as it takes: a target that
// comes up with another certificate that ends soon makes three.
func (w *watch) observe(ctx context.Context, res Result, at time.Time, took time.Duration) error {
	before := w.cell.Version()
	// Another router may have written; when the store is away, what is known here
	// is as good, because a write on it would be stale.
	if err := w.cell.Load(ctx); err != nil && ctx.Err() != nil {
		return nil
	}
	if w.cell.Version() != before {
		// Another router tells the changes too; it has had its say just now.
		w.streak = streak{}
	}
	w.streak.add(res, at)
	for {
		was, err := w.record()
		if err != nil {
			return err
		}
		change, next := decide(was, &w.streak, res, at, w.cfg)
		if change == changeNone {
			return nil
		}
		data, err := json.Marshal(next)
		if err != nil {
			return err
		}
		ev, err := w.event(change, was, next, res, at, took)
		if err != nil {
			return err
		}
		if err := w.cell.Write(ctx, data, ev); err != nil && !errors.Is(err, router.ErrStale) {
			return err
		}
	}
}

// record is what is stored, nil for nothing.
func (w *watch) record() (*record, error) {
	if !w.cell.Known() {
		return nil, nil
	}
	var r record
	if err := json.Unmarshal(w.cell.Data(), &r); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return &r, nil
}

// event tells a change; nil where there is none to tell.
func (w *watch) event(c change, was, next *record, res Result, at time.Time, took time.Duration) (*rules.Event, error) {
	kind := c.eventType()
	if kind == "" {
		return nil, nil
	}
	data := map[string]any{}
	for k, v := range res.Data {
		data[k] = v
	}
	data["probe"], data["target"], data["kind"] = w.cfg.Source, w.target.Name, w.cfg.Kind
	data["state"], data["since"] = next.State, next.Since.UTC().Format(time.RFC3339Nano)
	data["latency"] = took.Round(time.Microsecond).Seconds()
	if !res.Expires.IsZero() {
		data["expires"] = res.Expires.UTC().Format(time.RFC3339)
	}
	switch c {
	case changeDown, changeUp:
		data["previous"] = was.State
		data["lasted"] = max(next.Since.Sub(was.Since), 0).Round(time.Millisecond).Seconds()
		data["checks"] = w.streak.n
	case changeSeen:
		data["previous"], data["seen"] = was.Seen, next.Seen
	case changeExpiring:
		data["expires_within"] = strictyaml.FormatDuration(w.cfg.ExpiresWithin[next.Stage-1])
		data["left"] = res.Expires.Sub(at).Round(time.Second).Seconds()
	}
	if res.Err != nil {
		data["error"] = short(res.Err.Error())
	}
	text, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	return rules.NewEvent(rules.Attributes{
		ID: w.cell.EventID(w.cfg.Source, kind), Source: "pointsman:/probes/" + w.cfg.Source, Type: kind,
		Subject: cut(memory.Text(w.target.Name), maxSubject), Time: at.UTC().Format(time.RFC3339Nano), DataContentType: "application/json",
	}, text, rules.Limits{})
}

// short is a text of others as an event tells it.
func short(text string) string { return cut(text, maxError) }

// cut bounds a text without cutting a character in two.
func cut(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	for limit -= len("..."); !utf8.RuneStart(text[limit]); {
		limit--
	}
	return text[:limit] + "..."
}
