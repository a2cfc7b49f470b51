package router

import (
	"context"
	"errors"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// ErrStale: another router, or an earlier Run, has written the state since it
// was read. Nothing was written; the source reads its state again and decides
// anew.
var ErrStale = errors.New("the state was written by another since it was read")

// AcceptFunc takes one event of a source, and with it what the source must
// remember: both are written in one transaction, or neither. ev may be nil, to
// remember without an event (a first state is a baseline and not an event);
// state may be nil. When it returns nil both are durable; a duplicate is no
// error and writes neither. The errors are ErrStale, ErrUnavailable, ErrStopping,
// wrapped, and the context's. It is safe for concurrent use.
type AcceptFunc func(ctx context.Context, ev *rules.Event, state *store.StateWrite) (Result, error)

// StateReader reads what a source remembered. A key without state has Version 0.
// The keys of a source are its own: the router puts the source's name before
// them.
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
