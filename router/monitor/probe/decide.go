package probe

import (
	"slices"
	"time"
)

// The states of a target.
const (
	up   = "up"
	down = "down"
)

// record is what is remembered of a target.
type record struct {
	State string `json:"state"`
	// Since is when the first of the checks began that made the state.
	Since time.Time `json:"since"`
	// Seen is what the target showed when it was last up.
	Seen []string `json:"seen,omitempty"`
	// Stage is the number of the smallest of Config.ExpiresWithin that the
	// certificate is within, counted from the smallest as 1; 0: none.
	Stage int `json:"stage,omitempty"`
	// Within are the thresholds that Stage was counted with.
	Within []time.Duration `json:"within,omitempty"`
}

// streak is what the last checks had in common.
type streak struct {
	failed bool
	n      int
	since  time.Time
	// seen is what the last seenN checks in a row showed.
	seen  []string
	seenN int
}

func (s *streak) add(res Result, at time.Time) {
	if failed := res.Err != nil; s.n == 0 || failed != s.failed {
		s.failed, s.n, s.since = failed, 0, at
	}
	s.n++
	switch {
	case res.Err != nil || res.Seen == nil:
		s.seen, s.seenN = nil, 0
	case slices.Equal(res.Seen, s.seen):
		s.seenN++
	default:
		s.seen, s.seenN = res.Seen, 1
	}
}

// change is what a check has changed in what is remembered.
type change uint8

const (
	changeNone change = iota
	// changeQuiet is remembered and not told.
	changeQuiet
	changeDown
	changeUp
	changeSeen
	changeExpiring
)

// eventType is the type of the event that tells the change; "" for none.
func (c change) eventType() string {
	switch c {
	case changeDown:
		return TypeDown
	case changeUp:
		return TypeUp
	case changeSeen:
		return TypeChanged
	case changeExpiring:
		return TypeExpiring
	case changeNone, changeQuiet:
	}
	return ""
}

// decide returns the first thing that has changed against what is remembered
// (nil: nothing is), and what is to be remembered with it. It is called until
// nothing is left.
func decide(was *record, s *streak, res Result, now time.Time, cfg *Config) (change, *record) {
	if was == nil {
		if s.failed && s.n < cfg.DownAfter {
			return changeNone, nil
		}
		// A baseline. That it succeeds once is enough to know how it looks.
		next := &record{State: up, Since: s.since}
		if s.failed {
			next.State = down
			return changeQuiet, next
		}
		next.Seen = res.Seen
		next.Stage, next.Within = stage(res, now, cfg)
		return changeQuiet, next
	}
	next := *was
	switch {
	case s.failed:
		if was.State == down || s.n < cfg.DownAfter {
			return changeNone, nil
		}
		next.State, next.Since = down, s.since
		return changeDown, &next
	case was.State == down:
		if s.n < cfg.UpAfter {
			return changeNone, nil
		}
		next.State, next.Since = up, s.since
		return changeUp, &next
	}
	if res.Seen != nil && !slices.Equal(res.Seen, was.Seen) {
		next.Seen = res.Seen
		switch {
		case was.Seen == nil:
			return changeQuiet, &next
		case s.seenN < cfg.UpAfter:
			return changeNone, nil
		}
		return changeSeen, &next
	}
	return expiry(was, res, now, cfg)
}

// expiry compares how close the certificate is to its end.
func expiry(was *record, res Result, now time.Time, cfg *Config) (change, *record) {
	next := *was
	next.Stage, next.Within = stage(res, now, cfg)
	before := was.Stage
	if !slices.Equal(was.Within, next.Within) {
		// Other thresholds: what the old one stands for among them.
		before = 0
		if was.Stage > 0 && was.Stage <= len(was.Within) {
			before = among(was.Within[was.Stage-1], next.Within)
		}
	}
	switch {
	case next.Stage > 0 && (before == 0 || next.Stage < before):
		return changeExpiring, &next
	case next.Stage != was.Stage || !slices.Equal(was.Within, next.Within):
		return changeQuiet, &next
	}
	return changeNone, nil
}

// stage counts thresholds from the smallest; see record.Stage.
func stage(res Result, now time.Time, cfg *Config) (int, []time.Duration) {
	if res.Expires.IsZero() || len(cfg.ExpiresWithin) == 0 {
		return 0, nil
	}
	left := res.Expires.Sub(now)
	for i, within := range cfg.ExpiresWithin {
		if left <= within {
			return i + 1, cfg.ExpiresWithin
		}
	}
	return 0, cfg.ExpiresWithin
}

// among returns the number of the smallest threshold that is not below d.
func among(d time.Duration, within []time.Duration) int {
	for i, w := range within {
		if d <= w {
			return i + 1
		}
	}
	return 0
}
