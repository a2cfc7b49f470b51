package redis_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/store"
)

// laned is an event with a ready delivery of action a in lane x.
func laned(id string) store.Txn {
	t := txn(id, "a")
	t.Deliveries[0].Lane = "x"
	return t
}

// TestLaneOfAnotherType has someone overwrite a key of a lane: what would write
// it is refused before its first write.
func TestLaneOfAnotherType(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"{pm:a}:n:x", "{pm:a}:b:x"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			db := open(t, s.url(), "a", nil)
			enter(t, db, "i")
			check(db.Commit(t.Context(), laned("0"), laned("1")))(t)
			leases := claim(t, db, "a")
			s.do("DEL", key)
			s.do("LPUSH", key, "x")
			before := s.contents()
			_, commitErr := db.Commit(t.Context(), laned("2"))
			_, settleErr := db.Settle(t.Context(), done(&leases[0]))
			_, changeErr := db.Change(t.Context(), store.Change{ID: leases[0].Delivery.ID, Kind: store.Cancel})
			for _, err := range []error{commitErr, settleErr, changeErr} {
				if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), key+" holds a ") {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(before, s.contents()); diff != "" {
				t.Errorf("refused calls changed keys (-before +after):\n%s", diff)
			}
		})
	}
}

// TestLaneDeleted has someone delete what is kept of a lane, or the record of
// the one that runs: those that wait go on in order after the next retention.
func TestLaneDeleted(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"n:x", "b:x", "q:a", "d:"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			at := time.Now()
			db := open(t, s.url(), "a", func() time.Time { return at })
			enter(t, db, "i")
			check(db.Commit(t.Context(), laned("0"), laned("1"), laned("2")))(t)
			first := claim(t, db, "a")
			if key == "d:" {
				key += first[0].Delivery.ID
			}
			s.do("DEL", "{pm:a}:"+key)
			check(db.Retain(t.Context(), store.Policy{}))(t)
			check(db.Settle(t.Context(), done(&first[0])))(t)
			check(db.Retain(t.Context(), store.Policy{}))(t)
			for _, want := range []string{"1", "2"} {
				leases := claim(t, db, "a")
				if len(leases) != 1 || leases[0].Delivery.EventID != want {
					t.Fatalf("claimed %d deliveries, want that of event %s: %+v", len(leases), want, leases)
				}
				check(db.Settle(t.Context(), done(&leases[0])))(t)
			}
		})
	}
}

// TestLaneLeavesNothing: when all of a lane has ended, no key of it is left.
func TestLaneLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s.url(), "a", nil)
	enter(t, db, "i")
	check(db.Commit(t.Context(), laned("0"), laned("1")))(t)
	for range 2 {
		check(db.Settle(t.Context(), done(&claim(t, db, "a")[0])))(t)
	}
	for _, key := range []string{"{pm:a}:n:*", "{pm:a}:b:*"} {
		if left := s.client().Keys(t.Context(), key).Val(); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}
