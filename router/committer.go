package router

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

const (
	maxBatch     = 128
	maxBatchSize = 1 << 20
	maxWaiting   = 8192
	maxStale     = 8
	commitTime   = 10 * time.Second
)

// pending is an event on its way into the store, or what a source remembers
// without one.
type pending struct {
	from    Origin
	ev      *rules.Event // nil: state alone
	setup   *Setup
	matches []rules.Match
	// state is its source's own, nil for none.
	state *store.StateWrite
	left  *countdown

	// uid stays the same over all tries, so that one which was written although
	// its answer was lost is known again.
	uid    string
	tries  int
	result store.Result
	err    error
}

func (p *pending) size() int {
	n := 256
	if p.state != nil {
		n += len(p.state.Data)
	}
	if p.ev != nil {
		n += len(p.ev.JSON())
	}
	for i := range p.matches {
		for j := range p.matches[i].Calls {
			n += len(p.matches[i].Calls[j].Params) + 256
		}
	}
	return n
}

func (p *pending) finish(res store.Result, err error) {
	p.result, p.err = res, err
	p.left.one()
}

// countdown calls last, unless it is nil, and closes done after n calls of one.
type countdown struct {
	n    atomic.Int64
	last func()
	done chan struct{}
}

func newCountdown(n int) *countdown {
	c := &countdown{done: make(chan struct{})}
	c.n.Store(int64(n))
	return c
}

func (c *countdown) one() {
	if c.n.Add(-1) == 0 {
		if c.last != nil {
			c.last()
		}
		close(c.done)
	}
}

// committer is the one goroutine that writes events. It takes what is waiting,
// without a timer, so an idle router commits at once and a busy one shares each
// write among many. Being one, it steps the events of one (rule, key) in order,
// each on the result of the one before.
type committer struct {
	r    *Router
	in   chan *pending
	mu   sync.RWMutex // guards closed against submits
	done bool
	// writing has an element from before a write until what it leased is started.
	writing chan struct{}
}

func newCommitter(r *Router) *committer {
	return &committer{r: r, in: make(chan *pending, maxWaiting), writing: make(chan struct{}, 1)}
}

// submit queues p; its outcome comes through p.left.
func (c *committer) submit(ctx context.Context, p *pending) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.done {
		return ErrStopping
	}
	select {
	case c.in <- p:
		return nil
	default:
	}
	t := time.NewTimer(commitTime)
	defer t.Stop()
	select {
	case c.in <- p:
		return nil
	case <-t.C:
		return fmt.Errorf("%w: %d events are waiting to be stored", ErrUnavailable, maxWaiting)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends run after what is queued is committed.
func (c *committer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = true
	close(c.in)
}

func (c *committer) run(ctx context.Context) {
	batch := make([]*pending, 0, maxBatch)
	var next *pending // did not fit the last batch
	for {
		batch = batch[:0]
		first := next
		next = nil
		if first == nil {
			var ok bool
			if first, ok = <-c.in; !ok {
				return
			}
		}
		batch = append(batch, first)
		for size := first.size(); len(batch) < maxBatch && next == nil; {
			var p *pending
			select {
			case p = <-c.in:
			default:
			}
			if p == nil {
				break
			}
			if size += p.size(); size > maxBatchSize {
				next = p
				break
			}
			batch = append(batch, p)
		}
		c.commit(ctx, batch)
	}
}

// commit steps and writes a batch; what is stale is stepped again on what is in
// the store now.
func (c *committer) commit(ctx context.Context, batch []*pending) {
	start := time.Now()
	n := len(batch)
	for len(batch) > 0 {
		txns, err := c.contained(ctx, batch)
		if errors.Is(err, errPanic) && len(batch) > 1 {
			for _, p := range batch {
				c.commit(ctx, []*pending{p})
			}
			return
		}
		if err != nil {
			c.fail(batch, err)
			return
		}
		results, err := c.write(ctx, txns)
		if err != nil && len(batch) > 1 && !broken(err) {
			// One of them cannot be written; it must not fail its neighbours.
			for _, p := range batch {
				c.commit(ctx, []*pending{p})
			}
			return
		}
		if err != nil {
			c.fail(batch, err)
			return
		}
		c.r.health.clear(reasonWrite)
		batch = c.own(ctx, c.sort(batch, txns, results))
	}
	c.r.metrics.CommitEvents.Observe(float64(n))
	c.r.metrics.CommitSeconds.Observe(time.Since(start).Seconds())
}

// broken says that the store, and not a Txn, is the trouble.
func broken(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrFenced) ||
		errors.Is(err, store.ErrClosed) || errors.Is(err, context.DeadlineExceeded)
}

func (c *committer) fail(batch []*pending, err error) {
	c.r.log.Error("events not accepted", "events", len(batch), "error", err)
	switch {
	case errors.Is(err, store.ErrFull):
		c.r.health.set(reasonFull, "store is full and holds nothing finished")
	case broken(err):
		c.r.writeFailed(err)
	}
	for _, p := range batch {
		p.finish(store.Result{}, fmt.Errorf("%w: %w", ErrUnavailable, err))
	}
}

// write commits, and starts the deliveries that had a free slot.
func (c *committer) write(ctx context.Context, txns []store.Txn) ([]store.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	setup, begun := c.r.setup.Load(), time.Now()
	c.r.reserve(setup, txns)
	results, err := c.r.cfg.Store.Commit(ctx, txns...)
	c.r.begin(setup, txns, results, begun)
	return results, err
}

// sort finishes what is decided and returns what is stale.
func (c *committer) sort(batch []*pending, txns []store.Txn, results []store.Result) []*pending {
	stale := batch[:0]
	for i, p := range batch {
		switch {
		case results[i].Status != store.StatusStale:
			if results[i].Status == store.StatusNew && p.ev != nil {
				c.r.record(p, &txns[i])
			}
			p.finish(results[i], nil)
		case p.ev == nil:
			p.finish(store.Result{}, ErrStale)
		case p.tries >= maxStale:
			p.finish(store.Result{}, fmt.Errorf("%w: rule state keeps changing", ErrUnavailable))
		default:
			p.tries++
			p.uid = "" // what is stepped again is another Txn, and has its own documents
			stale = append(stale, p)
		}
	}
	return stale
}

// own finishes those of the stale whose source's own state has changed, and not
// only that of a rule: to read it again is the source's business.
func (c *committer) own(ctx context.Context, stale []*pending) []*pending {
	var keys []string
	for _, p := range stale {
		if p.state != nil {
			keys = append(keys, p.state.Key)
		}
	}
	if len(keys) == 0 {
		return stale
	}
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	states, err := c.r.cfg.Store.Load(ctx, keys...)
	kept := stale[:0]
	for _, p := range stale {
		if p.state == nil {
			kept = append(kept, p)
			continue
		}
		if err != nil {
			p.finish(store.Result{}, fmt.Errorf("%w: %w", ErrUnavailable, err))
			continue
		}
		if states[0].Version == p.state.Read {
			kept = append(kept, p)
		} else {
			p.finish(store.Result{}, ErrStale)
		}
		states = states[1:]
	}
	return kept
}

// contained is step; of a batch in which one makes it panic, nothing is done yet.
func (c *committer) contained(ctx context.Context, batch []*pending) (txns []store.Txn, err error) {
	defer c.r.contain(&err)
	return c.step(ctx, batch)
}

// step reads the states the batch needs and plans each event in order, every
// one on the state the one before leaves behind. That one may turn out not to be
// written, as a duplicate; so who relies on it says so in its own Txn, even when
// it changes nothing, and is stale then.
func (c *committer) step(ctx context.Context, batch []*pending) ([]store.Txn, error) {
	states, err := c.load(ctx, batch)
	if err != nil {
		return nil, err
	}
	txns := make([]store.Txn, len(batch))
	ours := make(map[string]bool) // states that only this batch knows
	for i, p := range batch {
		if p.ev != nil {
			txns[i] = c.r.plan(p, states, c.r.cfg.Now())
			rely(p, &txns[i], states, ours)
			for _, w := range txns[i].States {
				states[w.Key], ours[w.Key] = w.State, true
			}
		}
		if p.state != nil {
			txns[i].States = append(txns[i].States, *p.state)
		}
	}
	return txns, nil
}

// rely adds a write of the same state for every state that the event was stepped
// on, does not change, and that an event before it in the batch has made.
func rely(p *pending, t *store.Txn, states map[string]store.State, ours map[string]bool) {
	for i := range p.matches {
		key := p.matches[i].StateKey()
		if !ours[key] || slices.ContainsFunc(t.States, func(w store.StateWrite) bool { return w.Key == key }) {
			continue
		}
		w := store.StateWrite{State: states[key], Read: states[key].Version}
		w.Version = newVersion()
		t.States = append(t.States, w)
	}
}

func (c *committer) load(ctx context.Context, batch []*pending) (map[string]store.State, error) {
	var keys []string
	states := make(map[string]store.State)
	for _, p := range batch {
		for i := range p.matches {
			k := p.matches[i].StateKey()
			if _, known := states[k]; k == "" || known {
				continue
			}
			states[k] = store.State{Key: k}
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return states, nil
	}
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	loaded, err := c.r.cfg.Store.Load(ctx, keys...)
	if err != nil {
		return nil, err
	}
	for _, s := range loaded {
		states[s.Key] = s
	}
	return states, nil
}

// newVersion returns a version that no other write of the key uses.
func newVersion() uint64 {
	for {
		if v := rand.Uint64(); v != 0 {
			return v
		}
	}
}

// newUID returns a UUIDv7; they grow within the process. Nothing relies on their
// being hard to guess, so the random bits need no system call.
func newUID() string {
	return uuid.Must(uuid.NewV7FromReader(random{})).String()
}

// random reads from math/rand/v2, whose source each process seeds anew.
type random struct{}

func (random) Read(b []byte) (int, error) {
	for i := 0; i < len(b); i += 8 {
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], rand.Uint64())
		copy(b[i:], w[:])
	}
	return len(b), nil
}
