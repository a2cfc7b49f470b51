package expression_test

import (
	"strings"
	"testing"

	"github.com/pointsman/pointsman/rules/expression"
)

// TestLongest compiles, runs and explains the most that fits an expression, in
// each of the shapes that make a parser or a tree deep.
func TestLongest(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"or":        strings.Repeat("event.a or ", 1400) + "event.b",
		"and":       "event.id and " + strings.Repeat("event.id!=nil and ", 850) + "event.b",
		"members":   "event" + strings.Repeat(".a", 8000),
		"indexes":   "event" + strings.Repeat("[event.a]", 1800),
		"ternaries": strings.Repeat("event.a?1:", 1500) + "false",
		"powers":    strings.Repeat("1**", 5000) + "1 == 2",
		"sums":      strings.Repeat("1+", 4900) + "1 == 2",
		"coalesce":  strings.Repeat("event.a??", 1500) + "nil",
		"else if":   strings.Repeat("if event.a{1}else ", 850) + "{false}",
		"list":      "event.id in [" + strings.Repeat("1,", 8000) + "2]",
		"calls":     strings.Repeat("len(", 60) + "event.a" + strings.Repeat(")", 60) + " > 1",
		"pipes":     "event.a" + strings.Repeat("|len()", 2400) + " > 1",
		"compare":   strings.Repeat("1<", 4000) + "1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := expression.NewCompiler("event")
			p, err := c.Compile(text)
			if err != nil {
				t.Log(err)
				return
			}
			s := c.NewState()
			s.Reset(event())
			if _, err := p.Test(s); err != nil {
				t.Log(err)
			}
			x := expression.Explainer{Names: []string{"event"}, Kind: "event.type"}
			if _, err := x.Explain(text, false, event()); err != nil {
				t.Log(err)
			}
			if _, err := expression.WhyFalse(text, []string{"event"}, event()); err != nil {
				t.Log(err)
			}
		})
	}
}
