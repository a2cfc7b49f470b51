package expression

import (
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// maxKept is the longest text, in bytes, that is kept as the value of a shared
// part. Lists and maps are not kept: they are what takes memory.
const maxKept = 256

// shared is a part of expressions that looks at nothing but the names: a
// function, a predicate or a pattern. All places where it stands run one code,
// and once there are two of them each State evaluates it once.
type shared struct {
	code  code
	reads bool
	memo  int // of State.memos; -1: it stands in one place
}

// memo is what a shared part came to.
type memo struct {
	known bool
	steps int
	value any
	err   error
}

// share compiles n, or takes what was compiled of the same form before.
func (u *unit) share(n ast.Node, compile func() (code, error)) (code, error) {
	if u.depth > 0 || !u.closed(n) {
		return compile()
	}
	var b strings.Builder
	(&Conditions{ordered: true}).fingerprint(&b, n)
	form := b.String()
	if known := u.c.shared[form]; known != nil {
		if known.memo < 0 {
			known.memo = u.c.memos
			u.c.memos++
		}
		u.reads = u.reads || known.reads
		return known.code, nil
	}
	reads, quotes := u.reads, u.quotes
	u.reads = false
	run, err := compile()
	part := &shared{reads: u.reads, memo: -1}
	u.reads = u.reads || reads
	if err != nil || u.quotes != quotes || !part.reads {
		return run, err
	}
	part.code = part.remember(run)
	u.c.shared[form] = part
	return part.code, nil
}

// closed tells whether n neither reads nor declares a variable.
func (u *unit) closed(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.VariableDeclaratorNode:
		return false
	case *ast.IdentifierNode:
		return !slices.ContainsFunc(u.vars, func(v variable) bool { return v.name == n.Value })
	}
	return !slices.ContainsFunc(children(n), func(c ast.Node) bool { return !u.closed(c) })
}

// remember runs the part once for each Reset. Each run pays what the first one
// paid, so that a program takes the same steps whatever others have run before.
func (p *shared) remember(run code) code {
	return func(s *State) (any, error) {
		if p.memo < 0 || p.memo >= len(s.memos) { // the latter: shared since the state was made
			return run(s)
		}
		m := &s.memos[p.memo]
		if m.known {
			if err := s.spend(m.steps); err != nil {
				return nil, err
			}
			return m.value, m.err
		}
		before := s.steps
		v, err := run(s)
		if s.Overrun() || err == nil && !kept(v) {
			return v, err
		}
		*m = memo{known: true, steps: before - s.steps, value: v, err: err}
		s.remembered = append(s.remembered, p.memo)
		return v, err
	}
}

func kept(v any) bool {
	switch v := v.(type) {
	case string:
		return len(v) <= maxKept
	case []any, map[string]any:
		return false
	}
	return true
}
