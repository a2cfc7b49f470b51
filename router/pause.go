package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

const (
	// pausePrefix begins the keys of states that say which actions are paused. No
	// rule's and no source's key begins so.
	pausePrefix = "/pause/"
	// pauseEvery is how often the pauses are read again: within it an order given to
	// one router holds for all that share its store.
	pauseEvery = time.Second
	// maxPauses is how many past pauses of an action are remembered, the last ones.
	maxPauses = 32
)

// Pause is an action stopped by hand.
type Pause struct {
	Since  time.Time
	Reason string
}

// pauseState is what the store has of one action.
type pauseState struct {
	// Since is when the pause began; zero: the action is not paused.
	Since  time.Time `json:"since,omitzero"`
	Reason string    `json:"reason,omitempty"`
	// Past are the pauses that ended, oldest first.
	Past []span `json:"past,omitempty"`
}

type span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// pauses is what this router knows of them.
type pauses struct {
	mu sync.Mutex
	by map[string]pauseState
}

func (p *pauses) get(action string) pauseState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.by[action]
}

// set replaces what is known of some actions; it tells whether one is no longer
// paused.
func (p *pauses) set(states map[string]pauseState) (resumed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := make(map[string]pauseState, len(states))
	maps.Copy(next, p.by)
	for action, st := range states {
		resumed = resumed || st.Since.IsZero() && !p.by[action].Since.IsZero()
		next[action] = st
	}
	p.by = next
	return resumed
}

// within is how long the action was paused between from and now.
func (s *pauseState) within(from, now time.Time) time.Duration {
	var sum time.Duration
	add := func(a, b time.Time) {
		if a.Before(from) {
			a = from
		}
		if b.After(a) {
			sum += b.Sub(a)
		}
	}
	for _, p := range s.Past {
		add(p.From, p.To)
	}
	if !s.Since.IsZero() {
		add(s.Since, now)
	}
	return sum
}

// Pause stops an action: from now on no attempt of it starts, on this router at
// once and on others that share its store within a second. Attempts that run go
// on, deliveries are accepted and wait, and the time of the pause counts neither
// as an attempt nor towards max_age. It holds over restarts and reloads until
// Resume. Pausing what is paused changes the reason alone. The errors wrap
// store.ErrNotFound for an action that is not configured, and ErrUnavailable.
func (r *Router) Pause(ctx context.Context, action, reason string) (Pause, error) {
	if _, ok := r.setup.Load().Actions[action]; !ok {
		return Pause{}, fmt.Errorf("action %q: %w", action, store.ErrNotFound)
	}
	st, err := r.changePause(ctx, action, func(st *pauseState, now time.Time) {
		if st.Since.IsZero() {
			st.Since = now
		}
		st.Reason = reason
	})
	if err != nil {
		return Pause{}, err
	}
	r.log.Warn("action paused by hand", "action", action, "reason", reason)
	return Pause{Since: st.Since, Reason: st.Reason}, nil
}

// Resume lets a paused action go on; one that is not paused stays as it is. What
// became due meanwhile starts at once, as fast as the action's concurrency
// allows. The errors are those of Pause; an action that is not configured any
// more may be resumed.
func (r *Router) Resume(ctx context.Context, action string) error {
	if _, ok := r.setup.Load().Actions[action]; !ok && r.pauses.get(action).Since.IsZero() {
		return fmt.Errorf("action %q: %w", action, store.ErrNotFound)
	}
	_, err := r.changePause(ctx, action, func(st *pauseState, now time.Time) {
		if st.Since.IsZero() {
			return
		}
		st.Past = append(st.Past, span{st.Since, now})
		st.Past = st.Past[max(0, len(st.Past)-maxPauses):]
		st.Since, st.Reason = time.Time{}, ""
	})
	if err != nil {
		return err
	}
	r.log.Warn("action resumed by hand", "action", action)
	return nil
}

// Paused returns the actions that are paused, as far as this router knows.
func (r *Router) Paused() map[string]Pause {
	r.pauses.mu.Lock()
	defer r.pauses.mu.Unlock()
	out := make(map[string]Pause)
	for action, st := range r.pauses.by {
		if !st.Since.IsZero() {
			out[action] = Pause{Since: st.Since, Reason: st.Reason}
		}
	}
	return out
}

// changePause writes the state of one action, on what another router may have
// written meanwhile.
func (r *Router) changePause(ctx context.Context, action string, change func(*pauseState, time.Time)) (pauseState, error) {
	key := pausePrefix + action
	for {
		was, err := r.cfg.Store.Load(ctx, key)
		if err != nil {
			return pauseState{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		st := readPause(was[0].Data)
		change(&st, r.cfg.Now().UTC())
		data, err := json.Marshal(st)
		if err != nil {
			return pauseState{}, fmt.Errorf("encode the pause: %w", err)
		}
		res, err := r.cfg.Store.Commit(ctx, store.Txn{States: []store.StateWrite{{
			State: store.State{Key: key, Version: newVersion(), Data: data}, Read: was[0].Version,
		}}})
		if err != nil {
			return pauseState{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if res[0].Status == store.StatusStale {
			continue
		}
		r.pauses.set(map[string]pauseState{action: st})
		r.poke()
		return st, nil
	}
}

// readPause reads what the store has; what cannot be read is no pause.
func readPause(data []byte) pauseState {
	var st pauseState
	if len(data) == 0 || json.Unmarshal(data, &st) != nil {
		return pauseState{}
	}
	return st
}

// loadPauses reads the state of every configured action.
func (r *Router) loadPauses(ctx context.Context) error {
	actions := slices.Sorted(maps.Keys(r.setup.Load().Actions))
	if len(actions) == 0 {
		return nil
	}
	keys := make([]string, len(actions))
	for i, a := range actions {
		keys[i] = pausePrefix + a
	}
	found, err := r.cfg.Store.Load(ctx, keys...)
	if err != nil {
		return err
	}
	states := make(map[string]pauseState, len(found))
	for i := range found {
		if st := readPause(found[i].Data); found[i].Version != 0 || !r.pauses.get(actions[i]).Since.IsZero() {
			states[actions[i]] = st
		}
	}
	if r.pauses.set(states) {
		r.poke()
	}
	return nil
}

// keepPauses learns of orders given to other routers. What it knows stays in force
// while the store is away.
func (r *Router) keepPauses(ctx context.Context) {
	tick := time.NewTicker(pauseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		call, cancel := context.WithTimeout(ctx, commitTime)
		err := r.loadPauses(call)
		cancel()
		if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrUnavailable) {
			r.log.Warn("reading which actions are paused", "error", err)
		}
	}
}
