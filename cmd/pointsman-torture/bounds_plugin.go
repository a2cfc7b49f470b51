package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/actions"
)

// What the plugin does in the tries of bounds, as settings.mode says.
const (
	modeQuick = "quick" // notes when it was called and is done
	modeHang  = "hang"  // notes it and never ends
	modeBusy  = "busy"  // notes how many run beside it, waits busyTime and is done
	modeFirst = "first" // as busy, but each first attempt fails
)

const (
	// busyTime is how long an attempt takes that is not quick.
	busyTime = 2 * time.Millisecond
	// noteSize is that of a note: the number of the event, the time in ns since
	// 1970 and how many ran beside it, little endian.
	noteSize = 24
	// boundsID begins the ids of events; a number follows.
	boundsID = "bounds-"
)

// plugin is this executable as an action: the ledger of the rounds, or, with
// settings.mode, what the tries of bounds need.
type plugin struct {
	ledger
	mode    string
	notes   *os.File
	running atomic.Int64
}

// Describe implements actions.Action.
func (p *plugin) Describe() actions.Description {
	d := p.ledger.Describe()
	d.SettingsSchema = json.RawMessage(`{"type": "object", "required": ["dir"], "properties": {"dir": {"type": "string"},
		"mode": {"enum": ["quick", "hang", "busy", "first"]}}, "additionalProperties": false}`)
	return d
}

// Configure implements actions.Configurer. With a mode, dir is the file of the
// notes.
func (p *plugin) Configure(ctx context.Context, s actions.Settings) error {
	var settings struct {
		Dir  string `json:"dir"`
		Mode string `json:"mode"`
	}
	err := s.Decode(&settings)
	if err != nil {
		return err
	}
	if p.mode = settings.Mode; p.mode == "" {
		return p.ledger.Configure(ctx, s)
	}
	if p.notes, err = os.OpenFile(settings.Dir, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("settings.dir: %w", err)
	}
	return nil
}

// Run implements actions.Action.
func (p *plugin) Run(ctx context.Context, req *actions.Request) (*actions.Result, error) {
	if p.mode == "" {
		return p.ledger.Run(ctx, req)
	}
	beside := p.running.Add(1)
	defer p.running.Add(-1)
	n, err := strconv.ParseUint(strings.TrimPrefix(req.EventID, boundsID), 10, 64)
	if err != nil {
		return nil, actions.Permanent(err)
	}
	var b [noteSize]byte
	binary.LittleEndian.PutUint64(b[0:], n)
	binary.LittleEndian.PutUint64(b[8:], uint64(time.Now().UnixNano()))
	binary.LittleEndian.PutUint64(b[16:], uint64(beside))
	// One write each: what is noted is there when the process is killed.
	if _, err := p.notes.Write(b[:]); err != nil {
		return nil, err
	}
	switch p.mode {
	case modeHang:
		select {}
	case modeBusy, modeFirst:
		time.Sleep(busyTime)
	}
	if p.mode == modeFirst && req.Attempt == 1 {
		return nil, errors.New("the target is away")
	}
	return &actions.Result{}, nil
}

// ran is one call of the plugin as it noted it.
type ran struct {
	event  uint64
	at     time.Time
	beside int
}

// readNotes reads what the plugin noted from an offset on, and how far that is.
func readNotes(path string, from int64) ([]ran, int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, from, nil
	}
	if err != nil {
		return nil, from, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, from, err
	}
	b := make([]byte, (info.Size()-from)/noteSize*noteSize)
	if _, err := f.ReadAt(b, from); err != nil {
		return nil, from, err
	}
	out := make([]ran, 0, len(b)/noteSize)
	for ; len(b) > 0; b = b[noteSize:] {
		out = append(out, ran{
			event:  binary.LittleEndian.Uint64(b),
			at:     time.Unix(0, int64(binary.LittleEndian.Uint64(b[8:]))),
			beside: int(binary.LittleEndian.Uint64(b[16:])),
		})
	}
	return out, from + int64(len(out))*noteSize, nil
}
