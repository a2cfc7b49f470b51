package expression

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// listFunction finds the functions of lists, maps and of any value. nil is the
// empty list and the empty map.
func listFunction(name string) (function, bool) {
	switch name {
	case "len":
		return function{min: 1, max: 1, run: length}, true
	case "type":
		return function{min: 1, max: 1, run: func(_ *State, a []any) (any, error) { return TypeName(a[0]), nil }}, true
	case "string":
		return function{min: 1, max: 1, run: func(s *State, a []any) (any, error) {
			if err := s.spend(1); err != nil {
				return nil, err
			}
			return Text(a[0])
		}}, true
	case "get":
		return function{min: 2, max: 2, run: func(s *State, a []any) (any, error) {
			return member(a[0], a[1]), s.scan(size(a[1]), 64)
		}}, true
	case "first":
		return lists(func(_ *State, list []any) (any, error) { v, _ := element(list, 0); return v, nil })
	case "last":
		return lists(func(_ *State, list []any) (any, error) { v, _ := element(list, -1); return v, nil })
	case "reverse":
		return lists(func(_ *State, list []any) (any, error) {
			out := make([]any, len(list))
			for i, e := range list {
				out[len(list)-1-i] = e
			}
			return out, nil
		})
	case "uniq":
		return lists(uniq)
	case "sort":
		return lists(func(s *State, list []any) (any, error) { return sorted(s, list, list, false) })
	case "flatten":
		return lists(func(s *State, list []any) (any, error) { return flatten(s, []any{}, list, 0) })
	case "take":
		return function{min: 2, max: 2, run: func(s *State, a []any) (any, error) {
			list, err := listOf(a[0])
			if err != nil {
				return nil, err
			}
			return cutOut(s, orEmpty(list), int64(0), a[1], true)
		}}, true
	case "concat":
		return function{min: 1, max: manyArguments, run: joinLists}, true
	case "join":
		return function{min: 1, max: 2, run: join}, true
	case "keys", "values":
		return members(name == "keys")
	}
	return function{}, false
}

// push appends e and doubles the room when it is full: all the room a list ever
// had is then three times the list, and not five times as with append.
func push(list []any, e any) []any {
	if len(list) == cap(list) {
		list = slices.Grow(list, max(4, len(list)))
	}
	return append(list, e)
}

// lists makes a function of one list, which costs its length.
func lists(run func(s *State, list []any) (any, error)) (function, bool) {
	return function{min: 1, max: 1, run: func(s *State, a []any) (any, error) {
		list, err := listOf(a[0])
		if err != nil {
			return nil, err
		}
		if err := s.spend(len(list)); err != nil {
			return nil, err
		}
		return run(s, list)
	}}, true
}

func orEmpty(list []any) []any {
	if list == nil {
		return []any{}
	}
	return list
}

func length(s *State, a []any) (any, error) {
	switch v := a[0].(type) {
	case nil:
		return int64(0), nil
	case string:
		if err := s.scan(len(v), 64); err != nil {
			return nil, err
		}
		return int64(utf8.RuneCountInString(v)), nil
	case []any:
		return int64(len(v)), nil
	case map[string]any:
		return int64(len(v)), nil
	}
	return nil, fmt.Errorf("it takes a string, a list or a map, not %s", aType(a[0]))
}

// uniq looks lists and maps up one by one, anything else in a set.
func uniq(s *State, list []any) (any, error) {
	out := []any{}
	seen := make(map[any]struct{})
	var large []any // lists and maps of out
	for _, e := range list {
		if id, ok := identity(e); ok {
			if err := s.spend(uniqPrice + size(e)/64); err != nil {
				return nil, err
			}
			if _, found := seen[id]; !found {
				seen[id] = struct{}{}
				out = push(out, e)
			}
			continue
		}
		found, err := within(s, e, large)
		if err != nil {
			return nil, err
		}
		if found == false {
			large = push(large, e)
			out = push(out, e)
		}
	}
	return out, nil
}

// uniqPrice is that of an element in a set.
const uniqPrice = 3

// identity is the same for values that are equal and are no list or map.
func identity(v any) (any, bool) {
	switch v := v.(type) {
	case []any, map[string]any:
		return nil, false
	case float64:
		if i, ok := whole(v).(int64); ok && float64(i) == v {
			return i, true
		}
	}
	return v, true
}

// flatten is at most as deep as the data of an event.
func flatten(s *State, out, list []any, depth int) ([]any, error) {
	if depth > 1000 {
		return nil, fmt.Errorf("the list is nested deeper than 1000")
	}
	for _, e := range list {
		if err := s.spend(1); err != nil {
			return nil, err
		}
		inner, ok := e.([]any)
		if !ok {
			out = push(out, e)
			continue
		}
		var err error
		if out, err = flatten(s, out, inner, depth+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func joinLists(s *State, args []any) (any, error) {
	out := []any{}
	for _, a := range args {
		list, err := listOf(a)
		if err != nil {
			return nil, err
		}
		if err := s.spend(len(list)); err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

func join(s *State, a []any) (any, error) {
	list, err := listOf(a[0])
	if err != nil {
		return nil, err
	}
	glue := ""
	if len(a) == 2 {
		var ok bool
		if glue, ok = a[1].(string); !ok {
			return nil, fmt.Errorf("the text between must be a string, not %s", aType(a[1]))
		}
	}
	if err := s.spend(2 * len(list)); err != nil {
		return nil, err
	}
	texts := make([]string, len(list))
	size := len(glue) * len(list)
	for i, e := range list {
		if texts[i], err = Text(e); err != nil {
			return nil, err
		}
		size += len(texts[i])
	}
	if size > maxString {
		return nil, fmt.Errorf("the result grows over %d bytes", maxString)
	}
	if err := s.spend(size / 16); err != nil {
		return nil, err
	}
	return strings.Join(texts, glue), nil
}

// members lists the keys of a map or its values, in the order of the keys.
func members(keys bool) (function, bool) {
	return function{min: 1, max: 1, run: func(s *State, a []any) (any, error) {
		m, ok := a[0].(map[string]any)
		if !ok && a[0] != nil {
			return nil, fmt.Errorf("it takes a map, not %s", aType(a[0]))
		}
		if err := s.spend(8 * len(m)); err != nil {
			return nil, err
		}
		bytes := 0
		for k := range m {
			bytes += len(k)
		}
		if err := s.scan(bytes, 8); err != nil {
			return nil, err
		}
		out := make([]any, 0, len(m))
		for _, k := range sortedKeys(m) {
			if keys {
				out = append(out, k)
			} else {
				out = append(out, m[k])
			}
		}
		return out, nil
	}}, true
}
