package rules

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pointsman/pointsman/rules/scan"
)

// ParseBatch decodes the CloudEvents JSON batch format: an array of events,
// possibly empty, and no longer than most (0: no limit). The events are all good
// or none is returned. The error is a *BatchError when one event is at fault (its Offset is
// one in text), else an *EventError; CodeTooMany says that there are more than
// most, whatever the rest looks like.
func ParseBatch(text []byte, lim Limits, most int) ([]*Event, error) {
	s, _ := scanners.Get().(*scan.Scanner)
	defer release(s)
	at := scan.Space(text, 0)
	if at == len(text) || text[at] != '[' {
		if _, err := s.Scan(text, at, lim.depth()+2); err != nil {
			return nil, scanError(err, lim)
		}
		return nil, badJSON(int64(at), "a batch must be a JSON array")
	}
	evs := []*Event{}
	if at = scan.Space(text, at+1); at < len(text) && text[at] == ']' {
		if err := atEnd(text, at+1); err != nil {
			return nil, err
		}
		return evs, nil
	}
	for {
		if most > 0 && len(evs) == most {
			return nil, &EventError{
				Code: CodeTooMany, Offset: -1,
				Msg: "the batch has more than " + strconv.Itoa(most) + " events",
			}
		}
		ev, end, err := parseElement(s, text, at, lim)
		if err != nil {
			return nil, &BatchError{Index: len(evs), Err: err}
		}
		evs = append(evs, ev)
		at = scan.Space(text, end)
		switch {
		case at == len(text):
			return nil, badJSON(int64(at), "the JSON text ends too early")
		case text[at] == ',':
			at++
			continue
		case text[at] != ']':
			return nil, badJSON(int64(at), "the text is not valid JSON in UTF-8")
		}
		if err := atEnd(text, at+1); err != nil {
			return nil, err
		}
		return evs, nil
	}
}

// parseElement parses the event of a batch that begins at an offset, and returns
// where it ends.
func parseElement(s *scan.Scanner, text []byte, at int, lim Limits) (*Event, int, *EventError) {
	if at = scan.Space(text, at); at == len(text) {
		return nil, 0, badJSON(int64(at), "the JSON text ends too early")
	}
	end, err := s.Scan(text, at, lim.depth()+1)
	if err != nil {
		return nil, 0, scanError(err, lim)
	}
	ev, fault := parseObject(s)
	if fault == nil && s.TooLarge() >= 0 {
		fault = badNumber(s.TooLarge())
	}
	return ev, end, fault
}

// parseObject makes an event of what was scanned.
func parseObject(s *scan.Scanner) (*Event, *EventError) {
	root := s.Doc().Root()
	if root.Kind() != scan.Map {
		return nil, badJSON(int64(root.Begin()), "an event must be a JSON object")
	}
	p := parser{ev: &Event{}}
	for name, value := range root.Members {
		if err := p.member(name, value); err != nil {
			return nil, err
		}
	}
	if err := p.finish(); err != nil {
		return nil, err
	}
	return p.ev, nil
}

// atEnd checks that only white space is left.
func atEnd(text []byte, at int) *EventError {
	if at = scan.Space(text, at); at < len(text) {
		return badJSON(int64(at), "something follows the JSON text")
	}
	return nil
}

// parser collects the members of one event object.
type parser struct {
	ev          *Event
	specversion bool
	// data and base64 are the values as they were sent, none when not present.
	data, base64 scan.Value
}

// member takes in one member.
func (p *parser) member(name, value scan.Value) *EventError {
	switch text := name.Text(); text {
	case "data":
		p.data = value
	case "data_base64":
		switch value.Kind() {
		case scan.Null:
		case scan.Text:
			p.base64 = value
		default:
			return &EventError{Code: CodeBadData, Attribute: "data_base64", Offset: int64(name.End()), Msg: "data_base64 is not a string"}
		}
	default:
		if err := p.attribute(text, value); err != nil {
			err.Offset = int64(name.End())
			return err
		}
	}
	return nil
}

// attribute takes in one context attribute. Those of the specification share the
// memory of the text until render.
func (p *parser) attribute(name string, v scan.Value) *EventError {
	if err := checkName(name); err != nil {
		return err
	}
	if field := p.ev.attrs.known(name); field != nil || name == "specversion" {
		return p.known(name, field, v)
	}
	value, err := extensionValue(name, v)
	if err != nil || value == nil {
		return err
	}
	ext := p.ev.attrs.Extensions
	if ext == nil {
		ext = make(map[string]any)
		p.ev.attrs.Extensions = ext
	}
	if len(ext) == maxExtensions {
		return tooManyExtensions()
	}
	ext[strings.Clone(name)] = value
	return nil
}

// known takes in an attribute of the specification; field is nil for
// specversion.
func (p *parser) known(name string, field *string, v scan.Value) *EventError {
	switch v.Kind() {
	case scan.Null:
		return nil
	case scan.Text:
	default:
		if _, err := extensionValue(name, v); err != nil {
			return err
		}
		return badAttribute(name, "is not a string")
	}
	text := v.Text()
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
}

// extensionValue returns the string, bool or int32 of an attribute, nil for null.
func extensionValue(name string, v scan.Value) (any, *EventError) {
	switch v.Kind() {
	case scan.Null, scan.True, scan.False:
		return v.Scalar(), nil
	case scan.Text:
		return strings.Clone(v.Text()), nil
	case scan.Int, scan.Float:
		// ParseInt takes no fraction and no exponent, as the format asks.
		n, err := strconv.ParseInt(string(v.Raw()), 10, 32)
		if err != nil {
			return nil, badAttribute(name, "is not a 32-bit integer")
		}
		return int32(n), nil
	}
	return nil, badAttribute(name, "is an array or an object")
}

// finish puts attributes and data together.
func (p *parser) finish() *EventError {
	if !p.specversion {
		return missing("specversion")
	}
	ev := p.ev
	if err := ev.check(); err != nil {
		return err
	}
	isData, isBase64 := p.data.Kind() != scan.None, p.base64.Kind() != scan.None
	switch {
	case isData && isBase64:
		return &EventError{Code: CodeBadData, Attribute: "data_base64", Offset: -1, Msg: "data and data_base64 are both set"}
	case isBase64:
		text, err := normalBase64(p.base64)
		if err != nil {
			return err
		}
		ev.kind = dataBase64
		ev.render(text, scan.Value{})
		return nil
	case !isData:
	case ev.attrs.DataContentType == "" || mediaType(ev.attrs.DataContentType).json():
		ev.kind = dataJSON
	case p.data.Kind() == scan.Text:
		ev.kind = dataText
	default:
		return &EventError{
			Code: CodeBadData, Attribute: "data", Offset: -1,
			Msg: "data is not a string, which it must be unless datacontenttype is JSON",
		}
	}
	ev.render(nil, p.data)
	return nil
}

// normalBase64 checks a data_base64 value and returns it without JSON escapes.
func normalBase64(v scan.Value) ([]byte, *EventError) {
	text := v.Text()
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

// scanJSON scans data that must be one JSON value.
func scanJSON(s *scan.Scanner, data []byte, lim Limits) (scan.Value, *EventError) {
	end, err := s.Scan(data, 0, lim.depth())
	if err != nil {
		e := scanError(err, lim)
		switch e.Code {
		case CodeTooDeep:
			return scan.Value{}, e
		case CodeBadJSON:
			e.Code = CodeBadData
			e.Msg = "data is not valid JSON in UTF-8, which datacontenttype says it is"
		}
		e.Attribute = "data"
		return scan.Value{}, e
	}
	if err := atEnd(data, end); err != nil {
		err.Code, err.Attribute = CodeBadData, "data"
		return scan.Value{}, err
	}
	if at := s.TooLarge(); at >= 0 {
		return scan.Value{}, badNumber(at)
	}
	return s.Doc().Root(), nil
}

// checkJSON checks that data is one JSON value and returns a copy of it without
// the white space around it.
func checkJSON(data []byte, lim Limits) ([]byte, *EventError) {
	s, _ := scanners.Get().(*scan.Scanner)
	defer release(s)
	v, err := scanJSON(s, data, lim)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(v.Raw()), nil
}

// anyJSON is valid JSON text as values, which share its memory.
func anyJSON(text []byte) any {
	s, _ := scanners.Get().(*scan.Scanner)
	defer release(s)
	if _, err := s.Scan(text, 0, storedDepth); err != nil {
		return nil // it is valid
	}
	return s.Doc().Root().Any()
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
