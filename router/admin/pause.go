package admin

import (
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"
)

// maxPauseReason is the longest reason for a pause, in bytes.
const maxPauseReason = 1024

// PauseOrder is the body of a pause; it may be left out.
type PauseOrder struct {
	// Reason is what others will read; at most 1024 bytes.
	Reason string `json:"reason"`
}

// Paused answers a pause or its end.
type Paused struct {
	Action string `json:"action"`
	Paused bool   `json:"paused"`
	// Since is null when the action is not paused.
	Since  *time.Time `json:"since"`
	Reason string     `json:"reason"`
}

func (a *api) pause(w http.ResponseWriter, r *http.Request) {
	var o PauseOrder
	err := a.params(r).err
	if err == nil && r.ContentLength != 0 {
		err = decode(r, &o)
	}
	if err == nil && (len(o.Reason) > maxPauseReason || !utf8.ValidString(o.Reason)) {
		err = problemf(http.StatusBadRequest, "bad_body", "reason has more than %d bytes, or is not UTF-8", maxPauseReason)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	name := r.PathValue("name")
	p, err := a.Pauser.Pause(r.Context(), name, o.Reason)
	if err != nil {
		a.fail(w, r, fmt.Errorf("pause: %w", err))
		return
	}
	since := p.Since.UTC()
	a.write(w, r, http.StatusOK, Paused{Action: name, Paused: true, Since: &since, Reason: p.Reason})
}

func (a *api) resume(w http.ResponseWriter, r *http.Request) {
	if p := a.params(r); p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	name := r.PathValue("name")
	if err := a.Pauser.Resume(r.Context(), name); err != nil {
		a.fail(w, r, fmt.Errorf("resume: %w", err))
		return
	}
	a.write(w, r, http.StatusOK, Paused{Action: name})
}
