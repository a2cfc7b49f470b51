package expression

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/parser/lexer"
)

// Compiler compiles programs that share their slots. It is not safe for
// concurrent use.
type Compiler struct {
	names  []string
	slots  []slot
	bySlot map[string]int
	locals int
	shared map[string]*shared // by form
	memos  int
}

// Program is a compiled expression. It is immutable.
type Program struct {
	text     string
	run      code
	test     test // run as a condition, of a text that can only be true or false
	price    int  // steps of a run before it does anything
	constant bool
}

type code func(s *State) (any, error)

// NewCompiler makes a compiler of expressions over the names, whose values
// State.Reset sets in the same order.
func NewCompiler(names ...string) *Compiler {
	return &Compiler{names: names, bySlot: map[string]int{}, shared: map[string]*shared{}}
}

// NewState makes a state for every program compiled so far.
func (c *Compiler) NewState() *State {
	return &State{
		slots:  c.slots,
		roots:  make([]any, len(c.names)),
		known:  make([]known, len(c.slots)),
		locals: make([]any, c.locals),
		memos:  make([]memo, c.memos),
	}
}

// States returns NewState for the programs compiled so far. It keeps of the
// compiler only what states need, and is safe for concurrent use.
func (c *Compiler) States() func() *State {
	return (&Compiler{names: c.names, slots: c.slots, locals: c.locals, memos: c.memos}).NewState
}

// Compile compiles one expression. The error is an *Error.
func (c *Compiler) Compile(text string) (*Program, error) {
	root, err := parse(text)
	if err != nil {
		return nil, err
	}
	return c.program(text, root)
}

func (c *Compiler) program(text string, root ast.Node) (*Program, error) {
	u := &unit{c: c, text: text}
	p := &Program{text: text, price: price(root)}
	var err error
	if isLogical(root) {
		p.test, err = u.condition(root)
		p.run = p.test.code()
	} else {
		p.run, err = u.compile(root)
	}
	if err != nil {
		return nil, err
	}
	p.constant = !u.reads
	return p, nil
}

// CompileConditions is Compile of the text of the conditions, which must be over
// the names of the compiler.
func (c *Compiler) CompileConditions(of *Conditions) (*Program, error) {
	return c.program(of.unit.text, of.root)
}

// Slot returns where State.Slot finds the value of a path below a name.
func (c *Compiler) Slot(t Term) int {
	path := make([]step, len(t.Path))
	for i, p := range t.Path {
		switch p := p.(type) {
		case string:
			path[i] = step{name: p}
		case int64:
			path[i] = step{index: p, list: true}
		}
	}
	return c.slot(slices.Index(c.names, t.Name), path)
}

// Text is the source of the program.
func (p *Program) Text() string { return p.text }

// Constant tells whether the program reads none of the names.
func (p *Program) Constant() bool { return p.constant }

// Eval runs the program on the steps that s has left.
func (p *Program) Eval(s *State) (any, error) {
	if err := s.spend(p.price); err != nil {
		return nil, err
	}
	return p.run(s)
}

// Test runs the program as a condition: nil is false, and a value that is not a
// boolean an error.
func (p *Program) Test(s *State) (bool, error) {
	if p.test != nil {
		if err := s.spend(p.price); err != nil {
			return false, err
		}
		return p.test(s)
	}
	v, err := p.Eval(s)
	if err != nil {
		return false, err
	}
	if b, ok := v.(bool); ok {
		return b, nil
	}
	return truth(v, cut(p.text, 60))
}

// parse reads a text within the limits into a syntax tree.
func parse(text string) (root ast.Node, err error) {
	if e := prescan(text); e != nil {
		return nil, e
	}
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, &Error{0, fmt.Sprintf("the expression cannot be parsed: %v", r)}
		}
	}()
	tree, err := parser.Parse(text)
	if err != nil {
		var fe *file.Error
		if !errors.As(err, &fe) {
			return nil, &Error{0, err.Error()}
		}
		return nil, &Error{byteOffset(text, fe.From), parseMessage(fe.Message)}
	}
	ast.Walk(&tree.Node, callNames{})
	return tree.Node, nil
}

// callNames makes calls of our functions, which the parser does not know, the
// same kind of node as those it knows.
type callNames struct{}

// Visit implements ast.Visitor.
func (callNames) Visit(n *ast.Node) {
	call, ok := (*n).(*ast.CallNode)
	if !ok {
		return
	}
	if id, ok := call.Callee.(*ast.IdentifierNode); ok && slices.Contains(plain, id.Value) {
		ast.Patch(n, &ast.BuiltinNode{Name: id.Value, Arguments: call.Arguments})
	}
}

// parseMessage puts the parser's commonest complaints into plain words.
func parseMessage(msg string) string {
	switch {
	case msg == "unexpected token EOF":
		return "the expression ends too early"
	case strings.Contains(msg, "exceeds maximum allowed nodes"):
		return "the expression has too many parts (at most 10000)"
	case strings.Contains(msg, "coalesce expressions"):
		return "?? cannot be mixed with another operator (put parentheses around it)"
	case msg == `unexpected token Operator("=")`:
		return "= is not an operator (write == to compare)"
	}
	return strings.TrimSuffix(msg, ".")
}

// byteOffset turns a position in runes into one in bytes.
func byteOffset(text string, runes int) int {
	for i := range text {
		if runes == 0 {
			return i
		}
		runes--
	}
	return len(text)
}

// unit compiles one expression.
type unit struct {
	c     *Compiler
	text  string
	reads bool // a name is read
	// quotes is how many parts hold a piece of the text for their errors.
	quotes int
	depth  int // of predicates
	vars   []variable
	local  int
	// tokens of the text, once somebody asked.
	tokens []lexer.Token
}

type variable struct {
	name  string
	index int
}

// fail is a fault at n: at its operator, or else where its text begins.
func (u *unit) fail(n ast.Node, format string, args ...any) error {
	from, to := n.Location().From, 0
	if _, ok := n.(*ast.BinaryNode); !ok {
		extent(n, &from, &to)
	}
	return &Error{byteOffset(u.text, from), fmt.Sprintf(format, args...)}
}

func constant(v any) code { return func(*State) (any, error) { return v, nil } }

// compile translates a node; a node kind it does not name is refused.
func (u *unit) compile(n ast.Node) (code, error) {
	if v, ok := literal(n); ok {
		return constant(v), nil
	}
	switch n := n.(type) {
	case *ast.IdentifierNode, *ast.MemberNode:
		return u.access(n)
	case *ast.ChainNode:
		return u.compile(n.Node)
	case *ast.PointerNode:
		return u.pointer(n)
	case *ast.UnaryNode:
		return u.unary(n)
	case *ast.BinaryNode:
		return u.binary(n)
	case *ast.ConditionalNode:
		return u.conditional(n)
	case *ast.VariableDeclaratorNode:
		return u.let(n)
	case *ast.SliceNode:
		return u.slice(n)
	case *ast.ArrayNode:
		return u.list(n)
	case *ast.MapNode:
		return u.object(n)
	case *ast.BuiltinNode:
		return u.share(n, func() (code, error) { return u.call(n) })
	case *ast.CallNode:
		if id, ok := n.Callee.(*ast.IdentifierNode); ok {
			return nil, u.unknownFunction(n, id.Value)
		}
		return nil, u.fail(n, "values have no methods (write the function first, as in len(event.data.list))")
	case *ast.SequenceNode:
		return nil, u.fail(n, "only one expression is possible here (; separates let from its body alone)")
	case *ast.BytesNode:
		return nil, u.fail(n, "bytes are not a value of rules (write a string)")
	}
	return nil, u.fail(n, "this is not possible in an expression")
}

// literal is the value of a node that is written out.
func literal(n ast.Node) (any, bool) {
	switch n := n.(type) {
	case *ast.NilNode:
		return nil, true
	case *ast.BoolNode:
		return n.Value, true
	case *ast.IntegerNode:
		return int64(n.Value), true
	case *ast.FloatNode:
		return n.Value, true
	case *ast.StringNode:
		return n.Value, true
	case *ast.UnaryNode:
		v, ok := literal(n.Node)
		if !ok || n.Operator != "-" {
			return nil, false
		}
		switch v := v.(type) {
		case int64:
			return -v, true
		case float64:
			return -v, true
		}
	case *ast.ArrayNode:
		list := make([]any, len(n.Nodes))
		for i, e := range n.Nodes {
			v, ok := literal(e)
			if !ok {
				return nil, false
			}
			list[i] = v
		}
		return list, true
	}
	return nil, false
}

// access compiles a.b[c]: a slot when the whole path is static.
func (u *unit) access(n ast.Node) (code, error) {
	if root, path, ok := u.static(n); ok {
		u.reads = true
		i := u.c.slot(root, path)
		return func(s *State) (any, error) { return s.load(i), nil }, nil
	}
	if id, ok := n.(*ast.IdentifierNode); ok {
		return u.identifier(id)
	}
	m := n.(*ast.MemberNode)
	if m.Method {
		return nil, u.fail(m, "values have no methods (write the function first, as in len(event.data.list))")
	}
	base, err := u.compile(m.Node)
	if err != nil {
		return nil, err
	}
	prop, err := u.compile(m.Property)
	if err != nil {
		return nil, err
	}
	return func(s *State) (any, error) {
		v, err := base(s)
		if err != nil || v == nil {
			return nil, err
		}
		p, err := prop(s)
		if err != nil {
			return nil, err
		}
		return member(v, p), s.scan(size(p), 64)
	}, nil
}

func (u *unit) identifier(id *ast.IdentifierNode) (code, error) {
	for _, v := range slices.Backward(u.vars) {
		if v.name == id.Value {
			i := v.index
			return func(s *State) (any, error) { return s.locals[i], nil }, nil
		}
	}
	known := strings.Join(u.c.names, ", ")
	if len(u.c.names) == 1 {
		return nil, u.fail(id, "unknown name %q (fields are written %s.data.%s; text is written in quotes)", id.Value, known, id.Value)
	}
	return nil, u.fail(id, "unknown name %q (known: %s; text is written in quotes)", id.Value, known)
}

// static tells whether n is a path of constants below a name.
func (u *unit) static(n ast.Node) (root int, path []step, ok bool) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		for _, v := range u.vars {
			if v.name == n.Value {
				return 0, nil, false
			}
		}
		root = slices.Index(u.c.names, n.Value)
		return root, nil, root >= 0
	case *ast.ChainNode:
		return u.static(n.Node)
	case *ast.MemberNode:
		if n.Method {
			return 0, nil, false
		}
		root, path, ok = u.static(n.Node)
		if !ok {
			return 0, nil, false
		}
		p, ok := literal(n.Property)
		if !ok {
			return 0, nil, false
		}
		switch p := p.(type) {
		case string:
			return root, append(path, step{name: p}), true
		case int64:
			return root, append(path, step{index: p, list: true}), true
		}
	}
	return 0, nil, false
}

// sharedSteps are the steps of a path that are found once for all paths that
// begin with them.
const sharedSteps = 3

func (c *Compiler) slot(root int, path []step) int {
	key := strconv.AppendInt(make([]byte, 0, 64), int64(root), 10)
	for _, st := range path {
		if st.list {
			key = strconv.AppendInt(append(key, '['), st.index, 10)
			continue
		}
		key = append(strconv.AppendInt(append(key, '.'), int64(len(st.name)), 10), ' ')
		key = append(key, st.name...)
	}
	i, ok := c.bySlot[string(key)]
	if !ok {
		parent := 0
		if n := len(path); n > 0 {
			n = min(n-1, sharedSteps)
			parent = c.slot(root, path[:n:n])
		}
		i = len(c.slots)
		c.slots = append(c.slots, slot{root, path, parent})
		c.bySlot[string(key)] = i
	}
	return i
}

func (u *unit) pointer(n *ast.PointerNode) (code, error) {
	if u.depth == 0 {
		return nil, u.fail(n, "# is the element of a predicate such as any, and there is none here")
	}
	d := u.depth - 1
	switch n.Name {
	case "":
		return func(s *State) (any, error) { return s.scopes[d].item, nil }, nil
	case "index":
		return func(s *State) (any, error) { return int64(s.scopes[d].index), nil }, nil
	}
	return nil, u.fail(n, "unknown name #%s (known: #, #index)", n.Name)
}

func (u *unit) conditional(n *ast.ConditionalNode) (code, error) {
	cond, err := u.condition(n.Cond)
	if err != nil {
		return nil, err
	}
	yes, err := u.compile(n.Exp1)
	if err != nil {
		return nil, err
	}
	no, err := u.compile(n.Exp2)
	if err != nil {
		return nil, err
	}
	return func(s *State) (any, error) {
		ok, err := cond(s)
		if err != nil {
			return nil, err
		}
		if ok {
			return yes(s)
		}
		return no(s)
	}, nil
}

type test func(s *State) (bool, error)

func (t test) code() code {
	return func(s *State) (any, error) {
		b, err := t(s)
		return b, err
	}
}

// isLogical tells whether n can only be true or false.
func isLogical(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.UnaryNode:
		return n.Operator == "not" || n.Operator == "!"
	case *ast.BinaryNode:
		switch n.Operator {
		case "and", "&&", "or", "||", "==", "!=", "<", "<=", ">", ">=", "in", "contains", "startsWith", "endsWith", "matches":
			return true
		}
	}
	return false
}

// condition compiles n as a condition.
func (u *unit) condition(n ast.Node) (test, error) {
	if b, ok := n.(*ast.BinaryNode); ok {
		if decides, ok := decider(b.Operator); ok {
			return u.logical(b, decides)
		}
		if t := u.fieldIs(b); t != nil {
			return t, nil
		}
	}
	run, err := u.compile(n)
	if err != nil {
		return nil, err
	}
	if isLogical(n) {
		return func(s *State) (bool, error) {
			v, err := run(s)
			return v == true, err
		}, nil
	}
	u.quotes++
	what := cut(u.source(n), 60)
	return func(s *State) (bool, error) {
		v, err := run(s)
		if err != nil {
			return false, err
		}
		if b, ok := v.(bool); ok {
			return b, nil
		}
		return truth(v, what)
	}, nil
}

func (u *unit) let(n *ast.VariableDeclaratorNode) (code, error) {
	if slices.Contains(u.c.names, n.Name) || slices.ContainsFunc(u.vars, func(v variable) bool { return v.name == n.Name }) {
		return nil, u.fail(n, "%q is taken already (choose another name)", n.Name)
	}
	value, err := u.compile(n.Value)
	if err != nil {
		return nil, err
	}
	i := u.local
	u.local++
	u.c.locals = max(u.c.locals, u.local)
	u.vars = append(u.vars, variable{n.Name, i})
	body, err := u.compile(n.Expr)
	u.vars = u.vars[:len(u.vars)-1]
	if err != nil {
		return nil, err
	}
	return func(s *State) (any, error) {
		v, err := value(s)
		if err != nil {
			return nil, err
		}
		s.locals[i] = v
		return body(s)
	}, nil
}

// cut shortens a text for a message to about n bytes.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "..."
}
