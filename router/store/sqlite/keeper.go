package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/pointsman/pointsman/router/store"
)

// Enter implements store.Keeper. One process at a time has the file, so an older
// start cannot be calling any more; its leases are due since Open. Leases of
// this handle, if any, become due too.
func (db *DB) Enter(ctx context.Context, inst store.Instance) (uint64, error) {
	if inst.ID == "" {
		return 0, errors.New("enter: the instance has no id")
	}
	var n int64
	err := db.submit(ctx, func(t *tx) error {
		if err := t.exec(`INSERT INTO instances (id, start, host, pid, entered) VALUES (?, 1, ?, ?, ?)
			ON CONFLICT DO UPDATE SET start = start + 1, host = excluded.host, pid = excluded.pid, entered = excluded.entered`,
			inst.ID, inst.Host, inst.PID, t.now.UnixNano()); err != nil {
			return err
		}
		_, err := t.row([]any{&n}, "SELECT start FROM instances WHERE id = ?", inst.ID)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("enter: %w", err)
	}
	now := db.now().UnixNano()
	db.mu.Lock()
	defer db.mu.Unlock()
	db.entered = true
	for _, it := range db.index.items {
		if it.leased && it.pos >= 0 {
			db.index.take(it)
			db.epoch++
			it.epoch, it.due = db.epoch, now
			db.index.put(it)
		}
	}
	return uint64(n), nil
}

// PutRevision implements store.Keeper.
func (db *DB) PutRevision(ctx context.Context, rev store.Revision) error {
	err := db.submit(ctx, func(t *tx) error {
		data := rev.Data
		if data == nil {
			data = []byte{}
		}
		return t.exec("INSERT INTO revisions (id, created, stored, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			rev.ID, nanos(rev.Created), t.now.UnixNano(), data)
	})
	if err != nil {
		return fmt.Errorf("put revision: %w", err)
	}
	return nil
}

// Revision implements store.Keeper.
func (db *DB) Revision(ctx context.Context, id string) (store.Revision, error) {
	rev := store.Revision{ID: id}
	var created int64
	err := db.reads.QueryRowContext(ctx, "SELECT created, data FROM revisions WHERE id = ?", id).Scan(&created, &rev.Data)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Revision{}, fmt.Errorf("revision %s: %w", id, store.ErrNotFound)
	}
	if err != nil {
		return store.Revision{}, db.readError("read revision", err)
	}
	rev.Created = instant(created)
	return rev, nil
}

// Shortfalls implements store.Keeper: the file is always synced before an
// answer, so there are none.
func (db *DB) Shortfalls(context.Context, store.Durability) ([]store.Shortfall, error) {
	select {
	case <-db.closed:
		return nil, store.ErrClosed
	default:
		return nil, nil
	}
}
