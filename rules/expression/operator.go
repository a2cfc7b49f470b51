package expression

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/expr-lang/expr/ast"
)

func (u *unit) unary(n *ast.UnaryNode) (code, error) {
	switch n.Operator {
	case "not", "!":
		cond, err := u.condition(n.Node)
		if err != nil {
			return nil, err
		}
		return func(s *State) (any, error) {
			b, err := cond(s)
			return !b, err
		}, nil
	case "-", "+":
		run, err := u.compile(n.Node)
		if err != nil {
			return nil, err
		}
		op := n.Operator
		return func(s *State) (any, error) {
			v, err := run(s)
			if err != nil {
				return nil, err
			}
			if _, ok := toFloat(v); !ok {
				return nil, fmt.Errorf("%s takes a number, not %s", op, aType(v))
			}
			return arithmetic(s, op, int64(0), v)
		}, nil
	}
	return nil, u.fail(n, "unknown operator %s", n.Operator)
}

func (u *unit) binary(n *ast.BinaryNode) (code, error) {
	switch n.Operator {
	case "and", "&&", "or", "||":
		t, err := u.condition(n)
		return t.code(), err
	case "..":
		return u.span(n)
	case "matches":
		return u.share(n, func() (code, error) { return u.matches(n) })
	case "in":
		return u.in(n)
	}
	left, err := u.compile(n.Left)
	if err != nil {
		return nil, err
	}
	right, err := u.compile(n.Right)
	if err != nil {
		return nil, err
	}
	switch op := n.Operator; op {
	case "==", "!=":
		return equality(left, right, op == "==", n.Right), nil
	case "<", "<=", ">", ">=":
		return ordering(left, right, op), nil
	case "contains":
		return textTest(left, right, strings.Contains), nil
	case "startsWith":
		return textTest(left, right, strings.HasPrefix), nil
	case "endsWith":
		return textTest(left, right, strings.HasSuffix), nil
	case "??":
		return func(s *State) (any, error) {
			if v, err := left(s); v != nil || err != nil {
				return v, err
			}
			return right(s)
		}, nil
	case "+", "-", "*", "/", "%", "**", "^":
		return func(s *State) (any, error) {
			a, err := left(s)
			if err != nil {
				return nil, err
			}
			b, err := right(s)
			if err != nil {
				return nil, err
			}
			return arithmetic(s, op, a, b)
		}, nil
	}
	return nil, u.fail(n, "unknown operator %s", n.Operator)
}

// logical compiles a chain of operands, of which each is evaluated when those
// before it do not decide.
func (u *unit) logical(n *ast.BinaryNode, decides bool) (test, error) {
	operands := chain(n, decides)
	tests := make([]test, len(operands))
	for i, o := range operands {
		var err error
		if tests[i], err = u.condition(o); err != nil {
			return nil, err
		}
	}
	return func(s *State) (bool, error) {
		for _, t := range tests {
			b, err := t(s)
			if err != nil {
				return false, err
			}
			if b == decides {
				return b, nil
			}
		}
		return !decides, nil
	}, nil
}

// fieldIs compiles the usual comparison, of a field with a text that is written
// out; nil: n is another one.
func (u *unit) fieldIs(n *ast.BinaryNode) test {
	str, ok := n.Right.(*ast.StringNode)
	if !ok || n.Operator != "==" && n.Operator != "!=" {
		return nil
	}
	root, path, ok := u.static(n.Left)
	if !ok {
		return nil
	}
	u.reads = true
	i, want, is := u.c.slot(root, path), str.Value, n.Operator == "=="
	return func(s *State) (bool, error) {
		x, ok := s.Text(i)
		if !ok || len(x) != len(want) {
			return !is, nil
		}
		return (x == want) == is, s.scan(len(x), 64)
	}
}

// equality compares any two values. A string written out, the usual case, is
// compared without the detour.
func equality(left, right code, want bool, node ast.Node) code {
	if v, ok := literal(node); ok {
		if str, ok := v.(string); ok {
			return func(s *State) (any, error) {
				v, err := left(s)
				if err != nil {
					return nil, err
				}
				x, ok := v.(string)
				if !ok || len(x) != len(str) {
					return !want, nil
				}
				return (x == str) == want, s.scan(len(x), 64)
			}
		}
	}
	return func(s *State) (any, error) {
		a, err := left(s)
		if err != nil {
			return nil, err
		}
		b, err := right(s)
		if err != nil {
			return nil, err
		}
		same, err := equal(s, a, b)
		return same == want, err
	}
}

func ordering(left, right code, op string) code {
	return func(s *State) (any, error) {
		a, err := left(s)
		if err != nil {
			return nil, err
		}
		b, err := right(s)
		if err != nil {
			return nil, err
		}
		c, ok := compare(a, b)
		if !ok {
			return false, nil
		}
		if err := s.scan(min(size(a), size(b)), 64); err != nil {
			return nil, err
		}
		switch op {
		case "<":
			return c < 0, nil
		case "<=":
			return c <= 0, nil
		case ">":
			return c > 0, nil
		}
		return c >= 0, nil
	}
}

func textTest(left, right code, f func(a, b string) bool) code {
	return func(s *State) (any, error) {
		a, err := left(s)
		if err != nil {
			return nil, err
		}
		b, err := right(s)
		if err != nil {
			return nil, err
		}
		x, ok1 := a.(string)
		y, ok2 := b.(string)
		if !ok1 || !ok2 {
			return false, nil
		}
		if err := s.scan(len(x), 32); err != nil {
			return nil, err
		}
		return f(x, y), nil
	}
}

// in looks for a value in a list or a key in a map. A list of strings written
// out becomes a set.
func (u *unit) in(n *ast.BinaryNode) (code, error) {
	left, err := u.compile(n.Left)
	if err != nil {
		return nil, err
	}
	if v, ok := literal(n.Right); ok {
		if set := stringSet(v); set != nil {
			return func(s *State) (any, error) {
				v, err := left(s)
				if err != nil {
					return nil, err
				}
				str, ok := v.(string)
				if !ok {
					return false, nil
				}
				_, ok = set[str]
				return ok, s.scan(len(str), 64)
			}, nil
		}
	}
	right, err := u.compile(n.Right)
	if err != nil {
		return nil, err
	}
	return func(s *State) (any, error) {
		a, err := left(s)
		if err != nil {
			return nil, err
		}
		b, err := right(s)
		if err != nil {
			return nil, err
		}
		return within(s, a, b)
	}, nil
}

// stringSet is the set of a list of strings, nil when v is no such list.
func stringSet(v any) map[string]struct{} {
	list, ok := v.([]any)
	if !ok {
		return nil
	}
	set := make(map[string]struct{}, len(list))
	for _, e := range list {
		str, ok := e.(string)
		if !ok {
			return nil
		}
		set[str] = struct{}{}
	}
	return set
}

func within(s *State, a, b any) (any, error) {
	switch b := b.(type) {
	case nil:
		return false, nil
	case []any:
		for i := range b {
			if err := s.spend(1); err != nil {
				return nil, err
			}
			if same, err := equal(s, a, b[i]); same || err != nil {
				return same, err
			}
		}
		return false, nil
	case map[string]any:
		k, ok := a.(string)
		if ok {
			_, ok = b[k]
		}
		return ok, s.scan(len(k), 64)
	}
	return nil, fmt.Errorf("the right side of in is %s (it takes a list or a map; for text use contains)", aType(b))
}

// span compiles a range of two integers that are written out.
func (u *unit) span(n *ast.BinaryNode) (code, error) {
	a, ok1 := literal(n.Left)
	b, ok2 := literal(n.Right)
	from, ok3 := a.(int64)
	to, ok4 := b.(int64)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return nil, u.fail(n, "the ends of a range must be written out as integers")
	}
	if to >= from && uint64(to)-uint64(from) >= MaxRange {
		return nil, u.fail(n, "the range has more than %d elements", MaxRange)
	}
	list := []any{}
	for i := from; i <= to; i++ {
		list = append(list, i)
		if i == math.MaxInt64 {
			break
		}
	}
	return constant(list), nil
}

// arithmetic on integers is exact or an error; with a float it is that of
// floats, and a result that is no finite number is an error.
func arithmetic(s *State, op string, a, b any) (any, error) {
	if x, ok := a.(string); ok && op == "+" {
		if y, ok := b.(string); ok {
			return concat(s, x, y)
		}
	}
	x, ok1 := a.(int64)
	y, ok2 := b.(int64)
	if ok1 && ok2 && op != "/" && op != "**" && op != "^" {
		return integers(op, x, y)
	}
	f, ok1 := toFloat(a)
	g, ok2 := toFloat(b)
	if !ok1 || !ok2 || op == "%" {
		return nil, operandError(op, a, b)
	}
	var r float64
	switch op {
	case "+":
		r = f + g
	case "-":
		r = f - g
	case "*":
		r = f * g
	case "/":
		if g == 0 {
			return nil, errors.New("division by zero")
		}
		r = f / g
	default:
		if err := s.spend(1); err != nil {
			return nil, err
		}
		r = math.Pow(f, g)
	}
	if math.IsInf(r, 0) || math.IsNaN(r) {
		return nil, fmt.Errorf("the result of %s is not a finite number", op)
	}
	return r, nil
}

func operandError(op string, a, b any) error {
	takes := "two numbers"
	switch op {
	case "+":
		takes = "two numbers or two strings"
	case "%":
		takes = "two integers"
	}
	return fmt.Errorf("%s takes %s, not %s and %s", op, takes, TypeName(a), TypeName(b))
}

func toFloat(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func integers(op string, x, y int64) (any, error) {
	var r int64
	exact := true
	switch op {
	case "+":
		r = x + y
		exact = (r > x) == (y > 0)
	case "-":
		r = x - y
		exact = (r < x) == (y > 0)
	case "*":
		r = x * y
		exact = x == 0 || r/x == y && (x != -1 || y != math.MinInt64)
	case "%":
		if y == 0 {
			return nil, errors.New("division by zero")
		}
		r = x % y
	}
	if !exact {
		return nil, fmt.Errorf("the result of %s does not fit an integer", op)
	}
	return r, nil
}

func concat(s *State, x, y string) (any, error) {
	if len(x)+len(y) > maxString {
		return nil, fmt.Errorf("a text grows over %d bytes", maxString)
	}
	if err := s.spend(1 + (len(x)+len(y))/16); err != nil {
		return nil, err
	}
	return x + y, nil
}
