package sqlite_test

import (
	"bufio"
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/sqlite"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		make func(t *testing.T, path string)
		want string
	}{
		{"a text file", func(t *testing.T, path string) { write(t, path, strings.Repeat("hello ", 50)) }, "not a SQLite database"},
		{"a short file", func(t *testing.T, path string) { write(t, path, "x") }, "not a SQLite database"},
		{"another program's database", func(t *testing.T, path string) {
			db, err := sql.Open("sqlite", path)
			if err == nil {
				_, err = db.Exec("CREATE TABLE a (b); CREATE TABLE c (d)")
			}
			if err != nil {
				t.Fatal(err)
			}
			db.Close()
		}, "a database of another program"},
		{"a newer version", func(t *testing.T, path string) {
			db := open(t, path, nil)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			binary.BigEndian.PutUint32(b[60:], 99)
			write(t, path, string(b))
		}, "written by a newer pointsman (schema 99, this one knows 3)"},
		{"an open store", func(t *testing.T, path string) { open(t, path, nil) }, fmt.Sprintf("in use by process %d", os.Getpid())},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "pm.db")
			tt.make(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			db, err := sqlite.Open(sqlite.Config{Path: path})
			if err == nil {
				db.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("error %q, want %q and the path", err, tt.want)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Fatalf("the file was touched (%v)", err)
			}
		})
	}
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestKill kills a process that commits and looks for all it was told.
func TestKill(t *testing.T) {
	if path := os.Getenv("POINTSMAN_TEST_KILL"); path != "" {
		db, err := sqlite.Open(sqlite.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; ; i++ {
			uid := fmt.Sprintf("uid-%d", i)
			_, err := db.Commit(t.Context(), store.Txn{Event: store.Event{UID: uid, Source: "s", ID: uid, JSON: []byte("{}")}, Dedup: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Println(uid)
		}
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pm.db")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), "POINTSMAN_TEST_KILL="+path)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var acked []string
	for sc := bufio.NewScanner(out); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "uid-") {
			acked = append(acked, sc.Text())
		}
		if len(acked) == 200 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	if len(acked) < 200 {
		t.Fatalf("the process ended after %d commits", len(acked))
	}
	db := open(t, path, nil)
	for _, uid := range acked {
		evs, err := db.Events(t.Context(), store.EventQuery{UID: uid})
		if err != nil || len(evs) != 1 {
			t.Fatalf("acknowledged event %s: found %d, %v", uid, len(evs), err)
		}
	}
}

// TestCloseFreesTheLock although a child that is just being forked still has the
// descriptor, until its exec.
func TestCloseFreesTheLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pm.db")
	db, err := sqlite.Open(sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	held := -1
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == path+".lock" {
			n, err := strconv.Atoi(filepath.Base(fd))
			if err != nil {
				t.Fatal(err)
			}
			if held, err = unix.Dup(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	if held < 0 {
		t.Fatal("the lock is not open")
	}
	t.Cleanup(func() { _ = unix.Close(held) })
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path, nil)
}
