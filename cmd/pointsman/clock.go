//go:build !torture

package main

import "time"

// wallClock is the clock of everything that decides by the time of day: rules,
// schedules, the embedded store. A torture run builds one that can be set.
func wallClock() func() time.Time { return time.Now }
