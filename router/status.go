package router

import (
	"encoding/json"
	"time"
)

// The types below are what a running router tells about itself. The admin
// listener answers with them as they are, so their JSON names are part of its
// contract.

// Readiness says whether the router accepts events durably now.
type Readiness struct {
	// OK is false only while an event could not be accepted durably: starting,
	// store down, store full, draining.
	OK bool `json:"ready"`
	// Reasons say why OK is false.
	Reasons []string `json:"reasons"`
	// Durability has one warning for each setting of the store that is weaker
	// than the configuration asks for; they do not make the router unready.
	Durability []string `json:"durability"`
	// Actions and Sources are the broken ones.
	Actions []Broken `json:"actions"`
	Sources []Broken `json:"sources"`
}

// Broken is an action or a source that does not work now, and why.
type Broken struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Status is the router at a glance.
type Status struct {
	Name     string    `json:"name"`
	Started  time.Time `json:"started"`
	Store    string    `json:"store"`
	Instance string    `json:"instance"`
	// Revision is the rule set in force; Reloaded is when it came into force
	// and ReloadError why the last attempt to replace it changed nothing.
	Revision    string    `json:"revision"`
	Reloaded    time.Time `json:"reloaded"`
	ReloadError string    `json:"reload_error"`
	Rules       int       `json:"rules"`
	Sources     int       `json:"sources"`
}

// SourceStatus is one configured source, a webhook or POST /events as well as
// one that runs within the router. Counts are those of this router since its
// start.
type SourceStatus struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// State is ok, or broken for Reason.
	State  string `json:"state"`
	Reason string `json:"reason"`
	// Restarts counts how often it could not go on and was run again.
	Restarts int `json:"restarts"`
	// LastEvent is when its last event was accepted; nil: none was.
	LastEvent *time.Time `json:"last_event"`
	Accepted  int        `json:"accepted"`
	Duplicate int        `json:"duplicate"`
	Conflict  int        `json:"conflict"`
	Rejected  int        `json:"rejected"`
}

// ScheduleStatus is one configured schedule.
type ScheduleStatus struct {
	Name string `json:"name"`
	// When is what it says of its times, as "cron 0 2 * * *".
	When     string `json:"when"`
	Timezone string `json:"timezone"`
	Jitter   string `json:"jitter"`
	CatchUp  string `json:"catch_up"`
	// Last is the nominal time of the last tick, nil when there was none; Next
	// are the next five. All are in the schedule's zone.
	Last *time.Time  `json:"last"`
	Next []time.Time `json:"next"`
}

// ScheduleRun is the event of a schedule that a person has run.
type ScheduleRun struct {
	ID string `json:"id"`
	// Source is the schedule's name.
	Source string `json:"source"`
}

// The states of a source.
const (
	SourceOK     = "ok"
	SourceBroken = "broken"
)

// ActionStatus is one configured action.
type ActionStatus struct {
	Name string `json:"name"`
	// Plugin is the name of a bundled plugin or the path of an executable;
	// Version is what it says of itself, empty before its first start.
	Plugin  string `json:"plugin"`
	Version string `json:"version"`
	// State is idle (not started yet), running, or broken; see LastError. The
	// admin listener adds removed, for actions that only deliveries still name.
	State       string `json:"state"`
	Concurrency int    `json:"concurrency"`
	// PID of the plugin's process, 0 while none runs; Restarts counts starts
	// after the first.
	PID      int `json:"pid"`
	Restarts int `json:"restarts"`
	// Running is how many attempts run in this router now.
	Running   int         `json:"running"`
	LastError string      `json:"last_error"`
	Timeout   string      `json:"timeout"`
	Retry     RetryStatus `json:"retry"`
	// OnUncertain is retry or hold.
	OnUncertain string `json:"on_uncertain"`
	DryRun      bool   `json:"dry_run"`
}

// RetryStatus is the retry policy of an action; durations as in the
// configuration ("24h0m0s").
type RetryStatus struct {
	Attempts int    `json:"attempts"`
	MaxAge   string `json:"max_age"`
	Min      string `json:"min"`
	Max      string `json:"max"`
}

// PluginStatus is what a plugin says of itself and who uses it.
type PluginStatus struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Path is the executable; empty for a bundled plugin.
	Path    string `json:"path"`
	Summary string `json:"summary"`
	// Idempotency is the class the plugin claims.
	Idempotency    string          `json:"idempotency"`
	DryRun         bool            `json:"dry_run"`
	SettingsSchema json.RawMessage `json:"settings_schema"`
	ParamsSchema   json.RawMessage `json:"params_schema"`
	// Actions are the configured actions that use it, by name.
	Actions []string `json:"actions"`
}

// RuleVerdict is what one rule makes, or made, of one event.
type RuleVerdict struct {
	Rule string `json:"rule"`
	// Verdict is one of matched, not_matched, duplicate, throttled, dry_run,
	// skipped, held, error.
	Verdict string `json:"verdict"`
	// Reason says what decided.
	Reason string `json:"reason"`
	// Key is the rule's key for the event, as text.
	Key   string     `json:"key"`
	Calls []RuleCall `json:"calls"`
}

// RuleCall is what one step of a rule would run, or ran.
type RuleCall struct {
	Step    int             `json:"step"`
	Action  string          `json:"action"`
	Skipped bool            `json:"skipped"`
	Params  json.RawMessage `json:"params"`
	Error   string          `json:"error"`
}

// Ordered is what became of an order for one delivery.
type Ordered struct {
	ID string `json:"id"`
	// Result is ok, refused (see Reason), not_found or error (see Reason; the
	// order may or may not have taken effect).
	Result string `json:"result"`
	Reason string `json:"reason"`
}
