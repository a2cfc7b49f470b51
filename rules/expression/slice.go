package expression

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

func (u *unit) slice(n *ast.SliceNode) (code, error) {
	ends := []ast.Node{n.From, n.To}
	codes := []code{constant(int64(0)), constant(nil)}
	base, err := u.compile(n.Node)
	if err != nil {
		return nil, err
	}
	for i, e := range ends {
		if e == nil {
			continue
		}
		if codes[i], err = u.compile(e); err != nil {
			return nil, err
		}
	}
	hasTo := n.To != nil
	return func(s *State) (any, error) {
		v, err := base(s)
		if err != nil || v == nil {
			return nil, err
		}
		from, err := codes[0](s)
		if err != nil {
			return nil, err
		}
		to, err := codes[1](s)
		if err != nil {
			return nil, err
		}
		return cutOut(s, v, from, to, hasTo)
	}, nil
}

// cutOut is v[first:end] of a list or, by characters, of a string; positions
// beyond the ends are moved to them and negative ones count from the end.
func cutOut(s *State, v, first, end any, hasEnd bool) (any, error) {
	list, isList := v.([]any)
	str, isString := v.(string)
	if !isString && !isList {
		return nil, fmt.Errorf("only lists and strings have parts, not %s", aType(v))
	}
	if err := s.scan(len(str), 16); err != nil {
		return nil, err
	}
	n := int64(utf8.RuneCountInString(str) + len(list))
	if !hasEnd {
		end = n
	}
	i, ok1 := first.(int64)
	j, ok2 := end.(int64)
	if !ok1 || !ok2 {
		return nil, errors.New("the ends of a part must be integers")
	}
	clamp := func(k int64) int64 {
		if k < 0 {
			k += n
		}
		return min(max(k, 0), n)
	}
	i, j = clamp(i), clamp(j)
	j = max(i, j)
	if isList {
		return list[i:j:j], nil
	}
	if n == int64(len(str)) { // a byte for each character
		return str[i:j], nil
	}
	from := byteOffset(str, int(i))
	return str[from : from+byteOffset(str[from:], int(j-i))], nil
}
