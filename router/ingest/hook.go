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
	// Text takes JSON that is sent as text/plain, too.
	Text       bool
	Translator *rules.Translator
}

// SetSources replaces the sources. A request is served by those in force when
// it began. Names must be unique.
func (h *Handler) SetSources(s Sources) {
	in := &inForce{events: s.Events, hooks: make(map[string]*Hook, len(s.Hooks))}
	for _, hook := range s.Hooks {
		if hook.Body == 0 {
			hook.Body = h.cfg.Body
		}
		in.hooks[hook.Name] = &hook
	}
	h.sources.Store(in)
}

// inForce are the sources as requests need them. It is immutable.
type inForce struct {
	events Events
	hooks  map[string]*Hook
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
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		h.refuseFrom(w, name, &problem{status: http.StatusMethodNotAllowed, code: "method_not_allowed", detail: "webhooks are sent with POST"})
		return true
	}
	if h.stopping.Load() {
		h.refuseFrom(w, name, unavailable("the router is shutting down"))
		return true
	}
	evs, p := h.translate(w, r, hook)
	if p != nil {
		h.refuseFrom(w, name, p)
		return true
	}
	answers := []answer{}
	if len(evs) > 0 {
		results, err := h.cfg.Accept(r.Context(), router.Origin{Source: name, Dedup: hook.Dedup}, evs)
		if err != nil {
			h.refuseFrom(w, name, h.notAccepted(err))
			return true
		}
		for i := range results {
			answers = append(answers, answer{ID: evs[i].ID(), Source: name, Duplicate: &results[i].Duplicate})
		}
	}
	writeJSON(w, http.StatusAccepted, answers)
	return true
}

// translate turns a request into events: all of them, or a problem.
func (h *Handler) translate(w http.ResponseWriter, r *http.Request, hook *Hook) ([]*rules.Event, *problem) {
	if p := h.authenticate(w, r, hook.Auth, hook.Body); p != nil {
		return nil, p
	}
	contentType, p := one(r.Header, "Content-Type")
	if p != nil {
		return nil, p
	}
	media := mediaType(contentType)
	form := media == "application/x-www-form-urlencoded"
	isJSON := media == "" || hook.Text && media == "text/plain" || media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
	if !form && !isJSON {
		return nil, unsupported("webhooks are taken as application/json or application/x-www-form-urlencoded")
	}
	if media != "" && !utf8Charset(contentType) {
		return nil, unsupported("webhooks are taken in UTF-8 only")
	}
	body, p := h.body(w, r, hook.Body)
	if p != nil {
		return nil, p
	}
	if form {
		if body, p = formBody(body); p != nil {
			return nil, p
		}
	}
	req := rules.Request{Body: body, Headers: headersOf(r, hook.Auth), Query: queryOf(r), Time: hook.Auth.sentAt(r)}
	evs, err := hook.Translator.Events(req, rules.Limits{Depth: h.cfg.Depth}, h.cfg.Batch)
	return evs, h.requestProblem(hook, err)
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
func headersOf(r *http.Request, a Auth) map[string]string {
	out := make(map[string]string, len(r.Header))
	for name, list := range r.Header {
		if !a.hides(name) {
			out[strings.ToLower(name)] = strings.Join(list, ", ")
		}
	}
	return out
}

// queryOf is the query that expressions see: the first value of each name.
func queryOf(r *http.Request) map[string]string {
	q, _ := url.ParseQuery(r.URL.RawQuery) // of one that is not well-formed, the good part
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
