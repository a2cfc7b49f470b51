package sqlite

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// The form of a write-ahead log (https://sqlite.org/fileformat2.html, section 4):
// a header, and frames of a header and a page each. The checksum of a frame
// covers all frames before it as well.
const (
	logHeader   = 32
	frameHeader = 24
	logMagic    = 0x377f0682 // the last bit says whether sums are over big-endian words
)

// checkLog refuses a log that is damaged before its last transaction. SQLite reads
// it up to the first frame whose checksum is wrong and leaves out the rest, for
// that is what a power loss leaves of the last transaction. But a transaction that
// another one follows was synced: when it cannot be read, what was acknowledged
// would be gone without a word. So would be a log whose header is wrong, which
// is synced before the first frame.
func checkLog(path string) error {
	path += "-wal"
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	defer f.Close()
	at, damaged, err := readLog(f)
	if err != nil {
		return fmt.Errorf("open store: read %s: %w", path, err)
	}
	if damaged {
		return fmt.Errorf("open store: %s is damaged: what was acknowledged and written after byte %d cannot be read; "+
			"check the disk and restore a copy, or go on without that after: truncate -s %d %s", path, at, at, path)
	}
	return nil
}

// readLog returns the end of the last transaction that can be read, and whether
// one after it had been synced.
func readLog(f *os.File) (end int64, damaged bool, err error) {
	var head [logHeader]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, false, nil
		}
		return 0, false, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	magic, page := binary.BigEndian.Uint32(head[:]), int64(binary.BigEndian.Uint32(head[8:]))
	var order binary.ByteOrder = binary.LittleEndian
	if magic&1 == 1 {
		order = binary.BigEndian
	}
	sum := logSum{order: order}
	sum.add(head[:24])
	if magic&^1 != logMagic || page < sector || page > 1<<16 || !sum.is(head[24:]) {
		return 0, info.Size() > logHeader, nil
	}
	end = logHeader
	in := bufio.NewReaderSize(f, 1<<20)
	frame := make([]byte, frameHeader+page)
	for at := int64(logHeader); ; at += int64(len(frame)) {
		if _, err := io.ReadFull(in, frame); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return end, false, nil
			}
			return 0, false, err
		}
		sum.add(frame[:8])
		sum.add(frame[frameHeader:])
		if string(frame[8:16]) != string(head[16:24]) || binary.BigEndian.Uint32(frame) == 0 || !sum.is(frame[16:24]) {
			damaged, err = followed(f, at, int64(len(frame)), head[16:24], order)
			return end, damaged, err
		}
		if commits(frame) {
			end = at + int64(len(frame))
		}
	}
}

// commits says whether a frame is the last of its transaction.
func commits(frame []byte) bool { return binary.BigEndian.Uint32(frame[4:]) != 0 }

// followed says whether, from a byte on, the last frame of a transaction is
// followed by the first of another that goes on with its checksum: that one was
// begun after the first had been synced. Frames of an earlier round of the log have
// other salts, both of them; one that differs in one is of this round and damaged.
// What is left over of a transaction that never ended has nothing go on with it.
func followed(f *os.File, at, size int64, salts []byte, order binary.ByteOrder) (bool, error) {
	frame := make([]byte, size)
	var before logSum // of the frame before, if that was the last of a transaction
	for ended := false; ; at += size {
		if _, err := f.ReadAt(frame, at); err != nil {
			if errors.Is(err, io.EOF) {
				return false, nil
			}
			return false, err
		}
		if ended {
			before.add(frame[:8])
			before.add(frame[frameHeader:])
			if before.is(frame[16:24]) {
				return true, nil
			}
		}
		ours := string(frame[8:12]) == string(salts[:4]) || string(frame[12:16]) == string(salts[4:])
		ended = ours && commits(frame)
		before = logSum{order: order, a: binary.BigEndian.Uint32(frame[16:]), b: binary.BigEndian.Uint32(frame[20:])}
	}
}

// sector is the unit in which a disk writes whole or not at all, and the least
// size of a page.
const sector = 512

// logSum is the running checksum of a log.
type logSum struct {
	order binary.ByteOrder
	a, b  uint32
}

// add takes an even number of words.
func (s *logSum) add(p []byte) {
	for ; len(p) >= 8; p = p[8:] {
		s.a += s.order.Uint32(p) + s.b
		s.b += s.order.Uint32(p[4:]) + s.a
	}
}

// is compares with a sum as it is stored.
func (s *logSum) is(stored []byte) bool {
	return s.a == binary.BigEndian.Uint32(stored) && s.b == binary.BigEndian.Uint32(stored[4:])
}
