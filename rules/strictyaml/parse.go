// Package strictyaml reads the small, safe part of YAML that configuration
// and rule files are written in, and says where everything stands.
//
// It hides the YAML library, its node tree and its YAML 1.1 leanings: there
// are no anchors, aliases, merge keys, tags, duplicate keys or second
// documents, keys are text, and a scalar means what the YAML 1.2 core schema
// says (yes, no, on and off are text). What YAML readers disagree about, such
// as 010, is refused with advice instead of guessed.
//
// A caller parses a file, walks it with Node and Map, and asks the Document
// for all problems at once:
//
//	doc, err := strictyaml.Parse(name, data)
//	...
//	m := doc.Root().Map("name", "timeout")
//	name, _ := m.Required("name").Text()
//	if d, ok := m.Key("timeout").Duration(); ok { ... }
//	return doc.Err()
//
// Every accessor works on a nil Node and answers false there, so a key that
// was left out keeps its default without a branch. An accessor that finds the
// wrong thing reports it to the Document and answers false.
//
// A Document and its nodes are not safe for concurrent use.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// MaxSize is the largest file that Parse takes, in bytes.
const MaxSize = 64 << 20

// maxDepth is how deeply lists and mappings may be nested.
const maxDepth = 100

// maxErrors is how many problems of a document are kept; nobody reads more.
const maxErrors = 500

// Document is one parsed file and the problems found in it so far.
type Document struct {
	name     string
	data     []byte // without a byte order mark
	lines    []int  // offset of the start of each line
	root     *Node
	errs     Errors
	warnings Errors
	masked   map[int][]span // by line
}

// Parse reads one YAML document. name is the file's name as errors show it.
// The error is an Errors with every problem of structure; after a syntax error
// that is the only one. An empty file is a document whose root is null.
func Parse(name string, data []byte) (*Document, error) {
	d := &Document{name: name, masked: map[int][]span{}}
	if len(data) > MaxSize {
		return nil, Errors{{File: name, Line: 1, Col: 1, Msg: fmt.Sprintf(
			"file has %d bytes, the limit is %d (split it)", len(data), MaxSize)}}
	}
	d.data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	d.lines = lineStarts(d.data)
	if !d.checkText() {
		return nil, d.Err()
	}
	raw, ok := d.load()
	if !ok {
		return nil, d.Err()
	}
	if raw == nil {
		d.root = &Node{doc: d, kind: nullKind, line: 1, col: 1}
		return d, nil
	}
	d.root = d.convert(raw, 1)
	if err := d.Err(); err != nil {
		return nil, err
	}
	return d, nil
}

// Root returns the document's value.
func (d *Document) Root() *Node { return d.root }

// Name returns the file's name as given to Parse.
func (d *Document) Name() string { return d.name }

// Err returns every problem reported so far as a sorted Errors, or nil. Only
// the first 500 reported are kept.
func (d *Document) Err() error {
	if len(d.errs) == 0 {
		return nil
	}
	return d.shown(d.errs)
}

// Warnings returns every warning reported so far, sorted.
func (d *Document) Warnings() []*Error { return d.shown(d.warnings) }

// Problem returns an error at a position of the file without adding it to
// Err, for what is found only later, such as a plugin that does not fit.
func (d *Document) Problem(line, col int, format string, args ...any) *Error {
	return d.shown(Errors{{File: d.name, Line: line, Col: col, Msg: fmt.Sprintf(format, args...)}})[0]
}

// shown returns a sorted copy with source lines. It is done late, so that a
// secret is masked in the errors that were reported before it was known.
func (d *Document) shown(list Errors) Errors {
	out := make(Errors, len(list))
	for i, e := range list {
		c := *e
		c.show(d.lineText(c.Line), d.masked[c.Line])
		out[i] = &c
	}
	return out.Sort()
}

func (d *Document) reportAt(line, col int, format string, args ...any) {
	if len(d.errs) == maxErrors {
		return
	}
	d.errs = append(d.errs, &Error{File: d.name, Line: line, Col: col, Msg: fmt.Sprintf(format, args...)})
}

// checkText refuses what is not printable UTF-8 text, and the three exotic
// line breaks that YAML counts as lines and editors do not.
func (d *Document) checkText() bool {
	for i := 0; i < len(d.data); {
		r, n := utf8.DecodeRune(d.data[i:])
		var what string
		switch {
		case r == utf8.RuneError && n == 1:
			what = fmt.Sprintf("byte 0x%02x is not UTF-8 text (save the file as UTF-8)", d.data[i])
		case r == '\u0085' || r == '\u2028' || r == '\u2029' || r == '\ufeff':
			what = fmt.Sprintf("character %U is not allowed here (write \"\\u%04x\" in double quotes)", r, r)
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r >= 0x7f && r < 0xa0, r == '\ufffe', r == '\uffff':
			what = fmt.Sprintf("control character %U is not allowed (write \"\\u%04x\" in double quotes)", r, r)
		}
		if what != "" {
			line, col := d.position(i)
			d.reportAt(line, col, "%s", what)
			return false
		}
		i += n
	}
	return true
}

// load returns the only document's node, nil for an empty file, and false
// after a syntax error.
func (d *Document) load() (*yaml.Node, bool) {
	loader, err := yaml.NewLoader(bytes.NewReader(d.data))
	if err != nil {
		d.reportAt(1, 1, "%s", err)
		return nil, false
	}
	var first, second yaml.Node
	if err := loader.Load(&first); errors.Is(err, io.EOF) {
		return nil, true
	} else if err != nil {
		d.syntax(err)
		return nil, false
	}
	if err := loader.Load(&second); err == nil {
		d.reportAt(second.Line, 1, "a second document begins here (put it in a file of its own)")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
		return nil, false
	}
	if len(first.Content) == 0 {
		return nil, true
	}
	return first.Content[0], true
}

// syntax reports an error of the YAML library in our form.
func (d *Document) syntax(err error) {
	line, col, msg := 1, 1, err.Error()
	var le *yaml.LoadError
	if errors.As(err, &le) {
		msg = le.Message
		if le.Mark.Line > 0 {
			line, col = le.Mark.Line, max(le.Mark.Column, 1)
		}
		if le.ContextMark.Line > 0 && d.offset(line, col) >= len(bytes.TrimRight(d.data, " \t\r\n")) {
			// At the end of the file nobody sees what is not closed.
			line, col = le.ContextMark.Line, max(le.ContextMark.Column, 1)
		}
		if le.ContextMsg != "" {
			msg += " " + le.ContextMsg
			if le.ContextMark.Line > 0 && le.ContextMark.Line != line {
				msg += fmt.Sprintf(" that began in line %d", le.ContextMark.Line)
			}
		}
	}
	if line > len(d.lines) {
		line, col = d.position(len(d.data))
	}
	at := d.at(d.offset(line, col))
	switch {
	case strings.Contains(msg, "unknown anchor"):
		msg = "aliases are not supported (write the value out)"
	case at == '\t':
		msg = "a tab cannot indent YAML (use spaces)"
	case strings.Contains(msg, "cannot start any token") && (at == '@' || at == '`' || at == '%'):
		msg = fmt.Sprintf("a value cannot begin with %q (put it in quotes)", at)
	case strings.Contains(msg, "mapping values are not allowed"):
		msg = "a second \":\" in one value (put the value in quotes)"
	}
	d.reportAt(line, col, "%s", msg)
}

// convert turns a library node into ours, reporting what is refused.
func (d *Document) convert(y *yaml.Node, depth int) *Node {
	n := &Node{doc: d, line: y.Line, col: y.Column}
	if depth > maxDepth {
		n.Errorf("nested more than %d levels deep", maxDepth)
		return n
	}
	if y.Kind == yaml.AliasNode {
		n.Errorf("aliases are not supported (write the value out)")
		return n
	}
	if y.Anchor != "" {
		n.Errorf("anchors are not supported (remove &%s)", y.Anchor)
	}
	if y.Style&yaml.TaggedStyle != 0 || d.at(d.offset(y.Line, y.Column)) == '!' {
		n.Errorf("tags are not supported (remove the tag %s)", y.Tag)
	}
	switch y.Kind {
	case yaml.MappingNode:
		n.kind = mapKind
		d.convertMap(n, y, depth)
	case yaml.SequenceNode:
		n.kind = listKind
		for _, item := range y.Content {
			n.items = append(n.items, d.convert(item, depth+1))
		}
	default:
		n.text = y.Value
		n.style = styleOf(y.Style)
		n.comment = y.LineComment != ""
		n.resolve()
	}
	return n
}

func (d *Document) convertMap(n *Node, y *yaml.Node, depth int) {
	first := make(map[string]*Node, len(y.Content)/2)
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := d.convert(y.Content[i], depth+1), d.convert(y.Content[i+1], depth+1)
		switch {
		case key.kind == textKind && key.style == plain && key.text == "<<":
			key.Errorf("merge keys are not supported (write the keys out)")
			continue
		case key.kind == mapKind || key.kind == listKind:
			key.Errorf("a key must be text")
			continue
		case key.kind != textKind:
			if y.Content[i].Kind != yaml.AliasNode {
				key.Errorf("a key must be text (write \"%s\" in quotes)", key.text)
			}
			continue
		}
		if before := first[key.text]; before != nil {
			key.Errorf("duplicate key %q (it is in line %d already)", key.text, before.line)
			continue
		}
		first[key.text] = key
		n.keys = append(n.keys, key)
		n.items = append(n.items, value)
	}
}

func styleOf(s yaml.Style) style {
	switch {
	case s&yaml.DoubleQuotedStyle != 0:
		return doubleQuoted
	case s&yaml.SingleQuotedStyle != 0:
		return singleQuoted
	case s&yaml.LiteralStyle != 0:
		return literal
	case s&yaml.FoldedStyle != 0:
		return folded
	}
	return plain
}
