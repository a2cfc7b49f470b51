package ingest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/rules"
)

// Bounds of what is kept of requests to webhooks.
const (
	// capturesKept are the requests of one source by senders who proved
	// themselves, strangersKept those by others.
	capturesKept, strangersKept = 10, 3
	// captureSize is the most that is kept of a body, of events and of headers,
	// each, in bytes.
	captureSize = 64 << 10
	// capturesSize is the most that all captures of all sources take, in bytes.
	capturesSize = 8 << 20
)

// redacted stands for what may be a secret.
const redacted = "***"

var (
	// secretName are names of fields, headers and parameters that may hold a
	// secret.
	secretName = regexp.MustCompile(`(?i)secret|token|passw|passphrase|authorization|credential|cookie|signature|(api|private|access|auth)[-_]?key|psk$`)
	// secretParameter are further parameters of a query that are secrets.
	secretParameter = regexp.MustCompile(`(?i)^(code|sig|key|auth|pass)$`)
	// secretText is such a name with its value, where nothing is known of the
	// form of a text.
	secretText = regexp.MustCompile(`(?i)([\w-]*(?:secret|token|passw|authorization|credential|cookie|signature|key)[\w-]*["']?\s*[:=]\s*)("[^"]*"?|'[^']*'?|[^\s&,;]+)`)
)

// captures remembers the last requests to each webhook. It is safe for
// concurrent use.
type captures struct {
	mu      sync.Mutex // guards what follows
	sources map[string]*captured
	size    int
}

// captured are the requests to one source, oldest first.
type captured struct{ known, strangers []*capture }

// capture is one request. It is immutable; secrets go when it is shown.
type capture struct {
	router.Capture
	hook *Hook
	body []byte
	size int
}

// add remembers a request.
func (c *captures) add(e *capture, stranger bool) {
	e.size = len(e.body) + len(e.Body)
	for _, ev := range e.Events {
		e.size += len(ev)
	}
	for _, m := range []map[string]string{e.Headers, e.Query} {
		for name, value := range m {
			e.size += len(name) + len(value)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sources == nil {
		c.sources = make(map[string]*captured)
	}
	s := c.sources[e.hook.Name]
	if s == nil {
		s = &captured{}
		c.sources[e.hook.Name] = s
	}
	list, most := &s.known, capturesKept
	if stranger {
		list, most = &s.strangers, strangersKept
	}
	*list = append(*list, e)
	c.size += e.size
	if len(*list) > most {
		c.drop(list)
	}
	for c.size > capturesSize {
		c.drop(c.oldest())
	}
}

func (c *captures) drop(list *[]*capture) {
	c.size -= (*list)[0].size
	*list = slices.Delete(*list, 0, 1)
}

// oldest is the list with the oldest request.
func (c *captures) oldest() *[]*capture {
	var found *[]*capture
	for _, s := range c.sources {
		for _, list := range []*[]*capture{&s.known, &s.strangers} {
			if len(*list) > 0 && (found == nil || (*list)[0].Received.Before((*found)[0].Received)) {
				found = list
			}
		}
	}
	return found
}

// keep forgets sources that are no more.
func (c *captures) keep(hooks map[string]*Hook) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, s := range c.sources {
		if hooks[name] != nil {
			continue
		}
		for _, e := range slices.Concat(s.known, s.strangers) {
			c.size -= e.size
		}
		delete(c.sources, name)
	}
}

// Captures returns the last requests to a webhook source, newest first; false
// when there is no such source. They are kept in memory: 10 of senders who
// proved themselves and 3 of others, with at most 64 KiB of a body, and 8 MiB
// of all sources together.
func (h *Handler) Captures(source string) ([]router.Capture, bool) {
	if h.sources.Load().hooks[source] == nil {
		return nil, false
	}
	h.captures.mu.Lock()
	var list []*capture
	if s := h.captures.sources[source]; s != nil {
		list = slices.Concat(s.known, s.strangers)
	}
	h.captures.mu.Unlock()
	slices.SortStableFunc(list, func(a, b *capture) int { return b.Received.Compare(a.Received) })
	out := make([]router.Capture, len(list))
	for i, e := range list {
		out[i] = e.shown()
	}
	return out, true
}

// capture remembers a request and what became of it.
func (h *Handler) capture(r *http.Request, hook *Hook, t taken, p *problem) {
	e := &capture{hook: hook, body: t.body}
	if len(t.body) <= captureSize {
		e.body = bytes.Clone(t.body) // its buffer may be much larger
	}
	e.Received, e.Status, e.Size = h.cfg.Now().UTC(), http.StatusAccepted, len(t.body)
	e.Headers, e.Query = make(map[string]string), make(map[string]string)
	room := captureSize
	for name, list := range r.Header {
		value := strings.Join(list, ", ")
		if lower := strings.ToLower(name); hook.Auth.hides(name) || hook.Translator.StripsHeader(lower) || secretName.MatchString(name) {
			value = redacted
		}
		if room -= len(name) + len(value); room > 0 {
			e.Headers[strings.ToLower(name)] = value
		}
	}
	q, _ := url.ParseQuery(r.URL.RawQuery) // of one that is not well-formed, the good part
	for name, list := range q {
		value := list[0]
		if name == queryToken || hook.Translator.StripsQuery(name) || secretName.MatchString(name) || secretParameter.MatchString(name) {
			value = redacted
		}
		if room -= len(name) + len(value); room > 0 {
			e.Query[name] = value
		}
	}
	if p != nil {
		e.Status, e.Code, e.Detail = p.status, p.code, p.detail
	}
	e.Events = []json.RawMessage{}
	room = captureSize
	for _, ev := range t.events {
		if room -= len(ev.JSON()); room < 0 {
			e.EventsLeftOut++
			continue
		}
		e.Events = append(e.Events, ev.JSON())
	}
	if len(e.body) > captureSize {
		// Secrets cannot be found in a part of JSON, so they go before it is cut.
		e.Body, e.Truncated, e.body = cut(visible(hook.Translator, e.body)), true, nil
	}
	h.captures.add(e, !t.proved)
}

func (e *capture) shown() router.Capture {
	c := e.Capture
	if e.body != nil {
		c.Body = visible(e.hook.Translator, e.body)
	}
	return c
}

func cut(text string) string {
	if len(text) > captureSize {
		text = text[:captureSize]
	}
	return strings.ToValidUTF8(text, "")
}

// visible is a body without what may be secret.
func visible(tr *rules.Translator, body []byte) string {
	text, err := tr.Visible(body, rules.Limits{Depth: 1000})
	if err != nil {
		if tr.StripsBody() {
			return ""
		}
		return secretText.ReplaceAllString(strings.ToValidUTF8(string(body), "\uFFFD"), "${1}"+redacted)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return ""
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if enc.Encode(redact(v)) != nil {
		return ""
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// redact replaces values whose name says that they may be secret.
func redact(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if secretName.MatchString(name) && value != nil {
				v[name] = redacted
			} else {
				v[name] = redact(value)
			}
		}
	case []any:
		for i := range v {
			v[i] = redact(v[i])
		}
	}
	return v
}
