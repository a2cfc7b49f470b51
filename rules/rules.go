// Package rules turns rule files into a Ruleset and events into calls. It is
// pure: no I/O of its own (an fs.FS is handed in), no clock, no randomness, so
// the router, the tests of users, why and backtest all get the same answer.
package rules

import (
	"encoding/json"
	"errors"
	"io/fs"
	"time"
)

// Options say what a rule file may refer to.
type Options struct {
	// Actions are the configured actions by name. A step of another action is
	// an error. Nil: any name is taken.
	Actions map[string]Action
	// CheckFanOut etc. are the router's business, not the rules'.
}

// Action is what rules know of a configured action.
type Action struct {
	// CheckParams validates parameters, a JSON value, that are the same for
	// every event. Nil: not validated.
	CheckParams func(params json.RawMessage) error
}

// Ruleset is an immutable set of compiled rules, safe for concurrent use.
type Ruleset struct {
	rules []*Rule
}

// Rule is one rule of a Ruleset. It is immutable.
type Rule struct {
	Name string
	// File, Line and Col are where the rule begins.
	File      string
	Line, Col int
	// Once is the suppression window; 0: none.
	Once   time.Duration
	DryRun bool
	// Actions are the actions of do, by step.
	Actions []string
}

// Load reads the files that the patterns match (path.Match per pattern, sorted,
// each file once, *_test.yaml never) and compiles their rules. The error holds
// every problem of every file as *Error values joined by Errors; nothing is
// usable then.
func Load(fsys fs.FS, opts Options, patterns ...string) (*Ruleset, error) {
	return nil, errors.New("not built")
}

// Rules lists the rules in file order.
func (rs *Ruleset) Rules() []*Rule { return rs.rules }

// Match returns one Match for each rule whose when is true or failed, in file
// order.
func (rs *Ruleset) Match(ev *Event) []Match { return nil }

// Match is a rule that an event concerns.
type Match struct {
	Rule *Rule
	// Err says why `when` failed; the rule has then no key and no calls.
	Err error
	// Key is the key as text, "" without key; KeyErr says why it failed, and
	// then there are no calls.
	Key    string
	KeyErr error
	// Calls has one element for each step of do.
	Calls []Call

	stateKey string
}

// Call is one step of do for one event.
type Call struct {
	Step   int
	Action string
	// Skipped: the step's if was false.
	Skipped bool
	// Params is the value of with as JSON, "null" when there is none; nil when
	// Skipped or Err.
	Params json.RawMessage
	// Err says why if or with failed.
	Err error
}

// StateKey names the state of the match's rule and key in the store; "" when
// the rule keeps none. It survives a reload while the rule's name and the text
// of its key stay. A dry run has a state of its own.
func (m *Match) StateKey() string { return m.stateKey }

// Effect is what the state lets a match do.
type Effect struct {
	// Fire: run the calls. Otherwise the match is throttled, for Reason.
	Fire   bool
	Reason string
	// Data replaces the state when Changed; Expires is when it may be forgotten.
	Changed bool
	Data    []byte
	Expires time.Time
}

// Step advances the state of one rule and key by one matching event. data is
// the state as stored (nil: none), now the accept time; it is raised to the
// time in the state when it is earlier. An unreadable state is an error.
func Step(r *Rule, data []byte, now time.Time) (Effect, error) {
	return Effect{}, errors.New("not built")
}

// Explanation is the verdict of one rule on one event, without state.
type Explanation struct {
	Rule *Rule
	// Verdict is "matched", "not_matched" or "error".
	Verdict string
	// Reason says what decided: the sub-expression and the values it saw, or the
	// error.
	Reason string
	// Calls are those of a match.
	Calls []Call
	Key   string
}

// Explain says of every rule, in file order, what it makes of the event and why.
func (rs *Ruleset) Explain(ev *Event) []Explanation { return nil }

// File is one rule file as it was read.
type File struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
}

// Files returns the files of the set, exactly as they were read.
func (rs *Ruleset) Files() []File { return nil }

// LoadFiles compiles files as Load does.
func LoadFiles(files []File, opts Options) (*Ruleset, error) { return nil, errors.New("not built") }
