package expression

import (
	"slices"
	"strings"
)

// possible tells whether some value may satisfy all claims about one term. It
// is false only when none does.
func possible(list []claim) bool {
	types := AnyType
	var only []any
	finite := false
	for i := range list {
		a := &list[i].atom
		types &= a.types()
		if a.Op == Equal && !a.Not && (!finite || len(a.Values) < len(only)) {
			only, finite = a.Values, true
		}
	}
	if types == 0 || opposed(list) {
		return false
	}
	if finite {
		return slices.ContainsFunc(only, func(v any) bool { return satisfies(v, list) })
	}
	switch {
	case types&(ListType|MapType) != 0:
		return true
	case types&NilType != 0 && satisfies(nil, list):
		return true
	case types&BooleanType != 0 && (satisfies(true, list) || satisfies(false, list)):
		return true
	case types&numberType != 0 && inRange(list, false):
		return true
	}
	return types&StringType != 0 && inRange(list, true) && textPossible(list)
}

func satisfies(v any, list []claim) bool {
	for i := range list {
		if !list[i].atom.Holds(v) {
			return false
		}
	}
	return true
}

// opposed tells whether one claim is the negation of another.
func opposed(list []claim) bool {
	for i := range list {
		for j := range list[:i] {
			a, b := &list[i].atom, &list[j].atom
			if a.Op == b.Op && a.Not != b.Not && a.Types == b.Types && len(a.Values) == len(b.Values) &&
				slices.EqualFunc(a.Values, b.Values, func(x, y any) bool { return TypeName(x) == TypeName(y) && oneOf(x, []any{y}) }) {
				return true
			}
		}
	}
	return false
}

// bound is an end of a range.
type bound struct {
	value any
	open  bool // the value itself is outside
}

// inRange weighs the orders among numbers, or among texts.
func inRange(list []claim, texts bool) bool {
	low, high := ends(list, texts)
	if low == nil || high == nil {
		return true
	}
	c, _ := compare(low.value, high.value)
	switch {
	case c > 0 || c == 0 && (low.open || high.open):
		return false
	case c == 0:
		return satisfies(low.value, list)
	}
	return true
}

// ends are the lowest and the highest value that orders leave; nil: no end.
func ends(list []claim, texts bool) (low, high *bound) {
	for i := range list {
		a := &list[i].atom
		if a.Op < Less || a.Op > GreaterEqual || (typesOf(a.Values[0]) == StringType) != texts {
			continue
		}
		b := &bound{a.Values[0], (a.Op == Less || a.Op == Greater) != a.Not}
		if (a.Op == Greater || a.Op == GreaterEqual) != a.Not {
			low = tighter(low, b, 1)
		} else {
			high = tighter(high, b, -1)
		}
	}
	return low, high
}

func tighter(a, b *bound, direction int) *bound {
	if a == nil {
		return b
	}
	c, _ := compare(b.value, a.value)
	if c*direction > 0 || c == 0 && b.open {
		return b
	}
	return a
}

// textPossible weighs what is asked of the parts of a text.
func textPossible(list []claim) bool {
	var prefix, suffix string
	var parts []string
	for i := range list {
		a := &list[i].atom
		if a.Not || a.Op != Prefix && a.Op != Suffix && a.Op != Contains {
			continue
		}
		part := a.Values[0].(string)
		parts = append(parts, part)
		switch {
		case a.Op == Prefix && strings.HasPrefix(part, prefix):
			prefix = part
		case a.Op == Prefix && !strings.HasPrefix(prefix, part):
			return false
		case a.Op == Suffix && strings.HasSuffix(part, suffix):
			suffix = part
		case a.Op == Suffix && !strings.HasSuffix(suffix, part):
			return false
		}
	}
	for i := range list {
		a := &list[i].atom
		if !a.Not || a.Op != Prefix && a.Op != Suffix && a.Op != Contains {
			continue
		}
		part := a.Values[0].(string)
		has := func(s string) bool { return strings.Contains(s, part) }
		if a.Op == Prefix && strings.HasPrefix(prefix, part) || a.Op == Suffix && strings.HasSuffix(suffix, part) ||
			a.Op == Contains && (part == "" || slices.ContainsFunc(parts, has)) {
			return false
		}
	}
	low, high := ends(list, true)
	if high != nil {
		if c := strings.Compare(prefix, high.value.(string)); c > 0 || c == 0 && high.open {
			return false
		}
	}
	return low == nil || prefix >= low.value.(string) || strings.HasPrefix(low.value.(string), prefix)
}
