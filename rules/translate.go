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
	// Each yields a list, one event for each item; empty: one event.
	Each string
	// Type is required. The others may be empty: Source is then
	// pointsman:/hooks/NAME, ID a hash of Name and the event's content without
	// its time, Data the item or, without Each, the body.
	Type, Source, ID, Subject, Time, Data string
}

// Expressions returns the expressions by the keys of the configuration: each,
// event.type and so on. Changing what they point to changes the translation.
func (t *Translation) Expressions() []TranslationKey {
	return []TranslationKey{
		{"each", &t.Each},
		{"event.type", &t.Type},
		{"event.source", &t.Source},
		{"event.id", &t.ID},
		{"event.subject", &t.Subject},
		{"event.time", &t.Time},
		{"event.data", &t.Data},
	}
}

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
	each   *expression.Program // nil: one event
	attrs  []attribute
	data   *expression.Program // nil: item or body
	states sync.Pool           // of *expression.State
}

// attribute is one compiled context attribute.
type attribute struct {
	key  string
	name string
	run  *expression.Program
}

// NewTranslator compiles a translation. The error is a *TranslationError for
// each expression that is wrong, joined.
func NewTranslator(t Translation) (*Translator, error) {
	names := []string{"body", "headers", "query"}
	// Only what an item is known to has it: without Each, item is an unknown name.
	outer := expression.NewCompiler(names...)
	inner := expression.NewCompiler(append(names, "item")...)
	tr := &Translator{name: t.Name}
	var errs []error
	compile := func(c *expression.Compiler, key, text string) *expression.Program {
		trimmed := strings.TrimLeft(text, " \t\r\n")
		p, err := c.Compile(strings.TrimRight(trimmed, " \t\r\n"))
		var e *expression.Error
		switch {
		case errors.As(err, &e):
			errs = append(errs, &TranslationError{key, len(text) - len(trimmed) + e.Offset, e.Msg})
		case err != nil:
			errs = append(errs, &TranslationError{key, 0, err.Error()})
		}
		return p
	}
	perEvent := outer
	if t.Each != "" {
		perEvent = inner
		// It is run in the same state, where there is no item yet.
		if compile(outer, "each", t.Each); len(errs) == 0 {
			tr.each = compile(inner, "each", t.Each)
		}
	}
	if strings.TrimSpace(t.Type) == "" {
		errs = append(errs, &TranslationError{Key: "event.type", Msg: "an event needs a type"})
	}
	for _, x := range t.Expressions()[1:] {
		if *x.Text == "" {
			continue
		}
		p := compile(perEvent, x.Key, *x.Text)
		if name := strings.TrimPrefix(x.Key, "event."); name == "data" {
			tr.data = p
		} else {
			tr.attrs = append(tr.attrs, attribute{x.Key, name, p})
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	tr.states.New = func() any { return perEvent.NewState() }
	return tr, nil
}

// Events translates a request as a whole: all events, or an error. All its
// expressions share expression.MaxSteps. The error is an
// *EventError when the body is not good JSON, or a *RequestError. limit bounds
// the number of items. The events' source attribute and ids need no care of the
// sender: the same content gets the same id.
func (tr *Translator) Events(req Request, lim Limits, limit int) ([]*Event, error) {
	raw, evErr := checkJSON(req.Body, lim)
	if evErr != nil {
		evErr.Attribute = ""
		if evErr.Code == CodeBadData {
			evErr.Code, evErr.Msg = CodeBadJSON, "the body is not valid JSON in UTF-8"
		}
		return nil, evErr
	}
	body := (&valueDecoder{text: string(raw)}).value()
	headers, query := values(req.Headers), values(req.Query)
	s := tr.states.Get().(*expression.State)
	defer func() {
		s.Reset(nil, nil, nil, nil) // it must not keep the request alive
		tr.states.Put(s)
	}()
	if tr.each == nil {
		s.Reset(body, headers, query)
		ev, err := tr.event(s, raw, req.Time, lim, -1)
		if err != nil {
			return nil, err
		}
		return []*Event{ev}, nil
	}
	s.Reset(body, headers, query, nil)
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
			err = setAttribute(&a, x.name, v)
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
	if errors.As(err, &e) && e.Attribute != "" {
		key += "." + e.Attribute
	}
	return &RequestError{key, index, err}
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

// derive makes an id of all of an event but its time: what is sent again has it
// again.
func (tr *Translator) derive(a Attributes, data []byte, lim Limits) (string, error) {
	a.ID, a.Time = "-", ""
	ev, err := NewEvent(a, data, lim)
	if err != nil {
		return "", err
	}
	digest := ev.Digest()
	sum := sha256.Sum256(append([]byte(tr.name+"\x00"), digest[:]...))
	return hex.EncodeToString(sum[:16]), nil
}

// values are what expressions see of headers or a query: text that is valid.
func values(from map[string]string) map[string]any {
	out := make(map[string]any, len(from))
	for name, value := range from {
		out[strings.ToValidUTF8(name, "\uFFFD")] = strings.ToValidUTF8(value, "\uFFFD")
	}
	return out
}
