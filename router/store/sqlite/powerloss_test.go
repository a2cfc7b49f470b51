package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

const (
	recordVar = "POINTSMAN_TEST_RECORD" // the folder of the process that is recorded
	imagesVar = "POINTSMAN_IMAGES"      // how many images; default 240
	acksName  = "acks"
)

// TestPowerLoss records what a store does to its files under load, and then
// opens what disks may hold when the power goes at any moment of that: all that
// was synced, and any sectors of what was not. Whatever was acknowledged is there
// as a whole, and so is or is not everything else.
func TestPowerLoss(t *testing.T) {
	if dir := os.Getenv(recordVar); dir != "" {
		recordedLoad(t, dir)
		return
	}
	t.Parallel()
	log := recordLoad(t)
	n := 240
	if text := os.Getenv(imagesVar); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(20261123)
	acked := 0
	for i := range n {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		at, how := rng.IntN(len(log.ops)+1), keeping(i%int(keepsKinds))
		if i%5 == 0 { // while the file is made
			at = rng.IntN(min(150, len(log.ops)))
		}
		im := log.cut(at, how, false, rng)
		acked += len(im.acked)
		dir := filepath.Join(t.TempDir(), "image")
		if err := errors.Join(os.Mkdir(dir, 0o700), im.write(dir, rng)); err != nil {
			t.Fatal(err)
		}
		if err := im.judge(t.Context(), dir); err != nil {
			t.Errorf("image %d, cut after operation %d of %d (%d), %d acknowledged: %v", i, at, len(log.ops), how, len(im.acked), err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d images out of %d operations, %d acknowledgements each on average", n, len(log.ops), acked/max(1, n))

	// The judge finds what is missing: a disk that syncs nothing loses something.
	found := 0
	for i := range 10 {
		rng := rand.New(rand.NewPCG(seed, uint64(1_000_000+i)))
		im := log.cut(len(log.ops)-i, keepsSectors, true, rng)
		dir := filepath.Join(t.TempDir(), "lying")
		if err := errors.Join(os.Mkdir(dir, 0o700), im.write(dir, rng)); err != nil {
			t.Fatal(err)
		}
		if im.judge(t.Context(), dir) != nil {
			found++
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if found < 8 {
		t.Errorf("a disk that syncs nothing was noticed in %d of 10 images", found)
	}
}

// recordLoad runs this very test in a process under strace.
func recordLoad(t *testing.T) *diskLog {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("NOT RUN: install strace (make deps)")
	}
	dir := t.TempDir()
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.CommandContext(t.Context(), "strace", "-f", "-qq", "--seccomp-bpf", "-xx", "-s", "1000000", "-o", trace,
		"-e", "trace=open,openat,pwrite64,ftruncate,fsync,fdatasync,unlink,unlinkat", "-e", "signal=none",
		os.Args[0], "-test.run=^TestPowerLoss$")
	cmd.Env = append(os.Environ(), recordVar+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "ptrace") {
			t.Skipf("NOT RUN: strace may not trace here: %s", out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	log, err := readTrace(trace, dir, acksName)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, op := range log.ops {
		kinds[op.kind]++
	}
	t.Logf("recorded %v", kinds)
	for _, kind := range []string{"write", "sync", "create", "unlink", "syncdir", "ack"} {
		if kinds[kind] == 0 {
			t.Fatalf("nothing of kind %s was recorded: %v", kind, kinds)
		}
	}
	return log
}

const (
	loadEvents  = 160
	loadSenders = 4
)

// loadTxn is event n: what it is follows from n.
func loadTxn(n int) store.Txn {
	id := fmt.Sprintf("e%04d", n)
	txn := store.Txn{
		Event: store.Event{
			UID: "uid-" + id, Source: "s", ID: id, Type: "t", Revision: "rev",
			JSON: bytes.Repeat([]byte(id), 1+(n*7919)%2500),
		},
		Dedup: 24 * time.Hour,
	}
	for step := range n % 3 {
		txn.Deliveries = append(txn.Deliveries, store.Delivery{
			ID: fmt.Sprintf("%s-%d", id, step), EventUID: txn.Event.UID, EventID: id, Source: "s", Rule: "r", Step: step + 1,
			Action: "act", State: store.Ready, Params: []byte(`{"n":1}`),
		})
	}
	return txn
}

// recordedLoad is what the recorded process does: events, attempts, checkpoints
// and restarts. Each acknowledgement is a write to the file of acks.
func recordedLoad(t *testing.T, dir string) {
	acks, err := os.Create(filepath.Join(dir, acksName))
	if err != nil {
		t.Fatal(err)
	}
	defer acks.Close()
	ack := func(what string) {
		if _, err := acks.WriteAt([]byte(what+"\n"), 0); err != nil {
			panic(err)
		}
	}
	for from := 0; from < loadEvents; from += loadEvents / 4 {
		db, err := Open(Config{Path: filepath.Join(dir, "pm.db")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Enter(t.Context(), store.Instance{ID: "i"}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for s := range loadSenders {
			wg.Go(func() {
				for n := from + s; n < from+loadEvents/4; n += loadSenders {
					if _, err := db.Commit(t.Context(), loadTxn(n)); err != nil {
						panic(err)
					}
					ack(fmt.Sprintf("event:%d", n))
					if n%5 == 0 {
						loadAttempts(t.Context(), db, ack)
					}
					if n%13 == 0 {
						_ = db.checkpoint("PRAGMA wal_checkpoint(PASSIVE)") // beside the writer, as it is
					}
				}
			})
		}
		wg.Wait()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// loadAttempts runs some deliveries: two of three are done.
func loadAttempts(ctx context.Context, db *DB, ack func(string)) {
	leases, _, err := db.Claim(ctx, "", []store.Want{{Action: "act", N: 3, Durable: true}}, time.Hour)
	if err != nil {
		panic(err)
	}
	for i, l := range leases {
		out := store.Outcome{ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Done, Attempts: 1, Attempt: &store.Attempt{Outcome: "done"}}
		if i == 2 {
			out.State, out.Attempt.Outcome = store.Ready, "failed"
		}
		if _, err := db.Settle(ctx, out); err != nil {
			panic(err)
		}
		if out.State == store.Done {
			ack("done:" + out.ID)
		}
	}
}

// judge opens an image and compares it with what was acknowledged.
func (im *image) judge(ctx context.Context, dir string) (err error) {
	db, err := Open(Config{Path: filepath.Join(dir, "pm.db")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.Enter(ctx, store.Instance{ID: "i"}); err != nil {
		return err
	}
	var sound string
	if err := db.reads.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&sound); err != nil || sound != "ok" {
		return fmt.Errorf("integrity: %s, %w", sound, err)
	}
	states, err := wholeEvents(ctx, db)
	if err != nil {
		return err
	}
	var again []store.Txn
	for _, what := range im.acked {
		kind, id, _ := strings.Cut(what, ":")
		if kind == "done" {
			if states[id] != store.Done {
				return fmt.Errorf("delivery %s was settled as done and is %s", id, states[id])
			}
			if as, err := db.History(ctx, id); err != nil || !slices.ContainsFunc(as, func(a store.Attempt) bool { return a.Outcome == "done" }) {
				return fmt.Errorf("delivery %s is done and has the history %v, %w", id, as, err)
			}
			continue
		}
		n, _ := strconv.Atoi(id)
		again = append(again, loadTxn(n))
	}
	// An event that was acknowledged is known; it is a duplicate when it comes again.
	results, err := db.Commit(ctx, again...)
	if err != nil {
		return err
	}
	for i, res := range results {
		if res.Status != store.StatusDuplicate {
			return fmt.Errorf("event %s was acknowledged and is %v when it comes again", again[i].Event.ID, res.Status)
		}
	}
	return runAll(ctx, db, states)
}

// wholeEvents looks at all events that are stored: each is whole. It returns the
// states of their deliveries.
func wholeEvents(ctx context.Context, db *DB) (map[string]store.DeliveryState, error) {
	states, counted := map[string]store.DeliveryState{}, map[store.DeliveryState]int{}
	rows, err := db.reads.QueryContext(ctx, "SELECT id, state, event_id FROM deliveries")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	ofEvent := map[string]int{}
	for rows.Next() {
		var id, event string
		var state store.DeliveryState
		if err := rows.Scan(&id, &state, &event); err != nil {
			return nil, err
		}
		states[id] = state
		counted[state]++
		ofEvent[event]++
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	events, err := db.reads.QueryContext(ctx, "SELECT id, json FROM events")
	if err != nil {
		return nil, err
	}
	defer events.Close()
	for events.Next() {
		var id, json string
		if err := events.Scan(&id, &json); err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(strings.TrimPrefix(id, "e"))
		if err != nil {
			return nil, err
		}
		want := loadTxn(n)
		if json != string(want.Event.JSON) || ofEvent[id] != len(want.Deliveries) {
			return nil, fmt.Errorf("event %s is not whole: %d bytes, %d deliveries", id, len(json), ofEvent[id])
		}
		delete(ofEvent, id)
	}
	if len(ofEvent) > 0 {
		return nil, fmt.Errorf("deliveries without their events: %v", ofEvent)
	}
	counts, err := db.Counts(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range counts {
		if counted[c.State] != c.N {
			return nil, fmt.Errorf("%d deliveries are %s, and %d are counted", counted[c.State], c.State, c.N)
		}
		delete(counted, c.State)
	}
	if len(counted) > 0 {
		return nil, fmt.Errorf("not counted: %v", counted)
	}
	return states, events.Err()
}

// runAll claims and settles everything that has not come to its end.
func runAll(ctx context.Context, db *DB, states map[string]store.DeliveryState) error {
	leases, _, err := db.Claim(ctx, "", []store.Want{{Action: "act", N: 10_000}}, time.Hour)
	if err != nil {
		return err
	}
	outs := make([]store.Outcome, len(leases))
	for i, l := range leases {
		if want := loadTxn(eventNumber(l.Delivery.EventID)); !bytes.Equal(l.Event, want.Event.JSON) {
			return fmt.Errorf("delivery %s comes with %d bytes of an event of %d", l.Delivery.ID, len(l.Event), len(want.Event.JSON))
		}
		if states[l.Delivery.ID] == store.Done {
			return fmt.Errorf("delivery %s is done and was claimed", l.Delivery.ID)
		}
		states[l.Delivery.ID] = store.Done
		outs[i] = store.Outcome{ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Done, Attempt: &store.Attempt{Outcome: "done"}}
	}
	for id, state := range states {
		if state != store.Done {
			return fmt.Errorf("delivery %s is %s and was not claimed", id, state)
		}
	}
	settled, err := db.Settle(ctx, outs...)
	if err == nil && slices.ContainsFunc(settled, func(s store.Settled) bool { return s != store.SettledOK }) {
		err = fmt.Errorf("settled %v", settled)
	}
	return err
}

func eventNumber(id string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(id, "e"))
	return n
}
