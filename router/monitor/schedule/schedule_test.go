package schedule_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/config/timetable"
	"github.com/pointsman/pointsman/router/monitor/schedule"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/sqlite"
	"github.com/pointsman/pointsman/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// idle is a Runner without work.
type idle struct{}

func (idle) Run(context.Context, string, *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	return nil, errors.New("no action is configured")
}
func (idle) Validate(string, json.RawMessage) error { return nil }
func (idle) Close(context.Context)                  {}

// moody is a store that can be away.
type moody struct {
	store.Full
	away atomic.Bool
	// lost makes writes happen whose answer does not come.
	lost atomic.Bool
}

func (m *moody) Commit(ctx context.Context, txns ...store.Txn) ([]store.Result, error) {
	if m.away.Load() {
		return nil, store.ErrUnavailable
	}
	out, err := m.Full.Commit(ctx, txns...)
	if m.lost.Swap(false) && err == nil {
		return nil, store.ErrUnavailable
	}
	return out, err
}

// bench is a router on a real store, in a bubble whose clock begins at
// 2000-01-01T00:00:00Z.
type bench struct {
	t      *testing.T
	path   string
	db     *moody
	r      *router.Router
	end    func()       // stops the router
	offset atomic.Int64 // of the clock that schedules see
}

func inBubble(t *testing.T, f func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, path: filepath.Join(t.TempDir(), "store.db")}
		b.start()
		f(t, b)
	})
}

func (b *bench) start() {
	b.t.Helper()
	db, err := sqlite.Open(sqlite.Config{Path: b.path})
	if err != nil {
		b.t.Fatal(err)
	}
	b.db = &moody{Full: db}
	rs, err := rules.LoadFiles(nil, rules.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	setup := router.Setup{Rules: rs}
	if setup.Revision, err = router.NewRevision(rs, nil, nil, time.Now()); err != nil {
		b.t.Fatal(err)
	}
	b.r, err = router.New(router.Config{
		Store: b.db, Runner: idle{}, Setup: setup, Instance: store.Instance{ID: "one"}, Log: slog.New(slog.DiscardHandler),
		Retention: store.Policy{Events: 1000 * 24 * time.Hour},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.r.Run(ctx) }()
	b.end = sync.OnceFunc(func() {
		cancel()
		<-done
		if err := db.Close(); err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(b.end)
	<-b.r.Started()
}

func (b *bench) source(s config.Schedule) *schedule.Source {
	b.t.Helper()
	if s.CatchUp == "" {
		s.CatchUp = config.CatchUpNone
	}
	src, err := schedule.New(schedule.Config{
		Name: "nightly", Schedule: &s, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Now().Add(time.Duration(b.offset.Load())) },
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return src
}

// run runs a schedule until the returned function is called.
func (b *bench) run(s config.Schedule) (stop func()) {
	b.t.Helper()
	src := b.source(s)
	accept, state := b.r.Feed(router.Origin{Source: "nightly", Dedup: 24 * time.Hour})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx, accept, state) }()
	synctest.Wait()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("run: %v", err)
		}
	})
	b.t.Cleanup(stop)
	return stop
}

// ticks lists what was accepted, oldest first, as "id late missed".
func (b *bench) ticks() []string {
	b.t.Helper()
	evs, err := b.db.Events(context.Background(), store.EventQuery{})
	if err != nil {
		b.t.Fatal(err)
	}
	slices.Reverse(evs)
	var out []string
	for _, ev := range evs {
		var e struct {
			Data struct {
				Late   float64
				Missed int
			}
		}
		if err := json.Unmarshal(ev.JSON, &e); err != nil {
			b.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %gs %d", strings.TrimPrefix(ev.ID, "nightly/2000-"), e.Data.Late, e.Data.Missed))
	}
	return out
}

func (b *bench) want(want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.ticks()); diff != "" {
		b.t.Fatalf("-want +got\n%s", diff)
	}
}

// pass lets time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func every(d time.Duration) config.Schedule {
	return config.Schedule{Times: timetable.Spec{Every: d}}
}

func TestTicks(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		pass(90 * time.Second)
		stop := b.run(config.Schedule{Times: timetable.Spec{Cron: "30 2 * * *", Timezone: "Europe/Berlin"}})
		defer stop()
		pass(48 * time.Hour)
		b.want("01-01T01:30:00Z 0s 0", "01-02T01:30:00Z 0s 0")
		evs, err := b.db.Events(t.Context(), store.EventQuery{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		const want = `{"specversion":"1.0","id":"nightly/2000-01-02T01:30:00Z","source":"pointsman:/schedules/nightly",` +
			`"type":"pointsman.schedule.tick","subject":"nightly","time":"2000-01-02T01:30:00Z","datacontenttype":"application/json",` +
			`"data":{"nominal":"2000-01-02T01:30:00Z","scheduled":"2000-01-02T02:30:00+01:00","timezone":"Europe/Berlin",` +
			`"late":0,"missed":0,"manual":false}}`
		if diff := cmp.Diff(canonical(t, want), canonical(t, string(evs[0].JSON))); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
	})
}

func canonical(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// After a router was away, each policy makes its own of what was missed, and a
// first start owes nothing.
func TestCatchUp(t *testing.T) {
	for _, tt := range []struct {
		catchUp string
		back    time.Duration // when it is back, from 02:00 on, the last tick before
		want    []string
	}{
		{config.CatchUpNone, 30 * time.Second, nil},
		{config.CatchUpNone, time.Hour + 30*time.Second, []string{"01-01T03:00:00Z 30s 0"}},
		{config.CatchUpNone, time.Hour + time.Minute, []string{"01-01T03:00:00Z 60s 0"}},
		{config.CatchUpNone, time.Hour + 61*time.Second, []string{"01-01T04:00:00Z 0s 1"}},
		{config.CatchUpNone, 5*time.Hour + 30*time.Minute, []string{"01-01T08:00:00Z 0s 5"}},
		{config.CatchUpLast, time.Hour - 10*time.Second, nil},
		{config.CatchUpLast, time.Hour + 30*time.Minute, []string{"01-01T03:00:00Z 1800s 0"}},
		{config.CatchUpLast, 5*time.Hour + 30*time.Minute, []string{"01-01T07:00:00Z 1800s 4"}},
		{config.CatchUpAll, 3*time.Hour + 30*time.Minute, []string{"01-01T03:00:00Z 9000s 0", "01-01T04:00:00Z 5400s 0", "01-01T05:00:00Z 1800s 0"}},
	} {
		t.Run(fmt.Sprint(tt.catchUp, " ", tt.back), func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bench) {
				s := every(time.Hour)
				s.CatchUp = tt.catchUp
				pass(90 * time.Minute) // the tick of 01:00 is not owed
				stop := b.run(s)
				pass(30*time.Minute + time.Millisecond)
				stop()
				b.end()
				pass(tt.back - time.Millisecond)
				b.start()
				stop = b.run(s)
				pass(time.Second)
				late := len(b.ticks()) - 1
				if len(tt.want) > 0 && strings.Contains(tt.want[0], " 0s ") {
					pass(time.Hour)
					late++
				}
				stop()
				b.want(append([]string{"01-01T02:00:00Z 0s 0"}, tt.want...)...)
				if late > len(tt.want) {
					b.t.Fatalf("%d ticks at once", late)
				}
			})
		})
	}
}

func TestCatchUpAllIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		s := every(time.Minute)
		s.CatchUp = config.CatchUpAll
		stop := b.run(s)
		pass(time.Minute)
		stop()
		pass(1500 * time.Minute)
		stop = b.run(s)
		stop()
		got := b.ticks()
		// A page of the store is 1000 events.
		if len(got) != 1000 || got[999] != "01-02T01:01:00Z 0s 0" || got[0] != "01-01T08:22:00Z 59940s 500" {
			t.Fatalf("%d ticks from %s to %s", len(got), got[0], got[len(got)-1])
		}
	})
}

// A timetable that was changed owes nothing of what it did not have.
func TestChangedTimetable(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		s := every(time.Hour)
		s.CatchUp = config.CatchUpAll
		stop := b.run(s)
		pass(time.Hour)
		stop()
		pass(10 * time.Minute)
		s.Times.Every = time.Minute
		stop = b.run(s)
		pass(time.Minute)
		stop()
		b.want("01-01T01:00:00Z 0s 0", "01-01T01:11:00Z 0s 0")
	})
}

func TestClockJumps(t *testing.T) {
	for _, tt := range []struct {
		name    string
		jump    time.Duration
		catchUp string
		after   time.Duration
		want    []string
	}{
		{"forward, none", 6*time.Hour + 10*time.Minute, config.CatchUpNone, time.Hour, []string{"01-01T08:00:00Z 0s 6"}},
		{"forward, last", 6*time.Hour + 10*time.Minute, config.CatchUpLast, 30 * time.Second, []string{"01-01T07:00:00Z 630s 5"}},
		{"back a little", -30 * time.Minute, config.CatchUpAll, 89 * time.Minute, nil},
		{"back a little, later", -30 * time.Minute, config.CatchUpAll, 91 * time.Minute, []string{"01-01T02:00:00Z 0s 0"}},
		{"back far", -48 * time.Hour, config.CatchUpAll, time.Hour, []string{"nightly/1999-12-30T02:00:00Z 0s 0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bench) {
				s := every(time.Hour)
				s.CatchUp = tt.catchUp
				stop := b.run(s)
				defer stop()
				pass(time.Hour)
				b.offset.Store(int64(tt.jump))
				pass(tt.after)
				b.want(append([]string{"01-01T01:00:00Z 0s 0"}, tt.want...)...)
			})
		})
	}
}

// Set back by more than three hours it ticks at times that it knows: the ids are
// remembered, and it goes on.
func TestClockBackOverKnownTicks(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		stop := b.run(every(time.Hour))
		defer stop()
		pass(5 * time.Hour)
		b.offset.Store(int64(-4 * time.Hour))
		pass(5 * time.Hour)
		if got := len(b.ticks()); got != 6 {
			t.Fatalf("ticks %q", b.ticks())
		}
	})
}

// A tick that was not accepted is tried until it is, however late that makes it;
// what was due meanwhile is the policy's.
func TestStoreAway(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		stop := b.run(every(time.Hour))
		defer stop()
		pass(59 * time.Minute)
		b.db.away.Store(true)
		pass(3 * time.Hour)
		b.db.away.Store(false)
		pass(time.Minute + 10*time.Second)
		if diff := cmp.Diff([]string{"01-01T01:00:00Z"}, firstWords(b.ticks()[:1])); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
		pass(time.Hour)
		b.db.lost.Store(true) // written, but nobody was told
		pass(time.Hour)
		if diff := cmp.Diff([]string{"01-01T01:00:00Z", "01-01T04:00:00Z", "01-01T05:00:00Z", "01-01T06:00:00Z"}, firstWords(b.ticks())); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
	})
}

func firstWords(list []string) []string {
	var out []string
	for _, s := range list {
		first, _, _ := strings.Cut(s, " ")
		out = append(out, first)
	}
	return out
}

// Several of the same schedule tick once, in order.
func TestReplicas(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		var stops []func()
		for range 3 {
			stops = append(stops, b.run(every(time.Second)))
		}
		pass(10 * time.Second)
		stops[1]()
		pass(10 * time.Second)
		stops[0]()
		stops[2]()
		var want []string
		for i := 1; i <= 20; i++ {
			want = append(want, fmt.Sprintf("01-01T00:00:%02dZ 0s 0", i))
		}
		b.want(want...)
	})
}

func TestJitter(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		s := config.Schedule{Times: timetable.Spec{Cron: "*/10 * * * *"}, Jitter: time.Hour}
		stop := b.run(s)
		defer stop()
		// Longer than the period, it is cut to it: in order, and none is late.
		pass(2*time.Hour + 9*time.Minute + 59*time.Second)
		var nominal []string
		different := make(map[time.Duration]bool)
		evs, err := b.db.Events(t.Context(), store.EventQuery{})
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(evs)
		for _, ev := range evs {
			at, err := time.Parse(time.RFC3339, strings.TrimPrefix(ev.ID, "nightly/"))
			if err != nil {
				t.Fatal(err)
			}
			nominal = append(nominal, at.Format("15:04"))
			delay := ev.Received.Sub(at)
			if delay < 0 || delay >= 10*time.Minute {
				t.Errorf("%s is delayed by %v", ev.ID, delay)
			}
			different[delay.Truncate(time.Minute)] = true
		}
		want := []string{"00:10", "00:20", "00:30", "00:40", "00:50", "01:00", "01:10", "01:20", "01:30", "01:40", "01:50", "02:00"}
		if diff := cmp.Diff(want, nominal); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
		if len(different) < 5 {
			t.Errorf("delays of only %d minutes", len(different))
		}
		for _, line := range b.ticks() {
			if !strings.HasSuffix(line, " 0s 0") {
				t.Errorf("late although only delayed: %s", line)
			}
		}
	})
}

func TestManual(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		s := every(time.Hour)
		stop := b.run(s)
		defer stop()
		pass(time.Hour)
		src := b.source(s)
		accept, state := b.r.Feed(router.Origin{Source: "nightly", Dedup: time.Hour})
		ev, err := src.Manual()
		if err != nil {
			t.Fatal(err)
		}
		pass(1500 * time.Millisecond)
		if res, err := accept(t.Context(), ev, nil); err != nil || res.Duplicate {
			t.Fatalf("%+v, %v", res, err)
		}
		if last, err := src.Last(t.Context(), state); err != nil || !last.Equal(time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)) {
			t.Fatalf("last tick %v, %v", last, err)
		}
		pass(time.Hour)
		b.want("01-01T01:00:00Z 0s 0", "nightly/manual/2000-01-01T01:00:00Z 0s 0", "01-01T02:00:00Z 0s 0")
	})
}

// What another form of state means is nobody's guess.
func TestUnreadableState(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		accept, state := b.r.Feed(router.Origin{Source: "nightly"})
		for data, want := range map[string]string{
			"x":       "the last tick is unreadable: invalid character 'x' looking for beginning of value",
			`{"v":9}`: "the last tick has form 9, this program reads form 1",
		} {
			states, err := state.Load(t.Context(), "last")
			if err != nil {
				t.Fatal(err)
			}
			w := &store.StateWrite{State: store.State{Key: "last", Data: []byte(data)}, Read: states[0].Version}
			if _, err := accept(t.Context(), nil, w); err != nil {
				t.Fatal(err)
			}
			if err := b.source(every(time.Hour)).Run(t.Context(), accept, state); err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
	})
}
