// Package ingest takes CloudEvents in over HTTP. It hides the HTTP protocol
// binding (binary, structured and batched mode), the web hook handshake, every
// limit, and how an error is answered. What an event then causes is the
// router's business.
package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/rules"
)

// EventsSource is the source name of POST /events.
const EventsSource = "events"

// Accepter is the router as ingest sees it. Called concurrently. The results
// are in the order of the events; the errors are router.ErrUnavailable and
// router.ErrStopping, wrapped, or the context's.
type Accepter func(ctx context.Context, from router.Origin, evs []*rules.Event) ([]router.Result, error)

// Config configures New. Accept is required.
type Config struct {
	Accept Accepter
	// Dedup is how long POST /events remembers an id; 0: not at all. It and
	// Origins hold until SetSources.
	Dedup time.Duration
	// Origins are the web hook origins the handshake permits; "*" is any.
	Origins []string
	// Body and BatchBody are size limits in bytes, after decoding; default 1 MiB
	// and 8 MiB.
	Body, BatchBody int64
	// InFlight is how many bytes of memory the bodies of all requests may take
	// together; default 64 MiB. A request that is larger is taken while it is alone.
	InFlight int64
	// Batch is the most events of a batch; default 1000.
	Batch int
	// Depth is the nesting of data; default 64.
	Depth int
	// Hops is how often an event may have been caused by another through an
	// action; default 8.
	Hops int
	// Now is the clock of rate limits and of what is shown of requests; default
	// time.Now.
	Now func() time.Time
	// Rejected is called for each request that is refused, with the source's
	// name; nil: nobody counts.
	Rejected func(source string)
	// Panicked is called with the value of each panic of a request, which is
	// answered with 500; nil: nobody counts.
	Panicked func(value any)
	// Log takes what a client is not told; default: discarded.
	Log *slog.Logger
}

// Handler is the public listener's handler. It is safe for concurrent use.
type Handler struct {
	cfg      Config
	sources  atomic.Pointer[inForce]
	captures captures
	flight   inFlight
	// decoding has a token for each large body that is decoded now.
	decoding chan struct{}
	stopping atomic.Bool
}

// New returns a handler.
func New(cfg Config) *Handler {
	if cfg.Body == 0 {
		cfg.Body = 1 << 20
	}
	if cfg.BatchBody == 0 {
		cfg.BatchBody = 8 << 20
	}
	if cfg.InFlight == 0 {
		cfg.InFlight = 64 << 20
	}
	if cfg.Batch == 0 {
		cfg.Batch = 1000
	}
	if cfg.Hops == 0 {
		cfg.Hops = 8
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rejected == nil {
		cfg.Rejected = func(string) {}
	}
	if cfg.Panicked == nil {
		cfg.Panicked = func(any) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	h := &Handler{cfg: cfg, flight: inFlight{most: cfg.InFlight}, decoding: make(chan struct{}, maxDecoded)}
	h.SetSources(Sources{Events: Events{Dedup: cfg.Dedup, Origins: cfg.Origins}})
	return h
}

// Stop answers every new event with 503 from now on, and asks clients to close
// their connections.
func (h *Handler) Stop() { h.stopping.Store(true) }

// ServeHTTP implements http.Handler. The path is compared as it was sent: a
// path that would need cleaning is not found, never redirected.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v != nil {
			h.cfg.Panicked(v)
			h.refuse(w, &problem{status: http.StatusInternalServerError, code: "internal", detail: "something went wrong here", close: true})
		}
	}()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if h.stopping.Load() {
		w.Header().Set("Connection", "close")
	}
	defer h.meter(r)()
	if h.hook(w, r) {
		return
	}
	if rawPath(r) != "/events" {
		h.refuse(w, &problem{status: http.StatusNotFound, code: "not_found", detail: "there is nothing at this path"})
		return
	}
	switch r.Method {
	case http.MethodPost:
		h.post(w, r)
	case http.MethodOptions:
		h.options(w, r, EventsSource, h.sources.Load().events.Origins)
	default:
		w.Header().Set("Allow", "POST, OPTIONS")
		h.refuse(w, &problem{status: http.StatusMethodNotAllowed, code: "method_not_allowed", detail: "events are sent with POST"})
	}
}

// rawPath is the path as it stands in the request line, without the query, and
// without scheme and host, which proxies may send (RFC 9112, section 3.2.2).
func rawPath(r *http.Request) string { return r.URL.EscapedPath() }

// answer is one event's part of a 202.
type answer struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	// Duplicate is absent where Code tells of a conflict.
	Duplicate *bool  `json:"duplicate,omitempty"`
	Code      string `json:"code,omitempty"`
}

func (h *Handler) post(w http.ResponseWriter, r *http.Request) {
	if h.stopping.Load() {
		h.refuse(w, unavailable("the router is shutting down"))
		return
	}
	in := h.sources.Load()
	events := &in.events
	p := h.authenticate(w, r, events.Auth, h.sizeLimit(r))
	if p == nil {
		p = in.eventsRate.admit()
	}
	if p != nil {
		h.refuse(w, p)
		return
	}
	evs, batch, p := h.read(w, r)
	if p == nil {
		p = h.countHops(r, evs)
	}
	if p != nil {
		h.refuse(w, p)
		return
	}
	in.eventsRate.take(len(evs))
	if len(evs) == 0 {
		writeJSON(w, http.StatusAccepted, []answer{})
		return
	}
	from := router.Origin{Source: EventsSource, Dedup: events.Dedup, Strict: true}
	results, err := h.cfg.Accept(r.Context(), from, evs)
	if err != nil {
		h.refuse(w, h.notAccepted(err))
		return
	}
	answers := make([]answer, len(evs))
	for i, res := range results {
		answers[i] = answer{ID: evs[i].ID(), Source: EventsSource, Duplicate: &results[i].Duplicate}
		if res.Conflict {
			answers[i].Duplicate, answers[i].Code = nil, "conflict"
		}
	}
	switch {
	case batch:
		writeJSON(w, http.StatusAccepted, answers)
	case results[0].Conflict:
		w.Header().Set("Cache-Control", "no-store")
		writeProblem(w, &problem{
			status: http.StatusConflict, code: "conflict", attribute: "id",
			detail: "this id was used before for an event with other content (use a fresh id for each event)",
		})
	default:
		writeJSON(w, http.StatusAccepted, answers[0])
	}
}

// notAccepted turns the router's error into an answer.
func (h *Handler) notAccepted(err error) *problem {
	switch {
	case errors.Is(err, router.ErrStopping):
		return unavailable("the router is starting or shutting down")
	case errors.Is(err, context.Canceled):
		return unavailable("the client went away")
	default:
		h.cfg.Log.Debug("event not accepted", "error", err)
		return unavailable("the event could not be stored durably")
	}
}

func unavailable(detail string) *problem {
	return &problem{status: http.StatusServiceUnavailable, code: "unavailable", detail: detail + " (send it again later)", retryAfter: 2}
}

// problem is an error answer; it never holds anything of the request but the
// name of an attribute and positions.
// (RFC 9457.)
type problem struct {
	status     int
	code       string
	detail     string
	attribute  string
	index      int // of the event in a batch, from 0
	inBatch    bool
	offset     int64 // in the body
	hasOffset  bool
	retryAfter int // seconds
	close      bool
}

func (h *Handler) refuse(w http.ResponseWriter, p *problem) { h.refuseFrom(w, EventsSource, p) }

func (h *Handler) refuseFrom(w http.ResponseWriter, source string, p *problem) {
	h.cfg.Rejected(source)
	if p.close {
		w.Header().Set("Connection", "close")
	}
	writeProblem(w, p)
}

func writeProblem(w http.ResponseWriter, p *problem) {
	body := struct {
		Type      string `json:"type"`
		Title     string `json:"title"`
		Status    int    `json:"status"`
		Code      string `json:"code"`
		Detail    string `json:"detail"`
		Attribute string `json:"attribute,omitempty"`
		Index     *int   `json:"index,omitempty"`
		Offset    *int64 `json:"offset,omitempty"`
	}{
		Type: "about:blank", Title: http.StatusText(p.status), Status: p.status,
		Code: p.code, Detail: p.detail, Attribute: p.attribute,
	}
	if p.inBatch {
		body.Index = &p.index
	}
	if p.hasOffset {
		body.Offset = &p.offset
	}
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	text, err := json.Marshal(body)
	if err != nil { // strings and numbers only
		text = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.status)
	_, _ = w.Write(append(text, '\n')) // a client that is gone needs no answer
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil { // as above
		text = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // as above
}

// NewServer returns the HTTP server for a handler: headers within 5 s and
// 64 KiB, a body within 30 s, idle connections for 2 minutes, HTTP/1 only. At
// most connections of them are open; one too many takes the place of the longest
// idle one.
func NewServer(h http.Handler, connections int) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		// net/http adds 4096 bytes of slop to it.
		MaxHeaderBytes: 64<<10 - 4096,
		Protocols:      &protocols,
		ConnState:      newConnections(connections).changed,
	}
}
