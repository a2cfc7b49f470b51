package scan

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Writer writes an object and notes where its members lie: what it writes need
// not be scanned again. The caller sees to it that no name is there twice.
type Writer struct {
	doc   *Doc
	text  []byte
	nodes []node
	count int
}

// NewWriter makes a writer of an object of about size bytes. doc, which has been
// forgotten or is new, becomes what is written; its text is memory of its own.
func NewWriter(doc *Doc, size int) Writer {
	w := Writer{doc: doc, text: make([]byte, 0, size), nodes: doc.nodes[:0]}
	w.text = append(w.text, '{')
	w.nodes = append(w.nodes, 0, 0)
	return w
}

// name begins a member. The name needs no escapes.
func (w *Writer) name(name string) {
	if w.count++; w.count > 1 {
		w.text = append(w.text, ',')
	}
	w.text = append(append(append(w.text, '"'), name...), `":`...)
	w.nodes = append(w.nodes, newNode(Text, len(w.text)-2-len(name), len(name)))
}

// Text adds a member that is a text in UTF-8, and returns the offset at which it
// stands as it is, -1 if it needed escapes.
func (w *Writer) Text(name, value string) int {
	w.name(name)
	begin := len(w.text)
	w.text, _ = jsontext.AppendQuote(w.text, value) // its only error is invalid UTF-8
	w.quoted(begin)
	if len(w.text)-begin-2 != len(value) {
		return -1
	}
	return begin + 1
}

// Quoted adds a member that is a text, given as a JSON string.
func (w *Writer) Quoted(name string, value []byte) {
	w.name(name)
	begin := len(w.text)
	w.text = append(w.text, value...)
	w.quoted(begin)
}

// quoted notes the JSON string that was written last.
func (w *Writer) quoted(begin int) {
	k := Text
	if bytes.IndexByte(w.text[begin:], '\\') >= 0 {
		k = escaped
	}
	w.nodes = append(w.nodes, newNode(k, begin+1, len(w.text)-begin-2))
}

// Bool adds a member that is true or false.
func (w *Writer) Bool(name string, value bool) {
	w.name(name)
	k, begin := False, len(w.text)
	if value {
		k = True
	}
	w.text = strconv.AppendBool(w.text, value)
	w.nodes = append(w.nodes, newNode(k, begin, len(w.text)-begin))
}

// Int adds a member that is an integer.
func (w *Writer) Int(name string, value int64) {
	w.name(name)
	begin := len(w.text)
	w.text = strconv.AppendInt(w.text, value, 10)
	w.nodes = append(w.nodes, newNode(Int, begin, len(w.text)-begin))
}

// Value adds a member that is a value of another text, byte for byte.
func (w *Writer) Value(name string, v Value) {
	w.name(name)
	by, from := len(w.text), len(w.nodes)
	begin, end := v.span()
	w.text = append(w.text, v.doc.text[begin:end]...)
	w.nodes = append(w.nodes, v.doc.nodes[v.at:v.doc.behind(v.at)]...)
	// Both may be negative: a node is a sum of its parts, so a difference moves them.
	offset, place := by-begin, from-v.at
	moved := w.nodes[from:]
	for i := 0; i < len(moved); i++ {
		moved[i] += node(offset) << offsetBits
		if moved[i].kind() >= List {
			moved[i] += node(place)
			i++
			moved[i] += node(offset)
		}
	}
}

// End ends the object and returns its text. The Writer is of no use afterwards.
func (w *Writer) End() []byte {
	w.text = append(w.text, '}')
	w.nodes[0] = newNode(Map, 0, len(w.nodes))
	w.nodes[1] = newNode(0, w.count, len(w.text))
	*w.doc = Doc{w.text, w.nodes}
	return w.text
}
