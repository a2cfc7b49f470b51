package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/store"
)

func openFile(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Enter(t.Context(), store.Instance{ID: "i"}); err != nil {
		t.Fatal(err)
	}
	return db
}

func eventTxn(id string, size int) store.Txn {
	return store.Txn{
		Event: store.Event{UID: "uid-" + id, Source: "s", ID: id, JSON: bytes.Repeat([]byte("x"), size)},
		Dedup: time.Hour,
		Deliveries: []store.Delivery{
			{ID: "delivery-" + id, EventUID: "uid-" + id, EventID: id, Source: "s", Rule: "r", Action: "act", State: store.Ready},
		},
	}
}

func ids(t *testing.T, db *DB) []string {
	t.Helper()
	evs, err := db.Events(t.Context(), store.EventQuery{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, ev := range evs {
		out = append(out, ev.ID)
	}
	return out
}

// TestFailedCommitEndsWriting: after a COMMIT that failed it is unknown what is
// on disk, so nothing is acknowledged any more, even when the disk is back.
func TestFailedCommitEndsWriting(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pm.db")
	db := openFile(t, path)
	if _, err := db.Commit(t.Context(), eventTxn("before", 1)); err != nil {
		t.Fatal(err)
	}
	leases, _, err := db.Claim(t.Context(), "op", []store.Want{{Action: "act", N: 1, Durable: true}}, time.Minute)
	if err != nil || len(leases) != 1 {
		t.Fatalf("claimed %d, %v", len(leases), err)
	}
	cause := errors.New("the disk went away")
	good := db.w.commit
	db.w.commit = func() error { return cause }
	for i, write := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := db.Commit(ctx, eventTxn("failed", 1)); return err },
		func(ctx context.Context) error { _, err := db.Commit(ctx, eventTxn("after", 1)); return err },
		func(ctx context.Context) error {
			_, err := db.Settle(ctx, store.Outcome{ID: leases[0].Delivery.ID, Epoch: leases[0].Epoch, State: store.Done})
			return err
		},
		func(ctx context.Context) error { return db.PutRevision(ctx, store.Revision{ID: "r"}) },
	} {
		err := write(t.Context())
		if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, store.ErrBroken) || !errors.Is(err, cause) || !strings.Contains(err.Error(), path) {
			t.Errorf("write %d: error %v, want ErrUnavailable with the cause and the file", i, err)
		}
		db.w.commit = good // the writer is idle: whoever it answered has returned
	}
	if diff := cmp.Diff([]string{"before"}, ids(t, db)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openFile(t, path)
	if _, err := db.Commit(t.Context(), eventTxn("failed", 1)); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// TestFullDisk: what does not fit is refused, what was acknowledged stays, and
// writing goes on when there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	db := openFile(t, filepath.Join(t.TempDir(), "pm.db"))
	pages := func(n int) {
		t.Helper()
		err := db.submit(t.Context(), func(t *tx) error { return t.conn.script(fmt.Sprintf("PRAGMA max_page_count = %d", n)) })
		if err != nil {
			t.Fatal(err)
		}
	}
	pages(60)
	var want []string
	var err error
	for i := 0; i < 100 && err == nil; i++ {
		id := fmt.Sprint(i)
		if _, err = db.Commit(t.Context(), eventTxn(id, 10_000)); err == nil {
			want = append([]string{id}, want...)
		}
	}
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "the disk is full") {
		t.Fatalf("after %d events: error %v, want ErrUnavailable for a full disk", len(want), err)
	}
	if diff := cmp.Diff(want, ids(t, db)); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	pages(100_000)
	res, err := db.Commit(t.Context(), eventTxn(fmt.Sprint(len(want)), 10_000))
	if err != nil || res[0].Status != store.StatusNew {
		t.Fatalf("with room again: %v, %v", res, err)
	}
	leases, _, err := db.Claim(t.Context(), "op", []store.Want{{Action: "act", N: 100}}, time.Minute)
	if err != nil || len(leases) != len(want)+1 {
		t.Fatalf("claimed %d, %v, want %d", len(leases), err, len(want)+1)
	}
}

// TestBadOperationFailsAlone: operations that share a transaction with one that
// cannot be written are carried out all the same.
func TestBadOperationFailsAlone(t *testing.T) {
	t.Parallel()
	db := openFile(t, filepath.Join(t.TempDir(), "pm.db"))
	entered, release := make(chan struct{}), make(chan struct{})
	held := make(chan error, 1)
	go func() {
		held <- db.submit(t.Context(), func(*tx) error { close(entered); <-release; return nil })
	}()
	<-entered
	bad := eventTxn("bad", 1)
	bad.Deliveries = append(bad.Deliveries, bad.Deliveries[0]) // one id twice
	errs := make([]chan error, 3)
	for i, txn := range []store.Txn{eventTxn("a", 1), bad, eventTxn("b", 1)} {
		errs[i] = make(chan error, 1)
		go func() { _, err := db.Commit(t.Context(), txn); errs[i] <- err }()
	}
	for deadline := time.Now().Add(10 * time.Second); len(db.w.ops) < len(errs); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the operations do not queue")
		}
	}
	close(release)
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, true} {
		if err := <-errs[i]; (err == nil) != want {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	got := ids(t, db)
	if len(got) != 2 || strings.Contains(strings.Join(got, " "), "bad") {
		t.Errorf("events %v, want a and b", got)
	}
	leases, _, err := db.Claim(t.Context(), "op", []store.Want{{Action: "act", N: 10}}, time.Minute)
	if err != nil || len(leases) != 2 {
		t.Errorf("claimed %d, %v, want 2", len(leases), err)
	}
}

// TestStartsAreWrittenBehind: a start is in the file 50 ms after its claim, and
// never when the attempt was settled before.
func TestStartsAreWrittenBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := openFile(t, filepath.Join(t.TempDir(), "pm.db"))
		outcomes := func() string {
			t.Helper()
			var out string
			err := db.reads.QueryRowContext(t.Context(), "SELECT COALESCE(GROUP_CONCAT(number || outcome, ' '), '') FROM attempts").Scan(&out)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		claim := func(op store.OpID) store.Lease {
			t.Helper()
			leases, _, err := db.Claim(t.Context(), op, []store.Want{{Action: "act", N: 1}}, time.Minute)
			if err != nil || len(leases) != 1 {
				t.Fatalf("claimed %d, %v", len(leases), err)
			}
			return leases[0]
		}
		if _, err := db.Commit(t.Context(), eventTxn("a", 1)); err != nil {
			t.Fatal(err)
		}
		l := claim("short")
		_, err := db.Settle(t.Context(), store.Outcome{ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Ready, Attempt: &store.Attempt{Outcome: "failed"}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * startDelay) // of the bubble's clock
		synctest.Wait()
		if got := outcomes(); got != "1failed" {
			t.Fatalf("attempts after a settle: %q", got)
		}
		l = claim("long")
		time.Sleep(startDelay / 2)
		synctest.Wait()
		if got := outcomes(); got != "1failed" {
			t.Fatalf("attempts before the delay: %q", got)
		}
		time.Sleep(startDelay)
		synctest.Wait()
		if got := outcomes(); got != "1failed 2running" {
			t.Fatalf("attempts after the delay: %q", got)
		}
		_, err = db.Settle(t.Context(), store.Outcome{ID: l.Delivery.ID, Epoch: l.Epoch, State: store.Done, Attempt: &store.Attempt{Outcome: "done"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := outcomes(); got != "1failed 2done" {
			t.Fatalf("attempts at the end: %q", got)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCorruptPage: damage is reported with the file's name, where it is met.
func TestCorruptPage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pm.db")
	db := openFile(t, path)
	if _, err := db.Commit(t.Context(), eventTxn("a", 1)); err != nil {
		t.Fatal(err)
	}
	var root int64
	if err := db.reads.QueryRowContext(t.Context(), "SELECT rootpage FROM sqlite_schema WHERE name = 'attempts'").Scan(&root); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[(root-1)*4096:root*4096], bytes.Repeat([]byte{0xff}, 4096))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	db = openFile(t, path) // the rest of the file can be read
	named := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrBroken) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "malformed") {
			t.Errorf("%s: error %v, want ErrUnavailable alone with %s and the damage", what, err, path)
		}
	}
	_, err = db.History(t.Context(), "delivery-a")
	named("read", err)
	leases, _, err := db.Claim(t.Context(), "op", []store.Want{{Action: "act", N: 1}}, time.Minute)
	if err != nil || len(leases) != 1 {
		t.Fatalf("claimed %d, %v", len(leases), err)
	}
	_, err = db.Settle(t.Context(), store.Outcome{ID: "delivery-a", Epoch: leases[0].Epoch, State: store.Dead, Attempt: &store.Attempt{Outcome: "failed"}})
	named("write", err)
	_, err = db.Commit(t.Context(), eventTxn("b", 1))
	named("write after it", err)
}

// TestSecondProcess: one process at a time has the file, and the other learns
// which.
func TestSecondProcess(t *testing.T) {
	if path := os.Getenv("POINTSMAN_TEST_SECOND"); path != "" {
		_, err := Open(Config{Path: path})
		fmt.Println(err)
		return
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pm.db")
	db := openFile(t, path)
	second := func() string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSecondProcess$")
		cmd.Env = append(os.Environ(), "POINTSMAN_TEST_SECOND="+path)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return line
	}
	want := fmt.Sprintf("open store %s: in use by process %d; one router at a time may have it", path, os.Getpid())
	if got := second(); got != want {
		t.Errorf("second process: %q, want %q", got, want)
	}
	if _, err := db.Commit(t.Context(), eventTxn("a", 1)); err != nil {
		t.Errorf("the first one: %v", err)
	}
}
