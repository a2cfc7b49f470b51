package sqlite

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

const flipEvents = 60

// outcome is what a flipped bit led to.
type outcome string

const (
	harmless outcome = "harmless" // all is as before
	named    outcome = "named"    // an error said so
	altered  outcome = "altered"  // the text or the name of a record is another, without a word
	again    outcome = "again"    // what was done is run again, without a word
	missing  outcome = "missing"  // what was to be run is not, without a word
)

// TestBitFlips flips one bit of the files of a store at a time, opens it, looks
// at everything and runs everything. In the log every flip is named but in its last
// transactions, which cannot be told from a power loss. SQLite has no checksums of
// its pages: what is within a row changes unseen, and the test says how often.
func TestBitFlips(t *testing.T) {
	t.Parallel()
	made := flipStore(t, t.TempDir())
	n := 160
	if text := os.Getenv(imagesVar); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"pm.db", "pm.db-wal"} {
		count := map[outcome]int{}
		for i := range n {
			rng := rand.New(rand.NewPCG(20261123, uint64(i)))
			bit := rng.IntN(8 * len(made.files[name]))
			got, what := made.flip(t, name, bit, rng)
			count[got]++
			if name == "pm.db-wal" && got != named && got != harmless && bit/8 < made.last {
				t.Errorf("%s, byte %d, bit %d: %s: %s", name, bit/8, bit%8, got, what)
			}
		}
		t.Logf("%s, %d bytes, %d flips: %v", name, len(made.files[name]), n, count)
		if bad := count[again] + count[missing]; name == "pm.db" && bad > n/20 {
			t.Errorf("%d of %d flips ran something again or lost something without a word", bad, n)
		}
	}
	if got, what := made.flip(t, "pm.db-wal", 8*20, rand.New(rand.NewPCG(1, 1))); got != named || !strings.Contains(what, "truncate -s 0 ") {
		t.Errorf("a flip in the header of the log: %s: %s", got, what)
	}
}

// flippable is a store whose bits are flipped.
type flippable struct {
	files map[string][]byte
	was   map[string]store.DeliveryState
	// last is where in the log its last transactions begin.
	last int
}

// flip opens the store with one bit flipped.
func (f *flippable) flip(t *testing.T, name string, bit int, rng *rand.Rand) (outcome, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "flip")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	im := &image{files: maps.Clone(f.files)}
	b := append([]byte(nil), f.files[name]...)
	b[bit/8] ^= 1 << (bit % 8)
	im.files[name] = b
	if err := im.write(dir, rng); err != nil {
		t.Fatal(err)
	}
	got, what := look(t.Context(), dir, maps.Clone(f.was))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	return got, what
}

// flipStore makes a store with events, half of their deliveries done, part of it
// in the log.
func flipStore(t *testing.T, dir string) *flippable {
	t.Helper()
	db := openFile(t, filepath.Join(dir, "pm.db"))
	made := &flippable{files: map[string][]byte{}, was: map[string]store.DeliveryState{}}
	for n := range flipEvents {
		if _, err := db.Commit(t.Context(), loadTxn(n)); err != nil {
			t.Fatal(err)
		}
		if n == 40 {
			if err := db.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
				t.Fatal(err)
			}
		}
		if n%2 == 0 {
			loadAttempts(t.Context(), db, func(string) {})
		}
		if n == flipEvents-3 {
			info, err := os.Stat(filepath.Join(dir, "pm.db-wal"))
			if err != nil {
				t.Fatal(err)
			}
			made.last = int(info.Size())
		}
	}
	for _, name := range []string{"pm.db", "pm.db-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		made.files[name] = b
	}
	deliveries, err := db.Deliveries(t.Context(), store.DeliveryQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range deliveries {
		made.was[deliveries[i].ID] = deliveries[i].State
	}
	return made
}

// look opens a store with a flipped bit and compares it with what was stored.
func look(ctx context.Context, dir string, was map[string]store.DeliveryState) (outcome, string) {
	db, err := Open(Config{Path: filepath.Join(dir, "pm.db")})
	if err != nil {
		return named, err.Error()
	}
	defer db.Close()
	if _, err := db.Enter(ctx, store.Instance{ID: "i"}); err != nil {
		return named, err.Error()
	}
	worst, what := harmless, ""
	found := func(o outcome, format string, args ...any) {
		if worst == harmless || worst == altered {
			worst, what = o, fmt.Sprintf(format, args...)
		}
	}
	events, err := db.Events(ctx, store.EventQuery{})
	if err != nil {
		return named, err.Error()
	}
	there := map[string]bool{}
	for i := range events {
		ev := &events[i]
		there[ev.ID] = true
		if want := loadTxn(eventNumber(ev.ID)).Event; string(want.JSON) != string(ev.JSON) || want.UID != ev.UID {
			found(altered, "event %s", ev.ID)
		}
	}
	deliveries, err := db.Deliveries(ctx, store.DeliveryQuery{})
	if err != nil {
		return named, err.Error()
	}
	stands := map[string]store.DeliveryState{}
	for i := range deliveries {
		d := &deliveries[i]
		stands[d.ID] = d.State
		if _, err := db.History(ctx, d.ID); err != nil {
			return named, err.Error()
		}
	}
	if len(events) > flipEvents || len(stands) > len(was) {
		found(altered, "%d events, %d deliveries", len(events), len(stands))
	}
	leases, _, err := db.Claim(ctx, "", []store.Want{{Action: "act", N: 1000}}, time.Hour)
	if err != nil {
		return named, err.Error()
	}
	for i := range leases {
		l := &leases[i]
		if was[l.Delivery.ID] == store.Done {
			found(again, "delivery %s", l.Delivery.ID)
		}
		if want := loadTxn(eventNumber(l.Delivery.EventID)).Event; string(want.JSON) != string(l.Event) {
			found(altered, "delivery %s comes with another event", l.Delivery.ID)
		}
		delete(was, l.Delivery.ID)
		if _, err := db.Settle(ctx, store.Outcome{ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Done, Attempt: &store.Attempt{Outcome: "done"}}); err != nil {
			return named, err.Error()
		}
	}
	for id, state := range was {
		switch now, ok := stands[id]; {
		case !ok && state != store.Done:
			found(missing, "delivery %s is not there", id)
		case !ok:
			found(altered, "delivery %s is not there, and was done", id)
		case state != store.Done:
			found(missing, "delivery %s is %s and was not claimed", id, now)
		case now != store.Done:
			found(altered, "delivery %s is %s, and was done", id, now)
		}
	}
	for n := range flipEvents {
		if id := loadTxn(n).Event.ID; !there[id] {
			found(missing, "event %s is not there", id)
		}
	}
	for n := range flipEvents {
		res, err := db.Commit(ctx, loadTxn(n))
		if err != nil {
			return named, err.Error()
		}
		if res[0].Status != store.StatusDuplicate {
			found(again, "event %d is accepted again", n)
		}
	}
	return worst, what
}
