package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pointsman/pointsman/router/config/timetable"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// TypeSchedule is the type of source that ticks.
const TypeSchedule = "schedule"

// maxInstants and maxExcept bound the lists of a schedule.
const (
	maxInstants = 10_000
	maxExcept   = 1000
)

// Schedule is what a source of type TypeSchedule is made of.
type Schedule struct {
	// Times compile.
	Times timetable.Spec
	// Jitter bounds the delay of a tick; 0: none.
	Jitter time.Duration
	// CatchUp says what becomes of ticks that are due while no router runs;
	// default CatchUpNone.
	CatchUp string
}

// The values of Schedule.CatchUp.
const (
	CatchUpNone = "none"
	CatchUpLast = "last"
	CatchUpAll  = "all"
)

func scheduleKeys() []string {
	return []string{"cron", "every", "at", "timezone", "except", "jitter", "catch_up"}
}

// schedule reads the keys of a schedule.
func (r *reader) schedule(m *strictyaml.Map, s *Source) {
	sc := &Schedule{CatchUp: CatchUpNone}
	s.Schedule = sc
	loc := r.timezone(m.Key("timezone"), &sc.Times.Timezone)
	if sc.Times.Timezone == "UTC" {
		sc.Times.Timezone = "" // as when it is left out: to write the default is no change
	}
	ok := r.times(m, sc, loc)
	ok = r.except(m.Key("except"), &sc.Times) && ok
	r.duration(m.Key("jitter"), &sc.Jitter, 0, year)
	r.oneOf(m.Key("catch_up"), &sc.CatchUp, CatchUpNone, CatchUpLast, CatchUpAll)
	if every := sc.Times.Every; every > 0 && sc.Jitter >= every {
		m.Key("jitter").Errorf("jitter must be shorter than the period (%s)", strictyaml.FormatDuration(every))
	}
	if !ok || loc == nil {
		return
	}
	r.ever(m, sc)
}

// ever refuses a schedule that is never due.
func (r *reader) ever(m *strictyaml.Map, sc *Schedule) {
	table, err := timetable.New(sc.Times)
	if err != nil { // each part was checked before
		m.Node().Errorf("%v", err)
		return
	}
	// What the calendar repeats it does within 40 years.
	if _, due := table.Next(time.Unix(-1, 0)); !due {
		at := m.KeyNode("except")
		if at == nil {
			at = m.Node()
		}
		at.Errorf("the schedule is never due: every tick is on a day of except")
	}
}

// times reads which of cron, every and at there is.
func (r *reader) times(m *strictyaml.Map, sc *Schedule, loc *time.Location) (ok bool) {
	var given []string
	for _, key := range []string{"cron", "every", "at"} {
		if m.Key(key) != nil {
			given = append(given, key)
		}
	}
	switch {
	case len(given) == 0:
		m.Node().Errorf("one of cron, every and at is missing")
		return false
	case len(given) > 1:
		m.KeyNode(given[1]).Errorf("%s and %s exclude each other (two sources make two schedules)", given[0], given[1])
		return false
	}
	switch given[0] {
	case "cron":
		return r.cron(m.Key("cron"), &sc.Times)
	case "every":
		r.duration(m.Key("every"), &sc.Times.Every, time.Second, year)
		return sc.Times.Every > 0
	}
	return r.at(m.Key("at"), &sc.Times, loc)
}

// timezone reads the name of a time zone, UTC when it is left out. It returns nil
// for one that is not known.
func (r *reader) timezone(n *strictyaml.Node, to *string) *time.Location {
	if n == nil {
		return time.UTC
	}
	text, ok := r.maybe(n)
	if !ok {
		return nil
	}
	loc, err := timetable.Zone(text)
	if err != nil {
		n.Errorf("%v", err)
		return nil
	}
	*to = text
	return loc
}

func (r *reader) cron(n *strictyaml.Node, to *timetable.Spec) bool {
	text, literal, ok := r.expand(n)
	if !ok {
		return false
	}
	c, err := timetable.ParseCron(text)
	var bad *timetable.CronError
	switch {
	case errors.As(err, &bad) && literal && !strings.HasPrefix(text, "@"):
		n.ErrorfAt(bad.Offset, "%s", bad.Msg)
		return false
	case err != nil:
		n.Errorf("%v", err)
		return false
	}
	if warning := c.Lint(); warning != "" {
		n.Warn("busy-schedule", 0, "%s", warning)
	}
	to.Cron = text
	return true
}

// at reads one instant or a list of them.
func (r *reader) at(n *strictyaml.Node, to *timetable.Spec, loc *time.Location) bool {
	items := []*strictyaml.Node{n}
	if n.IsList() {
		items, _ = n.List()
	}
	if len(items) == 0 || len(items) > maxInstants {
		n.Errorf("want 1 to %d instants, not %d", maxInstants, len(items))
		return false
	}
	good := true
	for _, item := range items {
		text, ok := r.maybe(item)
		if !ok {
			good = false
			continue
		}
		if loc == nil { // has its problem already
			return false
		}
		at, err := instant(text, loc)
		if err != nil {
			item.Errorf("%v", err)
			good = false
			continue
		}
		to.At = append(to.At, at)
	}
	return good
}

// instant reads RFC 3339, or a wall clock's time in the schedule's zone.
func instant(text string, loc *time.Location) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		for _, form := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05"} {
			wall, werr := time.Parse(form, text)
			if werr == nil {
				at = timetable.Instant(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), loc)
				err = nil
				break
			}
		}
	}
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("%q is not an instant (write it like 2026-12-24 18:00, in the schedule's timezone, or 2026-12-24T18:00:00+01:00)", text)
	case at.Year() < 1970 || at.Year() > 9999:
		return time.Time{}, fmt.Errorf("%q is before 1970 or after 9999", text)
	}
	return at.UTC().Truncate(time.Second), nil
}

var dateForm = regexp.MustCompile(`^(?:([0-9]{4})-)?([0-9]{2})-([0-9]{2})$`)

// except reads days and ranges of days, of one year or of every year.
func (r *reader) except(n *strictyaml.Node, to *timetable.Spec) bool {
	if n == nil {
		return true
	}
	items, ok := n.List()
	if !ok {
		return false
	}
	if len(items) > maxExcept {
		n.Errorf("want at most %d entries, not %d", maxExcept, len(items))
		return false
	}
	good := true
	for _, item := range items {
		text, ok := r.maybe(item)
		if !ok {
			good = false
			continue
		}
		days, err := days(text)
		if err != nil {
			item.Errorf("%v", err)
			good = false
			continue
		}
		to.Except = append(to.Except, days)
	}
	return good
}

func days(text string) (timetable.Days, error) {
	firstText, lastText, ranged := strings.Cut(text, "..")
	first, err := date(firstText)
	if err != nil {
		return timetable.Days{}, err
	}
	last := first
	if ranged {
		if last, err = date(lastText); err != nil {
			return timetable.Days{}, err
		}
	}
	switch {
	case (first.Year == 0) != (last.Year == 0):
		return timetable.Days{}, fmt.Errorf("%q has one day with a year and one without", text)
	case first.Year != 0 && (last.Year < first.Year || last.Year == first.Year && (last.Month < first.Month || last.Month == first.Month && last.Day < first.Day)):
		return timetable.Days{}, fmt.Errorf("%q ends before it begins", text)
	}
	return timetable.Days{First: first, Last: last}, nil
}

func date(text string) (timetable.Date, error) {
	m := dateForm.FindStringSubmatch(text)
	if m == nil {
		return timetable.Date{}, fmt.Errorf("%q is not a day (write 2026-12-24, 12-24 for every year, or a range like 2026-12-24..2027-01-02)", text)
	}
	year, month, day := 0, 0, 0
	for i, to := range []*int{&year, &month, &day} {
		*to, _ = strconv.Atoi(m[i+1]) // digits, or none
	}
	leap := year
	if m[1] == "" {
		leap = 2000
	} else if year == 0 {
		return timetable.Date{}, fmt.Errorf("%q: there is no year 0", text)
	}
	if t := time.Date(leap, time.Month(month), day, 0, 0, 0, 0, time.UTC); t.Day() != day || int(t.Month()) != month {
		return timetable.Date{}, fmt.Errorf("there is no day %q", text)
	}
	return timetable.Date{Year: year, Month: time.Month(month), Day: day}, nil
}
