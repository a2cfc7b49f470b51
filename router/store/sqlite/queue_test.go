package sqlite_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/pointsman/pointsman/router/store"
)

// TestQueueOutlivesItsNeighbours: one transaction ends some deliveries of an
// action and makes another ready; that one can be claimed.
func TestQueueOutlivesItsNeighbours(t *testing.T) {
	t.Parallel()
	db := open(t, filepath.Join(t.TempDir(), "pm.db"), newClock().Now)
	if _, err := db.Enter(t.Context(), store.Instance{ID: "i"}); err != nil {
		t.Fatal(err)
	}
	for round := range 20 { // the order within a transaction is random
		var changes []store.Change
		for i := range 8 {
			changes = append(changes, store.Change{ID: commit(t, db, fmt.Sprintf("e%d-%d", round, i), store.Ready), Kind: store.Cancel})
		}
		dead := commit(t, db, fmt.Sprintf("dead-%d", round), store.Dead)
		changes = append(changes, store.Change{ID: dead, Kind: store.Retry})
		if _, err := db.Change(t.Context(), changes...); err != nil {
			t.Fatal(err)
		}
		leases, _, err := db.Claim(t.Context(), store.OpID(dead), []store.Want{{Action: "act", N: 10}}, time.Minute)
		if err != nil || len(leases) != 1 || leases[0].Delivery.ID != dead {
			t.Fatalf("round %d: claimed %d, %v, want the retried delivery", round, len(leases), err)
		}
		if _, err := db.Settle(t.Context(), store.Outcome{ID: dead, Epoch: leases[0].Epoch, State: store.Done}); err != nil {
			t.Fatal(err)
		}
	}
}

// commit commits an event with one delivery and returns the delivery's id.
func commit(tb testing.TB, db store.Store, event string, state store.DeliveryState) string {
	tb.Helper()
	res, err := db.Commit(tb.Context(), txn(event, state))
	if err != nil || res[0].Status != store.StatusNew {
		tb.Fatalf("commit: %v, %v", res, err)
	}
	return deliveryID(event)
}

func deliveryID(event string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("delivery of "+event)).String()
}

// txn is an event with one delivery, identified by the event's id alone.
func txn(event string, state store.DeliveryState) store.Txn {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	uid := uuid.NewSHA1(uuid.NameSpaceOID, []byte("event "+event)).String()
	return store.Txn{
		Event: store.Event{
			UID: uid, Source: "events", CESource: "/t", ID: event, Type: "t", Received: at,
			JSON: fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/t","type":"t"}`, event), Digest: [16]byte{1},
		},
		Dedup: time.Hour, Strict: true,
		Deliveries: []store.Delivery{{
			ID: deliveryID(event), EventUID: uid, EventID: event, Source: "events", CESource: "/t", Rule: "r", Action: "act",
			State: state, Params: []byte(`{"n":1}`), Created: at, Budget: at,
		}},
	}
}
