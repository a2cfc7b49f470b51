package router

import (
	"encoding/json"
	"time"

	"github.com/pointsman/pointsman/rules"
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
	// Rules are those in quarantine because they took too much of an event; they
	// do not make the router unready.
	Rules []Broken `json:"rules"`
	// DryRun: events are accepted and recorded, nothing is run.
	DryRun bool `json:"dry_run"`
}

// Broken is an action, a source or a rule that does not work now, and why.
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
	// DryRun: the router was started with --dry-run.
	DryRun  bool `json:"dry_run"`
	Sources int  `json:"sources"`
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
	// State is idle (not started yet), running, broken (see LastError), paused, or
	// dry_run: its calls are recorded and not run. The admin listener adds
	// removed, for actions that only deliveries still name.
	State string `json:"state"`
	// PausedSince is when a person paused it, null when it is not paused;
	// PauseReason is what they said.
	PausedSince *time.Time `json:"paused_since"`
	PauseReason string     `json:"pause_reason"`
	Concurrency int        `json:"concurrency"`
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
	// DryRun: the action, or the whole router, is dry.
	DryRun bool `json:"dry_run"`
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
	// File and Line are where the rule begins.
	File string `json:"file"`
	Line int    `json:"line"`
	// Verdict is one of matched, not_matched, duplicate, throttled, dry_run,
	// skipped, held, error.
	Verdict string `json:"verdict"`
	// Reason says what decided.
	Reason string `json:"reason"`
	// Note says what the state of the rule (once) did or may do; it may be empty.
	Note string `json:"note"`
	// Nearness is the share of the rule's when that holds, from 0 to 1. OtherType:
	// it is about another type of event.
	Nearness  float64 `json:"nearness"`
	OtherType bool    `json:"other_type"`
	// Conditions are the parts of when that all have to hold.
	Conditions []rules.Condition `json:"conditions"`
	// Key is the rule's key for the event, as text.
	Key string `json:"key"`
	// Once is the rule's window, as in "10m"; empty without.
	Once  string     `json:"once"`
	Calls []RuleCall `json:"calls"`
	// Now is what the rules now in force say, if that is something else.
	Now *RuleNow `json:"now"`
}

// RuleNow is what the rules now in force make of a recorded event, without
// state.
type RuleNow struct {
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
}

// RuleCall is what one step of a rule would run, or ran.
type RuleCall struct {
	Step    int    `json:"step"`
	Action  string `json:"action"`
	Skipped bool   `json:"skipped"`
	// Reason says what the step's if saw; empty without if.
	Reason string          `json:"reason"`
	Params json.RawMessage `json:"params"`
	Error  string          `json:"error"`
}

// Ordered is what became of an order for one delivery.
type Ordered struct {
	ID string `json:"id"`
	// Result is ok, refused (see Reason), not_found or error (see Reason; the
	// order may or may not have taken effect).
	Result string `json:"result"`
	Reason string `json:"reason"`
}
