package redis_test

import (
	"fmt"
	"testing"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/storetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := newClock()
	names := map[store.Full]string{}
	openAs := func(t *testing.T, name string) store.Full {
		db := open(t, s.url(), name, c.Now)
		names[db] = name
		return db
	}
	again := func(t *testing.T, db store.Full) store.Full { return openAs(t, names[db]) }
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T) store.Full { return openAs(t, fmt.Sprintf("conformance-%d", len(names))) },
		Reopen: func(t *testing.T, db store.Full) store.Full {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			return again(t, db)
		},
		Kill:    again,
		Second:  again,
		Advance: c.Advance,
		Now:     c.Now,
	})
	if out := s.keysOutside("{pm:conformance-"); len(out) > 0 {
		t.Errorf("keys outside of the hash tag: %v", out)
	}
}
