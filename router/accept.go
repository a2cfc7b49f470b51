package router

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// Origin is where an event came from.
type Origin struct {
	// Source is the configured source's name; it scopes ids.
	Source string
	// Dedup is how long an id is remembered; 0: not at all.
	Dedup time.Duration
	// Strict tells a sender who uses an id again for other content; for sources
	// whose ids the sender gives.
	Strict bool
}

// Result is what became of one event.
type Result struct {
	// UID names the acceptance: this one, or the first one of a duplicate.
	UID string
	// Duplicate: the id is remembered with the same content; nothing was started.
	Duplicate bool
	// Conflict: the id is remembered with other content; nothing was started.
	Conflict bool
}

// word names the result for the events counter.
func (r Result) word() string {
	switch {
	case r.Conflict:
		return EventConflict
	case r.Duplicate:
		return EventDuplicate
	default:
		return EventAccepted
	}
}

// Accept matches events of one origin and commits what they cause, in order,
// each for itself. When it returns nil every event that is neither duplicate
// nor conflict is durable. The errors are ErrUnavailable and ErrStopping,
// wrapped, or the context's.
func (r *Router) Accept(ctx context.Context, from Origin, evs []*rules.Event) ([]Result, error) {
	if !r.accepting.Load() {
		return nil, ErrStopping
	}
	if len(evs) == 0 {
		return nil, nil
	}
	setup := r.setup.Load()
	batch := make([]pending, len(evs))
	for i, ev := range evs {
		batch[i] = pending{from: from, ev: ev, setup: setup}
	}
	return r.accept(ctx, batch)
}

// accept commits what is pending and waits for it.
func (r *Router) accept(ctx context.Context, batch []pending) ([]Result, error) {
	left := newCountdown(len(batch))
	size := 0
	for i := range batch {
		p := &batch[i]
		p.left = left
		if p.ev != nil {
			r.evaluate(p)
		}
		size += p.size()
	}
	if err := r.waiting.take(size); err != nil {
		return nil, err
	}
	left.last = func() { r.waiting.giveBack(size) }
	for i := range batch {
		if err := r.commits.submit(ctx, &batch[i]); err != nil {
			// Those submitted before are committed or not, and nobody is told:
			// the sender repeats the request and dedup sorts it out.
			for range batch[i:] {
				left.one()
			}
			return nil, err
		}
	}
	select {
	case <-left.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := make([]Result, len(batch))
	for i := range batch {
		p := &batch[i]
		switch {
		case errors.Is(p.err, ErrStale):
			return nil, p.err
		case p.err != nil:
			r.metrics.StoreUnavailable.Inc()
			return nil, p.err
		case p.ev == nil:
			continue
		}
		res, err := r.result(ctx, p)
		if err != nil {
			return nil, err
		}
		out[i] = res
		r.metrics.CountEvent(p.from.Source, res.word(), r.cfg.Now())
	}
	return out, nil
}

const (
	// largeEvent is the size in bytes from which on an event waits for its turn to
	// be decoded, maxDecoded how many of them are decoded at a time.
	largeEvent = 64 << 10
	maxDecoded = 2
)

// evaluate finds what an event calls for. The decoded form of an event may take
// twenty times its size, so that of a large one lives only as long as this, and
// few are made at a time.
func (r *Router) evaluate(p *pending) {
	if len(p.ev.JSON()) >= largeEvent {
		r.decoding <- struct{}{}
		defer func() {
			p.ev.Forget()
			<-r.decoding
		}()
	}
	p.matches = r.match(p.setup, p.ev)
	r.validate(p)
	p.ev.Digest() // computed once, here and not in the one goroutine that commits
}

// validate checks the computed parameters of every call against its plugin's
// schema; constant ones were checked when the rules were loaded. It turns a call
// that does not fit into one that failed.
func (r *Router) validate(p *pending) {
	for i := range p.matches {
		for j := range p.matches[i].Calls {
			c := &p.matches[i].Calls[j]
			if c.Skipped || c.Err != nil || c.Constant {
				continue
			}
			if err := r.cfg.Runner.Validate(c.Action, c.Params); err != nil {
				c.Err = &paramsError{err}
			}
		}
	}
}

// paramsError marks parameters that do not fit the plugin's schema.
type paramsError struct{ err error }

func (e *paramsError) Error() string { return "with: " + e.err.Error() }
func (e *paramsError) Unwrap() error { return e.err }

// result turns a commit's status into the caller's. A conflict by digest may
// still be the same content in another form.
func (r *Router) result(ctx context.Context, p *pending) (Result, error) {
	res := Result{UID: p.result.UID}
	switch p.result.Status {
	case store.StatusNew:
	case store.StatusDuplicate:
		// The store remembers this very Txn: an earlier try was written although
		// its answer was lost.
		res.Duplicate = p.result.UID != p.uid
	case store.StatusConflict:
		same, err := r.sameContent(ctx, p)
		if err != nil {
			return Result{}, err
		}
		res.Duplicate, res.Conflict = same, !same
	default:
		return Result{}, fmt.Errorf("%w: commit answered status %d", ErrUnavailable, p.result.Status)
	}
	return res, nil
}

func (r *Router) sameContent(ctx context.Context, p *pending) (bool, error) {
	old, err := r.cfg.Store.Events(ctx, store.EventQuery{UID: p.result.UID, Limit: 1})
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if len(old) == 0 { // removed for size; the digest is all there is
		return false, nil
	}
	ev, err := rules.ParseStored(old[0].JSON)
	if err != nil {
		return false, nil
	}
	return rules.Same(ev, p.ev), nil
}
