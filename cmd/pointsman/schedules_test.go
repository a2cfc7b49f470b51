package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/sqlite"
)

const scheduleRules = `
rules:
  - {name: tick, when: 'event.type == "pointsman.schedule.tick"', do: [{action: work}]}
`

// ticked lists the nominal times of a schedule's ticks in the order in which
// they were accepted, and those that were run by hand.
func (r *served) ticked(name string) (ticks []time.Time, manual int) {
	r.t.Helper()
	var events []struct {
		Event struct {
			ID   string
			Data struct{ Nominal time.Time }
		}
	}
	r.ask(&events, "events", "list", "--source", name, "--limit", "5000")
	slices.Reverse(events)
	for _, e := range events {
		if strings.HasPrefix(e.Event.ID, name+"/manual/") {
			manual++
			continue
		}
		if want := name + "/" + e.Event.Data.Nominal.Format(time.RFC3339Nano); e.Event.ID != want {
			r.t.Errorf("event %s, want %s", e.Event.ID, want)
		}
		ticks = append(ticks, e.Event.Data.Nominal)
	}
	return ticks, manual
}

// gapless fails unless each tick comes once, in order, with none left out.
func gapless(t *testing.T, name string, ticks []time.Time, least int) {
	t.Helper()
	if len(ticks) < least {
		t.Fatalf("%s: %d ticks, want %d or more", name, len(ticks), least)
	}
	for i := 1; i < len(ticks); i++ {
		if d := ticks[i].Sub(ticks[i-1]); d != time.Second {
			t.Errorf("%s: %v after %v", name, ticks[i], ticks[i-1])
		}
	}
}

// TestThreeRoutersTickOnce: routers that share a store make each tick once, in
// order, also when some are killed at the very moment.
func TestThreeRoutersTickOnce(t *testing.T) {
	t.Parallel()
	config := fmt.Sprintf(sharedConfig, redisServer(t), t.TempDir()) + `
sources:
  - {name: a, type: schedule, every: 1s, catch_up: all}
  - {name: b, type: schedule, cron: "* * * * *", timezone: Europe/Berlin}
  - {name: c, type: schedule, every: 1s, catch_up: all, jitter: 900ms}
`
	var routers []*served
	for range 3 {
		routers = append(routers, newSite(t, config, scheduleRules, succeeds).serve())
	}
	at := func(n int, after time.Duration) {
		next := time.Now().Truncate(time.Second).Add(time.Duration(n)*time.Second + after)
		<-time.After(time.Until(next))
	}
	for round := range 3 {
		victim := routers[round]
		at(2, time.Duration(round)*2*time.Millisecond)
		victim.signal(syscall.SIGKILL)
		victim.ended(5 * time.Second)
		at(2, 0)
		routers[round] = victim.serve()
	}
	for _, r := range routers { // nobody is there for a while
		r.signal(syscall.SIGTERM)
	}
	for _, r := range routers {
		if code := r.ended(10 * time.Second); code != 0 {
			t.Errorf("exit code %d\n%s", code, r.said())
		}
	}
	at(3, 0)
	r := routers[0].serve()
	r.until("caught up", func() bool {
		ticks, _ := r.ticked("a")
		return len(ticks) > 0 && time.Since(ticks[len(ticks)-1]) < 2*time.Second
	})
	n := 0
	for _, name := range []string{"a", "c"} {
		ticks, _ := r.ticked(name)
		gapless(t, name, ticks, 10)
		n += len(ticks)
	}
	if done := r.all("done", n); len(done) < n {
		t.Errorf("%d deliveries of %d ticks", len(done), n)
	}
}

// TestSchedulesOfOneRouter: reload, restart and a run by hand.
func TestSchedulesOfOneRouter(t *testing.T) {
	t.Parallel()
	const list = `
sources:
  - {name: same, type: schedule, every: 1s, catch_up: all}
  - {name: other, type: schedule, cron: "30 2 * * *", timezone: Europe/Berlin, jitter: 10m}
`
	s := newSite(t, routerConfig+list, scheduleRules, succeeds)
	r := s.serve()
	r.until("ticking", func() bool { ticks, _ := r.ticked("same"); return len(ticks) > 1 })

	// A broken file changes nothing; then one is removed, one is there anew.
	s.write("pointsman.yaml", routerConfig+list+"  - {name: bad, type: schedule, every: 1}\n")
	r.signal(syscall.SIGHUP)
	r.until("refused", func() bool { return strings.Contains(r.said(), "reload changed nothing") })
	s.write("pointsman.yaml", routerConfig+strings.Replace(list, "other", "added", 1))
	r.signal(syscall.SIGHUP)
	r.until("reloaded", func() bool { return strings.Contains(r.said(), `"reloaded"`) })
	var sources []router.SourceStatus
	r.ask(&sources, "sources", "list")
	var names []string
	for _, src := range sources {
		names = append(names, fmt.Sprint(src.Name, " ", src.Type, " ", src.State, " ", src.Restarts))
	}
	if diff := cmp.Diff([]string{"events events ok 0", "same schedule ok 0", "added schedule ok 0"}, names); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if sources[1].Accepted == 0 || sources[1].LastEvent == nil {
		t.Errorf("%+v", sources[1])
	}

	var run router.ScheduleRun
	r.ask(&run, "schedules", "run", "added")
	if !strings.HasPrefix(run.ID, "added/manual/") {
		t.Errorf("run %+v", run)
	}
	if ticks, manual := r.ticked("added"); len(ticks) != 0 || manual != 1 {
		t.Errorf("%d ticks, %d by hand", len(ticks), manual)
	}
	if code, text := s.refused("schedules", "run", "nobody", "--url", r.admin); code != exitFindings {
		t.Errorf("run of an unknown one: %d %s", code, text)
	}
	var page admin.ScheduleList
	r.get("/api/v1/schedules", &page)
	if len(page.Schedules) != 2 || page.Schedules[0].Last == nil || page.Schedules[1].Last != nil {
		t.Fatalf("%+v", page.Schedules)
	}
	if st := page.Schedules[1]; st.When != "cron 30 2 * * *" || st.Timezone != "Europe/Berlin" || st.Jitter != "10m" || len(st.Next) != 5 {
		t.Errorf("%+v", st)
	}

	before, _ := r.ticked("same")
	r.signal(syscall.SIGKILL)
	r.ended(5 * time.Second)
	<-time.After(2500 * time.Millisecond)
	r = s.serve()
	r.until("caught up", func() bool {
		ticks, _ := r.ticked("same")
		return len(ticks) > 0 && time.Since(ticks[len(ticks)-1]) < 2*time.Second
	})
	ticks, _ := r.ticked("same")
	gapless(t, "same", ticks, len(before)+2)
	r.signal(syscall.SIGTERM)
	if code := r.ended(10 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(r.said(), `"level":"ERROR"`) {
		t.Errorf("errors:\n%s", r.said())
	}
}

// TestIdleSchedules bounds what a thousand schedules cost that are not due.
func TestIdleSchedules(t *testing.T) {
	t.Parallel()
	var list strings.Builder
	list.WriteString("\nsources:\n")
	for i := range 1000 {
		fmt.Fprintf(&list, "  - {name: s%d, type: schedule, cron: \"%d %d 29 2 *\", timezone: Europe/Berlin}\n", i, i%60, i%24)
	}
	r := newSite(t, routerConfig+list.String(), scheduleRules, succeeds).serve()
	r.until("every schedule begun", func() bool {
		var page admin.ScheduleList
		return r.get("/api/v1/schedules", &page) == http.StatusOK && len(page.Schedules) == 1000
	})
	const span = 10 * time.Second
	<-time.After(3 * time.Second)
	before := usageOf(t, r.cmd.Process.Pid)
	<-time.After(span)
	after := usageOf(t, r.cmd.Process.Pid)
	share := float64(after.cpu-before.cpu) / float64(span)
	t.Logf("%d MiB resident, %.2f %% of a CPU", after.rss>>20, 100*share)
	if share > 0.03 {
		t.Errorf("%.1f %% of a CPU while nothing is due", 100*share)
	}
}

// TestBrokenSource: a source that cannot go on is named, and touches no other.
func TestBrokenSource(t *testing.T) {
	t.Parallel()
	s := newSite(t, routerConfig+`
sources:
  - {name: bad, type: schedule, every: 1s}
  - {name: fine, type: schedule, every: 1s}
`, scheduleRules, succeeds)
	s.write("pointsman-data/keep", "") // makes the folder
	db, err := sqlite.Open(sqlite.Config{Path: s.path("pointsman-data/pointsman.db")})
	if err != nil {
		t.Fatal(err)
	}
	unreadable := store.Txn{States: []store.StateWrite{{State: store.State{Key: "/source/bad/last", Version: 1, Data: []byte("x")}}}}
	if _, err := db.Commit(t.Context(), unreadable); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r := s.serve()
	want := []router.Broken{{Name: "bad", Reason: "the last tick is unreadable: invalid character 'x' looking for beginning of value"}}
	r.until("named", func() bool { return cmp.Equal(want, r.readiness().Sources) })
	if ready := r.readiness(); !ready.OK {
		t.Errorf("not ready: %+v", ready)
	}
	r.until("the other ticks", func() bool { ticks, _ := r.ticked("fine"); return len(ticks) > 1 })
	var list []router.SourceStatus
	r.ask(&list, "sources", "list")
	if list[1].State != router.SourceBroken || list[1].Restarts == 0 || list[2].State != router.SourceOK {
		t.Errorf("%+v", list)
	}
	var page admin.ScheduleList
	if code := r.get("/api/v1/schedules", &page); code != http.StatusOK || len(page.Schedules) != 2 {
		t.Errorf("schedules: %d %+v", code, page)
	}
}
