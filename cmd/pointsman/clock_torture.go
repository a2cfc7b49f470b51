//go:build torture

package main

import (
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"
)

// clockLook is how often the file is read.
const clockLook = 5 * time.Millisecond

// wallClock is the clock of the host, set by as much as the file says that
// POINTSMAN_CLOCK names: a duration in whole seconds.
func wallClock() func() time.Time {
	path := os.Getenv("POINTSMAN_CLOCK")
	if path == "" {
		return time.Now
	}
	var by, looked atomic.Int64
	begun := time.Now()
	return func() time.Time {
		t := time.Now()
		if at := int64(t.Sub(begun)); at-looked.Load() > int64(clockLook) {
			looked.Store(at)
			text, _ := os.ReadFile(path)
			if d, err := time.ParseDuration(strings.TrimSpace(string(text))); err == nil {
				by.Store(int64(d / time.Second))
			}
		}
		// As when a clock is set: the part of a time.Time that is the wall's clock,
		// whole seconds from bit 30 on, moves, and the other goes on; see package time.
		*(*uint64)(unsafe.Pointer(&t)) += uint64(by.Load()) << 30
		return t
	}
}
