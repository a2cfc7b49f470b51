package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/rules/expression"
	"github.com/pointsman/pointsman/rules/index"
	"github.com/pointsman/pointsman/rules/scan"
)

// longKey is the longest key, in bytes, that a state key holds as it is.
const longKey = 64

// What one rule may take of one event, all its expressions together: time in
// steps of at most 250 ns, and memory in steps of at most 64 bytes.
const (
	MaxSteps = expression.MaxSteps
	// ConfinedSteps are those of a confined rule.
	ConfinedSteps = MaxSteps / 20
)

// ErrOverrun is, by errors.Is, the error of an expression that would take more
// than its rule has left.
var ErrOverrun = expression.ErrSteps

// Confined names the rules that may take only ConfinedSteps of an event,
// because they took too much of another. It must not be changed.
type Confined map[string]struct{}

// Match returns one Match for each rule whose when is true or failed, in file
// order. The rules of one Ruleset share what they read of the event.
func (rs *Ruleset) Match(ev *Event) []Match { return rs.MatchConfined(ev, nil) }

// MatchConfined is Match with some rules confined; nil: none.
func (rs *Ruleset) MatchConfined(ev *Event, confined Confined) []Match {
	doc := ev.take()
	defer putBack(doc)
	return rs.match(doc, confined)
}

func (rs *Ruleset) match(event *scan.Doc, confined Confined) []Match {
	s := rs.state(event)
	defer rs.release(s)
	if rs.index == nil {
		return s.each(rs.rules, confined)
	}
	var matches []Match
	for _, i := range s.search.Candidates(rs.index, s.state) {
		matches = rs.rules[i].match(s.state, confined, matches)
	}
	return matches
}

// each tries every rule.
func (s *scratch) each(list []*Rule, confined Confined) []Match {
	var matches []Match
	for _, r := range list {
		matches = r.match(s.state, confined, matches)
	}
	return matches
}

// match appends the rule's match, if it has one.
func (r *Rule) match(s *expression.State, confined Confined, matches []Match) []Match {
	s.Allow(r.allowed(confined))
	ok, err := r.when.Test(s)
	switch {
	case err != nil:
		return append(matches, Match{Rule: r, Err: fmt.Errorf("when: %w", err)})
	case ok:
		return append(matches, r.fire(s))
	}
	return matches
}

func (r *Rule) allowed(confined Confined) int {
	if _, ok := confined[r.Name]; ok {
		return ConfinedSteps
	}
	return MaxSteps
}

// scratch is what matching one event needs.
type scratch struct {
	state  *expression.State
	search index.Search
}

// state takes a scratch from the pool and shows it the event: a *scan.Doc or its
// value.
func (rs *Ruleset) state(event any) *scratch {
	s := rs.states.Get().(*scratch)
	s.state.Reset(event)
	return s
}

// release gives a scratch back; it must not keep the event alive.
func (rs *Ruleset) release(s *scratch) {
	s.state.Reset(nil)
	rs.states.Put(s)
}

// fire evaluates the key and the calls of a rule whose when is true.
func (r *Rule) fire(s *expression.State) Match {
	m := Match{Rule: r}
	kind := "-"
	if r.key != nil {
		if kind, m.Key, m.KeyErr = r.keyOf(s); m.KeyErr != nil {
			return m
		}
	}
	if r.Once > 0 {
		m.stateKey = stateKey(r.stateName, kind, m.Key)
	}
	m.Calls = make([]Call, len(r.steps))
	for i := range r.steps {
		c := r.steps[i].call(s)
		c.Step = i
		c.Lane, c.SkipIfBusy = r.lane(i, kind, m.Key), r.steps[i].overlap == overlapSkip
		m.Calls[i] = c
	}
	return m
}

// lane names the lane of a step, "" for none. A rule's name has no slash.
func (r *Rule) lane(step int, kind, key string) string {
	switch {
	case r.Ordered:
		return stateKey(r.Name+"//", kind, key)
	case r.steps[step].overlap == overlapQueue || r.steps[step].overlap == overlapSkip:
		return stateKey(r.Name+"/"+strconv.Itoa(step+1)+"/", kind, key)
	}
	return ""
}

// keyOf evaluates the key; kind keeps the string "1" apart from the integer 1.
func (r *Rule) keyOf(s *expression.State) (kind, text string, err error) {
	v, err := r.key.Eval(s)
	if err != nil {
		return "", "", fmt.Errorf("key: %w", err)
	}
	switch v := v.(type) {
	case string:
		return "s", v, nil
	case int64:
		return "i", strconv.FormatInt(v, 10), nil
	case bool:
		return "b", strconv.FormatBool(v), nil
	case nil:
		return "", "", fmt.Errorf(`key: %s is nil (write ?? "x" for a default)`, r.key.Text())
	}
	return "", "", fmt.Errorf("key: %s is a %s (a key is a string, an integer or a boolean)", r.key.Text(), expression.TypeName(v))
}

// stateName begins every state key of a rule: its name, a hash of the text of
// its key, and which of its two windows it is.
func stateName(name, keyText string, dryRun bool) string {
	sum := sha256.Sum256([]byte(strings.TrimSpace(keyText)))
	window := "live"
	if dryRun {
		window = "dry"
	}
	return name + "/" + hex.EncodeToString(sum[:4]) + "/" + window + "/"
}

// stateKey ends with the key's kind and text, or with a hash of a long text.
func stateKey(name, kind, key string) string {
	if len(key) <= longKey {
		return name + kind + key
	}
	sum := sha256.Sum256([]byte(key))
	return name + "h" + hex.EncodeToString(sum[:16])
}

// call evaluates one step.
func (st *step) call(s *expression.State) Call {
	c := Call{Action: st.action}
	if st.cond != nil {
		ok, err := st.cond.Test(s)
		if err != nil {
			c.Err = fmt.Errorf("if: %w", err)
			return c
		}
		if !ok {
			c.Skipped = true
			return c
		}
	}
	params, err := st.with.render(s)
	if err != nil {
		c.Err = err
		return c
	}
	c.Params, c.Constant = json.RawMessage(params), st.with.fixed != nil
	return c
}
