package expression_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/expr-lang/expr"
	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules/expression"
)

// generator writes random expressions over the event whose operands have the
// types their operators take: there expr-lang's own machine and ours must agree.
type generator struct {
	r    *rand.Rand
	lets int
}

func (g *generator) pick(options ...string) string { return options[g.r.IntN(len(options))] }

func (g *generator) boolean(depth int) string {
	if depth == 0 {
		return g.pick("true", "false", "event.data.flag", "event.data.off")
	}
	d := depth - 1
	switch g.r.IntN(9) {
	case 0:
		return fmt.Sprintf("(%s %s %s)", g.boolean(d), g.pick("and", "or", "&&", "||", "==", "!="), g.boolean(d))
	case 1:
		return fmt.Sprintf("%s (%s)", g.pick("not", "!"), g.boolean(d))
	case 2:
		return fmt.Sprintf("(%s %s %s)", g.number(d), g.pick("<", "<=", ">", ">=", "==", "!="), g.number(d))
	case 3:
		return fmt.Sprintf("(%s %s %s)", g.text(d), g.pick("<", ">=", "==", "!=", "contains", "startsWith", "endsWith", "not contains"), g.text(d))
	case 4:
		return fmt.Sprintf("(%s %s [%s, %s])", g.text(d), g.pick("in", "not in"), g.text(d), g.text(d))
	case 5:
		return fmt.Sprintf("%s(%s, %s)", g.pick("any", "all", "none", "one"), g.pick("event.data.tags", "event.data.none"), `# < "`+g.pick("a", "b", "c")+`"`)
	case 6:
		return fmt.Sprintf("(%s ? %s : %s)", g.boolean(d), g.boolean(d), g.boolean(d))
	case 7:
		g.lets++
		n := g.lets
		return fmt.Sprintf("(let v%[1]d = %[2]s; v%[1]d == %[3]s)", n, g.text(d), g.text(d))
	}
	return fmt.Sprintf(`(%s matches "%s")`, g.text(d), g.pick("^e", "[0-9]$", "a|b", "."))
}

func (g *generator) number(depth int) string {
	if depth == 0 {
		return g.pick("0", "1", "2.5", "-3", "event.data.n", "event.data.f", "event.data.one", "event.data.nums[0]", "len(event.data.tags)")
	}
	d := depth - 1
	switch g.r.IntN(5) {
	case 0:
		return fmt.Sprintf("(%s %s %s)", g.number(d), g.pick("+", "-", "*"), g.number(d))
	case 1:
		return fmt.Sprintf("len(%s)", g.text(d))
	case 2:
		return fmt.Sprintf("count(event.data.tags, # != %s)", g.text(0))
	case 3:
		return fmt.Sprintf("(event.data.null ?? %s)", g.number(d))
	}
	return fmt.Sprintf("abs(%s)", g.number(d))
}

func (g *generator) text(depth int) string {
	if depth == 0 {
		return g.pick(`"eth1"`, `"a"`, `""`, "event.data.interface", "event.data.role", "event.type", "event.data.tags[1]", "event.data.umlaut", `event.data.nested.x["y"]`)
	}
	d := depth - 1
	switch g.r.IntN(4) {
	case 0:
		return fmt.Sprintf("(%s + %s)", g.text(d), g.text(d))
	case 1:
		return fmt.Sprintf("%s(%s)", g.pick("upper", "lower", "trim"), g.text(d))
	case 2:
		return fmt.Sprintf(`join(map(event.data.tags, # + %s), "-")`, g.text(0))
	}
	return fmt.Sprintf("(%s ? %s : %s)", g.boolean(d), g.text(d), g.text(d))
}

// TestAgreesWithExpr compares with expr-lang where its meaning is ours.
func TestAgreesWithExpr(t *testing.T) {
	t.Parallel()
	g := generator{r: rand.New(rand.NewPCG(1, 2))}
	env := map[string]any{"event": event()}
	for range 4000 {
		text := g.boolean(1 + g.r.IntN(4))
		program, err := expr.Compile(text, expr.Env(env), expr.Optimize(false))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		want, err := expr.Run(program, env)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		c := expression.NewCompiler("event")
		p, err := c.Compile(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		s := c.NewState()
		s.Reset(env["event"])
		got, err := p.Eval(s)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s: %s", text, diff)
		}
	}
}
