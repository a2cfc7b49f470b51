package sqlite

import (
	"encoding/binary"
	"fmt"
)

// upgrade brings the schema of an older version to this one, in one transaction.
func (w *writer) upgrade(version int64) error {
	type step struct {
		from int64
		sql  string
		run  func() error
	}
	for _, s := range []step{
		{sql: "BEGIN IMMEDIATE"},
		{from: 1, sql: "ALTER TABLE deliveries ADD COLUMN lane TEXT NOT NULL DEFAULT ''"},
		// What had a row for each event is packed.
		{from: 2, sql: "ALTER TABLE dedup RENAME TO dedup_2"},
		{from: 2, sql: "CREATE TABLE dedup (expires INTEGER, seq INTEGER, marks BLOB NOT NULL, PRIMARY KEY (expires, seq)) WITHOUT ROWID"},
		{from: 2, run: w.packMarks},
		{from: 2, sql: "DROP TABLE dedup_2"},
		{from: 2, sql: "ALTER TABLE event_ids RENAME TO event_ids_2"},
		{from: 2, sql: "CREATE TABLE event_ids (segment INTEGER PRIMARY KEY, hashes BLOB NOT NULL)"},
		{from: 2, run: w.packIDs},
		{from: 2, sql: "DROP TABLE event_ids_2"},
		// Short attempts are kept in the row of the delivery from then on.
		{from: 2, sql: "ALTER TABLE deliveries ADD COLUMN started INTEGER"},
		{from: 2, sql: "ALTER TABLE deliveries ADD COLUMN ended INTEGER"},
		{from: 2, sql: "ALTER TABLE deliveries ADD COLUMN room BLOB"},
		{from: 2, sql: "ALTER TABLE deliveries ADD COLUMN output TEXT"},
		{from: 2, sql: `CREATE VIEW history AS SELECT delivery, number, started, ended, outcome, error, output FROM attempts
			UNION ALL SELECT seq, starts, started, ended, 'done', '', output FROM deliveries WHERE started IS NOT NULL`},
		{sql: fmt.Sprintf("PRAGMA user_version = %d", schemaVersion)},
		{sql: "COMMIT"},
	} {
		if version >= schemaVersion || s.from != 0 && s.from < version {
			continue
		}
		run := s.run
		if run == nil {
			run = func() error { return direct(s.sql, w.conn.script) }
		}
		if err := run(); err != nil {
			return fmt.Errorf("upgrade from schema %d: %w", version, err)
		}
	}
	return nil
}

// packMarks makes the rows of dedup from those of version 2, one for each mark.
func (w *writer) packMarks() error {
	var marks []fullMark
	err := w.conn.query(func(s *stmt) error {
		m := fullMark{mark: mark{expires: s.integer(0), seq: s.integer(1)}, uid: s.string(3)}
		copy(m.key[:], s.bytes(2))
		copy(m.digest[:], s.bytes(4))
		if marks = append(marks, m); len(marks) < 64 {
			return nil
		}
		defer func() { marks = marks[:0] }()
		return w.writeMarks(marks)
	}, "SELECT expires, seq, key, uid, digest FROM dedup_2 ORDER BY expires, seq")
	if err != nil {
		return err
	}
	return w.writeMarks(marks)
}

// packIDs makes the rows of event_ids from those of version 2, one for each
// event.
func (w *writer) packIDs() error {
	hashes := make([]byte, 4*segmentEvents)
	n := int64(-1)
	put := func() error {
		if n < 0 {
			return nil
		}
		return w.exec("INSERT OR REPLACE INTO event_ids (segment, hashes) VALUES (?, ?)", n, hashes)
	}
	err := w.conn.query(func(s *stmt) error {
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
	if err != nil {
		return err
	}
	return put()
}
