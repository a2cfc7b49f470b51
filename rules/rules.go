// Package rules turns rule files into a Ruleset and events into calls. It is
// pure: no I/O of its own (an fs.FS is handed in), no clock, no randomness, so
// the router, the tests of users, why and backtest all get the same answer.
package rules

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/rules/expression"
	"github.com/pointsman/pointsman/rules/index"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// Error is one problem of a rule file; its text is
//
//	file:line:col: rule "name": what is wrong (what to do)
//
// and below it the source line and a caret.
type Error = strictyaml.Error

// Errors are all problems of all files, by file and line. Load returns it.
type Errors = strictyaml.Errors

// Options say what a rule file may refer to.
type Options struct {
	// Actions are the configured actions by name. A step of another action is
	// an error. Nil: any name is taken.
	Actions map[string]Action
	// Overlaps are the overlap, queue or skip, of steps that say none themselves, by
	// action.
	Overlaps map[string]string
	// Lint, when set, makes Load look for what is possible in a rule but hardly
	// meant, and takes the warnings; see docs/rules.md. Load then takes
	// two to three times as long.
	Lint *Lint
}

// Lint takes every warning of a Load, also of one that ends with an error.
type Lint struct {
	Warnings []*Error
}

// Action is what rules know of a configured action.
type Action struct {
	// CheckParams validates parameters, a JSON value ("null" for a step without
	// with), that are the same for every event. Nil: not validated.
	CheckParams func(params json.RawMessage) error
	// Emits tells of an action that sends events to this very router the type of
	// the event for a value of with, nil without one. An empty type is one that
	// cannot be seen; sends is false when no event is sent. It is for Lint. Nil:
	// nothing is known to be sent.
	Emits func(with any) (eventType string, sends bool)
}

// File is the text of a rule file.
type File struct {
	// Name is the file's slash-separated path, as errors show it.
	Name string
	Data []byte
}

// Ruleset is an immutable set of compiled rules, safe for concurrent use.
type Ruleset struct {
	rules    []*Rule
	files    []File
	overlaps map[string]string
	warnings []*Error
	dryRun   bool
	// index finds the rules that an event may concern; nil: each is tried.
	index     *index.Index
	unindexed []*Rule
	states    sync.Pool // of *scratch
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
	// Ordered: one delivery of the rule and key runs at a time, in the order of
	// acceptance.
	Ordered bool
	// Actions are the actions of do, by step.
	Actions []string

	when *expression.Program
	// indexed: the index knows when the rule cannot match.
	indexed bool
	key     *expression.Program // nil: no key
	steps   []step
	// stateName begins the state keys of the rule.
	stateName string
}

// step is one compiled element of do.
type step struct {
	action string
	cond   *expression.Program // nil: always
	with   *template
	// overlap is one of the words of docs/rules.md, "" for allow.
	overlap string
}

// Rules lists the rules in file order.
func (rs *Ruleset) Rules() []*Rule { return rs.rules }

// Overlaps are those of the Options that the rules were loaded with.
func (rs *Ruleset) Overlaps() map[string]string { return rs.overlaps }

// Files lists the files in the order they were loaded, with their exact text:
// LoadFiles of it makes the same rules again.
func (rs *Ruleset) Files() []File { return rs.files }

// Unindexed lists the rules that every event is tried against, in file order:
// nothing in their when narrows the events down.
func (rs *Ruleset) Unindexed() []*Rule { return rs.unindexed }

// Warnings lists what is possible in a rule but hardly meant, by file and line.
func (rs *Ruleset) Warnings() []*Error { return rs.warnings }

// AsDryRun returns the same rules, each with dry_run: true, and so with windows
// of its own.
func (rs *Ruleset) AsDryRun() *Ruleset {
	dry := &Ruleset{
		rules: make([]*Rule, len(rs.rules)), files: rs.files, overlaps: rs.overlaps, warnings: rs.warnings, dryRun: true, index: rs.index,
	}
	dry.states.New = rs.states.New
	for i, r := range rs.rules {
		copied := *r
		copied.DryRun, copied.stateName = true, stateName(r.Name, r.KeyText(), true)
		dry.rules[i] = &copied
		if !copied.indexed {
			dry.unindexed = append(dry.unindexed, &copied)
		}
	}
	return dry
}

// DryRun says whether AsDryRun made the set.
func (rs *Ruleset) DryRun() bool { return rs.dryRun }

// KeyText returns the text of the rule's key expression, "" without key.
func (r *Rule) KeyText() string {
	if r.key == nil {
		return ""
	}
	return r.key.Text()
}

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
	// Skipped or Err. It must not be changed.
	Params json.RawMessage
	// Constant: Params are the same for every event, and were checked by Load.
	Constant bool
	// Err says why if or with failed.
	Err error
	// Lane names what the delivery of this call must not run beside: of an ordered
	// rule, its rule and key; of a step with overlap queue or skip, its rule, step
	// and key. Empty: nothing. It survives a reload while the rule's name and the
	// step's number stay.
	Lane string
	// SkipIfBusy: overlap is skip.
	SkipIfBusy bool
}

// Overrun tells whether Err, KeyErr or the Err of a call is an ErrOverrun.
func (m *Match) Overrun() bool {
	over := func(err error) bool { return err != nil && errors.Is(err, ErrOverrun) }
	return over(m.Err) || over(m.KeyErr) || slices.ContainsFunc(m.Calls, func(c Call) bool { return over(c.Err) })
}

// StateKey names the state of the match's rule and key in the store; "" when
// the rule keeps none. It survives a reload while the rule's name and the text
// of its key stay. A dry run has a state of its own.
func (m *Match) StateKey() string { return m.stateKey }
