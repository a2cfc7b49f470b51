package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// Commit implements store.Store.
func (db *DB) Commit(ctx context.Context, txns ...store.Txn) ([]store.Result, error) {
	if len(txns) == 0 {
		return nil, nil
	}
	for i := range txns {
		if err := check(&txns[i]); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
	}
	if db.full.Load() {
		return nil, store.ErrFull
	}
	results := make([]store.Result, len(txns))
	err := db.submit(ctx, func(t *tx) error {
		for i := range txns {
			var err error
			if results[i], err = t.commitOne(&txns[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return results, nil
}

// check refuses before the writer what could only fail there.
func check(t *store.Txn) error {
	if t.Event.UID == "" && (t.Event.ID != "" || t.Dedup > 0 || len(t.Deliveries) > 0) {
		return fmt.Errorf("event %q has no uid", t.Event.ID)
	}
	for i := range t.Deliveries {
		d := &t.Deliveries[i]
		if d.ID == "" {
			return fmt.Errorf("delivery %d of event %q has no id", i, t.Event.ID)
		}
		if d.State < store.Ready || d.State > store.Cancelled || d.State == store.Leased {
			return fmt.Errorf("delivery %s: state %s cannot be committed", d.ID, d.State)
		}
	}
	return nil
}

// identity is the key of the dedup index.
func identity(ev *store.Event) id16 {
	b := make([]byte, 0, 24+len(ev.Source)+len(ev.CESource)+len(ev.ID))
	for _, s := range [...]string{ev.Source, ev.CESource, ev.ID} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	h := sha256.Sum256(b)
	return id16(h[:16])
}

// commitOne looks at the mark, then at the versions, then writes.
func (t *tx) commitOne(txn *store.Txn) (store.Result, error) {
	ev := &txn.Event
	if ev.UID == "" {
		return t.commitStates(txn.States)
	}
	var key id16
	if txn.Dedup > 0 {
		key = identity(ev)
		res, err := t.duplicate(key, txn)
		if err != nil || res.Status != 0 {
			return res, err
		}
	}
	for i := range txn.States {
		fresh, err := t.fresh(&txn.States[i])
		if err != nil {
			return store.Result{}, err
		}
		if !fresh {
			return store.Result{Status: store.StatusStale}, nil
		}
	}
	if err := t.writeStates(txn.States); err != nil {
		return store.Result{}, err
	}
	seq := t.nextEvent
	t.nextEvent++
	if txn.Dedup > 0 {
		expires := t.now.Add(txn.Dedup).UnixNano()
		if err := t.exec("INSERT INTO dedup (expires, seq, key, uid, digest) VALUES (?, ?, ?, ?, ?)",
			expires, seq, key[:], ev.UID, ev.Digest[:]); err != nil {
			return store.Result{}, fmt.Errorf("write dedup mark: %w", err)
		}
		t.marks[key] = mark{seq: seq, expires: expires}
	}
	if err := t.insertEvent(seq, ev); err != nil {
		return store.Result{}, err
	}
	res := store.Result{Status: store.StatusNew, UID: ev.UID}
	for i := range txn.Deliveries {
		d := &txn.Deliveries[i]
		wk, err := t.insertDelivery(seq, d, ev.JSON)
		if err != nil {
			return store.Result{}, err
		}
		if d.Start && txn.Lease > 0 && t.leaseNew(wk, txn.Lease) {
			if res.Leased == nil {
				res.Leased = make([]uint64, len(txn.Deliveries))
			}
			res.Leased[i] = uint64(wk.epoch)
		}
		if wk.state == store.Ready {
			t.left[wk.action] = t.left[wk.action] || wk.lane == ""
			t.wake = true
		}
	}
	return res, nil
}

// leaseNew leases a delivery that this transaction has written, if Claim would
// give it next. Its start is written behind, as that of a claim is.
func (t *tx) leaseNew(wk *work, ttl time.Duration) bool {
	if wk.state != store.Ready || wk.lane != "" || t.left[wk.action] || !t.free(wk.action) {
		return false
	}
	wk.state, wk.settled, wk.epoch = store.Leased, 0, t.db.newEpoch()
	wk.started, wk.due = t.now.UnixNano(), t.now.Add(ttl).UnixNano()
	wk.starts++
	t.started = append(t.started, start{id: wk.id, epoch: wk.epoch, at: time.Now()})
	return true
}

// free says that nothing of an action is due.
func (t *tx) free(action string) bool {
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	q := t.db.index.queues[action]
	return t.db.entered && (q == nil || len(q.items) == 0 || q.items[0].due > t.now.UnixNano())
}

// commitStates writes states without an event. No two writes of a key use one
// version, so states that have the new ones were written by this very Txn.
func (t *tx) commitStates(states []store.StateWrite) (store.Result, error) {
	stale, ours := false, 0
	for i := range states {
		s := &states[i]
		version, expires, err := t.version(s.Key)
		if err != nil {
			return store.Result{}, err
		}
		if version != 0 && version == s.Version {
			ours++
		}
		stale = stale || !t.holds(s, version, expires)
	}
	switch {
	case ours == len(states):
	case stale:
		return store.Result{Status: store.StatusStale}, nil
	default:
		if err := t.writeStates(states); err != nil {
			return store.Result{}, err
		}
	}
	return store.Result{Status: store.StatusNew}, nil
}

func (t *tx) writeStates(states []store.StateWrite) error {
	for i := range states {
		s := &states[i]
		if err := t.exec(`INSERT INTO states (key, version, expires, data) VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET version = excluded.version, expires = excluded.expires, data = excluded.data`,
			s.Key, int64(s.Version), nanos(s.Expires), s.Data); err != nil {
			return fmt.Errorf("write state: %w", err)
		}
	}
	return nil
}

// duplicate looks for a mark in force; a zero Status means there is none.
func (t *tx) duplicate(key id16, txn *store.Txn) (store.Result, error) {
	m, ok := t.marks[key]
	if !ok {
		m, ok = t.writer.marks[key]
	}
	if !ok || m.expires <= t.now.UnixNano() {
		return store.Result{}, nil
	}
	var uid string
	var digest []byte
	ok, err := t.row([]any{&uid, &digest}, "SELECT uid, digest FROM dedup WHERE expires = ? AND seq = ?", m.expires, m.seq)
	if err != nil {
		return store.Result{}, fmt.Errorf("read dedup mark: %w", err)
	}
	if !ok {
		return store.Result{}, fmt.Errorf("read dedup mark: row (%d, %d) is missing", m.expires, m.seq)
	}
	if txn.Strict && string(digest) != string(txn.Event.Digest[:]) {
		return store.Result{Status: store.StatusConflict, UID: uid}, nil
	}
	if err := t.exec("UPDATE events SET duplicates = duplicates + 1 WHERE seq = ?", m.seq); err != nil {
		return store.Result{}, fmt.Errorf("count duplicate: %w", err)
	}
	return store.Result{Status: store.StatusDuplicate, UID: uid}, nil
}

// fresh says whether a state still has the version that was read.
func (t *tx) fresh(s *store.StateWrite) (bool, error) {
	version, expires, err := t.version(s.Key)
	return err == nil && t.holds(s, version, expires), err
}

// version reads the version of a state, 0 for none, and when it expires.
func (t *tx) version(key string) (version uint64, expires int64, err error) {
	var v int64
	if _, err = t.row([]any{&v, &expires}, "SELECT version, expires FROM states WHERE key = ?", key); err != nil {
		return 0, 0, fmt.Errorf("read state: %w", err)
	}
	return uint64(v), expires, nil
}

// holds says whether a state that has version is as it was read. An expired
// state counts as forgotten and as there: whoever read it before it expired is
// right as well.
func (t *tx) holds(s *store.StateWrite, version uint64, expires int64) bool {
	expired := expires != 0 && expires <= t.now.UnixNano()
	return version == s.Read || expired && s.Read == 0
}

// segmentEvents is how many events share a segment of event_ids.
const segmentEvents = 2048

func idHash(id string) int64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return int64(h.Sum32())
}

func (t *tx) insertEvent(seq int64, ev *store.Event) error {
	var verdicts any
	if len(ev.Verdicts) > 0 {
		b, err := json.Marshal(ev.Verdicts)
		if err != nil {
			return fmt.Errorf("encode verdicts: %w", err)
		}
		verdicts = string(b)
	}
	if err := t.exec(`INSERT INTO events (seq, uid, source, ce_source, id, type, received, digest, revision, verdicts, json)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		seq, ev.UID, ev.Source, ev.CESource, ev.ID, ev.Type, nanos(ev.Received), ev.Digest[:], ev.Revision, verdicts, string(ev.JSON)); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if err := t.exec("INSERT INTO event_ids (segment, hash, seq) VALUES (?, ?, ?)", seq/segmentEvents, idHash(ev.ID), seq); err != nil {
		return fmt.Errorf("write event id: %w", err)
	}
	if ev.Revision != "" {
		t.revisions[ev.Revision]++
	}
	t.bytes += 1024 + 2*len(ev.JSON)
	return nil
}

func (t *tx) insertDelivery(eventSeq int64, d *store.Delivery, event []byte) (*work, error) {
	if d.Busy == store.BusySkip && d.Lane != "" && d.State == store.Ready {
		first, err := t.overlapped(d.Lane)
		if err != nil {
			return nil, err
		}
		if first != "" {
			skipped := *d
			skipped.State, skipped.Reason, skipped.Error = store.Cancelled, store.ReasonOverlap, store.Overlapping(first)
			d = &skipped
		}
	}
	seq := t.nextDelivery
	t.nextDelivery++
	now := t.now.UnixNano()
	var params any
	if len(d.Params) > 0 {
		params = string(d.Params)
	}
	if err := t.exec(`INSERT INTO deliveries (seq, id, event_seq, event_uid, event_id, source, ce_source, rule, step, action,
		state, reason, dry_run, key, created, updated, budget, budget_from, attempts, starts, crashes, suspect, due,
		count, expanded, epoch, settled, uncertain, error, params, lane)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 1, 0, ?, ?, ?)`,
		seq, d.ID, eventSeq, d.EventUID, d.EventID, d.Source, d.CESource, d.Rule, d.Step, d.Action,
		int64(d.State), d.Reason, d.DryRun, d.Key, nanos(d.Created), now, nanos(d.Budget), d.BudgetFrom, d.Attempts, d.Starts, d.Crashes, d.Suspect, now,
		d.Count, d.Expanded, d.Error, params, d.Lane); err != nil {
		return nil, fmt.Errorf("write delivery: %w", err)
	}
	t.counts[countKey{d.Action, d.State}]++
	t.bytes += 1024 + len(d.Params)
	id := shortID(d.ID)
	wk := &work{
		id: id, seq: seq, eventSeq: eventSeq, action: d.Action, state: d.State, row: d.State,
		due: now, starts: d.Starts, settled: 1, delivery: d, event: event, lane: d.Lane,
	}
	t.work[id] = wk
	t.enlist(wk)
	return wk, nil
}

// Load implements store.Store.
func (db *DB) Load(ctx context.Context, keys ...string) ([]store.State, error) {
	out := make([]store.State, len(keys))
	now := db.now().UnixNano()
	for i, key := range keys {
		s := store.State{Key: key}
		var version, expires int64
		rows, err := db.hot.QueryContext(ctx, "SELECT version, expires, data FROM states WHERE key = ?", key)
		if err != nil {
			return nil, db.readError("load state", err)
		}
		if rows.Next() {
			err = rows.Scan(&version, &expires, &s.Data)
			if err == nil && (expires == 0 || expires > now) {
				s.Version, s.Expires = uint64(version), instant(expires)
			} else {
				s.Data = nil
			}
		}
		if cerr := rows.Close(); err == nil {
			err = cerr
		}
		if rerr := rows.Err(); err == nil {
			err = rerr
		}
		if err != nil {
			return nil, db.readError("load state", err)
		}
		out[i] = s
	}
	return out, nil
}
