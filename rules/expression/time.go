package expression

import (
	"archive/zip"
	_ "embed" // the zones
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// zones is lib/time/zoneinfo.zip of Go 1.26: the time zone database of IANA,
// which is in the public domain. It is used instead of the machine's own, which
// time.LoadLocation prefers, so that a rule means the same on every machine and
// in a year.
//
//go:embed zoneinfo.zip
var zones string

// timeFunction finds the functions of times. nil gives nil.
func timeFunction(name string) (function, bool) {
	switch name {
	case "unixTime":
		return function{min: 1, max: 1, run: func(_ *State, a []any) (any, error) {
			t, ok, err := instant(a[0])
			if !ok || err != nil {
				return nil, err
			}
			return seconds(t.Unix(), t.Nanosecond()), nil
		}}, true
	case "secondsBetween":
		return function{min: 2, max: 2, run: secondsBetween}, true
	case "duration":
		return function{min: 1, max: 1, bind: bindDuration}, true
	case "timeOfDay":
		return inZone("timeOfDay", func(t time.Time) string { return t.Format("15:04") })
	case "weekday":
		return inZone("weekday", func(t time.Time) string { return t.Format("Mon") })
	case "between":
		return function{min: 3, max: 3, bind: bindBetween}, true
	}
	return function{}, false
}

// instant is the time that v stands for: RFC 3339 text, or seconds since 1970.
// ok is false for nil. The fraction of a float is read to the microsecond.
func instant(v any) (t time.Time, ok bool, err error) {
	switch v := v.(type) {
	case nil:
		return t, false, nil
	case string:
		if t, err = time.Parse(time.RFC3339Nano, v); err != nil {
			return t, false, errors.New("the text is not a time (it is written like 2026-03-06T15:11:23Z, RFC 3339)")
		}
		return t, true, nil
	case int64:
		t = time.Unix(v, 0)
		if v < minUnix || v > maxUnix {
			return t, false, errors.New("the number is not a time between the years 0 and 9999 (it counts seconds since 1970)")
		}
		return t, true, nil
	case float64:
		if v < minUnix || v >= maxUnix+1 {
			return t, false, errors.New("the number is not a time between the years 0 and 9999 (it counts seconds since 1970)")
		}
		whole := math.Floor(v)
		return time.Unix(int64(whole), int64(math.Round((v-whole)*1e6))*1000), true, nil
	}
	return t, false, fmt.Errorf("it takes a time as text or as seconds since 1970, not %s", aType(v))
}

// minUnix and maxUnix are what RFC 3339 can write: the years 0000 to 9999.
const (
	minUnix = -62167219200
	maxUnix = 253402300799
)

// seconds is an integer when there is no fraction.
func seconds(whole int64, nanos int) any {
	switch {
	case nanos == 0:
		return whole
	case -9e6 < whole && whole < 9e6: // a float holds the nanoseconds, so it is rounded once
		return float64(whole*1e9+int64(nanos)) / 1e9
	}
	return float64(whole) + float64(nanos)/1e9
}

func secondsBetween(_ *State, a []any) (any, error) {
	from, ok1, err := instant(a[0])
	if err != nil {
		return nil, err
	}
	to, ok2, err := instant(a[1])
	if err != nil || !ok1 || !ok2 {
		return nil, err
	}
	// time.Duration would end after 292 years.
	return seconds(to.Unix()-from.Unix(), to.Nanosecond()-from.Nanosecond()), nil
}

// bindDuration refuses a written duration that is none.
func bindDuration(u *unit, n *ast.BuiltinNode) (builtin, error) {
	if v, ok := literal(n.Arguments[0]); ok {
		if _, err := parseDuration(v); err != nil {
			return nil, u.fail(n.Arguments[0], "duration: %s", err)
		}
	}
	return func(s *State, a []any) (any, error) {
		if err := s.spend(40 + 2*min(size(a[0]), longDuration)); err != nil {
			return nil, err
		}
		return parseDuration(a[0])
	}, nil
}

// longDuration is the longest text that is read as a duration, in bytes.
const longDuration = 64

func parseDuration(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		if len(v) > longDuration {
			return nil, fmt.Errorf("the text is not a duration (it has more than %d bytes)", longDuration)
		}
		d, err := strictyaml.ParseDuration(v)
		if err != nil {
			return nil, errors.New("the text is not a duration (it is written like 30s, 10m, 1h30m or 7d)")
		}
		return seconds(int64(d/time.Second), int(d%time.Second)), nil
	}
	return nil, fmt.Errorf("it takes a string, not %s", aType(v))
}

// inZone makes a function of a time and of a zone that is written out.
func inZone(name string, show func(t time.Time) string) (function, bool) {
	bind := func(u *unit, n *ast.BuiltinNode) (builtin, error) {
		zone, ok := n.Arguments[1].(*ast.StringNode)
		if !ok {
			return nil, u.fail(n.Arguments[1], `the zone of %s must be written out, such as "Europe/Amsterdam" or "UTC"`, name)
		}
		in, err := location(zone.Value)
		if err != nil {
			return nil, u.fail(n.Arguments[1], "%s", err)
		}
		return func(_ *State, a []any) (any, error) {
			t, ok, err := instant(a[0])
			if !ok || err != nil {
				return nil, err
			}
			return show(t.In(in)), nil
		}, nil
	}
	return function{min: 2, max: 2, bind: bind}, true
}

// location reads a zone of the embedded database.
func location(name string) (*time.Location, error) {
	files, err := zip.NewReader(strings.NewReader(zones), int64(len(zones)))
	if err != nil {
		return nil, fmt.Errorf("time zones: %w", err)
	}
	var names []string
	for _, f := range files.File {
		if f.Name != name || f.FileInfo().IsDir() {
			names = append(names, f.Name)
			continue
		}
		data, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("time zone %s: %w", name, err)
		}
		text, err := io.ReadAll(data)
		if err != nil {
			return nil, fmt.Errorf("time zone %s: %w", name, err)
		}
		return time.LoadLocationFromTZData(name, text)
	}
	return nil, fmt.Errorf("unknown time zone %q%s", name, didYouMean(name, names))
}

// didYouMean is the nearest of many names, when there is one.
func didYouMean(name string, names []string) string {
	if hint := strictyaml.Suggest(name, names); strings.HasPrefix(hint, "did you mean") {
		return " (" + hint + ")"
	}
	return ` (write it as in the IANA database: "Europe/Amsterdam", "America/New_York", "UTC")`
}

// shortHour is a time of day whose hour has one digit, which sorts wrong.
var shortHour = regexp.MustCompile(`^[0-9]:[0-9]`)

// bindBetween compiles a test of a range that may go over midnight. Its ends
// are seldom computed, and a wrong one would be silent.
func bindBetween(u *unit, n *ast.BuiltinNode) (builtin, error) {
	from, isConst := literal(n.Arguments[1])
	to, isConst2 := literal(n.Arguments[2])
	for _, end := range n.Arguments[1:] {
		if str, ok := end.(*ast.StringNode); ok && shortHour.MatchString(str.Value) {
			return nil, u.fail(end, `a time of day has two digits for the hour (write "0%s")`, str.Value)
		}
	}
	if isConst && isConst2 {
		c, ok := compare(from, to)
		switch {
		case !ok:
			return nil, u.fail(n.Arguments[2], "between takes two numbers or two strings as ends, not %s and %s", TypeName(from), TypeName(to))
		case c == 0:
			return nil, u.fail(n.Arguments[2], "nothing is between two ends that are the same (the second is not in the range)")
		}
	}
	return between, nil
}

// between tells whether from <= x < to or, when from > to, whether x is in the
// range that goes over the end: from <= x or x < to.
func between(s *State, a []any) (any, error) {
	for _, v := range a {
		if err := s.scan(size(v), 32); err != nil {
			return nil, err
		}
	}
	low, ok1 := compare(a[1], a[0])
	high, ok2 := compare(a[0], a[2])
	ends, ok3 := compare(a[1], a[2])
	if !ok1 || !ok2 || !ok3 {
		return false, nil
	}
	if ends > 0 {
		return low <= 0 || high < 0, nil
	}
	return low <= 0 && high < 0, nil
}
