package syslog

import (
	"strings"
	"time"
)

// stamp is a time at the beginning of a text.
type stamp struct {
	at    time.Time
	clock Clock
	// yearFirst: written as 2006 Jan _2, which NX-OS does.
	yearFirst bool
	// colon: a colon came behind, as Cisco devices write it; rest is what
	// follows it.
	colon bool
	rest  string
}

// take makes a time that of the message.
func (p *parser) take(st stamp) { p.m.Time, p.m.Clock = st.at, st.clock }

// wall is a time as it is written.
type wall struct {
	// year 0: not written.
	year, month, day, hour, minute, second, nanos int
	// zone nil: not written.
	zone *time.Location
}

// stamp reads a time in any of the forms that devices write: RFC 3339 with some
// freedom, "Jan _2 15:04:05" with the year nowhere, in the middle or behind,
// "2006 Jan _2 15:04:05", the time since the start. Marks, fractions and zones
// are optional.
func (p *parser) stamp(s string) (stamp, bool) {
	var st stamp
	if s == "" {
		return st, false
	}
	switch s[0] {
	case '*':
		st.clock, s = ClockUnset, s[1:]
	case '.':
		st.clock, s = ClockUnsynchronised, s[1:]
	}
	w, rest, ok := p.date(&st, s)
	if !ok {
		return p.uptime(s)
	}
	if w.zone == nil {
		rest = p.abbreviation(&w, rest)
	}
	st.at, ok = p.resolve(w)
	if !ok {
		st.at = time.Time{} // such as the 29th of February in no leap year
	}
	st.rest = rest
	if after, ok := strings.CutPrefix(strings.TrimLeft(rest, " "), ":"); ok {
		st.colon, st.rest = true, after
	}
	return st, true
}

// date reads date, time of day and a numeric zone.
func (p *parser) date(st *stamp, s string) (w wall, rest string, ok bool) {
	if y, n := number(s, 4); n == 4 && len(s) > 5 {
		w.year = y
		switch {
		case s[4] == ' ':
			st.yearFirst = true
			if rest, ok = monthDay(&w, s[5:]); !ok {
				return w, s, false
			}
			rest, ok = timeOfDay(&w, rest)
		case s[4] == '-' && s[5] > '9':
			rest, ok = isoDay(&w, s[5:], monthName)
		case s[4] == '-':
			rest, ok = isoDay(&w, s[5:], monthNumber)
		}
		return w, rest, ok && w.year > 0
	}
	if rest, ok = monthDay(&w, s); !ok {
		return w, s, false
	}
	if y, n := number(rest, 4); n == 4 && strings.HasPrefix(rest[4:], " ") {
		w.year, rest = y, strings.TrimLeft(rest[4:], " ")
	}
	if rest, ok = timeOfDay(&w, rest); !ok {
		return w, s, false
	}
	if w.year == 0 && w.zone == nil {
		if y, n := number(strings.TrimPrefix(rest, " "), 4); n == 4 && y >= 1990 && y < 2200 && strings.HasPrefix(rest[5:], " ") {
			w.year, rest = y, rest[5:]
		}
	}
	return w, rest, true
}

func monthNumber(s string) (month int, rest string, ok bool) {
	v, n := number(s, 2)
	return v, s[n:], v >= 1 && v <= 12
}

func monthName(s string) (month int, rest string, ok bool) {
	if len(s) < 3 {
		return 0, s, false
	}
	const names = "janfebmaraprmayjunjulaugsepoctnovdec"
	for i := 0; i < len(names); i += 3 {
		if s[0]|0x20 == names[i] && s[1]|0x20 == names[i+1] && s[2]|0x20 == names[i+2] {
			return i/3 + 1, s[3:], true
		}
	}
	return 0, s, false
}

// isoDay reads month and day with dashes and the time of day behind a T or a
// space.
func isoDay(w *wall, s string, month func(string) (int, string, bool)) (rest string, ok bool) {
	if w.month, s, ok = month(s); !ok || !strings.HasPrefix(s, "-") {
		return s, false
	}
	s = strings.TrimPrefix(s[1:], " ")
	var n int
	if w.day, n = number(s, 2); n == 0 || len(s) <= n || s[n]|0x20 != 't' && s[n] != ' ' {
		return s, false
	}
	return timeOfDay(w, s[n+1:])
}

// monthDay reads "Jan _2 ".
func monthDay(w *wall, s string) (rest string, ok bool) {
	if w.month, s, ok = monthName(s); !ok || !strings.HasPrefix(s, " ") {
		return s, false
	}
	s = strings.TrimLeft(s, " ")
	var n int
	if w.day, n = number(s, 2); n == 0 || !strings.HasPrefix(s[n:], " ") {
		return s, false
	}
	return strings.TrimLeft(s[n:], " "), true
}

// timeOfDay reads "15:04:05", a fraction and a numeric zone. VRP writes a second
// fraction behind the first; nobody says what it is. A leap second is the one
// before it.
func timeOfDay(w *wall, s string) (rest string, ok bool) {
	var n int
	if w.hour, n = number(s, 2); n == 0 || w.hour > 23 || len(s) < n+6 || s[n] != ':' || s[n+3] != ':' {
		return s, false
	}
	s = s[n+1:]
	w.minute, n = number(s, 2)
	second, m := number(s[3:], 2)
	if n != 2 || m != 2 || w.minute > 59 || second > 60 {
		return s, false
	}
	w.second = min(second, 59)
	s = s[5:]
	if len(s) > 1 && (s[0] == '.' || s[0] == ',') {
		v, n := number(s[1:], 9)
		if n > 0 {
			for range 9 - n {
				v *= 10
			}
			w.nanos, s = v, strings.TrimLeft(s[1:], "0123456789")
		}
	}
	if len(s) > 1 && s[0] == '.' {
		if _, n := number(s[1:], 9); n > 0 {
			s = s[1+n:]
		}
	}
	return offset(w, s), true
}

// offset reads Z, +01:00 or +0100.
func offset(w *wall, s string) (rest string) {
	if s == "" {
		return s
	}
	switch s[0] {
	case 'Z', 'z':
		if len(s) == 1 || s[1] == ' ' || s[1] == ':' {
			w.zone = time.UTC
			return s[1:]
		}
		return s
	case '+', '-':
	default:
		return s
	}
	h, n := number(s[1:], 2)
	after := strings.TrimPrefix(s[1+n:], ":")
	m, k := number(after, 2)
	if n != 2 || k != 2 || h > 23 || m > 59 {
		return s
	}
	seconds := h*3600 + m*60
	if s[0] == '-' {
		seconds = -seconds
	}
	w.zone = time.UTC
	if seconds != 0 {
		w.zone = time.FixedZone("", seconds)
	}
	return after[k:]
}

// abbreviation reads the name of a zone, which only Cisco devices write, with a
// colon behind it. Names mean different things in different countries, so the
// configured zone is asked first. One that nobody knows counts as the configured
// zone when a mnemonic follows, and else as a tag.
func (p *parser) abbreviation(w *wall, s string) (rest string) {
	name := strings.TrimLeft(s, " ")
	n := 0
	for n < len(name) && n < 6 && 'A' <= name[n] && name[n] <= 'Z' {
		n++
	}
	after := strings.TrimLeft(name[n:], " ")
	if n < 2 || n > 5 || !strings.HasPrefix(after, ":") {
		return s
	}
	name = name[:n]
	own := *w
	own.zone = p.zone
	if t, ok := p.resolve(own); ok {
		// Within half a year either name of the zone is in use.
		for _, at := range [...]time.Time{t, t.AddDate(0, 6, 0)} {
			if have, seconds := at.Zone(); have == name {
				w.zone = time.FixedZone(name, seconds)
				return after
			}
		}
	}
	if seconds, ok := zoneOffset(name); ok {
		w.zone = time.FixedZone(name, seconds)
		return after
	}
	if strings.HasPrefix(strings.TrimLeft(after[1:], " "), "%") {
		return after
	}
	return s
}

// zoneOffset knows the zone names that devices are configured with, in seconds
// east of UTC. Those with several meanings have the one that Cisco's own
// examples use.
func zoneOffset(name string) (seconds int, ok bool) {
	const hour = 3600
	switch name {
	case "UTC", "GMT", "WET":
		return 0, true
	case "BST", "WEST", "CET", "MET":
		return hour, true
	case "CEST", "MEST", "EET", "SAST":
		return 2 * hour, true
	case "EEST", "MSK":
		return 3 * hour, true
	case "IST":
		return 5*hour + hour/2, true
	case "SGT", "HKT", "AWST":
		return 8 * hour, true
	case "JST", "KST":
		return 9 * hour, true
	case "AEST":
		return 10 * hour, true
	case "AEDT":
		return 11 * hour, true
	case "NZST":
		return 12 * hour, true
	case "NZDT":
		return 13 * hour, true
	case "BRT":
		return -3 * hour, true
	case "EDT":
		return -4 * hour, true
	case "EST", "CDT":
		return -5 * hour, true
	case "CST", "MDT":
		return -6 * hour, true
	case "MST", "PDT":
		return -7 * hour, true
	case "PST", "AKDT":
		return -8 * hour, true
	case "AKST":
		return -9 * hour, true
	case "HST":
		return -10 * hour, true
	}
	return 0, false
}

// resolve makes a time of what is written. Without a year it is the one that is
// nearest to now; so is it within the hour that a zone has twice.
func (p *parser) resolve(w wall) (time.Time, bool) {
	zone := w.zone
	if zone == nil {
		zone = p.zone
	}
	if w.year != 0 {
		return p.onDay(w, w.year, zone)
	}
	year := p.now.In(zone).Year()
	best, ok := p.onDay(w, year, zone)
	if ok && best.Sub(p.now).Abs() < 182*24*time.Hour {
		return best, true
	}
	for _, y := range [...]int{year - 1, year + 1} {
		t, valid := p.onDay(w, y, zone)
		if valid && (!ok || t.Sub(p.now).Abs() < best.Sub(p.now).Abs()) {
			best, ok = t, true
		}
	}
	return best, ok
}

func (p *parser) onDay(w wall, year int, zone *time.Location) (time.Time, bool) {
	t := time.Date(year, time.Month(w.month), w.day, w.hour, w.minute, w.second, w.nanos, zone)
	if t.Day() != w.day || w.zone != nil || zone == time.UTC {
		return t, t.Day() == w.day
	}
	for _, d := range [...]time.Duration{-time.Hour, time.Hour} {
		if other := t.Add(d); other.Hour() == t.Hour() && other.Sub(p.now).Abs() < t.Sub(p.now).Abs() {
			t = other
		}
	}
	return t, true
}

// uptime reads how long a device has been up: 00:00:46, 3d04h, 1w2d, 1y12w,
// with a colon behind it. It is not a time.
func (p *parser) uptime(s string) (stamp, bool) {
	_, n := number(s, 4)
	if n == 0 || n == len(s) {
		return stamp{}, false
	}
	var w wall
	rest, ok := timeOfDay(&w, s)
	if !ok {
		second := strings.IndexByte("ywd", s[n])
		if second < 0 {
			return stamp{}, false
		}
		_, m := number(s[n+1:], 2)
		if end := n + 1 + m; m == 0 || end >= len(s) || s[end] != "wdh"[second] {
			return stamp{}, false
		}
		rest = s[n+1+m+1:]
	}
	rest, ok = strings.CutPrefix(rest, ":")
	return stamp{clock: ClockUptime, colon: true, rest: rest}, ok
}
