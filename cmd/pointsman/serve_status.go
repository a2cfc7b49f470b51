package main

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pointsman/pointsman/actions/host"
	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/redis"
	"github.com/pointsman/pointsman/router/store/sqlite"
)

// The methods below are what the admin listener shows of the whole.

// Ready implements admin.Router.
func (s *server) Ready() router.Readiness {
	h := s.router.Health()
	r := router.Readiness{
		OK: len(h.Reasons) == 0, Reasons: append([]string{}, h.Reasons...),
		DryRun:     s.dryRun,
		Durability: []string{}, Actions: []router.Broken{}, Sources: []router.Broken{},
		Rules: append([]router.Broken{}, h.Rules...),
	}
	for _, f := range h.Shortfalls {
		r.Durability = append(r.Durability, f.Setting+" is "+f.Value+", want "+f.Want)
	}
	for _, a := range s.Actions() {
		switch a.State {
		case "broken":
			r.Actions = append(r.Actions, router.Broken{Name: a.Name, Reason: a.LastError})
		case "paused":
			r.Actions = append(r.Actions, router.Broken{Name: a.Name, Reason: pauseText(&a)})
		}
	}
	for _, src := range s.Sources() {
		if src.State == router.SourceBroken {
			r.Sources = append(r.Sources, router.Broken{Name: src.Name, Reason: src.Reason})
		}
	}
	return r
}

// Sources implements admin.Router: POST /events, then the configured ones in file
// order.
func (s *server) Sources() []router.SourceStatus {
	l := s.view()
	monitors := s.monitors.Status()
	add := func(name, kind string) router.SourceStatus {
		n := s.metrics.EventCounts(name)
		st := router.SourceStatus{
			Name: name, Type: kind, State: router.SourceOK,
			Accepted: n.Accepted, Duplicate: n.Duplicate, Conflict: n.Conflict, Rejected: n.Rejected,
		}
		if !n.Last.IsZero() {
			last := n.Last.UTC()
			st.LastEvent = &last
		}
		if m := monitors[name]; m.Restarts > 0 {
			st.Restarts, st.Reason = m.Restarts, m.Reason
			if m.Broken {
				st.State = router.SourceBroken
			}
		}
		return st
	}
	out := []router.SourceStatus{add("events", "events")}
	for _, src := range l.cfg.Sources {
		out = append(out, add(src.Name, src.Type))
	}
	return out
}

// Status implements admin.Router.
func (s *server) Status() router.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := router.Status{
		Name: s.cfg.Name, Started: s.started.UTC(), Store: s.storeName(), Instance: s.data.instance.ID,
		Revision: s.router.Setup().Revision.ID, Reloaded: s.reloaded.UTC(),
		Rules: len(s.loaded.rules.Rules()), Sources: len(s.cfg.Sources), DryRun: s.dryRun,
	}
	if s.reloadErr != nil {
		st.ReloadError = s.reloadErr.Error()
	}
	return st
}

// Actions implements admin.Router.
func (s *server) Actions() []router.ActionStatus {
	l := s.view()
	plugins := make(map[string]host.Status)
	for _, p := range s.host.Status() {
		plugins[p.Action] = p
	}
	busy, paused := s.router.Busy(), s.router.Paused()
	out := make([]router.ActionStatus, 0, len(l.cfg.Actions))
	for _, a := range l.cfg.Actions {
		p := plugins[a.Name]
		st := router.ActionStatus{
			Name: a.Name, Plugin: a.Plugin, Version: cmp.Or(p.Version, l.described[a.Name].Version),
			State: actionState(p.State), PID: p.PID, Restarts: p.Restarts, LastError: p.Error,
			Concurrency: a.Concurrency, Running: busy[a.Name], Timeout: a.Timeout.String(),
			Retry: router.RetryStatus{
				Attempts: a.Retry.Attempts, MaxAge: a.Retry.MaxAge.String(),
				Min: a.Retry.Min.String(), Max: a.Retry.Max.String(),
			},
			OnUncertain: "retry", DryRun: a.DryRun || s.dryRun,
		}
		if st.DryRun && st.State == "idle" {
			st.State = "dry_run"
		}
		if a.HoldUncertain {
			st.OnUncertain = "hold"
		}
		if err := l.broken[a.Name]; err != nil && p.PID == 0 && p.Error == "" {
			st.State, st.LastError = "broken", err.Error()
		}
		if p, ok := paused[a.Name]; ok {
			since := p.Since.UTC()
			st.State, st.PausedSince, st.PauseReason = "paused", &since, p.Reason
		}
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b router.ActionStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// pauseText says since when and why an action is paused.
func pauseText(a *router.ActionStatus) string {
	text := "paused by hand since " + a.PausedSince.Format(time.RFC3339)
	if a.PauseReason != "" {
		text += ": " + a.PauseReason
	}
	return text
}

func actionState(s host.State) string {
	switch s {
	case host.Running:
		return "running"
	case host.Backoff, host.Failed, host.Open:
		return "broken"
	default:
		return "idle"
	}
}

// Plugins implements admin.Router.
func (s *server) Plugins() []router.PluginStatus {
	l := s.view()
	byPlugin := make(map[string]*router.PluginStatus)
	for _, a := range l.cfg.Actions {
		p := byPlugin[a.Plugin]
		if p == nil {
			d := l.described[a.Name]
			p = &router.PluginStatus{
				Name: cmp.Or(d.Name, a.Plugin), Version: d.Version, Summary: d.Summary,
				Idempotency: string(cmp.Or(d.Idempotency, "unknown")), DryRun: d.DryRun,
				SettingsSchema: d.SettingsSchema, ParamsSchema: d.ParamsSchema, Actions: []string{},
			}
			if !a.Bundled {
				p.Path = a.Plugin
			}
			byPlugin[a.Plugin] = p
		}
		p.Actions = append(p.Actions, a.Name)
	}
	out := make([]router.PluginStatus, 0, len(byPlugin))
	for _, p := range byPlugin {
		slices.Sort(p.Actions)
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b router.PluginStatus) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Path, b.Path))
	})
	return out
}

func (s *server) storeName() string {
	if s.cfg.Store.Kind == config.Redis {
		return s.cfg.Store.Address
	}
	return "sqlite:" + s.cfg.Store.Path
}

func openStore(cfg *config.Config, now func() time.Time) (store.Full, error) {
	if cfg.Store.Kind == config.Redis {
		return redis.Open(redis.Config{URL: cfg.Store.URL.Reveal(), Name: cfg.Name})
	}
	begun := time.Now()
	return sqlite.Open(sqlite.Config{
		Path: cfg.Store.Path, Now: now, Steady: func() time.Duration { return time.Since(begun) },
	})
}

func durabilityName(d store.Durability) string {
	return [...]string{"", "strict", "process", "none"}[d]
}

// pluginMetrics shows the plugins when scraped.
type pluginMetrics struct {
	host                 *host.Host
	paused               func() []router.ActionStatus
	up, restarts, halted *prometheus.Desc
	circuit              *prometheus.Desc
}

func newPluginMetrics(h *host.Host, actions func() []router.ActionStatus) *pluginMetrics {
	return &pluginMetrics{
		host: h, paused: actions,
		halted: prometheus.NewDesc("pointsman_action_paused",
			"1 while an action is paused by hand.", []string{"action"}, nil),
		up: prometheus.NewDesc("pointsman_plugin_up",
			"1 while the plugin of an action runs.", []string{"action"}, nil),
		circuit: prometheus.NewDesc("pointsman_plugin_circuit_open",
			"1 while an action's plugin has crashed too often and its deliveries wait.", []string{"action"}, nil),
		restarts: prometheus.NewDesc("pointsman_plugin_restarts_total",
			"Starts of a plugin after its first, by action.", []string{"action"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *pluginMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.up
	ch <- m.restarts
	ch <- m.halted
	ch <- m.circuit
}

// Collect implements prometheus.Collector.
func (m *pluginMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, p := range m.host.Status() {
		up, open := 0.0, 0.0
		if p.State == host.Running {
			up = 1
		}
		if p.Open {
			open = 1
		}
		ch <- prometheus.MustNewConstMetric(m.circuit, prometheus.GaugeValue, open, p.Action)
		ch <- prometheus.MustNewConstMetric(m.up, prometheus.GaugeValue, up, p.Action)
		ch <- prometheus.MustNewConstMetric(m.restarts, prometheus.CounterValue, float64(p.Restarts), p.Action)
	}
	for _, a := range m.paused() {
		v := 0.0
		if a.PausedSince != nil {
			v = 1
		}
		ch <- prometheus.MustNewConstMetric(m.halted, prometheus.GaugeValue, v, a.Name)
	}
}
