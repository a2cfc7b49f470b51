package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// maxPage is the default and the largest page of a query.
const maxPage = 1000

// where collects the conditions of a query.
type where struct {
	conds []string
	args  []any
}

func (w *where) add(cond string, args ...any) {
	w.conds = append(w.conds, cond)
	w.args = append(w.args, args...)
}

func (w *where) text(column, value string) {
	if value != "" {
		w.add(column+" = ?", value)
	}
}

func (w *where) between(column string, since, until time.Time) {
	if !since.IsZero() {
		w.add(column+" >= ?", since.UnixNano())
	}
	if !until.IsZero() {
		w.add(column+" < ?", until.UnixNano())
	}
}

func (w *where) String() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conds, " AND ")
}

func limit(n int) int {
	if n <= 0 || n > maxPage {
		return maxPage
	}
	return n
}

// scanner is what sql.Row and sql.Rows have in common.
type scanner interface{ Scan(dest ...any) error }

const eventColumns = "uid, source, ce_source, id, type, received, digest, revision, duplicates, verdicts, json"

func scanEvent(row scanner) (store.Event, error) {
	var ev store.Event
	var received int64
	var digest, verdicts []byte
	err := row.Scan(&ev.UID, &ev.Source, &ev.CESource, &ev.ID, &ev.Type, &received, &digest, &ev.Revision, &ev.Duplicates, &verdicts, &ev.JSON)
	if err != nil {
		return ev, err
	}
	ev.Received = instant(received)
	copy(ev.Digest[:], digest)
	if len(verdicts) > 0 {
		if err := json.Unmarshal(verdicts, &ev.Verdicts); err != nil {
			return ev, fmt.Errorf("verdicts of event %s: %w", ev.UID, err)
		}
	}
	return ev, nil
}

// Events implements store.Operator.
func (db *DB) Events(ctx context.Context, q store.EventQuery) ([]store.Event, error) {
	var w where
	w.text("uid", q.UID)
	w.text("id", q.ID)
	w.text("source", q.Source)
	w.text("ce_source", q.CESource)
	w.between("received", q.Since, q.Until)
	if q.ID != "" && q.UID == "" {
		seqs, err := db.withID(ctx, q.ID)
		if err != nil {
			return nil, db.readError("list events", err)
		}
		w.add("seq IN (SELECT value FROM json_each(?))", seqs)
	}
	if err := db.cursor(ctx, &w, "events", "uid", "<", q.Before); err != nil {
		return nil, db.readError("list events", err)
	}
	order := " ORDER BY seq DESC"
	if q.After != "" {
		order = " ORDER BY seq"
		if err := db.cursor(ctx, &w, "events", "uid", ">", q.After); err != nil {
			return nil, db.readError("list events", err)
		}
	}
	rows, err := db.reads.QueryContext(ctx, "SELECT "+eventColumns+" FROM events"+w.String()+order+" LIMIT ?", append(w.args, limit(q.Limit))...)
	if err != nil {
		return nil, db.readError("list events", err)
	}
	defer rows.Close()
	var out []store.Event
	for rows.Next() {
		ev, err := scanEvent(rows)
		if err != nil {
			return nil, db.readError("list events", err)
		}
		out = append(out, ev)
	}
	return out, db.readError("list events", rows.Err())
}

// cursor adds the condition of a page that continues at a row. When retention
// has removed the row, the order of the ids, which begin with their time, is the
// next best.
func (db *DB) cursor(ctx context.Context, w *where, table, column, op, at string) error {
	if at == "" {
		return nil
	}
	rows, err := db.reads.QueryContext(ctx, "SELECT seq FROM "+table+" WHERE "+column+" = ?", at)
	if err != nil {
		return err
	}
	defer rows.Close()
	if rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return err
		}
		w.add("seq "+op+" ?", seq)
	} else {
		w.add(column+" "+op+" ?", at)
	}
	return rows.Err()
}

const deliveryColumns = `d.id, d.event_uid, d.event_id, d.source, d.ce_source, d.rule, d.step, d.action, d.state, d.reason, d.params,
	d.dry_run, d.key, d.created, d.updated, d.budget, d.budget_from, d.attempts, d.starts, d.crashes, d.suspect, d.due,
	d.error, d.count, d.expanded, d.epoch, d.lane`

func scanDelivery(row scanner, also ...any) (store.Delivery, error) {
	var d store.Delivery
	var state, created, updated, budget, due, epoch int64
	dest := []any{
		&d.ID, &d.EventUID, &d.EventID, &d.Source, &d.CESource, &d.Rule, &d.Step, &d.Action, &state, &d.Reason, &d.Params,
		&d.DryRun, &d.Key, &created, &updated, &budget, &d.BudgetFrom, &d.Attempts, &d.Starts, &d.Crashes, &d.Suspect, &due,
		&d.Error, &d.Count, &d.Expanded, &epoch, &d.Lane,
	}
	if err := row.Scan(append(dest, also...)...); err != nil {
		return d, err
	}
	d.State, d.Epoch = store.DeliveryState(state), uint64(epoch)
	d.Created, d.Updated, d.Budget, d.Due = instant(created), instant(updated), instant(budget), instant(due)
	return d, nil
}

// Deliveries implements store.Operator. That a delivery is leased may show up
// to 50 ms late.
func (db *DB) Deliveries(ctx context.Context, q store.DeliveryQuery) ([]store.Delivery, error) {
	var w where
	w.text("id", q.ID)
	w.text("event_uid", q.EventUID)
	w.text("event_id", q.EventID)
	w.text("rule", q.Rule)
	w.text("action", q.Action)
	w.between("created", q.Since, q.Until)
	if q.EventUID != "" && q.ID == "" {
		if err := db.ofEvent(ctx, &w, q.EventUID); err != nil {
			return nil, db.readError("list deliveries", err)
		}
	}
	if q.ID == "" {
		if q.EventID != "" {
			seqs, err := db.withID(ctx, q.EventID)
			if err != nil {
				return nil, db.readError("list deliveries", err)
			}
			w.add("event_seq IN (SELECT value FROM json_each(?))", seqs)
		}
	}
	if len(q.States) > 0 {
		marks := make([]string, len(q.States))
		for i, s := range q.States {
			marks[i] = "?"
			w.args = append(w.args, int64(s))
		}
		w.conds = append(w.conds, "state IN ("+strings.Join(marks, ",")+")")
	}
	if err := db.cursor(ctx, &w, "deliveries", "id", "<", q.Before); err != nil {
		return nil, db.readError("list deliveries", err)
	}
	rows, err := db.reads.QueryContext(ctx, "SELECT "+deliveryColumns+" FROM deliveries d"+w.String()+" ORDER BY seq DESC LIMIT ?",
		append(w.args, limit(q.Limit))...)
	if err != nil {
		return nil, db.readError("list deliveries", err)
	}
	defer rows.Close()
	var out []store.Delivery
	for rows.Next() {
		d, err := scanDelivery(rows)
		if err != nil {
			return nil, db.readError("list deliveries", err)
		}
		out = append(out, d)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, db.readError("list deliveries", err)
	}
	return out, db.readError("list deliveries", db.waits(ctx, out))
}

// ofEvent narrows a query to an event by its number, while there is the event:
// event_uid has no index of its own.
func (db *DB) ofEvent(ctx context.Context, w *where, uid string) error {
	rows, err := db.reads.QueryContext(ctx, "SELECT seq FROM events WHERE uid = ?", uid)
	if err != nil {
		return err
	}
	defer rows.Close()
	if rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return err
		}
		w.add("event_seq = ?", seq)
	}
	return rows.Err()
}

const attemptColumns = "number, started, ended, outcome, error, output"

func scanAttempt(row scanner) (store.Attempt, error) {
	var a store.Attempt
	var started, ended int64
	err := row.Scan(&a.Number, &started, &ended, &a.Outcome, &a.Error, &a.Output)
	a.Started, a.Ended = instant(started), instant(ended)
	return a, err
}

// History implements store.Operator.
func (db *DB) History(ctx context.Context, id string) ([]store.Attempt, error) {
	rows, err := db.reads.QueryContext(ctx, "SELECT "+attemptColumns+
		" FROM history WHERE delivery = (SELECT seq FROM deliveries WHERE id = ?) ORDER BY number", id)
	if err != nil {
		return nil, db.readError("read history", err)
	}
	defer rows.Close()
	var out []store.Attempt
	for rows.Next() {
		a, err := scanAttempt(rows)
		if err != nil {
			return nil, db.readError("read history", err)
		}
		out = append(out, a)
	}
	return out, db.readError("read history", rows.Err())
}

// Counts implements store.Operator.
func (db *DB) Counts(ctx context.Context) ([]store.Count, error) {
	rows, err := db.reads.QueryContext(ctx, `SELECT action, state, n, CASE WHEN state IN (1, 2, 5) THEN
		(SELECT created FROM deliveries d WHERE d.state <> 3 AND d.state = c.state AND d.action = c.action ORDER BY d.seq LIMIT 1) END
		FROM counts c WHERE n > 0 ORDER BY action, state`)
	if err != nil {
		return nil, db.readError("count deliveries", err)
	}
	defer rows.Close()
	var out []store.Count
	for rows.Next() {
		var c store.Count
		var state int64
		var oldest *int64
		if err := rows.Scan(&c.Action, &state, &c.N, &oldest); err != nil {
			return nil, db.readError("count deliveries", err)
		}
		c.State = store.DeliveryState(state)
		if oldest != nil {
			c.Oldest = instant(*oldest)
		}
		out = append(out, c)
	}
	return out, db.readError("count deliveries", rows.Err())
}
