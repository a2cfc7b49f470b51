package timetable_test

import (
	"archive/zip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config/timetable"
)

// change is one change of local time.
type change struct {
	zone string
	at   time.Time
	loc  *time.Location
}

// changes lists all changes of all zones from 2000 to 2037. Without all, only
// one of each kind (offsets before and after, time of day).
func changes(t *testing.T, all bool) []change {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	r, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib/time/zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	type kind struct{ before, after, second int }
	seen := make(map[kind]bool)
	var out []change
	for _, f := range r.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		loc, err := time.LoadLocation(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		begin, end := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2038, 1, 1, 0, 0, 0, 0, time.UTC)
		for at := begin; ; {
			_, next := at.In(loc).ZoneBounds()
			if next.IsZero() || next.After(end) {
				break
			}
			at = next
			_, before := at.Add(-time.Second).In(loc).Zone()
			_, after := at.In(loc).Zone()
			k := kind{before, after, at.In(loc).Hour()*3600 + at.In(loc).Minute()*60 + at.In(loc).Second()}
			if all || before != after && !seen[k] {
				seen[k] = true
				out = append(out, change{f.Name, at, loc})
			}
		}
	}
	return out
}

// isc goes over the minutes from one instant to another as ISC cron's main loop
// does: virtual is the local minute up to which jobs with fixed times have run.
func isc(o *oracle, loc *time.Location, from, to time.Time) []string {
	wall := func(minute int64) time.Time { return time.Unix(minute*60, 0).UTC() }
	localMinute := func(t time.Time) int64 {
		_, offset := t.In(loc).Zone()
		return (t.Unix() + int64(offset)) / 60
	}
	virtual := localMinute(from)
	var out []string
	for at := from.Add(time.Minute); !at.After(to); at = at.Add(time.Minute) {
		now := localMinute(at)
		ran := false
		switch diff := now - virtual; {
		case diff == 1 || diff > 181 || diff < -180: // as ever, or a clock that was set
			virtual = now
			ran = o.due(wall(now))
		case diff > 1: // local time went forward
			if o.star {
				ran = o.due(wall(now))
			}
			for virtual < now {
				virtual++
				ran = ran || !o.star && o.due(wall(virtual))
			}
		default: // local time went back
			ran = o.star && o.due(wall(now))
		}
		if ran {
			out = append(out, at.UTC().Format(time.RFC3339))
		}
	}
	return out
}

func ticks(t *testing.T, expr string, loc *time.Location, from, to time.Time) []string {
	t.Helper()
	c, err := timetable.ParseCron(expr)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for at := from; ; {
		next, ok := c.Next(at, loc)
		if !ok || next.After(to) {
			return out
		}
		at = next
		out = append(out, next.UTC().Format(time.RFC3339))
	}
}

// TestEveryChange compares with the oracle around changes of local time.
// POINTSMAN_ALL_ZONES=1 takes every change of every zone, which takes minutes.
func TestEveryChange(t *testing.T) {
	t.Parallel()
	exprs := []string{
		"0 * * * *", "*/15 * * * *", "30 2 * * *", "0 0 * * *", "0,30 0-4 * * *", "*/20 1-3 * * *", "0 */3 * * *",
		"7 1 * * *", "15 23 * * *", "45 0,1,2,3,12 1-31/2 * *", "59 2 * * 0", "0 3 * 3,4,9,10,11 *",
	}
	var oracles []*oracle
	for _, expr := range exprs {
		oracles = append(oracles, newOracle(expr))
	}
	list := changes(t, os.Getenv("POINTSMAN_ALL_ZONES") != "")
	if len(list) < 150 {
		t.Fatalf("only %d changes of local time found", len(list))
	}
	t.Logf("%d changes of local time", len(list))
	work := make(chan change)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for c := range work {
				from, to := c.at.Add(-26*time.Hour).Truncate(time.Minute), c.at.Add(26*time.Hour).Truncate(time.Minute)
				for i, expr := range exprs {
					want, got := isc(oracles[i], c.loc, from, to), ticks(t, expr, c.loc, from, to)
					if !slices.Equal(want, got) {
						t.Errorf("%s in %s around %s (-want +got):\n%s", expr, c.zone, c.at, cmp.Diff(want, got))
					}
				}
			}
		})
	}
	for _, c := range list {
		work <- c
	}
	close(work)
	workers.Wait()
}
