package expression_test

import (
	"testing"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"github.com/pointsman/pointsman/rules/expression"
)

const benchRule = `event.type == "com.netbox.device.updated" && event.data.site in ["ams1", "fra2"] && event.data.prechange.status != event.data.postchange.status`

func benchEvent() map[string]any {
	return map[string]any{
		"type": "com.netbox.device.updated",
		"data": map[string]any{
			"site":       "fra2",
			"prechange":  map[string]any{"status": "active"},
			"postchange": map[string]any{"status": "offline"},
		},
	}
}

// BenchmarkRule compares one true rule here with expr-lang's own machine on the
// same text and event, machine reused.
func BenchmarkRule(b *testing.B) {
	b.Run("pointsman", func(b *testing.B) {
		c := expression.NewCompiler("event")
		p, err := c.Compile(benchRule)
		if err != nil {
			b.Fatal(err)
		}
		s := c.NewState()
		ev := benchEvent()
		b.ReportAllocs()
		for b.Loop() {
			s.Reset(ev)
			if ok, err := p.Test(s); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("expr-vm", func(b *testing.B) {
		env := map[string]any{"event": benchEvent()}
		p, err := expr.Compile(benchRule, expr.Env(env), expr.AsBool())
		if err != nil {
			b.Fatal(err)
		}
		var m vm.VM
		b.ReportAllocs()
		for b.Loop() {
			if got, err := m.Run(p, env); got != true || err != nil {
				b.Fatal(got, err)
			}
		}
	})
}
