package sqlite

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/store"
)

// commitMany commits events numbered from up to before to, each with a delivery.
func commitMany(t *testing.T, db *DB, from, to int) {
	t.Helper()
	for from < to {
		var txns []store.Txn
		for ; from < to && len(txns) < 500; from++ {
			txn := eventTxn(fmt.Sprint(from), 1)
			txn.Deliveries[0].Created = time.Unix(int64(from), 0)
			txns = append(txns, txn)
		}
		res, err := db.Commit(t.Context(), txns...)
		if err != nil {
			t.Fatal(err)
		}
		for i := range res {
			if res[i].Status != store.StatusNew {
				t.Fatalf("event %s has status %d", txns[i].Event.ID, res[i].Status)
			}
		}
	}
}

func claimAll(t *testing.T, db *DB, n int) []store.Lease {
	t.Helper()
	leases, _, err := db.Claim(t.Context(), "", []store.Want{{Action: "act", N: n}}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return leases
}

// TestPacked: what is stored for many events in one row is found from memory,
// from the file and after a restart.
func TestPacked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pm.db")
	db := openFile(t, path)
	const n = segmentEvents + 900
	commitMany(t, db, 0, n)
	for _, when := range []string{"at once", "after a restart"} {
		for _, i := range []int{0, 700, segmentEvents - 2, segmentEvents - 1, segmentEvents, n - 1} {
			id := fmt.Sprint(i)
			evs, err := db.Events(t.Context(), store.EventQuery{ID: id})
			if err != nil || len(evs) != 1 || evs[0].UID != "uid-"+id {
				t.Fatalf("%s: event %s: %+v, %v", when, id, evs, err)
			}
			ds, err := db.Deliveries(t.Context(), store.DeliveryQuery{EventID: id})
			if err != nil || len(ds) != 1 || ds[0].ID != "delivery-"+id {
				t.Fatalf("%s: deliveries of %s: %+v, %v", when, id, ds, err)
			}
			other := eventTxn(id, 1)
			other.Strict, other.Event.Digest = true, [16]byte{1}
			res, err := db.Commit(t.Context(), eventTxn(id, 1), other)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]store.Result{
				{Status: store.StatusDuplicate, UID: "uid-" + id}, {Status: store.StatusConflict, UID: "uid-" + id},
			}, res); diff != "" {
				t.Fatalf("%s: results (-want +got):\n%s", when, diff)
			}
		}
		if evs, err := db.Events(t.Context(), store.EventQuery{ID: "none"}); err != nil || len(evs) != 0 {
			t.Fatalf("%s: an event that is not there: %+v, %v", when, evs, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = openFile(t, path)
	}
}

// TestRowsDoNotGrow: the outcome of a delivery takes the room that its row has
// kept, or pages would be split.
func TestRowsDoNotGrow(t *testing.T) {
	t.Parallel()
	db := openFile(t, filepath.Join(t.TempDir(), "pm.db"))
	commitMany(t, db, 0, 200)
	size := func() (n int64) {
		t.Helper()
		if err := db.reads.QueryRowContext(t.Context(), "SELECT SUM(payload) FROM dbstat WHERE name = 'deliveries' AND pagetype = 'leaf'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := size()
	outcomes := []store.Outcome{}
	for _, l := range claimAll(t, db, 200) {
		outcomes = append(outcomes, store.Outcome{
			ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Done, Attempts: 1,
			Attempt: &store.Attempt{Started: time.Now(), Ended: time.Now(), Outcome: "done", Output: "sent"},
		})
	}
	if _, err := db.Settle(t.Context(), outcomes...); err != nil {
		t.Fatal(err)
	}
	if after := size(); after != before {
		t.Fatalf("200 rows had %d bytes and have %d", before, after)
	}
	history, err := db.History(t.Context(), "delivery-7")
	if err != nil || len(history) != 1 || history[0].Number != 1 || history[0].Outcome != "done" || history[0].Output != "sent" || history[0].Ended.IsZero() {
		t.Fatalf("history %+v, %v", history, err)
	}
}

// TestOutcomesWaitForEvents: after a group of events outcomes share the
// transaction of the next; without one they are written soon, and at once when
// few events came.
func TestOutcomesWaitForEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := openFile(t, filepath.Join(t.TempDir(), "pm.db"))
		commits := 0
		good := db.w.commit
		db.w.commit = func() error { commits++; return good() }
		settle := func(l store.Lease) chan time.Duration {
			took := make(chan time.Duration, 1)
			go func() {
				begun := time.Now()
				_, err := db.Settle(t.Context(), store.Outcome{ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Done})
				if err != nil {
					t.Error(err)
				}
				took <- time.Since(begun)
			}()
			synctest.Wait()
			return took
		}
		commitMany(t, db, 0, busyEvents-1)
		leases := claimAll(t, db, busyEvents)
		if d := <-settle(leases[0]); d != 0 {
			t.Errorf("after few events an outcome took %v", d)
		}
		commitMany(t, db, 100, 100+busyEvents)
		if d := <-settle(leases[1]); d != linger {
			t.Errorf("after many events an outcome alone took %v, want %v", d, linger)
		}
		commitMany(t, db, 200, 200+busyEvents)
		before := commits
		took := settle(leases[2])
		commitMany(t, db, 300, 301)
		if d := <-took; d != 0 || commits != before+1 {
			t.Errorf("with the next event an outcome took %v and %d transactions", d, commits-before)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzMarks: what is read from a row is written back the same, and a damaged row
// is an error.
func FuzzMarks(f *testing.F) {
	id := fullMark{mark: mark{seq: 7}, uid: "01890a5d-ac96-774b-bcce-b302099a8057"}
	f.Add(appendMark(appendMark(nil, 5, &id), 5, &fullMark{mark: mark{seq: 9}, uid: "x"}))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, row []byte) {
		var marks []fullMark
		if err := readMarks(3, 5, row, func(m *fullMark) { marks = append(marks, *m) }); err != nil {
			return
		}
		var again []byte
		for i := range marks {
			again = appendMark(again, 5, &marks[i])
		}
		var reread []fullMark
		if err := readMarks(3, 5, again, func(m *fullMark) { reread = append(reread, *m) }); err != nil {
			t.Fatal(err)
		}
		if len(again) > len(row) || !slices.Equal(marks, reread) {
			t.Fatalf("%x is read as %+v, which is written as %x and read as %+v", row, marks, again, reread)
		}
	})
}
