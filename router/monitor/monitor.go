// Package monitor runs the sources that watch something within the router: it
// starts each in a goroutine of its own, and again after one could not go on.
// What they watch and how is theirs; each type is a package below this one.
package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pointsman/pointsman/router"
)

const (
	// firstPause is the pause after a first failure; each further one doubles it,
	// up to longestPause, and half of it is random.
	firstPause   = time.Second
	longestPause = time.Minute
	// healthy is how long a source must run to count as mended: it is reported as
	// ok again, and its next failure is a first one.
	healthy = 15 * time.Second
	// maxReason bounds what is kept and shown of an error, in bytes.
	maxReason = 512
)

// Spec is a source that is to run.
type Spec struct {
	// Name is the configured source's name.
	Name string
	// Config is all that Source was made of: Replace leaves a source alone whose
	// Config is deeply equal to what it has.
	Config any
	Source router.Source
	// Accept and State are handed to every Run.
	Accept router.AcceptFunc
	State  router.StateReader
}

// Status tells how a source does.
type Status struct {
	// Broken: it waits to be run again, or has not run for long since.
	Broken bool
	// Reason is why, when Broken.
	Reason string
	// Restarts counts the failures.
	Restarts int
}

// Supervisor keeps sources running. One that fails, or panics, does not touch
// the others. It is safe for concurrent use, and a prometheus.Collector.
type Supervisor struct {
	log          *slog.Logger
	up, restarts *prometheus.Desc

	mu   sync.Mutex
	runs map[string]*run
	// last has what was launched last under a name: its successor waits for it,
	// also when the name was gone between.
	last    map[string]*run
	started bool
	stopped bool
	wg      sync.WaitGroup
}

// run is one source from its start to its end.
type run struct {
	Spec
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
	before <-chan struct{}

	mu     sync.Mutex
	status Status
}

// New returns a supervisor of nothing; log takes what becomes of the sources.
func New(log *slog.Logger) *Supervisor {
	return &Supervisor{
		log: log, runs: make(map[string]*run), last: make(map[string]*run),
		up: prometheus.NewDesc("pointsman_source_up",
			"1 while a source that runs within the router does.", []string{"source"}, nil),
		restarts: prometheus.NewDesc("pointsman_source_restarts_total",
			"Failures of a source after which it was run again, by source.", []string{"source"}, nil),
	}
}

// Start runs what Replace was given, and from then on what it is given. It is
// called once the router accepts events.
func (s *Supervisor) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.stopped {
		return
	}
	s.started = true
	for _, name := range slices.Sorted(maps.Keys(s.runs)) {
		s.launch(s.runs[name])
	}
}

// Replace makes the sources that run those of specs: one with the same name and
// configuration as before runs on undisturbed, others are stopped, and a changed
// one is started once its forerunner has ended. It does not wait.
func (s *Supervisor) Replace(specs []Spec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	next := make(map[string]*run, len(specs))
	for _, spec := range specs {
		old := s.runs[spec.Name]
		if old != nil && reflect.DeepEqual(old.Config, spec.Config) {
			next[spec.Name] = old
			continue
		}
		next[spec.Name] = &run{Spec: spec, log: s.log.With("source", spec.Name), done: make(chan struct{})}
	}
	for name, old := range s.runs {
		if next[name] != old && s.started {
			old.cancel()
		}
	}
	for name, r := range next {
		if s.started && s.runs[name] != r {
			s.launch(r)
		}
	}
	s.runs = next
}

// launch starts r; mu is held.
func (s *Supervisor) launch(r *run) {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	if before := s.last[r.Name]; before != nil {
		r.before = before.done
	}
	s.last[r.Name] = r
	s.wg.Go(func() {
		defer close(r.done)
		defer cancel()
		r.loop(ctx)
	})
}

// Stop ends all sources and waits for them, at most until ctx ends; the error
// then names who has not ended.
func (s *Supervisor) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	runs := s.runs
	if s.started {
		for _, r := range runs {
			r.cancel()
		}
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() { s.wg.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	var late []string
	for name, r := range runs {
		select {
		case <-r.done:
		default:
			late = append(late, name)
		}
	}
	slices.Sort(late)
	return fmt.Errorf("sources that did not end: %q", late)
}

// loop runs the source until ctx ends, and again after each failure.
func (r *run) loop(ctx context.Context) {
	if r.before != nil {
		select {
		case <-r.before:
		case <-ctx.Done(): // whoever comes next must still wait for the one before
			<-r.before
			return
		}
	}
	pause := firstPause
	for {
		mended := time.AfterFunc(healthy, r.mended)
		began := time.Now()
		err := r.once(ctx)
		mended.Stop()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended without being told to")
		}
		if time.Since(began) >= healthy {
			pause = firstPause
		}
		wait := pause/2 + rand.N(pause/2)
		r.failed(err, wait)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		pause = min(2*pause, longestPause)
	}
}

// once runs the source; a panic is an error.
func (r *run) once(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			r.log.Error("source panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return r.Source.Run(ctx, r.Accept, r.State)
}

func (r *run) failed(err error, wait time.Duration) {
	r.log.Error("source is broken", "error", err, "again_in", wait.Round(time.Millisecond).String())
	reason := err.Error()
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Broken, r.status.Reason = true, reason
	r.status.Restarts++
}

func (r *run) mended() {
	r.mu.Lock()
	was := r.status.Broken
	r.status.Broken, r.status.Reason = false, ""
	r.mu.Unlock()
	if was {
		r.log.Info("source works again")
	}
}

// Status tells how each source does, by name.
func (s *Supervisor) Status() map[string]Status {
	s.mu.Lock()
	runs := s.runs
	s.mu.Unlock()
	out := make(map[string]Status, len(runs))
	for name, r := range runs {
		r.mu.Lock()
		out[name] = r.status
		r.mu.Unlock()
	}
	return out
}

// Describe implements prometheus.Collector.
func (s *Supervisor) Describe(ch chan<- *prometheus.Desc) {
	ch <- s.up
	ch <- s.restarts
}

// Collect implements prometheus.Collector.
func (s *Supervisor) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	running := s.started && !s.stopped
	s.mu.Unlock()
	for name, st := range s.Status() {
		up := 0.0
		if running && !st.Broken {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(s.up, prometheus.GaugeValue, up, name)
		ch <- prometheus.MustNewConstMetric(s.restarts, prometheus.CounterValue, float64(st.Restarts), name)
	}
}
