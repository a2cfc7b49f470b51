package syslog

import (
	"bufio"
	"errors"
	"io"
)

// maxCount bounds the length that a sender may announce, in digits. What is
// beyond the longest line is read and thrown away.
const maxCount = 8

// errFraming: after a message with its length something came that is no length,
// so nobody knows where the next message begins.
var errFraming = errors.New("a length was expected")

// framer takes the messages out of a stream (RFC 6587). Which of the two framings
// a connection has shows in its first bytes: "LENGTH <" is octet counting,
// anything else is a line each.
type framer struct {
	r *bufio.Reader
	// most is the longest message, in bytes; the rest of a longer one is left out.
	most    int
	decided bool
	counted bool
	buf     []byte
	// ended is why there is nothing more, once a message was cut off by it: the
	// rest of that message must not be taken for one of its own.
	ended error
}

func newFramer(r io.Reader, most int) *framer {
	return &framer{r: bufio.NewReaderSize(r, 8<<10), most: most}
}

// wait returns when there is something to read.
func (f *framer) wait() error {
	if f.ended != nil {
		return f.ended
	}
	_, err := f.r.Peek(1)
	return err
}

// next reads one message; text is good until the next call and may be empty. cut:
// it was longer than it may be, or the stream ended before it did. With an error
// there is no message.
func (f *framer) next() (text []byte, cut bool, err error) {
	if f.ended != nil {
		return nil, false, f.ended
	}
	if !f.decided {
		n := f.length()
		f.decided, f.counted = true, n > 0 && f.byteAt(n) == '<'
	}
	f.buf = f.buf[:0]
	if f.counted {
		return f.octets()
	}
	return f.lines()
}

// length tells how many bytes "LENGTH " takes at the front, 0 when it is not
// there.
func (f *framer) length() int {
	for i := 0; i <= maxCount; i++ {
		switch c := f.byteAt(i); {
		case c == ' ' && i > 0:
			return i + 1
		case c < '0' || c > '9' || i == 0 && c == '0':
			return 0
		}
	}
	return 0
}

// byteAt looks at the byte at i, 0 when the stream ends before.
func (f *framer) byteAt(i int) byte {
	b, _ := f.r.Peek(i + 1)
	if len(b) <= i {
		return 0
	}
	return b[i]
}

func (f *framer) lines() ([]byte, bool, error) {
	cut := false
	for {
		part, err := f.r.ReadSlice('\n')
		ended := err == nil
		if ended {
			part = part[:len(part)-1]
		}
		take := min(len(part), f.most-len(f.buf))
		f.buf = append(f.buf, part[:take]...)
		cut = cut || take < len(part)
		switch {
		case ended:
			return f.buf, cut, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case len(f.buf) > 0:
			f.ended = err
			return f.buf, true, nil
		default:
			return nil, false, err
		}
	}
}

func (f *framer) octets() ([]byte, bool, error) {
	// Some senders end a counted message with a line feed that they do not count.
	for c := f.byteAt(0); c == '\n' || c == '\r' || c == 0; c = f.byteAt(0) {
		if _, err := f.r.ReadByte(); err != nil {
			return nil, false, err
		}
	}
	n := f.length()
	if n == 0 {
		return f.lost()
	}
	head, _ := f.r.Peek(n - 1)
	count, _ := number(string(head), maxCount)
	_, _ = f.r.Discard(n) // is in the buffer
	take := min(count, f.most)
	for len(f.buf) < take {
		want := min(take-len(f.buf), 4<<10)
		part, err := f.r.Peek(want)
		f.buf = append(f.buf, part...)
		_, _ = f.r.Discard(len(part))
		if err != nil {
			if len(f.buf) == 0 {
				return nil, false, err
			}
			f.ended = err
			return f.buf, true, nil
		}
	}
	_, f.ended = f.r.Discard(count - take)
	return f.buf, take < count, nil
}

// lost returns what there is in place of a message once the framing is lost, and
// nothing but errors from then on.
func (f *framer) lost() ([]byte, bool, error) {
	part, _ := f.r.Peek(min(f.r.Buffered(), f.most))
	if len(part) == 0 {
		return nil, false, errFraming
	}
	f.buf, f.ended = append(f.buf, part...), errFraming
	return f.buf, true, nil
}
