package sqlite_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/sqlite"
)

var update = flag.Bool("update", false, "write the golden data of this version anew")

// golden are the versions of the schema, the last one in use.
var golden = []string{"golden-v1", "golden-v2", "golden-v3"}

// content is all that the store's API shows of a file.
type content struct {
	Events     []store.Event
	Deliveries []store.Delivery
	History    map[string][]store.Attempt
	States     []store.State
	Revision   store.Revision
	Counts     []store.Count
}

func read(t *testing.T, db *sqlite.DB) content {
	t.Helper()
	c := content{History: map[string][]store.Attempt{}}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	c.Events, err = db.Events(t.Context(), store.EventQuery{})
	ok(err)
	c.Deliveries, err = db.Deliveries(t.Context(), store.DeliveryQuery{})
	ok(err)
	for _, d := range c.Deliveries {
		c.History[d.EventID], err = db.History(t.Context(), d.ID)
		ok(err)
	}
	c.States, err = db.Load(t.Context(), "rule/key", "none")
	ok(err)
	c.Revision, err = db.Revision(t.Context(), "rev-1")
	ok(err)
	c.Counts, err = db.Counts(t.Context())
	ok(err)
	return c
}

// TestGolden opens what released versions wrote. A file is never written anew
// once its version is released.
func TestGolden(t *testing.T) {
	t.Parallel()
	for i, version := range golden {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			testGolden(t, version, *update && i == len(golden)-1)
		})
	}
}

func testGolden(t *testing.T, version string, update bool) {
	t.Helper()
	file, text := filepath.Join("testdata", version, "pointsman.db"), filepath.Join("testdata", version, "content.json")
	if update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		writeGolden(t, file)
	}
	path := filepath.Join(t.TempDir(), "pm.db")
	copyStore(t, file, path)
	c := newClock()
	c.Advance(time.Minute)
	db := open(t, path, c.Now)
	got := read(t, db)
	if update {
		b, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		write(t, text, string(b)+"\n")
	}
	b, err := os.ReadFile(text)
	if err != nil {
		t.Fatal(err)
	}
	var want content
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("content (-want +got):\n%s", diff)
	}
	seen := map[store.DeliveryState]bool{}
	for _, d := range got.Deliveries {
		seen[d.State] = true
	}
	for s := store.Ready; s <= store.Cancelled; s++ {
		if !seen[s] {
			t.Errorf("no delivery is %s", s)
		}
	}
	goldenWorks(t, db)
}

// goldenWorks checks what a router does with the file next.
func goldenWorks(t *testing.T, db *sqlite.DB) {
	t.Helper()
	if start, err := db.Enter(t.Context(), store.Instance{ID: "golden"}); err != nil || start != 2 {
		t.Fatalf("start %d, %v, want 2", start, err)
	}
	again, other := txn("done", store.Ready), txn("done", store.Ready)
	other.Event.Digest = [16]byte{2}
	stale := txn("stale", store.Ready)
	stale.States = []store.StateWrite{{State: store.State{Key: "rule/key", Version: 9}, Read: 6}}
	fresh := txn("fresh", store.Held)
	fresh.States = []store.StateWrite{{State: store.State{Key: "rule/key", Version: 9}, Read: 7}}
	res, err := db.Commit(t.Context(), again, other, stale, fresh)
	if err != nil {
		t.Fatal(err)
	}
	first := again.Event.UID
	if diff := cmp.Diff([]store.Result{
		{Status: store.StatusDuplicate, UID: first},
		{Status: store.StatusConflict, UID: first},
		{Status: store.StatusStale},
		{Status: store.StatusNew, UID: fresh.Event.UID},
	}, res); diff != "" {
		t.Fatalf("results (-want +got):\n%s", diff)
	}
	leases, _, err := db.Claim(t.Context(), "op", []store.Want{{Action: "act", N: 10}}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	lost := map[string]bool{}
	for _, l := range leases {
		lost[l.Delivery.EventID] = l.Lost != nil && l.Lost.Number == 1 && l.Number == 2
		if len(l.Event) == 0 || string(l.Delivery.Params) != `{"n":1}` {
			t.Errorf("lease of %s has event %q and params %q", l.Delivery.EventID, l.Event, l.Delivery.Params)
		}
	}
	if diff := cmp.Diff(map[string]bool{"ready": false, "leased": true}, lost); diff != "" {
		t.Fatalf("leases, and whether their last attempt was lost (-want +got):\n%s", diff)
	}
}

// writeGolden makes a small file with everything a store can hold.
func writeGolden(t *testing.T, path string) {
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_ = os.Remove(path)
	c := newClock()
	db, err := sqlite.Open(sqlite.Config{Path: path, Now: c.Now})
	ok(err)
	_, err = db.Enter(t.Context(), store.Instance{ID: "golden", Host: "host", PID: 1})
	ok(err)
	ok(db.PutRevision(t.Context(), store.Revision{ID: "rev-1", Created: c.Now(), Data: []byte("rules")}))

	// The delivery that fails and is done is claimed before the others exist.
	done := txn("done", store.Ready)
	done.Dedup = 100 * 365 * 24 * time.Hour
	done.Event.Revision = "rev-1"
	done.Event.Verdicts = []store.Verdict{{Rule: "r", Verdict: "matched"}, {Rule: "x", Verdict: "error", Reason: "no field"}}
	done.States = []store.StateWrite{{State: store.State{Key: "rule/key", Version: 7, Data: []byte("state")}}}
	for range 3 { // twice a duplicate
		_, err = db.Commit(t.Context(), done)
		ok(err)
	}
	for i, outcome := range []string{"failed", "done"} {
		l, _, err := db.Claim(t.Context(), store.OpID(outcome), []store.Want{{Action: "act", N: 1}}, time.Minute)
		ok(err)
		c.Advance(time.Second)
		_, err = db.Settle(t.Context(), store.Outcome{
			ID: l[0].Delivery.ID, Epoch: l[0].Epoch, State: []store.DeliveryState{store.Ready, store.Done}[i], Attempts: i + 1,
			Attempt: &store.Attempt{Number: i + 1, Started: c.Now().Add(-time.Second), Ended: c.Now(), Outcome: outcome, Output: "out", Error: []string{"no route", ""}[i]},
		})
		ok(err)
	}
	commit(t, db, "leased", store.Ready)
	_, _, err = db.Claim(t.Context(), "leased", []store.Want{{Action: "act", N: 1, Durable: true}}, time.Minute)
	ok(err)
	dead, fanOut := txn("dead", store.Dead), txn("fan-out", store.Held)
	dead.Deliveries[0].Reason, dead.Deliveries[0].Error = store.ReasonParams, "with: n: not a string"
	fanOut.Deliveries[0].Reason, fanOut.Deliveries[0].Count = store.ReasonFanOut, 1500
	_, err = db.Commit(t.Context(), dead, fanOut)
	ok(err)
	_, err = db.Change(t.Context(), store.Change{ID: commit(t, db, "cancelled", store.Ready), Kind: store.Cancel})
	ok(err)
	commit(t, db, "ready", store.Ready)
	for _, event := range []string{"in a lane", "behind it"} {
		waits := txn(event, store.Ready)
		waits.Deliveries[0].Action, waits.Deliveries[0].Lane = "lane", "r/k"
		_, err = db.Commit(t.Context(), waits)
		ok(err)
	}
	ok(db.Close())
	if _, err := os.Stat(path + "-wal"); !os.IsNotExist(err) {
		t.Fatalf("the log is still there (%v)", err)
	}
	ok(os.Remove(path + ".lock"))
}
