package rules

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// ParseBatch decodes the CloudEvents JSON batch format: an array of events,
// possibly empty, and no longer than most (0: no limit). The events are all good
// or none is returned. The error is a *BatchError when one event is at fault (its Offset is
// one in text), else an *EventError; CodeTooMany says that there are more than
// most, whatever the rest looks like.
func ParseBatch(text []byte, lim Limits, most int) ([]*Event, error) {
	s := scan(text, lim.depth()+2)
	dec := newDecoder(text)
	defer release(dec, text)
	if kind := dec.PeekKind(); kind != '[' {
		if _, err := dec.ReadToken(); err != nil {
			return nil, jsonError(err, 0)
		}
		return nil, badJSON(0, "a batch must be a JSON array")
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, jsonError(err, 0)
	}
	evs := []*Event{}
	for dec.PeekKind() != ']' {
		if most > 0 && len(evs) == most {
			return nil, &EventError{
				Code: CodeTooMany, Offset: -1,
				Msg: "the batch has more than " + strconv.Itoa(most) + " events",
			}
		}
		ev, err := parseElement(dec, s, lim)
		if err != nil {
			return nil, &BatchError{Index: len(evs), Err: err}
		}
		evs = append(evs, ev)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, jsonError(err, 0)
	}
	if err := atEnd(dec); err != nil {
		return nil, err
	}
	return evs, nil
}

// parseElement parses the next event of a batch. What scan found counts for the
// event it lies in.
func parseElement(dec *jsontext.Decoder, s scanned, lim Limits) (*Event, *EventError) {
	if s.deep >= 0 {
		// The tokenizer must not be led into the deep part: look where it begins.
		if next := nextElement(dec); s.deep < next || next < 0 {
			return nil, tooDeep(s.deep, lim)
		}
	}
	ev, err := parseObject(dec)
	if err != nil {
		return nil, err
	}
	if s.number >= 0 && int64(s.number) < dec.InputOffset() {
		return nil, badNumber(s.number)
	}
	return ev, nil
}

// nextElement is the offset behind the next array element, -1 if there is no
// telling.
func nextElement(dec *jsontext.Decoder) int {
	depth, inString := 0, false
	rest := dec.UnreadBuffer()
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			if depth--; depth <= 0 {
				return int(dec.InputOffset()) + i
			}
		}
	}
	return -1
}

// parseObject parses the event object that comes next.
func parseObject(dec *jsontext.Decoder) (*Event, *EventError) {
	tok, err := dec.ReadToken()
	if err != nil {
		return nil, jsonError(err, 0)
	}
	if tok.Kind() != '{' {
		return nil, badJSON(dec.InputOffset()-1, "an event must be a JSON object")
	}
	p := parser{dec: dec, ev: &Event{}}
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, jsonError(err, 0)
		}
		if tok.Kind() == '}' {
			break
		}
		if err := p.member(tok.String()); err != nil {
			return nil, err
		}
	}
	if err := p.finish(); err != nil {
		return nil, err
	}
	return p.ev, nil
}

// atEnd checks that only white space is left.
func atEnd(dec *jsontext.Decoder) *EventError {
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return badJSON(dec.InputOffset(), "something follows the JSON text")
	}
	return nil
}

// parser collects the members of one event object.
type parser struct {
	dec         *jsontext.Decoder
	ev          *Event
	specversion bool
	// data and base64 are the values as they were sent, nil when not present.
	data, base64 jsontext.Value
}

// member takes in the value of the member name.
func (p *parser) member(name string) *EventError {
	offset := p.dec.InputOffset()
	raw, err := p.dec.ReadValue()
	if err != nil {
		return jsonError(err, 0)
	}
	switch name {
	case "data":
		// Cloned because the decoder may reuse its buffer.
		p.data = raw.Clone()
		return nil
	case "data_base64":
		switch raw.Kind() {
		case 'n':
		case '"':
			p.base64 = raw.Clone()
		default:
			return &EventError{Code: CodeBadData, Attribute: name, Offset: offset, Msg: "data_base64 is not a string"}
		}
		return nil
	}
	if err := p.attribute(name, raw); err != nil {
		err.Offset = offset
		return err
	}
	return nil
}

// attribute takes in one context attribute.
func (p *parser) attribute(name string, raw jsontext.Value) *EventError {
	if err := checkName(name); err != nil {
		return err
	}
	value, err := attributeValue(name, raw)
	if err != nil || value == nil {
		return err
	}
	text, isText := value.(string)
	field := p.ev.attrs.known(name)
	switch {
	case name == "specversion" || field != nil:
		if !isText {
			return badAttribute(name, "is not a string")
		}
		if text == "" {
			return badAttribute(name, "is empty")
		}
		if field != nil {
			*field = text
			return nil
		}
		p.specversion = true
		if text != SpecVersion {
			return badAttribute(name, "is not "+SpecVersion)
		}
		return nil
	default:
		ext := p.ev.attrs.Extensions
		if ext == nil {
			ext = make(map[string]any)
			p.ev.attrs.Extensions = ext
		}
		if len(ext) == maxExtensions {
			return tooManyExtensions()
		}
		ext[name] = value
		return nil
	}
}

// attributeValue returns the string, bool or int32 of an attribute, nil for null.
func attributeValue(name string, raw jsontext.Value) (any, *EventError) {
	switch raw.Kind() {
	case 'n':
		return nil, nil
	case 't':
		return true, nil
	case 'f':
		return false, nil
	case '"':
		return unquote(raw), nil
	case '0':
		// ParseInt takes no fraction and no exponent, as the format asks.
		n, err := strconv.ParseInt(string(raw), 10, 32)
		if err != nil {
			return nil, badAttribute(name, "is not a 32-bit integer")
		}
		return int32(n), nil
	}
	return nil, badAttribute(name, "is an array or an object")
}

// unquote returns the string that valid JSON text stands for.
func unquote(raw []byte) string {
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	out, _ := jsontext.AppendUnquote(nil, raw)
	return string(out)
}

// finish puts attributes and data together.
func (p *parser) finish() *EventError {
	if !p.specversion {
		return missing("specversion")
	}
	if err := p.ev.check(); err != nil {
		return err
	}
	mt := mediaType(p.ev.attrs.DataContentType)
	switch {
	case p.data != nil && p.base64 != nil:
		return &EventError{Code: CodeBadData, Attribute: "data_base64", Offset: -1, Msg: "data and data_base64 are both set"}
	case p.base64 != nil:
		text, err := normalBase64(p.base64)
		if err != nil {
			return err
		}
		p.ev.kind, p.ev.data = dataBase64, text
	case p.data == nil:
	case p.ev.attrs.DataContentType == "" || mt.json():
		p.ev.kind, p.ev.data = dataJSON, p.data
	case p.data.Kind() == '"':
		p.ev.kind, p.ev.data = dataText, p.data
	default:
		return &EventError{
			Code: CodeBadData, Attribute: "data", Offset: -1,
			Msg: "data is not a string, which it must be unless datacontenttype is JSON",
		}
	}
	p.ev.render()
	return nil
}

// normalBase64 checks a data_base64 value and returns it without JSON escapes.
func normalBase64(raw jsontext.Value) ([]byte, *EventError) {
	text := unquote(raw)
	// The decoder of the standard library skips line ends.
	if strings.ContainsAny(text, "\r\n") {
		return nil, badBase64()
	}
	enc := base64.StdEncoding.Strict()
	if _, err := enc.DecodeString(text); err != nil {
		return nil, badBase64()
	}
	return []byte(`"` + text + `"`), nil
}

func badBase64() *EventError {
	return &EventError{
		Code: CodeBadData, Attribute: "data_base64", Offset: -1,
		Msg: "data_base64 is not base64 with padding (RFC 4648, section 4)",
	}
}

// checkJSON checks that data is one JSON value and returns a copy of it without
// the white space around it.
func checkJSON(data []byte, lim Limits) ([]byte, *EventError) {
	s := scan(data, lim.depth())
	if s.deep >= 0 {
		return nil, tooDeep(s.deep, lim)
	}
	dec := newDecoder(data)
	defer release(dec, data)
	raw, err := dec.ReadValue()
	if err != nil {
		e := jsonError(err, 0)
		if e.Code == CodeBadJSON {
			e.Code = CodeBadData
			e.Msg = "data is not valid JSON in UTF-8, which datacontenttype says it is"
		}
		e.Attribute = "data"
		return nil, e
	}
	raw = raw.Clone()
	if err := atEnd(dec); err != nil {
		err.Code, err.Attribute = CodeBadData, "data"
		return nil, err
	}
	if s.number >= 0 {
		return nil, badNumber(s.number)
	}
	return raw, nil
}

// scanned is what scan found: offsets, -1 for nothing.
type scanned struct {
	// deep is the first bracket beyond the depth, number the first number that
	// no float64 can hold.
	deep, number int
}

// scan goes over JSON text that need not be valid. It finds what the tokenizer
// does not refuse, and excessive depth before the tokenizer recurses into it.
func scan(text []byte, depth int) scanned {
	s := scanned{deep: -1, number: -1}
	open := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			i = stringEnd(text, i+1)
		case c == '{' || c == '[':
			if open++; open > depth && s.deep < 0 {
				s.deep = i
				return s
			}
		case c == '}' || c == ']':
			open--
		case isDigit(c):
			end := numberEnd(text, i)
			if s.number < 0 && beyondFloat(text[i:end]) {
				s.number = i
			}
			i = end - 1
		}
	}
	return s
}

// stringEnd returns the offset of the quote that ends the string whose first
// byte is at i.
func stringEnd(text []byte, i int) int {
	for ; i < len(text) && text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i
}

func numberEnd(text []byte, i int) int {
	for i < len(text) {
		switch c := text[i]; {
		case isDigit(c), c == '.', c == 'e', c == 'E', c == '+', c == '-':
			i++
		default:
			return i
		}
	}
	return i
}

// beyondFloat tells whether a number without its sign is not within float64.
func beyondFloat(number []byte) bool {
	// 300 digits without an exponent are in range.
	if len(number) <= 300 && bytes.IndexByte(number, 'e') < 0 && bytes.IndexByte(number, 'E') < 0 {
		return false
	}
	_, err := strconv.ParseFloat(string(number), 64)
	return errors.Is(err, strconv.ErrRange)
}

// decode builds the value that expressions see from e.json, which is valid.
func (e *Event) decode() map[string]any {
	d := valueDecoder{text: string(e.json)}
	m, _ := d.value().(map[string]any)
	return m
}

// valueDecoder builds Go values from JSON text that is known to be valid. The
// strings it makes share the text's memory.
type valueDecoder struct {
	text string
	pos  int
}

func (d *valueDecoder) value() any {
	d.space()
	switch c := d.text[d.pos]; c {
	case '{':
		return d.object()
	case '[':
		return d.array()
	case '"':
		return d.string()
	case 't':
		d.pos += len("true")
		return true
	case 'f':
		d.pos += len("false")
		return false
	case 'n':
		d.pos += len("null")
		return nil
	default:
		return d.number()
	}
}

// space skips white space and the separators, whose places are known to be right.
func (d *valueDecoder) space() {
	for {
		switch d.text[d.pos] {
		case ' ', '\t', '\r', '\n', ',', ':':
			d.pos++
		default:
			return
		}
	}
}

func (d *valueDecoder) object() map[string]any {
	m := make(map[string]any)
	d.pos++
	for d.space(); d.text[d.pos] != '}'; d.space() {
		name := d.string()
		m[name] = d.value()
	}
	d.pos++
	return m
}

func (d *valueDecoder) array() []any {
	list := []any{}
	d.pos++
	for d.space(); d.text[d.pos] != ']'; d.space() {
		list = append(list, d.value())
	}
	d.pos++
	return list
}

func (d *valueDecoder) string() string {
	start := d.pos
	escaped := false
	for d.pos++; d.text[d.pos] != '"'; d.pos++ {
		if d.text[d.pos] == '\\' {
			escaped = true
			d.pos++
		}
	}
	d.pos++
	if !escaped {
		return d.text[start+1 : d.pos-1]
	}
	out, _ := jsontext.AppendUnquote(nil, d.text[start:d.pos])
	return string(out)
}

func (d *valueDecoder) number() any {
	start := d.pos
	integer := true
	for ; d.pos < len(d.text); d.pos++ {
		c := d.text[d.pos]
		if c == '.' || c == 'e' || c == 'E' {
			integer = false
		} else if !isDigit(c) && c != '-' && c != '+' {
			break
		}
	}
	text := d.text[start:d.pos]
	if integer {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	}
	f, _ := strconv.ParseFloat(text, 64)
	return f
}

// validText tells whether s may be the value of a string attribute: valid UTF-8
// without control characters and noncharacters.
func validText(s string) bool {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < 0x20 || c == 0x7f {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1,
			r <= 0x9f,
			r >= 0xfdd0 && r <= 0xfdef,
			r&0xfffe == 0xfffe:
			return false
		}
		i += n
	}
	return true
}
