// Package scan reads JSON text once: it checks every byte of it and notes where
// the values lie, without making them. What is looked at is found by these
// notes, and becomes a Go value only when it is asked for.
//
// A text is valid as RFC 8259 says, in UTF-8, with more that the RFC leaves open:
// member names are unique in each object, escapes make no lone surrogates, and
// arrays and objects are nested no deeper than a limit.
package scan

import (
	"bytes"
	"strconv"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxText is the longest text, in bytes.
const MaxText = 1<<offsetBits - 1

// Kind is what a value is.
type Kind uint8

// The kinds. A number is an Int when it has neither fraction nor exponent,
// however long it is.
const (
	None Kind = iota // no value
	Null
	False
	True
	Int
	Float
	Text
	escaped // Text with escapes
	List
	Map
)

// node is a value or a member name: its kind, the offset where it begins and its
// size in bytes; of a Text both are those of what the quotes enclose. A List or
// Map has instead of its size the position of the node behind all that is in it,
// and is followed by a word with the number of its elements or members and the
// offset of its end. A member is a name and a value.
type node uint64

const offsetBits = 30

func newNode(k Kind, begin, size int) node {
	return node(k)<<(2*offsetBits) | node(begin)<<offsetBits | node(size)
}

func (n node) kind() Kind { return Kind(n >> (2 * offsetBits)) }
func (n node) begin() int { return int(n >> offsetBits & MaxText) }
func (n node) size() int  { return int(n & MaxText) }

// header is how many nodes a List or Map has before what is in it.
const header = 2

// Doc is a valid JSON text and where its values lie. It is safe for concurrent
// use until it is forgotten; its text never changes.
type Doc struct {
	text  []byte
	nodes []node
}

// Text returns the JSON text, which must not be changed.
func (d *Doc) Text() []byte { return d.text }

// Forget lets go of the text, so that the memory of d can be used for another one:
// no Value of it may be used any more, but Go values made of it may.
func (d *Doc) Forget() {
	d.text = nil
	if d.nodes = d.nodes[:0]; cap(d.nodes) > keptNodes {
		d.nodes = nil
	}
}

// Root is the outermost value.
func (d *Doc) Root() Value {
	if len(d.nodes) == 0 {
		return Value{}
	}
	return Value{d, 0}
}

// At is the value with an ID.
func (d *Doc) At(id int) Value { return Value{d, id} }

// Value is one value of a Doc. The zero Value is none: its kind is None, and
// nothing is in it.
type Value struct {
	doc *Doc
	at  int
}

// Kind tells what v is.
func (v Value) Kind() Kind {
	if v.doc == nil {
		return None
	}
	if k := v.doc.nodes[v.at].kind(); k != escaped {
		return k
	}
	return Text
}

// ID tells the values of one Doc apart.
func (v Value) ID() int { return v.at }

// Len is the number of elements of a List and of members of a Map, else 0.
func (v Value) Len() int {
	if k := v.Kind(); k != List && k != Map {
		return 0
	}
	return v.doc.nodes[v.at+1].begin()
}

// Raw is the JSON text of v, a part of the text of its Doc.
func (v Value) Raw() []byte {
	if v.doc == nil {
		return nil
	}
	begin, end := v.span()
	return v.doc.text[begin:end:end]
}

// Begin is the offset where v begins in the text of its Doc.
func (v Value) Begin() int {
	begin, _ := v.span()
	return begin
}

// End is the offset behind v in the text of its Doc.
func (v Value) End() int {
	_, end := v.span()
	return end
}

func (v Value) span() (begin, end int) {
	n := v.doc.nodes[v.at]
	switch n.kind() {
	case Text, escaped:
		return n.begin() - 1, n.begin() + n.size() + 1
	case List, Map:
		return n.begin(), v.doc.nodes[v.at+1].size()
	}
	return n.begin(), n.begin() + n.size()
}

// behind is the position of the node behind that at i and what is in it.
func (d *Doc) behind(i int) int {
	if n := d.nodes[i]; n.kind() >= List {
		return n.size()
	}
	return i + 1
}

// Members goes over the members of a Map in the order of the text; of anything
// else there are none.
func (v Value) Members(yield func(name, value Value) bool) {
	if v.Kind() != Map {
		return
	}
	d, end := v.doc, v.doc.nodes[v.at].size()
	for i := v.at + header; i < end; i = d.behind(i + 1) {
		if !yield(Value{d, i}, Value{d, i + 1}) {
			return
		}
	}
}

// Elements goes over the elements of a List; of anything else there are none.
func (v Value) Elements(yield func(Value) bool) {
	if v.Kind() != List {
		return
	}
	d, end := v.doc, v.doc.nodes[v.at].size()
	for i := v.at + header; i < end; i = d.behind(i) {
		if !yield(Value{d, i}) {
			return
		}
	}
}

// Member is the member of a Map, none where there is no such member. It takes a
// time that grows with the number of members.
func (v Value) Member(name string) Value {
	if v.Kind() != Map {
		return Value{}
	}
	d := v.doc
	nodes := d.nodes[:d.nodes[v.at].size()]
	like := newNode(Text, 0, len(name)) // without its offset
	for i := v.at + header; i+1 < len(nodes); {
		n := nodes[i]
		switch {
		case n&^(MaxText<<offsetBits) == like:
			if begin := n.begin(); string(d.text[begin:begin+len(name)]) == name {
				return Value{d, i + 1}
			}
		case n.kind() == escaped:
			if (Value{d, i}).Text() == name {
				return Value{d, i + 1}
			}
		}
		if n = nodes[i+1]; n.kind() >= List {
			i = n.size()
		} else {
			i += 2
		}
	}
	return Value{}
}

// Element is the i-th element of a List, counted from its end when i is
// negative, and none where there is no such element. It takes a time that grows
// with the length of the list.
func (v Value) Element(i int64) Value {
	if v.Kind() != List {
		return Value{}
	}
	if i < 0 {
		i += int64(v.Len())
	}
	if i < 0 || i >= int64(v.Len()) {
		return Value{}
	}
	at := v.at + header
	for ; i > 0; i-- {
		at = v.doc.behind(at)
	}
	return Value{v.doc, at}
}

// Text is what a Text says, "" for anything else. Without escapes it shares the
// memory of the Doc.
func (v Value) Text() string {
	if v.doc == nil {
		return ""
	}
	switch n := v.doc.nodes[v.at]; n.kind() {
	case Text:
		return shared(v.doc.text[n.begin() : n.begin()+n.size()])
	case escaped:
		out, _ := jsontext.AppendUnquote(nil, v.Raw()) // valid
		return shared(out)
	}
	return ""
}

// Plain is Text where the text has no escapes.
func (v Value) Plain() (text string, ok bool) {
	if v.doc == nil || v.doc.nodes[v.at].kind() != Text {
		return "", false
	}
	return v.Text(), true
}

// shared is b as a string without a copy. The text of a Doc is never changed.
func shared(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Number is an Int or Float as the nearest float64.
func (v Value) Number() (f float64, ok bool) {
	switch v.Kind() {
	case Int:
		if n, ok := smallInt(v.Raw()); ok {
			return float64(n), true
		}
	case Float:
	default:
		return 0, false
	}
	f, _ = strconv.ParseFloat(shared(v.Raw()), 64)
	return f, true
}

// smallInt reads an integer of at most 18 digits.
func smallInt(text []byte) (n int64, ok bool) {
	digits := bytes.TrimPrefix(text, []byte{'-'})
	if len(digits) > 18 {
		return 0, false
	}
	for _, c := range digits {
		n = n*10 + int64(c-'0')
	}
	if len(digits) < len(text) {
		n = -n
	}
	return n, true
}

// Scalar is v as a Go value: nil, bool, string, int64 for an Int within its
// range, else float64. A List or Map has none.
func (v Value) Scalar() any {
	switch v.Kind() {
	case False:
		return false
	case True:
		return true
	case Text:
		return v.Text()
	case Int:
		text := v.Raw()
		if n, ok := smallInt(text); ok {
			return n
		}
		if n, err := strconv.ParseInt(shared(text), 10, 64); err == nil {
			return n
		}
		f, _ := v.Number()
		return f
	case Float:
		f, _ := v.Number()
		return f
	}
	return nil
}

// Any is v as a Go value: a Scalar, []any or map[string]any. Its texts share the
// memory of the Doc.
func (v Value) Any() any { return v.AnyBut(nil) }

// AnyBut is Any with the lists and maps that made knows already, unless it is
// nil; it need not know any.
func (v Value) AnyBut(made func(Value) (any, bool)) any {
	switch v.Kind() {
	case List:
		if made != nil {
			if known, ok := made(v); ok {
				return known
			}
		}
		list := make([]any, 0, v.Len())
		for e := range v.Elements {
			list = append(list, e.AnyBut(made))
		}
		return list
	case Map:
		if made != nil {
			if known, ok := made(v); ok {
				return known
			}
		}
		m := make(map[string]any, v.Len())
		for name, e := range v.Members {
			m[name.Text()] = e.AnyBut(made)
		}
		return m
	}
	return v.Scalar()
}
