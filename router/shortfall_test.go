package router

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// changed is a store whose settings someone changes.
type changed struct {
	store.Full
	policy atomic.Value
	away   atomic.Bool
}

func (c *changed) Shortfalls(context.Context, store.Durability) ([]store.Shortfall, error) {
	if c.away.Load() {
		return nil, store.ErrUnavailable
	}
	if p := c.policy.Load(); p != nil {
		return []store.Shortfall{{Setting: "maxmemory-policy", Value: p.(string), Want: "noeviction", Fatal: true}}, nil
	}
	return nil, nil
}

// Claim fails as well while the store is away: one that succeeds would say that it
// is there.
func (c *changed) Claim(ctx context.Context, op store.OpID, wants []store.Want, ttl time.Duration) ([]store.Lease, time.Duration, error) {
	if c.away.Load() {
		return nil, 0, store.ErrUnavailable
	}
	return c.Full.Claim(ctx, op, wants, ttl)
}

// TestSettingChangedWhileRunning: a store that comes to promise less is told of
// within half a minute, and goes on.
func TestSettingChangedWhileRunning(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, bounceRule, Action{Name: "bounce"}))
		s := &changed{Full: b.db}
		b.cfg.Store = s
		b.build()
		b.run()
		if got := b.r.Health(); len(got.Shortfalls)+len(got.Reasons) > 0 {
			t.Fatalf("before: %+v", got)
		}
		s.policy.Store("allkeys-lru")
		<-time.After(checkEvery + time.Second)
		synctest.Wait()
		got := b.r.Health()
		if len(got.Shortfalls) != 1 || got.Shortfalls[0].Value != "allkeys-lru" || len(got.Reasons) > 0 {
			t.Errorf("after %v: %+v", checkEvery, got)
		}
	})
}

// TestReadySoonAfterTheStoreIsBack: a look at the store that fell into an outage
// does not keep the router unready until the next regular one.
func TestReadySoonAfterTheStoreIsBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, setup(t, bounceRule, Action{Name: "bounce"}))
		s := &changed{Full: b.db}
		b.cfg.Store = s
		b.build()
		b.run()
		s.away.Store(true)
		<-time.After(checkEvery + time.Second)
		synctest.Wait()
		if got := b.r.Health(); len(got.Reasons) != 1 {
			t.Errorf("while it is away: %+v", got)
		}
		s.away.Store(false)
		<-time.After(checkAgain + time.Second)
		synctest.Wait()
		if got := b.r.Health(); len(got.Reasons) > 0 {
			t.Errorf("%v after it came back: %+v", checkAgain, got)
		}
	})
}
