package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pointsman/pointsman/actions"
)

// recorder is the action that is measured: it notes when each run came and is
// done. What it noted is in the file settings.file, 16 bytes a run, at most
// flushEvery later.
type recorder struct {
	file *os.File
	mu   sync.Mutex // guards buf
	buf  []byte
}

const (
	flushEvery = 20 * time.Millisecond
	// timeRecord is the size of a note: the number of the event and the time in
	// ns since 1970, little endian.
	timeRecord = 16
)

// Describe implements actions.Action.
func (r *recorder) Describe() actions.Description {
	return actions.Description{
		Name: "bench", Version: "1.0.0", Summary: "Note the time and be done.",
		SettingsSchema: json.RawMessage(`{"type": "object", "required": ["file"], "properties": {"file": {"type": "string"}}, "additionalProperties": false}`),
		Idempotency:    actions.IdempotentNone,
	}
}

// Configure implements actions.Configurer.
func (r *recorder) Configure(_ context.Context, s actions.Settings) error {
	var settings struct {
		File string `json:"file"`
	}
	err := s.Decode(&settings)
	if err != nil {
		return err
	}
	if r.file, err = os.OpenFile(settings.File, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("settings.file: %w", err)
	}
	go r.flush() // for the life of the process
	return nil
}

// Run implements actions.Action.
func (r *recorder) Run(_ context.Context, req *actions.Request) (*actions.Result, error) {
	now := time.Now().UnixNano()
	n, err := strconv.ParseInt(strings.TrimPrefix(req.EventID, idPrefix), 10, 64)
	if err != nil {
		return nil, actions.Permanent(err)
	}
	r.mu.Lock()
	r.buf = binary.LittleEndian.AppendUint64(r.buf, uint64(n))
	r.buf = binary.LittleEndian.AppendUint64(r.buf, uint64(now))
	r.mu.Unlock()
	return &actions.Result{}, nil
}

func (r *recorder) flush() {
	var spare []byte
	for range time.Tick(flushEvery) {
		r.mu.Lock()
		full := r.buf
		r.buf = spare[:0]
		r.mu.Unlock()
		spare = full
		if len(full) == 0 {
			continue
		}
		if _, err := r.file.Write(full); err != nil {
			fmt.Fprintln(os.Stderr, "write times:", err)
			os.Exit(1)
		}
	}
}
