package redis

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// batch is what one Commit writes: documents, which are keys and values, and the
// arguments of commit.lua.
type batch struct {
	keys      keys
	documents []any
	actions   names
	revisions names
	uids      []any
	marks     []any
	rest      []any
	// starts: a delivery is to be leased as it is written.
	starts bool
}

// names are words that arguments refer to by their number, from 1.
type names struct {
	list    []any
	numbers map[string]int
	last    string
}

func (n *names) number(s string) int {
	if len(n.list) > 0 && s == n.last {
		return n.numbers[s]
	}
	n.last = s
	if i, ok := n.numbers[s]; ok {
		return i
	}
	if n.numbers == nil {
		n.numbers = map[string]int{}
	}
	n.list = append(n.list, s)
	n.numbers[s] = len(n.list)
	return len(n.list)
}

// maxNames is how many different actions or revisions one Commit may have, and
// how many states or deliveries a Txn.
const maxNames = 1<<16 - 1

func newBatch(k keys, n int) *batch {
	return &batch{keys: k, documents: make([]any, 0, 4*n), uids: make([]any, 0, n), marks: make([]any, 0, n), rest: make([]any, 0, 4*n)}
}

func (b *batch) add(t *store.Txn) error {
	ev := &t.Event
	alone := ev.UID == "" && ev.ID == "" && t.Dedup == 0 && len(t.Deliveries) == 0 // states alone
	if ev.UID == "" && !alone || len(ev.UID) > maxID || len(ev.Revision) > maxName {
		return fmt.Errorf("event %q: its uid must have 1 to %d bytes, its revision at most %d", ev.ID, maxID, maxName)
	}
	if len(t.States) > maxNames || len(t.Deliveries) > maxNames {
		return fmt.Errorf("event %q: it has more than %d states or deliveries", ev.ID, maxNames)
	}
	for i := range t.Deliveries {
		if err := checkDelivery(&t.Deliveries[i]); err != nil {
			return err
		}
	}
	size := 0
	if !alone {
		document, err := encodeEvent(ev, t.Deliveries)
		if err != nil {
			return err
		}
		size = len(document)
		b.documents = append(b.documents, b.keys.event(ev.UID), document)
	}
	hash, mark := "", []byte(nil)
	if t.Dedup > 0 {
		hash = identity(ev)
		mark = append(append(make([]byte, 0, 16+len(ev.UID)), ev.Digest[:]...), ev.UID...)
	}
	b.uids, b.marks = append(b.uids, ev.UID), append(b.marks, b.keys.mark(hash))
	at := len(b.rest) + 1
	b.rest = append(b.rest, mark, nil)
	b.states(t)
	meta := make([]byte, 0, 32+8*len(t.Deliveries))
	meta = appendFloat(appendFloat(meta, t.Dedup.Microseconds()), t.Lease.Microseconds())
	meta = append(meta, txnFlags(t))
	revision := 0
	if ev.Revision != "" {
		revision = b.revisions.number(ev.Revision)
	}
	meta = append(binary.LittleEndian.AppendUint16(meta, uint16(revision)), idHash(ev.ID)...)
	sized := len(meta)
	meta = binary.LittleEndian.AppendUint16(appendInt(meta, 0), uint16(len(t.States)))
	meta = binary.LittleEndian.AppendUint16(meta, uint16(len(t.Deliveries)))
	for i := range t.Deliveries {
		d := &t.Deliveries[i]
		call := appendCall(make([]byte, 0, 64+len(d.Params)+len(d.Key)+len(d.EventID)+len(d.Source)+len(d.CESource)+len(d.Rule)), d)
		size += len(call)
		b.documents = append(b.documents, b.keys.call(d.ID), call)
		b.rest = append(b.rest, d.ID, appendRest(make([]byte, 0, 64+len(d.Action)+len(d.Lane)+len(d.EventUID)+len(d.Reason)+len(d.Error)), d, len(call)))
		flags := newFlags(d)
		if starts(t, d) {
			flags |= newStart
			b.starts = true
		}
		meta = binary.LittleEndian.AppendUint16(append(meta, byte(d.State), flags), uint16(b.actions.number(d.Action)))
		meta = appendInt(meta, d.Starts)
	}
	binary.LittleEndian.PutUint32(meta[sized:], uint32(size))
	b.rest[at] = meta
	return nil
}

func (b *batch) states(t *store.Txn) {
	for i := range t.States {
		s := &t.States[i]
		v := append(append(make([]byte, 0, 24), version(s.Read)...), version(s.Version)...)
		b.rest = append(b.rest, s.Key, appendFloat(v, lasting(s.Expires, t.Event.Received)), s.Data)
	}
}

// txnFlags are those of a Txn for commit.lua.
func txnFlags(t *store.Txn) byte {
	var f byte
	if t.Strict {
		f |= 1
	}
	plain := len(t.States) == 0
	for i := range t.Deliveries {
		d := &t.Deliveries[i]
		plain = plain && d.Lane == "" && (d.State == store.Ready || d.State == store.Done)
	}
	if !plain {
		f |= 2
	}
	return f
}

// starts says whether a delivery asks to be leased and may be.
func starts(t *store.Txn, d *store.Delivery) bool {
	return d.Start && t.Lease > 0 && d.State == store.Ready && d.Lane == ""
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

// args are all arguments of commit.lua. The instance is empty if none has entered.
func (b *batch) args(instance string, start uint64) []any {
	args := make([]any, 0, 8+len(b.actions.list)+len(b.revisions.list)+2*len(b.uids)+len(b.rest))
	if b.starts && instance != "" {
		args = append(args, instance, strconv.FormatUint(start, 10), holder(instance, start))
	} else {
		args = append(args, "", "", "")
	}
	args = append(append(args, len(b.actions.list)), b.actions.list...)
	args = append(append(args, len(b.revisions.list)), b.revisions.list...)
	args = append(append(args, len(b.uids)), b.uids...)
	return append(append(args, b.marks...), b.rest...)
}
