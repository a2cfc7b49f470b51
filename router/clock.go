package router

import "time"

// setBy is how far the clock must be from where it should be to have been set.
const setBy = time.Second

// clockWatch tells when the clock of the host is set, for people: windows, max_age and
// schedules go by that clock.
type clockWatch struct {
	now   func() time.Time
	begun time.Time // by the clock that nobody sets
	ahead time.Duration
}

func newClockWatch(now func() time.Time) *clockWatch {
	w := &clockWatch{now: now, begun: time.Now()}
	w.ahead = w.look()
	return w
}

// look is how far the clock is ahead. When the process stood still between reading
// the one and the other, it reads again.
func (w *clockWatch) look() time.Duration {
	for {
		before, now := time.Now(), w.now()
		if after := time.Now(); after.Sub(before) < setBy/4 {
			return time.Duration(now.UnixNano()) - after.Sub(w.begun)
		}
	}
}

// set is by how much the clock was set since the last call; 0: it was not.
func (w *clockWatch) set() time.Duration {
	ahead := w.look()
	by := ahead - w.ahead
	if by.Abs() < setBy {
		return 0
	}
	w.ahead = ahead
	return by
}
