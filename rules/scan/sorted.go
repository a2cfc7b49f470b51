package scan

import (
	"cmp"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendSorted appends v as JSON text with the members of each Map in the order of
// RFC 8785, section 3.2.3, without white space, and with no escapes but those that
// JSON asks for. Numbers stay as they are.
func (v Value) AppendSorted(dst []byte) []byte {
	switch v.Kind() {
	case List:
		dst = append(dst, '[')
		first := true
		for e := range v.Elements {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = e.AppendSorted(dst)
		}
		return append(dst, ']')
	case Map:
		return v.appendSortedMap(dst)
	case Text:
		if v.doc.nodes[v.at].kind() == escaped {
			dst, _ = jsontext.AppendQuote(dst, v.Text()) // its only error is invalid UTF-8
			return dst
		}
	}
	return append(dst, v.Raw()...)
}

type member struct {
	text  string
	value Value
}

func (v Value) appendSortedMap(dst []byte) []byte {
	var room [32]member
	list := room[:0]
	for name, value := range v.Members {
		list = append(list, member{name.Text(), value})
	}
	if order := func(a, b member) int { return compareUTF16(a.text, b.text) }; !slices.IsSortedFunc(list, order) {
		slices.SortFunc(list, order)
	}
	dst = append(dst, '{')
	for i, m := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst, _ = jsontext.AppendQuote(dst, m.text)
		dst = append(dst, ':')
		dst = m.value.AppendSorted(dst)
	}
	return append(dst, '}')
}

// compareUTF16 compares by UTF-16 code units.
func compareUTF16(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	switch {
	case i == len(a) || i == len(b):
		return cmp.Compare(len(a), len(b))
	case a[i] < utf8.RuneSelf || b[i] < utf8.RuneSelf:
		return cmp.Compare(a[i], b[i])
	}
	for !utf8.RuneStart(a[i]) {
		i--
	}
	x, _ := utf8.DecodeRuneInString(a[i:])
	y, _ := utf8.DecodeRuneInString(b[i:])
	return cmp.Compare(rank(x), rank(y))
}

// rank orders runes as their first code unit: those beyond the basic plane, which
// are surrogates, come before U+E000.
func rank(r rune) rune {
	if r >= 0xe000 && r <= 0xffff {
		return r + utf8.MaxRune
	}
	return r
}
