package expression

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

// MaxPattern is the largest program of a pattern (matches, glob), in
// instructions; a character is about one, and a repetition repeats those of what
// it repeats.
const MaxPattern = 20_000

// pattern is a regular expression and its price.
type pattern struct {
	re *regexp.Regexp
	// insts is about how many instructions it has: what a byte of a text costs at
	// most.
	insts int
}

// compilePattern compiles RE2 text. Its size is known before it is made: a short
// text can repeat itself into a large program.
func compilePattern(text string) (*pattern, error) {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	n := instructions(tree)
	if n > MaxPattern {
		return nil, fmt.Errorf("it has %d instructions, at most %d are possible (repeat less)", n, MaxPattern)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	return &pattern{re, n}, nil
}

// instructions is about how many instructions re compiles to. It stops counting
// far above the limit.
func instructions(re *syntax.Regexp) int {
	const far = 1 << 40
	n := 0
	for _, sub := range re.Sub {
		n = min(n+instructions(sub), far)
	}
	switch re.Op {
	case syntax.OpRepeat:
		// Each copy beyond the least is optional, which takes one more.
		if re.Max < 0 {
			return min((re.Min+1)*n+1, far)
		}
		return min(re.Max*n+re.Max-re.Min+1, far)
	case syntax.OpLiteral:
		return len(re.Rune)
	case syntax.OpCharClass:
		return 1 + len(re.Rune)/32
	case syntax.OpConcat:
		return n
	}
	return n + 1
}

// match pays for the worst that a text of this length can do and matches it.
func (p *pattern) match(s *State, text string) (bool, error) {
	if err := s.spend(1 + len(text)/4 + (1+len(text))*p.insts/patternRate); err != nil {
		return false, err
	}
	return p.re.MatchString(text), nil
}

// patternRate is how many instructions on a byte a step pays.
const patternRate = 16

func (u *unit) matches(n *ast.BinaryNode) (code, error) {
	text, ok := n.Right.(*ast.StringNode)
	if !ok {
		return nil, u.fail(n.Right, "the pattern of matches must be written out as a string")
	}
	p, err := compilePattern(text.Value)
	if err != nil {
		return nil, u.fail(n.Right, "bad pattern: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	left, err := u.compile(n.Left)
	if err != nil {
		return nil, err
	}
	return func(s *State) (any, error) {
		v, err := left(s)
		if err != nil {
			return nil, err
		}
		text, ok := v.(string)
		if !ok {
			return false, nil
		}
		return p.match(s, text)
	}, nil
}

// bindGlob compiles glob(pattern, text).
func bindGlob(u *unit, n *ast.BuiltinNode) (builtin, error) {
	text, ok := n.Arguments[0].(*ast.StringNode)
	if !ok {
		return nil, u.fail(n.Arguments[0], `the pattern of glob must be written out, and comes first: glob("sw-*", event.data.host)`)
	}
	re, bad := globPattern(text.Value)
	if bad != "" {
		return nil, u.fail(n.Arguments[0], "bad pattern: %s", bad)
	}
	p, err := compilePattern(re)
	if err != nil {
		return nil, u.fail(n.Arguments[0], "bad pattern: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return func(s *State, a []any) (any, error) {
		text, ok := a[1].(string)
		if !ok {
			return false, nil
		}
		return p.match(s, text)
	}, nil
}

// globPattern writes a glob as a regular expression, which matches in linear
// time. bad says what is wrong with it.
func globPattern(glob string) (re, bad string) {
	var out strings.Builder
	out.WriteString(`(?s)\A`)
	inBraces := false
	for rest := glob; rest != ""; {
		c := rest[0]
		n := 1
		switch {
		case c == '*':
			out.WriteString(".*")
			n = len(rest) - len(strings.TrimLeft(rest, "*")) // a row of stars is one
		case c == '?':
			out.WriteByte('.')
		case c == '[':
			class := ""
			if class, n, bad = globClass(rest); bad != "" {
				return "", bad
			}
			out.WriteString(class)
		case c == '{' && inBraces:
			return "", `{ within { } is not possible (write \{ for the character)`
		case c == '{':
			inBraces = true
			out.WriteString("(?:")
		case c == '}' && inBraces:
			inBraces = false
			out.WriteByte(')')
		case c == ',' && inBraces:
			out.WriteByte('|')
		case c == '\\':
			if rest = rest[1:]; rest == "" {
				return "", `\ at the end (write \\ for the character)`
			}
			fallthrough
		default:
			n = firstRune(rest)
			out.WriteString(regexp.QuoteMeta(rest[:n]))
		}
		rest = rest[n:]
	}
	if inBraces {
		return "", `{ is not closed by } (write \{ for the character)`
	}
	out.WriteString(`\z`)
	return out.String(), ""
}

// globClass reads [abc], [a-z] or [!abc] at the start of s; n is its length.
func globClass(s string) (re string, n int, bad string) {
	const unclosed = `[ is not closed by ] (write \[ for the character)`
	end := strings.IndexByte(s, ']')
	if end < 0 {
		return "", 0, unclosed
	}
	set := s[1:end]
	not := strings.HasPrefix(set, "!")
	if not {
		set = set[1:]
	}
	if set == "" || strings.ContainsAny(set, `[\^`) {
		return "", 0, `[ ] holds characters and ranges such as [a-z0-9_], without [, ^ and \`
	}
	re = "[" + set + "]"
	if not {
		re = "[^" + set + "]"
	}
	return re, end + 1, ""
}

// firstRune is the length of the first character of a text that is not empty.
func firstRune(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}
