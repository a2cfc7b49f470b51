package ingest

import (
	"math"
	"net/http"
	"sync"
	"time"
)

// bucket bounds the events of one source: a token bucket that holds one second
// of the rate, at least one event. A request is let in while it is not empty and
// then takes as many tokens as it had events, so a large batch is paid for
// afterwards and never impossible.
type bucket struct {
	rate float64 // events per second; 0: no limit
	now  func() time.Time

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

func newBucket(rate float64, now func() time.Time) *bucket {
	b := &bucket{rate: rate, now: now}
	b.tokens, b.last = b.size(), now()
	return b
}

func (b *bucket) size() float64 { return max(b.rate, 1) }

// admit returns nil when a request may come in.
func (b *bucket) admit() *problem {
	if b.rate <= 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if gone := now.Sub(b.last).Seconds(); gone > 0 {
		b.tokens = min(b.size(), b.tokens+gone*b.rate)
	}
	b.last = now
	// What is left of a float is no event.
	if b.tokens >= 1-1e-9 {
		return nil
	}
	return &problem{
		status: http.StatusTooManyRequests, code: "rate_limited",
		detail:     "the source sends more events than its rate allows (send it again later)",
		retryAfter: int(math.Ceil((1 - b.tokens) / b.rate)),
	}
}

// take pays for n events.
func (b *bucket) take(n int) {
	if b.rate <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens -= float64(n)
}
