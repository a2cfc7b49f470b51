// Package file is the source that watches files: what is created, modified,
// deleted and renamed, also while the router was away.
//
// It hides inotify, which only says when to look: what an event tells is always
// the difference between two looks.
package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/fsnotify/fsnotify"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/monitor/memory"
	"github.com/pointsman/pointsman/rules"
)

// The types of the events.
const (
	// TypeCreated, TypeModified and TypeDeleted: a file is there that was not, has
	// another content or time, or is gone.
	TypeCreated  = "pointsman.file.created"
	TypeModified = "pointsman.file.modified"
	TypeDeleted  = "pointsman.file.deleted"
	// TypeRenamed: the same file has another name.
	TypeRenamed = "pointsman.file.renamed"
)

const (
	// DefaultLimit is the most files.
	DefaultLimit = 10_000
	// DefaultSettle is how long nothing must happen before files are looked at.
	DefaultSettle = 100 * time.Millisecond
	// restless: when things happen all the time, they are looked at after this
	// many times the settle time.
	restless = 10
	// idle is the share of the time in which files are not looked at: after a look
	// there is none for this many times as long as it took.
	idle = 10
	// shards is the number of states; a change writes one of them.
	shards = 64
	// maxHashed is the size up to which contents are hashed, in bytes.
	maxHashed = 1 << 20
	// maxSubject is the most bytes of a subject.
	maxSubject = 1000
)

// Config says what to watch.
type Config struct {
	// Source is the configured source's name; Host is that of this host, which
	// tells routers on one Redis apart.
	Source, Host string
	// Path is a folder, or a file that need not be there; its folder must be.
	Path string
	// Recursive includes the folders below Path.
	Recursive bool
	// Match are patterns as of path.Match, of the name or the path below Path, of
	// which a file must match one; none: all. Except are those that it must not
	// match, and no folder on the way to it either.
	Match, Except []string
	// SHA256 hashes files of at most 1 MiB: a file that has the same content is
	// then not modified.
	SHA256 bool
	// Settle; 0: DefaultSettle.
	Settle time.Duration
	// Limit is the most files; with more Run fails. 0: DefaultLimit.
	Limit int
}

// Source implements router.Source.
type Source struct{ cfg Config }

// New returns the source.
func New(cfg Config) *Source {
	if cfg.Settle == 0 {
		cfg.Settle = DefaultSettle
	}
	if cfg.Limit == 0 {
		cfg.Limit = DefaultLimit
	}
	return &Source{cfg: cfg}
}

// Run watches until ctx ends.
func (s *Source) Run(ctx context.Context, accept router.AcceptFunc, state router.StateReader) error {
	err := s.run(ctx, accept, state)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *Source) run(ctx context.Context, accept router.AcceptFunc, state router.StateReader) error {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return inotifyError(err)
	}
	w := &watch{cfg: &s.cfg, notify: notify, changed: make(chan struct{}, 1)}
	failed := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.hear(failed)
	}()
	defer func() {
		_ = notify.Close() // nothing is written through it
		<-done
	}()
	if w.set, err = memory.Open(ctx, accept, state, s.key(), shards); err != nil {
		return err
	}
	return w.run(ctx, failed)
}

// inotifyError names the limits of the kernel by the names that people can set.
func inotifyError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return errors.New("inotify: too many folders are watched (raise the kernel's fs.inotify.max_user_watches)")
	case errors.Is(err, syscall.EMFILE):
		return errors.New("inotify: too many watchers or open files (raise the kernel's fs.inotify.max_user_instances, or the limit of open files)")
	}
	return fmt.Errorf("inotify: %w", err)
}

// key names the states. Other patterns have another state: what they bring into
// view has not changed.
func (s *Source) key() string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %t %q %q", s.cfg.Path, s.cfg.Recursive, s.cfg.Match, s.cfg.Except)
	return fmt.Sprintf("%s/%x", s.cfg.Host, h.Sum64())
}

// watch compares what is there with what is remembered.
type watch struct {
	cfg    *Config
	notify *fsnotify.Watcher
	set    *memory.Set
	// changed has an element when something has happened since the last look.
	changed chan struct{}
	// folder: Path is one, so that what happens beside it does not matter.
	folder atomic.Bool
}

// hear takes everything from the watcher at once, so that the kernel's queue
// does not fill. When it does, that is one more reason to look.
func (w *watch) hear(failed chan<- error) {
	for {
		select {
		case ev, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if w.folder.Load() && ev.Name != w.cfg.Path && !strings.HasPrefix(ev.Name, strings.TrimSuffix(w.cfg.Path, "/")+"/") {
				continue
			}
		case err, ok := <-w.notify.Errors:
			if !ok {
				return
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				select {
				case failed <- inotifyError(err):
				default:
				}
			}
		}
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

func (w *watch) run(ctx context.Context, failed <-chan error) error {
	for {
		begun := time.Now()
		if err := w.look(ctx); err != nil {
			return err
		}
		pause := time.NewTimer(idle * time.Since(begun))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil
		}
		if err := w.wait(ctx, failed); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// wait returns when something has happened and nothing more does.
func (w *watch) wait(ctx context.Context, failed <-chan error) error {
	select {
	case <-w.changed:
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
	latest := time.NewTimer(restless * w.cfg.Settle)
	defer latest.Stop()
	settled := time.NewTimer(w.cfg.Settle)
	defer settled.Stop()
	for {
		select {
		case <-w.changed:
			settled.Reset(w.cfg.Settle)
		case <-settled.C:
			return nil
		case <-latest.C:
			return nil
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// look tells what is different. Where nothing is remembered, it is a baseline.
func (w *watch) look(ctx context.Context) error {
	now, err := w.scan(ctx)
	if err != nil {
		return err
	}
	world := make(map[string]string, len(now))
	for name, f := range now {
		world[name] = f.String()
	}
	if err := w.set.Baseline(ctx, world); err != nil {
		return err
	}
	gone := make(map[identity]string)
	for _, name := range w.set.Keys() {
		if _, there := now[name]; !there {
			gone[parse(w.set.Value(name)).identity()] = name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		f := now[name]
		from := ""
		if w.set.Value(name) == "" {
			from = gone[f.identity()]
		}
		if err := w.put(ctx, name, &f, from); err != nil {
			return err
		}
		if from == "" {
			continue
		}
		delete(gone, f.identity())
		// The event has told of it already.
		quiet := func(string, string) (*rules.Event, error) { return nil, nil }
		if err := w.set.Put(ctx, w.cfg.Source, from, "", quiet); err != nil {
			return err
		}
	}
	for _, name := range w.set.Keys() {
		if _, there := now[name]; !there {
			if err := w.put(ctx, name, nil, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// put remembers a file (nil: it is gone) and tells the change. from is the name
// that it had before.
func (w *watch) put(ctx context.Context, name string, f *found, from string) error {
	value := ""
	if f != nil {
		value = f.String()
	}
	return w.set.Put(ctx, w.cfg.Source, name, value, func(id, old string) (*rules.Event, error) {
		was := parse(old)
		if f != nil && old != "" && f.same(was) {
			return nil, nil
		}
		return w.event(id, name, f, was, old != "", from)
	})
}

func (w *watch) event(id, name string, f *found, was found, known bool, from string) (*rules.Event, error) {
	full := filepath.Join(w.cfg.Path, name)
	data := map[string]any{"host": w.cfg.Host, "path": full}
	var kind string
	switch {
	case f == nil:
		kind, data["op"] = TypeDeleted, "delete"
	case from != "":
		kind, data["op"], data["previous_path"] = TypeRenamed, "rename", filepath.Join(w.cfg.Path, from)
	case known:
		kind, data["op"] = TypeModified, "modify"
	default:
		kind, data["op"] = TypeCreated, "create"
	}
	if f != nil {
		f.tell(data)
	}
	if known {
		previous := map[string]any{}
		was.tell(previous)
		data["previous"] = previous
	}
	text, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	return rules.NewEvent(rules.Attributes{
		ID: id, Source: "pointsman://" + url.PathEscape(w.cfg.Host) + "/files/" + w.cfg.Source, Type: kind, Subject: cut(full),
		Time: time.Now().UTC().Format(time.RFC3339Nano), DataContentType: "application/json",
	}, text, rules.Limits{})
}

// cut bounds a subject without cutting a character in two.
func cut(text string) string {
	if len(text) <= maxSubject {
		return text
	}
	end := maxSubject - len("...")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "..."
}

// matches tells whether a name or a path below Path is like one of patterns.
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		whole, _ := path.Match(pattern, name)
		base, _ := path.Match(pattern, path.Base(name))
		return whole || base
	})
}
