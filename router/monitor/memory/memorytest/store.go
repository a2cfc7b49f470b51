// Package memorytest is a store for tests of sources: it does with events and
// states what the router promises, and fails when it is told to.
package memorytest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// Event is an accepted event, as far as tests look at it.
type Event struct {
	ID, Source, Type, Subject, Time string
	Data                            map[string]any
}

// Store holds what sources have sent and what they remember. The zero Store is
// empty; it is safe for concurrent use.
type Store struct {
	mu     sync.Mutex
	events []Event
	ids    map[string]bool
	states map[string]store.State
	writes int
	before int
	after  int
	moved  chan struct{}
}

// Away makes the next before calls fail without effect, and the after calls that
// follow fail although they had their effect.
func (s *Store) Away(before, after int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

// Accept is a router.AcceptFunc.
func (s *Store) Accept(ctx context.Context, ev *rules.Event, state *store.StateWrite) (router.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return router.Result{}, ctx.Err()
	}
	if s.before > 0 {
		s.before--
		return router.Result{}, fmt.Errorf("accept: %w", router.ErrUnavailable)
	}
	res, err := s.accept(ev, state)
	if s.after > 0 {
		s.after--
		return router.Result{}, fmt.Errorf("accept: %w", router.ErrUnavailable)
	}
	return res, err
}

func (s *Store) accept(ev *rules.Event, state *store.StateWrite) (router.Result, error) {
	if s.ids == nil {
		s.ids, s.states = map[string]bool{}, map[string]store.State{}
	}
	if ev != nil && s.ids[ev.ID()] {
		return router.Result{Duplicate: true}, nil
	}
	if state != nil {
		if state.Version == 0 || state.Key == "" {
			return router.Result{}, fmt.Errorf("a write of %q as version %d", state.Key, state.Version)
		}
		if s.states[state.Key].Version != state.Read {
			return router.Result{}, fmt.Errorf("accept: %w", router.ErrStale)
		}
		s.states[state.Key] = state.State
		s.writes++
	}
	if ev != nil {
		s.ids[ev.ID()] = true
		e := Event{ID: ev.ID(), Source: ev.Source(), Type: ev.Type(), Subject: ev.Attributes().Subject, Time: ev.Attributes().Time}
		var whole struct{ Data map[string]any }
		if err := json.Unmarshal(ev.JSON(), &whole); err != nil {
			return router.Result{}, err
		}
		e.Data = whole.Data
		s.events = append(s.events, e)
	}
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
	return router.Result{}, nil
}

// Load is that of router.StateReader.
func (s *Store) Load(ctx context.Context, keys ...string) ([]store.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	out := make([]store.State, len(keys))
	for i, key := range keys {
		out[i] = s.states[key]
		out[i].Key = key
	}
	return out, nil
}

// Events are those accepted so far, oldest first.
func (s *Store) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Event(nil), s.events...)
}

// States are what is remembered, by key.
func (s *Store) States() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string][]byte, len(s.states))
	for key, state := range s.states {
		out[key] = state.Data
	}
	return out
}

// Writes counts the states written so far.
func (s *Store) Writes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// Until waits until done is true of the store, or ctx ends. done is asked again
// after every change.
func (s *Store) Until(ctx context.Context, done func() bool) error {
	for {
		s.mu.Lock()
		if s.moved == nil {
			s.moved = make(chan struct{})
		}
		moved := s.moved
		s.mu.Unlock()
		if done() {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
