package router_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/store"
)

// counter answers what it is told and counts the questions.
type counter struct {
	asked  int
	counts []store.Count
	err    error
}

func (c *counter) Counts(context.Context) ([]store.Count, error) {
	c.asked++
	return c.counts, c.err
}

func TestQueueMetrics(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	c := &counter{counts: []store.Count{
		{Action: "port", State: store.Ready, N: 3, Oldest: now.Add(-time.Minute)},
		{Action: "port", State: store.Dead, N: 1},
	}}
	q := router.NewQueueMetrics(router.QueueConfig{Counter: c, Now: func() time.Time { return now }})
	check := func(want string) {
		t.Helper()
		if err := testutil.CollectAndCompare(q, strings.NewReader(want), "pointsman_deliveries",
			"pointsman_deliveries_oldest_age_seconds", "pointsman_store_up"); err != nil {
			t.Error(err)
		}
	}
	up := `
# HELP pointsman_deliveries Deliveries by action and state.
# TYPE pointsman_deliveries gauge
pointsman_deliveries{action="port",state="dead"} 1
pointsman_deliveries{action="port",state="ready"} 3
# HELP pointsman_deliveries_oldest_age_seconds Age of the oldest unfinished delivery by action and state.
# TYPE pointsman_deliveries_oldest_age_seconds gauge
pointsman_deliveries_oldest_age_seconds{action="port",state="ready"} 60
# HELP pointsman_store_up 1 when the store answered the last question for counts.
# TYPE pointsman_store_up gauge
pointsman_store_up 1
`
	check(up)
	c.err = store.ErrUnavailable
	check(up) // the answer is kept for a while
	if c.asked != 1 {
		t.Errorf("asked %d times within the age of the answer", c.asked)
	}
	now = now.Add(5 * time.Second)
	check(`
# HELP pointsman_store_up 1 when the store answered the last question for counts.
# TYPE pointsman_store_up gauge
pointsman_store_up 0
`)
}

func TestMetricsNames(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	m := router.NewMetrics(reg)
	m.Events.WithLabelValues("netbox", router.EventDuplicate).Inc()
	m.Matches.WithLabelValues("bounce", "matched").Inc()
	m.Settled.WithLabelValues("port", "done").Inc()
	m.AttemptSeconds.WithLabelValues("port").Observe(1)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}
