package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pointsman/pointsman/rules/expression"
)

// Translation says how a webhook's request becomes events: expressions over
// body, headers and query and, when Each yields a list, each of its items.
type Translation struct {
	// Name is the configured source's; it is part of ids that are made here and
	// of the default source attribute.
	Name string
	// Skip is true for a request that makes no event, such as a ping; empty:
	// none is skipped.
	Skip string
	// Each yields a list, one event for each item; empty: one event.
	Each string
	// Type is required. The others may be empty: Source is then
	// pointsman:/hooks/NAME, ID a hash of Name and the event's content without
	// its time, Data the item or, without Each, the body. An ID that yields a
	// list or a map is a hash of Name and that.
	Type, Source, ID, Subject, Time, Data string
	// Extensions are extension attributes, with different names. One that yields
	// nothing or an empty text is left out.
	Extensions []Extension
	// Strip are paths of what is removed before any expression sees it: body.a.b,
	// headers.x-name, query.name. A list on the way stands for each of its items,
	// "*" for every member.
	Strip []string
	// Decode are paths below body of texts that hold JSON: they are replaced by
	// what it says. Another text stays as it is.
	Decode []string
}

// Extension is the expression of one extension attribute.
type Extension struct{ Name, Text string }

// Expressions returns the expressions by the keys of the configuration: skip,
// each, event.type and so on, event.extensions.NAME. Changing what they point to
// changes the translation.
func (t *Translation) Expressions() []TranslationKey {
	keys := []TranslationKey{
		{"skip", &t.Skip},
		{"each", &t.Each},
		{"event.type", &t.Type},
		{"event.source", &t.Source},
		{"event.id", &t.ID},
		{"event.subject", &t.Subject},
		{"event.time", &t.Time},
		{"event.data", &t.Data},
	}
	for i := range t.Extensions {
		keys = append(keys, TranslationKey{extensionKey + t.Extensions[i].Name, &t.Extensions[i].Text})
	}
	return keys
}

// extensionKey begins the keys of extension attributes.
const extensionKey = "event.extensions."

// TranslationKey is one expression of a Translation.
type TranslationKey struct {
	Key  string
	Text *string
}

// TranslationError is a fault in the text of one expression.
type TranslationError struct {
	Key string
	// Offset is the byte position in the text.
	Offset int
	Msg    string
}

func (e *TranslationError) Error() string { return e.Key + ": " + e.Msg }

// RequestError says which expression a request does not suit. Its text holds
// nothing of the request.
type RequestError struct {
	// Key is that of the configuration, such as event.id.
	Key string
	// Index is the item's position, -1 where there is no Each or it failed
	// itself.
	Index int
	// Err is an *EventError when the event as a whole is not good.
	Err error
}

func (e *RequestError) Error() string {
	if e.Index >= 0 {
		return fmt.Sprintf("%s of item %d: %s", e.Key, e.Index, e.Err)
	}
	return e.Key + ": " + e.Err.Error()
}

func (e *RequestError) Unwrap() error { return e.Err }

// ErrTooManyItems is wrapped when Each yields more items than allowed.
var ErrTooManyItems = errors.New("there are more items than a request may have")

// Request is what a webhook sent.
type Request struct {
	// Body is JSON text.
	Body []byte
	// Headers have lower-case names.
	Headers, Query map[string]string
	// Time is that of an event for which event.time yields nothing; zero: none.
	Time time.Time
}

// Translator is a compiled Translation. It is immutable and safe for concurrent
// use.
type Translator struct {
	name   string
	paths  paths
	skip   *expression.Program // nil: nothing is skipped
	each   *expression.Program // nil: one event
	attrs  []attribute
	data   *expression.Program // nil: item or body
	states sync.Pool           // of *expression.State
}

// attribute is one compiled context attribute.
type attribute struct {
	key  string
	name string
	// extension: not one of the specification's.
	extension bool
	run       *expression.Program
}

// NewTranslator compiles a translation. The error is a *TranslationError for
// each expression or path that is wrong, joined.
func NewTranslator(t Translation) (*Translator, error) {
	names := []string{"body", "headers", "query"}
	// Only what an item is known to has it: without Each, item is an unknown name.
	outer := expression.NewCompiler(names...)
	inner := expression.NewCompiler(append(names, "item")...)
	tr := &Translator{name: t.Name}
	b := &translatorBuilder{tr: tr, perEvent: outer}
	tr.paths = b.paths(t)
	if t.Each != "" {
		b.perEvent = inner
		tr.each = b.once(outer, "each", t.Each)
	}
	if t.Skip != "" {
		tr.skip = b.once(outer, "skip", t.Skip)
	}
	if strings.TrimSpace(t.Type) == "" {
		b.errs = append(b.errs, &TranslationError{Key: "event.type", Msg: "an event needs a type"})
	}
	for _, x := range t.Expressions() {
		if name, ok := strings.CutPrefix(x.Key, "event."); ok && *x.Text != "" {
			b.attribute(x.Key, name, *x.Text)
		}
	}
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	tr.states.New = func() any { return b.perEvent.NewState() }
	return tr, nil
}

// translatorBuilder collects what NewTranslator makes, and what is wrong.
type translatorBuilder struct {
	tr       *Translator
	perEvent *expression.Compiler
	errs     []error
}

func (b *translatorBuilder) compile(c *expression.Compiler, key, text string) *expression.Program {
	trimmed := strings.TrimLeft(text, " \t\r\n")
	p, err := c.Compile(strings.TrimRight(trimmed, " \t\r\n"))
	var e *expression.Error
	switch {
	case errors.As(err, &e):
		b.errs = append(b.errs, &TranslationError{key, len(text) - len(trimmed) + e.Offset, e.Msg})
	case err != nil:
		b.errs = append(b.errs, &TranslationError{key, 0, err.Error()})
	}
	return p
}

// once compiles what is evaluated once for a request. It is run in the state of
// the events, where there is no item yet.
func (b *translatorBuilder) once(outer *expression.Compiler, key, text string) *expression.Program {
	before := len(b.errs)
	p := b.compile(outer, key, text)
	if b.perEvent != outer && len(b.errs) == before {
		p = b.compile(b.perEvent, key, text)
	}
	return p
}

func (b *translatorBuilder) attribute(key, name, text string) {
	p := b.compile(b.perEvent, key, text)
	if name == "data" {
		b.tr.data = p
		return
	}
	x := attribute{key: key, name: name, run: p}
	if x.name, x.extension = strings.CutPrefix(key, extensionKey); x.extension {
		if err := checkExtension(x.name, true); err != nil {
			b.errs = append(b.errs, &TranslationError{Key: key, Msg: err.Msg})
		}
	} else {
		x.name = name
	}
	b.tr.attrs = append(b.tr.attrs, x)
}

// Events translates a request as a whole: all events, or an error. All its
// expressions share expression.MaxSteps. The error is an
// *EventError when the body is not good JSON, or a *RequestError. limit bounds
// the number of items. A request that is skipped makes none. The events' source
// attribute and ids need no care of the sender: the same content gets the same
// id.
func (tr *Translator) Events(req Request, lim Limits, limit int) ([]*Event, error) {
	raw, err := tr.Visible(req.Body, lim)
	if err != nil {
		return nil, err
	}
	body := anyJSON(raw)
	headers, query := values(req.Headers, tr.paths.headers), values(req.Query, tr.paths.query)
	s := tr.states.Get().(*expression.State)
	defer func() {
		s.Reset(nil, nil, nil, nil) // it must not keep the request alive
		tr.states.Put(s)
	}()
	outer := []any{body, headers, query, nil}
	if tr.each == nil {
		outer = outer[:3]
	}
	s.Reset(outer...)
	if skip, err := tr.skips(s); skip || err != nil {
		return nil, err
	}
	if tr.each == nil {
		ev, err := tr.event(s, raw, req.Time, lim, -1)
		if err != nil {
			return nil, err
		}
		return []*Event{ev}, nil
	}
	v, err := tr.each.Eval(s)
	if err != nil {
		return nil, &RequestError{"each", -1, err}
	}
	items, ok := v.([]any)
	switch {
	case !ok:
		return nil, &RequestError{"each", -1, fmt.Errorf("it yields %s, not a list", expression.TypeName(v))}
	case len(items) > limit:
		return nil, &RequestError{"each", -1, ErrTooManyItems}
	}
	evs := make([]*Event, len(items))
	for i, item := range items {
		s.Replace(3, item)
		var data []byte
		if tr.data == nil {
			if data, err = s.AppendJSON(nil, item); err != nil {
				return nil, &RequestError{"event.data", i, err}
			}
		}
		if evs[i], err = tr.event(s, data, req.Time, lim, i); err != nil {
			return nil, err
		}
	}
	return evs, nil
}

// skips tells whether a request makes no event.
func (tr *Translator) skips(s *expression.State) (bool, error) {
	if tr.skip == nil {
		return false, nil
	}
	v, err := tr.skip.Eval(s)
	if err != nil {
		return false, &RequestError{"skip", -1, err}
	}
	yes, ok := v.(bool)
	if !ok && v != nil {
		return false, &RequestError{"skip", -1, fmt.Errorf("it yields a %s, not true or false", expression.TypeName(v))}
	}
	return yes, nil
}

// event evaluates the attributes; data and at stand where there is no expression
// for them.
func (tr *Translator) event(s *expression.State, data []byte, at time.Time, lim Limits, index int) (*Event, error) {
	a := Attributes{Source: "pointsman:/hooks/" + tr.name, DataContentType: "application/json"}
	if !at.IsZero() {
		a.Time = at.UTC().Format(time.RFC3339Nano)
	}
	for _, x := range tr.attrs {
		v, err := x.run.Eval(s)
		if err == nil {
			err = tr.set(&a, x, v)
		}
		if err != nil {
			return nil, &RequestError{x.key, index, err}
		}
	}
	if tr.data != nil {
		v, err := tr.data.Eval(s)
		if err == nil {
			data, err = s.AppendJSON(nil, v)
		}
		if err != nil {
			return nil, &RequestError{"event.data", index, err}
		}
	}
	if a.ID == "" {
		id, err := tr.derive(a, data, lim)
		if err != nil {
			return nil, wholeEvent(err, index)
		}
		a.ID = id
	}
	ev, err := NewEvent(a, data, lim)
	if err != nil {
		return nil, wholeEvent(err, index)
	}
	return ev, nil
}

// wholeEvent tells which expression made the attribute that is wrong.
func wholeEvent(err error, index int) error {
	key := "event"
	var e *EventError
	switch {
	case !errors.As(err, &e) || e.Attribute == "":
	case e.Attribute == "data" || new(Attributes).known(e.Attribute) != nil:
		key += "." + e.Attribute
	default:
		key = extensionKey + e.Attribute
	}
	return &RequestError{key, index, err}
}

// set gives an attribute its value.
func (tr *Translator) set(a *Attributes, x attribute, v any) error {
	if x.extension {
		return setExtension(a, x.name, v)
	}
	if x.name == "id" {
		switch v.(type) {
		case []any, map[string]any:
			text, err := expression.AppendJSON(nil, v)
			a.ID = tr.hash(text)
			return err
		}
	}
	return setAttribute(a, x.name, v)
}

// setAttribute takes text, integers and booleans. Nothing leaves the default;
// for the type there is none.
func setAttribute(a *Attributes, name string, v any) error {
	text := ""
	switch v := v.(type) {
	case nil:
		if name == "type" {
			return errors.New("it yields nothing")
		}
		return nil
	case string:
		if text = v; text == "" {
			return errors.New("it yields an empty text")
		}
	case int64:
		text = strconv.FormatInt(v, 10)
	case bool:
		text = strconv.FormatBool(v)
	default:
		return fmt.Errorf("it yields a %s, not text", expression.TypeName(v))
	}
	*a.known(name) = text
	return nil
}

// setExtension takes text, booleans and integers of 32 bits.
func setExtension(a *Attributes, name string, v any) error {
	if v == nil || v == "" {
		return nil
	}
	if n, ok := v.(int64); ok {
		if n != int64(int32(n)) {
			return errors.New("it yields an integer of more than 32 bits (make it text with string())")
		}
		v = int32(n)
	}
	switch v.(type) {
	case string, bool, int32:
	default:
		return fmt.Errorf("it yields a %s, not text, an integer or a boolean", expression.TypeName(v))
	}
	if a.Extensions == nil {
		a.Extensions = make(map[string]any)
	}
	a.Extensions[name] = v
	return nil
}

// hash makes an id of a text, another one for each source.
func (tr *Translator) hash(text []byte) string {
	sum := sha256.Sum256(append([]byte(tr.name+"\x00"), text...))
	return hex.EncodeToString(sum[:16])
}

// derive makes an id of all of an event but its time: what is sent again has it
// again.
func (tr *Translator) derive(a Attributes, data []byte, lim Limits) (string, error) {
	a.ID, a.Time = "-", ""
	ev, err := NewEvent(a, data, lim)
	if err != nil {
		return "", err
	}
	digest := ev.Digest()
	return tr.hash(digest[:]), nil
}

// values are what expressions see of headers or a query: text that is valid.
func values(from map[string]string, strip map[string]bool) map[string]any {
	out := make(map[string]any, len(from))
	for name, value := range from {
		if strip[name] {
			continue
		}
		out[strings.ToValidUTF8(name, "\uFFFD")] = strings.ToValidUTF8(value, "\uFFFD")
	}
	return out
}
