package redis

import (
	"context"
	"errors"
	"net"
	"time"
)

const (
	// pingAfter is how long the listener hears nothing before it asks whether the
	// connection still stands.
	pingAfter = 15 * time.Second
	// minBackoff and maxBackoff bound the pause before it connects again.
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// listen is the goroutine that hears of what other routers did. It passes every
// message on as a wake-up, and one more after each connection: something may
// have been missed.
func (db *DB) listen(ctx context.Context) {
	for pause := minBackoff; ; pause = min(2*pause, maxBackoff) {
		if db.hear(ctx) {
			pause = minBackoff
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// hear listens until the connection breaks; true if it had stood.
func (db *DB) hear(ctx context.Context) (stood bool) {
	sub := db.client.Subscribe(ctx, db.keys.wake())
	stop := context.AfterFunc(ctx, func() { _ = sub.Close() })
	defer func() {
		if stop() {
			_ = sub.Close()
		}
	}()
	asked := false
	for ctx.Err() == nil {
		_, err := sub.ReceiveTimeout(ctx, pingAfter)
		var timedOut net.Error
		switch {
		case err == nil:
			stood, asked = true, false
			db.signal()
		case errors.As(err, &timedOut) && timedOut.Timeout() && stood && !asked:
			if sub.Ping(ctx) != nil {
				return stood
			}
			asked = true
		default:
			return stood
		}
	}
	return stood
}
