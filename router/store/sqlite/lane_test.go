package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/store"
)

// TestLaneAfterAFailedWrite: a write that does not fit leaves each lane as it was.
func TestLaneAfterAFailedWrite(t *testing.T) {
	t.Parallel()
	db := openFile(t, filepath.Join(t.TempDir(), "pm.db"))
	pages := func(n int) {
		t.Helper()
		err := db.submit(t.Context(), func(t *tx) error { return t.conn.script(fmt.Sprintf("PRAGMA max_page_count = %d", n)) })
		if err != nil {
			t.Fatal(err)
		}
	}
	laned := func(id string, size int) store.Txn {
		txn := eventTxn(id, size)
		txn.Deliveries[0].Lane = "l"
		return txn
	}
	claim := func() *store.Lease {
		t.Helper()
		leases, _, err := db.Claim(t.Context(), "", []store.Want{{Action: "act", N: 9}}, time.Minute)
		if err != nil || len(leases) != 1 {
			t.Fatalf("claimed %d, %v, want 1", len(leases), err)
		}
		return &leases[0]
	}
	settle := func(l *store.Lease, output string) error {
		_, err := db.Settle(t.Context(), store.Outcome{
			ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Done, Attempt: &store.Attempt{Outcome: "done", Output: output},
		})
		return err
	}
	if _, err := db.Commit(t.Context(), laned("a", 1), laned("b", 1)); err != nil {
		t.Fatal(err)
	}
	first := claim()
	pages(40)
	large := strings.Repeat("x", 1<<20)
	for what, err := range map[string]error{
		"commit": func() error { _, err := db.Commit(t.Context(), laned("c", len(large))); return err }(),
		"settle": settle(first, large),
	} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if leases, _, err := db.Claim(t.Context(), "", []store.Want{{Action: "act", N: 9}}, time.Minute); err != nil || len(leases) > 0 {
		t.Fatalf("claimed %d beside the one that runs, %v", len(leases), err)
	}
	pages(100_000)
	if _, err := db.Commit(t.Context(), laned("c", 1)); err != nil {
		t.Fatal(err)
	}
	ran := []string{first.Delivery.EventID}
	for l := first; len(ran) < 3; ran = append(ran, l.Delivery.EventID) {
		if err := settle(l, ""); err != nil {
			t.Fatal(err)
		}
		l = claim()
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, ran); diff != "" {
		t.Fatalf("order (-want +got):\n%s", diff)
	}
}
