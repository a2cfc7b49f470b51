// Package memory is what a source that watches remembers of the world, so that
// a change is one event: over restarts, over a store that is away for a while,
// and when several routers watch the same thing.
//
// It hides versions, ids and retries. A Cell is one state; a Set is many objects
// in a few cells. Neither is safe for concurrent use.
package memory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// The pause between two tries to write while the store is away.
const (
	minPause = time.Second
	maxPause = 15 * time.Second
)

// Cell is one state of a source, as it was last read or written. The state has
// no end: a source that is configured again after a while tells what has changed
// in the meantime.
type Cell struct {
	accept router.AcceptFunc
	state  router.StateReader
	now    store.State
}

// NewCell returns the cell of a key; Load reads it.
func NewCell(accept router.AcceptFunc, state router.StateReader, key string) *Cell {
	return &Cell{accept: accept, state: state, now: store.State{Key: key}}
}

// Load reads what is stored. On an error the cell is as before.
func (c *Cell) Load(ctx context.Context) error {
	return load(ctx, c.state, c)
}

func load(ctx context.Context, state router.StateReader, cells ...*Cell) error {
	keys := make([]string, len(cells))
	for i, c := range cells {
		keys[i] = c.now.Key
	}
	got, err := state.Load(ctx, keys...)
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if len(got) != len(cells) {
		return fmt.Errorf("read state: %d of %d keys answered", len(got), len(cells))
	}
	for i, c := range cells {
		got[i].Key = c.now.Key
		c.now = got[i]
	}
	return nil
}

// Known says whether anything is stored; without it what is seen is a baseline.
func (c *Cell) Known() bool { return c.now.Version != 0 }

// Version is another after every write, by whomever.
func (c *Cell) Version() uint64 { return c.now.Version }

// Data is what is stored; it must not be changed.
func (c *Cell) Data() []byte { return c.now.Data }

// EventID names a change of what was read: the same change of the same state has
// the same id, whoever sees it and however often it is tried, and no other has.
func (c *Cell) EventID(source string, change ...string) string {
	h := sha256.New()
	for _, s := range append([]string{c.now.Key, strconv.FormatUint(c.now.Version, 16)}, change...) {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return source + "-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// Write stores data and with it an event, which may be nil, in one transaction.
// While the store is away it tries again, so that a change is not lost; it
// returns when both are durable, when ctx ends, or when another has written:
// then the error is router.ErrStale, the cell holds what is stored now, and the
// caller decides anew.
func (c *Cell) Write(ctx context.Context, data []byte, ev *rules.Event) error {
	next := store.State{Key: c.now.Key, Version: newVersion(), Data: data}
	var duplicate bool
	err := insist(ctx, func() error {
		res, err := c.accept(ctx, ev, &store.StateWrite{State: next, Read: c.now.Version})
		duplicate = res.Duplicate || res.Conflict
		return err
	})
	if err == nil && !duplicate {
		c.now = next
		return nil
	}
	if err != nil && !errors.Is(err, router.ErrStale) {
		return err
	}
	read := c.now.Version
	if err := insist(ctx, func() error { return c.Load(ctx) }); err != nil {
		return err
	}
	if duplicate && c.now.Version == read {
		// The event is stored and its state is not, as after a part of the store
		// was restored by hand: the event must not hold up what follows.
		return c.Write(ctx, data, nil)
	}
	return router.ErrStale
}

// Send stores an event that changes no state; like Write it does not give up
// while the store is away.
func Send(ctx context.Context, accept router.AcceptFunc, ev *rules.Event) error {
	return insist(ctx, func() error {
		_, err := accept(ctx, ev, nil)
		return err
	})
}

// insist tries again, at growing intervals, while the store is away.
func insist(ctx context.Context, try func() error) error {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		err := try()
		if err == nil || ctx.Err() != nil || !away(err) {
			return err
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

func away(err error) bool {
	return errors.Is(err, router.ErrUnavailable) || errors.Is(err, store.ErrUnavailable)
}

func newVersion() uint64 {
	for {
		if v := rand.Uint64(); v != 0 {
			return v
		}
	}
}

// Set is what a source remembers of many objects, each a key and a value. They
// are spread over a fixed number of cells, so that a change writes a part only.
type Set struct {
	cells  []*Cell
	shards []map[string]string
}

// Open reads the set of a name in n cells; n must not change while it is stored.
func Open(ctx context.Context, accept router.AcceptFunc, state router.StateReader, name string, n int) (*Set, error) {
	s := &Set{cells: make([]*Cell, n), shards: make([]map[string]string, n)}
	for i := range s.cells {
		s.cells[i] = NewCell(accept, state, name+"/"+strconv.Itoa(i))
	}
	if err := insist(ctx, func() error { return load(ctx, state, s.cells...) }); err != nil {
		return nil, err
	}
	for i := range s.cells {
		if err := s.decode(i); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Set) decode(i int) error {
	s.shards[i] = make(map[string]string)
	if !s.cells[i].Known() {
		return nil
	}
	if err := json.Unmarshal(s.cells[i].Data(), &s.shards[i]); err != nil {
		return fmt.Errorf("state %s: %w", s.cells[i].now.Key, err)
	}
	return nil
}

func (s *Set) shard(key string) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % uint32(len(s.cells)))
}

// Value is what is remembered of a key; "" is nothing.
func (s *Set) Value(key string) string { return s.shards[s.shard(key)][key] }

// Len is the number of keys.
func (s *Set) Len() int {
	n := 0
	for _, shard := range s.shards {
		n += len(shard)
	}
	return n
}

// Keys are those of which something is remembered, sorted.
func (s *Set) Keys() []string {
	out := make([]string, 0, s.Len())
	for _, shard := range s.shards {
		out = slices.AppendSeq(out, maps.Keys(shard))
	}
	slices.Sort(out)
	return out
}

// Baseline stores world, without an event, where nothing is stored yet. What
// another router has stored in the meantime stays.
func (s *Set) Baseline(ctx context.Context, world map[string]string) error {
	first := make([]map[string]string, len(s.cells))
	for i := range first {
		first[i] = make(map[string]string)
	}
	for key, value := range world {
		first[s.shard(key)][key] = value
	}
	for i, c := range s.cells {
		if c.Known() {
			continue
		}
		err := s.write(ctx, i, first[i], nil)
		if err != nil && !errors.Is(err, router.ErrStale) {
			return err
		}
	}
	return nil
}

// Put remembers a value of a key, "" to forget it, and stores the event that
// event makes of it, if any, in the same transaction. old is what is remembered
// and id the event's. event is called again when another router has written, and
// not at all when the value is remembered already.
func (s *Set) Put(ctx context.Context, source, key, value string, event func(id, old string) (*rules.Event, error)) error {
	i := s.shard(key)
	for {
		old := s.shards[i][key]
		if old == value {
			return nil
		}
		ev, err := event(s.cells[i].EventID(source, key, value), old)
		if err != nil {
			return err
		}
		next := maps.Clone(s.shards[i])
		next[key] = value
		if value == "" {
			delete(next, key)
		}
		if err := s.write(ctx, i, next, ev); !errors.Is(err, router.ErrStale) {
			return err
		}
	}
}

// write replaces a cell; when it was stale the cell is what is stored now.
func (s *Set) write(ctx context.Context, i int, next map[string]string, ev *rules.Event) error {
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("state %s: %w", s.cells[i].now.Key, err)
	}
	switch err := s.cells[i].Write(ctx, data, ev); {
	case err == nil:
		s.shards[i] = next
		return nil
	case errors.Is(err, router.ErrStale):
		return errors.Join(err, s.decode(i))
	default:
		return err
	}
}
