package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Effect is what the state lets a match do.
type Effect struct {
	// Fire: run the calls. Otherwise the match is throttled, for Reason.
	Fire   bool
	Reason string
	// Data replaces the state when Changed; Expires is when it may be forgotten.
	Changed bool
	Data    []byte
	Expires time.Time
}

// stateVersion is the form of the state this program writes.
const stateVersion = 1

// onceState is the state of a rule with once. It holds the start of the window
// and not its end, so that a rule loaded with another once applies at once.
type onceState struct {
	Version int `json:"v"`
	// Start is in nanoseconds since 1970.
	Start *int64 `json:"start"`
}

// Step advances the state of one rule and key by one matching event. data is
// the state as stored (nil: none), now the accept time; it is raised to the
// time in the state when it is earlier. An unreadable state is an error.
func Step(r *Rule, data []byte, now time.Time) (Effect, error) {
	if r.Once <= 0 {
		return Effect{Fire: true}, nil
	}
	if data != nil {
		start, err := readState(data)
		if err != nil {
			return Effect{}, err
		}
		if now.Before(start) {
			now = start
		}
		if end := start.Add(r.Once); now.Before(end) {
			return Effect{Reason: fmt.Sprintf("once %s: fired %s earlier, until %s", ShortDuration(r.Once),
				ShortDuration(roundDown(now.Sub(start))), end.UTC().Format("2006-01-02T15:04:05.999Z07:00"))}, nil
		}
	}
	start := now.UnixNano()
	state, err := json.Marshal(onceState{stateVersion, &start})
	if err != nil {
		return Effect{}, fmt.Errorf("state of once: %w", err)
	}
	return Effect{Fire: true, Changed: true, Data: state, Expires: now.Add(r.Once)}, nil
}

func readState(data []byte) (time.Time, error) {
	var st onceState
	if err := json.Unmarshal(data, &st); err != nil {
		return time.Time{}, fmt.Errorf("state of once is unreadable: %w", err)
	}
	if st.Version == stateVersion && st.Start == nil {
		return time.Time{}, errors.New("state of once is unreadable: it has no start")
	}
	if st.Version != stateVersion {
		return time.Time{}, fmt.Errorf("state of once has form %d, this program reads form %d", st.Version, stateVersion)
	}
	return time.Unix(0, *st.Start), nil
}

// roundDown drops what nobody reads: milliseconds from a second on.
func roundDown(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Truncate(time.Millisecond)
	}
	return d.Truncate(time.Second)
}

// ShortDuration is 10m instead of 10m0s.
func ShortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
