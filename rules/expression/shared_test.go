package expression_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules/expression"
)

// TestSharedParts: programs of one compiler, whose parts are evaluated once for
// all of them, come to the values, errors and steps that each has on its own.
func TestSharedParts(t *testing.T) {
	t.Parallel()
	parts := []string{
		`len(event.l)`, `any(event.l, # > 1)`, `count(event.l, # == "a")`, `event.s matches "(a|b)+c$"`, `lower(event.s)`, `upper(event.n)`,
		`event.s matches "x{20}"`, `filter(event.l, # != nil)`, `split(event.s, "b")`, `any(event.l, .x)`, `any(event.l, # and event.s)`,
		`sum(event.l)`, `all(event.l,  #.x == event.s)`, `all(event.l, #.x==event.s)`, `len(filter(event.l, any([1, 2], # == 1)))`, `join(event.l, event.s)`,
		`len(event.l) > 1 ? first(event.l) : last(event.l)`, `sort(event.l)`, `type(event.s)`, `min(event.n, 3)`,
	}
	events := []map[string]any{
		{"s": "abc", "n": int64(2), "l": []any{int64(1), int64(2), "a"}},
		{"s": strings.Repeat("ab", 3000) + "c", "n": "x", "l": []any{map[string]any{"x": true}, map[string]any{"x": "y"}}},
		{"l": "no list"},
		{},
	}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 5))
		pick := func() string { return parts[r.IntN(len(parts))] }
		together := expression.NewCompiler("event")
		var texts []string
		var programs []*expression.Program
		for range 40 {
			text := pick()
			switch r.IntN(5) {
			case 0:
				text = fmt.Sprintf("let v = %s; v == (%s)", text, pick())
			case 1:
				text = fmt.Sprintf("((%s) ?? 1) == (%s)", text, pick())
			case 2:
				text = fmt.Sprintf("event.n == 2 and (%s) == 3 or (%s)", text, pick())
			}
			p, err := together.Compile(text)
			if err != nil {
				t.Fatalf("%s: %s", text, err)
			}
			texts, programs = append(texts, text), append(programs, p)
		}
		s := together.NewState()
		for _, ev := range events {
			s.Reset(ev)
			for range 80 {
				i := r.IntN(len(texts))
				alone := expression.NewCompiler("event")
				p, err := alone.Compile(texts[i])
				if err != nil {
					t.Fatal(err)
				}
				own := alone.NewState()
				own.Reset(ev)
				steps := []int{expression.MaxSteps, 10, 100, 1000, 10_000}[r.IntN(5)]
				s.Allow(steps)
				own.Allow(steps)
				type outcome struct {
					Value   any
					Err     string
					Overrun bool
					Left    int
				}
				run := func(p *expression.Program, s *expression.State) (out outcome) {
					v, err := p.Eval(s)
					out.Overrun = s.Overrun()
					if out.Value = v; err != nil {
						out.Value, out.Err = nil, err.Error()
					}
					if !out.Overrun {
						out.Left = s.Left()
					}
					return out
				}
				if diff := cmp.Diff(run(p, own), run(programs[i], s)); diff != "" {
					t.Fatalf("seed %d: %s of %v, with %d steps, is not what it is alone:\n%s", seed, texts[i], ev, steps, diff)
				}
			}
		}
	}
}

// TestSharedOnce: what many programs have in common is evaluated once.
func TestSharedOnce(t *testing.T) { //nolint:paralleltest // allocations are counted
	c := expression.NewCompiler("event")
	compile := func(text string) *expression.Program {
		p, err := c.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first, second := compile(`sum(map(event.l, len(#))) == 3`), compile(`2 < sum( map(event.l, len(#)) )`)
	other := compile(`sum(map(event.l, len(#))) + 0 == 3`)
	s := c.NewState()
	ev := map[string]any{"l": []any{"a", "ab"}}
	s.Reset(ev)
	for _, p := range []*expression.Program{first, second, other} {
		if ok, err := p.Test(s); !ok || err != nil {
			t.Fatalf("%s: %t, %v", p.Text(), ok, err)
		}
	}
	if n := testing.AllocsPerRun(10, func() { second.Test(s) }); n > 0 {
		t.Errorf("the second program made a list of its own: %v allocations", n)
	}
	s.Reset(map[string]any{"l": []any{"abcd"}})
	if ok, _ := first.Test(s); ok {
		t.Error("the value of another event was kept")
	}
}
