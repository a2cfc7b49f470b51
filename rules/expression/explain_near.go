package expression

import (
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// conditions evaluates the operands of the outermost and.
func (e *explainer) conditions(root ast.Node) []Condition {
	parts := []ast.Node{root}
	if b, ok := root.(*ast.BinaryNode); ok {
		if decides, logical := decider(b.Operator); logical && !decides {
			parts = chain(root, false)
		}
	}
	parts = parts[:min(len(parts), MaxConditions)]
	out := make([]Condition, len(parts))
	for i, n := range parts {
		out[i] = e.condition(n)
	}
	return out
}

// condition evaluates one part for itself and says what it saw.
func (e *explainer) condition(n ast.Node) Condition {
	c := Condition{Text: cut(e.source(n), maxText), Result: "true"}
	ok, err := e.test(n)
	if err != nil {
		c.Result, c.Saw = "error", err.Error()
		return c
	}
	if !ok {
		c.Result = "false"
	}
	if !compound(n) {
		if ok && isSame(n) {
			return c // the values are those of the text
		}
		c.Saw, _ = e.saw(n)
		return c
	}
	before := e.reasons
	e.reasons, e.leaves = nil, 0
	if e.explain(n, ok) == nil {
		c.Saw = strings.Join(e.reasons, "; ")
	}
	e.reasons = before
	return c
}

// compound tells whether explain descends into n.
func compound(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.UnaryNode:
		return (n.Operator == "not" || n.Operator == "!") && !isTextTest(n.Node)
	case *ast.BinaryNode:
		_, ok := decider(n.Operator)
		return ok
	case *ast.ConditionalNode, *ast.VariableDeclaratorNode:
		return true
	}
	return false
}

// isSame tells whether n compares something with a value that is written out.
func isSame(n ast.Node) bool {
	b, ok := n.(*ast.BinaryNode)
	if !ok || b.Operator != "==" {
		return false
	}
	_, left := literal(b.Left)
	_, right := literal(b.Right)
	return left || right
}

// near is how much of n has the value want, from 0 to 1, and whether what has
// not includes a comparison of the kind. What cannot be evaluated has it not.
func (e *explainer) near(n ast.Node, want bool) (share float64, other bool) {
	switch n := n.(type) {
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			return e.near(n.Node, !want)
		}
	case *ast.BinaryNode:
		if decides, ok := decider(n.Operator); ok {
			if want == decides {
				return e.nearest(chain(n, decides), want)
			}
			return e.nearAll(chain(n, decides), want)
		}
	case *ast.ConditionalNode:
		cond, err := e.test(n.Cond)
		switch {
		case err != nil:
			return 0, false
		case cond:
			return e.near(n.Exp1, want)
		}
		return e.near(n.Exp2, want)
	case *ast.VariableDeclaratorNode:
		outer := len(e.unit.vars)
		defer func() { e.unit.vars = e.unit.vars[:outer] }()
		body, err := e.enter(n)
		if err != nil {
			return 0, false
		}
		return e.near(body, want)
	}
	if ok, err := e.test(n); err == nil && ok == want {
		return 1, false
	}
	return 0, e.kind != "" && e.reads(n)
}

// nearAll is the mean of parts that must all have the value.
func (e *explainer) nearAll(parts []ast.Node, want bool) (share float64, other bool) {
	for _, p := range parts {
		s, o := e.near(p, want)
		share += s
		other = other || o
	}
	return share / float64(len(parts)), other
}

// nearest is the best of parts of which one must have the value.
func (e *explainer) nearest(parts []ast.Node, want bool) (share float64, other bool) {
	for i, p := range parts {
		s, o := e.near(p, want)
		if i == 0 || other && !o || o == other && s > share {
			share, other = s, o
		}
	}
	return share, other
}

// reads tells whether n or a part of it is the kind.
func (e *explainer) reads(n ast.Node) bool {
	switch n.(type) {
	case *ast.MemberNode, *ast.ChainNode, *ast.IdentifierNode:
		if root, path, ok := e.unit.static(n); ok {
			var b strings.Builder
			b.WriteString(e.unit.c.names[root])
			for _, st := range path {
				b.WriteString("." + st.name)
			}
			return b.String() == e.kind
		}
	}
	return slices.ContainsFunc(children(n), e.reads)
}
