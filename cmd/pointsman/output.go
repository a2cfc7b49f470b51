package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxCell is the most characters of a cell in a list; show and -o json have all.
const maxCell = 80

// escape makes text from events and plugins safe for a terminal and for one
// line: what does not print is written as an escape.
func escape(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += n
	}
	return b.String()
}

// escapeLines escapes each line for itself.
func escapeLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = escape(strings.ReplaceAll(lines[i], "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

// escapeJSON writes the characters that a terminal may act on as \u escapes;
// in JSON text they can only stand within strings.
func escapeJSON(text []byte) []byte {
	safe := func(r rune) bool { return r == '\n' || unicode.IsPrint(r) }
	if bytes.IndexFunc(text, func(r rune) bool { return !safe(r) }) < 0 {
		return text
	}
	out := make([]byte, 0, len(text)+16)
	for _, r := range string(text) {
		switch {
		case safe(r):
			out = utf8.AppendRune(out, r)
		case r < 0x10000:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return out
}

// encodeJSON returns v as JSON text that ends with a newline.
func encodeJSON(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode output: %w", err)
	}
	return escapeJSON(b.Bytes()), nil
}

// printJSON writes v as the whole output.
func (a *app) printJSON(v any) error {
	text, err := encodeJSON(v, "  ")
	if err != nil {
		return err
	}
	return a.print(text)
}

func (a *app) print(text []byte) error {
	if _, err := a.stdout.Write(text); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func (a *app) printf(format string, args ...any) error {
	return a.print(fmt.Appendf(nil, format, args...))
}

// table is a list for people: aligned columns under a heading.
type table struct {
	heading []string
	rows    [][]string
}

// add appends a row; the cells are escaped and cut here and nowhere else.
func (t *table) add(cells ...string) {
	for i, c := range cells {
		cells[i] = cell(c)
	}
	t.rows = append(t.rows, cells)
}

func cell(s string) string {
	if s == "" {
		return "-"
	}
	if len(s) > 8*maxCell {
		s = s[:8*maxCell]
	}
	r := []rune(escape(s))
	if len(r) > maxCell {
		return string(r[:maxCell-1]) + "…"
	}
	return string(r)
}

func (t *table) write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.heading}, t.rows...) {
		// The last cell ends the line without a tab, so nothing trails it.
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// field writes one "name: value" line of a record, aligned by eye at 14.
func field(b *strings.Builder, name, value string) {
	if value == "" {
		value = "-"
	}
	fmt.Fprintf(b, "%-13s %s\n", name+":", escape(value))
}

// block writes text of several lines under a heading.
func block(b *strings.Builder, heading, text string) {
	if text == "" {
		return
	}
	fmt.Fprintf(b, "\n%s:\n", heading)
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		fmt.Fprintf(b, "  %s\n", escapeLines(line))
	}
}

// indented returns JSON text for people.
func indented(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return string(escapeJSON(b.Bytes()))
}

// when writes a time for people: UTC, to the second.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

func whenMaybe(t *time.Time) string {
	if t == nil {
		return ""
	}
	return when(*t)
}
