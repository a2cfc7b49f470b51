package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// statusOwn: commit.lua has written the same uid before.
const statusOwn = 5

// Commit implements store.Store. The Txns of one call are one script.
func (db *DB) Commit(ctx context.Context, txns ...store.Txn) ([]store.Result, error) {
	if len(txns) == 0 {
		return nil, nil
	}
	args := []any{len(txns)}
	for i := range txns {
		var err error
		if args, err = txnArgs(args, &txns[i]); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
	}
	out, repeated, err := db.runTwice(ctx, "commit", db.scripts.commit, args...)
	if err != nil {
		return nil, err
	}
	if len(out) != 2*len(txns) {
		return nil, db.fail("commit", errCorrupt)
	}
	results := make([]store.Result, len(txns))
	for i := range results {
		results[i] = store.Result{Status: store.Status(number(out[2*i])), UID: text(out[2*i+1])}
		if int(results[i].Status) == statusOwn {
			// Written by this very call if that had to be repeated, else before.
			results[i].Status = store.StatusNew
			if !repeated && txns[i].Dedup > 0 {
				results[i].Status = store.StatusDuplicate
			}
		}
		if results[i].Status == store.StatusNew && len(txns[i].Deliveries) > 0 {
			db.signal()
		}
	}
	return results, nil
}

// txnArgs are the arguments that read_txn of commit.lua takes.
func txnArgs(args []any, t *store.Txn) ([]any, error) {
	ev := &t.Event
	alone := ev.UID == "" && ev.ID == "" && t.Dedup == 0 && len(t.Deliveries) == 0 // states alone
	if ev.UID == "" && !alone || len(ev.UID) > maxID || len(ev.Revision) > maxName {
		return nil, fmt.Errorf("event %q: its uid must have 1 to %d bytes, its revision at most %d", ev.ID, maxID, maxName)
	}
	rest, err := encodeEvent(ev)
	if err != nil {
		return nil, err
	}
	mark := ""
	if t.Dedup > 0 {
		mark = identity(ev)
	}
	args = append(args, mark, t.Dedup.Microseconds(), flag(t.Strict), ev.Digest[:], ev.UID, micros(ev.Received),
		ev.Revision, idHash(ev.ID), rest, len(t.States))
	for i := range t.States {
		s := &t.States[i]
		args = append(args, s.Key, version(s.Read), version(s.Version), lasting(s.Expires, ev.Received), s.Data)
	}
	args = append(args, len(t.Deliveries))
	for i := range t.Deliveries {
		if args, err = deliveryArgs(args, &t.Deliveries[i]); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// lasting is when a state expires: of one that comes with an event, how long after
// its acceptance, as a negative number. The router's clock and the server's need
// not agree.
func lasting(expires, received time.Time) int64 {
	if expires.IsZero() || received.IsZero() || !expires.After(received) {
		return microsUp(expires)
	}
	return -int64((expires.Sub(received) + time.Microsecond - 1) / time.Microsecond)
}

// Load implements store.Store.
func (db *DB) Load(ctx context.Context, keys ...string) ([]store.State, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	args := make([]any, len(keys))
	for i, k := range keys {
		args[i] = k
	}
	out, err := db.run(ctx, "load state", db.scripts.load, args...)
	if err != nil {
		return nil, err
	}
	if len(out) != len(keys) {
		return nil, db.fail("load state", errCorrupt)
	}
	states := make([]store.State, len(keys))
	for i, k := range keys {
		if states[i], err = decodeState(k, text(out[i])); err != nil {
			return nil, db.fail("load state", err)
		}
	}
	return states, nil
}

// Claim implements store.Store. Every start is stored before it returns.
func (db *DB) Claim(ctx context.Context, op store.OpID, wants []store.Want, ttl time.Duration) ([]store.Lease, time.Duration, error) {
	args, err := db.asInstance("claim", string(op))
	if err != nil {
		return nil, 0, err
	}
	args = append(args, ttl.Microseconds(), len(wants))
	for _, w := range wants {
		args = append(args, w.Action, max(0, w.N))
	}
	out, err := db.run(ctx, "claim", db.scripts.claim, args...)
	if err != nil {
		return nil, 0, err
	}
	if len(out)%4 != 1 {
		return nil, 0, db.fail("claim", errCorrupt)
	}
	us, err := strconv.ParseInt(text(out[0]), 10, 64)
	if err != nil {
		return nil, 0, db.fail("claim", errCorrupt)
	}
	var leases []store.Lease
	for out = out[1:]; len(out) > 0; out = out[4:] {
		l, err := decodeLease(text(out[0]), text(out[1]), text(out[2]), text(out[3]))
		if err != nil {
			return nil, 0, db.fail("claim", err)
		}
		leases = append(leases, l)
	}
	return leases, time.Duration(us) * time.Microsecond, nil
}

func decodeLease(id, record, event, lost string) (store.Lease, error) {
	d, err := decodeDelivery(id, record)
	if err != nil {
		return store.Lease{}, err
	}
	ev, err := decodeEvent(d.EventUID, event)
	if err != nil {
		return store.Lease{}, err
	}
	l := store.Lease{Delivery: d.Delivery, Epoch: d.Epoch, Number: d.Starts, Event: ev.JSON}
	l.Delivery.Starts--
	if lost != "" {
		a, err := decodeAttempt(lost)
		if err != nil {
			return store.Lease{}, fmt.Errorf("delivery %s: %w", id, err)
		}
		l.Lost = &a
	}
	return l, nil
}

// asInstance begins the arguments of what a newer start fences off.
func (db *DB) asInstance(what string, before ...any) ([]any, error) {
	if db.isClosed() {
		return nil, store.ErrClosed
	}
	instance, start, err := db.entered()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return append(before, instance, strconv.FormatUint(start, 10)), nil
}

// Extend implements store.Store.
func (db *DB) Extend(ctx context.Context, leases []store.LeaseRef, ttl time.Duration) ([]bool, error) {
	if len(leases) == 0 {
		return nil, nil
	}
	args, err := db.asInstance("extend")
	if err != nil {
		return nil, err
	}
	args = append(args, ttl.Microseconds())
	for _, l := range leases {
		args = append(args, l.ID, l.Epoch)
	}
	out, err := db.run(ctx, "extend", db.scripts.extend, args...)
	if err != nil {
		return nil, err
	}
	if len(out) != len(leases) {
		return nil, db.fail("extend", errCorrupt)
	}
	held := make([]bool, len(leases))
	for i := range held {
		held[i] = number(out[i]) == 1
	}
	return held, nil
}

// Settle implements store.Store.
func (db *DB) Settle(ctx context.Context, outcomes ...store.Outcome) ([]store.Settled, error) {
	if len(outcomes) == 0 {
		return nil, nil
	}
	args, err := db.asInstance("settle")
	if err != nil {
		return nil, err
	}
	args = append(args, len(outcomes))
	for i := range outcomes {
		o := &outcomes[i]
		if o.State < store.Ready || o.State > store.Cancelled || o.State == store.Leased {
			return nil, fmt.Errorf("settle %s: no delivery is settled as %s", o.ID, o.State)
		}
		if len(o.Reason) > maxName {
			return nil, fmt.Errorf("settle %s: its reason is too long", o.ID)
		}
		args = append(args, o.ID, o.Epoch, int(o.State), o.Reason, o.Delay.Microseconds(), o.Attempts, o.Crashes,
			flag(o.Suspect), o.Error, flag(o.Attempt != nil))
		if a := o.Attempt; a != nil {
			if len(a.Outcome) > maxName {
				return nil, fmt.Errorf("settle %s: the word for its outcome is too long", o.ID)
			}
			args = append(args, micros(a.Started), micros(a.Ended), a.Outcome, a.Error, a.Output)
		}
	}
	out, err := db.run(ctx, "settle", db.scripts.settle, args...)
	if err != nil {
		return nil, err
	}
	if len(out) != len(outcomes) {
		return nil, db.fail("settle", errCorrupt)
	}
	settled := make([]store.Settled, len(outcomes))
	for i := range settled {
		settled[i] = store.Settled(number(out[i]))
		if outcomes[i].State == store.Ready && settled[i] == store.SettledOK {
			db.signal()
		}
	}
	return settled, nil
}

// Enter implements store.Keeper.
func (db *DB) Enter(ctx context.Context, inst store.Instance) (uint64, error) {
	if inst.ID == "" {
		return 0, errors.New("enter: the instance has no id")
	}
	out, err := db.run(ctx, "enter", db.scripts.enter, inst.ID, inst.PID, inst.Host)
	if err != nil {
		return 0, err
	}
	start := uint64(number(out[0]))
	if start == 0 {
		return 0, db.fail("enter", errCorrupt)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.instance, db.start = inst.ID, start
	return start, nil
}
