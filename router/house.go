package router

import (
	"context"
	"fmt"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

const (
	checkEvery = 30 * time.Second
	// checkAgain is the pause when the store could not be asked: the router is not
	// ready until it can.
	checkAgain  = 5 * time.Second
	retainEvery = time.Minute
	// orphanAge is the max_age of deliveries whose action is not configured any
	// more.
	orphanAge = 24 * time.Hour
)

// keepHouse removes what retention no longer keeps, re-checks the store's
// durability, and ends deliveries that waited too long for a removed action.
func (r *Router) keepHouse(ctx context.Context) {
	check, retain := time.NewTimer(r.checkStore(ctx)), time.NewTicker(retainEvery)
	defer check.Stop()
	defer retain.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-check.C:
			check.Reset(r.checkStore(ctx))
		case <-retain.C:
			r.retain(ctx)
			r.buryOrphans(ctx)
		}
	}
}

// checkStore asks the store for its settings; it returns when to ask again.
func (r *Router) checkStore(ctx context.Context) time.Duration {
	call, cancel := context.WithTimeout(ctx, checkEvery/2)
	defer cancel()
	short, err := r.cfg.Store.Shortfalls(call, r.cfg.Durability)
	if ctx.Err() != nil {
		return checkEvery
	}
	if err != nil {
		r.health.set(reasonStore, "store: "+err.Error())
		r.log.Warn("asking the store for its settings", "error", err)
		return checkAgain
	}
	r.health.clear(reasonStore)
	for _, s := range short {
		r.log.Warn("the store promises less than configured", "setting", s.Setting, "value", s.Value, "want", s.Want)
	}
	r.health.setShortfalls(short)
	return checkEvery
}

func (r *Router) retain(ctx context.Context) {
	p := r.cfg.Retention
	p.Keep = r.setup.Load().Revision.ID
	got, err := r.cfg.Store.Retain(ctx, p)
	if err != nil {
		if ctx.Err() == nil {
			r.doom(err)
			r.log.Warn("removing what is past its retention", "error", err)
		}
		return
	}
	if got.Full {
		r.health.set(reasonFull, fmt.Sprintf("store is full: %d bytes and nothing finished left to remove", got.Bytes))
	} else {
		r.health.clear(reasonFull)
	}
	if got.DeadForSize > 0 {
		r.log.Warn("dead deliveries removed because the store is at retention.size", "deliveries", got.DeadForSize)
	}
	if got.Events+got.Deliveries > 0 {
		r.log.Debug("removed what is past its retention", "events", got.Events, "deliveries", got.Deliveries)
	}
}

// buryOrphans ends deliveries of actions that are not configured, when they
// have waited for longer than orphanAge; those too that were leased when the
// action went, and whose lease nobody takes over. A router that is dry as a whole
// ends none.
func (r *Router) buryOrphans(ctx context.Context) {
	counts, err := r.cfg.Store.Counts(ctx)
	if err != nil {
		return // the store's trouble is reported elsewhere
	}
	setup := r.setup.Load()
	if setup.Rules.DryRun() {
		return
	}
	now := r.cfg.Now()
	for _, c := range counts {
		if _, configured := setup.Actions[c.Action]; configured || c.State != store.Ready && c.State != store.Leased || now.Sub(c.Oldest) < orphanAge {
			continue
		}
		q := store.DeliveryQuery{Action: c.Action, States: []store.DeliveryState{c.State}, Until: now.Add(-orphanAge)}
		for {
			page, err := r.cfg.Store.Deliveries(ctx, q)
			if err != nil || len(page) == 0 {
				break
			}
			changes := make([]store.Change, 0, len(page))
			for i := range page {
				if now.Sub(page[i].Budget) >= orphanAge {
					changes = append(changes, store.Change{
						ID: page[i].ID, Kind: store.Bury, Reason: store.ReasonAge,
						Error: fmt.Sprintf("action %q is not configured and did not return within %s", c.Action, orphanAge),
					})
				}
			}
			if _, err := r.cfg.Store.Change(ctx, changes...); err != nil {
				r.log.Warn("ending deliveries of a removed action", "action", c.Action, "error", err)
				break
			}
			q.Before = page[len(page)-1].ID
		}
	}
}
