package expression

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// maxConditions is how many parts the conditions of one text may have. What is
// beyond is Unknown.
const maxConditions = 4096

// CondKind tells what a Cond says.
type CondKind uint8

// The kinds of conditions.
const (
	// Unknown says nothing: it may hold or not.
	Unknown CondKind = iota
	// Always holds.
	Always
	// Never holds.
	Never
	// Is holds when its Atom does.
	Is
	// All holds when all of its Parts do.
	All
	// One holds when at least one of its Parts does.
	One
)

// Cond is what must hold of the values for a text to have a certain value. It
// is necessary, not sufficient: Unknown stands for every part that is no
// comparison with a literal.
type Cond struct {
	Kind  CondKind
	Parts []*Cond // of All and One
	Atom  Atom    // of Is

	node ast.Node // whose text it is
	not  bool     // node is false
	or   bool     // a One that is written as an or
}

// Conditions are the conditions of one text. They are not safe for concurrent
// use.
type Conditions struct {
	unit  *unit
	root  ast.Node
	names []string
	vars  []binding
	built int // variables
	left  int // parts that may still be built
	// ordered keeps the order of operands in forms.
	ordered bool
	// places is how often what is being built stands within what is shared.
	places int
	// whenTrue and whenFalse are what When has found.
	whenTrue, whenFalse *Cond
	// trueOrFailed is what WhenTrueOrFailed has found.
	trueOrFailed *Cond
}

// binding is a variable of let.
type binding struct {
	name string
	id   int
	node ast.Node
}

// ConditionsOf reads the conditions from the text of a condition over the names.
// They are of use only for a text that Compile takes. The error is an *Error.
func ConditionsOf(text string, names ...string) (*Conditions, error) {
	root, err := parse(text)
	if err != nil {
		return nil, err
	}
	return newConditions(text, root, names), nil
}

func newConditions(text string, root ast.Node, names []string) *Conditions {
	return &Conditions{unit: &unit{c: NewCompiler(names...), text: text}, root: root, names: names}
}

// When returns what holds whenever the text is true or, with false, whenever it
// is false or nil; in both cases without an error.
func (c *Conditions) When(value bool) *Cond {
	known := &c.whenFalse
	if value {
		known = &c.whenTrue
	}
	if *known == nil {
		c.left, c.vars = maxConditions, nil
		*known = c.build(c.root, value)
	}
	return *known
}

// build returns what must hold for n to be want as a condition.
func (c *Conditions) build(n ast.Node, want bool) *Cond {
	if c.left--; c.left < 0 {
		return &Cond{node: n}
	}
	if v, ok := literal(n); ok {
		return c.truthOf(n, v, want)
	}
	switch n := n.(type) {
	case *ast.ChainNode:
		return c.build(n.Node, want)
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			cond := c.build(n.Node, !want)
			if cond.node == n.Node && cond.not == want {
				cond.node, cond.not = n, !want
			}
			return cond
		}
	case *ast.BinaryNode:
		return c.binary(n, want)
	case *ast.ConditionalNode:
		yes := &Cond{Kind: All, node: n, Parts: []*Cond{c.shared(n.Cond, true), c.build(n.Exp1, want)}}
		no := &Cond{Kind: All, node: n, Parts: []*Cond{c.shared(n.Cond, false), c.build(n.Exp2, want)}}
		return &Cond{Kind: One, node: n, not: !want, Parts: []*Cond{yes, no}}
	case *ast.VariableDeclaratorNode:
		c.built++
		c.vars = append(c.vars, binding{n.Name, c.built, n.Value})
		cond := c.build(n.Expr, want)
		c.vars = c.vars[:len(c.vars)-1]
		return cond
	case *ast.IdentifierNode:
		if b, ok := c.variable(n.Value); ok {
			return c.shared(b.node, want)
		}
	case *ast.BuiltinNode:
		if cond := c.function(n, want); cond != nil {
			return cond
		}
	}
	if want {
		return c.is(n, want, Atom{Term: c.term(n), Op: Equal, Values: []any{true}})
	}
	return c.is(n, want, Atom{Term: c.term(n), Op: Equal, Values: []any{false, nil}})
}

// shared is build of what is used in more than one place: a branch of it that is
// dead in one may matter in another.
func (c *Conditions) shared(n ast.Node, want bool) *Cond {
	c.places++
	defer func() { c.places-- }()
	return c.build(n, want)
}

// is makes a condition of an atom.
func (c *Conditions) is(n ast.Node, want bool, a Atom) *Cond {
	return &Cond{Kind: Is, Atom: a, node: n, not: !want}
}

func (c *Conditions) fixed(n ast.Node, want, holds bool) *Cond {
	cond := &Cond{Kind: Never, node: n, not: !want}
	if holds {
		cond.Kind = Always
	}
	return cond
}

// truthOf is a literal as a condition.
func (c *Conditions) truthOf(n ast.Node, v any, want bool) *Cond {
	b, err := truth(v, "")
	return c.fixed(n, want, err == nil && b == want)
}

func (c *Conditions) variable(name string) (binding, bool) {
	for i := len(c.vars) - 1; i >= 0; i-- {
		if c.vars[i].name == name {
			return c.vars[i], true
		}
	}
	return binding{}, false
}

func (c *Conditions) binary(n *ast.BinaryNode, want bool) *Cond {
	decides, logical := decider(n.Operator)
	if !logical {
		return c.compare(n, want)
	}
	cond := &Cond{Kind: All, node: n, not: !want}
	if decides == want {
		cond.Kind, cond.or = One, want && c.places == 0
	}
	for _, o := range chain(n, decides) {
		cond.Parts = append(cond.Parts, c.build(o, want))
	}
	return cond
}

// compare reads a comparison of something with a literal.
func (c *Conditions) compare(n *ast.BinaryNode, want bool) *Cond {
	op, left, right := n.Operator, n.Left, n.Right
	if op == "in" {
		return c.in(n, want)
	}
	v, ok := c.literal(right)
	if !ok {
		flipped := flip(op)
		if v, ok = c.literal(left); !ok || flipped == "" {
			return &Cond{node: n, not: !want}
		}
		op, left = flipped, right
	}
	if op == "!=" {
		cond := c.comparison(n, "==", left, v, !want)
		cond.not = !want
		return cond
	}
	return c.comparison(n, op, left, v, want)
}

// flip is the operator that says the same with the sides exchanged, "" for none.
func flip(op string) string {
	switch op {
	case "==", "!=":
		return op
	case "<":
		return ">"
	case "<=":
		return ">="
	case ">":
		return "<"
	case ">=":
		return "<="
	}
	return ""
}

// literal is the value of a node that is written out, or of a variable that is.
func (c *Conditions) literal(n ast.Node) (any, bool) {
	for {
		id, ok := n.(*ast.IdentifierNode)
		if !ok {
			return literal(n)
		}
		b, ok := c.variable(id.Value)
		if !ok {
			return nil, false
		}
		n = b.node
	}
}

func (c *Conditions) comparison(n ast.Node, op string, left ast.Node, v any, want bool) *Cond {
	if b, ok := left.(*ast.BinaryNode); ok && b.Operator == "??" {
		if other, ok := c.literal(b.Right); ok {
			return c.orDefault(n, op, b.Left, other, v, want)
		}
	}
	if b, ok := left.(*ast.BuiltinNode); ok && b.Name == "type" && op == "==" && len(b.Arguments) == 1 {
		return c.typeIs(n, b.Arguments[0], v, want)
	}
	a, ok := atomOf(op, v)
	if !ok {
		// The operator does not take such a literal: false whatever is on the left.
		if _, known := opOf(op); known {
			return c.fixed(n, want, !want)
		}
		return &Cond{node: n, not: !want}
	}
	if v, ok := c.literal(left); ok {
		return c.fixed(n, want, a.Holds(v) == want)
	}
	a.Not = !want
	a.Term = c.term(left)
	return c.is(n, want, a)
}

// orDefault reads (x ?? other) op v.
func (c *Conditions) orDefault(n ast.Node, op string, x ast.Node, other, v any, want bool) *Cond {
	given := c.comparison(n, op, x, v, want)
	missing := Atom{Term: c.term(x), Op: Equal, Values: []any{nil}}
	there := missing
	there.Not = true
	a, ok := atomOf(op, v)
	if !ok {
		return given
	}
	value := &Cond{Kind: All, node: n, not: !want, Parts: []*Cond{c.is(n, want, there), given}}
	if a.Holds(other) != want {
		return value
	}
	return &Cond{Kind: One, node: n, not: !want, Parts: []*Cond{c.is(n, want, missing), value}}
}

func (c *Conditions) typeIs(n, x ast.Node, v any, want bool) *Cond {
	name, _ := v.(string)
	types, ok := typesNamed(name)
	if !ok {
		return c.fixed(n, want, !want)
	}
	if !want {
		types = AnyType &^ types
	}
	return c.is(n, want, Atom{Term: c.term(x), Op: OfType, Types: types})
}

// in reads membership in a list that is written out, and of a literal in
// something.
func (c *Conditions) in(n *ast.BinaryNode, want bool) *Cond {
	if r, ok := n.Right.(*ast.BinaryNode); ok && r.Operator == ".." && want {
		from, _ := literal(r.Left)
		to, _ := literal(r.Right)
		if _, ok := c.literal(n.Left); !ok {
			t := c.term(n.Left)
			return &Cond{Kind: All, node: n, Parts: []*Cond{
				c.is(n, want, Atom{Term: t, Op: GreaterEqual, Values: []any{from}}),
				c.is(n, want, Atom{Term: t, Op: LessEqual, Values: []any{to}}),
			}}
		}
	}
	v, known := c.literal(n.Left)
	if right, ok := c.literal(n.Right); ok {
		list, isList := right.([]any)
		switch {
		case !isList && right == nil:
			return c.fixed(n, want, !want)
		case !isList:
			return &Cond{Kind: Never, node: n, not: !want} // an error
		}
		a := Atom{Op: Equal, Values: list, Not: !want}
		if known {
			return c.fixed(n, want, a.Holds(v))
		}
		if len(list) == 0 {
			return c.fixed(n, want, !want)
		}
		a.Term = c.term(n.Left)
		return c.is(n, want, a)
	}
	if !known {
		return &Cond{node: n, not: !want}
	}
	return c.is(n, want, Atom{Term: c.term(n.Right), Op: Has, Values: []any{v}, Not: !want})
}

// function reads the functions that are comparisons; nil: it is none.
func (c *Conditions) function(n *ast.BuiltinNode, want bool) *Cond {
	if len(n.Arguments) != 2 {
		return nil
	}
	switch n.Name {
	case "hasPrefix", "hasSuffix":
		v, ok := c.literal(n.Arguments[1])
		if _, isText := v.(string); !ok || !isText {
			return nil
		}
		op := map[string]string{"hasPrefix": "startsWith", "hasSuffix": "endsWith"}[n.Name]
		return c.comparison(n, op, n.Arguments[0], v, want)
	case "glob":
		if p, ok := n.Arguments[0].(*ast.StringNode); ok {
			if re, bad := globPattern(p.Value); bad == "" {
				return c.comparison(n, "matches", n.Arguments[1], re, want)
			}
		}
	case "any", "none":
		values, ok := elementIn(n.Arguments[1])
		if !ok {
			return nil
		}
		return c.is(n, want, Atom{Term: c.term(n.Arguments[0]), Op: Any, Values: values, Not: want != (n.Name == "any")})
	}
	return nil
}

// elementIn reads the predicates # == literal and # in [literals].
func elementIn(n ast.Node) ([]any, bool) {
	p, ok := n.(*ast.PredicateNode)
	if !ok {
		return nil, false
	}
	b, ok := p.Node.(*ast.BinaryNode)
	if !ok || b.Operator != "==" && b.Operator != "in" {
		return nil, false
	}
	left, right := b.Left, b.Right
	if _, ok := left.(*ast.PointerNode); !ok && b.Operator == "==" {
		left, right = right, left
	}
	if e, ok := left.(*ast.PointerNode); !ok || e.Name != "" {
		return nil, false
	}
	v, ok := literal(right)
	if !ok || b.Operator == "==" {
		return []any{v}, ok
	}
	list, ok := v.([]any)
	return list, ok && len(list) > 0
}

// term is what a comparison looks at: a path, or anything else, which is known
// by its form alone.
func (c *Conditions) term(n ast.Node) Term {
	if name, path, ok := c.path(n); ok {
		return newTerm(name, path)
	}
	var b strings.Builder
	c.fingerprint(&b, n)
	return Term{key: "=" + b.String()}
}

func (c *Conditions) path(n ast.Node) (name string, path []any, ok bool) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		if b, ok := c.variable(n.Value); ok {
			return c.path(b.node)
		}
		for _, name := range c.names {
			if name == n.Value {
				return name, nil, true
			}
		}
	case *ast.ChainNode:
		return c.path(n.Node)
	case *ast.MemberNode:
		if n.Method {
			return "", nil, false
		}
		if name, path, ok = c.path(n.Node); !ok {
			return "", nil, false
		}
		switch p, _ := literal(n.Property); p.(type) {
		case string, int64:
			return name, append(path, p), true
		}
	}
	return "", nil, false
}

// fingerprint writes the form of a node, so that two nodes with one fingerprint
// have one value. A variable is known by where it is declared.
func (c *Conditions) fingerprint(b *strings.Builder, n ast.Node) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		if v, ok := c.variable(n.Value); ok {
			fmt.Fprintf(b, "$%d", v.id)
			return
		}
		b.WriteString(n.Value)
		return
	case *ast.NilNode:
		b.WriteString("nil")
		return
	case *ast.BoolNode:
		b.WriteString(strconv.FormatBool(n.Value))
		return
	case *ast.IntegerNode:
		b.WriteString(strconv.Itoa(n.Value))
		return
	case *ast.FloatNode:
		b.WriteString(strconv.FormatFloat(n.Value, 'e', -1, 64))
		return
	case *ast.StringNode:
		b.WriteString(strconv.Quote(n.Value))
		return
	case *ast.PointerNode:
		b.WriteString("#" + n.Name)
		return
	case *ast.ChainNode:
		c.fingerprint(b, n.Node)
		return
	case *ast.BinaryNode:
		if d, ok := decider(n.Operator); ok {
			c.operands(b, flat(nil, n, d), d)
			return
		}
	}
	b.WriteByte('(')
	b.WriteString(label(n))
	for _, child := range children(n) {
		b.WriteByte(' ')
		c.fingerprint(b, child)
	}
	b.WriteByte(')')
}

// label tells nodes of one kind with the same children apart.
func label(n ast.Node) string {
	switch n := n.(type) {
	case *ast.UnaryNode:
		return strings.Replace(n.Operator, "!", "not", 1)
	case *ast.BinaryNode:
		return n.Operator
	case *ast.BuiltinNode:
		return n.Name
	case *ast.MemberNode:
		return "."
	case *ast.SliceNode:
		return fmt.Sprintf("slice %t %t", n.From != nil, n.To != nil)
	case *ast.VariableDeclaratorNode:
		return "let " + n.Name
	case *ast.ArrayNode, *ast.MapNode, *ast.PairNode, *ast.PredicateNode, *ast.ConditionalNode:
		return fmt.Sprintf("%T", n)
	}
	return fmt.Sprintf("%T %p", n, n)
}

// operands writes the operands of and or or sorted, so that their order and
// brackets make no difference.
func (c *Conditions) operands(b *strings.Builder, nodes []ast.Node, or bool) {
	texts := make([]string, len(nodes))
	for i, n := range nodes {
		var one strings.Builder
		c.fingerprint(&one, n)
		texts[i] = one.String()
	}
	if !c.ordered {
		slices.Sort(texts)
	}
	word := "(and "
	if or {
		word = "(or "
	}
	b.WriteString(word + strings.Join(texts, " ") + ")")
}

// flat appends the operands of nested operators of one kind, on both sides.
func flat(out []ast.Node, n ast.Node, or bool) []ast.Node {
	b, ok := n.(*ast.BinaryNode)
	if !ok {
		return append(out, n)
	}
	if d, logical := decider(b.Operator); !logical || d != or {
		return append(out, n)
	}
	return flat(flat(out, b.Left, or), b.Right, or)
}

// Form is the text without what makes no difference: white space, brackets, the
// order of the operands of and and or, and two ways to write one operator. Two
// texts with one form are true of the same values.
func (c *Conditions) Form() string {
	c.vars = nil
	var b strings.Builder
	c.fingerprint(&b, c.root)
	return b.String()
}

// text is the part of the source that a condition is about.
func (c *Conditions) text(cond *Cond) string {
	source := c.unit.source(cond.node)
	if strings.ContainsRune(source, '\n') {
		source = strings.Join(strings.Fields(source), " ")
	}
	source = cut(source, 120)
	if cond.not {
		return "not (" + source + ")"
	}
	return source
}

// offset is where in the source a condition begins.
func (c *Conditions) offset(cond *Cond) int {
	from, to := 1<<30, -1
	extent(cond.node, &from, &to)
	return byteOffset(c.unit.text, from)
}

// Sum lists the terms that the text adds up: a alone, or a, b and c of a + b + c.
func (c *Conditions) Sum() []Term {
	c.vars = nil
	var terms []Term
	n := c.root
	for {
		b, ok := n.(*ast.BinaryNode)
		if !ok || b.Operator != "+" {
			return append(terms, c.term(n))
		}
		terms = append(terms, c.term(b.Right))
		n = b.Left
	}
}
