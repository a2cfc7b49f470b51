package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEveryPoint ends a process before and after every step in which a store
// writes, and looks at what it leaves. A step that is not reached fails.
func TestEveryPoint(t *testing.T) {
	t.Parallel()
	o := options{stores: []string{storeSQLite, storeRedis}}
	if !hasRedis() {
		t.Log("NOT RUN: the steps of the Redis store; install redis-server (make deps)")
		o.stores = o.stores[:1]
	}
	rep := newReport(0, "")
	if err := stores(t.Context(), o, t.TempDir(), rep); err != nil {
		t.Fatal(err)
	}
	if len(rep.Violations) > 0 {
		t.Fatal(strings.Join(rep.Violations, "\n"))
	}
	t.Logf("ended at %d points", rep.Points)
}

// TestCheckSteps gives the checker journals that do not fit the store.
func TestCheckSteps(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, more, want string }{
		{"sound", "", ""},
		{"an event was lost", "ok event/two here", "event/two is absent"},
		{"a delivery was lost", "ok d9 ready", "d9 is absent"},
		{"an outcome was lost", "ok FIRST done", "FIRST is ready, it may be [done]"},
		{"an outcome may be there", "try FIRST done", ""},
		{"half a transaction", "txn event/one d9", "event/one and d9 were written together"},
		{"an event that was not written", "txn event/two", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "pm.db")
			s, err := openStore(storeSQLite, path, "")
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			st := &steps{ctx: t.Context(), s: s, journal: &b}
			d := st.commit("one", time.Hour, nil, "a", "b")
			if err := errors.Join(st.err, s.Close()); err != nil {
				t.Fatal(err)
			}
			named := strings.NewReplacer("FIRST", d[0].ID)
			if tt.more != "" {
				b.WriteString(named.Replace(tt.more) + "\n")
			}
			wrong, err := checkSteps(t.Context(), storeSQLite, path, "", b.String())
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(wrong, "\n"); !strings.Contains(got, named.Replace(tt.want)) || (tt.want == "") != (got == "") {
				t.Fatalf("%q, want %q", got, tt.want)
			}
		})
	}
}
