package ingest

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/rules"
)

// hooksPrefix begins the paths of webhook sources.
const hooksPrefix = "/hooks/"

// Sources are what is reloaded while the handler serves: everything that the
// configuration says of who may send what. They are replaced as a whole.
type Sources struct {
	Events Events
	Hooks  []Hook
}

// Events is POST /events.
type Events struct {
	Auth Auth
	// Dedup is how long an id is remembered; 0: not at all.
	Dedup time.Duration
	// Origins are the web hook origins the handshake permits; "*" is any.
	Origins []string
	// Rate is how many events a second are taken, measured over a second; 0: no
	// limit.
	Rate float64
}

// Hook is a webhook source: POST /hooks/NAME.
type Hook struct {
	Name string
	// Type tells a sender whose requests are taken here; empty: anybody's.
	Type string
	Auth Auth
	// Dedup is how long an id is remembered; 0: not at all.
	Dedup time.Duration
	// Body is the size limit in bytes, after decoding; 0: that of the handler.
	Body int64
	// Rate is how many events a second are taken; 0: no limit.
	Rate float64
	// Text takes JSON that is sent as text/plain, too.
	Text bool
	// JSON refuses forms.
	JSON bool
	// EventGrid answers Azure Event Grid when it validates a subscription.
	EventGrid  bool
	Translator *rules.Translator

	bucket *bucket
}

// SetSources replaces the sources. A request is served by those in force when
// it began. Names must be unique.
func (h *Handler) SetSources(s Sources) {
	in := &inForce{
		events: s.Events, eventsRate: newBucket(s.Events.Rate, h.cfg.Now), hooks: make(map[string]*Hook, len(s.Hooks)),
	}
	for _, hook := range s.Hooks {
		if hook.Body == 0 {
			hook.Body = h.cfg.Body
		}
		hook.bucket = newBucket(hook.Rate, h.cfg.Now)
		in.hooks[hook.Name] = &hook
	}
	h.sources.Store(in)
	h.captures.keep(in.hooks)
}

// inForce are the sources as requests need them. It is immutable.
type inForce struct {
	events     Events
	eventsRate *bucket
	hooks      map[string]*Hook
}

// hook serves POST /hooks/NAME; false when there is no such source.
func (h *Handler) hook(w http.ResponseWriter, r *http.Request) bool {
	name, ok := strings.CutPrefix(rawPath(r), hooksPrefix)
	if !ok {
		return false
	}
	hook := h.sources.Load().hooks[name]
	if hook == nil {
		return false
	}
	if r.Method == http.MethodOptions && hook.EventGrid {
		h.options(w, r, name, []string{EventGridOrigin})
		return true
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", hook.methods())
		h.refuseFrom(w, name, &problem{status: http.StatusMethodNotAllowed, code: "method_not_allowed", detail: "webhooks are sent with POST"})
		return true
	}
	if h.stopping.Load() {
		h.refuseFrom(w, name, unavailable("the router is shutting down"))
		return true
	}
	t, p := h.translate(w, r, hook)
	var answers []answer
	if p == nil {
		answers, p = h.accept(r, hook, t.events)
	}
	h.capture(r, hook, t, p)
	if p != nil {
		h.refuseFrom(w, name, p)
		return true
	}
	if t.reply != nil {
		writeJSON(w, http.StatusOK, t.reply)
		return true
	}
	writeJSON(w, http.StatusAccepted, answers)
	return true
}

func (hook *Hook) methods() string {
	if hook.EventGrid {
		return "POST, OPTIONS"
	}
	return http.MethodPost
}

// accept hands events to the router.
func (h *Handler) accept(r *http.Request, hook *Hook, evs []*rules.Event) ([]answer, *problem) {
	answers := []answer{}
	if len(evs) == 0 {
		return answers, nil
	}
	results, err := h.cfg.Accept(r.Context(), router.Origin{Source: hook.Name, Dedup: hook.Dedup}, evs)
	if err != nil {
		return nil, h.notAccepted(err)
	}
	for i := range results {
		answers = append(answers, answer{ID: evs[i].ID(), Source: hook.Name, Duplicate: &results[i].Duplicate})
	}
	return answers, nil
}

// taken is what is known of a request to a webhook, as far as it came.
type taken struct {
	// proved: the sender is who may send.
	proved bool
	// body is JSON when the request is well-formed.
	body   []byte
	events []*rules.Event
	// reply answers what was no event; nil: the usual answer.
	reply any
}

// translate turns a request into events: all of them, or a problem.
func (h *Handler) translate(w http.ResponseWriter, r *http.Request, hook *Hook) (t taken, p *problem) {
	if p := h.authenticate(w, r, hook.Auth, hook.Body); p != nil {
		return t, p
	}
	t.proved = true
	if p := hook.bucket.admit(); p != nil {
		return t, p
	}
	contentType, p := one(r.Header, "Content-Type")
	if p != nil {
		return t, p
	}
	form, p := hook.form(contentType)
	if p != nil {
		return t, p
	}
	if t.body, p = h.body(w, r, hook.Body); p != nil {
		return t, p
	}
	if form {
		object, p := formBody(t.body)
		if p != nil {
			return t, p
		}
		t.body = object
	}
	var done bool
	if t.reply, done, p = h.greet(r, hook, t.body); done || p != nil {
		return t, p
	}
	req := rules.Request{Body: t.body, Headers: headersOf(r.Header, hook.Auth), Query: queryOf(r.URL.RawQuery), Time: hook.Auth.sentAt(r)}
	t.events, p = h.events(r, hook, req)
	return t, p
}

func (h *Handler) events(r *http.Request, hook *Hook, req rules.Request) ([]*rules.Event, *problem) {
	evs, err := h.decode(hook, req)
	if err != nil {
		return nil, h.requestProblem(hook, err)
	}
	if p := h.countHops(r, evs); p != nil {
		return nil, p
	}
	hook.bucket.take(len(evs))
	return evs, nil
}

const (
	// largeBody is the size in bytes from which on a webhook's body waits for its
	// turn to be decoded, which may take twenty times its size of memory; maxDecoded
	// is how many are decoded at a time.
	largeBody  = 64 << 10
	maxDecoded = 2
)

func (h *Handler) decode(hook *Hook, req rules.Request) ([]*rules.Event, error) {
	if len(req.Body) >= largeBody {
		h.decoding <- struct{}{}
		defer func() { <-h.decoding }()
	}
	return hook.Translator.Events(req, rules.Limits{Depth: h.cfg.Depth}, h.cfg.Batch)
}

// form tells whether a body of a type is a form; otherwise it is JSON.
func (hook *Hook) form(contentType string) (bool, *problem) {
	media := mediaType(contentType)
	form := media == "application/x-www-form-urlencoded"
	isJSON := media == "" || hook.Text && media == "text/plain" || media == "application/json" ||
		strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
	switch {
	case hook.JSON && !isJSON:
		return false, unsupported("webhooks of type " + hook.Type + " are taken as application/json (set the Content-Type)")
	case !form && !isJSON:
		return false, unsupported("webhooks are taken as application/json or application/x-www-form-urlencoded")
	case media != "" && !utf8Charset(contentType):
		return false, unsupported("webhooks are taken in UTF-8 only")
	}
	return form, nil
}

// Try translates a request as the handler would that comes from who may send
// it, and accepts nothing. The error says what is wrong with it.
func (hook *Hook) Try(body []byte, header http.Header, query string, lim rules.Limits, batch int) ([]*rules.Event, error) {
	form, p := hook.form(header.Get("Content-Type"))
	if p == nil && form {
		body, p = formBody(body)
	}
	if p != nil {
		return nil, errors.New(p.detail)
	}
	req := rules.Request{Body: body, Headers: headersOf(header, hook.Auth), Query: queryOf(query)}
	return hook.Translator.Events(req, lim, batch)
}

// formBody makes a JSON object of a form: each name with its value as text, a
// list of texts when it is there several times.
func formBody(body []byte) ([]byte, *problem) {
	bad := &problem{status: http.StatusBadRequest, code: "bad_form", detail: "the body is not a form in UTF-8"}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, bad
	}
	object := make(map[string]any, len(form))
	for name, list := range form {
		for _, value := range append(list, name) {
			if !utf8.ValidString(value) {
				return nil, bad
			}
		}
		object[name] = list
		if len(list) == 1 {
			object[name] = list[0]
		}
	}
	text, err := json.Marshal(object)
	if err != nil { // texts only
		return nil, bad
	}
	return text, nil
}

// headersOf are the headers that expressions see. What proves who sends is not
// among them, so that it cannot get into an event.
func headersOf(header http.Header, a Auth) map[string]string {
	out := make(map[string]string, len(header))
	for name, list := range header {
		if !a.hides(name) {
			out[strings.ToLower(name)] = strings.Join(list, ", ")
		}
	}
	return out
}

// queryOf is the query that expressions see: the first value of each name.
func queryOf(query string) map[string]string {
	q, _ := url.ParseQuery(query) // of one that is not well-formed, the good part
	out := make(map[string]string, len(q))
	for name, list := range q {
		if name != queryToken {
			out[name] = list[0]
		}
	}
	return out
}

// requestProblem is nil for a nil error. The answer names the expression; what
// it says of values is for the operator, who configured it.
func (h *Handler) requestProblem(hook *Hook, err error) *problem {
	var re *rules.RequestError
	if !errors.As(err, &re) {
		return eventProblem(err)
	}
	h.cfg.Log.Warn("webhook not translated", "source", hook.Name, "type", hook.Type, "error", err)
	detail := re.Error()
	if hook.Type != "" {
		detail += " (type " + hook.Type + ")"
	}
	p := &problem{
		status: http.StatusUnprocessableEntity, code: "not_translated", attribute: re.Key,
		detail: detail, index: re.Index, inBatch: re.Index >= 0,
	}
	if errors.Is(err, rules.ErrTooManyItems) {
		p.status, p.code = http.StatusRequestEntityTooLarge, rules.CodeTooMany
	}
	return p
}
