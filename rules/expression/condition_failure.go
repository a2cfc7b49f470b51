package expression

import (
	"slices"

	"github.com/expr-lang/expr/ast"
)

// total are the functions that take anything and so fail only when an argument
// does.
var total = []string{"became", "between", "changed", "equalFold", "glob", "inCIDR", "isIP", "isPrivate", "type"}

// WhenTrueOrFailed returns what holds whenever the text is true or fails, other
// than by running out of steps: where it does not hold, the text is false or nil.
func (c *Conditions) WhenTrueOrFailed() *Cond {
	if c.trueOrFailed == nil {
		whenTrue := c.When(true)
		c.left, c.vars = maxConditions, nil
		c.trueOrFailed = either(whenTrue, c.failure(c.root, true))
	}
	return c.trueOrFailed
}

// either holds when one of the conditions does.
func either(conds ...*Cond) *Cond {
	var parts []*Cond
	for _, cond := range conds {
		switch {
		case cond.Kind == Never || slices.Contains(parts, cond):
		case cond.Kind == One:
			parts = append(parts, cond.Parts...)
		default:
			parts = append(parts, cond)
		}
	}
	switch len(parts) {
	case 0:
		return &Cond{Kind: Never}
	case 1:
		return parts[0]
	}
	return &Cond{Kind: One, Parts: parts}
}

func never() *Cond { return &Cond{Kind: Never} }

// failure returns what holds whenever evaluating n fails; as a condition it also
// fails when its value is neither a boolean nor nil.
func (c *Conditions) failure(n ast.Node, condition bool) *Cond {
	if c.left--; c.left < 0 {
		return &Cond{}
	}
	if v, ok := literal(n); ok {
		if _, err := truth(v, ""); condition && err != nil {
			return &Cond{Kind: Always}
		}
		return never()
	}
	if _, _, ok := c.path(n); ok {
		if condition {
			return c.typed(n, AnyType&^(NilType|BooleanType))
		}
		return never()
	}
	switch n := n.(type) {
	case *ast.ChainNode:
		return c.failure(n.Node, condition)
	case *ast.IdentifierNode: // a variable: its own failure is that of let
		if b, ok := c.variable(n.Value); ok && (!condition || isLogical(b.node)) {
			return never()
		}
	case *ast.MemberNode:
		if !condition && !n.Method {
			return either(c.failure(n.Node, false), c.failure(n.Property, false))
		}
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			return c.failure(n.Node, true)
		}
	case *ast.BinaryNode:
		return c.failureOfBinary(n, condition)
	case *ast.ConditionalNode:
		return either(c.failure(n.Cond, true),
			&Cond{Kind: All, Parts: []*Cond{c.shared(n.Cond, true), c.failure(n.Exp1, condition)}},
			&Cond{Kind: All, Parts: []*Cond{c.shared(n.Cond, false), c.failure(n.Exp2, condition)}})
	case *ast.VariableDeclaratorNode:
		value := c.failure(n.Value, false)
		c.built++
		c.vars = append(c.vars, binding{n.Name, c.built, n.Value})
		body := c.failure(n.Expr, condition)
		c.vars = c.vars[:len(c.vars)-1]
		return either(value, body)
	case *ast.BuiltinNode:
		return c.failureOfFunction(n, condition)
	}
	return &Cond{}
}

// typed holds when n, a path, has one of the types.
func (c *Conditions) typed(n ast.Node, types Types) *Cond {
	return &Cond{Kind: Is, Atom: Atom{Term: c.term(n), Op: OfType, Types: types}}
}

func (c *Conditions) failureOfBinary(n *ast.BinaryNode, condition bool) *Cond {
	if decides, ok := decider(n.Operator); ok {
		return c.failureOfChain(chain(n, decides), decides)
	}
	switch n.Operator {
	case "==", "!=", "<", "<=", ">", ">=", "contains", "startsWith", "endsWith", "matches":
		return either(c.failure(n.Left, false), c.failure(n.Right, false))
	case "in":
		return either(c.failure(n.Left, false), c.failureOfList(n.Right))
	case "??":
		return either(c.failure(n.Left, condition), c.failure(n.Right, condition))
	}
	return &Cond{}
}

// failureOfChain is that of operands of which each is evaluated when those before
// do not decide.
func (c *Conditions) failureOfChain(operands []ast.Node, decides bool) *Cond {
	var failures, before []*Cond
	for i, o := range operands {
		f := c.failure(o, true)
		if f.Kind != Never {
			for _, b := range operands[len(before):i] {
				before = append(before, c.shared(b, !decides))
			}
			failures = append(failures, &Cond{Kind: All, Parts: append(before[:len(before):len(before)], f)})
		}
	}
	return either(failures...)
}

// failureOfList is that of the right side of in.
func (c *Conditions) failureOfList(n ast.Node) *Cond {
	if v, ok := c.literal(n); ok {
		if _, isList := v.([]any); isList || v == nil {
			return never()
		}
		return &Cond{Kind: Always}
	}
	if b, ok := n.(*ast.BinaryNode); ok && b.Operator == ".." {
		return never()
	}
	if _, _, ok := c.path(n); ok {
		return c.typed(n, BooleanType|numberType|StringType)
	}
	return &Cond{}
}

func (c *Conditions) failureOfFunction(n *ast.BuiltinNode, condition bool) *Cond {
	switch n.Name {
	case "any", "none":
		if len(n.Arguments) != 2 {
			return &Cond{}
		}
		_, _, isPath := c.path(n.Arguments[0])
		if _, ok := elementIn(n.Arguments[1]); ok && isPath {
			return c.typed(n.Arguments[0], AnyType&^(NilType|ListType))
		}
		return &Cond{}
	}
	if !slices.Contains(total, n.Name) || condition && n.Name == "type" {
		return &Cond{}
	}
	failures := make([]*Cond, len(n.Arguments))
	for i, arg := range n.Arguments {
		failures[i] = c.failure(arg, false)
	}
	return either(failures...)
}
