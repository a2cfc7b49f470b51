package redis

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"time"

	"github.com/pointsman/pointsman/router/store"
)

// errCorrupt: a value in Redis is not what the scripts write.
var errCorrupt = errors.New("a value is damaged or of another program")

const (
	// headSize is HEAD of lib.lua.
	headSize      = 84
	recordVersion = 1
	// laneVersion is a record with a lane at its end.
	laneVersion  = 2
	eventVersion = 1
)

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// microsUp rounds up, for what must not end too soon.
func microsUp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Add(time.Microsecond - 1).UnixMicro()
}

func instant(us float64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(us)).UTC()
}

// identity names the mark of an event: a hash of what it is remembered by.
func identity(ev *store.Event) string {
	b := make([]byte, 0, 24+len(ev.Source)+len(ev.CESource)+len(ev.ID))
	for _, s := range [...]string{ev.Source, ev.CESource, ev.ID} {
		b = appendText(b, s)
	}
	h := sha256.Sum256(b)
	return string(h[:16])
}

// idHash is an entry of the index of ids.
func idHash(id string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return string(h.Sum(nil))
}

func version(v uint64) string { return string(binary.BigEndian.AppendUint64(nil, v)) }

func appendText[T string | []byte](b []byte, s T) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// reader takes a value apart. After an error all it gives is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.err = errCorrupt
		return make([]byte, min(max(n, 0), 8))
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) float() float64 { return math.Float64frombits(binary.LittleEndian.Uint64(r.take(8))) }
func (r *reader) uint32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) int() int       { return int(r.uint32()) }

// text reads what appendText and I4c0 write.
func (r *reader) text() string {
	n := r.int()
	if r.err != nil {
		return ""
	}
	return r.checked(n)
}

// short reads what I2c0 writes.
func (r *reader) short() string {
	n := int(binary.LittleEndian.Uint16(r.take(2)))
	if r.err != nil {
		return ""
	}
	return r.checked(n)
}

func (r *reader) checked(n int) string {
	b := r.take(n)
	if r.err != nil {
		return ""
	}
	return string(b)
}

func (r *reader) bytes() []byte {
	if s := r.text(); s != "" {
		return []byte(s)
	}
	return nil
}

// end returns the error, if any, and one if something is left.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		return errCorrupt
	}
	return r.err
}

// encodeEvent makes the part of an event that the scripts do not look into.
func encodeEvent(ev *store.Event) ([]byte, error) {
	b := make([]byte, 0, len(ev.JSON)+256)
	b = append(b, ev.Digest[:]...)
	for _, s := range [...]string{ev.Source, ev.CESource, ev.ID, ev.Type} {
		b = appendText(b, s)
	}
	var verdicts []byte
	if len(ev.Verdicts) > 0 {
		var err error
		if verdicts, err = json.Marshal(ev.Verdicts); err != nil {
			return nil, fmt.Errorf("encode verdicts: %w", err)
		}
	}
	return append(appendText(b, verdicts), ev.JSON...), nil
}

// eventValue is an event with what the store adds.
type eventValue struct {
	store.Event
	// deliveries are the ids it was written with.
	deliveries []string
}

func decodeEvent(uid, value string) (eventValue, error) {
	ev := eventValue{Event: store.Event{UID: uid}}
	r := reader{b: []byte(value)}
	if r.byte() != eventVersion {
		r.err = errCorrupt
	}
	ev.Duplicates = r.int()
	ev.Received = instant(r.float())
	r.float() // its number
	ids, err := decodeIDs(r.text())
	if err != nil {
		r.err = err
	}
	ev.deliveries = ids
	ev.Revision = r.short()
	copy(ev.Digest[:], r.take(16))
	ev.Source, ev.CESource, ev.ID, ev.Type = r.text(), r.text(), r.text(), r.text()
	if v := r.bytes(); len(v) > 0 && r.err == nil {
		if err := json.Unmarshal(v, &ev.Verdicts); err != nil {
			r.err = errCorrupt
		}
	}
	if r.err != nil {
		return eventValue{}, fmt.Errorf("event %s: %w", uid, r.err)
	}
	ev.JSON = r.b
	return ev, nil
}

// decodeIDs reads a list of ids.
func decodeIDs(s string) ([]string, error) {
	var ids []string
	r := reader{b: []byte(s)}
	for len(r.b) > 0 && r.err == nil {
		n := int(r.byte())
		ids = append(ids, r.checked(n))
	}
	return ids, r.err
}

// encodeCall makes the part of a delivery that a retry may replace.
func encodeCall(c *store.Call) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, len(c.Params)+len(c.Key)+16), uint32(c.Step))
	return appendText(appendText(b, c.Key), c.Params)
}

// encodeStatic makes the part of a delivery that never changes.
func encodeStatic(d *store.Delivery) []byte {
	var b []byte
	for _, s := range [...]string{d.EventID, d.Source, d.CESource, d.Rule} {
		b = appendText(b, s)
	}
	return append(b, flag(d.DryRun)...)
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// maxID is the longest id of a delivery, the longest uid of an event, and
// maxName the longest action, reason, lane or revision.
const (
	maxID   = 255
	maxName = 1<<16 - 1
)

// deliveryArgs are the arguments that read_delivery of lib.lua takes.
func deliveryArgs(args []any, d *store.Delivery) ([]any, error) {
	switch {
	case d.ID == "" || len(d.ID) > maxID:
		return nil, fmt.Errorf("delivery of event %q: its id must have 1 to %d bytes", d.EventID, maxID)
	case d.State < store.Ready || d.State > store.Cancelled || d.State == store.Leased:
		return nil, fmt.Errorf("delivery %s: state %s cannot be committed", d.ID, d.State)
	case len(d.Action) > maxName || len(d.Reason) > maxName || len(d.Lane) > maxName:
		return nil, fmt.Errorf("delivery %s: action, reason or lane is too long", d.ID)
	}
	return append(args, d.ID, int(d.State), d.Action, d.Reason, d.Error, micros(d.Created), micros(d.Budget),
		d.BudgetFrom, d.Attempts, d.Starts, d.Crashes, flag(d.Suspect), d.Count, d.Expanded,
		encodeCall(&store.Call{Step: d.Step, Key: d.Key, Params: d.Params}), encodeStatic(d),
		d.Lane, flag(d.Busy == store.BusySkip)), nil
}

// deliveryValue is a delivery with what the store adds.
type deliveryValue struct {
	store.Delivery
	started time.Time
	// number orders deliveries.
	number float64
}

func decodeDelivery(id, value string) (deliveryValue, error) {
	d := deliveryValue{Delivery: store.Delivery{ID: id}}
	r := reader{b: []byte(value)}
	version := r.byte()
	if version != recordVersion && version != laneVersion {
		r.err = errCorrupt
	}
	d.State = store.DeliveryState(r.byte())
	r.byte() // settled
	d.Suspect = r.byte()&2 != 0
	d.Epoch = uint64(r.float())
	d.Due, d.started, d.Updated = instant(r.float()), instant(r.float()), instant(r.float())
	d.Created, d.Budget = instant(r.float()), instant(r.float())
	d.number = r.float()
	d.BudgetFrom, d.Attempts, d.Starts, d.Crashes = r.int(), r.int(), r.int(), r.int()
	d.Count, d.Expanded = r.int(), r.int()
	d.Action, d.EventUID, d.Reason, d.Error = r.short(), r.short(), r.short(), r.text()
	call, static := reader{b: r.bytes()}, reader{b: r.bytes()}
	if version == laneVersion {
		d.Lane = r.short()
	}
	d.Step, d.Key, d.Params = call.int(), call.text(), call.bytes()
	d.EventID, d.Source, d.CESource, d.Rule = static.text(), static.text(), static.text(), static.text()
	d.DryRun = static.byte() == '1'
	if err := errors.Join(r.end(), call.end(), static.end()); err != nil || d.State < store.Ready || d.State > store.Cancelled {
		return deliveryValue{}, fmt.Errorf("delivery %s: %w", id, errCorrupt)
	}
	return d, nil
}

func decodeAttempt(value string) (store.Attempt, error) {
	r := reader{b: []byte(value)}
	a := store.Attempt{Number: r.int(), Started: instant(r.float()), Ended: instant(r.float())}
	a.Outcome, a.Error, a.Output = r.short(), r.text(), r.text()
	if err := r.end(); err != nil {
		return store.Attempt{}, fmt.Errorf("attempt: %w", err)
	}
	return a, nil
}

func decodeState(key, value string) (store.State, error) {
	s := store.State{Key: key}
	if value == "" {
		return s, nil
	}
	r := reader{b: []byte(value)}
	s.Expires = instant(r.float())
	s.Version = binary.BigEndian.Uint64(r.take(8))
	if r.err != nil {
		return store.State{}, fmt.Errorf("state %q: %w", key, r.err)
	}
	if len(r.b) > 0 {
		s.Data = r.b
	}
	return s, nil
}

// text and number read an element of a script's result.
func text(v any) string {
	s, _ := v.(string)
	return s
}

func number(v any) int64 {
	n, _ := v.(int64)
	return n
}
