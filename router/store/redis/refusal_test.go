package redis_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/redis"
)

// contents is every key of a router with its value.
func (s *server) contents() map[string]string {
	s.tb.Helper()
	c, out := s.client(), map[string]string{}
	keys, err := c.Keys(context.Background(), "*").Result()
	if err != nil {
		s.tb.Fatal(err)
	}
	for _, k := range keys {
		out[k] = c.Dump(context.Background(), k).Val()
	}
	return out
}

// refusesWrites makes every call that writes, in a state of the server in which
// it must refuse them all, and checks that nothing was changed.
func refusesWrites(t *testing.T, s *server, db *redis.DB, lease *store.Lease, says string) {
	t.Helper()
	before := s.contents()
	for name, call := range map[string]func() error{
		"commit": func() error { _, err := db.Commit(t.Context(), txn("2", "a"), txn("3", "a")); return err },
		"claim": func() error {
			_, _, err := db.Claim(t.Context(), "op", []store.Want{{Action: "a", N: 9}}, ttl)
			return err
		},
		"extend": func() error { _, err := db.Extend(t.Context(), []store.LeaseRef{lease.Ref()}, 2*ttl); return err },
		"settle": func() error { _, err := db.Settle(t.Context(), done(lease)); return err },
		"change": func() error {
			_, err := db.Change(t.Context(), store.Change{ID: lease.Delivery.ID, Kind: store.Cancel})
			return err
		},
		"retain": func() error { _, err := db.Retain(t.Context(), store.Policy{Size: 1}); return err },
	} {
		if err := call(); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, s.contents()); diff != "" {
		t.Errorf("refused calls changed keys (-before +after):\n%s", diff)
	}
}

func TestServerRefusesWrites(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, says string
		begin, end func(t *testing.T, s *server)
	}{
		{
			"replica", "give the address of the primary",
			func(t *testing.T, s *server) { s.do("REPLICAOF", "127.0.0.1", unused(t)) },
			func(_ *testing.T, s *server) { s.do("REPLICAOF", "NO", "ONE") },
		},
		{
			"too few replicas", "NOREPLICAS",
			func(_ *testing.T, s *server) { s.do("CONFIG", "SET", "min-replicas-to-write", "1") },
			func(_ *testing.T, s *server) { s.do("CONFIG", "SET", "min-replicas-to-write", "0") },
		},
		{
			"snapshot cannot be written", "MISCONF",
			func(t *testing.T, s *server) {
				if err := os.Mkdir(filepath.Join(s.dir, "dump.rdb"), 0o700); err != nil {
					t.Fatal(err)
				}
				s.do("CONFIG", "SET", "save", "3600 1")
				s.snapshot(t, "err")
			},
			func(t *testing.T, s *server) {
				if err := os.Remove(filepath.Join(s.dir, "dump.rdb")); err != nil {
					t.Fatal(err)
				}
				s.snapshot(t, "ok")
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			db := open(t, s.url(), "a", nil)
			enter(t, db, "i")
			check(db.Commit(t.Context(), txn("0", "a"), txn("1", "a")))(t)
			leases, _, err := db.Claim(t.Context(), "first", []store.Want{{Action: "a", N: 1}}, time.Minute)
			check(leases, err)(t)
			tt.begin(t, s)
			refusesWrites(t, s, db, &leases[0], tt.says)
			if got := states(t, db); got[store.Ready] != 1 || got[store.Leased] != 1 {
				t.Errorf("what can be read meanwhile: %v", got)
			}
			tt.end(t, s)
			if got := check(db.Settle(t.Context(), done(&leases[0])))(t); got[0] != store.SettledOK {
				t.Errorf("afterwards, settle: %v", got)
			}
			check(db.Settle(t.Context(), done(&claim(t, db, "a")[0])))(t)
			round(t, db, "2", "a")
			if got := states(t, db); len(got) != 1 || got[store.Done] != 3 {
				t.Errorf("afterwards: %v", got)
			}
		})
	}
}

// unused is a port on which nothing listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// snapshot has the server write one, and waits until that ended as wanted.
func (s *server) snapshot(t *testing.T, status string) {
	t.Helper()
	s.do("BGSAVE")
	late := time.Now().Add(10 * time.Second)
	for {
		info, _ := s.do("INFO", "persistence").(string)
		if strings.Contains(info, "rdb_bgsave_in_progress:0") && strings.Contains(info, "rdb_last_bgsave_status:"+status) {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("the snapshot did not end as %s:\n%s", status, info)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// TestLoading has a server that answers but still reads its data.
func TestLoading(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s.url(), "a", nil)
	enter(t, db, "i")
	for i := range 100 {
		check(db.Commit(t.Context(), txn(string(rune('A'+i)), "a")))(t)
	}
	s.do("SAVE")
	s.kill()
	s.args = append(s.args, "--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")
	s.launch()
	late, loading := time.Now().Add(10*time.Second), 0
	for {
		_, err := db.Commit(t.Context(), txn("later", "b"))
		if err == nil {
			break
		}
		if strings.Contains(err.Error(), "LOADING") {
			loading++
		}
		if !errors.Is(err, store.ErrUnavailable) || time.Now().After(late) {
			t.Fatal(err)
		}
		<-time.After(10 * time.Millisecond)
	}
	if loading == 0 {
		t.Error("the server was never seen loading")
	}
	if l := claim(t, db, "a"); len(l) != 100 {
		t.Errorf("claimed %d", len(l))
	}
}
