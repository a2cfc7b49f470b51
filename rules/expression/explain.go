package expression

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// maxShown is how much of a value an explanation shows, in bytes.
const maxShown = 80

// maxText is how much of a comparison's text an explanation shows, in bytes.
const maxText = 200

// MaxConditions is how many parts of a condition an explanation lists.
const MaxConditions = 128

// maxReasons is how many comparisons an explanation states.
const maxReasons = 16

// Explanation says how a condition came to its value.
type Explanation struct {
	// Reason has the smallest comparisons that decide the value, and the values
	// they saw, as in
	//
	//	event.data.role == "access" is false: event.data.role is "core"
	Reason string
	// Conditions are the operands of the condition's outermost "and", in order;
	// a condition without one is its own only operand. At most MaxConditions.
	Conditions []Condition
	// Nearness is the share of Conditions that hold, from 0 to 1. A part of one
	// counts as its share: "a and b" within an "or" is half true when a is.
	Nearness float64
	// OtherKind: what keeps the condition from being true includes a comparison
	// of the kind, so it was never meant for these values.
	OtherKind bool
}

// Condition is one part of a condition, evaluated for itself.
type Condition struct {
	// Text is its source, cut at 200 bytes.
	Text string `json:"text"`
	// Result is "true", "false" or "error". A part behind one that is false is
	// evaluated here although it did not count.
	Result string `json:"result"`
	// Saw has the values that it saw, or the error; it may be empty.
	Saw string `json:"saw"`
}

// Explainer explains conditions. Its zero value knows no name.
type Explainer struct {
	// Names are those of the values, in the order they are handed in.
	Names []string
	// Kind is a path such as event.type that tells what a condition is about; see
	// Explanation.OtherKind. Empty: none.
	Kind string
}

// Explain says how the condition text came to be value, which it is, of the
// values. It compiles the text anew, part by part: nothing is kept for it at run
// time. It is safe for concurrent use.
func (x Explainer) Explain(text string, value bool, values ...any) (Explanation, error) {
	e, root, err := x.begin(text, values)
	if err != nil {
		return Explanation{}, err
	}
	root, err = e.enter(root)
	if err != nil {
		return Explanation{}, err
	}
	if err := e.explain(root, value); err != nil {
		return Explanation{}, err
	}
	out := Explanation{Reason: strings.Join(e.reasons, "; "), Nearness: 1}
	out.Conditions = e.conditions(root)
	if !value {
		out.Nearness, out.OtherKind = e.near(root, true)
	}
	return out, nil
}

// Conditions are those of an Explanation, for a condition that has no value
// because it fails.
func (x Explainer) Conditions(text string, values ...any) ([]Condition, error) {
	e, root, err := x.begin(text, values)
	if err != nil {
		return nil, err
	}
	if root, err = e.enter(root); err != nil {
		return nil, err
	}
	return e.conditions(root), nil
}

// WhyFalse says why the condition text is false of the values, as
// Explanation.Reason does.
func WhyFalse(text string, names []string, values ...any) (string, error) {
	e, root, err := Explainer{Names: names}.begin(text, values)
	if err != nil {
		return "", err
	}
	if err := e.explain(root, false); err != nil {
		return "", err
	}
	return strings.Join(e.reasons, "; "), nil
}

func (x Explainer) begin(text string, values []any) (*explainer, ast.Node, error) {
	root, err := parse(text)
	if err != nil {
		return nil, nil, err
	}
	return &explainer{
		unit: &unit{c: NewCompiler(x.Names...), text: text}, kind: x.Kind, roots: values,
		known: make(map[ast.Node]evaluated), sources: make(map[ast.Node]string),
	}, root, nil
}

type explainer struct {
	unit    *unit
	kind    string
	roots   []any
	locals  []any
	known   map[ast.Node]evaluated
	sources map[ast.Node]string
	reasons []string
	leaves  int // comparisons stated, repeated ones as well
}

// evaluated is what came of one part.
type evaluated struct {
	value any
	err   error
}

// eval runs one part of the expression, once.
func (e *explainer) eval(n ast.Node) (any, error) {
	if v, ok := e.known[n]; ok {
		return v.value, v.err
	}
	v, err := e.run(n)
	e.known[n] = evaluated{v, err}
	return v, err
}

func (e *explainer) run(n ast.Node) (any, error) {
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
	if b, ok := v.(bool); ok || v == nil {
		return b, nil
	}
	return truth(v, cut(e.source(n), 60))
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

// let explains the body of a let with its variable in view.
func (e *explainer) let(n *ast.VariableDeclaratorNode, want bool) error {
	outer := len(e.unit.vars)
	body, err := e.enter(n)
	if err != nil {
		return err
	}
	err = e.explain(body, want)
	e.unit.vars = e.unit.vars[:outer]
	return err
}

// enter evaluates the variables that n begins with and returns its body. They
// stay in view.
func (e *explainer) enter(n ast.Node) (ast.Node, error) {
	for {
		let, ok := n.(*ast.VariableDeclaratorNode)
		if !ok {
			return n, nil
		}
		v, err := e.eval(let.Value)
		if err != nil {
			return nil, err
		}
		u := e.unit
		u.vars = append(u.vars, variable{let.Name, u.local})
		e.locals = append(e.locals, make([]any, u.local+1-len(e.locals))...)
		e.locals[u.local] = v
		u.local++
		u.c.locals = max(u.c.locals, u.local)
		n = let.Expr
	}
}

// leaf states a comparison and the values it saw.
func (e *explainer) leaf(n ast.Node, want bool) error {
	e.leaves++
	saw, whole := e.saw(n)
	text := saw
	if !whole {
		text = fmt.Sprintf("%s is %t", cut(e.source(n), maxText), want)
		if saw != "" {
			text += ": " + saw
		}
	}
	if !slices.Contains(e.reasons, text) {
		e.reasons = append(e.reasons, text)
	}
	return nil
}

// saw tells the values that a comparison saw; whole, that the comparison is
// nothing but one of them.
func (e *explainer) saw(n ast.Node) (text string, whole bool) {
	var operands []ast.Node
	e.operands(n, &operands)
	var seen []string
	for _, o := range operands {
		s, err := e.shown(o)
		if err != nil {
			continue // as a part of the comparison it was not evaluated, or not alone
		}
		if len(seen) < 4 && !slices.Contains(seen, s) {
			seen = append(seen, s)
		}
	}
	return strings.Join(seen, ", "), len(operands) == 1 && operands[0] == n && len(seen) == 1
}

// source is the text of a part.
func (e *explainer) source(n ast.Node) string {
	text, ok := e.sources[n]
	if !ok {
		text = e.unit.source(n)
		e.sources[n] = text
	}
	return text
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
	source := cut(e.source(n), 120)
	if root, path, ok := e.unit.static(n); ok {
		sl := slot{root: root, path: path}
		v, found := sl.lookup(e.roots)
		if !found {
			return source + " is missing", nil
		}
		return source + " is " + Show(v), nil
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
