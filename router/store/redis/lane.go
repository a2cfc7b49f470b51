package redis

import (
	"context"
	"errors"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pointsman/pointsman/router/store"
)

// waits fills in which delivery each one waits for.
func (db *DB) waits(ctx context.Context, ds []store.Delivery) error {
	pipe := db.client.Pipeline()
	busy, first := map[string]*goredis.StringCmd{}, map[string]*goredis.StringSliceCmd{}
	for i := range ds {
		if d := &ds[i]; d.Lane != "" && d.State == store.Ready && busy[d.Lane] == nil {
			busy[d.Lane] = pipe.Get(ctx, db.keys.busy(d.Lane))
			first[d.Lane] = pipe.ZRange(ctx, db.keys.lane(d.Lane), 0, 0)
		}
	}
	if len(busy) == 0 {
		return nil
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, goredis.Nil) {
		return err
	}
	for i := range ds {
		d := &ds[i]
		if d.Lane == "" || d.State != store.Ready {
			continue
		}
		before := busyWith(busy[d.Lane].Val())
		if ids := first[d.Lane].Val(); before == "" && len(ids) > 0 {
			before = ids[0]
		}
		if before != d.ID {
			d.Waits = before
		}
	}
	return nil
}

// busyWith reads the delivery's id of what the scripts keep of a busy lane.
func busyWith(value string) string {
	r := reader{b: []byte(value)}
	r.float() // its epoch
	r.float() // until when
	if r.err != nil {
		return ""
	}
	return string(r.b)
}
