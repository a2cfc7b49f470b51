package timetable_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config/timetable"
)

func day(y int, m time.Month, d int) timetable.Date { return timetable.Date{Year: y, Month: m, Day: d} }

func TestNext(t *testing.T) {
	t.Parallel()
	berlin, err := timetable.Zone("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		spec  timetable.Spec
		after time.Time
		want  []string
	}{
		{
			"every is aligned to 1970",
			timetable.Spec{Every: 7 * 24 * time.Hour},
			time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC),
			[]string{"2026-11-26T00:00:00Z", "2026-12-03T00:00:00Z"},
		},
		{
			"every, before 1970",
			timetable.Spec{Every: time.Hour},
			time.Date(1969, 12, 31, 22, 30, 0, 0, time.UTC),
			[]string{"1969-12-31T23:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T01:00:00Z"},
		},
		{
			"every goes on through a change",
			timetable.Spec{Every: time.Hour, Timezone: "Europe/Berlin"},
			time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC),
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"},
		},
		{
			"at, in any order, and no more",
			timetable.Spec{At: []time.Time{
				time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 12, 24, 18, 0, 0, 0, berlin),
			}, Timezone: "Europe/Berlin"},
			time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
			[]string{"2026-12-24T18:00:00+01:00", "2027-01-02T04:04:05+01:00"},
		},
		{
			"except one day, a range, and days of every year",
			timetable.Spec{Cron: "0 12 * * *", Except: []timetable.Days{
				{First: day(2026, 12, 22), Last: day(2026, 12, 22)},
				{First: day(2026, 12, 28), Last: day(2026, 12, 30)},
				{First: day(0, 12, 24), Last: day(0, 12, 26)},
			}},
			time.Date(2026, 12, 20, 12, 0, 0, 0, time.UTC),
			[]string{"2026-12-21T12:00:00Z", "2026-12-23T12:00:00Z", "2026-12-27T12:00:00Z", "2026-12-31T12:00:00Z"},
		},
		{
			"days of every year over its end",
			timetable.Spec{Every: 12 * time.Hour, Except: []timetable.Days{
				{First: day(0, 12, 24), Last: day(0, 1, 2)},
			}},
			time.Date(2026, 12, 23, 0, 0, 0, 0, time.UTC),
			[]string{"2026-12-23T12:00:00Z", "2027-01-03T00:00:00Z"},
		},
		{
			"the day is that of the zone",
			timetable.Spec{Every: 6 * time.Hour, Timezone: "Asia/Tokyo", Except: []timetable.Days{
				{First: day(2026, 5, 1), Last: day(2026, 5, 1)},
			}},
			time.Date(2026, 4, 30, 6, 0, 0, 0, time.UTC),
			[]string{"2026-04-30T21:00:00+09:00", "2026-05-02T03:00:00+09:00"},
		},
		{
			"a midnight that is skipped ends an excepted day",
			timetable.Spec{Cron: "*/30 * * * *", Timezone: "Africa/Cairo", Except: []timetable.Days{
				{First: day(2026, 4, 23), Last: day(2026, 4, 23)},
			}},
			time.Date(2026, 4, 22, 21, 29, 0, 0, time.UTC),
			[]string{"2026-04-22T23:30:00+02:00", "2026-04-24T01:00:00+03:00"},
		},
		{
			"an hour repeated across midnight",
			timetable.Spec{Cron: "*/30 * * * *", Timezone: "America/Sao_Paulo", Except: []timetable.Days{
				{First: day(2019, 2, 16), Last: day(2019, 2, 16)},
			}},
			time.Date(2019, 2, 16, 1, 29, 0, 0, time.UTC),
			[]string{"2019-02-15T23:30:00-02:00", "2019-02-17T00:00:00-03:00"},
		},
		{
			"everything is excepted",
			timetable.Spec{Cron: "0 0 1 1 *", Except: []timetable.Days{{First: day(0, 1, 1), Last: day(0, 1, 1)}}},
			time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			table, err := timetable.New(tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			most := len(tt.want)
			if len(tt.spec.At) > 0 || most == 0 { // there must be no more
				most++
			}
			for at := tt.after; len(got) < most; {
				next, ok := table.Next(at)
				if !ok {
					break
				}
				got = append(got, next.Format(time.RFC3339))
				at = next
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("-want +got\n%s", diff)
			}
		})
	}
}

func TestInstant(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		zone       string
		y          int
		m          time.Month
		d, hour, n int
		want       string
	}{
		{"Europe/Berlin", 2026, 3, 29, 2, 30, "2026-03-29T03:00:00+02:00"},
		{"Europe/Berlin", 2026, 3, 29, 3, 0, "2026-03-29T03:00:00+02:00"},
		{"Europe/Berlin", 2026, 10, 25, 2, 30, "2026-10-25T02:30:00+02:00"},
		{"Europe/Berlin", 2026, 10, 25, 2, 0, "2026-10-25T02:00:00+02:00"},
		{"Europe/Berlin", 2026, 10, 25, 3, 0, "2026-10-25T03:00:00+01:00"},
		{"America/Havana", 2026, 11, 1, 0, 0, "2026-11-01T00:00:00-04:00"},
		{"UTC", 2026, 2, 30, 0, 0, "2026-03-02T00:00:00Z"},
	} {
		loc, err := timetable.Zone(tt.zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := timetable.Instant(tt.y, tt.m, tt.d, tt.hour, tt.n, 0, loc).Format(time.RFC3339); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

func TestNewProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		spec timetable.Spec
		want string
	}{
		{timetable.Spec{}, "a timetable needs cron, every of a second or more, or at"},
		{timetable.Spec{Every: time.Second, Timezone: "Europe/Atlantis"}, `unknown time zone "Europe/Atlantis" (write an IANA name like Europe/Berlin, or UTC)`},
		{timetable.Spec{Every: time.Second, Timezone: "Local"}, `unknown time zone "Local" (write an IANA name like Europe/Berlin, or UTC)`},
		{timetable.Spec{Cron: "0 0 31 2 *"}, "cron: it is never due: no such month has such a day"},
	} {
		if _, err := timetable.New(tt.spec); err == nil || err.Error() != tt.want {
			t.Errorf("%+v: %v", tt.spec, err)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, expr := range []string{"*/5 * * * *", "30 2 * * *", "0 0 29 2 *"} {
		b.Run(expr, func(b *testing.B) {
			table, err := timetable.New(timetable.Spec{Cron: expr, Timezone: "Europe/Berlin"})
			if err != nil {
				b.Fatal(err)
			}
			at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for b.Loop() {
				at, _ = table.Next(at)
			}
		})
	}
}
