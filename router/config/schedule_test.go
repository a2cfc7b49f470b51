package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/config/timetable"
)

func TestSchedule(t *testing.T) {
	t.Parallel()
	c := load(t, `
sources:
  - {name: a, type: schedule, cron: "30 2 * * *", timezone: Europe/Berlin, catch_up: last, jitter: 5m}
  - {name: b, type: schedule, every: "${env:WAIT}"}
  - name: c
    type: schedule
    timezone: Europe/Berlin
    at: [2026-12-24 18:00, "2027-03-28 02:30:00", 2026-12-24T18:00:00Z]
    except: [2026-12-24, 12-24..01-02, "2026-05-01..2026-05-03"]
    catch_up: all
  - {name: d, type: schedule, at: 2027-01-01T00:00}
`)
	day := func(y int, m time.Month, d int) timetable.Date { return timetable.Date{Year: y, Month: m, Day: d} }
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	want := []*config.Schedule{
		{Times: timetable.Spec{Cron: "30 2 * * *", Timezone: "Europe/Berlin"}, Jitter: 5 * time.Minute, CatchUp: "last"},
		{Times: timetable.Spec{Every: 45 * time.Second}, CatchUp: "none"},
		{CatchUp: "all", Times: timetable.Spec{
			Timezone: "Europe/Berlin", At: []time.Time{at("2026-12-24T17:00:00Z"), at("2027-03-28T01:00:00Z"), at("2026-12-24T18:00:00Z")},
			Except: []timetable.Days{
				{First: day(2026, 12, 24), Last: day(2026, 12, 24)},
				{First: day(0, 12, 24), Last: day(0, 1, 2)},
				{First: day(2026, 5, 1), Last: day(2026, 5, 3)},
			},
		}},
		{Times: timetable.Spec{At: []time.Time{at("2027-01-01T00:00:00Z")}}, CatchUp: "none"},
	}
	var got []*config.Schedule
	for _, s := range c.Sources {
		if !s.Monitor() || s.Dedup != 24*time.Hour {
			t.Errorf("%+v", s)
		}
		got = append(got, s.Schedule)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("-want +got\n%s", diff)
	}
}

func TestScheduleProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, keys, want string }{
		{"none of them", "jitter: 1s", "2:5: one of cron, every and at is missing"},
		{"two of them", "every: 1m, cron: '0 0 * * *'", "2:31: cron and every exclude each other (two sources make two schedules)"},
		{"auth", "every: 1m, auth: none", `2:42: unknown key "auth" (known: name, type, cron, every, at, timezone, except, jitter, catch_up)`},
		{"a field", "cron: '0 25 * * *'", "2:40: hour: 25 is out of range (0 to 23)"},
		{"never", "cron: '0 0 31 2 *'", "2:42: it is never due: no such month has such a day"},
		{"a name", "cron: '@often'", `2:37: unknown "@often" (known: @hourly, @daily, @weekly, @monthly, @yearly)`},
		{"too often", "every: 100ms", "2:38: 100ms is out of range (1s to 366d)"},
		{"jitter", "every: 1m, jitter: 1m", "2:50: jitter must be shorter than the period (1m)"},
		{"zone", "every: 1m, timezone: Local", `2:52: unknown time zone "Local" (write an IANA name like Europe/Berlin, or UTC)`},
		{"catch_up", "every: 1m, catch_up: first", `2:52: unknown value "first" (known: none, last, all)`},
		{"instant", "at: [tomorrow]", `2:36: "tomorrow" is not an instant (write it like 2026-12-24 18:00, in the schedule's timezone, or 2026-12-24T18:00:00+01:00)`},
		{"no instant", "at: []", "2:35: want 1 to 10000 instants, not 0"},
		{"day", "every: 1m, except: [02-30]", `2:51: there is no day "02-30"`},
		{"range", "every: 1m, except: [2026-12-24..12-26]", `2:51: "2026-12-24..12-26" has one day with a year and one without`},
		{"range backwards", "every: 1m, except: [2026-12-24..2026-12-23]", `2:51: "2026-12-24..2026-12-23" ends before it begins`},
		{"not a day", "every: 1m, except: [christmas]", `2:51: "christmas" is not a day (write 2026-12-24, 12-24 for every year, or a range like 2026-12-24..2027-01-02)`},
		{"all excepted", "cron: '0 0 1 1 *', except: [01-01]", "2:50: the schedule is never due: every tick is on a day of except"},
		{"all instants excepted", "at: 2026-12-24 10:00, except: [2026-12-24]", "2:53: the schedule is never due: every tick is on a day of except"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "sources:\n  - {name: a, type: schedule, "+tt.keys+"}\n")
			_, err := config.Load(path, options())
			if err == nil {
				t.Fatal("no error")
			}
			got, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), path+":"), "\n")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("-want +got\n%s", diff)
			}
		})
	}
}

func TestScheduleWarning(t *testing.T) {
	t.Parallel()
	c := load(t, "sources:\n  - {name: a, type: schedule, cron: '* 0 * * *'}\n")
	const want = "it is due 60 times in each hour that fits (a minute of 0 makes it once: 0 0 * * *)"
	if len(c.Warnings) != 1 || c.Warnings[0].Msg != want || c.Warnings[0].Line != 2 {
		t.Fatalf("%v", c.Warnings)
	}
}
