package rules

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/pointsman/pointsman/rules/expression"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// opening begins an expression inside text; closing ends it, and escaped is the
// text "${{" itself.
const (
	opening = "${{"
	closing = "}}"
	escaped = "$${{"
)

// template is a value of with: constant JSON or something that makes it.
type template struct {
	where string // the path in with, for errors: with.args[1]
	fixed []byte // JSON; nil when it depends on the event
	whole *expression.Program
	parts []part // of a text
	items []*template
	keys  []string // of a map, sorted; items are the values
	isMap bool
}

// part is literal text or an expression.
type part struct {
	text string
	prog *expression.Program
}

// noParams is the value of a step without with.
func noParams() *template { return &template{where: "with", fixed: []byte("null")} }

// fragment is a part of a text before it is compiled.
type fragment struct {
	text   string
	isExpr bool
	offset int // of text in the whole
}

// templateError is a fault in the text of a template.
type templateError struct {
	offset int
	msg    string
}

// split cuts a text into literal text and expressions.
func split(text string) ([]fragment, *templateError) {
	var out []fragment
	var plain strings.Builder
	for i := 0; i < len(text); {
		switch {
		case strings.HasPrefix(text[i:], escaped):
			plain.WriteString(opening)
			i += len(escaped)
		case strings.HasPrefix(text[i:], opening):
			start := i + len(opening)
			n := expression.End(text[start:])
			if n < 0 {
				return nil, &templateError{i, "${{ is not closed by }} (write $${{ for the text itself)"}
			}
			if plain.Len() > 0 {
				out = append(out, fragment{text: plain.String()})
				plain.Reset()
			}
			out = append(out, fragment{text[start : start+n], true, start})
			i = start + n + len(closing)
		default:
			plain.WriteByte(text[i])
			i++
		}
	}
	if plain.Len() > 0 || len(out) == 0 {
		out = append(out, fragment{text: plain.String()})
	}
	return out, nil
}

// compileTemplate compiles a value of with. Problems are reported to the nodes'
// document; the result is nil then.
func compileTemplate(c *expression.Compiler, n *strictyaml.Node, where string) *template {
	t := &template{where: where}
	ok := true
	switch {
	case n.IsText():
		return compileText(c, n, t)
	case n.IsList():
		items, _ := n.List()
		for i, item := range items {
			sub := compileTemplate(c, item, where+"["+strconv.Itoa(i)+"]")
			ok = ok && sub != nil
			t.items = append(t.items, sub)
		}
	case n.IsMap():
		t.isMap = true
		entries, _ := n.Entries()
		for _, e := range sortedEntries(entries) {
			if strings.Contains(e.Name, opening) {
				e.Key.Errorf("a key of with cannot be computed (write the expression as the value)")
			}
			sub := compileTemplate(c, e.Value, where+"."+e.Name)
			ok = ok && sub != nil
			t.keys = append(t.keys, e.Name)
			t.items = append(t.items, sub)
		}
	default:
		v, good := n.Any()
		if !good {
			return nil
		}
		t.fixed, _ = expression.AppendJSON(nil, v) // a scalar of YAML is one of JSON
		return t
	}
	if !ok {
		return nil
	}
	return t.fold()
}

// fold makes a list or map of constants one constant.
func (t *template) fold() *template {
	for _, item := range t.items {
		if item.fixed == nil {
			return t
		}
	}
	fixed, _ := t.append(nil, nil) // constants cannot fail
	return &template{where: t.where, fixed: fixed}
}

func compileText(c *expression.Compiler, n *strictyaml.Node, t *template) *template {
	text, _ := n.Text()
	fragments, bad := split(text)
	if bad != nil {
		n.ErrorfAt(bad.offset, "%s", bad.msg)
		return nil
	}
	ok := true
	for _, f := range fragments {
		p := part{text: f.text}
		if f.isExpr {
			p.prog = compileExpression(c, n, f.text, f.offset)
			ok = ok && p.prog != nil
		}
		t.parts = append(t.parts, p)
	}
	switch {
	case !ok:
		return nil
	case len(t.parts) == 1 && t.parts[0].prog != nil:
		t.whole, t.parts = t.parts[0].prog, nil
	case len(t.parts) == 1:
		t.fixed, _ = expression.AppendJSON(nil, t.parts[0].text)
		t.parts = nil
	}
	return t
}

// render returns the value as JSON.
func (t *template) render(s *expression.State) ([]byte, error) {
	if t.fixed != nil {
		return t.fixed, nil
	}
	return t.append(make([]byte, 0, 128), s)
}

func (t *template) append(dst []byte, s *expression.State) ([]byte, error) {
	switch {
	case t.fixed != nil:
		return append(dst, t.fixed...), nil
	case t.whole != nil:
		return t.appendWhole(dst, s)
	case t.parts != nil:
		return t.appendText(dst, s)
	}
	open, end := byte('['), byte(']')
	if t.isMap {
		open, end = '{', '}'
	}
	dst = append(dst, open)
	var err error
	for i, item := range t.items {
		if i > 0 {
			dst = append(dst, ',')
		}
		if t.isMap {
			dst, _ = jsontext.AppendQuote(dst, t.keys[i])
			dst = append(dst, ':')
		}
		if dst, err = item.append(dst, s); err != nil {
			return nil, err
		}
	}
	return append(dst, end), nil
}

func (t *template) appendWhole(dst []byte, s *expression.State) ([]byte, error) {
	v, err := t.eval(t.whole, s)
	if err != nil {
		return nil, err
	}
	if dst, err = s.AppendJSON(dst, v); err != nil {
		return nil, fmt.Errorf("%s: %w", t.where, err)
	}
	return dst, nil
}

func (t *template) appendText(dst []byte, s *expression.State) ([]byte, error) {
	text := make([]byte, 0, 64)
	for _, p := range t.parts {
		if p.prog == nil {
			text = append(text, p.text...)
			continue
		}
		v, err := t.eval(p.prog, s)
		if err != nil {
			return nil, err
		}
		if text, err = s.AppendText(text, v); s.Overrun() {
			return nil, fmt.Errorf("%s: %w", t.where, err)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s is a %s, which cannot stand inside text (let it be the whole value)",
				t.where, p.prog.Text(), expression.TypeName(v))
		}
	}
	dst, err := s.AppendQuoted(dst, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.where, err)
	}
	return dst, nil
}

// eval refuses nil: an argument that is silently missing is never meant.
func (t *template) eval(p *expression.Program, s *expression.State) (any, error) {
	v, err := p.Eval(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.where, err)
	}
	if v == nil {
		return nil, fmt.Errorf(`%s: %s is nil (write ?? "x" for a default)`, t.where, p.Text())
	}
	return v, nil
}
