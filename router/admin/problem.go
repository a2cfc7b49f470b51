package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// Problem is the body of every error (RFC 9457, application/problem+json).
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail is for people.
	Detail string `json:"detail"`
	// Code is stable and for programs: bad_request, bad_parameter, bad_cursor,
	// bad_body, body_too_large, unsupported_media_type, unauthorized,
	// foreign_host, foreign_origin, not_found, method_not_allowed,
	// count_changed, too_many, store_unavailable, internal, or the code of a
	// rules.EventError.
	Code string `json:"code"`
}

func (p *Problem) Error() string { return p.Detail }

func problemf(status int, code, format string, args ...any) *Problem {
	return &Problem{
		Title: http.StatusText(status), Status: status, Code: code,
		Detail: fmt.Sprintf(format, args...),
	}
}

// fail answers with err. An error that is not the client's is logged, and the
// client is told no more than its kind.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := a.problem(r, err)
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	body, err := json.Marshal(p)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone; nobody is left to tell
}

func (a *api) problem(r *http.Request, err error) *Problem {
	var p *Problem
	var ev *rules.EventError
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &ev):
		return problemf(http.StatusBadRequest, ev.Code, "%s", ev.Msg)
	case errors.As(err, &large):
		return problemf(http.StatusRequestEntityTooLarge, "body_too_large",
			"the body is larger than %d bytes", large.Limit)
	case errors.Is(err, store.ErrNotFound):
		return problemf(http.StatusNotFound, "not_found", "there is no such record")
	case errors.Is(err, context.Canceled):
		return problemf(http.StatusServiceUnavailable, "store_unavailable", "the request was given up")
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrFull),
		errors.Is(err, store.ErrFenced), errors.Is(err, context.DeadlineExceeded):
		a.Log.Warn("admin request met an unavailable store", "path", r.URL.Path, "error", err)
		return problemf(http.StatusServiceUnavailable, "store_unavailable",
			"the store cannot answer now; try again")
	default:
		a.Log.Error("admin request", "path", r.URL.Path, "error", err)
		return problemf(http.StatusInternalServerError, "internal",
			"something went wrong here; the router's log says what")
	}
}

// write answers 200 (or status) with v as JSON.
func (a *api) write(w http.ResponseWriter, r *http.Request, status int, v any) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false) // events are shown as they were sent
	if err := e.Encode(v); err != nil {
		a.fail(w, r, fmt.Errorf("encode answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // as in fail
}
