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
	w.ahead = w.difference()
	return w
}

func (w *clockWatch) difference() time.Duration {
	return time.Duration(w.now().UnixNano()) - time.Since(w.begun)
}

// set is by how much the clock was set since the last call; 0: it was not.
func (w *clockWatch) set() time.Duration {
	by := w.difference() - w.ahead
	if by.Abs() < setBy {
		return 0
	}
	w.ahead += by
	return by
}
