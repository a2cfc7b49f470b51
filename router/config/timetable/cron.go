package timetable

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Cron is a cron expression: minute, hour, day of month, month, day of week, as
// Vixie's cron reads them. It is immutable.
type Cron struct {
	text string
	// Bit n of each is set when the value n fits; Sunday is 0.
	minute, hour, dom, month, dow uint64
	// A field "is a star" when it begins with one, be it "*" or "*/2".
	starMinute, starHour, starDOM, starDOW bool
}

// CronError is what is wrong with an expression, and where.
type CronError struct {
	// Offset in bytes.
	Offset int
	Msg    string
}

func (e *CronError) Error() string { return e.Msg }

// field describes one of the five.
type field struct {
	name      string
	low, high int
	names     []string // of low and the following values
	// wrap is how many different values there are.
	wrap int
}

func fields() [5]field {
	return [5]field{
		{name: "minute", high: 59, wrap: 60},
		{name: "hour", high: 23, wrap: 24},
		{name: "day of month", low: 1, high: 31, wrap: 31},
		{name: "month", low: 1, high: 12, wrap: 12, names: []string{
			"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
		}},
		{name: "day of week", high: 7, wrap: 7, names: []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
	}
}

// shorthands are names of whole expressions.
func shorthands() map[string]string {
	return map[string]string{
		"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
		"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
	}
}

// ParseCron reads an expression. The error is a *CronError, also for one that is
// never due.
func ParseCron(text string) (*Cron, error) {
	full := text
	if strings.HasPrefix(text, "@") {
		full = shorthands()[strings.ToLower(text)]
		if full == "" {
			return nil, &CronError{0, fmt.Sprintf("unknown %q (known: @hourly, @daily, @weekly, @monthly, @yearly)", text)}
		}
	}
	words, at := split(full)
	if len(words) != 5 {
		offset := 0
		if len(words) > 5 {
			offset = at[5]
		}
		return nil, &CronError{offset, fmt.Sprintf("a cron expression has 5 fields (minute, hour, day of month, month, day of week), this one %d", len(words))}
	}
	c := &Cron{text: text}
	to := [5]*uint64{&c.minute, &c.hour, &c.dom, &c.month, &c.dow}
	for i, f := range fields() {
		set, err := f.parse(words[i], at[i])
		if err != nil {
			return nil, err
		}
		*to[i] = set
	}
	star := func(i int) bool { return strings.HasPrefix(words[i], "*") }
	c.starMinute, c.starHour, c.starDOM, c.starDOW = star(0), star(1), star(2), star(4)
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, ok := c.nextLocal(begin, begin.AddDate(horizon, 0, 0)); !ok {
		return nil, &CronError{at[2], "it is never due: no such month has such a day"}
	}
	return c, nil
}

// split returns the words of text and where they begin.
func split(text string) (words []string, at []int) {
	begin := -1
	for i, r := range text + " " {
		switch blank := r == ' ' || r == '\t'; {
		case blank && begin >= 0:
			words, at = append(words, text[begin:i]), append(at, begin)
			begin = -1
		case !blank && begin < 0:
			begin = i
		}
	}
	return words, at
}

// parse reads a list of parts: *, a value, a range, or one of them but the value
// with a step.
func (f *field) parse(text string, at int) (set uint64, err error) {
	for part := range strings.SplitSeq(text, ",") {
		one, err := f.part(part, at)
		if err != nil {
			return 0, err
		}
		set |= one
		at += len(part) + 1
	}
	return set, nil
}

func (f *field) part(text string, at int) (uint64, error) {
	values, stepText, stepped := strings.Cut(text, "/")
	step := 1
	if stepped {
		var err error
		if step, err = f.number(stepText, at+len(values)+1, 1, f.wrap-1); err != nil {
			return 0, err
		}
	}
	if values == "*" {
		return f.spread(f.low, f.low+f.wrap-1, step), nil
	}
	lowText, highText, ranged := strings.Cut(values, "-")
	low, err := f.value(lowText, at)
	if err != nil {
		return 0, err
	}
	if !ranged {
		if stepped {
			return 0, &CronError{at, fmt.Sprintf("%s %q has a step without a range (write %d-%d/%d)", f.name, text, low, f.low+f.wrap-1, step)}
		}
		return f.spread(low, low, 1), nil
	}
	high, err := f.value(highText, at+len(lowText)+1)
	if err != nil {
		return 0, err
	}
	if high < low { // over the end, as 22-2 or fri-mon
		high += f.wrap
	}
	return f.spread(low, high, step), nil
}

// spread sets every step-th value; those beyond the end begin anew.
func (f *field) spread(low, high, step int) (set uint64) {
	for v := low; v <= high; v += step {
		set |= 1 << (f.low + (v-f.low)%f.wrap)
	}
	return set
}

func (f *field) value(text string, at int) (int, error) {
	for i, name := range f.names {
		if strings.EqualFold(text, name) {
			return f.low + i, nil
		}
	}
	return f.number(text, at, f.low, f.high)
}

func (f *field) number(text string, at, low, high int) (int, error) {
	if text == "" {
		return 0, &CronError{at, f.name + ": a number is missing"}
	}
	for _, r := range text {
		if r < '0' || r > '9' {
			return 0, &CronError{at, fmt.Sprintf("%s: %q is not a number%s", f.name, clip(text), f.orName())}
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, &CronError{at, fmt.Sprintf("%s: %s is out of range (%d to %d)", f.name, clip(text), low, high)}
	}
	return n, nil
}

// clip keeps a message short.
func clip(text string) string {
	if len(text) <= 20 {
		return text
	}
	text = text[:20]
	for !utf8.ValidString(text) && text != "" {
		text = text[:len(text)-1]
	}
	return text + "…"
}

func (f *field) orName() string {
	if f.names == nil {
		return ""
	}
	return fmt.Sprintf(" or one of %s", strings.Join(f.names, ", "))
}

// String returns the expression as it was written.
func (c *Cron) String() string { return c.text }

const (
	everyMinute = 1<<60 - 1
	everyHour   = 1<<24 - 1
)

// Lint tells what is likely to be a mistake; "" for nothing.
func (c *Cron) Lint() string {
	if c.minute == everyMinute && c.hour != everyHour {
		return fmt.Sprintf("it is due 60 times in each hour that fits (a minute of 0 makes it once: 0 %s)",
			strings.Join(strings.Fields(c.text)[1:], " "))
	}
	return ""
}

// fixed says that it means times of the day, and not every so many minutes or
// hours; see Next.
func (c *Cron) fixed() bool { return !c.starMinute && !c.starHour }

// day tells whether it is due on a day. A day of month and a day of week that
// both do not begin with a star are alternatives.
func (c *Cron) day(t time.Time) bool {
	dom, dow := c.dom&(1<<t.Day()) != 0, c.dow&(1<<t.Weekday()) != 0
	if c.starDOM || c.starDOW {
		return dom && dow
	}
	return dom || dow
}

const (
	// horizon is how many years ahead are looked at. Between two 29ths of
	// February on one weekday are 40 at most.
	horizon = 48
	// longestShift is the longest change of local time after which times that
	// were skipped are made up for and repeated ones left out.
	longestShift = 3 * time.Hour
)

// Next returns the first time after a given one that the expression is due in
// the zone; false when there is none within 48 years. When local time changes by
// up to three hours, it follows ISC cron: an expression whose minute or hour
// begins with a star goes by the clock as it is, every real hour. Any other
// means times of the day, each of which comes once a day: one that is skipped is
// due at the instant of the change, together with others that are, and one that
// is repeated is due the first time only. A longer change (a zone that moves over
// the date line) is taken as it is.
func (c *Cron) Next(after time.Time, loc *time.Location) (time.Time, bool) {
	t := after.Add(1)
	limit := after.AddDate(horizon, 0, 0)
	for t.Before(limit) {
		start, end := t.In(loc).ZoneBounds()
		if !end.IsZero() && !end.After(t) {
			// ZoneBounds takes every year that it reckons by rule for one of 365
			// days, and so ends before t on the last day of a leap year.
			end = t.Add(time.Hour)
		}
		if end.IsZero() || end.After(limit) {
			end = limit
		}
		offset := offsetAt(t, loc)
		from := local(t, offset)
		if c.fixed() && !start.IsZero() {
			before := offsetAt(start.Add(-1), loc)
			switch shift := offset - before; {
			case shift > 0 && shift <= longestShift && start.After(after):
				if _, ok := c.nextLocal(local(start, before), local(start, offset)); ok {
					return start.In(loc), true
				}
			case shift < 0 && -shift <= longestShift:
				if again := local(start, before); from.Before(again) {
					from = again
				}
			}
		}
		if due, ok := c.nextLocal(from, local(end, offset)); ok {
			return due.Add(-offset).In(loc), true
		}
		t = end
	}
	return time.Time{}, false
}

func offsetAt(t time.Time, loc *time.Location) time.Duration {
	_, seconds := t.In(loc).Zone()
	return time.Duration(seconds) * time.Second
}

// local is the wall clock at an instant, as a time in UTC, so that it can be
// reckoned with.
func local(t time.Time, offset time.Duration) time.Time { return t.UTC().Add(offset) }

// nextLocal returns the first minute that fits and is not before from and before
// to, on a wall clock that nothing changes.
func (c *Cron) nextLocal(from, to time.Time) (time.Time, bool) {
	if up := from.Truncate(time.Minute); up.Before(from) {
		from = up.Add(time.Minute)
	}
	for from.Before(to) {
		y, m, d := from.Date()
		switch {
		case c.month&(1<<m) == 0:
			from = time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC)
			continue
		case !c.day(from):
			from = time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC)
			continue
		}
		hour, minute := from.Hour(), from.Minute()
		if c.hour&(1<<hour) != 0 {
			if later := c.minute >> minute; later != 0 {
				due := time.Date(y, m, d, hour, minute+bits.TrailingZeros64(later), 0, 0, time.UTC)
				return due, due.Before(to)
			}
		}
		later := c.hour >> (hour + 1)
		if later == 0 {
			from = time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC)
			continue
		}
		from = time.Date(y, m, d, hour+1+bits.TrailingZeros64(later), 0, 0, 0, time.UTC)
	}
	return time.Time{}, false
}
