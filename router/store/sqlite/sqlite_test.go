package sqlite_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/sqlite"
	"github.com/pointsman/pointsman/router/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that stands still.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(tb testing.TB, path string, now func() time.Time) *sqlite.DB {
	tb.Helper()
	db, err := sqlite.Open(sqlite.Config{Path: path, Now: now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

func TestConformance(t *testing.T) {
	t.Parallel()
	c := newClock()
	paths := map[store.Full]string{}
	openAt := func(t *testing.T, path string) store.Full {
		db := open(t, path, c.Now)
		paths[db] = path
		return db
	}
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T) store.Full { return openAt(t, filepath.Join(t.TempDir(), "pm.db")) },
		Reopen: func(t *testing.T, s store.Full) store.Full {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return openAt(t, paths[s])
		},
		// What the files hold while the store is still open is what a killed
		// process leaves.
		Kill: func(t *testing.T, s store.Full) store.Full {
			path := filepath.Join(t.TempDir(), "pm.db")
			copyStore(t, paths[s], path)
			return openAt(t, path)
		},
		Advance: c.Advance,
		Now:     c.Now,
	})
}

func copyStore(tb testing.TB, from, to string) {
	tb.Helper()
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(from + suffix)
		if os.IsNotExist(err) && suffix != "" {
			continue
		}
		if err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(to+suffix, b, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}
