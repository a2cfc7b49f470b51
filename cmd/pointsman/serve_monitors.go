package main

import (
	"context"
	"fmt"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/monitor"
	"github.com/pointsman/pointsman/router/monitor/probe"
	"github.com/pointsman/pointsman/router/monitor/schedule"
)

// stopMonitors is how long sources may take to end at shutdown before the router
// drains without them.
const stopMonitors = 5 * time.Second

// newMonitor makes the source of one configured monitor. It has no effect before
// the source runs; an error refuses the configuration.
func (s *server) newMonitor(src *config.Source) (router.Source, error) {
	switch src.Type {
	case config.TypeSchedule:
		return schedule.New(src.Name, src.Schedule)
	case config.TypeProbe:
		return probe.Configured(src.Name, src.Probe, s.probes)
	}
	return nil, fmt.Errorf("sources of type %s cannot be run", src.Type)
}

// monitorSpecs makes all sources of a configuration that run within the router,
// which must be there.
func (s *server) monitorSpecs(cfg *config.Config) ([]monitor.Spec, error) {
	var out []monitor.Spec
	for _, src := range cfg.Sources {
		if !src.Monitor() {
			continue
		}
		made, err := s.newMonitor(&src)
		if err != nil {
			return nil, cfg.Problem(src.Pos, "source %q: %v", src.Name, err)
		}
		src.Pos = config.Pos{} // to be moved in the file is no change
		spec := monitor.Spec{Name: src.Name, Config: src, Source: made}
		spec.Accept, spec.State = s.router.Feed(router.Origin{Source: src.Name, Dedup: src.Dedup})
		out = append(out, spec)
	}
	return out, nil
}

// stopSources ends the sources, so that nothing comes in while the router
// drains.
func (s *server) stopSources(grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), min(stopMonitors, max(grace/2, time.Second)))
	defer cancel()
	if err := s.monitors.Stop(ctx); err != nil {
		s.log.Warn("draining without waiting any longer", "error", err)
	}
}
