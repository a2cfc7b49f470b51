package router

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// ErrStale tells that another router, or an earlier Run, has written the state
// since it was read. Nothing was written; the source reads its state again and
// decides anew.
var ErrStale = errors.New("the state was written by another since it was read")

// AcceptFunc takes one event of a source, and with it what the source must
// remember: both are written in one transaction, or neither. ev may be nil, to
// remember without an event (a first state is a baseline and not an event);
// state may be nil. When it returns nil both are durable; a duplicate is no
// error and writes neither: the source then writes its state alone. The errors
// are ErrStale, ErrUnavailable, ErrStopping, wrapped, and the context's. After
// ErrUnavailable and the context's it is not known whether both were written or
// neither, and the same call may be made again.
//
// A Version of 0 in state is replaced, in place, by a new one: what the next
// write of the key says it has Read. Its Data must not be changed afterwards.
// AcceptFunc is safe for concurrent use.
type AcceptFunc func(ctx context.Context, ev *rules.Event, state *store.StateWrite) (Result, error)

// StateReader reads what a source remembered. A key without state has Version 0.
// The keys of a source are its own: the router puts the source's name before
// them. State without Expires stays for ever, also when its source is renamed
// or removed: a source that is called as one before it goes on where that one
// ended. The errors are ErrUnavailable, wrapped, and the context's.
type StateReader interface {
	Load(ctx context.Context, keys ...string) ([]store.State, error)
}

// Source is something that watches and makes events of what it sees. The router
// calls Run once at a time; it returns nil after ctx has ended and an error when
// it cannot go on, and is then run again after a pause that grows with each
// failure. What Run must know over restarts it keeps in its state, and nowhere
// else.
type Source interface {
	Run(ctx context.Context, accept AcceptFunc, state StateReader) error
}

// Feed returns what the source that from names accepts and reads with.
func (r *Router) Feed(from Origin) (AcceptFunc, StateReader) {
	f := &feed{r: r, from: from, prefix: "/source/" + from.Source + "/"}
	return f.accept, f
}

// feed is one source's way into the router.
type feed struct {
	r    *Router
	from Origin
	// prefix keeps its keys apart from those of others and, as no name of a rule
	// has a slash, from the state of rules.
	prefix string
}

func (f *feed) accept(ctx context.Context, ev *rules.Event, state *store.StateWrite) (Result, error) {
	if !f.r.accepting.Load() {
		return Result{}, ErrStopping
	}
	if ev == nil && state == nil {
		return Result{}, nil
	}
	p := pending{from: f.from, ev: ev, setup: f.r.setup.Load()}
	if state != nil {
		if state.Version == 0 {
			state.Version = newVersion()
		}
		w := *state
		w.Key = f.prefix + state.Key
		p.state = &w
	}
	results, err := f.r.accept(ctx, []pending{p})
	if err != nil {
		return Result{}, err
	}
	return results[0], nil
}

// Load implements StateReader.
func (f *feed) Load(ctx context.Context, keys ...string) ([]store.State, error) {
	full := make([]string, len(keys))
	for i, k := range keys {
		full[i] = f.prefix + k
	}
	states, err := f.r.cfg.Store.Load(ctx, full...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for i := range states {
		states[i].Key = strings.TrimPrefix(states[i].Key, f.prefix)
	}
	return states, nil
}
