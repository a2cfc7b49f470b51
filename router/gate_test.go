package router

import (
	"context"
	"testing"
	"testing/synctest"
)

func TestGate(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var g gate
		in := make(chan string, 10)
		ctx, cancel := context.WithCancel(t.Context())
		come := func(ctx context.Context, name string, alone bool) {
			go func() {
				if g.enter(ctx, alone) {
					in <- name
				} else {
					in <- name + " gave up"
				}
			}()
			synctest.Wait()
		}
		expect := func(names ...string) {
			t.Helper()
			synctest.Wait()
			if len(in) != len(names) {
				t.Fatalf("%d came in, want %v", len(in), names)
			}
			got := make(map[string]bool)
			for range names {
				got[<-in] = true
			}
			for _, n := range names {
				if !got[n] {
					t.Fatalf("came in: %v, want %v", got, names)
				}
			}
		}
		come(t.Context(), "a", false)
		come(t.Context(), "b", false)
		expect("a", "b")
		come(t.Context(), "alone", true)
		come(ctx, "impatient", true)
		come(t.Context(), "c", false) // not past those who wait
		expect()
		g.leave()
		expect()
		g.leave()
		expect("alone")
		come(t.Context(), "d", false)
		expect()
		cancel()
		expect("impatient gave up")
		g.leave()
		expect("c", "d")
		g.leave()
		g.leave()
		come(t.Context(), "last", true)
		expect("last")
		g.leave()
	})
}
