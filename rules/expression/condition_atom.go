package expression

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Op is what an Atom asks of a value.
type Op uint8

// The operators of atoms. A value of a type that an operator does not take does
// not satisfy it.
const (
	// Equal: the value is one of Values; nil is one that is missing.
	Equal Op = iota + 1
	// Prefix, Suffix and Contains: the value is a text that has Values[0] there.
	Prefix
	Suffix
	Contains
	// Matches: the value is a text that matches the pattern Values[0].
	Matches
	// Less, LessEqual, Greater and GreaterEqual: the value is a number or text
	// that is so ordered with Values[0].
	Less
	LessEqual
	Greater
	GreaterEqual
	// Has: the value is a list with the element Values[0], or a map with that key.
	Has
	// Any: the value is a list of which some element is one of Values.
	Any
	// OfType: the value is of one of Types.
	OfType
)

// Types is a set of types of values.
type Types uint8

// The types of values.
const (
	NilType Types = 1 << iota
	BooleanType
	IntegerType
	FloatType
	StringType
	ListType
	MapType

	// AnyType is every type.
	AnyType = MapType<<1 - 1

	numberType = IntegerType | FloatType
)

// typesNamed returns the type that the function type calls by this name.
func typesNamed(name string) (Types, bool) {
	for i, t := range []string{"nil", "boolean", "integer", "float", "string", "list", "map"} {
		if t == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// typesOf are the types that values equal to v have: 1 equals 1.0.
func typesOf(v any) Types {
	switch v := v.(type) {
	case int64:
		return numberType
	case float64:
		if v == math.Trunc(v) {
			return numberType
		}
		return FloatType
	}
	t, _ := typesNamed(TypeName(v))
	return t
}

// Term is what an Atom looks at. Terms with one Key have one value.
type Term struct {
	// Name and Path are a path below a name, of strings (keys of maps) and int64
	// (positions in lists). Name is empty for any other expression.
	Name string
	Path []any

	key string
}

func newTerm(name string, path []any) Term {
	key := name
	for _, p := range path {
		switch p := p.(type) {
		case string:
			key += "." + strconv.Quote(p)
		case int64:
			key += "[" + strconv.FormatInt(p, 10) + "]"
		}
	}
	return Term{Name: name, Path: path, key: key}
}

// PathTerm is the term of the path of keys below a name.
func PathTerm(name string, keys ...string) Term {
	path := make([]any, len(keys))
	for i, k := range keys {
		path[i] = k
	}
	return newTerm(name, path)
}

// Key tells terms apart.
func (t Term) Key() string { return t.key }

// String is the path as it is written; "the value" for what is no path.
func (t Term) String() string {
	if t.Name == "" {
		return "the value"
	}
	var b strings.Builder
	b.WriteString(t.Name)
	for _, p := range t.Path {
		name, isName := p.(string)
		switch {
		case isName && isPlainName(name):
			b.WriteString("." + name)
		case isName:
			b.WriteString("[" + strconv.Quote(name) + "]")
		default:
			fmt.Fprintf(&b, "[%d]", p)
		}
	}
	return b.String()
}

func isPlainName(s string) bool {
	for i := range len(s) {
		if !isWord(s[i]) {
			return false
		}
	}
	return s != "" && (s[0] < '0' || s[0] > '9')
}

// Atom is one comparison of a value with literals.
type Atom struct {
	Term Term
	Op   Op
	// Not: the comparison does not hold.
	Not    bool
	Values []any
	Types  Types

	pattern func() *regexp.Regexp // of Matches
}

// opOf is the operator between a value and a literal.
func opOf(op string) (Op, bool) {
	switch op {
	case "==":
		return Equal, true
	case "<":
		return Less, true
	case "<=":
		return LessEqual, true
	case ">":
		return Greater, true
	case ">=":
		return GreaterEqual, true
	case "startsWith":
		return Prefix, true
	case "endsWith":
		return Suffix, true
	case "contains":
		return Contains, true
	case "matches":
		return Matches, true
	}
	return 0, false
}

// atomOf is an operator and the literal on its right; false when the operator
// does not take it.
func atomOf(op string, v any) (Atom, bool) {
	a := Atom{Values: []any{v}}
	a.Op, _ = opOf(op)
	_, isText := v.(string)
	_, isNumber := toFloat(v)
	switch a.Op {
	case Equal:
		return a, true
	case Less, LessEqual, Greater, GreaterEqual:
		return a, isText || isNumber
	case Prefix, Suffix, Contains:
		return a, isText
	case Matches:
		if !isText {
			return a, false
		}
		text := v.(string)
		tree, err := syntax.Parse(text, syntax.Perl)
		if err != nil || instructions(tree) > MaxPattern {
			return a, false
		}
		a.pattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
		return a, true
	}
	return a, false
}

// Holds tells whether the atom holds of the value of its term, nil when that is
// missing.
func (a *Atom) Holds(v any) bool {
	return a.asks(v) != a.Not
}

func (a *Atom) asks(v any) bool {
	switch a.Op {
	case Equal:
		return oneOf(v, a.Values)
	case OfType:
		return typesOf(v)&a.Types != 0
	case Has:
		in, _ := within(&State{steps: MaxSteps}, a.Values[0], v)
		return in == true
	case Any:
		list, _ := v.([]any)
		return slices.ContainsFunc(list, func(e any) bool { return oneOf(e, a.Values) })
	case Less, LessEqual, Greater, GreaterEqual:
		c, ok := compare(v, a.Values[0])
		return ok && a.ordered(c)
	}
	text, ok := v.(string)
	return ok && a.asksText(text)
}

func (a *Atom) asksText(text string) bool {
	if a.Op == Matches {
		return a.pattern().MatchString(text)
	}
	want := a.Values[0].(string)
	switch a.Op {
	case Prefix:
		return strings.HasPrefix(text, want)
	case Suffix:
		return strings.HasSuffix(text, want)
	}
	return strings.Contains(text, want)
}

func (a *Atom) ordered(c int) bool {
	switch a.Op {
	case Less:
		return c < 0
	case LessEqual:
		return c <= 0
	case Greater:
		return c > 0
	}
	return c >= 0
}

func oneOf(v any, values []any) bool {
	s := &State{steps: MaxSteps}
	return slices.ContainsFunc(values, func(w any) bool {
		same, _ := equal(s, v, w)
		return same
	})
}

// types are those of the values of which the atom may hold.
func (a *Atom) types() Types {
	if a.Not {
		if a.Op == OfType {
			return AnyType &^ a.Types
		}
		if a.Op == Equal && slices.Contains(typeNames(a.Values), "nil") {
			return AnyType &^ NilType
		}
		return AnyType
	}
	var t Types
	switch a.Op {
	case Equal:
		for _, v := range a.Values {
			t |= typesOf(v)
		}
	case Less, LessEqual, Greater, GreaterEqual:
		if t = StringType; typesOf(a.Values[0]) != StringType {
			t = numberType
		}
	case Has:
		if t = ListType; typesOf(a.Values[0]) == StringType {
			t |= MapType
		}
	case Any:
		t = ListType
	case OfType:
		t = a.Types
	default:
		t = StringType
	}
	return t
}

func typeNames(values []any) []string {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = TypeName(v)
	}
	return names
}

// maxAlternatives is of how many texts a pattern may require one.
const maxAlternatives = 8

// literals are texts of which every text that matches the pattern of a Matches
// atom has one, where op is: Prefix, Suffix or Contains.
type literals struct {
	op    Op
	texts []string
}

// literals are all that is known of a pattern, the most telling first.
func (a *Atom) literals() []literals {
	re, err := syntax.Parse(a.Values[0].(string), syntax.Perl)
	if err != nil {
		return nil
	}
	re = re.Simplify()
	all := []literals{{Contains, required(re)}}
	if re.Op == syntax.OpConcat {
		last := len(re.Sub) - 1
		if re.Sub[0].Op == syntax.OpBeginText {
			all = append(all, literals{Prefix, edges(re.Sub[1], func(list []*syntax.Regexp) *syntax.Regexp { return list[0] })})
		}
		if re.Sub[last].Op == syntax.OpEndText {
			all = append(all, literals{Suffix, edges(re.Sub[last-1], func(list []*syntax.Regexp) *syntax.Regexp { return list[len(list)-1] })})
		}
	}
	all = slices.DeleteFunc(all, func(l literals) bool { return len(l.texts) == 0 })
	slices.SortStableFunc(all, func(x, y literals) int {
		return cmp.Or(cmp.Compare(shortest(y.texts), shortest(x.texts)), cmp.Compare(len(x.texts), len(y.texts)), cmp.Compare(x.op, y.op))
	})
	return all
}

// literalOf is the text that re stands for, "" when it is more than that.
func literalOf(re *syntax.Regexp) string {
	if re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase == 0 {
		return string(re.Rune)
	}
	return ""
}

// edges are texts with one of which every match begins, or ends: at is the first
// or the last of what follows each other.
func edges(re *syntax.Regexp, at func([]*syntax.Regexp) *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		if text := literalOf(re); text != "" {
			return []string{text}
		}
	case syntax.OpCapture, syntax.OpPlus, syntax.OpConcat:
		return edges(at(re.Sub), at)
	case syntax.OpAlternate:
		return alternatives(re.Sub, func(sub *syntax.Regexp) []string { return edges(sub, at) })
	}
	return nil
}

// required are texts of which one is a part of every match: those of which the
// shortest is as long as possible.
func required(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		if text := literalOf(re); text != "" {
			return []string{text}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpAlternate:
		return alternatives(re.Sub, required)
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if texts := required(sub); shortest(texts) > shortest(best) {
				best = texts
			}
		}
		return best
	}
	return nil
}

// alternatives joins the texts of the alternatives, each of which must have some.
func alternatives(subs []*syntax.Regexp, of func(*syntax.Regexp) []string) []string {
	var all []string
	for _, sub := range subs {
		texts := of(sub)
		if all = append(all, texts...); len(texts) == 0 || len(all) > maxAlternatives {
			return nil
		}
	}
	return all
}

func shortest(texts []string) int {
	if len(texts) == 0 {
		return 0
	}
	n := len(texts[0])
	for _, t := range texts {
		n = min(n, len(t))
	}
	return n
}

// ValuesOf returns the values of which the term has one whenever the condition
// holds; false when there is no such list. It may have values twice.
func (c *Cond) ValuesOf(t Term) ([]any, bool) {
	switch c.Kind {
	case Never:
		return nil, true
	case Is:
		return c.Atom.Values, c.Atom.Op == Equal && !c.Atom.Not && c.Atom.Term.key == t.key
	case All:
		for _, p := range c.Parts {
			if values, ok := p.ValuesOf(t); ok {
				return values, true
			}
		}
	case One:
		var all []any
		for _, p := range c.Parts {
			values, ok := p.ValuesOf(t)
			if !ok {
				return nil, false
			}
			all = append(all, values...)
		}
		return all, true
	}
	return nil, false
}

// TypesOf are the types that values equal to v have: 1 equals 1.0.
func TypesOf(v any) Types { return typesOf(v) }
