package router

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// maxRevision bounds what is unpacked from the store, in bytes.
const maxRevision = 1 << 30

// revision is what is recorded of a rule set: what an explanation needs to be
// computed again, and nothing that could hold a secret.
type revision struct {
	Files   []rules.File      `json:"files"`
	Actions []string          `json:"actions"`
	Plugins map[string]string `json:"plugins"`
	// Overlaps are those of the configured actions.
	Overlaps map[string]string `json:"overlaps,omitempty"`
	// DryRun: the whole router ran dry.
	DryRun bool `json:"dry_run,omitempty"`
}

// NewRevision records a rule set with the names of the configured actions and
// the versions of their plugins. The same content has the same id.
func NewRevision(rs *rules.Ruleset, actions []string, plugins map[string]string, now time.Time) (store.Revision, error) {
	text, err := json.Marshal(revision{
		Files: rs.Files(), Actions: actions, Plugins: plugins, Overlaps: rs.Overlaps(), DryRun: rs.DryRun(),
	})
	if err != nil {
		return store.Revision{}, fmt.Errorf("encode the revision: %w", err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(text)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return store.Revision{}, fmt.Errorf("compress the revision: %w", err)
	}
	sum := sha256.Sum256(text)
	return store.Revision{ID: hex.EncodeToString(sum[:8]), Created: now, Data: packed.Bytes()}, nil
}

// rulesOf compiles the rules of a stored revision again.
func rulesOf(rev store.Revision) (*rules.Ruleset, error) {
	r, err := gzip.NewReader(bytes.NewReader(rev.Data))
	if err != nil {
		return nil, fmt.Errorf("revision %s: %w", rev.ID, err)
	}
	var content revision
	if err := json.NewDecoder(io.LimitReader(r, maxRevision)).Decode(&content); err != nil {
		return nil, fmt.Errorf("revision %s: %w", rev.ID, err)
	}
	rs, err := rules.LoadFiles(content.Files, rules.Options{Overlaps: content.Overlaps})
	if err != nil {
		return nil, fmt.Errorf("revision %s: %w", rev.ID, err)
	}
	if content.DryRun {
		rs = rs.AsDryRun()
	}
	return rs, nil
}
