// Package timetable says when a schedule is due. It hides how cron expressions
// are read, and what becomes of times that a change of local time skips or
// repeats. It is pure: it knows no clock.
package timetable

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// Spec describes a timetable by exactly one of Cron, Every and At. It is plain
// data: equal Specs make equal timetables.
type Spec struct {
	// Cron is an expression of five fields.
	Cron string
	// Every is the period, aligned to 1970-01-01T00:00:00Z; at least 1 s.
	Every time.Duration
	// At are single instants, in any order.
	At []time.Time
	// Timezone is an IANA name; empty: UTC. Cron and Except are in it.
	Timezone string
	// Except are days without ticks.
	Except []Days
}

// String says when it is due, for people.
func (s *Spec) String() string {
	switch {
	case s.Cron != "":
		return "cron " + s.Cron
	case s.Every > 0:
		return "every " + strictyaml.FormatDuration(s.Every)
	case len(s.At) == 1:
		return "at " + s.At[0].Format(time.RFC3339)
	}
	return fmt.Sprintf("at %d instants", len(s.At))
}

// Days are the days from First to Last, both included.
type Days struct{ First, Last Date }

// Date is a day of the calendar; Year 0: of every year.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// number orders the days of one year, or of all.
func (d Date) number(yearly bool) int {
	n := int(d.Month)*32 + d.Day
	if !yearly {
		n += d.Year * 1000
	}
	return n
}

// Include tells whether a day is one of them. Days of every year may go over the
// end of it, as from 24 December to 2 January.
func (d *Days) Include(year int, month time.Month, day int) bool {
	yearly := d.First.Year == 0
	first, last := d.First.number(yearly), d.Last.number(yearly)
	n := Date{year, month, day}.number(yearly)
	if yearly && last < first {
		return n >= first || n <= last
	}
	return n >= first && n <= last
}

// Timetable is a Spec that can be asked. It is immutable and safe for concurrent
// use.
type Timetable struct {
	spec Spec
	cron *Cron
	at   []time.Time // sorted
	loc  *time.Location
}

// New compiles a Spec.
func New(s Spec) (*Timetable, error) {
	t := &Timetable{spec: s, loc: time.UTC}
	var err error
	if s.Timezone != "" {
		if t.loc, err = Zone(s.Timezone); err != nil {
			return nil, err
		}
	}
	if s.Cron != "" {
		if t.cron, err = ParseCron(s.Cron); err != nil {
			return nil, fmt.Errorf("cron: %w", err)
		}
	}
	if s.Cron == "" && s.Every < time.Second && len(s.At) == 0 {
		return nil, fmt.Errorf("a timetable needs cron, every of a second or more, or at")
	}
	t.at = slices.Clone(s.At)
	slices.SortFunc(t.at, time.Time.Compare)
	return t, nil
}

// Zone returns the zone of an IANA name.
func Zone(name string) (*time.Location, error) {
	if name == "" || name == "Local" { // what LoadLocation takes besides
		return nil, fmt.Errorf("unknown time zone %q (write an IANA name like Europe/Berlin, or UTC)", name)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("unknown time zone %q (write an IANA name like Europe/Berlin, or UTC)", name)
	}
	return loc, nil
}

// Location is the zone that Next answers in.
func (t *Timetable) Location() *time.Location { return t.loc }

// Next returns the first tick after a time; false when there is none, within 48
// years unless it is one of At.
func (t *Timetable) Next(after time.Time) (time.Time, bool) {
	limit := after.AddDate(horizon, 0, 0)
	for len(t.at) > 0 || after.Before(limit) { // the list has an end
		due, ok := t.candidate(after)
		if !ok {
			return time.Time{}, false
		}
		due = due.In(t.loc)
		y, m, d := due.Date()
		if !t.excepted(y, m, d) {
			return due, true
		}
		// The rest of that day is excepted as well.
		if after = Instant(y, m, d+1, 0, 0, 0, t.loc).Add(-1); after.Before(due) {
			after = due
		}
	}
	return time.Time{}, false
}

func (t *Timetable) excepted(y int, m time.Month, d int) bool {
	return slices.ContainsFunc(t.spec.Except, func(days Days) bool { return days.Include(y, m, d) })
}

// candidate is Next without exceptions.
func (t *Timetable) candidate(after time.Time) (time.Time, bool) {
	switch {
	case t.cron != nil:
		return t.cron.Next(after, t.loc)
	case t.spec.Every > 0:
		return align(after, t.spec.Every), true
	}
	i := sort.Search(len(t.at), func(i int) bool { return t.at[i].After(after) })
	if i == len(t.at) {
		return time.Time{}, false
	}
	return t.at[i], true
}

// align returns the first multiple of a period since 1970 after a time.
func align(after time.Time, period time.Duration) time.Time {
	n, p := after.UnixNano(), int64(period)
	rest := n % p
	if rest < 0 {
		rest += p
	}
	return time.Unix(0, n-rest+p)
}

// Period is how long it is from a tick to the next; the greatest duration when
// there is no next one.
func (t *Timetable) Period(tick time.Time) time.Duration {
	next, ok := t.Next(tick)
	if !ok {
		return math.MaxInt64
	}
	return next.Sub(tick)
}

// Instant is when a wall clock of a zone shows a time: the first time if it
// does so twice, and the instant of the change if it never does.
func Instant(y int, m time.Month, d, hour, minute, second int, loc *time.Location) time.Time {
	want := time.Date(y, m, d, hour, minute, second, 0, time.UTC)
	at := time.Date(y, m, d, hour, minute, second, 0, loc)
	start, end := at.ZoneBounds()
	// The zone time that time.Date chose is one of the two at a change.
	for _, change := range []time.Time{start, end} {
		if change.IsZero() {
			continue
		}
		before, after := offsetAt(change.Add(-1), loc), offsetAt(change, loc)
		if !want.Before(local(change, before)) && want.Before(local(change, after)) {
			return change.In(loc) // skipped
		}
		if !want.Before(local(change, after)) && want.Before(local(change, before)) {
			return want.Add(-before).In(loc) // repeated
		}
	}
	return at
}
