package expression

import (
	"fmt"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendJSON appends v as JSON: map keys sorted, integers exact, strings without
// escapes that JSON does not ask for. A value that holds one long string many
// times over is an error before it fills the memory.
func AppendJSON(dst []byte, v any) ([]byte, error) { return (*State)(nil).AppendJSON(dst, v) }

// AppendJSON is the function AppendJSON on the steps that s has left: a step for
// two elements of a list, two for a member of a map, one for 16 bytes of text.
func (s *State) AppendJSON(dst []byte, v any) ([]byte, error) {
	if len(dst) > maxString {
		return nil, fmt.Errorf("the value grows over %d bytes", maxString)
	}
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, fmt.Errorf("%v is not a number JSON can hold", v)
		}
		return appendFloat(dst, v), nil
	case string:
		return appendQuoted(s, dst, v)
	case []any:
		return s.appendList(dst, v)
	case map[string]any:
		return s.appendMap(dst, v)
	}
	return nil, fmt.Errorf("%T is not a JSON value", v)
}

// AppendText appends the Text of v on the steps that s has left.
func (s *State) AppendText(dst []byte, v any) ([]byte, error) {
	text, err := Text(v)
	if err != nil {
		return nil, err
	}
	if err := s.pay(1 + len(text)/16); err != nil {
		return nil, err
	}
	return append(dst, text...), nil
}

// pay is spend for a state or none.
func (s *State) pay(n int) error {
	if s == nil {
		return nil
	}
	return s.spend(n)
}

// AppendQuoted appends text as a JSON string on the steps that s has left.
func (s *State) AppendQuoted(dst, text []byte) ([]byte, error) { return appendQuoted(s, dst, text) }

func appendQuoted[T string | []byte](s *State, dst []byte, text T) ([]byte, error) {
	if err := s.pay(len(text) / 16); err != nil {
		return nil, err
	}
	before := len(dst)
	// Invalid UTF-8 is replaced, which is all AppendQuote complains of.
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst, s.pay((len(dst) - before - len(text)) / 16) // what escapes add
}

func (s *State) appendList(dst []byte, list []any) ([]byte, error) {
	if err := s.pay(1 + len(list)/2); err != nil {
		return nil, err
	}
	dst = append(dst, '[')
	var err error
	for i, e := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = s.AppendJSON(dst, e); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func (s *State) appendMap(dst []byte, m map[string]any) ([]byte, error) {
	if err := s.pay(1 + 2*len(m)); err != nil {
		return nil, err
	}
	dst = append(dst, '{')
	var err error
	for i, k := range sortedKeys(m) {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendQuoted(s, dst, k); err != nil {
			return nil, err
		}
		dst = append(dst, ':')
		if dst, err = s.AppendJSON(dst, m[k]); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}
