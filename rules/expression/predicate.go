package expression

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// call compiles a function of the allow-list: the predicates here and the plain
// functions of functions.
func (u *unit) call(n *ast.BuiltinNode) (code, error) {
	if slices.Contains(predicates, n.Name) {
		return u.predicate(n)
	}
	f, ok := functions(n.Name)
	if !ok {
		return nil, u.unknownFunction(n, n.Name)
	}
	if len(n.Arguments) < f.min || len(n.Arguments) > f.max {
		return nil, u.fail(n, "%s takes %s, not %d", n.Name, arguments(f.min, f.max), len(n.Arguments))
	}
	args, err := u.all(n.Arguments)
	if err != nil {
		return nil, err
	}
	name, run := n.Name, f.run
	if f.bind != nil {
		if run, err = f.bind(u, n); err != nil {
			return nil, err
		}
	}
	steps := 1
	if len(args) > 4 {
		steps += len(args)
	}
	return func(s *State) (any, error) {
		if err := s.spend(steps); err != nil {
			return nil, err
		}
		var room [4]any
		values := room[:0]
		if len(args) > len(room) {
			values = make([]any, 0, len(args))
		}
		for _, arg := range args {
			v, err := arg(s)
			if err != nil {
				return nil, err
			}
			values = append(values, v)
		}
		v, err := run(s, values)
		if err != nil && !s.Overrun() {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return v, err
	}, nil
}

func arguments(least, most int) string {
	switch {
	case least == most && least == 1:
		return "1 argument"
	case least == most:
		return fmt.Sprintf("%d arguments", least)
	case most >= manyArguments:
		return fmt.Sprintf("%d or more arguments", least)
	}
	return fmt.Sprintf("%d to %d arguments", least, most)
}

func (u *unit) unknownFunction(n ast.Node, name string) error {
	if why, ok := refused[name]; ok {
		return u.fail(n, "%s is not available: %s", name, why)
	}
	return u.fail(n, "unknown function %q (%s)", name, strictyaml.Suggest(name, Functions()))
}

var (
	// predicates are the functions whose second argument is evaluated for each
	// element.
	predicates = []string{
		"all", "any", "count", "filter", "find", "findIndex", "findLast", "findLastIndex",
		"map", "none", "one", "sortBy", "sum",
	}
	refused = map[string]string{
		"reduce":   "its cost has no limit (use sum, count, join or map)",
		"repeat":   "its result has no limit",
		"now":      "an event means the same at any time (use event.time)",
		"toJSON":   "parameters are JSON already (write the value alone: ${{ event.data }})",
		"fromJSON": "its input has no limit (send data as JSON)",
	}
)

// predicate compiles the functions that look at each element of a list. nil is
// the empty list.
func (u *unit) predicate(n *ast.BuiltinNode) (code, error) {
	if len(n.Arguments) == 0 {
		return nil, u.fail(n, "%s takes a list", n.Name)
	}
	list, err := u.compile(n.Arguments[0])
	if err != nil {
		return nil, err
	}
	body, err := u.body(n)
	if err != nil {
		return nil, err
	}
	descending := false
	if len(n.Arguments) > 2 {
		order, ok := n.Arguments[2].(*ast.StringNode)
		if !ok || order.Value != "asc" && order.Value != "desc" {
			return nil, u.fail(n.Arguments[2], `the order of %s must be "asc" or "desc"`, n.Name)
		}
		descending = order.Value == "desc"
	}
	name, depth, what, each := n.Name, u.depth, "the predicate of "+n.Name, 1
	if len(n.Arguments) > 1 {
		each += price(n.Arguments[1])
	}
	return func(s *State) (any, error) {
		v, err := list(s)
		if err != nil {
			return nil, err
		}
		elems, err := listOf(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		l := loop{s: s, list: elems, body: body, scope: &s.scopes[depth], what: what, price: each}
		return l.run(name, descending)
	}, nil
}

// body compiles the predicate itself; without one (count, sum) it is the element.
func (u *unit) body(n *ast.BuiltinNode) (code, error) {
	if u.depth == MaxPredicates {
		return nil, u.fail(n, "predicates are nested deeper than %d", MaxPredicates)
	}
	u.depth++
	defer func() { u.depth-- }()
	if len(n.Arguments) < 2 {
		d := u.depth - 1
		return func(s *State) (any, error) { return s.scopes[d].item, nil }, nil
	}
	p, ok := n.Arguments[1].(*ast.PredicateNode)
	if !ok {
		return nil, u.fail(n.Arguments[1], "%s takes a predicate", n.Name)
	}
	return u.compile(p.Node)
}

// loop is one run of a predicate over a list.
type loop struct {
	s     *State
	list  []any
	body  code
	scope *scope
	what  string
	price int // of the body for one element
}

// at evaluates the body for one element.
func (l *loop) at(i int) (any, error) {
	if err := l.s.spend(l.price); err != nil {
		return nil, err
	}
	l.scope.item, l.scope.index = l.list[i], i
	return l.body(l.s)
}

func (l *loop) test(i int) (bool, error) {
	v, err := l.at(i)
	if err != nil {
		return false, err
	}
	return truth(v, l.what)
}

func (l *loop) run(name string, descending bool) (any, error) {
	switch name {
	case "any":
		i, err := l.first(true, false)
		return i >= 0, err
	case "all":
		i, err := l.first(false, false)
		return i < 0, err
	case "none":
		i, err := l.first(true, false)
		return i < 0, err
	case "one":
		kept, err := l.filter()
		return len(kept) == 1, err
	case "count":
		kept, err := l.filter()
		return int64(len(kept)), err
	case "filter":
		return orError(l.filter())
	case "find":
		return l.element(l.first(true, false))
	case "findLast":
		return l.element(l.first(true, true))
	case "findIndex":
		return index(l.first(true, false))
	case "findLastIndex":
		return index(l.first(true, true))
	case "map":
		return orError(l.each())
	case "sum":
		values, err := l.each()
		if err != nil {
			return nil, err
		}
		return sum(l.s, values)
	}
	return l.sortBy(descending)
}

// first is the position of the first element for which the body is want, -1
// when there is none; backwards looks from the end.
func (l *loop) first(want, backwards bool) (int, error) {
	for i := range l.list {
		if backwards {
			i = len(l.list) - 1 - i
		}
		b, err := l.test(i)
		if err != nil {
			return -1, err
		}
		if b == want {
			return i, nil
		}
	}
	return -1, nil
}

func (l *loop) filter() ([]any, error) {
	kept := []any{}
	for i, e := range l.list {
		b, err := l.test(i)
		if err != nil {
			return nil, err
		}
		if b {
			kept = push(kept, e)
		}
	}
	return kept, nil
}

func (l *loop) each() ([]any, error) {
	if len(l.list) > l.s.steps { // it cannot end well
		return nil, l.s.spend(len(l.list))
	}
	values := make([]any, len(l.list))
	for i := range l.list {
		var err error
		if values[i], err = l.at(i); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// element is the element of a position that was looked for; nil when none was
// found.
func (l *loop) element(i int, err error) (any, error) {
	if i < 0 || err != nil {
		return nil, err
	}
	return l.list[i], nil
}

// index is a position that was looked for, -1 when none was found.
func index(i int, err error) (any, error) { return int64(i), err }

// orError keeps a nil list of an error from becoming a value.
func orError(list []any, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (l *loop) sortBy(descending bool) (any, error) {
	keys, err := l.each()
	if err != nil {
		return nil, err
	}
	return sorted(l.s, l.list, keys, descending)
}

// sorted orders list by keys, which must all be numbers or all be strings. The
// order of equal elements is kept.
func sorted(s *State, list, keys []any, descending bool) (any, error) {
	if err := s.spend(8 * len(list)); err != nil {
		return nil, err
	}
	for _, k := range keys {
		if err := s.scan(size(k), 8); err != nil {
			return nil, err
		}
		if _, ok := compare(keys[0], k); !ok {
			return nil, fmt.Errorf("%s and %s have no order (sort numbers or strings)", aType(keys[0]), aType(k))
		}
	}
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		c, _ := compare(keys[i], keys[j])
		if descending {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(i, j))
	})
	out := make([]any, len(list))
	for i, o := range order {
		out[i] = list[o]
	}
	return out, nil
}

// listOf is v as a list; nil is the empty one.
func listOf(v any) ([]any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case []any:
		return v, nil
	}
	return nil, fmt.Errorf("it takes a list, not %s", aType(v))
}
