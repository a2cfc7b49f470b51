package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/redis"
)

// answered is one operation, and how long the log was when it was answered.
type answered struct {
	size  int64
	event string // the event that was committed, or
	done  string // the delivery that was settled
}

// TestTruncatedLog cuts the log of a server at many bytes, as a power loss does
// to what was not synced, and starts a server on each: what was answered before
// is there, and every operation as a whole or not at all.
func TestTruncatedLog(t *testing.T) {
	t.Parallel()
	s := newServer(t, "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
	db := open(t, s.url(), "a", nil)
	enter(t, db, "i")
	logs, err := filepath.Glob(filepath.Join(s.dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs %v, %v", logs, err)
	}
	var ops []answered
	note := func(op answered) {
		info, err := os.Stat(logs[0])
		if err != nil {
			t.Fatal(err)
		}
		op.size = info.Size()
		ops = append(ops, op)
	}
	const rounds = 12
	for i := range rounds {
		id := fmt.Sprintf("e%d", i)
		check(db.Commit(t.Context(), txn(id, "a", "b"), txn(id+"x", "a")))(t)
		note(answered{event: id})
		for _, l := range claim(t, db, "a") {
			check(db.Settle(t.Context(), done(&l)))(t)
			note(answered{done: l.Delivery.ID})
		}
	}
	s.kill()
	rng := rand.New(rand.NewPCG(20261123, 1))
	whole, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	n := 24
	if text := os.Getenv("POINTSMAN_IMAGES"); text != "" {
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	// Half of the cuts are in the last commands, half anywhere.
	begin := ops[len(ops)-6].size
	cuts := []int64{begin, int64(len(whole))}
	for range n {
		cuts = append(cuts, begin+rng.Int64N(int64(len(whole))-begin), ops[0].size+rng.Int64N(begin-ops[0].size))
	}
	slices.Sort(cuts)
	for _, cut := range slices.Compact(cuts) {
		if err := os.WriteFile(logs[0], whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s.start()
		if err := wholeAt(t.Context(), s, ops, cut); err != nil {
			t.Errorf("cut at byte %d of %d: %v", cut, len(whole), err)
		}
		s.kill()
	}
	// What is damaged within, and not only cut off, is refused.
	at := bytes.LastIndex(whole, []byte("EXEC"))
	damaged := bytes.Clone(whole)
	copy(damaged[at-200:], bytes.Repeat([]byte{0}, 40))
	if err := os.WriteFile(logs[0], damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	s.launch()
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("redis-server ended well on a damaged log")
		}
		s.cmd = nil
	case <-time.After(60 * time.Second):
		t.Error("redis-server starts on a damaged log")
	}
}

// wholeAt looks at a server whose log ended at a byte.
func wholeAt(ctx context.Context, s *server, ops []answered, cut int64) (err error) {
	db, err := redis.Open(redis.Config{URL: s.url(), Name: "a"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.Enter(ctx, store.Instance{ID: "i"}); err != nil {
		return err
	}
	events, err := db.Events(ctx, store.EventQuery{})
	if err != nil {
		return err
	}
	deliveries, err := db.Deliveries(ctx, store.DeliveryQuery{})
	if err != nil {
		return err
	}
	steps, states, has := map[string]int{}, map[string]store.DeliveryState{}, map[string]bool{}
	counted := map[store.DeliveryState]int{}
	for i := range deliveries {
		steps[deliveries[i].EventID]++
		states[deliveries[i].ID] = deliveries[i].State
		counted[deliveries[i].State]++
	}
	for i := range events {
		id := events[i].ID
		has[id] = true
		want := 2
		if id[len(id)-1] == 'x' {
			want = 1
		}
		if steps[id] != want {
			return fmt.Errorf("event %s has %d deliveries, want %d", id, steps[id], want)
		}
		delete(steps, id)
	}
	if len(steps) > 0 {
		return fmt.Errorf("deliveries without their events: %v", steps)
	}
	for _, op := range ops {
		switch {
		case op.size > cut:
		case op.event != "" && (!has[op.event] || !has[op.event+"x"]):
			return fmt.Errorf("event %s was answered and is not there", op.event)
		case op.done != "" && states[op.done] != store.Done:
			return fmt.Errorf("delivery %s was settled as done and is %s", op.done, states[op.done])
		}
	}
	counts, err := db.Counts(ctx)
	if err != nil {
		return err
	}
	for _, c := range counts {
		counted[c.State] -= c.N
	}
	for state, n := range counted {
		if n != 0 {
			return fmt.Errorf("deliveries that are %s are counted wrong by %d", state, n)
		}
	}
	leases, _, err := db.Claim(ctx, "", []store.Want{{Action: "a", N: 1000}, {Action: "b", N: 1000}}, ttl)
	if err != nil {
		return err
	}
	open := len(deliveries)
	for _, state := range states {
		if state == store.Done {
			open--
		}
	}
	if len(leases) != open {
		return fmt.Errorf("%d deliveries can be run, want %d", len(leases), open)
	}
	return nil
}
