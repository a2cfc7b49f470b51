package strictyaml

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

type kind uint8

const (
	badKind kind = iota // refused while parsing
	nullKind
	boolKind
	intKind
	floatKind
	textKind
	listKind
	mapKind
)

var kindNames = [...]string{
	"something else", "nothing", "true or false", "an integer", "a number", "text", "a list", "a mapping",
}

type style uint8

const (
	plain style = iota
	singleQuoted
	doubleQuoted
	literal
	folded
)

// Node is one value of a document. All methods may be called on nil, which
// stands for a value that is not there.
type Node struct {
	doc       *Document
	line, col int
	kind      kind
	style     style
	text      string // of every scalar
	comment   bool   // one follows the scalar
	value     any    // bool, int64 or float64
	keys      []*Node
	items     []*Node
}

// Pos returns where the node begins, 0 and 0 for nil.
func (n *Node) Pos() (line, col int) {
	if n == nil {
		return 0, 0
	}
	return n.line, n.col
}

// File returns the name of the node's file, "" for nil.
func (n *Node) File() string {
	if n == nil {
		return ""
	}
	return n.doc.name
}

// CutByComment tells whether a comment ends a text that is not in quotes, so that
// what looks like a part of it may be none.
func (n *Node) CutByComment() bool { return n != nil && n.style == plain && n.comment }

// Errorf reports a problem at the node to its document; nothing for nil.
func (n *Node) Errorf(format string, args ...any) {
	if n != nil {
		n.doc.reportAt(n.line, n.col, format, args...)
	}
}

// ErrorfAt reports a problem at a byte offset of the decoded text; see At.
func (n *Node) ErrorfAt(offset int, format string, args ...any) {
	if n != nil {
		line, col := n.At(offset)
		n.doc.reportAt(line, col, format, args...)
	}
}

// Warn reports a warning of a kind, see Error.Code, at a byte offset of the
// decoded text; see At. Nothing for nil.
func (n *Node) Warn(code string, offset int, format string, args ...any) {
	if n == nil {
		return
	}
	line, col := n.line, n.col
	if n.kind != listKind && n.kind != mapKind {
		line, col = n.At(offset)
	}
	n.doc.warnings = append(n.doc.warnings,
		&Error{File: n.doc.name, Line: line, Col: col, Code: code, Msg: fmt.Sprintf(format, args...)})
}

// Secret marks the node's text as secret: no error or warning of the document,
// whether reported before or after, shows it as part of a source line.
func (n *Node) Secret() {
	if n == nil {
		return
	}
	for _, item := range n.items {
		item.Secret()
	}
	if n.kind == listKind || n.kind == mapKind {
		return
	}
	lastLine := n.lastLine()
	for line := n.line; line <= lastLine; line++ {
		s := span{0, math.MaxInt32}
		if line == n.line {
			s.from = n.col - 1
		}
		if line == lastLine {
			_, col := n.At(len(n.text))
			s.to = max(col-1, s.from+1)
			if n.style == singleQuoted || n.style == doubleQuoted {
				s.to++
			}
		}
		s.to = min(s.to, max(len([]rune(n.doc.lineText(line))), s.from+1))
		n.doc.masked[line] = append(n.doc.masked[line], s)
	}
}

// IsNull tells whether the value is written but empty, or null.
func (n *Node) IsNull() bool { return n != nil && n.kind == nullKind }

// IsText tells whether the value is text.
func (n *Node) IsText() bool { return n != nil && n.kind == textKind }

// IsList tells whether the value is a list.
func (n *Node) IsList() bool { return n != nil && n.kind == listKind }

// IsMap tells whether the value is a mapping.
func (n *Node) IsMap() bool { return n != nil && n.kind == mapKind }

// Want reports that the value is of another kind than the wanted one; nothing
// for nil.
func (n *Node) Want(what string) { n.want(what, "") }

// want is Want with advice.
func (n *Node) want(what, advice string) {
	switch {
	case n == nil || n.kind == badKind:
	case n.kind == nullKind:
		n.Errorf("a value is missing: want %s (give one, or remove the key)", what)
	case advice == "":
		n.Errorf("want %s, got %s", what, kindNames[n.kind])
	default:
		n.Errorf("want %s, got %s (%s)", what, kindNames[n.kind], advice)
	}
}

// unquoted advises to take the quotes off a text that would be right without.
func (n *Node) unquoted(right bool) string {
	if n.kind == textKind && right {
		return "remove the quotes"
	}
	return ""
}

// Text returns the text of a string. A number or boolean is refused, because
// YAML would have changed how it is written.
func (n *Node) Text() (string, bool) {
	switch {
	case n == nil:
		return "", false
	case n.kind == textKind:
		return n.text, true
	case n.kind == boolKind || n.kind == intKind || n.kind == floatKind:
		n.Errorf("want text, got %s (write \"%s\" in quotes)", kindNames[n.kind], n.text)
	default:
		n.Want("text")
	}
	return "", false
}

// Written returns a string, number or boolean as it is written, for values that
// are texts of a language of their own.
func (n *Node) Written() (string, bool) {
	if n != nil && (n.kind == boolKind || n.kind == intKind || n.kind == floatKind) {
		return n.text, true
	}
	return n.Text()
}

// Bool returns a boolean; only true and false are ones.
func (n *Node) Bool() (value, ok bool) {
	if n == nil {
		return false, false
	}
	if n.kind != boolKind {
		n.want("true or false", n.unquoted(n.text == "true" || n.text == "false"))
		return false, false
	}
	return n.value.(bool), true
}

// Int returns an integer between low and high, both included.
func (n *Node) Int(low, high int64) (int64, bool) {
	if n == nil {
		return 0, false
	}
	if n.kind != intKind {
		_, err := strconv.ParseInt(n.text, 10, 64)
		n.want("an integer", n.unquoted(err == nil))
		return 0, false
	}
	v := n.value.(int64)
	if v < low || v > high {
		n.Errorf("%d is out of range (%d to %d)", v, low, high)
		return 0, false
	}
	return v, true
}

// Float returns a number.
func (n *Node) Float() (float64, bool) {
	if n == nil {
		return 0, false
	}
	switch n.kind {
	case intKind:
		return float64(n.value.(int64)), true
	case floatKind:
		return n.value.(float64), true
	}
	n.Want("a number")
	return 0, false
}

// Duration returns a duration as ParseDuration reads it.
func (n *Node) Duration() (time.Duration, bool) {
	return quantity(n, "a duration such as \"30s\"", ParseDuration)
}

// Size returns a number of bytes as ParseSize reads it.
func (n *Node) Size() (int64, bool) {
	return quantity(n, "a size such as \"1MiB\"", ParseSize)
}

func quantity[T any](n *Node, what string, parse func(string) (T, error)) (T, bool) {
	var zero T
	if n == nil {
		return zero, false
	}
	if n.kind != textKind && n.kind != intKind && n.kind != floatKind {
		n.Want(what)
		return zero, false
	}
	v, err := parse(n.text)
	if err != nil {
		n.Errorf("%s", err)
		return zero, false
	}
	return v, true
}

// List returns the items of a list.
func (n *Node) List() ([]*Node, bool) {
	if n == nil {
		return nil, false
	}
	if n.kind != listKind {
		advice := ""
		if n.kind != mapKind {
			advice = "put it in [ ]"
		}
		n.want("a list", advice)
		return nil, false
	}
	return n.items, true
}

// Texts returns a list of strings.
func (n *Node) Texts() ([]string, bool) {
	items, ok := n.List()
	out := make([]string, 0, len(items))
	for _, item := range items {
		s, good := item.Text()
		ok = ok && good
		out = append(out, s)
	}
	return out, ok
}

// Any returns the value as nil, bool, int64, float64, string, []any or
// map[string]any.
func (n *Node) Any() (any, bool) {
	if n == nil || n.kind == badKind {
		return nil, false
	}
	switch n.kind {
	case nullKind:
		return nil, true
	case textKind:
		return n.text, true
	case listKind:
		out := make([]any, len(n.items))
		for i, item := range n.items {
			out[i], _ = item.Any()
		}
		return out, true
	case mapKind:
		out := make(map[string]any, len(n.items))
		for i, item := range n.items {
			out[n.keys[i].text], _ = item.Any()
		}
		return out, true
	}
	return n.value, true
}

// Entry is one key of a mapping and its value.
type Entry struct {
	Key *Node
	// Name is the key's text.
	Name  string
	Value *Node
}

// Entries returns the entries of a mapping with free keys, in file order.
func (n *Node) Entries() ([]Entry, bool) {
	if n == nil {
		return nil, false
	}
	if n.kind != mapKind {
		n.Want("a mapping")
		return nil, false
	}
	out := make([]Entry, len(n.keys))
	for i, k := range n.keys {
		out[i] = Entry{Key: k, Name: k.text, Value: n.items[i]}
	}
	return out, true
}

// Map is a mapping whose keys are known. All methods may be called on nil.
type Map struct{ node *Node }

// maxAdvised is the most keys that are told of what should be a mapping.
const maxAdvised = 10

// Map returns a mapping with the known keys. Every other key is reported, with
// the known one it is most like. It returns nil when the value is not a
// mapping; an empty document counts as an empty mapping.
func (n *Node) Map(known ...string) *Map {
	if n == nil {
		return nil
	}
	if n.kind == nullKind && n == n.doc.root {
		return &Map{n}
	}
	if n.kind != mapKind {
		advice := ""
		if len(known) <= maxAdvised {
			advice = "its keys: " + strings.Join(known, ", ")
		}
		n.want("a mapping", advice)
		return nil
	}
	for _, key := range n.keys {
		if !slices.Contains(known, key.text) {
			key.Errorf("unknown key %q (%s)", key.text, Suggest(key.text, known))
		}
	}
	return &Map{n}
}

// Node returns the mapping itself, to report at.
func (m *Map) Node() *Node {
	if m == nil {
		return nil
	}
	return m.node
}

// Key returns the value of a key, nil when it is left out.
func (m *Map) Key(name string) *Node {
	if m == nil {
		return nil
	}
	for i, k := range m.node.keys {
		if k.text == name {
			return m.node.items[i]
		}
	}
	return nil
}

// KeyNode returns the key itself, to report at; nil when it is left out.
func (m *Map) KeyNode(name string) *Node {
	if m == nil {
		return nil
	}
	for _, k := range m.node.keys {
		if k.text == name {
			return k
		}
	}
	return nil
}

// Required is Key, and reports a key that is left out.
func (m *Map) Required(name string) *Node {
	if m == nil {
		return nil
	}
	n := m.Key(name)
	if n == nil {
		m.node.Errorf("%q is missing", name)
	}
	return n
}

// Suggest returns advice for an unknown name: the known one it is most like,
// or all known ones when none is like it.
func Suggest(name string, known []string) string {
	best, at := math.MaxInt, ""
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < best {
			best, at = d, k
		}
	}
	if at != "" && best <= max(1, min(len(name), len(at))/3) {
		return fmt.Sprintf("did you mean %q?", at)
	}
	if len(known) == 0 {
		return "no name is known here"
	}
	return "known: " + strings.Join(known, ", ")
}

// distance counts insertions, deletions, replacements and swaps of neighbours
// that turn a into b. Names that are too long to be alike are not compared.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return math.MaxInt
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
