package expression

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser/lexer"
)

// maxShown is how much of a value an explanation shows, in bytes.
const maxShown = 80

// maxReasons is how many comparisons an explanation states.
const maxReasons = 16

// WhyFalse says why the condition text is false of the values: the smallest
// comparisons that decide it and the values they saw, as in
//
//	event.data.role == "access" is false: event.data.role is "core"
//
// It compiles the text anew, part by part: nothing is kept for it at run time.
func WhyFalse(text string, names []string, values ...any) (string, error) {
	root, err := parse(text)
	if err != nil {
		return "", err
	}
	e := explainer{unit: &unit{c: NewCompiler(names...), text: text}, roots: values}
	if err := e.explain(root, false); err != nil {
		return "", err
	}
	return strings.Join(e.reasons, "; "), nil
}

type explainer struct {
	unit    *unit
	roots   []any
	locals  []any
	reasons []string
	leaves  int // comparisons stated, repeated ones as well
}

// eval runs one part of the expression.
func (e *explainer) eval(n ast.Node) (any, error) {
	run, err := e.unit.compile(n)
	if err != nil {
		return nil, err
	}
	s := e.unit.c.NewState()
	s.Reset(e.roots...)
	copy(s.locals, e.locals)
	s.steps = MaxSteps
	return run(s)
}

func (e *explainer) test(n ast.Node) (bool, error) {
	v, err := e.eval(n)
	if err != nil {
		return false, err
	}
	return truth(v, cut(e.unit.source(n), 60))
}

// explain descends to what makes n have the value want, which it has.
func (e *explainer) explain(n ast.Node, want bool) error {
	if e.leaves == maxReasons {
		return nil
	}
	switch n := n.(type) {
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			if !want && isTextTest(n.Node) {
				break // "a not in b" is one comparison
			}
			return e.explain(n.Node, !want)
		}
	case *ast.BinaryNode:
		if d, ok := decider(n.Operator); ok {
			return e.logical(n, d, want)
		}
	case *ast.ConditionalNode:
		cond, err := e.test(n.Cond)
		if err != nil {
			return err
		}
		if err := e.explain(n.Cond, cond); err != nil {
			return err
		}
		if cond {
			return e.explain(n.Exp1, want)
		}
		return e.explain(n.Exp2, want)
	case *ast.VariableDeclaratorNode:
		return e.let(n, want)
	}
	return e.leaf(n, want)
}

func isTextTest(n ast.Node) bool {
	b, ok := n.(*ast.BinaryNode)
	if !ok {
		return false
	}
	switch b.Operator {
	case "in", "contains", "startsWith", "endsWith", "matches":
		return true
	}
	return false
}

// decider is the value of one side that decides a logical operator.
func decider(op string) (bool, bool) {
	switch op {
	case "and", "&&":
		return false, true
	case "or", "||":
		return true, true
	}
	return false, false
}

// logical explains the operand that decides a chain such as "a or b or c", or
// all of them when it takes all.
func (e *explainer) logical(n *ast.BinaryNode, decides, want bool) error {
	operands := chain(n, decides)
	for _, o := range operands {
		b, err := e.test(o)
		if err != nil {
			return err
		}
		if b == decides {
			return e.explain(o, want)
		}
	}
	for _, o := range operands {
		if err := e.explain(o, want); err != nil {
			return err
		}
	}
	return nil
}

// chain lists the operands of logical operators of one kind, in order.
func chain(n ast.Node, decides bool) []ast.Node {
	var reversed []ast.Node
	for {
		b, ok := n.(*ast.BinaryNode)
		if ok {
			var d bool
			d, ok = decider(b.Operator)
			ok = ok && d == decides
		}
		if !ok {
			slices.Reverse(reversed)
			return append([]ast.Node{n}, reversed...)
		}
		reversed = append(reversed, b.Right)
		n = b.Left
	}
}

func (e *explainer) let(n *ast.VariableDeclaratorNode, want bool) error {
	v, err := e.eval(n.Value)
	if err != nil {
		return err
	}
	u := e.unit
	u.vars = append(u.vars, variable{n.Name, u.local})
	u.local++
	u.c.locals = max(u.c.locals, u.local)
	e.locals = append(e.locals, v)
	return e.explain(n.Expr, want)
}

// leaf states a comparison and the values it saw.
func (e *explainer) leaf(n ast.Node, want bool) error {
	e.leaves++
	text := fmt.Sprintf("%s is %t", cut(e.unit.source(n), 200), want)
	var operands []ast.Node
	e.operands(n, &operands)
	var seen []string
	for _, o := range operands {
		s, err := e.shown(o)
		if err != nil {
			return err
		}
		if len(seen) < 4 && !slices.Contains(seen, s) {
			seen = append(seen, s)
		}
	}
	if len(operands) == 1 && operands[0] == n {
		text = seen[0]
	} else if len(seen) > 0 {
		text += ": " + strings.Join(seen, ", ")
	}
	if !slices.Contains(e.reasons, text) {
		e.reasons = append(e.reasons, text)
	}
	return nil
}

// operands gathers the parts of a comparison that are worth showing: whole
// paths, variables, and functions of them.
func (e *explainer) operands(n ast.Node, out *[]ast.Node) {
	if _, ok := literal(n); ok {
		return
	}
	switch n := n.(type) {
	case *ast.UnaryNode:
		e.operands(n.Node, out)
	case *ast.BinaryNode:
		e.operands(n.Left, out)
		e.operands(n.Right, out)
	case *ast.BuiltinNode:
		// A predicate would show its whole list; its result says more.
		if len(n.Arguments) > 1 {
			if _, ok := n.Arguments[1].(*ast.PredicateNode); ok {
				e.operands(n.Arguments[0], out)
				return
			}
		}
		*out = append(*out, n)
	case *ast.IdentifierNode, *ast.MemberNode, *ast.ChainNode, *ast.SliceNode:
		*out = append(*out, n)
	}
}

// shown is "event.data.role is "core"".
func (e *explainer) shown(n ast.Node) (string, error) {
	source := cut(e.unit.source(n), 120)
	if root, path, ok := e.unit.static(n); ok {
		sl := slot{root, path}
		if _, found := sl.lookup(e.roots); !found {
			return source + " is missing", nil
		}
	}
	v, err := e.eval(n)
	if err != nil {
		return "", err
	}
	return source + " is " + Show(v) + e.note(n), nil
}

// Show is a value as JSON, cut at 80 bytes, for people.
func Show(v any) string {
	text, err := AppendJSON(nil, v)
	if err != nil {
		return TypeName(v)
	}
	return cut(string(text), maxShown)
}

// source is the text of a node: from its first token to its last, and as much
// more as it takes to close every bracket.
func (u *unit) source(n ast.Node) string {
	if u.tokens == nil {
		// The parser has read the text, so it has tokens.
		u.tokens, _ = lexer.Lex(file.NewSource(u.text))
	}
	tokens := u.tokens
	from, to := 1<<30, -1
	extent(n, &from, &to)
	i, j := -1, -1
	for k, t := range tokens {
		if t.Kind == lexer.EOF {
			break
		}
		if t.From >= from && i < 0 {
			i = k
		}
		if t.From <= to {
			j = k
		}
	}
	if i < 0 || j < i {
		return u.text
	}
	i, j = balance(tokens, i, j)
	return strings.TrimSpace(u.text[byteOffset(u.text, tokens[i].From):byteOffset(u.text, tokens[j].To)])
}

// extent widens from and to to where the tokens of n begin.
func extent(n ast.Node, from, to *int) {
	switch n.(type) {
	case *ast.ConditionalNode, *ast.PredicateNode:
		// Their position is not that of a token of theirs.
	default:
		*from, *to = min(*from, n.Location().From), max(*to, n.Location().From)
	}
	for _, c := range children(n) {
		extent(c, from, to)
	}
}

func children(n ast.Node) []ast.Node {
	var out []ast.Node
	add := func(nodes ...ast.Node) {
		for _, c := range nodes {
			if c != nil {
				out = append(out, c)
			}
		}
	}
	switch n := n.(type) {
	case *ast.UnaryNode:
		add(n.Node)
	case *ast.BinaryNode:
		add(n.Left, n.Right)
	case *ast.ChainNode:
		add(n.Node)
	case *ast.MemberNode:
		add(n.Node, n.Property)
	case *ast.SliceNode:
		add(n.Node, n.From, n.To)
	case *ast.BuiltinNode:
		add(n.Arguments...)
	case *ast.PredicateNode:
		add(n.Node)
	case *ast.ConditionalNode:
		add(n.Cond, n.Exp1, n.Exp2)
	case *ast.VariableDeclaratorNode:
		add(n.Value, n.Expr)
	case *ast.ArrayNode:
		add(n.Nodes...)
	case *ast.MapNode:
		add(n.Pairs...)
	case *ast.PairNode:
		add(n.Key, n.Value)
	}
	return out
}

// balance widens tokens[i..j] until brackets that are open in it are closed and
// those closed in it are opened.
func balance(tokens []lexer.Token, i, j int) (int, int) {
	open, before := 0, 0
	for k := i; k <= j; k++ {
		switch {
		case tokens[k].Kind != lexer.Bracket:
		case strings.Contains("([{", tokens[k].Value):
			open++
		case open > 0:
			open--
		default:
			before++
		}
	}
	// "f()" ends with the bracket that its only token opens.
	if tokens[j].Kind == lexer.Identifier && j+1 < len(tokens) && tokens[j+1].Is(lexer.Bracket, "(") {
		j++
		open++
	}
	for ; before > 0 && i > 0; i-- {
		switch {
		case tokens[i-1].Kind != lexer.Bracket:
		case strings.Contains("([{", tokens[i-1].Value):
			before--
		default:
			before++
		}
	}
	for ; open > 0 && j+1 < len(tokens); j++ {
		switch {
		case tokens[j+1].Kind != lexer.Bracket:
		case strings.Contains("([{", tokens[j+1].Value):
			open++
		default:
			open--
		}
	}
	return i, j
}
