package scan

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// text reads on in a string, at the first byte that is special, and returns the
// offset of the quote that ends it.
func (s *Scanner) text(i int) (end int, k Kind) {
	text := s.doc.text
	k = Text
	for i < len(text) {
		switch c := text[i]; {
		case c == '"':
			return i, k
		case c == '\\':
			k = escaped
			if i = s.escape(i); i < 0 {
				return -1, 0
			}
		case c < ' ':
			return s.fail(Syntax, i), 0
		case c < utf8.RuneSelf:
			i++
		default:
			from := i
			i = plainEnd(text, i)
			if !utf8.Valid(text[from:i]) {
				return s.badUTF8(from, i), 0
			}
		}
	}
	return s.fail(Early, i), 0
}

// plainEnd is the offset of the next quote, backslash or control character.
func plainEnd(text []byte, i int) int {
	for ; i+8 <= len(text); i += 8 {
		x := binary.LittleEndian.Uint64(text[i:])
		quote, back := x^'"'*ones, x^'\\'*ones
		// The lowest mark is right, as in special.
		if m := (((quote - ones) &^ quote) | ((back - ones) &^ back) | ((x - ' '*ones) &^ x)) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for i < len(text) && text[i] != '"' && text[i] != '\\' && text[i] >= ' ' {
		i++
	}
	return i
}

// badUTF8 is the fault of text that is not UTF-8. A rune that the end of the
// whole text cuts off is one that ends too early.
func (s *Scanner) badUTF8(i, end int) int {
	text := s.doc.text
	for i < end {
		r, n := utf8.DecodeRune(text[i:end])
		if r == utf8.RuneError && n == 1 {
			break
		}
		i += n
	}
	if end == len(text) && !utf8.FullRune(text[i:]) {
		return s.fail(Early, end)
	}
	return s.fail(Syntax, i)
}

// escape reads the escape that begins at i, or two that make one rune.
func (s *Scanner) escape(i int) int {
	text := s.doc.text
	if i+1 >= len(text) {
		return s.fail(Early, i+1)
	}
	switch text[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
	default:
		return s.fail(Syntax, i)
	}
	r, ok := unit(text, i)
	if !ok {
		return s.badUnit(i)
	}
	if !utf16.IsSurrogate(r) {
		return i + 6
	}
	low, ok := unit(text, i+6)
	switch {
	case !ok:
		return s.badPair(i)
	case utf16.DecodeRune(r, low) == utf8.RuneError:
		return s.fail(Syntax, i)
	}
	return i + 12
}

// unit reads \uXXXX.
func unit(text []byte, i int) (r rune, ok bool) {
	if i+6 > len(text) || text[i] != '\\' || text[i+1] != 'u' {
		return 0, false
	}
	for _, c := range text[i+2 : i+6] {
		switch {
		case c-'0' <= 9:
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// badUnit is the fault of an escape \u without four hexadecimal digits.
func (s *Scanner) badUnit(i int) int {
	if s.cutOff(i) {
		return s.fail(Early, len(s.doc.text))
	}
	return s.fail(Syntax, i)
}

// badPair is that of the first half of a pair without a second, whose digits
// begin with dc to df.
func (s *Scanner) badPair(i int) int {
	rest := s.doc.text[i+6:]
	other := len(rest) > 2 && rest[2]|0x20 != 'd' || len(rest) > 3 && rest[3]|0x20 < 'c'
	if s.cutOff(i+6) && !other {
		return s.fail(Early, len(s.doc.text))
	}
	return s.fail(Syntax, i)
}

// cutOff tells whether the text ends within an escape \uXXXX at i.
func (s *Scanner) cutOff(i int) bool {
	rest := s.doc.text[i:]
	if len(rest) >= 6 {
		return false
	}
	for n, c := range rest {
		switch {
		case n == 0 && c != '\\', n == 1 && c != 'u':
			return false
		case n > 1 && c-'0' > 9 && (c|0x20 < 'a' || c|0x20 > 'f'):
			return false
		}
	}
	return true
}

// unescape returns what a string with escapes says, in one of two rooms.
func (s *Scanner) unescape(room, begin, end int) []byte {
	s.room[room], _ = jsontext.AppendUnquote(s.room[room][:0], s.doc.text[begin-1:end+1]) // valid
	return s.room[room]
}
