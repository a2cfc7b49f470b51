package scan

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"strconv"
)

// Fault is what is wrong with a text.
type Fault uint8

// The faults.
const (
	Syntax    Fault = iota + 1 // not JSON in UTF-8
	Early                      // the text ends too early
	Duplicate                  // an object has two members of one name
	TooDeep                    // nested deeper than the limit
	TooLong                    // longer than MaxText
	Empty                      // white space alone, or nothing
)

// Error is the first fault of a text.
type Error struct {
	Fault Fault
	// Offset is where it is, in bytes: of a Duplicate the second name, of a
	// TooDeep the bracket.
	Offset int
	// Name is that of a Duplicate in the outermost object, else empty.
	Name string
}

func (e *Error) Error() string {
	what := map[Fault]string{
		Syntax: "not valid JSON in UTF-8", Early: "the JSON text ends too early", Duplicate: "a member name is there twice",
		TooDeep: "nested too deep", TooLong: "the text is too long",
		Empty: "there is no JSON text",
	}
	return what[e.Fault] + " at byte " + strconv.Itoa(e.Offset)
}

// Scanner scans texts, one after the other; the zero Scanner is ready. It is
// not safe for concurrent use.
type Scanner struct {
	doc    Doc
	frames []frame
	open   int // frames in use
	names  nameTable
	room   [2][]byte // for names with escapes
	// tooLarge is the offset of the first number beyond float64, -1 for none.
	tooLarge int
	err      *Error
}

// frame is an array or object that is open.
type frame struct {
	at    int  // its node
	count int  // of its elements or members
	list  bool // an array
	end   byte // the bracket that closes it
	// seen has a bit for each name so far, chosen by its hash.
	seen [4]uint64
}

// Scan reads the value that begins at offset from, behind white space if any,
// and returns where it ends. What follows is not looked at. depth is how deep
// arrays and objects may be nested: 1 lets in one without another in it. Doc is
// the value then. The error is an *Error.
func (s *Scanner) Scan(text []byte, from, depth int) (end int, err error) {
	s.doc.text, s.doc.nodes, s.open, s.err, s.tooLarge = text, s.doc.nodes[:0], 0, nil, -1
	s.names.reset()
	if len(text) > MaxText {
		return 0, &Error{Fault: TooLong, Offset: MaxText}
	}
	if from = Space(text, from); from >= len(text) {
		return 0, &Error{Fault: Empty, Offset: len(text)}
	}
	end = s.value(from, depth)
	if s.err != nil {
		s.doc.nodes = s.doc.nodes[:0]
		return 0, s.err
	}
	return end, nil
}

// Doc is what Scan read last, until the next Scan; its text is the whole of
// what Scan was given.
func (s *Scanner) Doc() *Doc { return &s.doc }

// Move makes to what Scan read last. The scanner takes the memory of to, and has
// no Doc until the next Scan.
func (s *Scanner) Move(to *Doc) {
	nodes := to.nodes[:0]
	*to = s.doc
	s.doc = Doc{nodes: nodes}
}

// TooLarge is the offset of the first digit of the first number that no float64
// can hold, -1 when there is none. Such a number is no fault of JSON.
func (s *Scanner) TooLarge() int { return s.tooLarge }

// Forget lets go of the text, and of memory that one long text took.
func (s *Scanner) Forget() {
	s.err = nil
	s.doc.Forget()
	if cap(s.frames) > keptNodes {
		s.frames = nil
	}
	s.names.forget()
	for i := range s.room {
		if cap(s.room[i]) > keptNodes {
			s.room[i] = nil
		}
	}
}

// keptNodes is how much memory, in nodes of 8 bytes, a Scanner or Doc keeps for the
// next text.
const keptNodes = 1 << 12

// Space returns the offset of the first byte from i on that is no white space.
func Space(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t') {
		i++
	}
	return i
}

// fail notes a fault; where the text has ended before it, that is the fault.
func (s *Scanner) fail(f Fault, offset int) int {
	if offset >= len(s.doc.text) {
		f, offset = Early, len(s.doc.text)
	}
	s.err = &Error{Fault: f, Offset: offset}
	return -1
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks the bytes of eight that are more than themselves in a string:
// quotes, backslashes, control characters and those beyond ASCII. The lowest mark
// is right, others may be wrong.
func special(x uint64) uint64 {
	return (((x ^ '"'*ones) - ones) | ((x ^ '\\'*ones) - ones) | (x - ' '*ones) | x) & highs
}

// value reads one value and all that is in it. It is one function with jumps
// because it is what reading an event costs.
func (s *Scanner) value(i, depth int) int {
	text, nodes := s.doc.text, s.doc.nodes
	var f *frame // the innermost that is open

value:
	if i >= len(text) {
		return s.fail(Early, i)
	}
	switch c := text[i]; c {
	case '"':
		begin, end := i+1, i+1
		for end+8 <= len(text) {
			if m := special(binary.LittleEndian.Uint64(text[end:])); m != 0 {
				end += bits.TrailingZeros64(m) >> 3
				break
			}
			end += 8
		}
		if end < len(text) && text[end] == '"' {
			nodes = append(nodes, newNode(Text, begin, end-begin))
		} else {
			var k Kind
			if end, k = s.text(end); end < 0 {
				return -1
			}
			nodes = append(nodes, newNode(k, begin, end-begin))
		}
		i = end + 1
	case '{', '[':
		if s.open == depth {
			return s.fail(TooDeep, i)
		}
		if s.open == len(s.frames) {
			s.frames = append(s.frames, frame{})
		}
		f = &s.frames[s.open]
		s.open++
		f.at, f.count, f.list, f.end, f.seen = len(nodes), 0, c == '[', c+2, [4]uint64{} // ] and } are two behind
		nodes = append(nodes, newNode(Null, i, 0), 0)
		if i = Space(text, i+1); i < len(text) && text[i] == f.end {
			goto closed
		}
		f.count = 1
		if c == '{' {
			goto member
		}
		goto value
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		end, k := s.number(i)
		if end < 0 {
			return -1
		}
		nodes = append(nodes, newNode(k, i, end-i))
		i = end
	case 't', 'f', 'n':
		end, k := s.word(i)
		if end < 0 {
			return -1
		}
		nodes = append(nodes, newNode(k, i, end-i))
		i = end
	case ' ', '\n', '\r', '\t':
		i = Space(text, i)
		goto value
	default:
		return s.fail(Syntax, i)
	}

next:
	if f == nil {
		s.doc.nodes = nodes
		return i
	}
	if i >= len(text) {
		return s.fail(Early, i)
	}
	switch c := text[i]; {
	case c == ',':
		f.count++
		i++
		if f.list {
			goto value
		}
		goto member
	case c == f.end:
		goto closed
	case c <= ' ':
		if at := Space(text, i); at > i {
			i = at
			goto next
		}
	}
	return s.fail(Syntax, i)

closed:
	i++
	nodes[f.at] = newNode(List, nodes[f.at].begin(), len(nodes))
	if !f.list {
		nodes[f.at] = newNode(Map, nodes[f.at].begin(), len(nodes))
	}
	nodes[f.at+1] = newNode(0, f.count, i)
	s.open--
	if f = nil; s.open > 0 {
		f = &s.frames[s.open-1]
	}
	goto next

member:
	if i >= len(text) || text[i] != '"' {
		if at := Space(text, i); at > i {
			i = at
			goto member
		}
		return s.fail(Syntax, i)
	}
	{
		begin, end := i+1, i+1
		for end+8 <= len(text) {
			if m := special(binary.LittleEndian.Uint64(text[end:])); m != 0 {
				end += bits.TrailingZeros64(m) >> 3
				break
			}
			end += 8
		}
		k := Text
		if end >= len(text) || text[end] != '"' {
			if end, k = s.text(end); end < 0 {
				return -1
			}
		}
		nodes = append(nodes, newNode(k, begin, end-begin))
		var hash uint64
		if size := end - begin; size < 8 && k == Text && begin+8 <= len(text) {
			hash = quickHash(binary.LittleEndian.Uint64(text[begin:])&(1<<(8*size)-1), size)
		} else {
			hash = s.nameHash(begin, end, k)
		}
		bit := uint64(1) << (hash & 63)
		word := &f.seen[hash>>6&3]
		if *word&bit != 0 || f.count >= manyNames {
			if s.doc.nodes = nodes; s.isKnown(f) {
				return s.duplicate(nodes[len(nodes)-1])
			}
		}
		*word |= bit
		i = end + 1
	}
	if i < len(text) && text[i] != ':' {
		i = Space(text, i)
	}
	if i >= len(text) || text[i] != ':' {
		return s.fail(Syntax, i)
	}
	i++
	goto value
}

// quickHash is a hash, in its low 8 bits, of a name: x is of its bytes.
func quickHash(x uint64, size int) uint64 {
	return (x ^ uint64(size)<<56) * 0x9e3779b97f4a7c15 >> 56
}

// nameHash is the quickHash of any name.
func (s *Scanner) nameHash(begin, end int, k Kind) uint64 {
	name := s.doc.text[begin:end]
	if k == escaped {
		name = s.unescape(0, begin, end)
	}
	var x uint64
	if n := len(name); n >= 8 {
		x = binary.LittleEndian.Uint64(name) ^ bits.RotateLeft64(binary.LittleEndian.Uint64(name[n-8:]), 23)
	} else {
		for i, c := range name {
			x |= uint64(c) << (8 * i)
		}
	}
	return quickHash(x, len(name))
}

// number reads a number, whose first byte is known to be a digit or minus.
func (s *Scanner) number(i int) (end int, k Kind) {
	text, begin := s.doc.text, i
	if text[i] == '-' {
		i++
	}
	first := i
	switch {
	case i < len(text) && text[i] == '0':
		i++
	default:
		if i = digits(text, i); i == first {
			return s.fail(Syntax, i), 0
		}
	}
	k = Int
	if i < len(text) && text[i] == '.' {
		k = Float
		from := i + 1
		if i = digits(text, from); i == from {
			return s.fail(Syntax, i), 0
		}
	}
	if i < len(text) && text[i]|0x20 == 'e' {
		k = Float
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		from := i
		if i = digits(text, from); i == from {
			return s.fail(Syntax, i), 0
		}
		s.range64(first, i)
	} else if i-begin > 300 { // fewer digits are always in range
		s.range64(first, i)
	}
	return i, k
}

func digits(text []byte, i int) int {
	for i < len(text) && text[i]-'0' <= 9 {
		i++
	}
	return i
}

// range64 notes a number that is beyond float64.
func (s *Scanner) range64(first, end int) {
	if s.tooLarge >= 0 {
		return
	}
	if _, err := strconv.ParseFloat(string(s.doc.text[first:end]), 64); errors.Is(err, strconv.ErrRange) {
		s.tooLarge = first
	}
}

// word reads true, false or null.
func (s *Scanner) word(i int) (end int, k Kind) {
	want := "null"
	k = Null
	switch s.doc.text[i] {
	case 't':
		want, k = "true", True
	case 'f':
		want, k = "false", False
	}
	text := s.doc.text[i:]
	if len(text) >= len(want) && string(text[:len(want)]) == want {
		return i + len(want), k
	}
	n := 0
	for n < len(text) && text[n] == want[n] {
		n++
	}
	return s.fail(Syntax, i+n), 0
}
