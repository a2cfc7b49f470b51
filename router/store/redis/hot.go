package redis

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// statusOwn: commit.lua has written the same uid before.
const statusOwn store.Status = 5

// Commit implements store.Store. The Txns of one call are one transaction: what
// never changes of them is set by it, all else by one script, which also deletes
// again what belongs to a Txn that it refuses.
func (db *DB) Commit(ctx context.Context, txns ...store.Txn) ([]store.Result, error) {
	if len(txns) == 0 {
		return nil, nil
	}
	b := newBatch(db.keys, len(txns))
	for i := range txns {
		if err := b.add(&txns[i]); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
	}
	instance, start, _ := db.entered() // who has not entered leases nothing
	out, repeated, err := db.runTwice(ctx, "commit", db.scripts.commit, b.documents, b.args(instance, start)...)
	if err != nil {
		return nil, err
	}
	results, ok := committed(txns, out, repeated)
	if !ok {
		return nil, db.fail("commit", errCorrupt)
	}
	for i := range results {
		if left(&txns[i], &results[i]) {
			db.signal()
			break
		}
	}
	return results, nil
}

// committed reads the answer of commit.lua.
func committed(txns []store.Txn, out []any, repeated bool) (results []store.Result, ok bool) {
	if len(out) < 3 || len(text(out[0])) != len(txns) {
		return nil, false
	}
	statuses, leased, rest := text(out[0]), text(out[1]), out[3:]
	epoch, _ := strconv.ParseUint(text(out[2]), 10, 64)
	next := func() string {
		if len(rest) == 0 {
			return ""
		}
		s := text(rest[0])
		rest = rest[1:]
		return s
	}
	results = make([]store.Result, len(txns))
	for i := range results {
		r, t := &results[i], &txns[i]
		r.Status, r.UID = store.Status(statuses[i]), t.Event.UID
		switch r.Status {
		case statusOwn:
			// Written by this very call if that had to be repeated, else before.
			r.Status = store.StatusNew
			if !repeated && t.Dedup > 0 {
				r.Status = store.StatusDuplicate
			}
		case store.StatusStale:
			r.UID = ""
		case store.StatusDuplicate, store.StatusConflict:
			r.UID = next()
		default:
		}
		if len(leased) < len(t.Deliveries) {
			continue // nothing was leased
		}
		for j, how := range []byte(leased[:len(t.Deliveries)]) {
			if how != 0 && r.Leased == nil {
				r.Leased = make([]uint64, len(t.Deliveries))
			}
			switch how {
			case 1:
				r.Leased[j] = epoch
			case 2:
				r.Leased[j], _ = strconv.ParseUint(next(), 10, 64)
			}
		}
		leased = leased[len(t.Deliveries):]
	}
	return results, true
}

// left says whether a Txn has left something that is ready.
func left(t *store.Txn, r *store.Result) bool {
	for i := range t.Deliveries {
		if r.Status == store.StatusNew && t.Deliveries[i].State == store.Ready && (len(r.Leased) == 0 || r.Leased[i] == 0) {
			return true
		}
	}
	return false
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
	if len(out)%2 != 1 {
		return nil, 0, db.fail("claim", errCorrupt)
	}
	us, err := strconv.ParseInt(text(out[0]), 10, 64)
	if err != nil {
		return nil, 0, db.fail("claim", errCorrupt)
	}
	leases, err := db.leases(ctx, out[1:])
	return leases, time.Duration(us) * time.Microsecond, err
}

// leases completes what the script has leased, ids and records, by what never
// changes of it. Where that was deleted from outside the delivery becomes dead.
func (db *DB) leases(ctx context.Context, out []any) ([]store.Lease, error) {
	n := len(out) / 2
	if n == 0 {
		return nil, nil
	}
	keys, ds := make([]string, 0, 2*n), make([]deliveryValue, n)
	for i := range n {
		var err error
		if ds[i], err = decodeDelivery(text(out[2*i]), text(out[2*i+1]), ""); err != nil {
			return nil, db.fail("claim", err)
		}
		keys = append(keys, db.keys.call(ds[i].ID), db.keys.event(ds[i].EventUID))
	}
	values, err := db.values(ctx, keys)
	if err != nil {
		return nil, db.fail("claim", err)
	}
	leases := make([]store.Lease, 0, n)
	var missing []store.Outcome
	for i := range n {
		d, call, event := &ds[i], values[2*i], values[2*i+1]
		if call == "" || event == "" {
			missing = append(missing, dead(d, event == ""))
			continue
		}
		l, err := lease(d, call, event)
		if err != nil {
			return nil, db.fail("claim", err)
		}
		leases = append(leases, l)
	}
	if len(missing) > 0 {
		if _, err := db.Settle(ctx, missing...); err != nil {
			return nil, err
		}
	}
	return leases, nil
}

// dead is the outcome of a delivery that cannot be run.
func dead(d *deliveryValue, event bool) store.Outcome {
	what := "its call"
	if event {
		what = "the event"
	}
	return store.Outcome{
		ID: d.ID, Epoch: d.Epoch, State: store.Dead, Reason: d.Reason, Attempts: d.Attempts, Crashes: d.Crashes, Suspect: d.Suspect,
		Error: what + " is missing from Redis: its key was deleted from outside",
	}
}

func lease(d *deliveryValue, call, event string) (store.Lease, error) {
	if err := decodeCall(&d.Delivery, call); err != nil {
		return store.Lease{}, fmt.Errorf("delivery %s: %w", d.ID, err)
	}
	doc, err := eventJSON(d.EventUID, event)
	if err != nil {
		return store.Lease{}, err
	}
	l := store.Lease{Delivery: d.Delivery, Epoch: d.Epoch, Number: d.Starts, Event: doc}
	l.Delivery.Starts--
	if d.uncertain {
		l.Lost = d.last
	}
	return l, nil
}

// holder tells instances and their starts apart in records; an instance is the
// first 8 bytes.
func holder(instance string, start uint64) string {
	h := sha256.Sum256([]byte(instance))
	return string(binary.LittleEndian.AppendUint32(h[:8:8], uint32(start)))
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
	return append(before, instance, strconv.FormatUint(start, 10), holder(instance, start)), nil
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
		if o.Attempt != nil && len(o.Attempt.Outcome) > maxName {
			return nil, fmt.Errorf("settle %s: the word for its outcome is too long", o.ID)
		}
		args = appendOutcome(args, o)
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

// appendOutcome appends the arguments that settle.lua takes for each.
func appendOutcome(args []any, o *store.Outcome) []any {
	var attempt []byte
	flags := byte(0)
	if o.Attempt != nil {
		flags, attempt = 1, appendAttempt(nil, o.Attempt)
	}
	if o.Suspect {
		flags |= 2
	}
	b := append(appendFloat(make([]byte, 0, 26), int64(o.Epoch)), byte(o.State), flags)
	b = appendInt(appendInt(appendFloat(b, o.Delay.Microseconds()), o.Attempts), o.Crashes)
	return append(args, o.ID, b, appendText(appendShort(nil, o.Reason), o.Error), attempt)
}

// Enter implements store.Keeper.
func (db *DB) Enter(ctx context.Context, inst store.Instance) (uint64, error) {
	if inst.ID == "" {
		return 0, errors.New("enter: the instance has no id")
	}
	out, err := db.run(ctx, "enter", db.scripts.enter, inst.ID, inst.PID, inst.Host, holder(inst.ID, 0)[:8])
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
