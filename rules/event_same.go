package rules

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonType is the media type of data that no datacontenttype describes.
// (CloudEvents JSON event format 1.0.2, section 3.1.)
const jsonType = "application/json"

// Same tells whether two events say the same: equal attributes, extensions by
// their canonical text, and equal data after decoding. JSON data is compared as
// values: white space, member order, escapes and the way a number is written do
// not count, and numbers are compared exactly, however long they are. JSON data
// without datacontenttype is application/json. No text at all and no data are
// the same, because binary mode cannot tell them apart; JSON null is a value.
// Equal digests imply Same; the reverse does not hold.
func Same(a, b *Event) bool {
	if a == b || a.Digest() == b.Digest() {
		return true
	}
	return sameAttributes(a, b) && sameData(a, b)
}

// eachOfContent calls f for every attribute that counts as content, in a fixed
// order, with its canonical text.
func (e *Event) eachOfContent(f func(name, text string)) {
	const contentType = "datacontenttype"
	if e.attrs.DataContentType == "" && e.kind == dataJSON {
		f(contentType, jsonType)
	} else {
		f(contentType, e.attrs.DataContentType)
	}
	e.each(func(name, text string) {
		if name != contentType {
			f(name, text)
		}
	}, func(name string, value any) { f(name, canonicalText(value)) })
}

func sameAttributes(a, b *Event) bool {
	set := map[string]string{}
	a.eachOfContent(func(name, text string) { set[name] = text })
	same := true
	b.eachOfContent(func(name, text string) {
		other, found := set[name]
		same = same && found && other == text
		delete(set, name)
	})
	return same && len(set) == 0
}

// sameData compares the data of events of one datacontenttype.
func sameData(a, b *Event) bool {
	x, xIsJSON := a.decoded()
	y, yIsJSON := b.decoded()
	if xIsJSON && yIsJSON {
		return sameJSON(x, y)
	}
	return xIsJSON == yIsJSON && bytes.Equal(x, y)
}

// decoded returns the data as binary mode would carry it. Bytes that are said
// to be JSON and are valid JSON are JSON.
func (e *Event) decoded() (data []byte, isJSON bool) {
	switch e.kind {
	case dataJSON:
		return e.data, true
	case dataText:
		data, _ = jsontext.AppendUnquote(nil, e.data)
		return data, false
	case dataBase64:
		data, _ = base64.StdEncoding.AppendDecode(nil, e.data[1:len(e.data)-1])
		if !mediaType(e.attrs.DataContentType).json() {
			return data, false
		}
		// The depth is bounded for jsontext's sake.
		if text, err := checkJSON(data, Limits{Depth: storedDepth}); err == nil {
			return text, true
		}
		return data, false
	}
	return nil, false
}

// sameJSON compares two valid JSON texts by value.
func sameJSON(a, b []byte) bool {
	x, y := ordered(a), ordered(b)
	for {
		s, err := x.ReadToken()
		if err != nil {
			return true // both are valid and were equal up to the end
		}
		t, err := y.ReadToken()
		if err != nil || s.Kind() != t.Kind() {
			return false
		}
		switch s.Kind() {
		case '"':
			if s.String() != t.String() {
				return false
			}
		case '0':
			if exactNumber(s.String()) != exactNumber(t.String()) {
				return false
			}
		}
	}
}

// ordered returns a decoder of text with the members of every object sorted.
func ordered(text []byte) *jsontext.Decoder {
	v := jsontext.Value(bytes.Clone(text))
	_ = v.Format(jsontext.ReorderRawObjects(true)) // valid, as said above
	return jsontext.NewDecoder(bytes.NewReader(v))
}

// decimal is a number as (-1)^negative * 0.digits * 10^exponent, with neither
// leading nor trailing zeros in digits; zero has no digits and no sign.
type decimal struct {
	negative bool
	digits   string
	exponent int64
}

// exactNumber reads a JSON number. One whose exponent takes more than 48 bits
// is like none but itself.
func exactNumber(text string) decimal {
	unsigned, negative := strings.CutPrefix(text, "-")
	mantissa, power := unsigned, int64(0)
	if i := strings.IndexAny(unsigned, "eE"); i >= 0 {
		var err error
		mantissa = unsigned[:i]
		if power, err = strconv.ParseInt(unsigned[i+1:], 10, 48); err != nil {
			return decimal{digits: text}
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	exponent := power + int64(len(whole)) - int64(len(whole)+len(fraction)-len(digits))
	digits = strings.TrimRight(digits, "0")
	if digits == "" {
		return decimal{}
	}
	return decimal{negative, digits, exponent}
}
