package rules

import (
	"maps"
	"slices"

	"github.com/pointsman/pointsman/rules/expression"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// maxLoopChecks is how many pairs of a type and a rule the search for loops
// weighs; what is beyond is not reported.
const maxLoopChecks = 50_000

// emission is a step of a rule that sends an event to this router.
type emission struct {
	rule   *Rule
	action string
	node   *strictyaml.Node
	// eventType is "" when it cannot be seen.
	eventType string
}

// emits remembers a step that sends an event to this router. A dry run sends
// none.
func (l *loader) emits(r *Rule, action string, item *strictyaml.Node) {
	f := l.opts.Actions[action].Emits
	if l.opts.Lint == nil || f == nil || r.DryRun || r.when == nil {
		return
	}
	var with any
	if n := entriesOf(item)["with"]; n != nil {
		with, _ = n.Any()
	}
	if eventType, sends := f(with); sends {
		l.lint.emissions = append(l.lint.emissions, emission{r, action, item, eventType})
	}
}

// loops warns of rules whose calls send what leads to the same rule again. Of
// each rule only the types of events that it may match are weighed, so a loop
// is one that may be.
func (l *loader) loops() {
	var g graph
	for _, e := range l.lint.emissions {
		if e.eventType == "" {
			e.node.Warn(mayLoop, 0, "action %q sends an event to this router whose type cannot be seen here: a loop, if this rule matches it "+
				"or what follows from it (write the type out, or exclude such events in when)", e.action)
			continue
		}
		g.add(e)
	}
	g.connect()
	for _, e := range g.emissions {
		next := g.after(e)
		if next == nil {
			continue
		}
		if next == e.rule {
			e.node.Warn(mayLoop, 0, "action %q sends an event of type %q to this router, and this rule may match it: a loop "+
				"(send another type, or exclude such events in when)", e.action, e.eventType)
			continue
		}
		e.node.Warn(mayLoop, 0, "action %q sends an event of type %q to this router, rule %q may match it, and what that sends leads here again: a loop "+
			"(send another type, or exclude such events in a when)", e.action, e.eventType, next.Name)
	}
}

// graph has a node for each rule that sends events and each type that is sent:
// a rule leads to the types it sends, a type to the rules that may match it.
type graph struct {
	emissions []emission
	rules     map[*Rule]int
	types     map[string]int
	names     map[int]*Rule
	edges     [][]int
	matches   map[[2]int]bool // the edges from a type to a rule
	component []int
}

// after is the rule to which an emission leads and from which it leads back: the
// rule itself, if it is one. Nil: there is none.
func (g *graph) after(e emission) *Rule {
	from, typ := g.rules[e.rule], g.types[e.eventType]
	if g.component[from] != g.component[typ] {
		return nil
	}
	if g.matches[[2]int{typ, from}] {
		return e.rule
	}
	for _, to := range g.edges[typ] {
		if g.component[to] == g.component[typ] {
			return g.names[to]
		}
	}
	return nil
}

func (g *graph) add(e emission) {
	if g.rules == nil {
		g.rules, g.types, g.names = map[*Rule]int{}, map[string]int{}, map[int]*Rule{}
	}
	from, ok := g.rules[e.rule]
	if !ok {
		from = len(g.edges)
		g.rules[e.rule], g.names[from] = from, e.rule
		g.edges = append(g.edges, nil)
	}
	to, ok := g.types[e.eventType]
	if !ok {
		to = len(g.edges)
		g.types[e.eventType] = to
		g.edges = append(g.edges, nil)
	}
	g.edges[from] = append(g.edges[from], to)
	g.emissions = append(g.emissions, e)
}

// connect leads each type to the rules that may match it, and finds what leads
// to itself.
func (g *graph) connect() {
	eventType := expression.PathTerm(eventName, "type")
	every := slices.Sorted(maps.Keys(g.types))
	g.matches = map[[2]int]bool{}
	checks := 0
	for at := range g.edges {
		r := g.names[at]
		if r == nil {
			continue
		}
		asks, err := expression.ConditionsOf(r.when.Text(), eventName)
		if err != nil { // it was compiled before
			continue
		}
		some := every
		if values, ok := asks.When(true).ValuesOf(eventType); ok {
			some = sentOf(values, g.types)
		}
		for _, name := range some {
			if checks++; checks > maxLoopChecks {
				break
			}
			is := expression.Atom{Term: eventType, Op: expression.Equal, Values: []any{name}}
			if asks.Possible(eventFacts, is) {
				g.edges[g.types[name]] = append(g.edges[g.types[name]], at)
				g.matches[[2]int{g.types[name], at}] = true
			}
		}
	}
	g.components()
}

// sentOf are those of the values that are types which are sent, each once.
func sentOf(values []any, types map[string]int) []string {
	var out []string
	for _, v := range values {
		name, _ := v.(string)
		if _, sent := types[name]; sent && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// components gives nodes that lead to each other one number (Tarjan 1972).
func (g *graph) components() {
	g.component = make([]int, len(g.edges))
	index, low := make([]int, len(g.edges)), make([]int, len(g.edges))
	onStack := make([]bool, len(g.edges))
	var stack []int
	next := 1
	var visit func(v int)
	visit = func(v int) {
		index[v], low[v] = next, next
		next++
		stack = append(stack, v)
		onStack[v] = true
		for _, w := range g.edges[v] {
			if index[w] == 0 {
				visit(w)
				low[v] = min(low[v], low[w])
			} else if onStack[w] {
				low[v] = min(low[v], index[w])
			}
		}
		if low[v] != index[v] {
			return
		}
		for {
			w := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			onStack[w] = false
			g.component[w] = v
			if w == v {
				return
			}
		}
	}
	for v := range g.edges {
		if index[v] == 0 {
			visit(v)
		}
	}
}
