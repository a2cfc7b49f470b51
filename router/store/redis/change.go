package redis

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/pointsman/pointsman/router/store"
)

// Change implements store.Operator.
func (db *DB) Change(ctx context.Context, changes ...store.Change) ([]store.Changed, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	op, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("change: %w", err)
	}
	args, script := []any{op.String(), len(changes)}, db.scripts.change
	for i := range changes {
		c := &changes[i]
		if c.Kind < store.Retry || c.Kind > store.Bury {
			return nil, fmt.Errorf("change %s: unknown order %d", c.ID, c.Kind)
		}
		if len(c.Reason) > maxName || c.Replace != nil && (len(c.Replace.Action) > maxName || len(c.Replace.Lane) > maxName) {
			return nil, fmt.Errorf("change %s: reason, action or lane is too long", c.ID)
		}
		args = append(args, c.ID, int(c.Kind), c.From, c.Reason, c.Error, flag(c.Replace != nil))
		if c.Replace != nil {
			args = append(args, c.Replace.Action, c.Replace.Lane, encodeCall(c.Replace))
		}
		args = append(args, len(c.Also))
		for j := range c.Also {
			d := &c.Also[j]
			if err = checkDelivery(d); err != nil {
				return nil, fmt.Errorf("change %s: %w", c.ID, err)
			}
			call := appendCall(nil, d)
			args = append(args, d.ID, appendInt([]byte{byte(d.State), newFlags(d)}, d.Starts), appendRest(nil, d, len(call)), call)
			script = db.scripts.add
		}
	}
	out, err := db.run(ctx, "change", script, args...)
	if err != nil {
		return nil, err
	}
	if len(out) != len(changes) {
		return nil, db.fail("change", errCorrupt)
	}
	changed := make([]store.Changed, len(changes))
	for i := range changed {
		changed[i] = store.Changed(number(out[i]))
	}
	db.signal()
	return changed, nil
}
