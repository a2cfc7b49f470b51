package host

import (
	"fmt"
	"sync"
	"time"
)

// Defaults of the circuit breaker; see Config.
const (
	circuitCrashes  = 5
	circuitWindow   = 10 * time.Minute
	circuitPause    = 10 * time.Second
	circuitMaxPause = 5 * time.Minute
)

// breaker keeps a plugin that crashes again and again from being started, and
// from being handed runs that it would take down with it. Closed, it only counts.
// It opens at a number of crashes in a window of time; for a pause all runs are
// then refused unsent. After the pause it is half open: one run at a time is let
// in. A result closes it, a crash opens it again for twice the pause.
//
// It is safe for concurrent use.
type breaker struct {
	crashes  int           // that open it
	window   time.Duration // in which they have to happen
	pause    time.Duration // the first
	maxPause time.Duration

	mu      sync.Mutex
	recent  []time.Time // crashes within the window, while closed
	opened  int         // times in a row; 0: closed
	until   time.Time   // end of the pause
	probing bool        // a run is let in
	last    error       // the latest crash
}

// crash counts one, and says whether the breaker opened by it.
func (b *breaker) crash(now time.Time, why error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = why
	if b.opened == 0 {
		b.recent = append(b.recent, now)
		for now.Sub(b.recent[0]) > b.window {
			b.recent = b.recent[1:]
		}
		if len(b.recent) < b.crashes {
			return false
		}
		b.recent = nil
	}
	pause := b.maxPause
	if b.opened < 16 {
		pause = min(b.pause<<b.opened, b.maxPause)
	}
	b.opened++
	b.until = now.Add(pause)
	return true
}

// enter asks for a run to be let in. With probe it is the one of a half-open
// breaker; leave must be called at its end.
func (b *breaker) enter(now time.Time) (probe bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.opened == 0 {
		return false, nil
	}
	if now.Before(b.until) || b.probing {
		return false, b.refusal(now)
	}
	b.probing = true
	return true, nil
}

// admits says whether a run that was let in may still have the plugin started.
func (b *breaker) admits(now time.Time, probe bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.opened == 0 || probe && !now.Before(b.until) {
		return nil
	}
	return b.refusal(now)
}

// leave ends the run of a half-open breaker; answered closes it.
func (b *breaker) leave(answered bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	if answered {
		b.opened, b.last = 0, nil
	}
}

// open says why runs are refused, nil when they are not.
func (b *breaker) open(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.opened == 0 {
		return nil
	}
	return b.refusal(now)
}

func (b *breaker) refusal(now time.Time) error {
	if now.Before(b.until) {
		return fmt.Errorf("circuit open: it crashed %d times within %v; tried again at %s; last: %w",
			b.crashes, b.window, b.until.UTC().Format(time.RFC3339), b.last)
	}
	return fmt.Errorf("circuit half open: one run at a time is tried, it crashed %d times within %v; last: %w",
		b.crashes, b.window, b.last)
}
