package sqlite

import (
	"encoding/binary"
	"fmt"
)

// upgrade brings the schema of an older version to this one, in one transaction.
func (w *writer) upgrade(version int64) error {
	if version >= schemaVersion {
		return nil
	}
	steps := []func() error{w.upgrade1, w.upgrade2}
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, step := range steps[version-1:] {
		if err := step(); err != nil {
			return fmt.Errorf("upgrade from schema %d: %w", version, err)
		}
	}
	if err := w.exec(fmt.Sprintf("PRAGMA user_version = %d", schemaVersion)); err != nil {
		return err
	}
	return w.exec("COMMIT")
}

// upgrade1 adds lanes.
func (w *writer) upgrade1() error {
	return w.exec("ALTER TABLE deliveries ADD COLUMN lane TEXT NOT NULL DEFAULT ''")
}

// upgrade2 packs what had a row for each event: marks, hashes of ids and, from
// then on, attempts.
func (w *writer) upgrade2() error {
	for _, q := range []string{
		"ALTER TABLE dedup RENAME TO dedup_2",
		"ALTER TABLE event_ids RENAME TO event_ids_2",
		createDedup, createEventIDs,
		"ALTER TABLE deliveries ADD COLUMN started INTEGER", "ALTER TABLE deliveries ADD COLUMN ended INTEGER",
		"ALTER TABLE deliveries ADD COLUMN room BLOB", "ALTER TABLE deliveries ADD COLUMN output TEXT", createHistory,
	} {
		if err := w.exec(q); err != nil {
			return err
		}
	}
	var marks []fullMark
	err := w.conn.query(func(s *stmt) error {
		m := fullMark{mark: mark{expires: s.integer(0), seq: s.integer(1)}, uid: s.string(3)}
		copy(m.key[:], s.bytes(2))
		copy(m.digest[:], s.bytes(4))
		// They come in order, so those of one row follow each other; a row holds
		// marks of one time only.
		if len(marks) == 64 || len(marks) > 0 && marks[0].expires != m.expires {
			if err := w.writeMarks(marks); err != nil {
				return err
			}
			marks = marks[:0]
		}
		marks = append(marks, m)
		return nil
	}, "SELECT expires, seq, key, uid, digest FROM dedup_2 ORDER BY expires, seq")
	if err == nil {
		err = w.writeMarks(marks)
	}
	if err != nil {
		return err
	}
	hashes := make([]byte, 4*segmentEvents)
	n := int64(-1)
	put := func() error {
		if n < 0 {
			return nil
		}
		return w.exec("INSERT OR REPLACE INTO event_ids (segment, hashes) VALUES (?, ?)", n, hashes)
	}
	err = w.conn.query(func(s *stmt) error {
		if s.integer(0) != n {
			if err := put(); err != nil {
				return err
			}
			n = s.integer(0)
			clear(hashes)
		}
		binary.BigEndian.PutUint32(hashes[4*(s.integer(2)-n*segmentEvents):], uint32(s.integer(1)))
		return nil
	}, "SELECT segment, hash, seq FROM event_ids_2 ORDER BY segment")
	if err == nil {
		err = put()
	}
	if err != nil {
		return err
	}
	for _, q := range []string{"DROP TABLE dedup_2", "DROP TABLE event_ids_2"} {
		if err := w.exec(q); err != nil {
			return err
		}
	}
	return nil
}
