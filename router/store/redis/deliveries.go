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
		slices.SortFunc(found, func(a, b deliveryValue) int { return cmp.Compare(b.number, a.number) })
		inner := keep
		keep = func(d *deliveryValue) bool { return !beyond(d.number, &s) && inner(d) }
		return pick(nil, found, keep, limit(q.Limit)), nil
	}
	if err := db.narrow(ctx, q, &s); err != nil {
		return nil, err
	}
	var out []store.Delivery
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
		out = pick(out, ds, keep, limit(q.Limit))
		old := func(d deliveryValue) bool { return !d.Created.Before(q.Since.Add(-skew)) }
		if len(out) == limit(q.Limit) || len(round) < scanPage || !q.Since.IsZero() && len(ds) > 0 && !slices.ContainsFunc(ds, old) {
			return out, nil
		}
	}
}

func pick(out []store.Delivery, from []deliveryValue, keep func(*deliveryValue) bool, n int) []store.Delivery {
	for i := range from {
		if len(out) < n && keep(&from[i]) {
			out = append(out, from[i].Delivery)
		}
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
// they have one: what is done has none.
func (db *DB) narrow(ctx context.Context, q *store.DeliveryQuery, s *span) error {
	if len(q.States) == 0 || slices.Contains(q.States, store.Done) {
		return nil
	}
	actions := []string{q.Action}
	if q.Action == "" {
		counts, err := db.counts(ctx)
		if err != nil {
			return err
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
		open := false
		for _, state := range q.States {
			switch state {
			case store.Ready, store.Leased:
				if !open {
					s.keys = append(s.keys, db.keys.open(a))
				}
				open = true
			default:
				s.keys = append(s.keys, db.keys.in(strconv.Itoa(int(state)), a))
			}
		}
	}
	return nil
}

func (db *DB) readDeliveries(ctx context.Context, ids []string) ([]deliveryValue, error) {
	var out []deliveryValue
	for part := range slices.Chunk(ids, scanPage) {
		keys := make([]string, len(part))
		for i, id := range part {
			keys[i] = db.keys.delivery(id)
		}
		values, err := db.values(ctx, keys)
		if err != nil {
			return nil, err
		}
		for i, v := range values {
			if v == "" {
				continue // removed meanwhile
			}
			d, err := decodeDelivery(part[i], v)
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
	leased, err := db.oldestLeased(ctx)
	if err != nil {
		return nil, db.fail("count deliveries", err)
	}
	for i := range out {
		c := &out[i]
		switch c.State {
		case store.Leased:
			c.Oldest = leased[c.Action]
		case store.Ready:
			c.Oldest, err = db.oldest(ctx, db.keys.open(c.Action), c.State)
		case store.Held:
			c.Oldest, err = db.oldest(ctx, db.keys.in("5", c.Action), c.State)
		default:
		}
		if err != nil {
			return nil, db.fail("count deliveries", err)
		}
	}
	return out, nil
}

// oldestLeased tells for each action when the oldest of what is leased was made.
func (db *DB) oldestLeased(ctx context.Context) (map[string]time.Time, error) {
	ids, err := db.client.HKeys(ctx, db.keys.leases()).Result()
	if err != nil {
		return nil, err
	}
	ds, err := db.readDeliveries(ctx, ids)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(ds, func(a, b deliveryValue) int { return cmp.Compare(b.number, a.number) })
	out := map[string]time.Time{}
	for i := range ds {
		if ds[i].State == store.Leased {
			out[ds[i].Action] = ds[i].Created
		}
	}
	return out, nil
}

// oldest walks an index up to the first delivery in a state: few before it are
// in the other one, those that are leased.
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
