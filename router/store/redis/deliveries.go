package redis

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pointsman/pointsman/router/store"
)

// Deliveries implements store.Operator. A query by EventID finds those of the
// events that are still stored, or, when there is none, looks at every delivery.
func (db *DB) Deliveries(ctx context.Context, q store.DeliveryQuery) ([]store.Delivery, error) {
	if db.isClosed() {
		return nil, store.ErrClosed
	}
	out, err := db.deliveries(ctx, &q)
	if err == nil {
		err = db.waits(ctx, out)
	}
	return out, db.fail("list deliveries", err)
}

// keepDelivery makes the filter of a query.
func keepDelivery(q *store.DeliveryQuery) func(*deliveryValue) bool {
	return func(d *deliveryValue) bool {
		return (q.ID == "" || d.ID == q.ID) && (q.EventUID == "" || d.EventUID == q.EventUID) &&
			(q.EventID == "" || d.EventID == q.EventID) && (q.Rule == "" || d.Rule == q.Rule) &&
			(q.Action == "" || d.Action == q.Action) && (len(q.States) == 0 || slices.Contains(q.States, d.State)) &&
			within(d.Created, q.Since, q.Until)
	}
}

func (db *DB) deliveries(ctx context.Context, q *store.DeliveryQuery) ([]store.Delivery, error) {
	keep := keepDelivery(q)
	s := span{keys: []string{db.keys.deliveries()}, from: "+inf"}
	if q.Before != "" {
		from, ok, err := db.bound(ctx, s.keys[0], q.Before)
		if err != nil {
			return nil, err
		}
		if ok {
			s.from = from
		} else { // removed meanwhile: ids begin with their time
			inner := keep
			keep = func(d *deliveryValue) bool { return d.ID < q.Before && inner(d) }
		}
	}
	if ids, few, err := db.fewDeliveries(ctx, q); err != nil {
		return nil, err
	} else if few {
		found, err := db.readDeliveries(ctx, ids)
		if err != nil {
			return nil, err
		}
		inner := keep
		keep = func(d *deliveryValue) bool { return !beyond(d.number, &s) && inner(d) }
		return page(nil, found, keep, q), nil
	}
	leased, err := db.narrow(ctx, q, &s)
	if err != nil {
		return nil, err
	}
	first := s
	var walked []deliveryValue
	for {
		round, err := db.next(ctx, &s)
		if err != nil {
			return nil, err
		}
		ids := make([]string, len(round))
		for i, z := range round {
			ids[i] = text(z.Member)
		}
		ds, err := db.readDeliveries(ctx, ids)
		if err != nil {
			return nil, err
		}
		for i := range ds {
			if keep(&ds[i]) {
				walked = append(walked, ds[i])
			}
		}
		old := func(d deliveryValue) bool { return !d.Created.Before(q.Since.Add(-skew)) }
		if len(walked) >= limit(q.Limit) || len(round) < scanPage || !q.Since.IsZero() && len(ds) > 0 && !slices.ContainsFunc(ds, old) {
			break
		}
	}
	ids, err := db.leased(ctx, leased)
	if err != nil {
		return nil, err
	}
	held, err := db.readDeliveries(ctx, ids)
	if err != nil {
		return nil, err
	}
	inner := keep
	keep = func(d *deliveryValue) bool { return !beyond(d.number, &first) && inner(d) }
	return page(walked, held, keep, q), nil
}

// page joins what is to be kept of what was found to what a walk gave, newest
// first. What was leased since the walk met it is in both.
func page(walked, found []deliveryValue, keep func(*deliveryValue) bool, q *store.DeliveryQuery) []store.Delivery {
	for i := range found {
		if keep(&found[i]) {
			walked = append(walked, found[i])
		}
	}
	slices.SortStableFunc(walked, func(a, b deliveryValue) int { return cmp.Compare(b.number, a.number) })
	walked = slices.CompactFunc(walked, func(a, b deliveryValue) bool { return a.ID == b.ID })
	var out []store.Delivery
	for i := range walked[:min(len(walked), limit(q.Limit))] {
		out = append(out, walked[i].Delivery)
	}
	return out
}

// fewDeliveries gives the ids a query can only mean, if it names a delivery or
// an event.
func (db *DB) fewDeliveries(ctx context.Context, q *store.DeliveryQuery) (ids []string, few bool, err error) {
	var uids []string
	switch {
	case q.ID != "":
		return []string{q.ID}, true, nil
	case q.EventUID != "":
		uids = []string{q.EventUID}
	case q.EventID != "":
		evs, err := db.events(ctx, &store.EventQuery{ID: q.EventID})
		if err != nil || len(evs) == 0 {
			return nil, false, err
		}
		for i := range evs {
			uids = append(uids, evs[i].UID)
		}
	default:
		return nil, false, nil
	}
	for _, uid := range uids {
		evs, err := db.readEvents(ctx, []goredis.Z{{Member: uid}})
		if err != nil {
			return nil, false, err
		}
		if len(evs) == 1 {
			ids = append(ids, evs[0].deliveries...)
		}
		lists, err := db.values(ctx, []string{db.keys.also(uid)})
		if err != nil {
			return nil, false, err
		}
		more, err := decodeIDs(lists[0])
		if err != nil {
			return nil, false, err
		}
		ids = append(ids, more...)
	}
	return ids, true, nil
}

// narrow has a walk look at the indexes of the states that are asked for, if
// they have one: what is done has none. What is leased is not in order of numbers
// but few; of which actions it is asked for is returned.
func (db *DB) narrow(ctx context.Context, q *store.DeliveryQuery, s *span) (leased []string, err error) {
	if len(q.States) == 0 || slices.Contains(q.States, store.Done) {
		return nil, nil
	}
	actions := []string{q.Action}
	if q.Action == "" {
		counts, err := db.counts(ctx)
		if err != nil {
			return nil, err
		}
		actions = actions[:0]
		for _, c := range counts {
			if !slices.Contains(actions, c.Action) {
				actions = append(actions, c.Action)
			}
		}
	}
	s.keys = nil
	for _, a := range actions {
		for _, state := range q.States {
			if state == store.Leased {
				leased = append(leased, a)
			} else {
				s.keys = append(s.keys, db.keys.in(state, a))
			}
		}
	}
	return leased, nil
}

// leased lists what is leased of some actions.
func (db *DB) leased(ctx context.Context, actions []string) ([]string, error) {
	if len(actions) == 0 {
		return nil, nil
	}
	pipe := db.client.Pipeline()
	parts := make([]*goredis.StringSliceCmd, len(actions))
	for i, a := range actions {
		parts[i] = pipe.ZRange(ctx, db.keys.leases(a), 0, -1)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var ids []string
	for _, p := range parts {
		ids = append(ids, p.Val()...)
	}
	return ids, nil
}

func (db *DB) readDeliveries(ctx context.Context, ids []string) ([]deliveryValue, error) {
	var out []deliveryValue
	for part := range slices.Chunk(ids, scanPage) {
		keys := make([]string, 0, 2*len(part))
		for _, id := range part {
			keys = append(keys, db.keys.delivery(id), db.keys.call(id))
		}
		values, err := db.values(ctx, keys)
		if err != nil {
			return nil, err
		}
		for i, id := range part {
			if values[2*i] == "" {
				continue // removed meanwhile
			}
			d, err := decodeDelivery(id, values[2*i], values[2*i+1])
			if err != nil {
				return nil, err
			}
			out = append(out, d)
		}
	}
	return out, nil
}

// counts reads how many deliveries each action has in each state, sorted.
func (db *DB) counts(ctx context.Context) ([]store.Count, error) {
	fields, err := db.client.HGetAll(ctx, db.keys.counts()).Result()
	if err != nil {
		return nil, err
	}
	var out []store.Count
	for f, v := range fields {
		state, action, ok := strings.Cut(f, ":")
		s, err1 := strconv.Atoi(state)
		n, err2 := strconv.Atoi(v)
		if !ok || err1 != nil || err2 != nil {
			return nil, errCorrupt
		}
		out = append(out, store.Count{Action: action, State: store.DeliveryState(s), N: n})
	}
	slices.SortFunc(out, func(a, b store.Count) int {
		return cmp.Or(cmp.Compare(a.Action, b.Action), cmp.Compare(a.State, b.State))
	})
	return out, nil
}

// Counts implements store.Operator.
func (db *DB) Counts(ctx context.Context) ([]store.Count, error) {
	if db.isClosed() {
		return nil, store.ErrClosed
	}
	out, err := db.counts(ctx)
	if err != nil {
		return nil, db.fail("count deliveries", err)
	}
	for i := range out {
		c := &out[i]
		switch c.State {
		case store.Leased:
			c.Oldest, err = db.oldestLeased(ctx, c.Action)
		case store.Ready, store.Held:
			c.Oldest, err = db.oldest(ctx, db.keys.in(c.State, c.Action), c.State)
		default:
		}
		if err != nil {
			return nil, db.fail("count deliveries", err)
		}
	}
	return out, nil
}

// oldestLeased tells when the oldest of what is leased of an action was made.
func (db *DB) oldestLeased(ctx context.Context, action string) (time.Time, error) {
	ids, err := db.leased(ctx, []string{action})
	if err != nil {
		return time.Time{}, err
	}
	ds, err := db.readDeliveries(ctx, ids)
	if err != nil {
		return time.Time{}, err
	}
	var oldest *deliveryValue
	for i := range ds {
		if d := &ds[i]; d.State == store.Leased && (oldest == nil || d.number < oldest.number) {
			oldest = d
		}
	}
	if oldest == nil {
		return time.Time{}, nil
	}
	return oldest.Created, nil
}

// oldest walks an index up to the first delivery in a state: others are there
// only if they have just changed.
func (db *DB) oldest(ctx context.Context, key string, state store.DeliveryState) (time.Time, error) {
	s := span{keys: []string{key}, from: "-inf", up: true}
	for {
		round, err := db.next(ctx, &s)
		if err != nil {
			return time.Time{}, err
		}
		for part := range slices.Chunk(round, 16) {
			ids := make([]string, len(part))
			for i, z := range part {
				ids[i] = text(z.Member)
			}
			ds, err := db.readDeliveries(ctx, ids)
			if err != nil {
				return time.Time{}, err
			}
			if i := slices.IndexFunc(ds, func(d deliveryValue) bool { return d.State == state }); i >= 0 {
				return ds[i].Created, nil
			}
		}
		if len(round) < scanPage {
			return time.Time{}, nil
		}
	}
}
