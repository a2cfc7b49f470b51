package redis

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pointsman/pointsman/router/store"
)

const (
	// maxPage is the default and the largest page of a query.
	maxPage = 1000
	// scanPage is how many are looked at in one round.
	scanPage = 200
	// skew is how much earlier than its neighbours an event or a delivery may have
	// been made, on another router's clock or after waiting to be stored.
	skew = time.Hour
)

func limit(n int) int {
	if n <= 0 || n > maxPage {
		return maxPage
	}
	return n
}

// span is a walk over sorted sets by number, newest first unless up is set.
type span struct {
	keys []string
	from string // where it begins: a bound of ZRANGEBYSCORE
	up   bool
}

// next gives a round of ids in order; fewer than scanPage: the last.
func (db *DB) next(ctx context.Context, s *span) ([]goredis.Z, error) {
	pipe := db.client.Pipeline()
	parts := make([]*goredis.ZSliceCmd, len(s.keys))
	for i, k := range s.keys {
		if s.up {
			parts[i] = pipe.ZRangeByScoreWithScores(ctx, k, &goredis.ZRangeBy{Min: s.from, Max: "+inf", Count: scanPage})
		} else {
			parts[i] = pipe.ZRevRangeByScoreWithScores(ctx, k, &goredis.ZRangeBy{Min: "-inf", Max: s.from, Count: scanPage})
		}
	}
	if len(parts) == 0 {
		return nil, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var all []goredis.Z
	for _, p := range parts {
		all = append(all, p.Val()...)
	}
	if len(s.keys) > 1 {
		slices.SortFunc(all, func(a, b goredis.Z) int {
			if s.up {
				a, b = b, a
			}
			return cmp.Compare(b.Score, a.Score)
		})
		all = all[:min(len(all), scanPage)]
	}
	if len(all) > 0 {
		s.from = "(" + strconv.FormatFloat(all[len(all)-1].Score, 'f', 0, 64)
	}
	return all, nil
}

// values reads strings; an empty one for each that is gone.
func (db *DB) values(ctx context.Context, keys []string) ([]string, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	got, err := db.client.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, err
	}
	out := make([]string, len(got))
	for i, v := range got {
		out[i] = text(v)
	}
	return out, nil
}

// bound is where a walk goes on that a page ended at member; false when the
// member is gone.
func (db *DB) bound(ctx context.Context, key, member string) (string, bool, error) {
	score, err := db.client.ZScore(ctx, key, member).Result()
	if errors.Is(err, goredis.Nil) {
		return "", false, nil
	}
	return "(" + strconv.FormatFloat(score, 'f', 0, 64), err == nil, err
}

// Events implements store.Operator.
func (db *DB) Events(ctx context.Context, q store.EventQuery) ([]store.Event, error) {
	if db.isClosed() {
		return nil, store.ErrClosed
	}
	out, err := db.events(ctx, &q)
	return out, db.fail("list events", err)
}

func (db *DB) events(ctx context.Context, q *store.EventQuery) ([]store.Event, error) {
	keep := func(ev *store.Event) bool {
		return (q.UID == "" || ev.UID == q.UID) && (q.ID == "" || ev.ID == q.ID) && (q.Source == "" || ev.Source == q.Source) &&
			(q.CESource == "" || ev.CESource == q.CESource) && within(ev.Received, q.Since, q.Until)
	}
	s := span{keys: []string{db.keys.events()}, from: "+inf", up: q.After != ""}
	at := q.Before
	if s.up {
		s.from, at = "-inf", q.After
	}
	if at != "" {
		from, ok, err := db.bound(ctx, s.keys[0], at)
		if err != nil {
			return nil, err
		}
		if ok {
			s.from = from
		} else { // removed meanwhile: ids begin with their time
			inner, sign := keep, 1
			if s.up {
				sign = -1
			}
			keep = func(ev *store.Event) bool { return cmp.Compare(ev.UID, at)*sign < 0 && inner(ev) }
		}
	}
	var ids func() ([]goredis.Z, bool, error)
	switch {
	case q.UID != "" || q.ID != "":
		ids = func() ([]goredis.Z, bool, error) {
			found, err := db.named(ctx, q, &s)
			return found, true, err
		}
	default:
		ids = func() ([]goredis.Z, bool, error) {
			round, err := db.next(ctx, &s)
			return round, len(round) < scanPage, err
		}
	}
	var out []store.Event
	for last := false; !last; {
		var round []goredis.Z
		var err error
		if round, last, err = ids(); err != nil {
			return nil, err
		}
		evs, err := db.readEvents(ctx, round)
		if err != nil {
			return nil, err
		}
		old := len(evs) > 0 && !q.Since.IsZero() && !s.up
		for i := range evs {
			old = old && evs[i].Received.Before(q.Since.Add(-skew))
			if keep(&evs[i].Event) {
				out = append(out, evs[i].Event)
			}
			if len(out) == limit(q.Limit) {
				return out, nil
			}
		}
		last = last || old
	}
	return out, nil
}

func within(t, since, until time.Time) bool {
	return (since.IsZero() || !t.Before(since)) && (until.IsZero() || t.Before(until))
}

// named finds the events with a uid or an id, in the order and range of s.
func (db *DB) named(ctx context.Context, q *store.EventQuery, s *span) ([]goredis.Z, error) {
	if q.UID != "" {
		return []goredis.Z{{Member: q.UID}}, nil
	}
	numbers, err := db.numbersOf(ctx, q.ID)
	if err != nil {
		return nil, err
	}
	pipe := db.client.Pipeline()
	var found []*goredis.ZSliceCmd
	for _, n := range numbers {
		at := strconv.FormatInt(n, 10)
		if !beyond(float64(n), s) {
			found = append(found, pipe.ZRangeByScoreWithScores(ctx, db.keys.events(), &goredis.ZRangeBy{Min: at, Max: at}))
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var out []goredis.Z
	for _, f := range found {
		out = append(out, f.Val()...)
	}
	if !s.up {
		slices.Reverse(out)
	}
	return out, nil
}

// beyond says whether a number is outside of what is left of a walk.
func beyond(n float64, s *span) bool {
	from, err := strconv.ParseFloat(strings.TrimPrefix(s.from, "("), 64)
	if err != nil {
		return false
	}
	if s.up {
		return n <= from
	}
	return n >= from
}

// segmentEvents is how many events share a segment of the index of ids.
const segmentEvents = 1024

// numbersOf finds, oldest first, the numbers of the events whose id may be the
// given one.
func (db *DB) numbersOf(ctx context.Context, id string) ([]int64, error) {
	meta, err := db.client.HMGet(ctx, db.keys.meta(), "segment", "seq").Result()
	if err != nil {
		return nil, err
	}
	first, _ := strconv.ParseInt(text(meta[0]), 10, 64)
	seq, _ := strconv.ParseInt(text(meta[1]), 10, 64)
	hash := idHash(id)
	var out []int64
	for from := first; from <= seq/segmentEvents; from += scanPage {
		var keys []string
		for n := from; n < from+scanPage && n <= seq/segmentEvents; n++ {
			keys = append(keys, db.keys.segment(strconv.FormatInt(n, 10)))
		}
		segments, err := db.values(ctx, keys)
		if err != nil {
			return nil, err
		}
		for i, s := range segments {
			for at := 0; at+4 <= len(s); at += 4 {
				if s[at:at+4] == hash {
					out = append(out, (from+int64(i))*segmentEvents+int64(at/4))
				}
			}
		}
	}
	return out, nil
}

func (db *DB) readEvents(ctx context.Context, ids []goredis.Z) ([]eventValue, error) {
	keys := make([]string, 0, 2*len(ids))
	for _, z := range ids {
		keys = append(keys, db.keys.event(text(z.Member)), db.keys.duplicates(text(z.Member)))
	}
	values, err := db.values(ctx, keys)
	if err != nil {
		return nil, err
	}
	var out []eventValue
	for i, z := range ids {
		if values[2*i] == "" {
			continue // removed meanwhile
		}
		ev, err := decodeEvent(text(z.Member), values[2*i])
		if err != nil {
			return nil, err
		}
		ev.Duplicates, _ = strconv.Atoi(values[2*i+1])
		out = append(out, ev)
	}
	return out, nil
}

// History implements store.Operator.
func (db *DB) History(ctx context.Context, id string) ([]store.Attempt, error) {
	if db.isClosed() {
		return nil, store.ErrClosed
	}
	pipe := db.client.TxPipeline()
	list := pipe.LRange(ctx, db.keys.history(id), 0, -1)
	record := pipe.Get(ctx, db.keys.delivery(id))
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, goredis.Nil) {
		return nil, db.fail("read history", err)
	}
	if record.Val() == "" {
		return nil, nil
	}
	var out []store.Attempt
	for _, v := range list.Val() {
		a, err := decodeAttempt(v)
		if err != nil {
			return nil, db.fail("read history", err)
		}
		out = append(out, a)
	}
	d, err := decodeDelivery(id, record.Val(), "")
	if err != nil {
		return nil, db.fail("read history", err)
	}
	if d.last != nil {
		out = append(out, *d.last)
	}
	if d.State == store.Leased {
		out = append(out, store.Attempt{Number: d.Starts, Started: d.started, Outcome: "running"})
	}
	return out, nil
}
