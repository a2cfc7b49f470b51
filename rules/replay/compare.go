package replay

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/rules"
)

const (
	// maxIDs is the most ids that are listed of one difference.
	maxIDs = 100
	// maxChanges is the most places that are told of a call that changed.
	maxChanges = 5
)

// Record is an event as a router recorded it.
type Record struct {
	UID string
	// Source is the configured source's name.
	Source   string
	Received time.Time
	Event    *rules.Event
	// Verdicts are those recorded; a rule without one did not match.
	Verdicts []Recorded
	// Rules are those that were in force; nil when they are not known any more.
	Rules *rules.Ruleset

	matches []rules.Match // of Rules, once somebody asked
}

// Recorded is the verdict of one rule.
type Recorded struct {
	Rule    string
	Verdict Verdict
	Reason  string
}

// CompareConfig configures NewComparison.
type CompareConfig struct {
	// Config is the candidate.
	Config
	// Rule restricts the report to one rule; empty: all.
	Rule string
	// DryRuns counts a dry run as a run, on both sides.
	DryRuns bool
	// Examples is how many of each difference are explained.
	Examples int
}

// Comparison puts a candidate's rules beside what a router recorded. Its memory
// grows with the number of rules and open windows, not with that of events. It
// is not safe for concurrent use.
type Comparison struct {
	cfg       CompareConfig
	world     *World
	candidate map[string]*rules.Rule
	tallies   map[string]*tally
	events    int
}

// tally is what the comparison found of one rule.
type tally struct {
	rule      RuleReport
	live, dry *set
	changed   difference
	recorded  bool // some verdict of it was recorded
}

// set is in which events a rule ran, on both sides.
type set struct {
	recorded, candidate int
	added, removed      difference
}

// difference is the events of one kind.
type difference struct {
	ids      []string
	total    int
	sum      uint64 // the same for the same events
	examples []Example
}

// Report is what a comparison found.
type Report struct {
	Events int `json:"events"`
	// Rules come in the candidate's order, then those it does not have by name.
	Rules []RuleReport `json:"rules"`
	// AddedTotal and RemovedTotal are sums over the rules; dry runs do not count,
	// unless CompareConfig.DryRuns.
	AddedTotal   int `json:"added_total"`
	RemovedTotal int `json:"removed_total"`
	ChangedTotal int `json:"changed_total"`
	ErrorsTotal  int `json:"errors_total"`
	// Renamed are pairs of rules that ran on the very same events.
	Renamed []Rename `json:"renamed"`
}

// Rename is a rule that looks like another one under a new name.
type Rename struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Events int    `json:"events"`
}

// RuleReport is what a comparison found of one rule.
type RuleReport struct {
	Rule string `json:"rule"`
	// InCandidate is false for a rule that only the record has.
	InCandidate bool `json:"in_candidate"`
	Counts
	// Changed are events on which both ran, with other calls or parameters; ids
	// as in Counts.
	Changed         []string  `json:"changed"`
	ChangedTotal    int       `json:"changed_total"`
	ChangedExamples []Example `json:"changed_examples"`
	// Errors counts the events on which the candidate's rule, or a step of it,
	// fails; FirstError is the first message.
	Errors     int    `json:"errors"`
	FirstError string `json:"first_error"`
	// DryRun is the same for events on which the rule ran dry; nil when there is
	// none.
	DryRun *Counts `json:"dry_run"`
}

// Counts says on how many events a rule ran and where the two sides differ.
type Counts struct {
	Recorded  int `json:"recorded"`
	Candidate int `json:"candidate"`
	// Added and Removed are the ids of the first 100 events each.
	Added           []string  `json:"added"`
	AddedTotal      int       `json:"added_total"`
	Removed         []string  `json:"removed"`
	RemovedTotal    int       `json:"removed_total"`
	AddedExamples   []Example `json:"added_examples"`
	RemovedExamples []Example `json:"removed_examples"`
}

// Example is one event that makes a difference, and why.
type Example struct {
	ID  string `json:"id"`
	UID string `json:"uid"`
	// Source is the configured source's name.
	Source   string    `json:"source"`
	Type     string    `json:"type"`
	Subject  string    `json:"subject"`
	Received time.Time `json:"received"`
	// Recorded and Candidate are the verdict of each side with its reason.
	Recorded  string `json:"recorded"`
	Candidate string `json:"candidate"`
	// Changes tell what is not the same of the calls of an event that both ran on.
	Changes []string `json:"changes,omitempty"`
}

// NewComparison returns an empty comparison.
func NewComparison(cfg CompareConfig) *Comparison {
	c := &Comparison{
		cfg: cfg, world: New(cfg.Config),
		candidate: make(map[string]*rules.Rule), tallies: make(map[string]*tally),
	}
	for _, r := range cfg.Rules.Rules() {
		c.candidate[r.Name] = r
		if cfg.Rule == "" || cfg.Rule == r.Name {
			c.tally(r.Name)
		}
	}
	return c
}

// WarmUp shows the candidate an event from before the comparison, for its
// windows. Events come in the order of their times, here and in Add.
func (c *Comparison) WarmUp(ev *rules.Event, at time.Time) { c.world.Accept(ev, at) }

func (c *Comparison) tally(name string) *tally {
	t := c.tallies[name]
	if t == nil {
		t = &tally{rule: RuleReport{Rule: name, InCandidate: c.candidate[name] != nil}, live: &set{}, dry: &set{}}
		c.tallies[name] = t
	}
	return t
}

// run is whether and how a rule ran on an event.
type run uint8

const (
	none run = iota
	dry
	live
)

// Add compares one event.
func (c *Comparison) Add(r Record) {
	c.events++
	outcomes := c.world.Accept(r.Event, r.Received)
	seen := make([]string, 0, 8)
	for i := range outcomes {
		name := outcomes[i].Rule.Name
		seen = append(seen, name)
		c.compare(&r, name, r.verdictOf(name), &outcomes[i])
	}
	for i := range r.Verdicts {
		if v := &r.Verdicts[i]; !slices.Contains(seen, v.Rule) {
			c.compare(&r, v.Rule, v, nil)
		}
	}
}

func (r *Record) verdictOf(rule string) *Recorded {
	for i := range r.Verdicts {
		if r.Verdicts[i].Rule == rule {
			return &r.Verdicts[i]
		}
	}
	return nil
}

// compare looks at one rule and event; v or o may be nil.
func (c *Comparison) compare(r *Record, name string, v *Recorded, o *Outcome) {
	if c.cfg.Rule != "" && c.cfg.Rule != name {
		return
	}
	t := c.tally(name)
	t.recorded = t.recorded || v != nil
	if o != nil && o.Verdict == Error {
		if t.rule.Errors++; t.rule.Errors == 1 {
			t.rule.FirstError = o.Reason
		}
	}
	// The calls of the record are computed again only where they are asked for.
	var calls []rules.Call
	was, is := none, none
	if v != nil {
		was, calls = r.ran(v)
	}
	if o != nil && o.Runs() {
		is = live
		if o.Rule.DryRun {
			is = dry
		}
	}
	if c.cfg.DryRuns {
		was, is = asLive(was), asLive(is)
	}
	c.count(t.live, was == live, is == live, r, v, o, name)
	c.count(t.dry, was == dry, is == dry, r, v, o, name)
	if was == none || was != is || r.Rules == nil || calls == nil {
		return
	}
	if changes := changedCalls(calls, o.Calls); len(changes) > 0 {
		t.changed.add(r.Event.ID(), r.UID)
		if len(t.changed.examples) < c.cfg.Examples {
			e := c.example(r, v, o, name)
			e.Changes = changes
			t.changed.examples = append(t.changed.examples, e)
		}
	}
}

func asLive(r run) run {
	if r == dry {
		return live
	}
	return r
}

// ran says whether a recorded verdict means that calls were made, and with the
// rules of that time which.
func (r *Record) ran(v *Recorded) (run, []rules.Call) {
	switch v.Verdict {
	case Matched, Held, DryRun, Error:
	default:
		return none, nil
	}
	m := r.matchOf(v.Rule)
	var calls []rules.Call
	if m != nil {
		for _, call := range m.Calls {
			if !call.Skipped && call.Err == nil && !strings.Contains(v.Reason, failedNote(&call)) {
				calls = append(calls, call)
			}
		}
	}
	switch {
	case v.Verdict == DryRun:
		return dry, calls
	case v.Verdict != Error:
		return live, calls
	case len(calls) == 0:
		return none, nil
	case m.Rule.DryRun:
		return dry, calls
	}
	return live, calls
}

// matchOf is what a rule as it was makes of the event, nil for no match.
func (r *Record) matchOf(rule string) *rules.Match {
	if r.Rules == nil {
		return nil
	}
	if r.matches == nil {
		r.matches = r.Rules.Match(r.Event)
	}
	for i := range r.matches {
		if r.matches[i].Rule.Name == rule {
			return &r.matches[i]
		}
	}
	return nil
}

func (c *Comparison) count(s *set, was, is bool, r *Record, v *Recorded, o *Outcome, name string) {
	if was {
		s.recorded++
	}
	if is {
		s.candidate++
	}
	if was == is {
		return
	}
	d := &s.added
	if was {
		d = &s.removed
	}
	d.add(r.Event.ID(), r.UID)
	if len(d.examples) < c.cfg.Examples {
		d.examples = append(d.examples, c.example(r, v, o, name))
	}
}

func (d *difference) add(id, uid string) {
	if d.total++; d.total <= maxIDs {
		d.ids = append(d.ids, id)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(uid)) // it never fails
	d.sum += h.Sum64()
}

func (c *Comparison) example(r *Record, v *Recorded, o *Outcome, name string) Example {
	return Example{
		ID: r.Event.ID(), UID: r.UID, Source: r.Source, Type: r.Event.Type(), Subject: subject(r.Event),
		Received: r.Received.UTC(), Recorded: c.recordedReason(r, v, name), Candidate: c.candidateReason(r, o, name),
	}
}

func subject(ev *rules.Event) string {
	text, _ := ev.Value()["subject"].(string)
	return text
}

func (c *Comparison) recordedReason(r *Record, v *Recorded, name string) string {
	switch {
	case v != nil:
		return said(v.Verdict, v.Reason)
	case r.Rules == nil:
		return "no verdict recorded"
	}
	return explain(r.Rules, r.Event, name)
}

func (c *Comparison) candidateReason(r *Record, o *Outcome, name string) string {
	if o != nil {
		return said(o.Verdict, o.Reason)
	}
	return explain(c.cfg.Rules, r.Event, name)
}

// explain says what a rule that has no outcome makes of an event.
func explain(rs *rules.Ruleset, ev *rules.Event, name string) string {
	for _, e := range rs.ExplainSome(ev, func(r *rules.Rule) bool { return r.Name == name }) {
		return said(Verdict(e.Verdict), e.Reason)
	}
	return "there is no such rule"
}

func said(v Verdict, reason string) string {
	if reason == "" {
		return string(v)
	}
	return string(v) + ": " + reason
}

// changedCalls lists what is not the same of two rounds of calls; those of one
// action are compared in their order.
func changedCalls(was, is []rules.Call) []string {
	var out []string
	used := make([]bool, len(was))
	for i := range is {
		call := &is[i]
		if call.Skipped || call.Err != nil {
			continue
		}
		j := slices.IndexFunc(was, func(w rules.Call) bool { return w.Action == call.Action })
		for ; j >= 0 && j < len(was) && (used[j] || was[j].Action != call.Action); j++ {
		}
		if j < 0 || j == len(was) {
			out = append(out, fmt.Sprintf("%s is called, too", call.Action))
			continue
		}
		used[j] = true
		if bytes.Equal(was[j].Params, call.Params) {
			continue
		}
		for _, d := range Differences("with", was[j].Params, call.Params) {
			out = append(out, fmt.Sprintf("%s: %s: was %s, is %s", call.Action, d.Path, orNothing(d.Old), orNothing(d.New)))
		}
	}
	for j := range was {
		if !used[j] {
			out = append(out, fmt.Sprintf("%s is not called any more", was[j].Action))
		}
	}
	if n := len(out) - maxChanges; n > 0 {
		out = append(out[:maxChanges], fmt.Sprintf("and %d more", n))
	}
	return out
}

func orNothing(text json.RawMessage) string {
	if text == nil {
		return "nothing"
	}
	return string(text)
}

// Has says whether the candidate or the record has the rule.
func (c *Comparison) Has(rule string) bool {
	t := c.tallies[rule]
	return t != nil && (t.rule.InCandidate || t.recorded)
}

// Report says what was found so far.
func (c *Comparison) Report() Report {
	rep := Report{Events: c.events, Rules: []RuleReport{}, Renamed: []Rename{}}
	var only []*tally
	add := func(t *tally) {
		r := t.report()
		rep.AddedTotal += r.AddedTotal
		rep.RemovedTotal += r.RemovedTotal
		rep.ChangedTotal += r.ChangedTotal
		rep.ErrorsTotal += r.Errors
		rep.Rules = append(rep.Rules, r)
	}
	for _, r := range c.cfg.Rules.Rules() {
		if t := c.tallies[r.Name]; t != nil {
			add(t)
		}
	}
	for _, t := range c.tallies {
		if !t.rule.InCandidate {
			only = append(only, t)
		}
	}
	slices.SortFunc(only, func(a, b *tally) int { return cmp.Compare(a.rule.Rule, b.rule.Rule) })
	for _, t := range only {
		add(t)
	}
	for _, from := range only {
		for _, r := range c.cfg.Rules.Rules() {
			to := c.tallies[r.Name]
			if to != nil && !to.recorded && from.same(to) {
				rep.Renamed = append(rep.Renamed, Rename{from.rule.Rule, r.Name, from.live.removed.total + from.dry.removed.total})
			}
		}
	}
	return rep
}

// same says that the one stopped on exactly the events on which the other began.
func (t *tally) same(to *tally) bool {
	n := t.live.removed.total + t.dry.removed.total
	return n > 0 && n == to.live.added.total+to.dry.added.total &&
		t.live.removed.sum+t.dry.removed.sum == to.live.added.sum+to.dry.added.sum
}

func (t *tally) report() RuleReport {
	r := t.rule
	r.Counts = t.live.counts()
	r.Changed, r.ChangedTotal, r.ChangedExamples = list(t.changed.ids), t.changed.total, list(t.changed.examples)
	if t.dry.recorded+t.dry.candidate > 0 {
		counts := t.dry.counts()
		r.DryRun = &counts
	}
	return r
}

func (s *set) counts() Counts {
	return Counts{
		Recorded: s.recorded, Candidate: s.candidate,
		Added: list(s.added.ids), AddedTotal: s.added.total, AddedExamples: list(s.added.examples),
		Removed: list(s.removed.ids), RemovedTotal: s.removed.total, RemovedExamples: list(s.removed.examples),
	}
}

// list is never nil, so that JSON has [].
func list[T any](s []T) []T { return append([]T{}, s...) }
