package sqlite

import (
	"context"
	"time"
)

// checkpointBytes is roughly how much is written between two checkpoints.
const checkpointBytes = 8 << 20

// checkpoints copies the write-ahead log into the file beside the writer, whose
// commits would else stand still for it. When it falls behind, SQLite's own
// checkpoint at 16000 pages bounds the log. A failure is not reported: the log
// keeps everything, and the writer meets the same disk.
func (db *DB) checkpoints() {
	defer db.done.Done()
	idle := time.NewTimer(time.Minute)
	defer idle.Stop()
	for {
		select {
		case <-db.closed:
			return
		case <-db.w.dirty:
		case <-idle.C:
		}
		idle.Reset(time.Minute)
		_ = direct("PRAGMA wal_checkpoint(PASSIVE)", db.checkpoint)
	}
}

func (db *DB) checkpoint(query string) error {
	_, err := db.side.ExecContext(context.Background(), query)
	return err
}
