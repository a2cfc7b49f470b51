package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/monitor"
	"github.com/pointsman/pointsman/router/monitor/file"
	"github.com/pointsman/pointsman/router/monitor/netlink"
	"github.com/pointsman/pointsman/router/monitor/probe"
	"github.com/pointsman/pointsman/router/monitor/schedule"
	"github.com/pointsman/pointsman/router/monitor/snmptrap"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// stopMonitors is how long sources may take to end at shutdown before the router
// drains without them.
const stopMonitors = 5 * time.Second

// newMonitor makes the source of one configured monitor. It has no effect before
// the source runs; an error refuses the configuration.
func (s *server) newMonitor(src *config.Source) (router.Source, error) {
	switch src.Type {
	case config.TypeSchedule:
		return schedule.New(schedule.Config{Name: src.Name, Schedule: src.Schedule, Log: s.log, Now: s.app.now})
	case config.TypeSNMPTrap:
		return snmptrap.New(s.cfg.Name, src.Name, src.SNMPTrap, s.trapCounts, s.log)
	case config.TypeSyslog:
		return s.newSyslog(src.Name, src.Syslog)
	case config.TypeProbe:
		return probe.Configured(src.Name, src.Probe, s.probes)
	case config.TypeNetlink:
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("the name of this host: %w", err)
		}
		c := src.Netlink
		return netlink.New(netlink.Config{
			Source: src.Name, Host: host, Watch: c.Watch, Interfaces: c.Interfaces, Except: c.Except,
			Limit: c.Limit, Buffer: int(c.Buffer),
		}), nil
	case config.TypeFile:
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("the name of this host: %w", err)
		}
		c := src.File
		return file.New(file.Config{
			Source: src.Name, Host: host, Path: c.Path, Recursive: c.Recursive, Match: c.Match, Except: c.Except,
			SHA256: c.SHA256, Settle: c.Settle, Limit: c.Limit,
		}), nil
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

// nextTicks is how many ticks to come are shown of a schedule.
const nextTicks = 5

// scheduleStatus describes a schedule, but for its last tick.
func scheduleStatus(src *config.Source, made *schedule.Source) router.ScheduleStatus {
	c := src.Schedule
	return router.ScheduleStatus{
		Name: src.Name, When: c.Times.String(), Timezone: cmp.Or(c.Times.Timezone, "UTC"), Jitter: strictyaml.FormatDuration(c.Jitter),
		CatchUp: c.CatchUp, Next: made.Next(nextTicks),
	}
}

// Schedules implements admin.Schedules.
func (s *server) Schedules(ctx context.Context) ([]router.ScheduleStatus, error) {
	var out []router.ScheduleStatus
	for _, src := range s.view().cfg.Sources {
		if src.Type != config.TypeSchedule {
			continue
		}
		made, err := schedule.New(schedule.Config{Name: src.Name, Schedule: src.Schedule, Now: s.app.now})
		if err != nil {
			return nil, err
		}
		st := scheduleStatus(&src, made)
		_, state := s.router.Feed(router.Origin{Source: src.Name})
		last, err := made.Last(ctx, state)
		switch {
		case errors.Is(err, router.ErrUnavailable):
			return nil, err
		case err != nil: // unreadable; the source itself reports it
		case !last.IsZero():
			st.Last = &last
		}
		out = append(out, st)
	}
	return out, nil
}

// RunSchedule implements admin.Schedules.
func (s *server) RunSchedule(ctx context.Context, name string) (router.ScheduleRun, error) {
	for _, src := range s.view().cfg.Sources {
		if src.Type != config.TypeSchedule || src.Name != name {
			continue
		}
		made, err := schedule.New(schedule.Config{Name: src.Name, Schedule: src.Schedule, Now: s.app.now})
		if err != nil {
			return router.ScheduleRun{}, err
		}
		ev, err := made.Manual()
		if err != nil {
			return router.ScheduleRun{}, err
		}
		accept, _ := s.router.Feed(router.Origin{Source: name, Dedup: src.Dedup})
		if _, err := accept(ctx, ev, nil); err != nil {
			return router.ScheduleRun{}, err
		}
		s.log.Info("schedule run by hand", "source", name, "event_id", ev.ID())
		return router.ScheduleRun{ID: ev.ID(), Source: name}, nil
	}
	return router.ScheduleRun{}, fmt.Errorf("schedule %q: %w", name, store.ErrNotFound)
}
