package scenario

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// wide is the greatest width of a line, in characters, that Update writes a list
// of calls into.
const wide = 120

// Update returns the text of a test file with what each failing step caused in
// place of what was expected. Calls that were as expected stay as they are
// written, and so does everything else, comments included; a comment within a
// call that changes goes with it.
func Update(text []byte, results []Result) ([]byte, error) {
	var failures []*Failure
	for i := range results {
		for j := range results[i].Failures {
			failures = append(failures, &results[i].Failures[j])
		}
	}
	// From the end, so that the places before stay right.
	slices.SortFunc(failures, func(x, y *Failure) int {
		return cmp.Or(cmp.Compare(y.step.expect.line, x.step.expect.line), cmp.Compare(y.step.expect.col, x.step.expect.col))
	})
	f := &file{lines: strings.SplitAfter(string(text), "\n")}
	for _, failed := range failures {
		if err := f.replace(failed.step, failed.got); err != nil {
			return nil, fmt.Errorf("step at line %d: %w", failed.Line, err)
		}
	}
	return []byte(strings.Join(f.lines, "")), nil
}

// file is the text of a test file, each line with its end.
type file struct{ lines []string }

// replace writes got as the expect of a step.
func (f *file) replace(st *Step, got []Expect) error {
	at := st.expect
	rest := f.lines[at.line-1][byteOf(f.lines[at.line-1], at.col):]
	if strings.HasPrefix(rest, "[") {
		return f.replaceFlow(at, st.Expect, got)
	}
	return f.replaceBlock(at, st.Expect, got)
}

// byteOf turns a column into an offset in the line.
func byteOf(line string, col int) int {
	off := 0
	for ; col > 1 && off < len(line); col-- {
		_, n := utf8.DecodeRuneInString(line[off:])
		off += n
	}
	return off
}

// replaceFlow replaces [...], which may take several lines.
func (f *file) replaceFlow(at place, want, got []Expect) error {
	text := strings.Join(f.lines[at.line-1:], "")
	start := byteOf(text, at.col)
	end := closing(text[start:])
	if end < 0 {
		return errors.New("its expect has no end")
	}
	head, tail := text[:start], text[start+end:]
	line := "[" + strings.Join(flows(want, got), ", ") + "]"
	before, ok := strings.CutSuffix(strings.TrimRight(head, " "), "expect:")
	own := ok && strings.Trim(before, " -") == "" // nothing else stands before it in its line
	after, _, _ := strings.Cut(tail, "\n")
	after = strings.TrimSuffix(after, "\r")
	if own && len(got) > 0 && utf8.RuneCountInString(head+line+after) > wide {
		indent := strings.Repeat(" ", len(before)+2)
		end := lineEnd(text)
		if strings.TrimSpace(after) != "" {
			head = strings.TrimRight(head, " ") + " " + strings.TrimSpace(after)
		}
		line = ""
		for _, item := range flows(want, got) {
			line += end + indent + "- " + item
		}
		head, tail = strings.TrimRight(head, " "), tail[len(after):]
	}
	f.lines = append(f.lines[:at.line-1:at.line-1], strings.SplitAfter(head+line+tail, "\n")...)
	return nil
}

// closing returns the length of the flow list at the beginning of text, -1 when
// it does not end.
func closing(text string) int {
	depth, quote := 0, byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote == '"' && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		// A quote within a plain text is no quote.
		case (c == '"' || c == '\'') && strings.IndexByte(" \t\n[{,:", text[max(0, i-1)]) >= 0:
			quote = c
		case c == '#' && strings.IndexByte(" \t\n", text[max(0, i-1)]) >= 0:
			n := strings.IndexByte(text[i:], '\n')
			if n < 0 {
				return -1
			}
			i += n
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// replaceBlock replaces a list with an item to a line, or to several.
func (f *file) replaceBlock(at place, want, got []Expect) error {
	first := at.line - 1
	dash := strings.Index(f.lines[first], "- ")
	if dash < 0 || strings.TrimSpace(f.lines[first][:dash]) != "" {
		return errors.New("its expect is not a list that can be replaced (write it as [])")
	}
	// Where each item begins, and where the last one ends.
	var starts []int
	for i := range want {
		starts = append(starts, want[i].at.line-1)
	}
	end := starts[len(starts)-1] + 1
	for end < len(f.lines) {
		body := strings.TrimSpace(f.lines[end])
		if body == "" || len(f.lines[end])-len(strings.TrimLeft(f.lines[end], " ")) <= dash {
			break
		}
		end++
	}
	starts = append(starts, end)
	nl := lineEnd(f.lines[first])
	var items []string
	for _, p := range align(want, got) {
		switch {
		case p.got < 0:
		case p.want >= 0 && matches(&want[p.want], &got[p.got]):
			items = append(items, f.lines[starts[p.want]:starts[p.want+1]]...)
		default:
			items = append(items, strings.Repeat(" ", dash)+"- "+got[p.got].brief().flow()+nl)
		}
	}
	from := first
	if len(items) == 0 {
		from = f.key(first)
		line := strings.TrimRight(f.lines[from], "\r\n")
		before, after, _ := strings.Cut(line, "expect:")
		items = []string{before + "expect: []" + after + nl}
	}
	f.lines = slices.Concat(f.lines[:from], items, f.lines[end:])
	return nil
}

// key returns the line with the key of the block list that begins at a line.
func (f *file) key(first int) int {
	for i := first - 1; i > 0; i-- {
		if strings.HasPrefix(strings.TrimLeft(f.lines[i], " -"), "expect:") {
			return i
		}
	}
	return first
}

func lineEnd(text string) string {
	if line, _, ok := strings.Cut(text, "\n"); ok && strings.HasSuffix(line, "\r") {
		return "\r\n"
	}
	return "\n"
}

// flows writes every call in one line; one that was expected, as it was.
func flows(want, got []Expect) []string {
	var out []string
	for _, p := range align(want, got) {
		switch {
		case p.got < 0:
		case p.want >= 0 && matches(&want[p.want], &got[p.got]):
			out = append(out, want[p.want].flow())
		default:
			out = append(out, got[p.got].brief().flow())
		}
	}
	return out
}

// brief is the call without saying that it has no parameters.
func (e *Expect) brief() *Expect {
	c := *e
	if string(c.With) == "null" {
		c.With = nil
	}
	return &c
}

// flow is the call in one line of YAML.
func (e *Expect) flow() string {
	var b strings.Builder
	b.WriteString("{rule: " + scalar(e.Rule))
	if e.Action != "" {
		b.WriteString(", action: " + scalar(e.Action))
	}
	if e.With != nil {
		b.WriteString(", with: " + flowOf(e.With))
	}
	if e.Error != "" {
		b.WriteString(", error: " + scalar(e.Error))
	}
	b.WriteString("}")
	return b.String()
}

// flowOf writes JSON as YAML in one line, with as few quotes as is safe.
func flowOf(text json.RawMessage) string {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return string(text)
	}
	return flowValue(v)
}

func flowValue(v any) string {
	switch v := v.(type) {
	case string:
		return scalar(v)
	case []any:
		parts := make([]string, len(v))
		for i, x := range v {
			parts[i] = flowValue(x)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, scalar(name)+": "+flowValue(v[name]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	default:
		return quoted(v) // a number, true, false or null
	}
}

var (
	plainText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./-]*$`)
	// otherThanText are words that YAML, or some reader of it, does not take as
	// text.
	otherThanText = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|off)$`)
)

// scalar writes text with quotes where YAML needs them.
func scalar(s string) string {
	if plainText.MatchString(s) && !otherThanText.MatchString(s) {
		return s
	}
	return quoted(s)
}

// quoted is JSON, which is YAML.
func quoted(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil { // it was decoded from JSON
		return "null"
	}
	return strings.TrimRight(b.String(), "\n")
}
