package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/router/monitor/memory"
)

// found is what one look sees of a file.
type found struct {
	size  int64
	mtime int64 // nanoseconds since 1970
	inode uint64
	// sum is the SHA-256 of the content in hex; "": not taken.
	sum string
}

// identity tells a file that was renamed from others.
type identity struct {
	inode       uint64
	size, mtime int64
}

func (f found) identity() identity { return identity{f.inode, f.size, f.mtime} }

// String is the form in which it is remembered.
func (f found) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%d %d %d %s", f.size, f.mtime, f.inode, f.sum), " ")
}

func parse(text string) found {
	part := append(strings.Fields(text), "", "", "", "")
	f := found{sum: part[3]}
	f.size, _ = strconv.ParseInt(part[0], 10, 64)
	f.mtime, _ = strconv.ParseInt(part[1], 10, 64)
	f.inode, _ = strconv.ParseUint(part[2], 10, 64)
	return f
}

// same tells whether nothing has changed that an event would tell: the content
// when it was hashed both times, otherwise size and time.
func (f found) same(was found) bool {
	if f.sum != "" && was.sum != "" {
		return f.sum == was.sum
	}
	return f.size == was.size && f.mtime == was.mtime && f.inode == was.inode
}

func (f found) tell(data map[string]any) {
	data["size"], data["mtime"] = f.size, time.Unix(0, f.mtime).UTC().Format(time.RFC3339Nano)
	if f.sum != "" {
		data["sha256"] = f.sum
	}
}

// scan looks at everything, by the path below Config.Path ("." for that itself).
// Folders are watched before they are read, so nothing happens in between.
func (w *watch) scan(ctx context.Context) (map[string]found, error) {
	out := make(map[string]found)
	parent := filepath.Dir(w.cfg.Path)
	if err := w.notify.Add(parent); err != nil {
		return nil, fmt.Errorf("%s: %w", parent, inotifyError(err))
	}
	info, err := os.Stat(w.cfg.Path)
	w.folder.Store(err == nil && info.IsDir())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return out, nil
	case err != nil:
		return nil, err
	case !info.IsDir():
		return out, w.file(out, ".", parent)
	}
	root, err := filepath.EvalSymlinks(w.cfg.Path)
	if errors.Is(err, fs.ErrNotExist) { // has gone just now; the parent says so
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	return out, w.walk(ctx, out, "", root)
}

// walk adds what is in a folder below Path. root is the real path of Path.
func (w *watch) walk(ctx context.Context, out map[string]found, below, root string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	full := filepath.Join(w.cfg.Path, below)
	err := w.notify.Add(full)
	if err == nil {
		var entries []os.DirEntry
		entries, err = os.ReadDir(full)
		for _, e := range entries {
			if err := w.entry(ctx, out, filepath.Join(below, e.Name()), root, e); err != nil {
				return err
			}
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil // has gone just now
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w (leave it out with except)", full, fs.ErrPermission)
	}
	return fmt.Errorf("%s: %w", full, inotifyError(err))
}

func (w *watch) entry(ctx context.Context, out map[string]found, below, root string, e os.DirEntry) error {
	switch {
	case matches(w.cfg.Except, below):
		return nil
	case e.IsDir() && w.cfg.Recursive:
		return w.walk(ctx, out, below, root)
	case e.Type().IsRegular() || e.Type()&fs.ModeSymlink != 0:
		if len(w.cfg.Match) > 0 && !matches(w.cfg.Match, below) {
			return nil
		}
		return w.file(out, below, root)
	}
	return nil
}

// file adds a file. A link is what it points to when that is a file below root,
// and otherwise itself.
func (w *watch) file(out map[string]found, below, root string) error {
	full := filepath.Join(w.cfg.Path, below)
	info, err := os.Lstat(full)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if target, ok := inside(full, root); ok {
			full = target
			info, err = os.Lstat(full)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil // has gone just now
	case err != nil:
		return err
	case len(out) >= w.cfg.Limit:
		return fmt.Errorf("%s: more than limit: %d files (raise it, or match fewer)", w.cfg.Path, w.cfg.Limit)
	}
	f := found{size: info.Size(), mtime: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		f.inode = sys.Ino
	}
	name := memory.Text(below)
	if w.cfg.SHA256 && info.Mode().IsRegular() && f.size <= maxHashed {
		if was := parse(w.set.Value(name)); was.sum != "" && was.identity() == f.identity() {
			f.sum = was.sum
		} else if f.sum, err = hash(full); err != nil {
			return err
		}
	}
	out[name] = f
	return nil
}

// inside resolves a link, and tells whether it leads to a file below root.
func inside(link, root string) (string, bool) {
	target, err := filepath.EvalSymlinks(link)
	if err != nil {
		return "", false
	}
	realRoot, err := filepath.EvalSymlinks(root)
	if err != nil {
		return "", false
	}
	below, err := filepath.Rel(realRoot, target)
	if err != nil || !filepath.IsLocal(below) {
		return "", false
	}
	info, err := os.Lstat(target)
	return target, err == nil && info.Mode().IsRegular()
}

// hash returns "" for a file that has gone, grown or may not be read: it is then
// told by size and time.
func hash(name string) (string, error) {
	// Should a pipe have taken its place, opening must not wait for a writer, nor
	// a link be followed.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ELOOP):
		return "", nil
	case err != nil:
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, maxHashed+1))
	if err != nil || n > maxHashed {
		return "", nil
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
