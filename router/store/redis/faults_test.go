package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/redis"
)

const ttl = 15 * time.Second

// txn is an event with a ready delivery for each action.
func txn(id string, actions ...string) store.Txn {
	now := time.Now()
	t := store.Txn{Dedup: time.Hour, Event: store.Event{
		UID: uuid.Must(uuid.NewV7()).String(), Source: "s", CESource: "/c", ID: id, Type: "t", Received: now, JSON: []byte(`{}`),
	}}
	for _, a := range actions {
		t.Deliveries = append(t.Deliveries, store.Delivery{
			ID: uuid.Must(uuid.NewV7()).String(), EventUID: t.Event.UID, EventID: id, Source: "s", CESource: "/c", Rule: "r",
			Action: a, State: store.Ready, Created: now, Budget: now,
		})
	}
	return t
}

// check fails the test on an error.
func check[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func enter(tb testing.TB, db *redis.DB, id string) {
	tb.Helper()
	check(db.Enter(tb.Context(), store.Instance{ID: id}))(tb)
}

func claim(tb testing.TB, db *redis.DB, action string) []store.Lease {
	tb.Helper()
	leases, _, err := db.Claim(tb.Context(), store.OpID(uuid.NewString()), []store.Want{{Action: action, N: 100}}, ttl)
	return check(leases, err)(tb)
}

func done(l *store.Lease) store.Outcome {
	return store.Outcome{ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Done, Attempts: 1, Attempt: &store.Attempt{Number: l.Number, Outcome: "done"}}
}

func TestScriptsAreForgotten(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s.url(), "a", nil)
	flush := func() { s.do("SCRIPT", "FLUSH") }
	enter(t, db, "i")
	flush()
	check(db.Commit(t.Context(), txn("1", "a")))(t)
	flush()
	l := claim(t, db, "a")
	flush()
	check(db.Settle(t.Context(), done(&l[0])))(t)
	flush()
	if _, err := db.Retain(t.Context(), store.Policy{Events: time.Hour, Size: 1 << 20}); err != nil {
		t.Fatal(err)
	}
}

func TestKilledServerKeepsWhatWasAnswered(t *testing.T) {
	t.Parallel()
	for _, fsync := range []string{"everysec", "always"} {
		t.Run(fsync, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, "--appendonly", "yes", "--appendfsync", fsync)
			db := open(t, s.url(), "a", nil)
			enter(t, db, "i")
			var acknowledged sync.Map
			var n atomic.Int64
			enough := make(chan struct{})
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					for i := 0; ; i++ {
						id := fmt.Sprintf("%d-%d", w, i)
						if _, err := db.Commit(t.Context(), txn(id, "a")); err != nil {
							if !errors.Is(err, store.ErrUnavailable) {
								t.Error(err)
							}
							return
						}
						acknowledged.Store(id, time.Now())
						if n.Add(1) == 1000 {
							close(enough)
						}
					}
				})
			}
			<-enough
			if fsync == "everysec" { // most must be older than what may be lost
				<-time.After(4 * time.Second)
			}
			killed := time.Now()
			s.kill()
			wg.Wait()
			s.start()
			has := map[string]bool{}
			for q := (store.EventQuery{}); ; {
				page := check(db.Events(t.Context(), q))(t)
				for i := range page {
					has[page[i].ID] = true
				}
				if len(page) < 1000 {
					break
				}
				q.Before = page[len(page)-1].UID
			}
			lost, recent, old := 0, 0, false
			// With everysec it answers before it writes while an fsync is under way,
			// for two seconds at most.
			acknowledged.Range(func(id, at any) bool {
				switch {
				case has[id.(string)]:
					old = old || killed.Sub(at.(time.Time)) > 2500*time.Millisecond
				case fsync == "everysec" && killed.Sub(at.(time.Time)) < 2500*time.Millisecond:
					recent++
				default:
					lost++
				}
				return true
			})
			t.Logf("%d of %d acknowledged events of the last two seconds are lost", recent, n.Load())
			if lost > 0 {
				t.Errorf("%d of %d acknowledged events are lost", lost, n.Load())
			}
			if fsync == "everysec" && !old {
				t.Error("no event is old enough to have to be there")
			}
			counts := check(db.Counts(t.Context()))(t)
			if len(counts) != 1 || counts[0].N != len(has) {
				t.Errorf("%d events, counts %+v", len(has), counts)
			}
		})
	}
}

// proxy stands between a store and a server. Armed, it swallows the reply to
// the next script and cuts the connection.
type proxy struct {
	addr  string
	armed atomic.Bool
	cuts  atomic.Int64
}

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.pass(c, to) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return p
}

func (p *proxy) pass(c net.Conn, to string) {
	defer c.Close()
	up, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	var script atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer up.Close()
		for buf := make([]byte, 64<<10); ; {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if bytes.Contains(bytes.ToLower(buf[:n]), []byte("\r\neval")) {
				script.Store(true)
			}
			if _, err := up.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	for buf := make([]byte, 64<<10); ; {
		n, err := up.Read(buf)
		if err != nil || script.Load() && !bytes.HasPrefix(buf, []byte("-NOSCRIPT")) && p.armed.CompareAndSwap(true, false) {
			if err == nil {
				p.cuts.Add(1)
			}
			break
		}
		if _, err := c.Write(buf[:n]); err != nil {
			break
		}
	}
	_, _ = c.Close(), up.Close()
	wg.Wait()
}

func TestLostReplies(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.addr)
	db := open(t, "redis://"+p.addr+"/0", "a", nil)
	enter(t, db, "i")
	cut := int64(0)
	arm := func() { p.armed.Store(true); cut++ }

	arm()
	first := txn("1", "a")
	first.States = []store.StateWrite{{State: store.State{Key: "k", Version: 7}}}
	r := check(db.Commit(t.Context(), first, txn("2", "a"), txn("1")))(t)
	want := []store.Status{store.StatusNew, store.StatusNew, store.StatusDuplicate}
	if diff := cmp.Diff(want, []store.Status{r[0].Status, r[1].Status, r[2].Status}); diff != "" {
		t.Errorf("commit (-want +got):\n%s", diff)
	}
	arm()
	leases := claim(t, db, "a")
	if len(leases) != 2 || leases[0].Number != 1 || leases[0].Lost != nil {
		t.Fatalf("leases: %+v", leases)
	}
	arm()
	if held := check(db.Extend(t.Context(), []store.LeaseRef{leases[0].Ref()}, ttl))(t); !held[0] {
		t.Error("extend: not held")
	}
	arm()
	if got := check(db.Settle(t.Context(), done(&leases[0])))(t); got[0] != store.SettledOK {
		t.Errorf("settle: %v", got)
	}
	if h := check(db.History(t.Context(), leases[0].Delivery.ID))(t); len(h) != 1 {
		t.Errorf("history: %+v", h)
	}
	for _, kind := range []store.ChangeKind{store.Cancel, store.Retry} {
		arm()
		if got := check(db.Change(t.Context(), store.Change{ID: leases[1].Delivery.ID, Kind: kind}))(t); got[0] != store.ChangedOK {
			t.Errorf("change %d: %v", kind, got)
		}
	}
	if p.cuts.Load() != cut {
		t.Errorf("%d replies were swallowed, want %d", p.cuts.Load(), cut)
	}
	counts := check(db.Counts(t.Context()))(t)
	if len(counts) != 2 || counts[0].N != 1 || counts[1].N != 1 {
		t.Errorf("counts: %+v", counts)
	}
}

func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s.url(), "a", nil)
	enter(t, db, "i")
	check(db.Commit(t.Context(), txn("1", "a")))(t)
	before := s.do("DBSIZE")
	s.do("CONFIG", "SET", "maxmemory", "100kb")
	_, err := db.Commit(t.Context(), txn("2", "a"))
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "maxmemory") {
		t.Fatalf("commit at maxmemory: %v", err)
	}
	if after := s.do("DBSIZE"); after != before {
		t.Errorf("a refused commit left keys: %v, before %v", after, before)
	}
	l := claim(t, db, "a") // what was accepted still runs
	if len(l) != 1 {
		t.Fatalf("claimed %d", len(l))
	}
	check(db.Extend(t.Context(), []store.LeaseRef{l[0].Ref()}, ttl))(t)
	if got := check(db.Settle(t.Context(), done(&l[0])))(t); got[0] != store.SettledOK {
		t.Errorf("settled: %v", got)
	}
	if r := check(db.Retain(t.Context(), store.Policy{Size: 1}))(t); r.Events != 1 || r.Full {
		t.Errorf("retained: %+v", r)
	}
	s.do("CONFIG", "SET", "maxmemory", "0")
	if r := check(db.Commit(t.Context(), txn("2", "a")))(t); r[0].Status != store.StatusNew {
		t.Errorf("afterwards: %+v", r)
	}
}

func TestEmptiedServerIsNoticed(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s.url(), "a", nil)
	enter(t, db, "i")
	s.do("FLUSHALL")
	_, _, err := db.Claim(t.Context(), "op", []store.Want{{Action: "a", N: 1}}, ttl)
	if !errors.Is(err, store.ErrFenced) || !strings.Contains(err.Error(), "emptied") {
		t.Errorf("claim: %v", err)
	}
}

func TestKeysDeletedFromOutside(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s.url(), "a", nil)
	enter(t, db, "i")
	a, b, c := txn("1", "a"), txn("2", "a"), txn("3", "a")
	check(db.Commit(t.Context(), a, b, c))(t)
	s.do("DEL", "{pm:a}:q:a")
	if l := claim(t, db, "a"); len(l) != 0 {
		t.Fatalf("claimed %d from a queue that is gone", len(l))
	}
	check(db.Retain(t.Context(), store.Policy{}))(t)
	s.do("DEL", "{pm:a}:e:"+b.Event.UID, "{pm:a}:d:"+c.Deliveries[0].ID)
	l := claim(t, db, "a")
	if len(l) != 1 || l[0].Delivery.ID != a.Deliveries[0].ID {
		t.Fatalf("leases: %+v", l)
	}
	dead := check(db.Deliveries(t.Context(), store.DeliveryQuery{States: []store.DeliveryState{store.Dead}}))(t)
	if len(dead) != 1 || dead[0].ID != b.Deliveries[0].ID || !strings.Contains(dead[0].Error, "event is missing") {
		t.Errorf("dead: %+v", dead)
	}
}

func TestServerDownThenUp(t *testing.T) {
	t.Parallel()
	s := newServer(t, "--appendonly", "yes")
	db := open(t, s.url(), "a", nil)
	other := open(t, s.url(), "a", nil)
	enter(t, db, "i")
	s.kill()
	for range 3 {
		if _, err := db.Commit(t.Context(), txn("1", "a")); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("commit without a server: %v", err)
		}
	}
	s.start()
	deadline := time.Now().Add(5 * time.Second)
	for {
		_, err := db.Commit(t.Context(), txn("1", "a"))
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("5 s after the server came back: %v", err)
		}
	}
	if l := claim(t, db, "a"); len(l) != 1 {
		t.Errorf("claimed %d", len(l))
	}
	for { // the other one listens again
		select {
		case <-other.Wake():
			return
		case <-time.After(50 * time.Millisecond):
			check(db.Commit(t.Context(), txn(uuid.NewString(), "b")))(t)
		}
		if time.Now().After(deadline.Add(5 * time.Second)) {
			t.Fatal("not woken after the server came back")
		}
	}
}

func TestStoppedServer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s.url(), "a", nil)
	enter(t, db, "i")
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := db.Commit(ctx, txn("1", "a"))
	if !errors.Is(err, store.ErrUnavailable) || time.Since(begun) > 2*time.Second {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	check(db.Commit(t.Context(), txn("2", "a")))(t)
}

func TestTwoRouters(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	a, b := open(t, s.url(), "shared", nil), open(t, s.url(), "shared", nil)
	stranger := open(t, s.url(), "other", nil)
	enter(t, a, "a")
	enter(t, b, "b")
	enter(t, stranger, "c")
	const n = 300
	for i := range n {
		check(a.Commit(t.Context(), txn(fmt.Sprint(i), "x")))(t)
	}
	select {
	case <-b.Wake():
	case <-time.After(5 * time.Second):
		t.Error("the other router is not woken")
	}
	if l := claim(t, stranger, "x"); len(l) != 0 {
		t.Errorf("another name claimed %d", len(l))
	}
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for i := range 8 {
		db := []*redis.DB{a, b}[i%2]
		wg.Go(func() {
			for {
				ls, _, err := db.Claim(t.Context(), store.OpID(uuid.NewString()), []store.Want{{Action: "x", N: 3}}, ttl)
				if err != nil {
					t.Error(err)
				}
				if len(ls) == 0 {
					return
				}
				mu.Lock()
				for j := range ls {
					seen[ls[j].Delivery.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for id, k := range seen {
		if k != 1 {
			t.Errorf("%s was leased %d times", id, k)
		}
	}
	if len(seen) != n {
		t.Errorf("%d were leased, want %d", len(seen), n)
	}
	// The other takes over what a lease that ran out leaves, and only that.
	check(a.Commit(t.Context(), txn("short", "y")))(t)
	short, _, err := a.Claim(t.Context(), "s", []store.Want{{Action: "y", N: 1}}, time.Millisecond)
	check(short, err)(t)
	deadline := time.Now().Add(5 * time.Second)
	var taken []store.Lease
	for len(taken) == 0 && time.Now().Before(deadline) {
		taken = claim(t, b, "y")
	}
	if len(taken) != 1 || taken[0].Lost == nil || taken[0].Number != 2 {
		t.Fatalf("taken over: %+v", taken)
	}
	if got := check(a.Settle(t.Context(), done(&short[0])))(t); got[0] != store.SettledLost {
		t.Errorf("a late outcome: %v", got)
	}
	// A restart of one makes its own leases due, not the other's.
	again := open(t, s.url(), "shared", nil)
	enter(t, again, "a")
	if l := claim(t, again, "y"); len(l) != 0 {
		t.Errorf("claimed %d of the other router's leases", len(l))
	}
}
