package expression

import (
	"fmt"

	"github.com/expr-lang/expr/ast"
)

func (u *unit) list(n *ast.ArrayNode) (code, error) {
	elems, err := u.all(n.Nodes)
	if err != nil {
		return nil, err
	}
	return func(s *State) (any, error) {
		if err := s.spend(1 + len(elems)); err != nil {
			return nil, err
		}
		list := make([]any, len(elems))
		for i, e := range elems {
			if list[i], err = e(s); err != nil {
				return nil, err
			}
		}
		return list, nil
	}, nil
}

func (u *unit) all(nodes []ast.Node) ([]code, error) {
	codes := make([]code, len(nodes))
	for i, n := range nodes {
		var err error
		if codes[i], err = u.compile(n); err != nil {
			return nil, err
		}
	}
	return codes, nil
}

func (u *unit) object(n *ast.MapNode) (code, error) {
	keys, values := make([]code, len(n.Pairs)), make([]code, len(n.Pairs))
	for i, p := range n.Pairs {
		pair, ok := p.(*ast.PairNode)
		if !ok {
			return nil, u.fail(p, "a map holds pairs only")
		}
		var err error
		if keys[i], err = u.compile(pair.Key); err != nil {
			return nil, err
		}
		if values[i], err = u.compile(pair.Value); err != nil {
			return nil, err
		}
	}
	return func(s *State) (any, error) {
		if err := s.spend(mapPrice + 2*len(keys)); err != nil {
			return nil, err
		}
		m := make(map[string]any, len(keys))
		for i := range keys {
			k, err := keys[i](s)
			if err != nil {
				return nil, err
			}
			name, ok := k.(string)
			if !ok {
				return nil, fmt.Errorf("a map key is %s (only strings are possible)", aType(k))
			}
			if m[name], err = values[i](s); err != nil {
				return nil, err
			}
		}
		return m, nil
	}, nil
}
