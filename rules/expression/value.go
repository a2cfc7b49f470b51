package expression

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// TypeName names the type of a value in the words of the documentation.
func TypeName(v any) string {
	switch v.(type) {
	case nil:
		return "nil"
	case bool:
		return "boolean"
	case int64:
		return "integer"
	case float64:
		return "float"
	case string:
		return "string"
	case []any:
		return "list"
	case map[string]any:
		return "map"
	}
	return fmt.Sprintf("%T", v)
}

// aType is TypeName with its article, for sentences.
func aType(v any) string {
	switch n := TypeName(v); n {
	case "nil":
		return n
	case "integer":
		return "an " + n
	default:
		return "a " + n
	}
}

// equal compares by value: nil equals nil only, an integer equals a float of the
// same value, lists and maps are compared element by element.
func equal(s *State, a, b any) (bool, error) {
	switch a := a.(type) {
	case nil:
		return b == nil, nil
	case bool:
		y, ok := b.(bool)
		return ok && a == y, nil
	case string:
		y, ok := b.(string)
		if !ok || len(a) != len(y) {
			return false, nil
		}
		return a == y, s.scan(len(a), 64)
	case int64, float64:
		c, ok := compareNumbers(a, b)
		return ok && c == 0, nil
	case []any:
		y, ok := b.([]any)
		if !ok || len(a) != len(y) {
			return false, nil
		}
		if err := s.spend(len(a)); err != nil {
			return false, err
		}
		for i := range a {
			if same, err := equal(s, a[i], y[i]); !same || err != nil {
				return false, err
			}
		}
		return true, nil
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(a) != len(y) {
			return false, nil
		}
		return equalMaps(s, a, y)
	}
	return false, nil
}

// equalMaps compares maps of the same length. It looks at all members even when
// one differs: their order is random, and the steps must not be.
func equalMaps(s *State, a, b map[string]any) (bool, error) {
	if err := s.spend(len(a)); err != nil {
		return false, err
	}
	same := true
	for k, v := range a {
		if err := s.scan(len(k), 32); err != nil {
			return false, err
		}
		w, ok := b[k]
		if !ok {
			same = false
			continue
		}
		alike, err := equal(s, v, w)
		if err != nil {
			return false, err
		}
		same = same && alike
	}
	return same, nil
}

// compare orders two numbers or two strings; ok is false for anything else.
func compare(a, b any) (c int, ok bool) {
	if x, isString := a.(string); isString {
		y, ok := b.(string)
		return strings.Compare(x, y), ok
	}
	return compareNumbers(a, b)
}

func compareNumbers(a, b any) (c int, ok bool) {
	switch x := a.(type) {
	case int64:
		switch y := b.(type) {
		case int64:
			return cmp.Compare(x, y), true
		case float64:
			return compareIntFloat(x, y), y == y
		}
	case float64:
		switch y := b.(type) {
		case int64:
			return -compareIntFloat(y, x), x == x
		case float64:
			return cmp.Compare(x, y), x == x && y == y
		}
	}
	return 0, false
}

// compareIntFloat compares without rounding the integer to a float, which would
// make 9007199254740993 equal 9007199254740992.
func compareIntFloat(i int64, f float64) int {
	switch {
	case f >= 1<<63:
		return -1
	case f < -1<<63:
		return 1
	}
	whole := math.Trunc(f)
	if c := cmp.Compare(i, int64(whole)); c != 0 {
		return c
	}
	return cmp.Compare(whole, f)
}

// truth is the value of a condition: nil is false, and only booleans are
// conditions besides.
func truth(v any, what string) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case nil:
		return false, nil
	}
	return false, fmt.Errorf("%s is %s, not true or false (compare it with something)", what, aType(v))
}

// appendFloat writes a float as encoding/json does.
func appendFloat(dst []byte, f float64) []byte {
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, 64)
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Text is v as part of a text: strings as they are, integers, floats and
// booleans in their JSON form. Nothing else has one.
func Text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return string(appendFloat(nil, v)), nil
	}
	return "", fmt.Errorf("%s has no text", aType(v))
}
