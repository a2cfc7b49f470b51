package config

import (
	"time"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// TypeSchedule is the type of source that ticks.
const TypeSchedule = "schedule"

// Schedule is what a source of type TypeSchedule is made of.
type Schedule struct {
	// Every is the period, aligned to the epoch; 0: not periodic.
	Every time.Duration
}

func scheduleKeys() []string { return []string{"every"} }

func (r *reader) schedule(m *strictyaml.Map, s *Source) {
	s.Schedule = &Schedule{}
	r.duration(m.Required("every"), &s.Schedule.Every, time.Second, year)
}
