package expression

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// prescan refuses what would make the parser, which is recursive, use more stack
// than a process has: overflowing a stack cannot be recovered from. It knows
// just enough of the lexis to tell brackets and unary operators from the inside
// of strings and comments, and leaves every other complaint to the parser.
func prescan(src string) *Error {
	if len(src) > MaxSource {
		return &Error{0, fmt.Sprintf("the expression has %d bytes (at most %d)", len(src), MaxSource)}
	}
	if !utf8.ValidString(src) {
		return &Error{0, "the expression is not valid UTF-8"}
	}
	if strings.TrimSpace(src) == "" {
		return &Error{0, "the expression is empty"}
	}
	open, run := 0, 0
	for i := 0; i < len(src); {
		n := 1
		switch c := src[i]; {
		case skipLength(src[i:]) > 0:
			n = skipLength(src[i:])
			if c != '/' {
				run = 0
			}
		case c == '(' || c == '[' || c == '{':
			open++
		case c == ')' || c == ']' || c == '}':
			open = max(open-1, 0)
			run = 0
		case c == '-' || c == '+' || c == '!':
			run++
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		case isWord(c):
			n = wordLength(src[i:])
			if src[i:i+n] == "not" {
				run++
			} else {
				run = 0
			}
		default:
			run = 0
		}
		if open+run > MaxNesting {
			return &Error{i, fmt.Sprintf("brackets and unary operators are nested deeper than %d", MaxNesting)}
		}
		i += n
	}
	return nil
}

// skipLength is the length of the string literal or comment that s begins with,
// 0 when it begins with neither.
func skipLength(s string) int {
	switch s[0] {
	case '"', '\'':
		for i := 1; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case s[0]:
				return i + 1
			}
		}
		return len(s)
	case '`':
		if n := strings.IndexByte(s[1:], '`'); n >= 0 {
			return n + 2
		}
		return len(s)
	case '/':
		if strings.HasPrefix(s, "//") {
			if n := strings.IndexByte(s, '\n'); n >= 0 {
				return n
			}
			return len(s)
		}
		if strings.HasPrefix(s, "/*") {
			if n := strings.Index(s[2:], "*/"); n >= 0 {
				return n + 4
			}
			return len(s)
		}
	}
	return 0
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= utf8.RuneSelf || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func wordLength(s string) int {
	n := 0
	for n < len(s) && isWord(s[n]) {
		n++
	}
	return n
}

// End returns the position of the "}}" that closes a template expression which
// begins at the start of s: the first one outside strings, comments and
// brackets; -1 when there is none.
func End(s string) int {
	open := 0
	for i := 0; i < len(s); {
		if n := skipLength(s[i:]); n > 0 {
			i += n
			continue
		}
		switch s[i] {
		case '(', '[', '{':
			open++
		case ')', ']':
			open--
		case '}':
			if open <= 0 && strings.HasPrefix(s[i:], "}}") {
				return i
			}
			open--
		}
		i++
	}
	return -1
}
