package expression

import (
	"fmt"
	"strings"
)

// Limits of the search for contradictions; what is beyond counts as possible.
const (
	// maxSameTerm is how many atoms about one term are weighed together.
	maxSameTerm = 64
	// maxAssumed is how many atoms are assumed for one condition.
	maxAssumed = 20_000
)

// Fact is what is known of a term whatever the event is.
type Fact struct {
	Atoms []Atom
	// Text says it to people, as in "event.type is always text".
	Text string
}

// Facts tells what is known of a term. Nil: nothing.
type Facts func(Term) Fact

// Dead is a part of a condition that can never be true.
type Dead struct {
	// Offset is where in the text of the condition it begins; of the whole
	// condition where the contradiction is.
	Offset int
	// Part is its text.
	Part string
	// Whole: the condition itself can never be true.
	Whole bool
	// Why says what it contradicts.
	Why string
}

// Dead lists what can never be true: the whole condition, or branches of its
// ors, which could be left out without a difference. given are conditions that hold besides. What is listed is never true of
// any event within facts; what is not listed may still be impossible.
func (c *Conditions) Dead(facts Facts, given ...*Conditions) []Dead {
	s := solver{facts: facts}
	e := newEnv(nil)
	for _, g := range given {
		if s.owner = g; !s.assume(e, g.When(true)) {
			return nil // it has its own finding
		}
	}
	s.owner = c
	root := c.When(true)
	if root.Kind == Never && root.node == c.root && c.constant() {
		return nil
	}
	if !s.assume(e, root) || !s.settle(e) {
		return []Dead{s.dead(root, true)}
	}
	var out []Dead
	s.walk(e, root, &out)
	return out
}

// Possible tells whether the condition may be true where the given atoms hold.
// It is false only when it cannot.
func (c *Conditions) Possible(facts Facts, given ...Atom) bool {
	s := solver{facts: facts, owner: c, quiet: true}
	e := newEnv(nil)
	for _, a := range given {
		if !s.assume(e, &Cond{Kind: Is, Atom: a, node: c.root}) {
			return false
		}
	}
	return s.assume(e, c.When(true)) && s.settle(e)
}

// CanBeFalse is false when the condition is true of every event of which it does
// not fail.
func (c *Conditions) CanBeFalse(facts Facts) bool {
	s := solver{facts: facts, owner: c, quiet: true}
	e := newEnv(nil)
	return s.assume(e, c.When(false)) && s.settle(e)
}

// constant tells whether the text reads none of the names.
func (c *Conditions) constant() bool {
	p, err := NewCompiler(c.names...).Compile(c.unit.text)
	return err == nil && p.Constant()
}

// solver looks for contradictions among conditions.
type solver struct {
	facts   Facts
	owner   *Conditions // of the conditions assumed now
	assumed int
	quiet   bool // nobody asks why
	// culprit and why are the last contradiction.
	culprit *Cond
	from    *Conditions
	why     string
}

// env is what holds: the atoms by term, and the ors that are not decided. A
// child adds to what its parent holds.
type env struct {
	parent  *env
	terms   map[string][]claim
	pending []*Cond
}

// claim is an atom that holds, and whose condition it is.
type claim struct {
	atom  Atom
	cond  *Cond
	owner *Conditions // nil: a fact
	fact  string
}

func newEnv(parent *env) *env { return &env{parent: parent, terms: map[string][]claim{}} }

func (e *env) claims(key string) ([]claim, bool) {
	for ; e != nil; e = e.parent {
		if list, ok := e.terms[key]; ok {
			return list, true
		}
	}
	return nil, false
}

// assume adds a condition; false: it contradicts what holds.
func (s *solver) assume(e *env, cond *Cond) bool {
	switch cond.Kind {
	case Never:
		s.blame(cond, "")
		return false
	case Is:
		return s.claim(e, cond.Atom, cond) && s.parents(e, cond)
	case All:
		for _, p := range cond.Parts {
			if !s.assume(e, p) {
				return false
			}
		}
	case One:
		e.pending = append(e.pending, cond)
	}
	return true
}

// parents claims what a value that is there says of those it is in.
func (s *solver) parents(e *env, cond *Cond) bool {
	a := &cond.Atom
	if a.Term.Name == "" || a.types()&NilType != 0 || a.Holds(nil) {
		return true
	}
	for i := len(a.Term.Path) - 1; i >= 0; i-- {
		in := Atom{Term: newTerm(a.Term.Name, a.Term.Path[:i]), Op: OfType, Types: MapType}
		if _, isIndex := a.Term.Path[i].(int64); isIndex {
			in.Types = ListType
		}
		if !s.claim(e, in, cond) {
			return false
		}
	}
	return true
}

func (s *solver) claim(e *env, a Atom, cond *Cond) bool {
	if s.assumed++; s.assumed > maxAssumed {
		return true
	}
	list, known := e.claims(a.Term.key)
	if !known && s.facts != nil {
		f := s.facts(a.Term)
		for _, atom := range f.Atoms {
			atom.Term = a.Term
			list = append(list, claim{atom: atom, fact: f.Text})
		}
	}
	if len(list) >= maxSameTerm {
		return true
	}
	list = append(list[:len(list):len(list)], claim{atom: a, cond: cond, owner: s.owner})
	e.terms[a.Term.key] = list
	if possible(list) {
		return true
	}
	if !s.quiet {
		s.explain(list)
	}
	return false
}

// explain finds what the last claim of a list contradicts.
func (s *solver) explain(list []claim) {
	last := list[len(list)-1]
	var facts []claim
	for _, cl := range list[:len(list)-1] {
		if cl.owner == nil {
			facts = append(facts, cl)
		}
	}
	try := func(more ...claim) bool { return !possible(append(facts[:len(facts):len(facts)], more...)) }
	if try(last) {
		if len(facts) > 0 && possible([]claim{last}) {
			s.blame(last.cond, facts[0].fact)
			return
		}
		s.blame(last.cond, "")
		return
	}
	for _, cl := range list[:len(list)-1] {
		if cl.owner != nil && cl.cond != last.cond && try(cl, last) {
			s.blame(last.cond, "it contradicts "+cl.owner.text(cl.cond))
			return
		}
	}
	s.blame(last.cond, fmt.Sprintf("it contradicts what else is asked of %s", last.atom.Term))
}

func (s *solver) blame(cond *Cond, why string) { s.culprit, s.from, s.why = cond, s.owner, why }

// settle drops the branches of ors that are impossible, and assumes those that
// alone are left, until nothing changes. False: an or has no branch left.
func (s *solver) settle(e *env) bool {
	for changed := true; changed; {
		changed = false
		pending := e.pending
		e.pending = nil
		for i, or := range pending {
			alive, count := s.alive(e, or)
			switch {
			case count == 0:
				if len(or.Parts) != 1 {
					s.blame(or, "")
				}
				return false
			case count == 1 && s.assumed <= maxAssumed:
				if !s.assume(e, alive) {
					return false
				}
				changed = true
			default:
				e.pending = append(e.pending, pending[i])
			}
		}
	}
	return true
}

// alive counts the branches that are possible, and returns the last one.
func (s *solver) alive(e *env, or *Cond) (*Cond, int) {
	var alive *Cond
	n := 0
	for _, p := range or.Parts {
		if s.assumed > maxAssumed || s.branch(e, p) {
			alive = p
			n++
		}
	}
	return alive, n
}

func (s *solver) branch(e *env, part *Cond) bool {
	sub := newEnv(e)
	return s.assume(sub, part) && s.settle(sub)
}

// walk lists the dead branches of the ors that are written.
func (s *solver) walk(e *env, cond *Cond, out *[]Dead) {
	switch cond.Kind {
	case All:
		for _, p := range cond.Parts {
			s.walk(e, p, out)
		}
	case One:
		for _, p := range cond.Parts {
			sub := newEnv(e)
			if s.assumed > maxAssumed {
				return
			}
			if s.assume(sub, p) && s.settle(sub) {
				s.walk(sub, p, out)
			} else if cond.or {
				*out = append(*out, s.dead(p, false))
			}
		}
	}
}

// dead describes the last contradiction, which makes cond impossible.
func (s *solver) dead(cond *Cond, whole bool) Dead {
	d := Dead{Offset: s.owner.offset(cond), Part: s.owner.text(cond), Whole: whole}
	if s.from == s.owner && s.culprit != nil {
		if whole {
			d.Offset = s.owner.offset(s.culprit)
		}
		part := s.owner.text(s.culprit)
		switch {
		case strings.HasPrefix(s.why, "it contradicts"):
			d.Why = part + " contradicts" + strings.TrimPrefix(s.why, "it contradicts")
		case s.why != "":
			d.Why = part + " never holds: " + s.why
		case s.culprit.Kind == One:
			d.Why = "no side of " + part + " is possible"
		default:
			d.Why = part + " never holds"
		}
	}
	return d
}
