package file_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/router/monitor/file"
	"github.com/pointsman/pointsman/router/monitor/memory/memorytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a source that runs on a store and watches a folder.
type bench struct {
	*memorytest.Store
	t    *testing.T
	dir  string
	cfg  file.Config
	stop func()
	seen int
}

func newBench(t *testing.T, edit func(*file.Config)) *bench {
	t.Helper()
	b := &bench{Store: &memorytest.Store{}, t: t, dir: filepath.Join(t.TempDir(), "watched")}
	b.mkdir(".")
	b.cfg = file.Config{Source: "conf", Host: "gw1", Path: b.dir, Settle: 20 * time.Millisecond}
	if edit != nil {
		edit(&b.cfg)
	}
	return b
}

// start runs the source until stop, and waits for its baseline the first time.
func (b *bench) start() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- file.New(b.cfg).Run(ctx, b.Accept, b) }()
	b.stop = func() {
		b.t.Helper()
		cancel()
		if err := <-done; err != nil {
			b.t.Fatal(err)
		}
	}
	limit, stop := context.WithTimeout(b.t.Context(), time.Minute)
	defer stop()
	if err := b.Until(limit, func() bool { return b.Writes() >= 64 }); err != nil {
		b.t.Fatal("no baseline")
	}
}

// want waits for further events, in any order.
func (b *bench) want(lines ...string) {
	b.t.Helper()
	slices.Sort(lines)
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	_ = b.Until(ctx, func() bool {
		got = nil
		for _, e := range b.Events()[b.seen:] {
			got = append(got, b.line(e))
		}
		return len(got) >= len(lines)
	})
	b.seen += len(got)
	slices.Sort(got)
	if diff := cmp.Diff(lines, got); diff != "" {
		b.t.Fatal(diff)
	}
}

func (b *bench) line(e memorytest.Event) string {
	below := func(name any) string {
		text, _ := filepath.Rel(b.dir, name.(string))
		return text
	}
	text := strings.TrimPrefix(e.Type, "pointsman.file.") + " " + below(e.Data["path"])
	if from := e.Data["previous_path"]; from != nil {
		text += " from " + below(from)
	}
	return text
}

func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) mkdir(name string) {
	b.t.Helper()
	b.ok(os.MkdirAll(b.path(name), 0o700))
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	b.ok(os.WriteFile(b.path(name), []byte(text), 0o600))
}

func TestChanges(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.write("old", "1")
	b.start()
	b.write("new", "1")
	b.want("created new")
	b.write("old", "22")
	b.want("modified old")
	b.ok(os.Rename(b.path("old"), b.path("older")))
	b.want("renamed older from old")
	b.ok(os.Remove(b.path("new")))
	b.want("deleted new")
	// As editors do it: another file takes the place of the old one.
	b.write("older.tmp", "333")
	b.ok(os.Rename(b.path("older.tmp"), b.path("older")))
	b.want("modified older")
	b.mkdir("sub")
	b.write("sub/deep", "not watched")
	b.write("last", "")
	b.want("created last")
	b.stop()

	// While the router is away.
	b.ok(os.Remove(b.path("last")))
	b.write("older", "4444")
	b.write("away", "")
	b.start()
	b.want("created away", "deleted last", "modified older")
	b.ok(os.Rename(b.path("away"), b.path("back")))
	b.want("renamed back from away")
	b.stop()
	b.start()
	b.stop()
	b.want()
}

func TestEvent(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *file.Config) { c.SHA256 = true })
	b.write("a", "1")
	at := time.Date(2026, 11, 23, 12, 0, 0, 500, time.UTC)
	b.ok(os.Chtimes(b.path("a"), at, at))
	b.start()
	b.write("a", "22")
	b.want("modified a")
	e := b.Events()[0]
	if !strings.HasPrefix(e.ID, "conf-") || e.Source != "pointsman://gw1/files/conf" || e.Subject != b.path("a") {
		t.Errorf("%+v", e)
	}
	delete(e.Data, "mtime")
	want := map[string]any{
		"host": "gw1", "path": b.path("a"), "op": "modify", "size": 2.0,
		"sha256":   "785f3ec7eb32f30b90cd0fcf3657d388b5ff4297f2f9716ff66e9b69c05ddd09",
		"previous": map[string]any{"size": 1.0, "mtime": "2026-11-23T12:00:00.0000005Z", "sha256": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"},
	}
	if diff := cmp.Diff(want, e.Data); diff != "" {
		t.Error(diff)
	}
	// The same content again is no event; of large files it is not known.
	b.write("a", "22")
	b.ok(os.Chtimes(b.path("a"), at, at))
	b.write("large", strings.Repeat("x", 2<<20))
	b.want("created large")
	if sum := b.Events()[1].Data["sha256"]; sum != nil {
		t.Error(sum)
	}
	b.stop()
	b.want()
}

func TestRecursive(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *file.Config) {
		c.Recursive, c.Match, c.Except = true, []string{"*.conf", "x/?"}, []string{".git", "*.tmp.conf"}
	})
	b.mkdir("a/b")
	b.mkdir(".git")
	b.write("a/b/old.conf", "")
	b.start()
	b.write("a/b/c.conf", "")
	b.want("created a/b/c.conf")
	b.mkdir("a/new/deep")
	b.write("a/new/deep/d.conf", "")
	b.want("created a/new/deep/d.conf")
	b.write("a/new/deep/d.conf", "2")
	b.want("modified a/new/deep/d.conf")
	b.mkdir("x")
	for _, name := range []string{"a/e.txt", ".git/f.conf", "a/g.tmp.conf", "x/1", "x/22"} {
		b.write(name, "")
	}
	b.want("created x/1")
	b.ok(os.Rename(b.path("a/new"), b.path("moved")))
	b.want("renamed moved/deep/d.conf from a/new/deep/d.conf")
	b.write("moved/deep/e.conf", "")
	b.want("created moved/deep/e.conf")
	b.ok(os.RemoveAll(b.path("moved")))
	b.want("deleted moved/deep/d.conf", "deleted moved/deep/e.conf")
	b.stop()
}

// A path that is a file need not be there; what is beside it does not matter.
func TestOneFile(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.cfg.Path = b.path("reboot-required")
	b.start()
	b.write("other", "")
	b.write("reboot-required", "")
	b.want("created reboot-required")
	b.ok(os.Remove(b.path("reboot-required")))
	b.want("deleted reboot-required")
	b.stop()
	b.ok(os.RemoveAll(b.dir))
	err := file.New(b.cfg).Run(t.Context(), b.Accept, b)
	if err == nil || !strings.Contains(err.Error(), b.dir+": ") {
		t.Fatal(err)
	}
}

// A folder that goes and comes again is watched again.
func TestFolderComesBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.write("a", "")
	b.start()
	b.ok(os.RemoveAll(b.dir))
	b.want("deleted a")
	b.mkdir(".")
	b.write("b", "")
	b.want("created b")
	b.write("c", "")
	b.want("created c")
	b.stop()
}

// Links are followed within the folder, as those that Kubernetes makes of a
// ConfigMap, and never out of it.
func TestLinks(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	outside := filepath.Join(t.TempDir(), "outside")
	b.ok(os.WriteFile(outside, []byte("1"), 0o600))
	b.mkdir("..v1")
	b.mkdir("..v2")
	b.write("..v1/app.conf", "one")
	b.write("..v2/app.conf", "second")
	b.ok(os.Symlink("..v1", b.path("..data")))
	b.ok(os.Symlink("..data/app.conf", b.path("app.conf")))
	b.ok(os.Symlink(outside, b.path("out")))
	b.ok(os.Symlink("loop", b.path("loop")))
	b.cfg.Match = []string{"app.conf", "out", "loop"}
	b.start()
	b.ok(os.Symlink("..v2", b.path("..tmp")))
	b.ok(os.Rename(b.path("..tmp"), b.path("..data")))
	b.want("modified app.conf")
	if size := b.Events()[0].Data["size"]; size != 6.0 {
		t.Error(size)
	}
	b.ok(os.WriteFile(outside, []byte("22"), 0o600))
	b.ok(os.Remove(b.path("loop")))
	b.want("deleted loop")
	b.stop()
}

// A file that is written all the time is told now and then, and in the end as it
// is; many files are told each for itself.
func TestBursts(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.start()
	f, err := os.Create(b.path("log"))
	b.ok(err)
	const lines = 3000
	for range lines {
		_, err := f.WriteString("line\n")
		b.ok(err)
	}
	b.ok(f.Close())
	var names []string
	for i := range 300 {
		name := fmt.Sprint("f", i)
		b.write(name, "x")
		names = append(names, "created "+name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = b.Until(ctx, func() bool {
		var told []string
		size := 0.0
		for _, e := range b.Events() {
			if e.Subject == b.path("log") {
				size = e.Data["size"].(float64)
			} else if line := b.line(e); strings.HasPrefix(line, "created ") {
				told = append(told, line)
			}
		}
		return size == 5*lines && len(told) == len(names)
	})
	b.ok(err)
	if n := len(b.Events()); n > len(names)+lines/10 {
		t.Errorf("%d events", n)
	}
	b.stop()
}

func TestNamesThatAreNoText(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.start()
	b.write("a\xffb", "")
	b.want(`created a\xffb`)
	b.write("line\nline\x01 é", "")
	b.want(`created line\x0aline\x01 é`)
	b.stop()
}

func TestLimit(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *file.Config) { c.Limit = 3 })
	for i := range 4 {
		b.write(fmt.Sprint(i), "")
	}
	err := file.New(b.cfg).Run(t.Context(), b.Accept, b)
	if err == nil || !strings.Contains(err.Error(), "more than limit: 3 files") || b.Writes() != 0 {
		t.Fatal(err, b.Writes())
	}
}
