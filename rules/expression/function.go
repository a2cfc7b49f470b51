package expression

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

// function is a plain function of the allow-list: the same arguments give the
// same result, whatever the time, the machine or the environment.
type function struct {
	min, max int
	run      builtin
	// bind makes run of the arguments as they are written, for functions that
	// want some of them constant; nil: run is there already.
	bind func(u *unit, n *ast.BuiltinNode) (builtin, error)
}

// builtin runs a function on the values of its arguments.
type builtin func(s *State, args []any) (any, error)

// manyArguments stands for no limit but that of the source.
const manyArguments = MaxSource

// plain are the names of the functions that are not predicates.
var plain = []string{
	"abs", "became", "between", "bitand", "bitnand", "bitnot", "bitor", "bitshl", "bitshr", "bitushr", "bitxor",
	"ceil", "changed", "concat", "duration", "equalFold", "first", "flatten", "float", "floor", "fromBase64", "get",
	"glob", "hasPrefix", "hasSuffix", "inCIDR", "indexOf", "int", "isIP", "isPrivate", "join", "keys", "last",
	"lastIndexOf", "len", "lower", "max", "mean", "median", "min", "replace", "reverse", "round", "secondsBetween",
	"sha256", "sort", "split", "splitAfter", "string", "take", "timeOfDay", "toBase64", "trim", "trimPrefix",
	"trimSuffix", "type", "uniq", "unixTime", "upper", "values", "versionCompare", "weekday",
}

// Functions lists the names of all functions, sorted.
func Functions() []string {
	all := append(slices.Clone(plain), predicates...)
	slices.Sort(all)
	return all
}

// functions finds a plain function.
func functions(name string) (function, bool) {
	for _, find := range []func(string) (function, bool){
		textFunction, numberFunction, listFunction, timeFunction, networkFunction, changeFunction,
	} {
		if f, ok := find(name); ok {
			return f, true
		}
	}
	return function{}, false
}

// textFunction finds the functions that take strings.
func textFunction(name string) (function, bool) {
	switch name {
	case "upper":
		return texts(1, 1, func(_ *State, a []string) (any, error) { return strings.ToUpper(a[0]), nil })
	case "lower":
		return texts(1, 1, func(_ *State, a []string) (any, error) { return strings.ToLower(a[0]), nil })
	case "trim":
		return texts(1, 2, func(s *State, a []string) (any, error) {
			if len(a) == 1 {
				return strings.TrimSpace(a[0]), nil
			}
			return trimSet(s, a[0], a[1])
		})
	case "trimPrefix":
		return texts(2, 2, func(_ *State, a []string) (any, error) { return strings.TrimPrefix(a[0], a[1]), nil })
	case "trimSuffix":
		return texts(2, 2, func(_ *State, a []string) (any, error) { return strings.TrimSuffix(a[0], a[1]), nil })
	case "hasPrefix":
		return texts(2, 2, func(_ *State, a []string) (any, error) { return strings.HasPrefix(a[0], a[1]), nil })
	case "hasSuffix":
		return texts(2, 2, func(_ *State, a []string) (any, error) { return strings.HasSuffix(a[0], a[1]), nil })
	case "indexOf":
		return texts(2, 2, func(_ *State, a []string) (any, error) { return runeIndex(a[0], strings.Index(a[0], a[1])), nil })
	case "lastIndexOf":
		return texts(2, 2, func(_ *State, a []string) (any, error) { return runeIndex(a[0], strings.LastIndex(a[0], a[1])), nil })
	case "split":
		return texts(2, 2, func(s *State, a []string) (any, error) { return parts(s, a[0], a[1], strings.Split) })
	case "splitAfter":
		return texts(2, 2, func(s *State, a []string) (any, error) { return parts(s, a[0], a[1], strings.SplitAfter) })
	case "replace":
		return texts(3, 3, replace)
	case "equalFold":
		return function{min: 2, max: 2, run: equalFold}, true
	case "glob":
		return function{min: 2, max: 2, bind: bindGlob}, true
	case "versionCompare":
		return function{min: 2, max: 2, run: versionCompare}, true
	case "sha256":
		return texts(1, 1, func(s *State, a []string) (any, error) {
			if err := s.spend(4); err != nil {
				return nil, err
			}
			sum := sha256.Sum256([]byte(a[0]))
			return hex.EncodeToString(sum[:]), nil
		})
	case "toBase64":
		return texts(1, 1, func(_ *State, a []string) (any, error) {
			return base64.StdEncoding.EncodeToString([]byte(a[0])), nil
		})
	case "fromBase64":
		return texts(1, 1, func(_ *State, a []string) (any, error) {
			b, err := base64.StdEncoding.DecodeString(a[0])
			if err != nil {
				return nil, errors.New("it takes base64 text")
			}
			if !utf8.Valid(b) {
				return nil, errors.New("what it decodes to is not UTF-8 text")
			}
			return string(b), nil
		})
	}
	return function{}, false
}

// texts makes a function whose arguments are all strings.
func texts(least, most int, run func(s *State, a []string) (any, error)) (function, bool) {
	return function{min: least, max: most, run: func(s *State, args []any) (any, error) {
		a := make([]string, len(args))
		for i, arg := range args {
			str, ok := arg.(string)
			if !ok {
				return nil, fmt.Errorf("it takes a string, not %s", aType(arg))
			}
			if err := s.scan(len(str), 16); err != nil {
				return nil, err
			}
			a[i] = str
		}
		return run(s, a)
	}}, true
}

// trimSet pays for a set of characters that is looked through for each one of
// the text, which strings.Trim does unless all of the set is ASCII.
func trimSet(s *State, text, set string) (any, error) {
	if err := s.spend((len(text)/16 + 1) * (1 + len(set)/16)); err != nil {
		return nil, err
	}
	return strings.Trim(text, set), nil
}

// equalFold is a test: what is no string is not equal.
func equalFold(s *State, a []any) (any, error) {
	x, ok1 := a[0].(string)
	y, ok2 := a[1].(string)
	if !ok1 || !ok2 {
		return false, nil
	}
	return strings.EqualFold(x, y), s.scan(min(len(x), len(y)), 16)
}

// runeIndex turns a position in bytes into one in characters.
func runeIndex(text string, i int) int64 {
	if i < 0 {
		return -1
	}
	return int64(utf8.RuneCountInString(text[:i]))
}

func parts(s *State, text, sep string, split func(s, sep string) []string) (any, error) {
	n := len(text)
	if sep != "" {
		n = strings.Count(text, sep)
	}
	if err := s.spend(n); err != nil {
		return nil, err
	}
	found := split(text, sep)
	list := make([]any, len(found))
	for i, p := range found {
		list[i] = p
	}
	return list, nil
}

func replace(s *State, a []string) (any, error) {
	n := strings.Count(a[0], a[1])
	size := len(a[0]) + n*(len(a[2])-len(a[1]))
	if size > maxString {
		return nil, fmt.Errorf("the result grows over %d bytes", maxString)
	}
	if err := s.spend(n + size/16); err != nil {
		return nil, err
	}
	return strings.ReplaceAll(a[0], a[1], a[2]), nil
}

// numberFunction finds the functions that take numbers or make them.
func numberFunction(name string) (function, bool) {
	switch name {
	case "abs":
		return function{min: 1, max: 1, run: func(s *State, a []any) (any, error) {
			if c, ok := compareNumbers(a[0], int64(0)); ok && c >= 0 {
				return a[0], nil
			}
			return arithmetic(s, "-", int64(0), a[0])
		}}, true
	case "ceil":
		return rounding(math.Ceil)
	case "floor":
		return rounding(math.Floor)
	case "round":
		return rounding(math.Round)
	case "int":
		return function{min: 1, max: 1, run: func(s *State, a []any) (any, error) {
			if err := s.scan(size(a[0]), 32); err != nil {
				return nil, err
			}
			return toInteger(a[0])
		}}, true
	case "float":
		return function{min: 1, max: 1, run: func(s *State, a []any) (any, error) {
			if err := s.spend(1); err != nil {
				return nil, err
			}
			return parseFloat(a[0])
		}}, true
	case "min":
		return extreme(-1)
	case "max":
		return extreme(1)
	case "mean", "median":
		return average(name)
	case "bitand":
		return bits(func(x, y int64) int64 { return x & y })
	case "bitor":
		return bits(func(x, y int64) int64 { return x | y })
	case "bitxor":
		return bits(func(x, y int64) int64 { return x ^ y })
	case "bitnand":
		return bits(func(x, y int64) int64 { return x &^ y })
	case "bitshl":
		return shift(func(x, y int64) int64 { return x << y })
	case "bitshr":
		return shift(func(x, y int64) int64 { return x >> y })
	case "bitushr":
		return shift(func(x, y int64) int64 { return int64(uint64(x) >> y) })
	case "bitnot":
		return function{min: 1, max: 1, run: func(_ *State, a []any) (any, error) {
			x, ok := a[0].(int64)
			if !ok {
				return nil, fmt.Errorf("it takes an integer, not %s", aType(a[0]))
			}
			return ^x, nil
		}}, true
	}
	return function{}, false
}

// rounding keeps integers as they are and gives an integer where one can hold
// the result.
func rounding(f func(float64) float64) (function, bool) {
	return function{min: 1, max: 1, run: func(_ *State, a []any) (any, error) {
		switch v := a[0].(type) {
		case int64:
			return v, nil
		case float64:
			return whole(f(v)), nil
		}
		return nil, fmt.Errorf("it takes a number, not %s", aType(a[0]))
	}}, true
}

func whole(f float64) any {
	if f >= -1<<63 && f < 1<<63 {
		return int64(f)
	}
	return f
}

func toInteger(v any) (any, error) {
	switch v := v.(type) {
	case int64:
		return v, nil
	case float64:
		if i, ok := whole(math.Trunc(v)).(int64); ok {
			return i, nil
		}
		return nil, errors.New("the number does not fit an integer")
	case string:
		i, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return nil, errors.New("the text is not an integer")
		}
		return i, nil
	}
	return nil, fmt.Errorf("it takes a number or a string, not %s", aType(v))
}

// longNumber is the longest text that is read as a float, in bytes.
const longNumber = 100

func parseFloat(v any) (any, error) {
	if f, ok := toFloat(v); ok {
		return f, nil
	}
	str, ok := v.(string)
	if !ok {
		return nil, fmt.Errorf("it takes a number or a string, not %s", aType(v))
	}
	if len(str) > longNumber { // it takes time, and means nothing
		return nil, fmt.Errorf("the text is not a number (it has more than %d bytes)", longNumber)
	}
	f, err := strconv.ParseFloat(str, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, errors.New("the text is not a number")
	}
	return f, nil
}

// numbers gathers the numbers of the arguments and of lists among them.
func numbers(s *State, args []any) ([]any, error) {
	var out []any
	for _, a := range args {
		list, ok := a.([]any)
		if !ok && a != nil {
			list = []any{a}
		}
		if err := s.spend(len(list)); err != nil {
			return nil, err
		}
		for _, e := range list {
			if _, ok := toFloat(e); !ok {
				return nil, fmt.Errorf("it takes numbers, not %s", aType(e))
			}
			out = push(out, e)
		}
	}
	return out, nil
}

// extreme is the number furthest in the direction of sign; nil of none.
func extreme(sign int) (function, bool) {
	return function{min: 1, max: manyArguments, run: func(s *State, args []any) (any, error) {
		list, err := numbers(s, args)
		if err != nil || len(list) == 0 {
			return nil, err
		}
		best := list[0]
		for _, e := range list[1:] {
			if c, _ := compareNumbers(e, best); c == sign {
				best = e
			}
		}
		return best, nil
	}}, true
}

// average is nil of no numbers.
func average(name string) (function, bool) {
	return function{min: 1, max: manyArguments, run: func(s *State, args []any) (any, error) {
		list, err := numbers(s, args)
		if err != nil || len(list) == 0 {
			return nil, err
		}
		if name == "mean" {
			total, err := sum(s, list)
			if err != nil {
				return nil, err
			}
			return arithmetic(s, "/", total, int64(len(list)))
		}
		if err := s.spend(8 * len(list)); err != nil {
			return nil, err
		}
		slices.SortFunc(list, func(a, b any) int { c, _ := compareNumbers(a, b); return c })
		half := len(list) / 2
		if len(list)%2 == 1 {
			return list[half], nil
		}
		a, _ := toFloat(list[half-1])
		b, _ := toFloat(list[half])
		return a/2 + b/2, nil
	}}, true
}

// sum adds numbers; the sum of none is 0.
func sum(s *State, list []any) (any, error) {
	var total any = int64(0)
	for _, e := range list {
		if _, ok := toFloat(e); !ok {
			return nil, fmt.Errorf("sum: it takes numbers, not %s", aType(e))
		}
		var err error
		if total, err = arithmetic(s, "+", total, e); err != nil {
			return nil, err
		}
	}
	return total, nil
}

func bits(f func(x, y int64) int64) (function, bool) {
	return function{min: 2, max: 2, run: func(_ *State, a []any) (any, error) {
		x, ok1 := a[0].(int64)
		y, ok2 := a[1].(int64)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("it takes two integers, not %s and %s", TypeName(a[0]), TypeName(a[1]))
		}
		return f(x, y), nil
	}}, true
}

func shift(f func(x, y int64) int64) (function, bool) {
	op, _ := bits(f)
	run := op.run
	op.run = func(s *State, a []any) (any, error) {
		if y, ok := a[1].(int64); ok && (y < 0 || y > 63) {
			return nil, errors.New("the shift must be between 0 and 63")
		}
		return run(s, a)
	}
	return op, true
}
