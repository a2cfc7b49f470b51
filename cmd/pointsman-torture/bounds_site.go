package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/redis"
	"github.com/pointsman/pointsman/router/store/sqlite"
)

// site is one router on a store of its own.
type site struct {
	pointsman
	kind, store string // sqlite or redis, and the configuration's word for it
	tools       *tools
	redis       *redisServer
	sent        atomic.Int64 // events of overload, for their numbers
}

// action is one configured action: its plugin notes each call in a file of its
// name.
type action struct {
	name, mode  string
	concurrency int
	retry       string
}

// newSite makes a folder and, if that is the store, starts a Redis server.
func newSite(dir, kind string, t *tools) (*site, error) {
	s := &site{pointsman: pointsman{binary: t.pointsman, dir: dir, config: filepath.Join(dir, "pointsman.yaml")}, kind: kind, tools: t}
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return nil, err
	}
	if s.store = kind; kind == storeRedis {
		sub := filepath.Join(dir, "redis")
		err := os.Mkdir(sub, 0o700)
		if err == nil {
			s.redis, err = newRedis(sub)
		}
		if err != nil {
			return nil, err
		}
		s.store = "redis://" + s.redis.addr + "/0"
	}
	return s, nil
}

func (s *site) close() {
	if p := s.process(); p != nil && p.running() {
		p.kill()
	}
	if s.redis != nil {
		s.redis.run.kill()
	}
}

// configure writes the configuration: an event of the type of an action's name
// is one delivery for it. more is put at the end.
func (s *site) configure(more string, actions ...action) error {
	var c, r bytes.Buffer
	fmt.Fprintf(&c, "name: bounds\nlisten: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0, token: %q}\ndata_dir: %q\nstore: %q\ndurability: strict\n"+
		"rules: [rules.yaml]\nshutdown_grace: 2s\nretention: {size: 64GiB}\n%s\nactions:\n", adminToken, filepath.Join(s.dir, "data"), s.store, more)
	fmt.Fprint(&r, "rules:\n")
	for _, a := range actions {
		if a.retry == "" {
			a.retry = "{min: 1s, max: 15m}"
		}
		fmt.Fprintf(&c, "  - {name: %s, plugin: %q, sha256: %s, timeout: 30d, concurrency: %d, retry: %s, settings: {mode: %s, dir: %q}}\n",
			a.name, s.tools.self, s.tools.digest, a.concurrency, a.retry, a.mode, s.notes(a.name))
		fmt.Fprintf(&r, "  - {name: %s, when: 'event.type == \"%[1]s\"', do: [{action: %[1]s}]}\n", a.name)
	}
	return errors.Join(
		os.WriteFile(s.config, c.Bytes(), 0o600),
		os.WriteFile(filepath.Join(s.dir, "rules.yaml"), r.Bytes(), 0o600),
	)
}

// notes is the file in which the plugin of an action notes its calls.
func (s *site) notes(action string) string { return filepath.Join(s.dir, "notes-"+action) }

// open opens the store as a program of its own, while no router runs on it.
func (s *site) open() (store.Full, error) {
	if s.kind == storeRedis {
		return redis.Open(redis.Config{URL: s.store, Name: "bounds"})
	}
	return sqlite.Open(sqlite.Config{Path: filepath.Join(s.dir, "data", "pointsman.db")})
}

const (
	fillers   = 4
	fillBatch = 128
)

// fill commits n events, each with one delivery for an action that is due at
// once, as the router would: with a dedup mark, a verdict and an event of some
// 500 bytes. Events are numbered from 1.
func (s *site) fill(ctx context.Context, action string, n int) (err error) {
	if s.redis != nil { // it need not survive the machine while it is filled
		if _, err := s.redis.do("CONFIG", "SET", "appendfsync", "no"); err != nil {
			return err
		}
		defer func() {
			_, e := s.redis.do("CONFIG", "SET", "appendfsync", "always")
			err = errors.Join(err, e)
		}()
	}
	db, err := s.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rev := store.Revision{ID: "bounds", Created: time.Now()}
	if err := db.PutRevision(ctx, rev); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, fillers)
	for w := range fillers {
		wg.Go(func() {
			for from := 1 + w*fillBatch; from <= n && errs[w] == nil; from += fillers * fillBatch {
				txns := make([]store.Txn, 0, fillBatch)
				for i := from; i < min(from+fillBatch, n+1); i++ {
					txns = append(txns, filled(action, i))
				}
				_, errs[w] = db.Commit(ctx, txns...)
				for errors.Is(errs[w], store.ErrUnavailable) && ctx.Err() == nil { // too slow, on a busy machine
					_, errs[w] = db.Commit(ctx, txns...)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func filled(action string, n int) store.Txn {
	now := time.Now()
	id := boundsID + strconv.Itoa(n)
	uid := uuid.Must(uuid.NewV7()).String()
	text := eventText(action, id, 300)
	digest := sha256.Sum256(text)
	return store.Txn{
		Event: store.Event{
			UID: uid, Source: "events", CESource: boundsSource, ID: id, Type: action, Received: now, JSON: text,
			Digest: [16]byte(digest[:16]), Verdicts: []store.Verdict{{Rule: action, Verdict: "matched"}}, Revision: "bounds",
		},
		Dedup: 24 * time.Hour, Strict: true,
		Deliveries: []store.Delivery{{
			ID: uuid.Must(uuid.NewV7()).String(), EventUID: uid, EventID: id, Source: "events", CESource: boundsSource,
			Rule: action, Action: action, State: store.Ready, Params: []byte("{}"), Created: now, Budget: now,
		}},
	}
}

const boundsSource = "//bounds.example.net"

// eventText is an event whose data has about size bytes.
func eventText(kind, id string, size int) []byte {
	return fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":%q,"type":%q,"data":{"device":"sw1.example.net","text":%q}}`,
		id, boundsSource, kind, bytes.Repeat([]byte("x"), size))
}

// post sends one event and returns the status and how long it took.
func (s *site) post(ctx context.Context, c *http.Client, text []byte) (int, time.Duration, error) {
	events, _ := s.addresses()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+events+"/events", bytes.NewReader(text))
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("Content-Type", "application/cloudevents+json")
	begun := time.Now()
	resp, err := c.Do(req)
	if err != nil {
		return 0, 0, err
	}
	_ = resp.Body.Close()
	return resp.StatusCode, time.Since(begun), nil
}

// counts asks how many deliveries of an action there are in each state.
func (s *site) counts(ctx context.Context, action string) (map[string]int, error) {
	var list struct {
		Actions []struct {
			Name   string
			Counts map[string]int
		}
	}
	if err := s.get(ctx, "/api/v1/actions", &list); err != nil {
		return nil, err
	}
	for _, a := range list.Actions {
		if a.Name == action {
			return a.Counts, nil
		}
	}
	return nil, fmt.Errorf("action %s is not there", action)
}

// await waits until done says so.
func await(ctx context.Context, what string, within time.Duration, done func() (bool, error)) error {
	for late := time.Now().Add(within); ; sleep(ctx, poll) {
		ok, err := done()
		switch {
		case err != nil:
			return err
		case ok:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(late):
			return fmt.Errorf("not within %s: %s", within, what)
		}
	}
}

// term stops the router by SIGTERM.
func (s *site) term() error {
	p := s.process()
	p.signal(syscall.SIGTERM)
	code, err := p.wait(patience)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, tail(p.log))
	}
	return err
}

// memory reads the resident memory of a process and its peak, in bytes.
func memory(pid int) (now, peak int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	for l := range bytes.Lines(text) {
		var kib int64
		if n, _ := fmt.Sscanf(string(l), "VmRSS: %d kB", &kib); n == 1 {
			now = kib << 10
		}
		if n, _ := fmt.Sscanf(string(l), "VmHWM: %d kB", &kib); n == 1 {
			peak = kib << 10
		}
	}
	return now, peak
}

// share returns the value below which a part of the sorted values lies.
func share(all []time.Duration, part float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return all[min(len(all)-1, int(part*float64(len(all))))]
}

func sorted(all []time.Duration) []time.Duration {
	slices.Sort(all)
	return all
}
