package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pointsman/pointsman/router/store"
)

const (
	// step is how many records one script of retention looks at, so that the hot
	// path waits for a few milliseconds at most.
	step = 100
	// revisionGrace keeps a revision that was stored but is not in force yet.
	revisionGrace = time.Hour
)

// PutRevision implements store.Keeper.
func (db *DB) PutRevision(ctx context.Context, rev store.Revision) error {
	created := int64(0)
	if !rev.Created.IsZero() {
		created = rev.Created.UnixNano()
	}
	_, err := db.run(ctx, "put revision", db.scripts.putRevision, rev.ID, version(uint64(created)), rev.Data)
	return err
}

// Revision implements store.Keeper.
func (db *DB) Revision(ctx context.Context, id string) (store.Revision, error) {
	if db.isClosed() {
		return store.Revision{}, store.ErrClosed
	}
	v, err := db.client.HGet(ctx, db.keys.revisions(), id).Result()
	if errors.Is(err, goredis.Nil) {
		return store.Revision{}, fmt.Errorf("revision %s: %w", id, store.ErrNotFound)
	}
	if err != nil {
		return store.Revision{}, db.fail("read revision", err)
	}
	r := reader{b: []byte(v)}
	r.float() // when it was stored
	created := int64(binary.BigEndian.Uint64(r.take(8)))
	if r.err != nil {
		return store.Revision{}, db.fail("read revision", r.err)
	}
	rev := store.Revision{ID: id, Data: r.b}
	if created != 0 {
		rev.Created = time.Unix(0, created).UTC()
	}
	return rev, nil
}

// Retain implements store.Keeper. Ages count from when an event was received
// and from when a delivery finished. Size counts events, deliveries and
// attempts with an allowance for their keys; marks and states come on top.
// It also puts queues right that were deleted from outside.
func (db *DB) Retain(ctx context.Context, p store.Policy) (store.Retained, error) {
	var r store.Retained
	if err := db.audit(ctx); err != nil {
		return r, err
	}
	now, err := db.serverTime(ctx)
	if err != nil {
		return r, err
	}
	for _, a := range []struct {
		what string
		age  time.Duration
		n    *int
	}{{"deliveries", p.Deliveries, &r.Deliveries}, {"events", p.Events, &r.Events}} {
		if a.age <= 0 {
			continue
		}
		err := db.steps(ctx, db.scripts.retainAge, []any{a.what, micros(now.Add(-a.age))}, func(out []any) { *a.n += int(number(out[0])) })
		if err != nil {
			return r, err
		}
	}
	if p.Size > 0 {
		for _, a := range []struct{ what, dead string }{{"orphans", "0"}, {"events", "0"}, {"events", "1"}} {
			err := db.steps(ctx, db.scripts.retainSize, []any{a.what, p.Size, a.dead}, func(out []any) {
				r.Events += int(number(out[0]))
				r.Deliveries += int(number(out[1]))
				r.DeadForSize += int(number(out[2]))
			})
			if err != nil {
				return r, err
			}
		}
	}
	out, err := db.run(ctx, "retain", db.scripts.retainRest, p.Size, p.Keep, micros(now.Add(-revisionGrace)))
	if err != nil {
		return r, err
	}
	r.Bytes, r.Full = number(out[0]), len(out) > 1 && number(out[1]) == 1
	return r, nil
}

// steps repeats a script that walks by number; its result ends with the last
// number and whether there is more.
func (db *DB) steps(ctx context.Context, s *script, args []any, each func([]any)) error {
	for after := "-1"; ; {
		out, err := db.run(ctx, "retain", s, append(args[:len(args):len(args)], after, step)...)
		if err != nil {
			return err
		}
		if len(out) < 3 {
			return db.fail("retain", errCorrupt)
		}
		each(out)
		after = text(out[len(out)-2])
		if number(out[len(out)-1]) == 0 || after == "" {
			return nil
		}
	}
}

// audit looks whether each action's queue has what the index of its unfinished
// deliveries has.
func (db *DB) audit(ctx context.Context) error {
	counts, err := db.counts(ctx)
	if err != nil {
		return db.fail("retain", err)
	}
	for i, c := range counts {
		if i > 0 && counts[i-1].Action == c.Action {
			continue
		}
		if err := db.steps(ctx, db.scripts.audit, []any{c.Action}, func([]any) {}); err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) serverTime(ctx context.Context) (time.Time, error) {
	if db.now != nil {
		return db.now(), nil
	}
	t, err := db.client.Time(ctx).Result()
	return t, db.fail("retain", err)
}

// Shortfalls implements store.Keeper. It reads INFO, and CONFIG GET for what
// INFO does not say; a user without the right to CONFIG is told so.
func (db *DB) Shortfalls(ctx context.Context, want store.Durability) ([]store.Shortfall, error) {
	if db.isClosed() {
		return nil, store.ErrClosed
	}
	text, err := db.client.Info(ctx).Result()
	if err != nil {
		return nil, db.fail("read the settings of Redis", refusal(err))
	}
	info := parseInfo(text)
	var out []store.Shortfall
	add := func(setting, value, wanted string, fatal bool) {
		out = append(out, store.Shortfall{Setting: setting, Value: value, Want: wanted, Fatal: fatal})
	}
	if major, _, _ := strings.Cut(info["redis_version"], "."); len(major) == 1 && major < "7" {
		add("redis_version", info["redis_version"], "7.0 or newer", true)
	}
	if info["role"] != "" && info["role"] != "master" {
		add("role", info["role"], "master: give the address of the primary", true)
	}
	if want == store.None {
		return out, nil
	}
	if policy := info["maxmemory_policy"]; policy != "noeviction" {
		add("maxmemory-policy", policy, "noeviction: another policy removes what was accepted (CONFIG SET maxmemory-policy noeviction)", true)
	}
	if info["aof_enabled"] != "1" {
		add("appendonly", "no", "yes (CONFIG SET appendonly yes, and in redis.conf)", true)
		return out, nil
	}
	if s := info["aof_last_write_status"]; s != "" && s != "ok" {
		add("aof_last_write_status", s, "ok: Redis cannot write its append-only file; see its log and its disk", true)
	}
	got, err := db.client.ConfigGet(ctx, "appendfsync").Result()
	if err != nil && strings.HasPrefix(err.Error(), "NOPERM") {
		add("appendfsync", "unknown", "allow the user CONFIG GET (ACL SETUSER ... +config|get), or know that it is always", want == store.Strict)
		return out, nil
	}
	if err != nil {
		return nil, db.fail("read the settings of Redis", refusal(err))
	}
	switch fsync := got["appendfsync"]; {
	case fsync == "always":
	case want == store.Strict:
		add("appendfsync", fsync, "always (CONFIG SET appendfsync always, and in redis.conf)", true)
	case fsync == "everysec":
		add("appendfsync", fsync, "always, unless losing up to two seconds is acceptable when Redis or its machine crashes", false)
	default:
		add("appendfsync", fsync, "everysec or always (CONFIG SET appendfsync everysec, and in redis.conf)", true)
	}
	return out, nil
}

func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[k] = v
		}
	}
	return info
}
