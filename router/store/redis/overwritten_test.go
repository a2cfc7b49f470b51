package redis_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/redis"
)

// uses makes calls on a store with an event 0, whose delivery of action a is
// leased, and an event 1, whose delivery is ready; each touches several records.
func uses(t *testing.T, db *redis.DB, lease *store.Lease) map[string]func() error {
	t.Helper()
	first, second := txn("2", "b"), txn("3", "a")
	first.Event.Revision = "r"
	second.States = []store.StateWrite{{State: store.State{Key: "k", Version: 2}, Read: 1}}
	return map[string]func() error{
		"commit": func() error { _, err := db.Commit(t.Context(), first, txn("0"), second); return err },
		"claim": func() error {
			_, _, err := db.Claim(t.Context(), "op", []store.Want{{Action: "b", N: 9}, {Action: "a", N: 9}}, ttl)
			return err
		},
		"settle": func() error { _, err := db.Settle(t.Context(), done(lease)); return err },
		"change": func() error {
			_, err := db.Change(t.Context(), store.Change{ID: lease.Delivery.ID, Kind: store.Cancel})
			return err
		},
	}
}

func leasedAndReady(t *testing.T, db *redis.DB) *store.Lease {
	t.Helper()
	enter(t, db, "i")
	first := txn("0", "a")
	first.States = []store.StateWrite{{State: store.State{Key: "k", Version: 1}}}
	check(db.Commit(t.Context(), first, txn("1", "a")))(t)
	leases, _, err := db.Claim(t.Context(), "first", []store.Want{{Action: "a", N: 1}}, time.Minute)
	return &check(leases, err)(t)[0]
}

// TestSharedKeyOfAnotherType has someone overwrite a key of many records with a
// value of another type, which a script meets after others: it is refused before
// its first write.
func TestSharedKeyOfAnotherType(t *testing.T) {
	t.Parallel()
	for key, users := range map[string][]string{
		"q:a":     {"commit", "claim", "settle", "change"},
		"x:1:a":   {"commit", "claim", "settle", "change"},
		"l:a":     {"commit", "claim", "settle", "change"},
		"x:4:a":   {"change"},
		"counts":  {"commit", "claim", "settle", "change"},
		"meta":    {"commit", "claim", "settle", "change"},
		"inst":    {"claim", "settle"},
		"evs":     {"commit"},
		"ds":      {"commit", "change"},
		"revrefs": {"commit"},
		"i:0":     {"commit"},
		"s:k":     {"commit"},
	} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			db := open(t, s.url(), "a", nil)
			calls := uses(t, db, leasedAndReady(t, db))
			name := "{pm:a}:" + key
			s.do("DEL", name)
			s.do("LPUSH", name, "x")
			before := s.contents()
			for what, call := range calls {
				if !slices.Contains(users, what) {
					continue
				}
				if err := call(); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), name+" holds a ") {
					t.Errorf("%s: %v", what, err)
				}
			}
			if diff := cmp.Diff(before, s.contents()); diff != "" {
				t.Errorf("refused calls changed keys (-before +after):\n%s", diff)
			}
		})
	}
}

// TestRecordOfAnotherType has someone overwrite a key of one record: the others
// go on as if it was deleted.
func TestRecordOfAnotherType(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"e:", "d:", "h:", "m:"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			db := open(t, s.url(), "a", nil)
			lease := leasedAndReady(t, db)
			names := []string{"{pm:a}:" + key + lease.Delivery.ID}
			switch key {
			case "e:":
				names[0] = "{pm:a}:e:" + lease.Delivery.EventUID
			case "m:":
				names = s.client().Keys(t.Context(), "{pm:a}:m:*").Val()
			}
			for _, name := range names {
				s.do("DEL", name)
				s.do("HSET", name, "x", "y")
			}
			calls := uses(t, db, lease)
			for _, what := range []string{"commit", "settle", "claim", "change"} {
				if err := calls[what](); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			want := map[store.DeliveryState]int{store.Leased: 3, store.Done: 1}
			if key == "d:" {
				want = map[store.DeliveryState]int{store.Leased: 4} // what is lost is still counted
			}
			if diff := cmp.Diff(want, states(t, db)); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
		})
	}
}
