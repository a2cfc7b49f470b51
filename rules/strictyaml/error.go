package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// maxSource is how many characters of a source line an error shows.
const maxSource = 100

// Error is one problem of a file, at one place.
type Error struct {
	File string
	// Line and Col count from 1; Col counts characters, not bytes.
	Line, Col int
	// Code is a stable word for the kind of a warning, such as "never-true"; ""
	// when it has none.
	Code string
	// Msg says what is wrong and, in parentheses, what to do.
	Msg string
	// SourceLine is the line as an error may show it: cut to a readable width,
	// secrets masked, nothing unprintable. Empty: no line is shown.
	SourceLine string

	caret int // characters of SourceLine before the caret
}

// Error returns "file:line:col: message", and below it the source line and a
// caret when there is a source line.
func (e *Error) Error() string {
	head := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
	if e.SourceLine == "" {
		return head
	}
	return head + "\n    " + e.SourceLine + "\n    " + strings.Repeat(" ", e.caret) + "^"
}

// Errors are all problems found, in the order of files and lines.
type Errors []*Error

// Error returns the text of every error, one below the other.
func (es Errors) Error() string {
	var b strings.Builder
	for i, e := range es {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.Error())
	}
	return b.String()
}

// Unwrap lists the errors for errors.Is and errors.As.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// Sort orders the errors by file, line and column and drops repeated ones.
func (es Errors) Sort() Errors {
	slices.SortStableFunc(es, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Col, b.Col), cmp.Compare(a.Msg, b.Msg))
	})
	return slices.CompactFunc(es, func(a, b *Error) bool {
		return a.File == b.File && a.Line == b.Line && a.Col == b.Col && a.Msg == b.Msg
	})
}

// span is a range of characters of a line: [from, to), counted from 0.
type span struct{ from, to int }

// show fills SourceLine and caret from the line's text. masked spans become
// three stars, whatever their length.
func (e *Error) show(line string, masked []span) {
	runes := []rune(line)
	at := min(max(e.Col-1, 0), len(runes))
	var out []rune
	caret := -1
	for i := 0; i < len(runes); i++ {
		if caret < 0 && i >= at {
			caret = len(out)
		}
		if k := slices.IndexFunc(masked, func(s span) bool { return i >= s.from && i < s.to }); k >= 0 {
			if caret < 0 && at < masked[k].to {
				caret = len(out)
			}
			out = append(out, '*', '*', '*')
			i = masked[k].to - 1
			continue
		}
		switch r := runes[i]; {
		case r == '\t':
			out = append(out, ' ')
		case unicode.IsPrint(r):
			out = append(out, r)
		default:
			out = append(out, '?')
		}
	}
	if caret < 0 {
		caret = len(out)
	}
	e.SourceLine, e.caret = window(out, caret)
}

// window cuts a long line to maxSource characters around the caret.
func window(line []rune, caret int) (string, int) {
	from := 0
	if len(line) > maxSource {
		from = min(max(caret-maxSource/2, 0), len(line)-maxSource)
	}
	to := min(from+maxSource, len(line))
	text, caret := string(line[from:to]), caret-from
	if from > 0 {
		text, caret = "…"+text, caret+1
	}
	if to < len(line) {
		text += "…"
	}
	return strings.TrimRight(text, " "), caret
}
