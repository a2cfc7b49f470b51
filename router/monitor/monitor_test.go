package monitor_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/monitor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source runs as its function says, and counts.
type source struct {
	run    func(ctx context.Context, n int) error
	starts atomic.Int32
	active atomic.Int32
}

func (s *source) Run(ctx context.Context, _ router.AcceptFunc, _ router.StateReader) error {
	n := s.starts.Add(1)
	s.active.Add(1)
	defer s.active.Add(-1)
	return s.run(ctx, int(n))
}

func watching(ctx context.Context, _ int) error {
	<-ctx.Done()
	return nil
}

func spec(name, config string, s *source) monitor.Spec {
	return monitor.Spec{Name: name, Config: struct{ text string }{config}, Source: s}
}

func inBubble(t *testing.T, f func(t *testing.T, s *monitor.Supervisor)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := monitor.New(slog.New(slog.DiscardHandler))
		f(t, s)
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// pass lets time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestOneFailsAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, s *monitor.Supervisor) {
		fine := &source{run: watching}
		bad := &source{run: func(context.Context, int) error { return errors.New("no such device") }}
		panics := &source{run: func(context.Context, int) error { panic("index out of range") }}
		ends := &source{run: func(context.Context, int) error { return nil }}
		s.Replace([]monitor.Spec{spec("fine", "", fine), spec("bad", "", bad), spec("panics", "", panics), spec("ends", "", ends)})
		if pass(time.Second); fine.starts.Load() != 0 {
			t.Fatal("ran before Start")
		}
		s.Start()
		pass(10 * time.Minute)
		st := s.Status()
		if got := fine.starts.Load(); got != 1 || st["fine"] != (monitor.Status{}) {
			t.Fatalf("fine: %d starts, %+v", got, st["fine"])
		}
		for name, reason := range map[string]string{
			"bad": "no such device", "panics": "panic: index out of range", "ends": "ended without being told to",
		} {
			if !st[name].Broken || st[name].Reason != reason {
				t.Errorf("%s: %+v", name, st[name])
			}
			// 1, 2, 4 ... 32 s and then each minute, each at least half of it.
			if n := st[name].Restarts; n < 15 || n > 27 {
				t.Errorf("%s: %d restarts in ten minutes", name, n)
			}
		}
	})
}

func TestMended(t *testing.T) {
	inBubble(t, func(t *testing.T, s *monitor.Supervisor) {
		src := &source{run: func(ctx context.Context, n int) error {
			switch {
			case n <= 8:
				return errors.New("refused")
			case n == 9: // works for long, then fails once
				select {
				case <-time.After(time.Hour):
				case <-ctx.Done():
				}
				return errors.New("reset")
			}
			return watching(ctx, n)
		}}
		s.Replace([]monitor.Spec{spec("a", "", src)})
		s.Start()
		pass(5 * time.Minute)
		if st := s.Status()["a"]; src.starts.Load() != 9 || st.Broken || st.Restarts != 8 {
			t.Fatalf("%d starts, %+v", src.starts.Load(), st)
		}
		const want = `
# HELP pointsman_source_restarts_total Failures of a source after which it was run again, by source.
# TYPE pointsman_source_restarts_total counter
pointsman_source_restarts_total{source="a"} 8
# HELP pointsman_source_up 1 while a source that runs within the router does.
# TYPE pointsman_source_up gauge
pointsman_source_up{source="a"} 1
`
		if err := testutil.CollectAndCompare(s, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
		pass(time.Hour - 5*time.Minute + 200*time.Second)
		// After a healthy time the pause is short again.
		if st := s.Status()["a"]; src.starts.Load() != 10 || st.Restarts != 9 {
			t.Fatalf("%d starts, %+v", src.starts.Load(), st)
		}
	})
}

func TestReplace(t *testing.T) {
	inBubble(t, func(t *testing.T, s *monitor.Supervisor) {
		same, changed, gone := &source{run: watching}, &source{run: func(ctx context.Context, _ int) error {
			<-ctx.Done()
			<-time.After(3 * time.Second) // slow to end
			return nil
		}}, &source{run: watching}
		s.Replace([]monitor.Spec{spec("same", "1", same), spec("changed", "1", changed), spec("gone", "1", gone)})
		s.Start()
		pass(time.Second)
		unused, next, added := &source{run: watching}, &source{run: watching}, &source{run: watching}
		s.Replace([]monitor.Spec{spec("same", "1", unused), spec("changed", "2", next), spec("added", "1", added)})
		pass(time.Second)
		got := []int32{same.active.Load(), unused.starts.Load(), changed.active.Load(), next.starts.Load(), gone.active.Load(), added.active.Load()}
		if diff := cmp.Diff([]int32{1, 0, 1, 0, 0, 1}, got); diff != "" {
			t.Fatalf("while the old one ends (-want +got):\n%s", diff)
		}
		// Changed again before the first has ended: the one between never runs.
		last := &source{run: watching}
		s.Replace([]monitor.Spec{spec("same", "1", unused), spec("changed", "3", last), spec("added", "1", unused)})
		pass(10 * time.Second)
		got = []int32{same.starts.Load(), changed.active.Load(), next.starts.Load(), last.active.Load(), added.starts.Load(), unused.starts.Load()}
		if diff := cmp.Diff([]int32{1, 0, 0, 1, 1, 0}, got); diff != "" {
			t.Fatalf("at the end (-want +got):\n%s", diff)
		}
		// Gone and back before it has ended: still one at a time.
		slow := &source{run: changed.run}
		s.Replace([]monitor.Spec{spec("slow", "1", slow)})
		pass(time.Second)
		again := &source{run: watching}
		s.Replace(nil)
		s.Replace([]monitor.Spec{spec("slow", "1", again)})
		if pass(time.Second); slow.active.Load() != 1 || again.starts.Load() != 0 {
			t.Fatalf("%d and %d at once", slow.active.Load(), again.starts.Load())
		}
		if pass(10 * time.Second); slow.active.Load() != 0 || again.active.Load() != 1 {
			t.Fatalf("at the end %d and %d", slow.active.Load(), again.active.Load())
		}
		if _, ok := s.Status()["gone"]; ok {
			t.Fatal("a removed source has a status")
		}
	})
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := monitor.New(slog.New(slog.DiscardHandler))
		release := make(chan struct{})
		deaf := &source{run: func(context.Context, int) error { <-release; return nil }}
		s.Replace([]monitor.Spec{spec("deaf", "", deaf), spec("fine", "", &source{run: watching})})
		s.Start()
		pass(time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Stop(ctx); err == nil || err.Error() != `sources that did not end: ["deaf"]` {
			t.Fatalf("stop: %v", err)
		}
		close(release)
		if err := s.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		s.Replace([]monitor.Spec{spec("late", "", &source{run: watching})})
		s.Start()
		if pass(time.Second); len(s.Status()) != 2 {
			t.Fatal("replaced after the end")
		}
	})
}
