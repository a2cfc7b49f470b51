package sqlite

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// mark is a remembered identity in memory; its row of dedup has the rest.
type mark struct{ seq, expires int64 }

// fullMark is all that is remembered of an identity.
type fullMark struct {
	mark
	key    id16
	digest [16]byte
	uid    string
}

// markBytes bounds the marks of one row: a row that is larger leaves its page.
const markBytes = 900

var errMarks = errors.New("a row of dedup is damaged")

// appendMark adds a mark to those of a row: its seq less that of the row, key
// and digest, then the length of the uid and the uid; length 0 stands for a UUID
// of 16 bytes.
func appendMark(b []byte, row int64, m *fullMark) []byte {
	b = binary.AppendUvarint(b, uint64(m.seq-row))
	b = append(append(b, m.key[:]...), m.digest[:]...)
	if u, ok := canonical(m.uid); ok {
		return append(append(b, 0), u[:]...)
	}
	return append(binary.AppendUvarint(b, uint64(len(m.uid))), m.uid...)
}

// readMarks calls each with every mark of a row.
func readMarks(expires, row int64, b []byte, each func(*fullMark)) error {
	for len(b) > 0 {
		m := fullMark{mark: mark{expires: expires}}
		delta, n := binary.Uvarint(b)
		if n <= 0 || len(b) < n+32 {
			return errMarks
		}
		m.seq = row + int64(delta)
		copy(m.key[:], b[n:])
		copy(m.digest[:], b[n+16:])
		b = b[n+32:]
		size, n := binary.Uvarint(b)
		if n <= 0 {
			return errMarks
		}
		b = b[n:]
		if size == 0 {
			if len(b) < 16 {
				return errMarks
			}
			m.uid, b = uuid.UUID(b[:16]).String(), b[16:]
		} else {
			if uint64(len(b)) < size {
				return errMarks
			}
			m.uid, b = string(b[:size]), b[size:]
		}
		each(&m)
	}
	return nil
}

// writeMarks stores marks, oldest seq first: one row for those that expire
// together, or some if they are many.
func (w *writer) writeMarks(marks []fullMark) error {
	slices.SortStableFunc(marks, func(a, b fullMark) int { return cmp.Compare(a.expires, b.expires) })
	for len(marks) > 0 {
		first := marks[0].mark
		var row []byte
		n := 0
		for ; n < len(marks) && marks[n].expires == first.expires; n++ {
			size := len(row)
			if row = appendMark(row, first.seq, &marks[n]); len(row) > markBytes && n > 0 {
				row = row[:size]
				break
			}
		}
		marks = marks[n:]
		if err := w.exec("INSERT INTO dedup (expires, seq, marks) VALUES (?, ?, ?)", first.expires, first.seq, row); err != nil {
			return fmt.Errorf("write dedup marks: %w", err)
		}
	}
	return nil
}

// mark finds the whole of a mark.
func (t *tx) mark(key id16, m mark) (found fullMark, err error) {
	if i, ok := t.marks[key]; ok {
		return t.remembered[i], nil
	}
	err = t.conn.query(func(s *stmt) error {
		return readMarks(m.expires, s.integer(0), s.bytes(1), func(f *fullMark) {
			if f.seq == m.seq {
				found = *f
			}
		})
	}, "SELECT seq, marks FROM dedup WHERE expires = ? AND seq <= ? ORDER BY seq DESC LIMIT 1", m.expires, m.seq)
	if err == nil && found.seq != m.seq {
		err = fmt.Errorf("mark (%d, %d) is missing", m.expires, m.seq)
	}
	if err != nil {
		return found, fmt.Errorf("read dedup mark: %w", err)
	}
	return found, nil
}

// expireMarks forgets a few rows of identities that have expired.
func (t *tx) expireMarks() (more bool, err error) {
	const rows = step / 10
	n := 0
	var last mark
	err = t.conn.query(func(s *stmt) error {
		n++
		last = mark{expires: s.integer(0), seq: s.integer(1)}
		// The mark in memory has expired as well, whatever becomes of this
		// transaction, unless the identity came again.
		return readMarks(last.expires, last.seq, s.bytes(2), func(m *fullMark) {
			if t.writer.marks[m.key] == m.mark {
				delete(t.writer.marks, m.key)
			}
		})
	}, "SELECT expires, seq, marks FROM dedup WHERE expires <= ? ORDER BY expires, seq LIMIT ?", t.now.UnixNano(), rows)
	if err != nil || n == 0 {
		return false, err
	}
	return n == rows, t.exec("DELETE FROM dedup WHERE (expires, seq) <= (?, ?)", last.expires, last.seq)
}

// loadMarks fills the set of remembered identities.
func (w *writer) loadMarks() error {
	return w.conn.query(func(s *stmt) error {
		return readMarks(s.integer(0), s.integer(1), s.bytes(2), func(m *fullMark) {
			w.marks[m.key] = m.mark
			w.nextEvent = max(w.nextEvent, m.seq)
		})
	}, "SELECT expires, seq, marks FROM dedup WHERE expires > ?", w.db.now().UnixNano())
}
