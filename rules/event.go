package rules

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/pointsman/pointsman/rules/scan"
)

// SpecVersion is the only version of CloudEvents that is accepted.
const SpecVersion = "1.0"

// DefaultDepth is the nesting that data may have when Limits says nothing.
const DefaultDepth = 64

// maxData is the most bytes that the data of NewEvent may have: written as JSON
// it is at most six times as long.
const maxData = scan.MaxText / 8

// Sizes that an event may not exceed, in bytes of UTF-8 except maxExtensions.
const (
	maxID         = 256
	maxType       = 256
	maxSource     = 1024
	maxAttribute  = 1024
	maxName       = 64
	maxExtensions = 256
)

// Event is one CloudEvent, decoded and checked to the letter of CloudEvents
// 1.0.2. It is immutable and safe for concurrent use; what its methods return
// must not be changed. Events come from ParseEvent, ParseBatch and NewEvent;
// the zero Event is of no use.
type Event struct {
	// json is the JSON format.
	json []byte
	// scanned is json for whoever needs it first; see take.
	scanned atomic.Pointer[scan.Doc]

	attrs Attributes
	// names are the keys of attrs.Extensions, sorted.
	names []string
	kind  dataKind
	// data is the value of data or data_base64 as JSON text, within json.
	data []byte

	digestOnce sync.Once
	digest     [16]byte
	valueMu    sync.Mutex // guards value
	value      map[string]any
}

// dataKind is how an event carries its data.
type dataKind byte

const (
	// noData: neither data nor data_base64. data: null is dataJSON.
	noData dataKind = iota
	dataJSON
	// dataText: a JSON string that holds data of another media type.
	dataText
	dataBase64
)

// member is the name of the member that has the data.
func (k dataKind) member() string {
	if k == dataBase64 {
		return "data_base64"
	}
	return "data"
}

// Attributes are the context attributes of an event. An empty string means not
// set, which none of the attributes may be when present.
type Attributes struct {
	ID, Source, Type, Subject   string
	DataContentType, DataSchema string
	// Time as it was written, RFC 3339.
	Time string
	// Extensions have string, bool or int32 values.
	Extensions map[string]any
}

// Limits bound what an event may be.
type Limits struct {
	// Depth of nested arrays and objects in data: a scalar is 0, the outermost
	// array or object of data is 1. The event object around it and the array of
	// a batch do not count, so the limit is the same in every mode. 0:
	// DefaultDepth.
	Depth int
}

func (l Limits) depth() int {
	if l.Depth <= 0 {
		return DefaultDepth
	}
	return l.Depth
}

// ParseEvent decodes the CloudEvents JSON event format (one event). The text is
// not kept. Member names must be unique at every level, strings valid UTF-8
// without lone surrogates, numbers within the range of float64; nothing but
// white space may follow the object. The error is an *EventError.
func ParseEvent(text []byte, lim Limits) (*Event, error) {
	s, _ := scanners.Get().(*scan.Scanner)
	defer release(s)
	end, err := s.Scan(text, 0, lim.depth()+1)
	if err != nil {
		return nil, scanError(err, lim)
	}
	ev, fault := parseObject(s)
	if fault != nil {
		return nil, fault
	}
	if fault := atEnd(text, end); fault != nil {
		return nil, fault
	}
	if at := s.TooLarge(); at >= 0 {
		return nil, badNumber(at)
	}
	return ev, nil
}

// storedDepth is deeper than any limit that an event can have passed, and less
// than jsontext's own.
const storedDepth = 9_000

// ParseStored decodes an event that was accepted before, whatever the limits
// were then. The error is as that of ParseEvent.
func ParseStored(text []byte) (*Event, error) {
	ev, err := ParseEvent(text, Limits{Depth: storedDepth})
	if err != nil {
		return nil, err
	}
	putBack(ev.take()) // few are matched again, and many are held
	return ev, nil
}

// NewEvent makes an event from attributes and data as a transport has them. data
// nil or empty means no data. Data of a JSON media type (subtype json or +json;
// also when DataContentType is not set) is checked as JSON, with the rules of
// ParseEvent; text/* that is valid UTF-8, and is not said to be of another
// charset, is kept as text and anything else as bytes. Neither the map nor data is kept. The error is an *EventError whose
// Offset, if any, is one in data.
func NewEvent(a Attributes, data []byte, lim Limits) (*Event, error) {
	a.Extensions = maps.Clone(a.Extensions)
	ev := &Event{attrs: a}
	if err := ev.check(); err != nil {
		return nil, err
	}
	if len(data) > maxData {
		return nil, &EventError{Code: CodeBadData, Attribute: "data", Offset: maxData, Msg: "data is longer than an event can hold"}
	}
	mt := mediaType(a.DataContentType)
	switch {
	case len(data) == 0:
		ev.render(nil, scan.Value{})
	case a.DataContentType == "" || mt.json():
		s, _ := scanners.Get().(*scan.Scanner)
		defer release(s)
		v, err := scanJSON(s, data, lim)
		if err != nil {
			return nil, err
		}
		ev.kind = dataJSON
		ev.render(nil, v)
	case mt.text() && utf8.Valid(data):
		text, err := jsontext.AppendQuote(nil, data)
		if err != nil {
			return nil, &EventError{Code: CodeBadData, Offset: -1, Msg: "data is not text"}
		}
		ev.kind = dataText
		ev.render(text, scan.Value{})
	default:
		text := make([]byte, 0, 2+base64.StdEncoding.EncodedLen(len(data)))
		text = append(base64.StdEncoding.AppendEncode(append(text, '"'), data), '"')
		ev.kind = dataBase64
		ev.render(text, scan.Value{})
	}
	return ev, nil
}

// WithExtension returns the event with an extension set: a string, bool or
// int32. The error is an *EventError.
func (e *Event) WithExtension(name string, value any) (*Event, error) {
	out := &Event{attrs: e.attrs, kind: e.kind}
	out.attrs.Extensions = maps.Clone(e.attrs.Extensions)
	if out.attrs.Extensions == nil {
		out.attrs.Extensions = make(map[string]any, 1)
	}
	out.attrs.Extensions[name] = value
	if err := out.check(); err != nil {
		return nil, err
	}
	doc := e.take()
	defer putBack(doc)
	out.render(nil, doc.Root().Member(e.kind.member()))
	return out, nil
}

// ID returns the id attribute.
func (e *Event) ID() string { return e.attrs.ID }

// Source returns the source attribute.
func (e *Event) Source() string { return e.attrs.Source }

// Type returns the type attribute.
func (e *Event) Type() string { return e.attrs.Type }

// Attributes returns the context attributes; the map must not be changed.
func (e *Event) Attributes() Attributes { return e.attrs }

// Attribute returns one context attribute by its name: a string for those of the
// specification (specversion included), a string, bool or int32 for an
// extension. ok is false when it is not set. data is no attribute.
func (e *Event) Attribute(name string) (value any, ok bool) {
	if name == "specversion" {
		return SpecVersion, true
	}
	if p := e.attrs.known(name); p != nil {
		if *p == "" {
			return nil, false
		}
		return *p, true
	}
	value, ok = e.attrs.Extensions[name]
	return value, ok
}

// Time returns the time attribute, zero when it is not set. Digits beyond
// nanoseconds are cut off.
func (e *Event) Time() time.Time {
	t, _ := parseTime(e.attrs.Time)
	return t
}

// JSON returns the event in the CloudEvents JSON format: specversion, id,
// source, type, then the other attributes by name, then data as it was sent
// (numbers of any length, escapes and inner white space included) or
// data_base64.
func (e *Event) JSON() []byte { return e.json }

// Data returns the value of the data member as JSON text as it was sent, nil
// when the event has no data or has data_base64.
func (e *Event) Data() []byte {
	if e.kind == dataBase64 {
		return nil
	}
	return e.data
}

// Digest tells contents apart: it is equal for the same attributes and the same
// data after decoding, in whichever HTTP mode they came and whatever the white
// space, member order or escapes. Extensions count by their canonical text
// (binary mode knows nothing but text), numbers in data by theirs: 1 and 1.0
// have two digests although Same holds. Text and bytes of one media type are
// compared as bytes.
func (e *Event) Digest() [16]byte {
	e.digestOnce.Do(func() { e.digest = e.sum() })
	return e.digest
}

// Value returns the event as expressions see it: the JSON format decoded once,
// integers within int64 as int64, other numbers as float64. Read only.
func (e *Event) Value() map[string]any {
	e.valueMu.Lock()
	defer e.valueMu.Unlock()
	if e.value == nil {
		doc := e.take()
		defer putBack(doc)
		e.value, _ = doc.Root().Any().(map[string]any)
	}
	return e.value
}

// Forget drops the decoded form, which may take twenty times the memory of the
// text; Value makes it again.
func (e *Event) Forget() {
	e.valueMu.Lock()
	defer e.valueMu.Unlock()
	e.value = nil
}

// known returns the field of an optional or required attribute of the
// specification, nil for any other name.
func (a *Attributes) known(name string) *string {
	switch name {
	case "id":
		return &a.ID
	case "source":
		return &a.Source
	case "type":
		return &a.Type
	case "subject":
		return &a.Subject
	case "time":
		return &a.Time
	case "datacontenttype":
		return &a.DataContentType
	case "dataschema":
		return &a.DataSchema
	}
	return nil
}

// each calls text for every attribute that is set and is one of the specification,
// required ones first and then by name, and ext for the extensions between them.
func (e *Event) each(text func(name, value string), ext func(name string, value any)) {
	text("specversion", SpecVersion)
	text("id", e.attrs.ID)
	text("source", e.attrs.Source)
	text("type", e.attrs.Type)
	rest := e.names
	for _, name := range [...]string{"datacontenttype", "dataschema", "subject", "time"} {
		for len(rest) > 0 && rest[0] < name {
			ext(rest[0], e.attrs.Extensions[rest[0]])
			rest = rest[1:]
		}
		if v := *e.attrs.known(name); v != "" {
			text(name, v)
		}
	}
	for _, name := range rest {
		ext(name, e.attrs.Extensions[name])
	}
}

// render writes e.json with the data, given as a JSON string or else as a value,
// and gives the attributes of the specification memory of their own: they may be
// kept for longer than the event.
func (e *Event) render(quoted []byte, data scan.Value) {
	raw := quoted
	if raw == nil {
		raw = data.Raw()
	}
	a := &e.attrs
	// What the names and marks around them take, and the values; escapes are rare.
	size := 140 + len(a.ID) + len(a.Source) + len(a.Type) + len(a.Subject) + len(a.Time) + len(a.DataContentType) + len(a.DataSchema) + len(raw)
	doc, _ := docs.Get().(*scan.Doc)
	w := scan.NewWriter(doc, size+32*len(e.names))
	var fields [7]struct {
		field *string
		begin int
	}
	n, head := 0, 0
	e.each(func(name, value string) {
		begin := w.Text(name, value)
		field := a.known(name)
		switch {
		case field == nil:
		case begin < 0:
			*field = strings.Clone(value)
		default:
			fields[n].field, fields[n].begin = field, begin
			n, head = n+1, begin+len(value)
		}
	}, func(name string, value any) {
		switch v := value.(type) {
		case string:
			w.Text(name, v)
		case bool:
			w.Bool(name, v)
		case int32:
			w.Int(name, int64(v))
		}
	})
	switch {
	case quoted != nil:
		w.Quoted(e.kind.member(), quoted)
	case e.kind != noData:
		w.Value(e.kind.member(), data)
	}
	e.json = w.End()
	text := string(e.json[:head])
	for _, f := range fields[:n] {
		*f.field = text[f.begin : f.begin+len(*f.field)]
	}
	if e.kind != noData {
		end := len(e.json) - 1
		e.data = e.json[end-len(raw) : end : end]
	}
	e.scanned.Store(doc)
}

// take returns e.json scanned, to be put back. The scan of ParseEvent or NewEvent
// is for the first who asks, which is all but always the matching that follows;
// others scan the text again. So an event that is kept for long, or by the
// thousand, does not keep twice its size.
func (e *Event) take() *scan.Doc {
	if doc := e.scanned.Swap(nil); doc != nil {
		return doc
	}
	s, _ := scanners.Get().(*scan.Scanner)
	defer release(s)
	doc, _ := docs.Get().(*scan.Doc)
	_, _ = s.Scan(e.json, 0, storedDepth+1) // it is valid
	s.Move(doc)
	return doc
}

// sum hashes the mode-independent form: each attribute and the data, all with
// their lengths, so that no two events share a form.
func (e *Event) sum() [16]byte {
	buf := make([]byte, 0, 512+len(e.data))
	e.eachOfContent(func(name, text string) {
		buf = append(append(buf, name...), 0)
		buf = binary.AppendUvarint(buf, uint64(len(text)))
		buf = append(buf, text...)
	})
	// No attribute name is empty: what follows cannot be taken for one.
	buf = append(buf, 0)
	switch e.kind {
	case noData:
	case dataJSON:
		buf = append(buf, 'j')
		doc := e.scanned.Swap(nil)
		if doc != nil {
			defer e.scanned.Store(doc) // for the matching
		} else {
			doc = e.take()
			defer putBack(doc)
		}
		buf = doc.Root().Member(e.kind.member()).AppendSorted(buf)
	case dataText:
		buf = append(buf, 'b')
		buf, _ = jsontext.AppendUnquote(buf, e.data)
	case dataBase64:
		buf = append(buf, 'b')
		buf, _ = base64.StdEncoding.AppendDecode(buf, e.data[1:len(e.data)-1])
	}
	sum := sha256.Sum256(buf)
	return [16]byte(sum[:16])
}

// canonicalText is the canonical string form of an attribute value.
func canonicalText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int32:
		return strconv.FormatInt(int64(v), 10)
	}
	return ""
}

// sortedNames lists the keys of m in order.
func sortedNames(m map[string]any) []string {
	if len(m) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(m))
}
