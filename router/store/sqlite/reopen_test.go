package sqlite

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOpenCopiesTheLog: what a store finds in its log when it opens is in the file
// before anything relies on it. A log whose sync failed may be whole in memory and
// not on disk: the kernel tells that once, and then takes the pages for written.
func TestOpenCopiesTheLog(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	db := openFile(t, filepath.Join(from, "pm.db"))
	if _, err := db.Commit(t.Context(), eventTxn("a", 10_000)); err != nil {
		t.Fatal(err)
	}
	copied := func(from string, names ...string) string {
		t.Helper()
		to := t.TempDir()
		for _, name := range names {
			b, err := os.ReadFile(filepath.Join(from, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return to
	}
	crashed := copied(from, "pm.db", "pm.db-wal")
	again, err := Open(Config{Path: filepath.Join(crashed, "pm.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	alone := openFile(t, filepath.Join(copied(crashed, "pm.db"), "pm.db"))
	if diff := cmp.Diff([]string{"a"}, ids(t, alone)); diff != "" {
		t.Errorf("events in the file without its log (-want +got):\n%s", diff)
	}
}
