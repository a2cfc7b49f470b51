package rules

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// paths are the compiled Strip and Decode of a Translation. They are immutable.
type paths struct {
	body           *pathNode // nil: the body stays as it is
	headers, query map[string]bool
}

// pathNode is what becomes of one place of a body.
type pathNode struct {
	strip, decode bool
	members       map[string]*pathNode
	// every is for members of any name, nil: only members counts.
	every *pathNode
}

// maxPath is the most members on a path.
const maxPath = 16

func (b *translatorBuilder) paths(t Translation) paths {
	p := paths{headers: make(map[string]bool), query: make(map[string]bool)}
	for _, text := range t.Strip {
		names := strings.Split(text, ".")
		switch {
		case !pathForm(names):
			b.badPath("strip", text)
		case names[0] == "body":
			p.place(names[1:]).strip = true
		case names[0] == "headers" && len(names) == 2:
			p.headers[strings.ToLower(names[1])] = true
		case names[0] == "query" && len(names) == 2:
			p.query[names[1]] = true
		default:
			b.badPath("strip", text)
		}
	}
	for _, text := range t.Decode {
		names := strings.Split(text, ".")
		if !pathForm(names) || names[0] != "body" {
			b.badPath("decode", text)
			continue
		}
		p.place(names[1:]).decode = true
	}
	return p
}

func (b *translatorBuilder) badPath(key, text string) {
	forms := "body.a.b, headers.x-name or query.name"
	if key == "decode" {
		forms = "body.a.b"
	}
	b.errs = append(b.errs, &TranslationError{Key: key + "." + text, Msg: "this is not a path (write it like " + forms + ")"})
}

func pathForm(names []string) bool {
	return len(names) >= 2 && len(names) <= maxPath && !slices.Contains(names, "")
}

// place makes the node of a path.
func (p *paths) place(names []string) *pathNode {
	if p.body == nil {
		p.body = &pathNode{}
	}
	n := p.body
	for _, name := range names {
		next := n.members[name]
		if name == "*" {
			next = n.every
		}
		if next == nil {
			next = &pathNode{}
			if n.members == nil {
				n.members = make(map[string]*pathNode)
			}
			if name == "*" {
				n.every = next
			} else {
				n.members[name] = next
			}
		}
		n = next
	}
	return n
}

// Visible returns the body of a request as expressions see it: JSON text
// without what is stripped. The error is an *EventError when it is not good
// JSON.
func (tr *Translator) Visible(body []byte, lim Limits) ([]byte, error) {
	raw, err := checkJSON(body, lim)
	if err != nil {
		err.Attribute = ""
		if err.Code == CodeBadData {
			err.Code, err.Msg = CodeBadJSON, "the body is not valid JSON in UTF-8"
		}
		return nil, err
	}
	if tr.paths.body == nil {
		return raw, nil
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw))
	return rewrite(make([]byte, 0, len(raw)), dec, lim, tr.paths.body), nil
}

// StripsBody tells whether something of bodies is removed, which takes a body
// that is good JSON.
func (tr *Translator) StripsBody() bool { return tr.paths.body != nil }

// StripsHeader tells whether a header, in lower case, is removed.
func (tr *Translator) StripsHeader(name string) bool { return tr.paths.headers[name] }

// StripsQuery tells whether a parameter of the query is removed.
func (tr *Translator) StripsQuery(name string) bool { return tr.paths.query[name] }

// rewrite appends the next value of dec, which is valid, as the nodes for its
// place say. What they do not speak of stays byte for byte, so that numbers of
// any length are kept.
func rewrite(dst []byte, dec *jsontext.Decoder, lim Limits, nodes ...*pathNode) []byte {
	switch kind := dec.PeekKind(); {
	case len(nodes) == 0:
		v, _ := dec.ReadValue() // valid, as are all below
		return append(dst, v...)
	case kind == '[':
		_, _ = dec.ReadToken()
		dst = append(dst, '[')
		for first := true; dec.PeekKind() != ']'; first = false {
			if !first {
				dst = append(dst, ',')
			}
			dst = rewrite(dst, dec, lim, nodes...)
		}
		_, _ = dec.ReadToken()
		return append(dst, ']')
	case kind == '{':
		return rewriteObject(dst, dec, lim, nodes)
	default:
		v, _ := dec.ReadValue()
		if kind == '"' && slices.ContainsFunc(nodes, func(n *pathNode) bool { return n.decode }) {
			text, _ := jsontext.AppendUnquote(nil, v)
			if inner, err := checkJSON(text, lim); err == nil {
				return append(dst, inner...)
			}
		}
		return append(dst, v...)
	}
}

func rewriteObject(dst []byte, dec *jsontext.Decoder, lim Limits, nodes []*pathNode) []byte {
	_, _ = dec.ReadToken()
	dst = append(dst, '{')
	first := true
	for dec.PeekKind() != '}' {
		quoted, _ := dec.ReadValue()
		name, _ := jsontext.AppendUnquote(nil, quoted)
		var below []*pathNode
		strip := false
		for _, n := range nodes {
			for _, next := range []*pathNode{n.members[string(name)], n.every} {
				if next != nil {
					below, strip = append(below, next), strip || next.strip
				}
			}
		}
		if strip {
			_ = dec.SkipValue()
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(append(dst, quoted...), ':')
		dst = rewrite(dst, dec, lim, below...)
	}
	_, _ = dec.ReadToken()
	return append(dst, '}')
}
