package storetest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/pointsman/pointsman/router/store"
)

// producers is how many senders wait for an answer at a time.
const producers = 64

// Throughput measures events that are committed, claimed and settled as the
// router does it: what waits is committed together, at most 128 at a time, and
// so are outcomes. An event has 1.1 KB and one delivery.
func Throughput(b *testing.B, s store.Full) { throughput(b, s, false) }

// Started is Throughput with deliveries that are leased as they are written, as
// in a router with free slots: nothing is claimed.
func Started(b *testing.B, s store.Full) { throughput(b, s, true) }

func throughput(b *testing.B, s store.Full, start bool) {
	ctx := b.Context()
	if _, err := s.Enter(ctx, store.Instance{ID: "bench"}); err != nil {
		b.Fatal(err)
	}
	type sent struct {
		txn  store.Txn
		done chan struct{}
	}
	in := make(chan sent, producers)
	started := make(chan store.LeaseRef, producers)
	data := []byte(`{"data":"` + strings.Repeat("x", 1100) + `"}`)
	b.ResetTimer()
	var wg sync.WaitGroup
	wg.Go(func() { // commit
		for first := range in {
			txns, waiting := []store.Txn{first.txn}, []sent{first}
			for more := true; more && len(txns) < 128; {
				select {
				case next, ok := <-in:
					if more = ok; ok {
						txns, waiting = append(txns, next.txn), append(waiting, next)
					}
				default:
					more = false
				}
			}
			results, err := s.Commit(ctx, txns...)
			if err != nil {
				b.Error(err)
			}
			for i, r := range results {
				if r.Status != store.StatusNew || start && len(r.Leased) == 0 {
					b.Errorf("a new event has status %d, leases %v", r.Status, r.Leased)
				} else if start {
					started <- store.LeaseRef{ID: txns[i].Deliveries[0].ID, Epoch: r.Leased[0]}
				}
			}
			for _, w := range waiting {
				close(w.done)
			}
		}
	})
	wg.Go(func() { // claim and settle
		idle := 0
		for settled := 0; settled < b.N && !b.Failed(); {
			var leases []store.LeaseRef
			if start {
				leases = together(started)
			} else {
				claimed, _, err := s.Claim(ctx, store.OpID(uuid.NewString()), []store.Want{{Action: "a", N: 64}}, 15*time.Second)
				if err != nil {
					b.Error(err)
				}
				for i := range claimed {
					leases = append(leases, claimed[i].Ref())
				}
			}
			if len(leases) == 0 {
				select {
				case <-s.Wake():
				case <-time.After(time.Second):
					if idle++; idle == 5 {
						counts, err := s.Counts(ctx)
						b.Errorf("%d of %d events are settled and no more come: %+v, %v", settled, b.N, counts, err)
					}
				}
				continue
			}
			idle = 0
			outcomes := make([]store.Outcome, len(leases))
			for i := range leases {
				outcomes[i] = store.Outcome{
					ID: leases[i].ID, Epoch: leases[i].Epoch, State: store.Done, Attempts: 1,
					Attempt: &store.Attempt{Number: 1, Outcome: "done"},
				}
			}
			done, err := s.Settle(ctx, outcomes...)
			if err != nil {
				b.Error(err)
			}
			for _, d := range done {
				if d != store.SettledOK {
					b.Errorf("an outcome of a fresh lease is settled as %d", d)
				}
			}
			settled += len(leases)
		}
	})
	var senders sync.WaitGroup
	for p := range producers {
		senders.Go(func() {
			for i := p; i < b.N; i += producers {
				now := time.Now()
				t := store.Txn{Dedup: time.Hour, Event: store.Event{
					UID: uuid.Must(uuid.NewV7()).String(), Source: "s", CESource: "/c", ID: fmt.Sprint(i), Type: "t",
					Received: now, JSON: data, Revision: "r", Verdicts: []store.Verdict{{Rule: "r", Verdict: "matched"}},
				}}
				t.Deliveries = []store.Delivery{{
					ID: uuid.Must(uuid.NewV7()).String(), EventUID: t.Event.UID, EventID: t.Event.ID, Source: "s", CESource: "/c",
					Rule: "r", Action: "a", State: store.Ready, Params: []byte(`{"args":["--port","eth1"]}`), Created: now, Budget: now,
					Start: start,
				}}
				t.Lease = 15 * time.Second
				done := make(chan struct{})
				in <- sent{t, done}
				<-done
			}
		})
	}
	senders.Wait()
	close(in)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// together gives what is there, at least one.
func together(started <-chan store.LeaseRef) []store.LeaseRef {
	refs := []store.LeaseRef{<-started}
	for len(refs) < 64 {
		select {
		case r := <-started:
			refs = append(refs, r)
		default:
			return refs
		}
	}
	return refs
}

// Lane measures how one delivery of a lane follows another while many wait: one
// claim and one settle for each.
func Lane(b *testing.B, s store.Full, waiting int) {
	ctx := b.Context()
	if _, err := s.Enter(ctx, store.Instance{ID: "bench"}); err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	var txns []store.Txn
	for i := range waiting + b.N {
		t := store.Txn{Event: store.Event{
			UID: uuid.Must(uuid.NewV7()).String(), Source: "s", CESource: "/c", ID: fmt.Sprint(i), Type: "t", Received: now, JSON: []byte("{}"),
		}}
		t.Deliveries = []store.Delivery{{
			ID: uuid.Must(uuid.NewV7()).String(), EventUID: t.Event.UID, EventID: t.Event.ID, Source: "s", CESource: "/c",
			Rule: "r", Action: "a", State: store.Ready, Lane: "l", Created: now, Budget: now,
		}}
		if txns = append(txns, t); len(txns) < 128 && i < waiting+b.N-1 {
			continue
		}
		if _, err := s.Commit(ctx, txns...); err != nil {
			b.Fatal(err)
		}
		txns = txns[:0]
	}
	b.ResetTimer()
	for range b.N {
		leases, _, err := s.Claim(ctx, store.OpID(uuid.NewString()), []store.Want{{Action: "a", N: 64}}, time.Hour)
		if err != nil || len(leases) != 1 {
			b.Fatalf("claimed %d deliveries of one lane, %v", len(leases), err)
		}
		if _, err := s.Settle(ctx, store.Outcome{ID: leases[0].Delivery.ID, Epoch: leases[0].Epoch, State: store.Done, Attempts: 1}); err != nil {
			b.Fatal(err)
		}
	}
}
