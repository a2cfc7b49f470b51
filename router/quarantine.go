package router

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/rules"
)

// quarantineFor is how long a rule stays in quarantine after its last overrun.
const quarantineFor = 10 * time.Minute

// quarantine holds the rules that took more steps of an event than they may.
// They go on with rules.ConfinedSteps: what they decide cheaply they still
// decide, so nothing is silently lost, and what costs much costs little. Nearly
// always it is empty, which costs an event one atomic load.
type quarantine struct {
	now func() time.Time

	mu  sync.Mutex // held to change in
	in  atomic.Pointer[confined]
	all map[string]time.Time // until when, by rule
}

// confined is the rules in quarantine at one time. It is immutable.
type confined struct {
	rules rules.Confined
	until map[string]time.Time
	// next is when the first of them is free.
	next time.Time
}

// match matches an event; rules that take too much of it go into quarantine.
func (r *Router) match(setup *Setup, ev *rules.Event) []rules.Match {
	matches := setup.Rules.MatchConfined(ev, r.slow.confined())
	for i := range matches {
		if m := &matches[i]; m.Overrun() {
			r.overrun(setup, m)
		}
	}
	return matches
}

// overrun puts the rule of m into quarantine, and says so where m says why it
// failed.
func (r *Router) overrun(setup *Setup, m *rules.Match) {
	r.metrics.RuleOverruns.WithLabelValues(m.Rule.Name).Inc()
	// A rule that was replaced while it ran is not in force any more.
	until, isNew := r.slow.add(m.Rule.Name, func() bool { return r.setup.Load() == setup })
	if until.IsZero() {
		return
	}
	if isNew {
		r.log.Warn("rule is in quarantine: it takes too many steps of an event", "rule", m.Rule.Name, "until", until)
	}
	note := func(err *error) {
		if errors.Is(*err, rules.ErrOverrun) {
			*err = fmt.Errorf("%w; the rule is in quarantine until %s", *err, stamp(until))
		}
	}
	note(&m.Err)
	note(&m.KeyErr)
	for i := range m.Calls {
		note(&m.Calls[i].Err)
	}
}

// add confines a rule from now on, if valid says so; until is zero otherwise.
func (q *quarantine) add(rule string, valid func() bool) (until time.Time, isNew bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !valid() {
		return time.Time{}, false
	}
	now := q.now()
	old, was := q.all[rule]
	if q.all == nil {
		q.all = make(map[string]time.Time)
	}
	until = now.Add(quarantineFor)
	q.all[rule] = until
	q.publish(now)
	return until, !was || !now.Before(old)
}

// clear frees every rule.
func (q *quarantine) clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.all)
	q.in.Store(nil)
}

// confined is what Match wants to know.
func (q *quarantine) confined() rules.Confined {
	if c := q.current(); c != nil {
		return c.rules
	}
	return nil
}

// list names the rules in quarantine, sorted.
func (q *quarantine) list() []Broken {
	c := q.current()
	if c == nil {
		return nil
	}
	var out []Broken
	for _, rule := range slices.SortedFunc(maps.Keys(c.until), strings.Compare) {
		out = append(out, Broken{Name: rule, Reason: fmt.Sprintf(
			"it took too many steps of an event and gets %d in place of %d until %s", rules.ConfinedSteps, rules.MaxSteps, stamp(c.until[rule]))})
	}
	return out
}

// current is what is in quarantine now; nil: nothing.
func (q *quarantine) current() *confined {
	c := q.in.Load()
	if c == nil || q.now().Before(c.next) {
		return c
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.publish(q.now())
	return q.in.Load()
}

// publish frees those whose time is over and shows the rest.
func (q *quarantine) publish(now time.Time) {
	maps.DeleteFunc(q.all, func(_ string, until time.Time) bool { return !now.Before(until) })
	if len(q.all) == 0 {
		q.in.Store(nil)
		return
	}
	c := &confined{rules: make(rules.Confined, len(q.all)), until: maps.Clone(q.all)}
	for rule, until := range q.all {
		c.rules[rule] = struct{}{}
		if c.next.IsZero() || until.Before(c.next) {
			c.next = until
		}
	}
	q.in.Store(c)
}
