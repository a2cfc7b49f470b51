// Package replay does with events what the router does with them, up to the
// calls: it matches them, steps the state of the rules, and says what each rule
// would have had run. Nothing runs and nothing is stored; the time is the
// caller's. The tests of rules and backtest are both made of it.
package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pointsman/pointsman/rules"
)

// Verdict is what a rule made of an event; the words are those of docs/rules.md.
type Verdict string

// The verdicts of rules.
const (
	Matched   Verdict = "matched"
	Throttled Verdict = "throttled"
	DryRun    Verdict = "dry_run"
	Skipped   Verdict = "skipped"
	// Held is recorded only: the calls wait for a person.
	Held  Verdict = "held"
	Error Verdict = "error"
	// NotMatched is not recorded; it is said where an explanation is asked for.
	NotMatched Verdict = "not_matched"
)

// Outcome is what one rule made of one event.
type Outcome struct {
	Rule    *rules.Rule
	Verdict Verdict
	// Reason says why the rule was throttled, which steps were skipped, and what
	// failed; empty when there is nothing to say.
	Reason string
	// Err is what failed of a rule without calls: its when, its key or its state.
	Err error
	// Until is when the window ends that throttled the rule.
	Until time.Time
	// Calls has one element for each step of do when the rule fired; those that
	// are Skipped or have an Err would not run.
	Calls []rules.Call
}

// Runs says whether at least one call of the outcome would be made, or, in a
// dry run, recorded.
func (o *Outcome) Runs() bool {
	for i := range o.Calls {
		if !o.Calls[i].Skipped && o.Calls[i].Err == nil {
			return true
		}
	}
	return false
}

// Config configures New. Rules is required.
type Config struct {
	Rules *rules.Ruleset
	// Validate checks parameters that are not the same for every event against
	// what the action takes. Nil: anything fits.
	Validate func(action string, params json.RawMessage) error
}

// World is what a router with these rules would remember. It is not safe for
// concurrent use.
type World struct {
	cfg    Config
	states map[string]state
	// sweep is how many states there are when those that have ended are dropped.
	sweep int
}

type state struct {
	data    []byte
	expires time.Time
}

// minSweep is the least number of states that is swept.
const minSweep = 1024

// New returns a World without any state.
func New(cfg Config) *World {
	return &World{cfg: cfg, states: make(map[string]state), sweep: minSweep}
}

// Accept takes an event in at a time, which should not be before that of the
// event before it, and returns the outcome of each rule whose when is true or
// failed, in file order. It does not look for duplicates.
func (w *World) Accept(ev *rules.Event, now time.Time) []Outcome {
	matches := w.cfg.Rules.Match(ev)
	if len(matches) == 0 {
		return nil
	}
	out := make([]Outcome, len(matches))
	for i := range matches {
		m := &matches[i]
		w.validate(m)
		out[i] = w.outcome(m, now)
	}
	return out
}

func (w *World) validate(m *rules.Match) {
	if w.cfg.Validate == nil {
		return
	}
	for i := range m.Calls {
		c := &m.Calls[i]
		if c.Skipped || c.Err != nil || c.Constant {
			continue
		}
		if err := w.cfg.Validate(c.Action, c.Params); err != nil {
			c.Err = fmt.Errorf("with: %w", err)
		}
	}
}

func (w *World) outcome(m *rules.Match, now time.Time) Outcome {
	o := Outcome{Rule: m.Rule}
	if err := errors.Join(m.Err, m.KeyErr); err != nil { // there is one at most
		o.Verdict, o.Err, o.Reason = Error, err, err.Error()
		return o
	}
	if key := m.StateKey(); key != "" {
		old := w.states[key]
		eff, err := rules.Step(m.Rule, old.data, now)
		if err != nil {
			o.Verdict, o.Err, o.Reason = Error, err, err.Error()
			return o
		}
		if eff.Changed {
			w.keep(key, state{eff.Data, eff.Expires}, now)
		}
		if !eff.Fire {
			o.Verdict, o.Reason, o.Until = Throttled, eff.Reason, old.expires
			return o
		}
	}
	o.Calls = m.Calls
	o.Verdict, o.Reason = Judge(m)
	return o
}

// keep remembers a state. Now and then it forgets those whose windows are over,
// so that there are never more than twice as many as are open.
func (w *World) keep(key string, s state, now time.Time) {
	w.states[key] = s
	if len(w.states) < w.sweep {
		return
	}
	for k, old := range w.states {
		if !now.Before(old.expires) {
			delete(w.states, k)
		}
	}
	w.sweep = max(minSweep, 2*len(w.states))
}

// Judge is the verdict of a rule that fired, and what there is to say of its
// steps. The router records it, too.
func Judge(m *rules.Match) (Verdict, string) {
	var notes []string
	skipped, failed := 0, 0
	for i := range m.Calls {
		switch c := &m.Calls[i]; {
		case c.Skipped:
			skipped++
			notes = append(notes, fmt.Sprintf("step %d (%s) skipped: its if is false", c.Step+1, c.Action))
		case c.Err != nil:
			failed++
			notes = append(notes, failedNote(c)+c.Err.Error())
		}
	}
	reason := strings.Join(notes, "; ")
	switch {
	case failed > 0:
		return Error, reason
	case skipped > 0 && skipped == len(m.Calls):
		return Skipped, reason
	case m.Rule.DryRun:
		return DryRun, reason
	}
	return Matched, reason
}

// failedNote begins what Judge says of a step that failed.
func failedNote(c *rules.Call) string { return fmt.Sprintf("step %d (%s): ", c.Step+1, c.Action) }
