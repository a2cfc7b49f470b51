package expression

import (
	"slices"
	"strings"
)

// Limits of clauses; what is beyond makes them hold more often.
const (
	// maxProduct is how many clauses alternatives that must hold together make.
	maxProduct = 16
	// maxClause is how many atoms a clause has.
	maxClause = 32
)

// Clause is atoms that all hold: each positive, about a path below a name, false
// of nil, and none of Matches.
type Clause []Atom

// Clauses returns clauses of which at least one holds whenever the condition
// does, so that an index of values can find the condition; none for one that
// never holds. It is false when nothing narrows down the values of which the
// condition may hold.
func (c *Cond) Clauses() ([]Clause, bool) {
	clauses := c.clauses()
	return clauses, !slices.ContainsFunc(clauses, func(cl Clause) bool { return len(cl) == 0 })
}

// clauses has an empty clause where the condition may hold of anything.
func (c *Cond) clauses() []Clause {
	switch c.Kind {
	case Never:
		return nil
	case Is:
		if c.Atom.selective() {
			return c.Atom.clauses()
		}
	case All:
		return c.product()
	case One:
		return c.union()
	}
	return []Clause{{}}
}

// product combines the clauses of the parts, the fewest first; parts that would
// make too many are left out.
func (c *Cond) product() []Clause {
	parts := make([][]Clause, 0, len(c.Parts))
	for _, p := range c.Parts {
		parts = append(parts, p.clauses())
	}
	slices.SortStableFunc(parts, func(a, b []Clause) int { return len(a) - len(b) })
	out := []Clause{{}}
	for _, part := range parts {
		if len(out)*len(part) > maxProduct && len(out[0]) > 0 || slices.ContainsFunc(part, func(cl Clause) bool { return len(cl) == 0 }) {
			continue
		}
		next := make([]Clause, 0, len(out)*len(part))
		for _, a := range out {
			for _, b := range part {
				both := append(a[:len(a):len(a)], b...)
				next = append(next, both[:min(len(both), maxClause)])
			}
		}
		if out = next; len(out) == 0 {
			return nil // a part never holds
		}
	}
	return out
}

// union lists the clauses of the parts; equalities with one term become one.
func (c *Cond) union() []Clause {
	var out []Clause
	equal := map[string]int{} // clauses by the term of their only atom
	for _, p := range c.Parts {
		for _, cl := range p.clauses() {
			if len(cl) == 0 {
				return []Clause{{}}
			}
			if len(cl) > 1 || cl[0].Op != Equal {
				out = append(out, cl)
				continue
			}
			i, ok := equal[cl[0].Term.key]
			if !ok {
				equal[cl[0].Term.key] = len(out)
				out = append(out, Clause{cl[0]})
				continue
			}
			known := &out[i][0]
			values := slices.Clip(known.Values)
			for _, v := range cl[0].Values {
				if len(values) > maxProduct || !oneOf(v, values) {
					values = append(values, v)
				}
			}
			known.Values = values
		}
	}
	return out
}

// clauses are those of a selective atom: one, or one for each text of which a
// pattern requires one, with the other texts that it requires in any case.
func (a *Atom) clauses() []Clause {
	if a.Op != Matches {
		return []Clause{{*a}}
	}
	all := a.literals()
	if len(all) == 0 {
		return []Clause{{}}
	}
	var common Clause
	for _, l := range all[1:] {
		known := func(text string) bool { return strings.Contains(text, l.texts[0]) }
		if len(l.texts) == 1 && slices.ContainsFunc(all[0].texts, func(text string) bool { return !known(text) }) {
			common = append(common, Atom{Term: a.Term, Op: l.op, Values: []any{l.texts[0]}})
		}
	}
	out := make([]Clause, len(all[0].texts))
	for i, text := range all[0].texts {
		out[i] = append(Clause{{Term: a.Term, Op: all[0].op, Values: []any{text}}}, common...)
	}
	return out
}

// selective tells whether an index can use the atom.
func (a *Atom) selective() bool {
	if a.Not || a.Term.Name == "" || len(a.Term.Path) == 0 {
		return false
	}
	switch a.Op {
	case Equal:
		return !oneOf(nil, a.Values)
	case Prefix, Suffix, Contains:
		return a.Values[0] != ""
	case OfType:
		return a.Types&NilType == 0
	}
	return true
}
