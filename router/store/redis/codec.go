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

// errLayout: the data were written by another version, in another layout.
var errLayout = errors.New("the data in Redis are of another version of pointsman; docs/redis.md says what to do")

const (
	// headSize is HEAD of lib.lua.
	headSize      = 72
	recordVersion = 3
	eventVersion  = 2
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

func appendFloat(b []byte, v int64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(v)))
}

func appendInt(b []byte, v int) []byte { return binary.LittleEndian.AppendUint32(b, uint32(v)) }

// appendShort writes what I2c0 reads; s has at most maxName bytes.
func appendShort(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(s))), s...)
}

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

// version reads the first byte, which tells the layout of what follows.
func (r *reader) version(want byte) {
	switch v := r.byte(); {
	case r.err == nil && v != want && v > 0 && v < 16:
		r.err = errLayout
	case v != want:
		r.err = errCorrupt
	}
}

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

// encodeEvent makes the document of an event, which is never changed, and of
// which the scripts read the beginning only.
func encodeEvent(ev *store.Event, deliveries []store.Delivery) ([]byte, error) {
	b := make([]byte, 0, len(ev.JSON)+256+40*len(deliveries))
	b = appendFloat(append(b, eventVersion), micros(ev.Received))
	b = binary.LittleEndian.AppendUint32(b, 0)
	start := len(b)
	for i := range deliveries {
		b = append(append(b, byte(len(deliveries[i].ID))), deliveries[i].ID...)
	}
	binary.LittleEndian.PutUint32(b[start-4:], uint32(len(b)-start))
	b = append(appendShort(b, ev.Revision), ev.Digest[:]...)
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
	r.version(eventVersion)
	ev.Received = instant(r.float())
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

// eventJSON reads the event itself out of its document, and nothing else.
func eventJSON(uid, value string) ([]byte, error) {
	r := reader{b: []byte(value)}
	r.version(eventVersion)
	r.float() // received
	r.take(r.int())
	r.take(int(binary.LittleEndian.Uint16(r.take(2)))) // revision
	r.take(16)
	for range 5 { // source, ce source, id, type, verdicts
		r.take(r.int())
	}
	if r.err != nil {
		return nil, fmt.Errorf("event %s: %w", uid, r.err)
	}
	return r.b, nil
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

// appendCall makes the value of c:ID: the call, and what never changes.
func appendCall(b []byte, d *store.Delivery) []byte {
	b = appendInt(b, 12+len(d.Key)+len(d.Params))
	b = appendText(appendText(appendInt(b, d.Step), d.Key), d.Params)
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

// checkDelivery refuses what cannot be written.
func checkDelivery(d *store.Delivery) error {
	switch {
	case d.ID == "" || len(d.ID) > maxID:
		return fmt.Errorf("delivery of event %q: its id must have 1 to %d bytes", d.EventID, maxID)
	case d.State < store.Ready || d.State > store.Cancelled || d.State == store.Leased:
		return fmt.Errorf("delivery %s: state %s cannot be committed", d.ID, d.State)
	case len(d.Action) > maxName || len(d.Reason) > maxName || len(d.Lane) > maxName || len(d.EventUID) > maxID:
		return fmt.Errorf("delivery %s: action, reason, lane or event uid is too long", d.ID)
	}
	return nil
}

// Flags of a new delivery, as the scripts take them. newStart is for commit.lua.
const (
	newSkip = 1 << iota
	newSuspect
	newLane
	newStart
)

func newFlags(d *store.Delivery) byte {
	var f byte
	if d.Busy == store.BusySkip {
		f |= newSkip
	}
	if d.Suspect {
		f |= newSuspect
	}
	if d.Lane != "" {
		f |= newLane
	}
	return f
}

// appendRest makes a new record without what a script writes before attempts.
// calls is how many bytes c:ID has.
func appendRest(b []byte, d *store.Delivery, calls int) []byte {
	middle := 6 + len(d.Action) + len(d.Lane) + len(d.EventUID) + 32
	b = appendInt(appendInt(appendInt(b, d.Attempts), d.Crashes), headSize+middle)
	b = appendShort(appendShort(appendShort(b, d.Action), d.Lane), d.EventUID)
	b = appendFloat(appendFloat(b, micros(d.Created)), micros(d.Budget))
	b = appendInt(appendInt(appendInt(appendInt(b, d.BudgetFrom), d.Count), d.Expanded), calls)
	return appendText(appendShort(b, d.Reason), d.Error)
}

// deliveryValue is a delivery with what the store adds.
type deliveryValue struct {
	store.Delivery
	started time.Time
	// number orders deliveries.
	number float64
	// uncertain: no outcome of the newest attempt was stored.
	uncertain bool
	// last is the newest attempt, nil if there is none.
	last *store.Attempt
}

// decodeDelivery reads a record and, unless it is empty, what is in c:ID.
func decodeDelivery(id, record, call string) (deliveryValue, error) {
	d := deliveryValue{Delivery: store.Delivery{ID: id}}
	r := reader{b: []byte(record)}
	r.version(recordVersion)
	d.State = store.DeliveryState(r.byte())
	r.byte() // settled
	flags := r.byte()
	d.uncertain, d.Suspect = flags&1 != 0, flags&2 != 0
	d.Epoch = uint64(r.float())
	d.Due, d.started, d.Updated = instant(r.float()), instant(r.float()), instant(r.float())
	d.number = r.float()
	d.Starts = r.int()
	r.take(12) // its holder
	d.Attempts, d.Crashes = r.int(), r.int()
	r.int() // where the ending begins
	d.Action, d.Lane, d.EventUID = r.short(), r.short(), r.short()
	d.Created, d.Budget = instant(r.float()), instant(r.float())
	d.BudgetFrom, d.Count, d.Expanded = r.int(), r.int(), r.int()
	r.int() // bytes in c:ID
	d.Reason, d.Error = r.short(), r.text()
	if r.err == nil && len(r.b) > 0 {
		a := readAttempt(&r)
		d.last = &a
	}
	err := r.end()
	if err == nil && (d.State < store.Ready || d.State > store.Cancelled) {
		err = errCorrupt
	}
	if err == nil && call != "" {
		err = decodeCall(&d.Delivery, call)
	}
	if err != nil {
		return deliveryValue{}, fmt.Errorf("delivery %s: %w", id, err)
	}
	return d, nil
}

func decodeCall(d *store.Delivery, value string) error {
	r := reader{b: []byte(value)}
	r.int() // bytes of the call
	d.Step, d.Key, d.Params = r.int(), r.text(), r.bytes()
	d.EventID, d.Source, d.CESource, d.Rule = r.text(), r.text(), r.text(), r.text()
	d.DryRun = r.byte() == '1'
	return r.end()
}

// appendAttempt makes an attempt without its number.
func appendAttempt(b []byte, a *store.Attempt) []byte {
	b = appendFloat(appendFloat(b, micros(a.Started)), micros(a.Ended))
	return appendText(appendText(appendShort(b, a.Outcome), a.Error), a.Output)
}

func readAttempt(r *reader) store.Attempt {
	a := store.Attempt{Number: r.int(), Started: instant(r.float()), Ended: instant(r.float())}
	a.Outcome, a.Error, a.Output = r.short(), r.text(), r.text()
	return a
}

func decodeAttempt(value string) (store.Attempt, error) {
	r := reader{b: []byte(value)}
	a := readAttempt(&r)
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
