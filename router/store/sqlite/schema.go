package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"

	"github.com/pointsman/pointsman/router/store/crashpoint"
)

const (
	// applicationID marks a file as a pointsman store ("pmst").
	applicationID = 0x706d7374
	// schemaVersion is PRAGMA user_version. A larger one in a file was written by
	// a newer pointsman.
	schemaVersion = 3
)

// schema is the whole of version 3. All times are nanoseconds since 1970 UTC
// (datetime(received/1000000000, 'unixepoch') in SQL), 0 for none.
//
// Every table that the hot path writes has a key that only grows, so that a
// group of writes touches a few pages at the right edge of each tree:
//
//   - events: one row per acceptance; json is the CloudEvent, verdicts a JSON
//     array of {rule, verdict, reason}.
//   - event_ids finds events by their CloudEvents id. Ids are random, and a tree
//     of random keys costs a page per event; so a row has 2048 events: the FNV-1a
//     hash of each id, 4 bytes big-endian, 0 where there is none. It is written
//     when it is full; until then the hashes are in memory, found again at Open.
//   - dedup: the remembered identities, in order of expiry. A row has those that
//     were written together, see appendMark; key is the first half of a SHA-256
//     of (source, ce_source, id).
//   - deliveries: state is 1 ready, 2 leased, 3 done, 4 dead, 5 held,
//     6 cancelled. settled is 1 once an outcome of the lease "epoch" is stored, 2
//     when that was after a cancel. uncertain is 1 when the attempt numbered
//     starts was lost and nothing was run or ordered since.
//     lane names what it must not meet, see package store.
//     deliveries_open leaves out what is done: nearly everything.
//     The attempt that made it done has no row in attempts if it was short: it is
//     started, ended and output here. room is bytes to grow into, see rowRoom.
//   - attempts: the history but for those; the view history has all.
//   - counts: deliveries by action and state.
//   - revision_refs: how many events refer to a revision.
//   - meta: boot, the number of the last opening.
const schema = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
  seq INTEGER PRIMARY KEY, uid TEXT NOT NULL, source TEXT NOT NULL, ce_source TEXT NOT NULL, id TEXT NOT NULL,
  type TEXT NOT NULL, received INTEGER NOT NULL, digest BLOB NOT NULL, revision TEXT NOT NULL,
  duplicates INTEGER NOT NULL DEFAULT 0, verdicts TEXT, json TEXT NOT NULL);
CREATE UNIQUE INDEX events_uid ON events(uid);
CREATE TABLE event_ids (segment INTEGER PRIMARY KEY, hashes BLOB NOT NULL);
CREATE TABLE dedup (expires INTEGER, seq INTEGER, marks BLOB NOT NULL, PRIMARY KEY (expires, seq)) WITHOUT ROWID;
CREATE TABLE states (
  key TEXT PRIMARY KEY, version INTEGER NOT NULL, expires INTEGER NOT NULL, data BLOB) WITHOUT ROWID;
CREATE INDEX states_expires ON states(expires) WHERE expires > 0;
CREATE TABLE deliveries (
  seq INTEGER PRIMARY KEY, id TEXT NOT NULL, event_seq INTEGER NOT NULL, event_uid TEXT NOT NULL, event_id TEXT NOT NULL,
  source TEXT NOT NULL, ce_source TEXT NOT NULL, rule TEXT NOT NULL, step INTEGER NOT NULL, action TEXT NOT NULL,
  state INTEGER NOT NULL, reason TEXT NOT NULL, dry_run INTEGER NOT NULL, key TEXT NOT NULL,
  created INTEGER NOT NULL, updated INTEGER NOT NULL, budget INTEGER NOT NULL, budget_from INTEGER NOT NULL,
  attempts INTEGER NOT NULL, starts INTEGER NOT NULL, crashes INTEGER NOT NULL, suspect INTEGER NOT NULL,
  due INTEGER NOT NULL, count INTEGER NOT NULL, expanded INTEGER NOT NULL,
  epoch INTEGER NOT NULL, settled INTEGER NOT NULL, uncertain INTEGER NOT NULL, error TEXT NOT NULL, params TEXT,
  lane TEXT NOT NULL DEFAULT '', started INTEGER, ended INTEGER, room BLOB, output TEXT);
CREATE UNIQUE INDEX deliveries_id ON deliveries(id);
CREATE INDEX deliveries_event ON deliveries(event_seq);
CREATE INDEX deliveries_open ON deliveries(state, action) WHERE state <> 3;
CREATE TABLE attempts (
  delivery INTEGER, number INTEGER, started INTEGER NOT NULL, ended INTEGER NOT NULL, outcome TEXT NOT NULL,
  error TEXT NOT NULL, output TEXT NOT NULL, PRIMARY KEY (delivery, number)) WITHOUT ROWID;
CREATE VIEW history AS SELECT delivery, number, started, ended, outcome, error, output FROM attempts
  UNION ALL SELECT seq, starts, started, ended, 'done', '', output FROM deliveries WHERE started IS NOT NULL;
CREATE TABLE counts (action TEXT, state INTEGER, n INTEGER NOT NULL, PRIMARY KEY (action, state)) WITHOUT ROWID;
CREATE TABLE revisions (id TEXT PRIMARY KEY, created INTEGER NOT NULL, stored INTEGER NOT NULL, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE revision_refs (id TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE instances (id TEXT PRIMARY KEY, start INTEGER NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, entered INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('boot', 0);
`

// checkHeader refuses a file that is not a pointsman store, or a newer one,
// before SQLite opens it: nothing of it is touched. fresh: there is no file, or
// an empty one.
func checkHeader(path string) (fresh bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("open store: %w", err)
	}
	defer f.Close()
	var head [100]byte
	n, err := io.ReadFull(f, head[:])
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return true, nil
	case head == [100]byte{} && journal(path):
		return true, nil // a creation that a power loss cut off; SQLite undoes it
	case errors.Is(err, io.ErrUnexpectedEOF) || err == nil && string(head[:16]) != "SQLite format 3\x00":
		return false, fmt.Errorf("open store %s: not a SQLite database; move it away or name another file", path)
	case err != nil:
		return false, fmt.Errorf("open store %s: %w", path, err)
	}
	app, version := binary.BigEndian.Uint32(head[68:]), binary.BigEndian.Uint32(head[60:])
	if app == 0 && version == 0 && binary.BigEndian.Uint32(head[28:]) == 1 {
		return true, nil // a creation that was cut off before its commit
	}
	if app != applicationID {
		return false, fmt.Errorf("open store %s: a database of another program (application_id %#x); name another file", path, app)
	}
	return false, checkVersion(path, int64(version))
}

// journal says whether a rollback journal is beside the file, as there is while it
// is made.
func journal(path string) bool {
	info, err := os.Stat(path + "-journal")
	return err == nil && info.Size() > 0
}

func checkVersion(path string, version int64) error {
	if version > schemaVersion {
		return fmt.Errorf("open store %s: written by a newer pointsman (schema %d, this one knows %d); run that version or restore a copy from before the upgrade",
			path, version, schemaVersion)
	}
	return nil
}

// create writes the schema in one transaction of the rollback journal, so that
// the header is right on disk before the file is switched to WAL.
func create(c *conn) error {
	for _, q := range []string{
		"PRAGMA page_size = 4096", "PRAGMA synchronous = FULL", "BEGIN IMMEDIATE", schema,
		fmt.Sprintf("PRAGMA application_id = %d", applicationID),
		fmt.Sprintf("PRAGMA user_version = %d", schemaVersion),
		"COMMIT",
	} {
		if err := direct(q, c.script); err != nil {
			return err
		}
	}
	return nil
}

// direct runs what is not the writer's: making the file, and checkpoints.
func direct(query string, run func(string) error) error {
	crashpoint.Here(query, crashpoint.Before)
	if err := run(query); err != nil {
		return err
	}
	crashpoint.Here(query, crashpoint.After)
	return nil
}

// dsn is the URI of path with pragmas for every connection made with it.
func dsn(path string, readOnly bool, pragmas ...string) string {
	q := url.Values{"_pragma": append([]string{"busy_timeout(5000)", "temp_store(memory)"}, pragmas...)}
	if readOnly {
		q.Set("mode", "ro")
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}
