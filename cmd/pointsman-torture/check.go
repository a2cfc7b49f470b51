package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The kinds of violations.
const (
	kindLost    = "lost"    // accepted, and not there or not at an end
	kindTwice   = "twice"   // accepted or delivered a second time
	kindOverlap = "overlap" // two attempts of one delivery at a time
	kindEffect  = "effect"  // more or fewer visible effects than deliveries
	kindOnce    = "once"    // a window without or with more than one firing
	kindHold    = "hold"    // an uncertain one was run again by itself
	kindFault   = "fault"   // a fault was not met as it must be
	kindPoint   = "point"   // a store was not whole after the end at a crash point
)

// violation is one promise that was not kept.
type violation struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// storedEvent and storedDelivery are what the admin API says in the end.
type storedEvent struct {
	UID      string    `json:"uid"`
	Received time.Time `json:"received"`
	Event    struct {
		ID, Type string
		Data     struct{ Key string }
	} `json:"event"`
	Verdicts []struct{ Rule, Verdict string } `json:"verdicts"`
}

type storedDelivery struct {
	ID      string `json:"id"`
	EventID string `json:"event_id"`
	Rule    string `json:"rule"`
	Step    int    `json:"step"`
	Action  string `json:"action"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
	Error   string `json:"error"`
}

// entry is one line of the ledger.
type entry struct {
	what, delivery        string
	attempt               int
	epoch                 uint64
	action, rule, eventID string
	at                    int64
}

// evidence is everything the checker looks at.
type evidence struct {
	sent       map[string]*sentEvent
	events     []storedEvent
	deliveries []storedDelivery
	entries    []entry
	// confirmed are held deliveries that the operator had run again.
	confirmed map[string]bool
	// emptied is when the store was emptied from outside, zero for never: what was
	// sent before may be gone, and windows began anew.
	emptied time.Time
	// clockSet: a clock was set back, and windows that were open lasted longer.
	clockSet bool
}

// findings is what the checker says.
type findings struct {
	violations []violation
	// repeated are attempts whose effect was there already, forgotten what was
	// gone with an emptied store.
	repeated, forgotten int
}

func (f *findings) add(kind, format string, args ...any) {
	f.violations = append(f.violations, violation{kind, fmt.Sprintf(format, args...)})
}

// check compares what was promised with what is there.
func check(ev *evidence) *findings {
	f := &findings{}
	byEvent := map[string][]storedDelivery{}
	for _, d := range ev.deliveries {
		byEvent[d.EventID] = append(byEvent[d.EventID], d)
	}
	stored := map[string]*storedEvent{}
	for i := range ev.events {
		e := &ev.events[i]
		if stored[e.Event.ID] != nil {
			f.add(kindTwice, "event %s is stored twice", e.Event.ID)
		}
		stored[e.Event.ID] = e
		if ev.sent[e.Event.ID] == nil {
			f.add(kindTwice, "event %s is stored and was never sent", e.Event.ID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ev.sent)) {
		s := ev.sent[id]
		switch e := stored[id]; {
		case e != nil:
			f.checkDeliveries(s, e, byEvent[id])
		case s.acked.IsZero():
		case s.first.Before(ev.emptied):
			f.forgotten++
		default:
			f.add(kindLost, "event %s (%s) was answered with 202 and is not stored", id, s.kind)
		}
	}
	f.checkLedger(ev)
	if ev.emptied.IsZero() {
		f.checkOnce(ev)
	}
	return f
}

// checkDeliveries: an event has exactly the deliveries of its rules, each at an
// end.
func (f *findings) checkDeliveries(s *sentEvent, e *storedEvent, ds []storedDelivery) {
	matched := slices.ContainsFunc(e.Verdicts, func(v struct{ Rule, Verdict string }) bool { return v.Verdict == "matched" })
	want := map[string]int{typeWork: 1, typeTwo: 2, typeHold: 1, typeNone: 0, typeOnce: 0}[s.kind]
	if s.kind == typeOnce && matched {
		want = 1
	}
	if s.kind != typeOnce && matched != (want > 0) {
		f.add(kindLost, "event %s (%s) has verdicts %v", s.id, s.kind, e.Verdicts)
	}
	steps := map[int]bool{}
	for _, d := range ds {
		if steps[d.Step] || d.Rule != s.kind {
			f.add(kindTwice, "event %s has a delivery %s of rule %s, step %d too many", s.id, d.ID, d.Rule, d.Step)
		}
		steps[d.Step] = true
		if d.State != "done" {
			f.add(kindLost, "delivery %s of event %s (%s) is %s %s in the end: %s", d.ID, s.id, d.Action, d.State, d.Reason, d.Error)
		}
	}
	if len(ds) < want {
		f.add(kindLost, "event %s (%s) has %d deliveries, want %d", s.id, s.kind, len(ds), want)
	}
	if len(ds) > want {
		f.add(kindTwice, "event %s (%s) has %d deliveries, want %d", s.id, s.kind, len(ds), want)
	}
}

// checkLedger compares the deliveries with what really ran.
func (f *findings) checkLedger(ev *evidence) {
	runs := map[string][]entry{}
	for _, e := range ev.entries {
		runs[e.delivery] = append(runs[e.delivery], e)
	}
	known := map[string]bool{}
	for _, d := range ev.deliveries {
		known[d.ID] = true
		ended := slices.ContainsFunc(runs[d.ID], func(e entry) bool { return e.what == "end" })
		if d.State == "done" && !ended {
			f.add(kindEffect, "delivery %s of event %s is done and never ended", d.ID, d.EventID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(runs)) {
		es := runs[id]
		if !known[id] && ev.emptied.IsZero() {
			f.add(kindTwice, "delivery %s of event %s ran and is not stored", id, es[0].eventID)
		}
		f.checkRuns(id, es, ev.confirmed[id])
	}
}

// checkRuns looks at all attempts of one delivery.
func (f *findings) checkRuns(id string, es []entry, confirmed bool) {
	slices.SortStableFunc(es, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	effects, starts := 0, 0
	var last *entry
	for i := range es {
		e := &es[i]
		switch e.what {
		case "overlap":
			f.add(kindOverlap, "delivery %s of event %s: attempt %d began beside another", id, e.eventID, e.attempt)
		case "start":
			starts++
			// A router that dies may forget the number of an attempt that it had just
			// begun; the epoch always grows.
			if last != nil && (e.attempt < last.attempt || e.epoch <= last.epoch) {
				f.add(kindOverlap, "delivery %s: attempt %d (epoch %d) began after attempt %d (epoch %d)", id, e.attempt, e.epoch, last.attempt, last.epoch)
			}
			last = e
		case "effect":
			effects++
		case "again":
			f.repeated++
		}
		// What comes from an older attempt after a newer one began ran beside it.
		if last != nil && e.epoch < last.epoch {
			f.add(kindOverlap, "delivery %s: attempt %d (epoch %d) went on (%s) after epoch %d began", id, e.attempt, e.epoch, e.what, last.epoch)
		}
	}
	if effects > 1 {
		f.add(kindEffect, "delivery %s of event %s has %d visible effects", id, es[0].eventID, effects)
	}
	allowed := 1
	if confirmed {
		allowed++
	}
	if es[0].action == holdAction && starts > allowed {
		f.add(kindHold, "delivery %s of event %s holds what is uncertain and was started %d times", id, es[0].eventID, starts)
	}
}

// checkOnce: firings of a key are at least a window apart, and what was
// throttled lies in the window of a firing.
func (f *findings) checkOnce(ev *evidence) {
	fired, throttled := map[string][]time.Time{}, map[string][]*storedEvent{}
	for i := range ev.events {
		e := &ev.events[i]
		if e.Event.Type != typeOnce {
			continue
		}
		key, verdict := e.Event.Data.Key, ""
		for _, v := range e.Verdicts {
			verdict = v.Verdict
		}
		switch verdict {
		case "matched":
			fired[key] = append(fired[key], e.Received)
		case "throttled":
			throttled[key] = append(throttled[key], e)
		default:
			f.add(kindOnce, "event %s of a rule with once has verdicts %v", e.Event.ID, e.Verdicts)
		}
	}
	const (
		blur = time.Millisecond // stores cut times to microseconds
		// overtaken: the reason may have come later and been committed first.
		overtaken = 10 * time.Second
	)
	for _, key := range slices.Sorted(maps.Keys(fired)) {
		slices.SortFunc(fired[key], time.Time.Compare)
		for i, at := range fired[key][1:] {
			if d := at.Sub(fired[key][i]); d < onceWindow-blur {
				f.add(kindOnce, "key %s fired twice within %s", key, d)
			}
		}
	}
	if ev.clockSet {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(throttled)) {
		for _, e := range throttled[key] {
			if !slices.ContainsFunc(fired[key], func(at time.Time) bool {
				return e.Received.Sub(at) < onceWindow+blur && e.Received.Sub(at) > -overtaken
			}) {
				f.add(kindOnce, "event %s of key %s was throttled and no firing is the reason", e.Event.ID, key)
			}
		}
	}
}

// readLedger reads what the plugin noted from an offset on; a last line that is
// not whole is left for later.
func readLedger(path string, from int64) (entries []entry, to int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		if os.IsNotExist(err) {
			return nil, from, nil
		}
		return nil, from, err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return nil, from, err
	}
	in := bufio.NewReader(f)
	for to = from; ; {
		text, err := in.ReadString('\n')
		if err != nil {
			return entries, to, nil // the end
		}
		to += int64(len(text))
		p := strings.Fields(text)
		if len(p) != 8 {
			return nil, to, fmt.Errorf("%s: a line is damaged: %q", path, text)
		}
		e := entry{what: p[0], delivery: p[1], action: p[4], rule: p[5], eventID: p[6]}
		var errs [3]error
		e.attempt, errs[0] = strconv.Atoi(p[2])
		e.epoch, errs[1] = strconv.ParseUint(p[3], 10, 64)
		e.at, errs[2] = strconv.ParseInt(p[7], 10, 64)
		if err := cmp.Or(errs[0], errs[1], errs[2]); err != nil {
			return nil, to, fmt.Errorf("%s: %w", path, err)
		}
		entries = append(entries, e)
	}
}

// writeEvidence keeps what the API said beside the ledger and the logs.
func writeEvidence(path string, ev *evidence) error {
	text, err := json.MarshalIndent(map[string]any{"events": ev.events, "deliveries": ev.deliveries}, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}
