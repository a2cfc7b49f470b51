package router

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pointsman/pointsman/router/store"
)

// Outcomes of the events counter.
const (
	EventAccepted  = "accepted"
	EventDuplicate = "duplicate"
	EventConflict  = "conflict"
	EventRejected  = "rejected"
)

// Metrics are the collectors that the router feeds. Every label has a bounded
// set of values: names from the configuration and fixed words, never anything
// out of an event. All of it is safe for concurrent use.
type Metrics struct {
	// Events by source and outcome (EventAccepted, ...).
	Events *prometheus.CounterVec
	// Matches by rule and verdict, as recorded at accept.
	Matches *prometheus.CounterVec
	// RuleErrors by rule: a when, key, if or with that failed.
	RuleErrors *prometheus.CounterVec
	// RuleOverruns by rule: events of which it would have taken more than it may.
	RuleOverruns *prometheus.CounterVec
	// Settled counts stored outcomes of attempts by action and outcome (done,
	// failed, permanent, timeout, crashed, released, cancelled, lost).
	Settled *prometheus.CounterVec
	// AttemptSeconds is how long attempts ran, by action.
	AttemptSeconds *prometheus.HistogramVec
	// CommitEvents is how many events one commit carried, CommitSeconds how long
	// it took to become durable.
	CommitEvents  prometheus.Histogram
	CommitSeconds prometheus.Histogram
	// StoreUnavailable counts store operations that failed because the store
	// could not be reached or could not write.
	StoreUnavailable prometheus.Counter

	// ClockSet counts how often the clock was set while the router ran.
	ClockSet prometheus.Counter
	// Panics counts panics that were contained, by what was given up.
	Panics *prometheus.CounterVec

	router atomic.Pointer[Router]

	mu      sync.Mutex // guards sources
	sources map[string]EventCounts
}

// EventCounts are the events of one source since the router started.
type EventCounts struct {
	Accepted, Duplicate, Conflict, Rejected int
	// Last is when the last one was accepted; zero: none was.
	Last time.Time
}

// CountEvent counts one event of a configured source with its outcome.
func (m *Metrics) CountEvent(source, outcome string, now time.Time) {
	m.Events.WithLabelValues(source, outcome).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sources == nil {
		m.sources = make(map[string]EventCounts)
	}
	c := m.sources[source]
	switch outcome {
	case EventAccepted:
		c.Accepted++
		c.Last = now
	case EventDuplicate:
		c.Duplicate++
	case EventConflict:
		c.Conflict++
	case EventRejected:
		c.Rejected++
	}
	m.sources[source] = c
}

// EventCounts returns the counts of one source.
func (m *Metrics) EventCounts(source string) EventCounts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sources[source]
}

// NewMetrics makes the collectors and registers them. It panics when reg
// already has collectors of these names, as client_golang does.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		Events: counters("events_total",
			"Events that arrived, by source and outcome.", "source", "outcome"),
		Matches: counters("rule_matches_total",
			"Rules that concerned an event, by rule and verdict.", "rule", "verdict"),
		RuleErrors: counters("rule_errors_total",
			"Expressions of a rule that failed.", "rule"),
		RuleOverruns: counters("rule_overruns_total",
			"Events of which a rule would have taken more steps than it may, by rule.", "rule"),
		Settled: counters("attempts_settled_total",
			"Attempts whose outcome is stored, by action and outcome.", "action", "outcome"),
		AttemptSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "pointsman_attempt_duration_seconds",
			Help:    "How long attempts ran, by action.",
			Buckets: []float64{.005, .025, .1, .5, 1, 5, 15, 30, 60, 300, 900},
		}, []string{"action"}),
		CommitEvents: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "pointsman_commit_batch_events",
			Help:    "Events per commit.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128},
		}),
		CommitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "pointsman_commit_duration_seconds",
			Help:    "How long a commit took to become durable.",
			Buckets: prometheus.ExponentialBuckets(.00025, 2, 15),
		}),
		ClockSet: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pointsman_clock_set_total",
			Help: "How often the clock of the host was set by a second or more while the router ran.",
		}),
		Panics: counters("panics_total",
			"Panics that were contained, by what was given up (request, event).", "where"),
		StoreUnavailable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pointsman_store_unavailable_total",
			Help: "Store operations that failed because the store could not be reached or could not write.",
		}),
	}
	quarantined := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pointsman_rules_quarantined",
		Help: "Rules that get few steps now because they took too many of an event.",
	}, func() float64 {
		if r := m.router.Load(); r != nil {
			return float64(len(r.slow.list()))
		}
		return 0
	})
	unindexed := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pointsman_rules_unindexed",
		Help: "Rules that every event is tried against, because nothing in their when narrows the events down.",
	}, func() float64 {
		if r := m.router.Load(); r != nil {
			return float64(len(r.setup.Load().Rules.Unindexed()))
		}
		return 0
	})
	reg.MustRegister(m.Events, m.Matches, m.RuleErrors, m.RuleOverruns, quarantined, unindexed, m.Settled, m.AttemptSeconds,
		m.CommitEvents, m.CommitSeconds, m.StoreUnavailable, m.Panics, m.ClockSet)
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pointsman_" + name, Help: help}, labels)
}

// RegisterBuildInfo registers pointsman_build_info, a gauge that is always 1.
func RegisterBuildInfo(reg prometheus.Registerer, version, commit string) {
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pointsman_build_info",
		Help: "The running build; always 1.",
		ConstLabels: prometheus.Labels{
			"version": version, "commit": commit, "go": runtime.Version(),
		},
	}, func() float64 { return 1 }))
}

// Counter is the part of store.Operator that QueueMetrics reads.
type Counter interface {
	Counts(ctx context.Context) ([]store.Count, error)
}

// QueueMetrics shows how many deliveries each action has in each state. It
// asks the store when scraped, at most once per maxAge; a store that cannot
// answer within timeout is shown as pointsman_store_up 0, without counts,
// rather than failing the whole scrape.
type QueueMetrics struct {
	counter Counter
	maxAge  time.Duration
	timeout time.Duration
	now     func() time.Time

	deliveries, oldest, up *prometheus.Desc

	mu     sync.Mutex
	asked  time.Time
	counts []store.Count
	err    error
}

// QueueConfig configures NewQueueMetrics.
type QueueConfig struct {
	Counter Counter
	// MaxAge of a cached answer; default 5 s.
	MaxAge time.Duration
	// Timeout of one question; default 2 s.
	Timeout time.Duration
	// Now defaults to time.Now.
	Now func() time.Time
}

// NewQueueMetrics makes the collector; the caller registers it.
func NewQueueMetrics(c QueueConfig) *QueueMetrics {
	q := &QueueMetrics{
		counter: c.Counter, maxAge: c.MaxAge, timeout: c.Timeout, now: c.Now,
		deliveries: prometheus.NewDesc("pointsman_deliveries",
			"Deliveries by action and state.", []string{"action", "state"}, nil),
		oldest: prometheus.NewDesc("pointsman_deliveries_oldest_age_seconds",
			"Age of the oldest unfinished delivery by action and state.", []string{"action", "state"}, nil),
		up: prometheus.NewDesc("pointsman_store_up",
			"1 when the store answered the last question for counts.", nil, nil),
	}
	if q.maxAge == 0 {
		q.maxAge = 5 * time.Second
	}
	if q.timeout == 0 {
		q.timeout = 2 * time.Second
	}
	if q.now == nil {
		q.now = time.Now
	}
	return q
}

// Describe implements prometheus.Collector.
func (q *QueueMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- q.deliveries
	ch <- q.oldest
	ch <- q.up
}

// Collect implements prometheus.Collector.
func (q *QueueMetrics) Collect(ch chan<- prometheus.Metric) {
	counts, now, err := q.ask()
	if err != nil {
		ch <- prometheus.MustNewConstMetric(q.up, prometheus.GaugeValue, 0)
		return
	}
	ch <- prometheus.MustNewConstMetric(q.up, prometheus.GaugeValue, 1)
	for _, c := range counts {
		ch <- prometheus.MustNewConstMetric(q.deliveries, prometheus.GaugeValue,
			float64(c.N), c.Action, c.State.String())
		if !c.Oldest.IsZero() {
			ch <- prometheus.MustNewConstMetric(q.oldest, prometheus.GaugeValue,
				max(0, now.Sub(c.Oldest).Seconds()), c.Action, c.State.String())
		}
	}
}

// ask holds the lock while the store is asked, so that scrapes at the same
// time put one question.
func (q *QueueMetrics) ask() ([]store.Count, time.Time, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	if q.asked.IsZero() || now.Sub(q.asked) >= q.maxAge {
		ctx, cancel := context.WithTimeout(context.Background(), q.timeout)
		defer cancel()
		q.counts, q.err = q.counter.Counts(ctx)
		q.asked = now
	}
	return q.counts, now, q.err
}
