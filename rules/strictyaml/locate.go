package strictyaml

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// lineStarts returns the offset of each line; LF, CR LF and CR end one.
func lineStarts(data []byte) []int {
	starts := []int{0}
	for i, c := range data {
		if c == '\n' || c == '\r' && (i+1 == len(data) || data[i+1] != '\n') {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// lineText returns a line, counted from 1, without its end.
func (d *Document) lineText(line int) string {
	if line < 1 || line > len(d.lines) {
		return ""
	}
	end := len(d.data)
	if line < len(d.lines) {
		end = d.lines[line]
	}
	return strings.TrimRight(string(d.data[d.lines[line-1]:end]), "\r\n")
}

// offset returns the byte offset of a position; the end of the data for one
// behind it.
func (d *Document) offset(line, col int) int {
	if line < 1 || line > len(d.lines) {
		return len(d.data)
	}
	off := d.lines[line-1]
	for ; col > 1 && off < len(d.data); col-- {
		_, n := utf8.DecodeRune(d.data[off:])
		off += n
	}
	return off
}

// position is the inverse of offset.
func (d *Document) position(off int) (line, col int) {
	i, found := slices.BinarySearch(d.lines, off)
	if !found {
		i--
	}
	return i + 1, utf8.RuneCount(d.data[d.lines[i]:off]) + 1
}

// at returns the byte at an offset, 0 behind the end.
func (d *Document) at(off int) byte {
	if off < 0 || off >= len(d.data) {
		return 0
	}
	return d.data[off]
}

// At returns the position in the file of byte offset of the decoded text of a
// scalar, so that an error inside an expression can be shown where it was
// written. It is exact for plain, quoted and literal (|) text, and has at
// least the right line in folded (>) text. An offset at or behind the end
// gives the position after the last character.
func (n *Node) At(offset int) (line, col int) {
	if n == nil {
		return 0, 0
	}
	offset = min(max(offset, 0), len(n.text))
	for offset < len(n.text) && offset > 0 && !utf8.RuneStart(n.text[offset]) {
		offset--
	}
	switch n.style {
	case literal:
		return n.inLiteral(offset)
	case folded:
		return n.inFolded(offset)
	}
	w := walker{data: n.doc.data, pos: n.doc.offset(n.line, n.col), style: n.style, text: n.text}
	if pos, ok := w.find(offset); ok {
		return n.doc.position(pos)
	}
	return n.line, n.col
}

// lastLine returns the line in which a scalar ends.
func (n *Node) lastLine() int {
	line, _ := n.At(len(n.text))
	if n.style == literal || n.style == folded {
		// Line breaks at the end may have been chomped: at most the lines that
		// are blank follow, and they hold nothing.
		return max(line, n.line)
	}
	return line
}

// inLiteral: each line of the text is one line of the file, behind the same
// indentation, beginning below the header.
func (n *Node) inLiteral(offset int) (line, col int) {
	before := strings.Count(n.text[:offset], "\n")
	line = n.line + 1 + before
	if line > len(n.doc.lines) {
		return n.doc.position(len(n.doc.data))
	}
	inLine := utf8.RuneCountInString(n.text[strings.LastIndexByte(n.text[:offset], '\n')+1 : offset])
	return line, min(n.indent()+inLine, utf8.RuneCountInString(n.doc.lineText(line))) + 1
}

// indent finds the indentation of a literal by comparing a line that has one.
func (n *Node) indent() int {
	for i, text := range strings.Split(n.text, "\n") {
		if text != "" {
			return max(0, leading(n.doc.lineText(n.line+1+i))-leading(text))
		}
	}
	return 0
}

func leading(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }

// inFolded matches the lines of the file, without indentation, one after the
// other with the text.
func (n *Node) inFolded(offset int) (line, col int) {
	done := 0
	for n.text != "" && done < len(n.text) && n.text[done] == '\n' {
		done++ // blank lines before the first
	}
	endLine, endCol := n.line, n.col // of what was matched
	for line = n.line + 1; line <= len(n.doc.lines); line++ {
		source := n.doc.lineText(line)
		content := strings.TrimLeft(source, " ")
		if strings.TrimLeft(content, "\t") == "" {
			continue
		}
		for done < len(n.text) && n.text[done] == ' ' { // more indented lines
			done++
		}
		if !strings.HasPrefix(n.text[done:], content) {
			break
		}
		if offset <= done+len(content) {
			inLine := max(0, offset-done)
			return line, leading(source) + utf8.RuneCountInString(content[:inLine]) + 1
		}
		done += len(content)
		endLine, endCol = line, utf8.RuneCountInString(source)+1
		for done < len(n.text) && (n.text[done] == '\n' || n.text[done] == ' ') {
			done++
		}
		if offset < done || done == len(n.text) {
			break
		}
	}
	return endLine, endCol
}

// walker decodes a plain or quoted scalar once more, as far as asked, and
// compares what it decodes with what the parser made of it.
type walker struct {
	data  []byte
	pos   int // in data
	style style
	text  string
	done  int // decoded bytes
}

// find returns the offset in data of byte want of the text; false when the
// walk comes to another text than the parser.
func (w *walker) find(want int) (int, bool) {
	if w.style != plain {
		w.pos++ // the opening quote
	}
	for w.done < len(w.text) {
		start, before := w.pos, w.done
		if !w.step() {
			return 0, false
		}
		if want < w.done {
			if want > before && w.data[start] != '\\' && w.data[start] != '\n' {
				return start + want - before, true
			}
			return start, true
		}
	}
	return w.pos, true
}

// step decodes one character, escape or line break.
func (w *walker) step() bool {
	if w.pos >= len(w.data) {
		return false
	}
	c := w.data[w.pos]
	switch {
	case c == '\n' || c == '\r' || (c == ' ' || c == '\t') && w.endsLine():
		return w.fold(1)
	case c == '\\' && w.style == doubleQuoted:
		return w.escape()
	case c == '\'' && w.style == singleQuoted:
		w.pos++
	}
	_, n := utf8.DecodeRune(w.data[w.pos:])
	return w.emit(string(w.data[w.pos:w.pos+n]), n)
}

// emit takes text as decoded from n bytes.
func (w *walker) emit(text string, n int) bool {
	if !strings.HasPrefix(w.text[w.done:], text) {
		return false
	}
	w.done += len(text)
	w.pos += n
	return true
}

// endsLine tells whether only white space follows in the line.
func (w *walker) endsLine() bool {
	for i := w.pos; i < len(w.data); i++ {
		switch w.data[i] {
		case ' ', '\t':
		case '\n', '\r':
			return true
		default:
			return false
		}
	}
	return false
}

// fold reads line breaks and the white space around them: one break is a
// space, more are that many less first. first is 0 after an escaped break.
func (w *walker) fold(first int) bool {
	breaks := 0
	for w.pos < len(w.data) {
		switch c := w.data[w.pos]; c {
		case '\r':
			if w.pos+1 < len(w.data) && w.data[w.pos+1] == '\n' {
				w.pos++
			}
			breaks++
		case '\n':
			breaks++
		case ' ', '\t':
		default:
			return w.folded(breaks, first)
		}
		w.pos++
	}
	return w.folded(breaks, first)
}

func (w *walker) folded(breaks, first int) bool {
	switch {
	case first == 1 && breaks == 1:
		return w.emit(" ", 0)
	default:
		return w.emit(strings.Repeat("\n", max(0, breaks-1)), 0)
	}
}

// escape decodes one escape of double quoted text.
func (w *walker) escape() bool {
	if w.pos+1 >= len(w.data) {
		return false
	}
	switch c := w.data[w.pos+1]; c {
	case '\n', '\r':
		w.pos++
		return w.fold(0)
	case 'x':
		return w.hex(2)
	case 'u':
		return w.hex(4)
	case 'U':
		return w.hex(8)
	default:
		i := strings.IndexByte("0abt\tnvfre \"/\\N_LP", c)
		if i < 0 {
			return false
		}
		plain := []rune("\x00\a\b\t\t\n\v\f\r\x1b \"/\\\u0085\u00a0\u2028\u2029")
		return w.emit(string(plain[i]), 2)
	}
}

func (w *walker) hex(digits int) bool {
	end := w.pos + 2 + digits
	if end > len(w.data) {
		return false
	}
	v, err := strconv.ParseUint(string(w.data[w.pos+2:end]), 16, 32)
	if err != nil {
		return false
	}
	return w.emit(string(rune(v)), digits+2)
}
