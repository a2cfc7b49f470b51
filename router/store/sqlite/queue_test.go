package sqlite_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/sqlite"
)

// What becomes ready in the transaction that ends the last others of its action
// must be found by the next claim.
func TestReadyWhileTheQueueEmpties(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(sqlite.Config{Path: filepath.Join(t.TempDir(), "store.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Enter(t.Context(), store.Instance{ID: "one"}); err != nil {
		t.Fatal(err)
	}
	for round := range 50 { // the order within a transaction is random
		uid := fmt.Sprint("event ", round)
		txn := store.Txn{Event: store.Event{UID: uid, ID: uid, JSON: []byte("{}"), Received: time.Now()}}
		for i, state := range []store.DeliveryState{store.Ready, store.Ready, store.Ready, store.Dead} {
			txn.Deliveries = append(txn.Deliveries, store.Delivery{
				ID: fmt.Sprint(uid, " ", i), EventUID: uid, EventID: uid, Action: "a", State: state, Created: time.Now(),
			})
		}
		if _, err := db.Commit(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
		bury := func(i int) store.Change { return store.Change{ID: txn.Deliveries[i].ID, Kind: store.Bury} }
		retried := txn.Deliveries[3].ID
		if _, err := db.Change(t.Context(), bury(0), bury(1), bury(2), store.Change{ID: retried, Kind: store.Retry}); err != nil {
			t.Fatal(err)
		}
		leases, _, err := db.Claim(t.Context(), store.OpID(uid), []store.Want{{Action: "a", N: 10}}, time.Minute)
		if err != nil || len(leases) != 1 || leases[0].Delivery.ID != retried {
			t.Fatalf("round %d: %d leases, %v", round, len(leases), err)
		}
		if _, err := db.Settle(t.Context(), store.Outcome{ID: retried, Epoch: leases[0].Epoch, State: store.Done}); err != nil {
			t.Fatal(err)
		}
	}
}
