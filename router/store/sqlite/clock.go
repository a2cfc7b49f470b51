package sqlite

import (
	"container/heap"
	"time"
)

// setBy is how far the clock must be from where it should be to have been set. A
// clock that is slewed, or smears a leap second, comes that far in hours.
const setBy = time.Second

// clock notices when Now is set. What is in the index is moved along then, so that
// a lease that is held does not run out early, and nothing waits longer than it
// was told to. DB.mu guards it.
type clock struct {
	now    func() time.Time
	steady func() time.Duration
	// ahead is how far Now was ahead of steady at the last look.
	ahead time.Duration
	moves moves
}

// moves sums up by how much due times have been moved.
type moves struct{ ready, leased int64 }

func newClock(cfg *Config) clock {
	c := clock{now: cfg.Now, steady: cfg.Steady}
	switch {
	case c.now == nil:
		c.now = time.Now
		begun := time.Now()
		c.steady = func() time.Duration { return time.Since(begun) }
	case c.steady == nil:
		begun := c.now()
		c.steady = func() time.Duration { return c.now().Sub(begun) }
	}
	_, c.ahead = c.read()
	return c
}

// read returns the time and how far it is ahead of the steady clock. When the
// process stood still between reading the one and the other, it reads again.
func (c *clock) read() (now time.Time, ahead time.Duration) {
	for {
		before := c.steady()
		now = c.now()
		if after := c.steady(); after-before < setBy/4 {
			return now, time.Duration(now.UnixNano()) - after
		}
	}
}

// look reads the clock and moves what the index holds when it was set; DB.mu is
// held. Set back, everything is due as much earlier; set forward, leases are due
// later, and what waits may be due early: perhaps the host was asleep.
func (db *DB) look() time.Time {
	c := &db.clock
	now, ahead := c.read()
	by := ahead - c.ahead
	if by.Abs() >= setBy {
		c.ahead = ahead
		m := moves{leased: int64(by), ready: min(0, int64(by))}
		c.moves.ready += m.ready
		c.moves.leased += m.leased
		db.index.move(m)
	}
	return now
}

// move moves every due time.
func (x *index) move(by moves) {
	for _, it := range x.items {
		if it.leased {
			it.due += by.leased
		} else {
			it.due += by.ready
		}
	}
	for l := range x.held {
		l.hold.until += by.leased
	}
	for _, q := range x.queues {
		heap.Init(q)
	}
}
