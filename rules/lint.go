package rules

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/rules/expression"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// The codes of warnings: one for each kind, see docs/rules.md.
const (
	constantCondition = "constant-condition"
	neverTrue         = "never-true"
	deadBranch        = "dead-branch"
	alwaysTrue        = "always-true"
	unindexed         = "unindexed"
	sameRule          = "same-rule"
	unusedKey         = "unused-key"
	oneLane           = "one-lane"
	constantKey       = "constant-key"
	uselessOnce       = "useless-once"
	literalSecret     = "literal-secret"
	mayLoop           = "may-loop"
)

// lint is what the search for doubtful rules remembers of the rules before.
type lint struct {
	forms     map[[32]byte]string // rules by their form
	emissions []emission
	// asks are what the expressions of one rule ask, by text.
	asks map[string]*expression.Conditions
}

// conditions is what an expression that was compiled asks, nil of any other. It
// is remembered until the rule is done with.
func (l *lint) conditions(text string) *expression.Conditions {
	asks, ok := l.asks[text]
	if ok {
		return asks
	}
	asks, err := expression.ConditionsOf(text, eventName)
	if err != nil {
		return nil
	}
	l.remember(text, asks)
	return asks
}

func (l *lint) remember(text string, asks *expression.Conditions) {
	if l.asks == nil {
		l.asks = map[string]*expression.Conditions{}
	}
	l.asks[text] = asks
}

// keyUsers are the keys of a rule that look at its key; those of a step with an
// overlap do too.
func keyUsers() []string { return []string{"once", "ordered"} }

// check warns of what is possible in a rule but hardly meant.
func (l *loader) check(r *Rule, m *strictyaml.Map) {
	if l.opts.Lint == nil {
		return
	}
	defer func() { clear(l.lint.asks) }()
	when := l.condition(m.Key("when"), r.when)
	if when != nil {
		l.checkWhen(r, when)
	}
	items, _ := m.Key("do").List()
	for i, item := range items {
		if !item.IsMap() {
			continue
		}
		step := entriesOf(item)
		if i < len(r.steps) && len(items) == len(r.steps) {
			l.checkIf(l.condition(step["if"], r.steps[i].cond), when)
		}
		secrets(step["with"], "")
	}
	secretText(m.Key("key"))
	l.checkKey(r, m)
}

func entriesOf(n *strictyaml.Node) map[string]*strictyaml.Node {
	out := map[string]*strictyaml.Node{}
	entries, _ := n.Entries()
	for _, e := range entries {
		out[e.Name] = e.Value
	}
	return out
}

// condition is an expression of a rule, where it is and what it asks.
type condition struct {
	node   *strictyaml.Node
	offset int // of the expression in the node's text
	prog   *expression.Program
	asks   *expression.Conditions
}

// condition is nil for one that is left out, is wrong, or holds a secret, which
// would be part of what is said of it.
func (l *loader) condition(n *strictyaml.Node, p *expression.Program) *condition {
	if secretText(n) || n == nil || p == nil {
		return nil
	}
	asks := l.lint.conditions(p.Text())
	if asks == nil {
		return nil
	}
	text, _ := n.Written()
	return &condition{n, len(text) - len(strings.TrimLeft(text, " \t\r\n")), p, asks}
}

func (c *condition) warn(code string, offset int, format string, args ...any) {
	c.node.Warn(code, c.offset+offset, format, args...)
}

// dead reports what can never be true, and tells whether that is all of it.
func (c *condition) dead(what, advice string, given ...*expression.Conditions) bool {
	for _, d := range c.asks.Dead(eventFacts, given...) {
		if d.Whole {
			c.warn(neverTrue, d.Offset, "%s can never be true%s (%s)", what, because(d.Why), advice)
			return true
		}
		c.warn(deadBranch, d.Offset, "a side of or can never be true%s (correct it, or leave it out)", because(d.Why))
	}
	return false
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func (l *loader) checkWhen(r *Rule, c *condition) {
	switch {
	case c.prog.Constant():
	case c.dead("when", "correct it, or remove the rule"):
	case !c.asks.CanBeFalse(eventFacts):
		c.warn(alwaysTrue, 0, "when is true of every event (ask for less, or write true)")
	case !r.indexed:
		c.warn(unindexed, 0, "every event is tried against this rule: nothing that a field must be narrows it down "+
			"(compare event.type or another field with a text or a number, and let the other conditions follow with and)")
	}
}

func (l *loader) checkIf(c, when *condition) {
	if c == nil || c.prog.Constant() {
		return
	}
	const advice = "correct it, or remove the step"
	if c.dead("if", advice) || when == nil {
		return
	}
	for _, d := range c.asks.Dead(eventFacts, when.asks) {
		if d.Whole {
			c.warn(neverTrue, d.Offset, "if can never be true where when is%s (%s)", because(d.Why), advice)
		}
	}
}

// laned says whether a step looks at the key.
func (r *Rule) laned() bool {
	return slices.ContainsFunc(r.steps, func(st step) bool { return st.overlap == overlapQueue || st.overlap == overlapSkip })
}

// checkKey warns of a key and a window that change nothing, and of an order that
// holds for all events.
func (l *loader) checkKey(r *Rule, m *strictyaml.Map) {
	n := m.Key("key")
	if n == nil && r.Ordered {
		m.Key("ordered").Warn(oneLane, 0, "without a key one delivery of the rule runs at a time, and a retry delays all of them "+
			"(add a key, such as that of the device)")
	}
	if n == nil || r.key == nil {
		return
	}
	used := r.laned()
	for _, name := range keyUsers() {
		used = used || m.Key(name) != nil
	}
	if !used {
		n.Warn(unusedKey, 0, "without %s, or overlap in a step, the key holds nothing back (add one, or remove key)", strings.Join(keyUsers(), ", "))
		return
	}
	if r.key.Constant() {
		n.Warn(constantKey, 0, "the key is the same for every event, as it is without one (remove it, or let it read a field)")
		return
	}
	asks := l.lint.conditions(r.key.Text())
	if asks == nil || r.Once == 0 {
		return
	}
	for _, t := range asks.Sum() {
		switch t.Key() {
		case expression.PathTerm(eventName, "id").Key():
			n.Warn(uselessOnce, 0, "once holds nothing back: event.id is another one for each event, so each has a window of its own "+
				"(make the key of what the events have in common)")
			return
		case expression.PathTerm(eventName, "time").Key():
			n.Warn(uselessOnce, 0, "once holds hardly anything back: event.time is another one for nearly each event "+
				"(make the key of what the events have in common)")
			return
		}
	}
}

// alike warns of a rule that does what one before does, written otherwise.
func (l *loader) alike(r *Rule, m *strictyaml.Map, do any) {
	if l.opts.Lint == nil {
		return
	}
	steps, _ := do.([]any)
	for _, st := range steps {
		if fields, ok := st.(map[string]any); ok {
			if text, ok := fields["if"].(string); ok {
				fields["if"] = l.lint.form(text)
			}
		}
	}
	text, err := expression.AppendJSON(nil, do)
	if err != nil {
		return
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %s", l.lint.form(r.when.Text()), l.lint.form(r.KeyText()), text))
	if first, ok := l.lint.forms[sum]; ok {
		m.Node().Warn(sameRule, 0, "it has the when, key and do of rule %q, written otherwise (remove one)", first)
		return
	}
	if l.lint.forms == nil {
		l.lint.forms = map[[32]byte]string{}
	}
	l.lint.forms[sum] = r.Name
}

func (l *lint) form(text string) string {
	if asks := l.conditions(strings.TrimSpace(text)); text != "" && asks != nil {
		return asks.Form()
	}
	return text
}

// eventFacts is what every event keeps to, whatever its source.
func eventFacts(t expression.Term) expression.Fact {
	if t.Name != eventName {
		return expression.Fact{}
	}
	if len(t.Path) == 0 {
		return ofType(expression.MapType, "event is always a map")
	}
	name, _ := t.Path[0].(string)
	switch {
	case name == "data":
		return expression.Fact{}
	case len(t.Path) > 1:
		return always(nil, fmt.Sprintf("%s is always missing, because event.%s has no fields (those of the data are under event.data)", t, name))
	case name == "specversion":
		return always(SpecVersion, fmt.Sprintf("event.specversion is always %q", SpecVersion))
	case name == "data_base64":
		return ofType(expression.StringType|expression.NilType, "event.data_base64 is a text or missing")
	case name == "id" || name == "source" || name == "type":
		return notEmpty(ofType(expression.StringType, fmt.Sprintf("%s is always a text, and not empty", t)))
	case new(Attributes).known(name) != nil:
		return notEmpty(ofType(expression.StringType|expression.NilType, fmt.Sprintf("%s is a text that is not empty, or missing", t)))
	case checkName(name) != nil:
		return always(nil, fmt.Sprintf("%s is always missing, because attributes have names of a to z and 0 to 9 (the fields of the data are under event.data)", t))
	}
	return ofType(expression.NilType|expression.BooleanType|expression.IntegerType|expression.StringType,
		fmt.Sprintf("%s is an attribute, so a text, an integer, a boolean or missing (the fields of the data are under event.data)", t))
}

func ofType(types expression.Types, text string) expression.Fact {
	return expression.Fact{Text: text, Atoms: []expression.Atom{{Op: expression.OfType, Types: types}}}
}

func always(v any, text string) expression.Fact {
	return expression.Fact{Text: text, Atoms: []expression.Atom{{Op: expression.Equal, Values: []any{v}}}}
}

func notEmpty(f expression.Fact) expression.Fact {
	f.Atoms = append(f.Atoms, expression.Atom{Op: expression.Equal, Not: true, Values: []any{""}})
	return f
}
