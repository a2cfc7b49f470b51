package expression

import (
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser/lexer"
)

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
	if _, ok := n.(*ast.VariableDeclaratorNode); ok && i > 0 && tokens[i-1].Value == "let" {
		i-- // its position is that of the name
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
