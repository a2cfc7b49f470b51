package redis

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/crashpoint"
)

//go:embed scripts/*.lua
var sources embed.FS

// scripts are the programs that run in the server.
//
// The flags matter at maxmemory: the server refuses a script without allow-oom
// before it begins, so a commit is never half done, while what was accepted can
// still be run, settled and removed.
type scripts struct {
	commit, load, claim, extend, settle, change, add, enter, putRevision,
	retainAge, retainSize, retainRest, audit *script
}

// script is one of them. Its name is that of its last file.
type script struct {
	*goredis.Script
	name string
}

func loadScripts() (scripts, error) {
	var s scripts
	for _, p := range []struct {
		to    **script
		flags string
		files []string
	}{
		{&s.commit, "", []string{"lib", "records", "commit"}},
		{&s.load, "no-writes", []string{"lib", "load"}},
		{&s.claim, "allow-oom", []string{"lib", "due", "records", "claim"}},
		{&s.extend, "allow-oom", []string{"lib", "records", "extend"}},
		{&s.settle, "allow-oom", []string{"lib", "records", "settle"}},
		{&s.change, "allow-oom", []string{"lib", "records", "change"}},
		{&s.add, "", []string{"lib", "records", "change"}}, // changes that write further deliveries
		{&s.enter, "allow-oom", []string{"lib", "records", "enter"}},
		{&s.putRevision, "", []string{"lib", "put_revision"}},
		{&s.retainAge, "allow-oom", []string{"lib", "records", "remove", "retain_age"}},
		{&s.retainSize, "allow-oom", []string{"lib", "records", "remove", "retain_size"}},
		{&s.retainRest, "allow-oom", []string{"lib", "retain_rest"}},
		{&s.audit, "allow-oom", []string{"lib", "records", "audit"}},
	} {
		var b strings.Builder
		b.WriteString("#!lua")
		if p.flags != "" {
			b.WriteString(" flags=" + p.flags)
		}
		b.WriteByte('\n')
		for _, f := range p.files {
			text, err := fs.ReadFile(sources, "scripts/"+f+".lua")
			if err != nil {
				return s, fmt.Errorf("read script: %w", err)
			}
			b.Write(text)
		}
		*p.to = &script{goredis.NewScript(b.String()), p.files[len(p.files)-1]}
	}
	return s, nil
}

// repeatAfter is the pause before a call is repeated whose connection broke.
const repeatAfter = 20 * time.Millisecond

// run runs a script, by its hash or, when the server does not know it, by its
// text. A call whose connection broke is repeated once: every script answers a
// repetition the same. The result is an array.
func (db *DB) run(ctx context.Context, what string, s *script, args ...any) ([]any, error) {
	out, _, err := db.runTwice(ctx, what, s, nil, args...)
	return out, err
}

// runTwice is run, and says whether the call was repeated. The documents, keys and
// values, are set in the same transaction, before the script. Every script passes
// here, and is so a point at which a torture run ends the process.
func (db *DB) runTwice(ctx context.Context, what string, s *script, documents []any, args ...any) (out []any, repeated bool, err error) {
	if db.isClosed() {
		return nil, false, store.ErrClosed
	}
	args = append([]any{db.clock()}, args...)
	crashpoint.Here(s.name, crashpoint.Before)
	v, err := db.send(ctx, s, documents, args)
	crashpoint.Here(s.name, crashpoint.After)
	if err != nil && broken(err) && ctx.Err() == nil {
		t := time.NewTimer(repeatAfter)
		select {
		case <-t.C:
			repeated = true
			v, err = db.send(ctx, s, documents, args)
		case <-ctx.Done():
			t.Stop()
		}
	}
	if err != nil {
		return nil, repeated, db.fail(what, refusal(err))
	}
	if list, ok := v.([]any); ok {
		return list, repeated, nil
	}
	return []any{v}, repeated, nil
}

// send makes one call, and another one if the server has forgotten the script.
// What that sets of documents twice is the same.
func (db *DB) send(ctx context.Context, s *script, documents, args []any) (any, error) {
	keys := []string{db.keys.prefix}
	if len(documents) == 0 {
		return s.Run(ctx, db.client, keys, args...).Result()
	}
	v, err := db.transact(ctx, documents, func(pipe goredis.Scripter) *goredis.Cmd { return s.EvalSha(ctx, pipe, keys, args...) })
	if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
		v, err = db.transact(ctx, documents, func(pipe goredis.Scripter) *goredis.Cmd { return s.Eval(ctx, pipe, keys, args...) })
	}
	return v, err
}

// transact sets documents and runs a script, both or neither.
func (db *DB) transact(ctx context.Context, documents []any, run func(goredis.Scripter) *goredis.Cmd) (any, error) {
	pipe := db.client.TxPipeline()
	set := pipe.MSet(ctx, documents...)
	script := run(pipe)
	_, err := pipe.Exec(ctx)
	for _, e := range []error{set.Err(), script.Err()} {
		// Why a command was not taken says more than that the whole was discarded.
		if e != nil && !strings.HasPrefix(e.Error(), "EXECABORT") {
			return nil, e
		}
	}
	return script.Val(), err
}

// broken says that the connection broke, so that it is unknown whether the
// server did what it was asked. Time-outs are not among it: the call has taken
// long enough.
func broken(err error) bool {
	var answered goredis.Error
	var timedOut interface{ Timeout() bool }
	switch {
	case errors.As(err, &answered), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, goredis.ErrClosed), errors.As(err, &timedOut) && timedOut.Timeout():
		return false
	}
	return true
}

// refusal tells what an answer of the server means for the caller.
func refusal(err error) error {
	text := err.Error()
	overwritten, _, _ := strings.Cut(strings.TrimPrefix(text, "PMTYPE"), " script: ")
	for _, r := range []struct {
		prefix string
		err    error
	}{
		{"PMFENCED", store.ErrFenced},
		{"PMGONE", fmt.Errorf("%w, or Redis was emptied or restored from an older copy: this start is not registered there any more; restart the router",
			store.ErrFenced)},
		{"PMFULL", store.ErrFull},
		{"PMLAYOUT", errLayout},
		{"PMTYPE", fmt.Errorf("a key was overwritten from outside:%s; docs/redis.md says what to do", overwritten)},
		{"OOM", fmt.Errorf("%w; Redis is at its maxmemory: raise it, or lower retention.size", err)},
		{"NOPERM", fmt.Errorf("%w; docs/redis.md lists what the user must be allowed", err)},
		{"READONLY", fmt.Errorf("%w; the server is a replica: give the address of the primary", err)},
	} {
		if strings.HasPrefix(text, r.prefix) {
			return r.err
		}
	}
	return err
}
