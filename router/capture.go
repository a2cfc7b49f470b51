package router

import (
	"encoding/json"
	"time"
)

// Capture is one request that a webhook source was sent lately, for people who
// set it up. What may be a secret is "***" in it.
type Capture struct {
	Received time.Time `json:"received"`
	// Status is that of the answer; Code and Detail tell of the problem when
	// there is one.
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	// Headers have lower-case names.
	Headers map[string]string `json:"headers"`
	Query   map[string]string `json:"query"`
	// Body is empty when the sender did not prove itself, or when secrets cannot
	// be found in it because it is not JSON. Size is its size in bytes as it was
	// sent, decoded; Truncated says that Body is only the beginning.
	Body      string `json:"body"`
	Size      int    `json:"size"`
	Truncated bool   `json:"truncated"`
	// Events are what it became, as far as there is room; EventsLeftOut counts
	// the others.
	Events        []json.RawMessage `json:"events"`
	EventsLeftOut int               `json:"events_left_out"`
}
