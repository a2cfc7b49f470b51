package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strconv"
)

// segmentEvents is how many events share a row of event_ids.
const segmentEvents = 2048

func idHash(id string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return h.Sum32()
}

// segment is the hashes of the newest events, for which there is no row yet: 4
// bytes each from the event numbered first on, 0 where there is none.
type segment struct {
	first  int64
	hashes []byte
}

// writeIDs stores the segments that the transaction completes, and tells what
// is left.
func (t *tx) writeIDs() (segment, error) {
	t.db.mu.Lock()
	s := t.db.newest
	t.db.mu.Unlock()
	s.hashes = append(s.hashes[:len(s.hashes):len(s.hashes)], t.hashes...)
	for len(s.hashes) >= 4*segmentEvents {
		if err := t.exec("INSERT OR REPLACE INTO event_ids (segment, hashes) VALUES (?, ?)", s.first/segmentEvents, s.hashes[:4*segmentEvents]); err != nil {
			return s, fmt.Errorf("write event ids: %w", err)
		}
		s.first, s.hashes = s.first+segmentEvents, s.hashes[4*segmentEvents:]
	}
	return s, nil
}

// loadIDs finds the hashes that have no row. An event may be gone before its
// deliveries.
func (w *writer) loadIDs() error {
	s := segment{first: w.nextEvent / segmentEvents * segmentEvents}
	s.hashes = make([]byte, 4*(w.nextEvent-s.first))
	err := w.conn.query(func(row *stmt) error {
		binary.BigEndian.PutUint32(s.hashes[4*(row.integer(0)-s.first):], idHash(row.string(1)))
		return nil
	}, `SELECT seq, id FROM events WHERE seq >= ?1 UNION ALL SELECT event_seq, event_id FROM deliveries
		WHERE event_seq >= ?1 AND NOT EXISTS (SELECT 1 FROM events WHERE seq = event_seq)`, s.first)
	w.db.newest = s
	return err
}

// withID finds the numbers of the events whose id may be the given one, as a
// JSON array.
func (db *DB) withID(ctx context.Context, id string) (string, error) {
	hash := idHash(id)
	list := []byte{'['}
	find := func(first int64, hashes []byte) {
		for i := 0; i+4 <= len(hashes); i += 4 {
			if binary.BigEndian.Uint32(hashes[i:]) == hash {
				if len(list) > 1 {
					list = append(list, ',')
				}
				list = strconv.AppendInt(list, first+int64(i/4), 10)
			}
		}
	}
	// The newest first: what is written as a row meanwhile is found twice.
	db.mu.Lock()
	newest := db.newest
	db.mu.Unlock()
	find(newest.first, newest.hashes)
	rows, err := db.reads.QueryContext(ctx, "SELECT segment, hashes FROM event_ids")
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		var n int64
		var hashes []byte
		if err := rows.Scan(&n, &hashes); err != nil {
			return "", err
		}
		find(n*segmentEvents, hashes)
	}
	return string(append(list, ']')), rows.Err()
}
