package timetable_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config/timetable"
)

// next lists the next n ticks of an expression, as local time with offset.
func next(t *testing.T, expr, zone, after string, n int) []string {
	t.Helper()
	c, err := timetable.ParseCron(expr)
	if err != nil {
		t.Fatal(err)
	}
	loc, err := timetable.Zone(zone)
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339, after)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for range n {
		tick, ok := c.Next(at, loc)
		if !ok {
			break
		}
		out = append(out, tick.Format("2006-01-02 15:04 -07"))
		at = tick
	}
	return out
}

func TestCronNext(t *testing.T) {
	t.Parallel()
	const berlin = "Europe/Berlin"
	for _, tt := range []struct {
		name, expr, zone, after string
		want                    []string
	}{
		{"fixed, spring", "30 2 * * *", berlin, "2026-03-28T00:00:00Z", []string{"2026-03-28 02:30 +01", "2026-03-29 03:00 +02", "2026-03-30 02:30 +02"}},
		{"fixed, autumn", "30 2 * * *", berlin, "2026-10-24T00:00:00Z", []string{"2026-10-24 02:30 +02", "2026-10-25 02:30 +02", "2026-10-26 02:30 +01"}},
		{"two skipped are one", "0,30 2 * * *", berlin, "2026-03-28T12:00:00Z", []string{"2026-03-29 03:00 +02", "2026-03-30 02:00 +02"}},
		{"skipped beside one that is not", "0 2,3 * * *", berlin, "2026-03-28T12:00:00Z", []string{"2026-03-29 03:00 +02", "2026-03-30 02:00 +02"}},
		{"hourly, spring", "0 * * * *", berlin, "2026-03-29T00:00:00Z", []string{"2026-03-29 03:00 +02", "2026-03-29 04:00 +02"}},
		{"hourly, autumn", "0 * * * *", berlin, "2026-10-24T23:30:00Z", []string{"2026-10-25 02:00 +02", "2026-10-25 02:00 +01", "2026-10-25 03:00 +01"}},
		{"a star with a step is a star", "0 */2 * * *", berlin, "2026-10-24T23:30:00Z", []string{"2026-10-25 02:00 +02", "2026-10-25 02:00 +01", "2026-10-25 04:00 +01"}},
		{"a star minute in a skipped hour", "*/30 2 * * *", berlin, "2026-03-28T12:00:00Z", []string{"2026-03-30 02:00 +02"}},
		{"a range of hours, spring", "0 1-4 * * *", berlin, "2026-03-28T23:30:00Z", []string{"2026-03-29 01:00 +01", "2026-03-29 03:00 +02", "2026-03-29 04:00 +02"}},
		{"half an hour, spring", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"2026-10-04 02:30 +11", "2026-10-05 02:15 +11"}},
		{"midnight is skipped", "0 0 * * *", "Africa/Cairo", "2026-04-23T00:00:00Z", []string{"2026-04-24 01:00 +03", "2026-04-25 00:00 +03"}},
		{"a day is skipped", "30 2 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", []string{"2011-12-29 02:30 -10", "2011-12-31 02:30 +14"}},
		{"day of month or day of week", "0 0 13 * 5", "UTC", "2026-03-05T00:00:00Z", []string{"2026-03-06 00:00 +00", "2026-03-13 00:00 +00", "2026-03-20 00:00 +00"}},
		{"a star makes it and", "0 0 */2 * 1", "UTC", "2026-03-01T00:00:00Z", []string{"2026-03-09 00:00 +00", "2026-03-23 00:00 +00"}},
		{"names and 7", "0 12 * JAN-feb Sat,7", "UTC", "2026-12-31T00:00:00Z", []string{"2027-01-02 12:00 +00", "2027-01-03 12:00 +00", "2027-01-09 12:00 +00"}},
		{"over the end", "0 22-2/2 * * fri-sun", "UTC", "2026-11-22T21:00:00Z", []string{"2026-11-22 22:00 +00", "2026-11-27 00:00 +00", "2026-11-27 02:00 +00"}},
		{"29 February", "0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", []string{"2104-02-29 00:00 +00"}},
		{"29 February on one weekday", "0 0 29 2 */6", "UTC", "2026-01-01T00:00:00Z", []string{"2032-02-29 00:00 +00", "2048-02-29 00:00 +00"}},
		{"far ahead", "0 12 31 12 *", berlin, "2039-12-31T12:00:00Z", []string{"2040-12-31 12:00 +01", "2041-12-31 12:00 +01"}},
		{"far ahead, a change", "30 2 * 3 0", berlin, "2052-03-25T00:00:00Z", []string{"2052-03-31 03:00 +02", "2053-03-02 02:30 +01"}},
		{"shorthand", "@weekly", "UTC", "2026-11-23T00:00:00Z", []string{"2026-11-29 00:00 +00"}},
		{"strictly later", "0 0 * * *", "UTC", "2026-11-23T00:00:00Z", []string{"2026-11-24 00:00 +00"}},
		{"within a minute", "0 0 * * *", "UTC", "2026-11-22T23:59:59.5Z", []string{"2026-11-23 00:00 +00"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, next(t, tt.expr, tt.zone, tt.after, len(tt.want))); diff != "" {
				t.Fatalf("-want +got\n%s", diff)
			}
		})
	}
}

func TestCronProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		expr   string
		offset int
		msg    string
	}{
		{"", 0, "a cron expression has 5 fields (minute, hour, day of month, month, day of week), this one 0"},
		{"0 0 * * * *", 10, "a cron expression has 5 fields (minute, hour, day of month, month, day of week), this one 6"},
		{"@reboot", 0, `unknown "@reboot" (known: @hourly, @daily, @weekly, @monthly, @yearly)`},
		{"60 0 * * *", 0, "minute: 60 is out of range (0 to 59)"},
		{"0 0,24 * * *", 4, "hour: 24 is out of range (0 to 23)"},
		{"0 0 0 * *", 4, "day of month: 0 is out of range (1 to 31)"},
		{"0 0 1 13 *", 6, "month: 13 is out of range (1 to 12)"},
		{"0 0 1 * 8", 8, "day of week: 8 is out of range (0 to 7)"},
		{"0 0 * * mon-fry", 12, `day of week: "fry" is not a number or one of sun, mon, tue, wed, thu, fri, sat`},
		{"*/60 * * * *", 2, "minute: 60 is out of range (1 to 59)"},
		{"*/0 * * * *", 2, "minute: 0 is out of range (1 to 59)"},
		{"5/15 * * * *", 0, `minute "5/15" has a step without a range (write 5-59/15)`},
		{"0 0 L * *", 4, `day of month: "L" is not a number`},
		{"0 0 ? * *", 4, `day of month: "?" is not a number`},
		{"-5 0 * * *", 0, "minute: a number is missing"},
		{"1, 0 * * *", 2, "minute: a number is missing"},
		{"99999999999999999999999 0 * * *", 0, "minute: 99999999999999999999… is out of range (0 to 59)"},
		{"0 0 31 2 *", 4, "it is never due: no such month has such a day"},
		{"0 0 31 4,6,9,11 *", 4, "it is never due: no such month has such a day"},
	} {
		t.Run(tt.expr, func(t *testing.T) {
			t.Parallel()
			_, err := timetable.ParseCron(tt.expr)
			var bad *timetable.CronError
			if !errors.As(err, &bad) {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(timetable.CronError{Offset: tt.offset, Msg: tt.msg}, *bad); diff != "" {
				t.Fatalf("-want +got\n%s", diff)
			}
		})
	}
}

func TestCronLint(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]string{
		"* 0 * * *":     "it is due 60 times in each hour that fits (a minute of 0 makes it once: 0 0 * * *)",
		"0-59 3 1 * *":  "it is due 60 times in each hour that fits (a minute of 0 makes it once: 0 3 1 * *)",
		"*/1 */2 * * *": "it is due 60 times in each hour that fits (a minute of 0 makes it once: 0 */2 * * *)",
		"* * * * *":     "",
		"*/5 0 * * *":   "",
		"0 0 * * *":     "",
	} {
		c, err := timetable.ParseCron(expr)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Lint(); got != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}

// fits is the oracle's reading of a field: slow, and of its own.
func fits(field string, value, low, high int) bool {
	for _, part := range strings.Split(field, ",") {
		values, step := part, 1
		if i := strings.Index(part, "/"); i >= 0 {
			values = part[:i]
			fmt.Sscan(part[i+1:], &step)
		}
		from, to := low, high
		if values != "*" {
			if n, _ := fmt.Sscanf(values, "%d-%d", &from, &to); n == 1 {
				to = from
			}
		}
		for v := from; v <= to; v += step {
			if v == value {
				return true
			}
		}
	}
	return false
}

// oracle is an expression as it reads it.
type oracle struct {
	star, days                     bool // minute or hour, day of month or of week begins with a star
	minute, hour, dom, month, week [60]bool
}

func newOracle(expr string) *oracle {
	f := strings.Fields(expr)
	o := &oracle{star: f[0][0] == '*' || f[1][0] == '*', days: f[2][0] == '*' || f[4][0] == '*'}
	for v := range 60 {
		o.minute[v], o.hour[v], o.dom[v], o.month[v] = fits(f[0], v, 0, 59), fits(f[1], v, 0, 23), fits(f[2], v, 1, 31), fits(f[3], v, 1, 12)
		o.week[v] = fits(f[4], v, 0, 7) || v == 0 && fits(f[4], 7, 0, 7)
	}
	return o
}

// due says whether it is due at a wall clock's minute.
func (o *oracle) due(wall time.Time) bool {
	dom, week := o.dom[wall.Day()], o.week[wall.Weekday()]
	days := dom || week
	if o.days {
		days = dom && week
	}
	return o.minute[wall.Minute()] && o.hour[wall.Hour()] && o.month[wall.Month()] && days
}

// FuzzCron: what parses is due strictly later, at a minute that its fields fit,
// and at none between; only a change of local time may move it.
func FuzzCron(f *testing.F) {
	for _, expr := range []string{"30 2 * * *", "*/5 1-3 * 3,10 0", "0 0 29 2 *", "@daily", "0 22-2/2 1-7 jan fri-sun", "0 0 31 2 *"} {
		f.Add(expr, int64(1774746000), uint8(0))
		f.Add(expr, int64(1792890000), uint8(1))
	}
	zones := []string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"}
	f.Fuzz(func(t *testing.T, expr string, unix int64, zone uint8) {
		c, err := timetable.ParseCron(expr)
		if err != nil {
			var bad *timetable.CronError
			if !errors.As(err, &bad) || bad.Offset < 0 || bad.Offset > len(expr) && expr[0] != '@' || bad.Msg == "" {
				t.Fatalf("%q: %#v", expr, err)
			}
			return
		}
		loc, err := timetable.Zone(zones[int(zone)%len(zones)])
		if err != nil {
			t.Fatal(err)
		}
		after := time.Unix(unix%4e9, 0).In(loc)
		tick, ok := c.Next(after, loc)
		if !ok {
			t.Fatalf("%q is never due after %v", expr, after)
		}
		if !tick.After(after) || tick.Second() != 0 {
			t.Fatalf("%q: %v after %v", expr, tick, after)
		}
		if again, _ := c.Next(tick.Add(-1), loc); !again.Equal(tick) {
			t.Fatalf("%q: %v, but %v just before it", expr, tick, again)
		}
		fields := strings.Fields(expr)
		if len(fields) != 5 || strings.ContainsFunc(expr, func(r rune) bool { return r >= 'A' }) || strings.Contains(expr, "-") {
			return // names and ranges over the end are beyond the oracle
		}
		if start, _ := tick.ZoneBounds(); !start.Equal(tick) && !newOracle(expr).due(tick) {
			t.Fatalf("%q is not due at %v", expr, tick)
		}
	})
}
