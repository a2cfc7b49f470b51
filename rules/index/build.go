package index

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/pointsman/pointsman/rules/expression"
)

const (
	// small is how many rules a node tries without another question, and
	// smallGuarded how many when there is a guard before each.
	small        = 1
	smallGuarded = 8
	// maxCopies is how often a clause stands in the index because its atoms have
	// several values each.
	maxCopies = 64
	// sampled is how many clauses are looked at to choose a question.
	sampled = 512
	// fewClauses of a rule are compared with each other.
	fewClauses = 8
	// A node asks questions of its own for the clauses that are left when the
	// next one would spare less than fewOf of them, or after manySplits.
	fewOf      = 1.0 / 64
	manySplits = 64
)

// Builder gathers what is known of rules. The zero Builder is not usable: see
// NewBuilder.
type Builder struct {
	compiler *expression.Compiler
	seed     maphash.Seed
	clauses  []clause
	always   []uint32 // rules of which nothing is known
}

// NewBuilder makes a builder of an index for states of the compiler, which must
// be made after Build.
func NewBuilder(c *expression.Compiler) *Builder {
	return &Builder{compiler: c, seed: maphash.MakeSeed()}
}

// clause is what must hold for a rule.
type clause struct {
	rule  uint32
	atoms []atom
}

// atom is a comparison in the form in which the index asks for it.
type atom struct {
	kind   kind
	types  expression.Types
	slot   uint32
	bound  float64
	hashes []uint64 // of which the value has one
	text   string   // of part; of prefix and suffix cut to longest
}

// Add adds a rule, of which one of the clauses must hold; rules are added in
// ascending order. Without indexed the rule is always a candidate.
func (b *Builder) Add(rule uint32, clauses []expression.Clause, indexed bool) {
	if !indexed {
		b.always = append(b.always, rule)
		return
	}
	first := len(b.clauses)
	for _, cl := range clauses {
		atoms := make([]atom, 0, len(cl))
		for i := range cl {
			if a := b.atom(&cl[i]); !slices.ContainsFunc(atoms, func(o atom) bool { return o.kind == a.kind && o.slot == a.slot && a.kind != part }) {
				atoms = append(atoms, a)
			}
		}
		b.clauses = append(b.clauses, clause{rule, atoms})
	}
	// A clause that asks for all that another one does, and more, is not needed.
	own := b.clauses[first:]
	for i := len(own) - 1; i >= 0 && len(own) <= fewClauses; i-- {
		if slices.ContainsFunc(own, func(o clause) bool { return len(o.atoms) < len(own[i].atoms) && o.within(&own[i]) }) {
			own = slices.Delete(own, i, i+1)
		}
	}
	b.clauses = b.clauses[:first+len(own)]
}

// within tells whether the other clause has all atoms.
func (c *clause) within(other *clause) bool {
	for i := range c.atoms {
		a := &c.atoms[i]
		if !slices.ContainsFunc(other.atoms, func(o atom) bool {
			return o.question() == a.question() && o.bound == a.bound && o.text == a.text && slices.Equal(o.hashes, a.hashes)
		}) {
			return false
		}
	}
	return true
}

func (b *Builder) atom(from *expression.Atom) atom {
	a := atom{slot: uint32(b.compiler.Slot(from.Term))}
	op, v := from.Op, from.Values
	switch op {
	case expression.Equal, expression.Any, expression.Has:
		a.kind = element
		if op == expression.Equal {
			a.kind = equal
		}
		for _, v := range v {
			a.hashes = append(a.hashes, hashOf(b.seed, v))
		}
		slices.Sort(a.hashes)
		a.hashes = slices.Compact(a.hashes)
	case expression.Prefix:
		text := v[0].(string)
		a.kind, a.text = prefix, text[:min(len(text), longest)]
		a.hashes = []uint64{maphash.String(b.seed, a.text)}
	case expression.Suffix:
		text := v[0].(string)
		a.kind, a.text = suffix, text[max(0, len(text)-longest):]
		a.hashes = []uint64{maphash.String(b.seed, a.text)}
	case expression.Contains:
		a.kind, a.text = part, v[0].(string)
		a.hashes = []uint64{maphash.String(b.seed, a.text)}
	case expression.OfType:
		a.kind, a.types = typed, from.Types
	default:
		b.order(&a, op, v[0])
	}
	return a
}

// order is one of numbers; of texts the index knows that they are texts.
func (b *Builder) order(a *atom, op expression.Op, v any) {
	bound, ok := number(v)
	switch {
	case !ok:
		a.kind, a.types = typed, expression.StringType
	case op == expression.Less || op == expression.LessEqual:
		a.kind, a.bound = below, bound
	default:
		a.kind, a.bound = above, bound
	}
}

// Build makes the index. The builder is of no use afterwards.
func (b *Builder) Build() *Index {
	bl := build{ix: &Index{seed: b.seed}, slots: map[int]struct{}{}}
	refs := make([]ref, len(b.clauses))
	for i := range b.clauses {
		refs[i] = ref{clause: &b.clauses[i], copies: 1}
	}
	bl.node(refs, b.always)
	ix := bl.ix
	ix.table = newTable(bl.hashes, bl.targets)
	if len(bl.slots) > 0 {
		ix.paths = b.compiler.Paths(slices.Sorted(maps.Keys(bl.slots)))
	}
	ix.nodes, ix.splits, ix.guarded = slices.Clip(ix.nodes), slices.Clip(ix.splits), slices.Clip(ix.guarded)
	ix.ids, ix.bounds, ix.sizes = slices.Clip(ix.ids), slices.Clip(ix.bounds), slices.Clip(ix.sizes)
	return ix
}

// build is an index in the making, and what its table will hold.
type build struct {
	ix      *Index
	hashes  []uint64
	targets []uint32
	slots   map[int]struct{} // of nodes with many splits
}

// ref is a clause below some questions.
type ref struct {
	clause *clause
	used   uint32 // atoms that were asked for
	copies uint16
	atom   uint8 // that answers the question in hand
}

func (r *ref) usable(i int) bool {
	return r.used&(1<<i) == 0 && (r.copies == 1 || int(r.copies)*len(r.clause.atoms[i].hashes) <= maxCopies)
}

// use takes an atom as the answer to the question in hand.
func (r *ref) use(i int) {
	r.atom = uint8(i)
	r.used |= 1 << i
}

func (r *ref) current() *atom { return &r.clause.atoms[r.atom] }

// question is what a split asks for.
type question struct {
	kind  kind
	types expression.Types
	slot  uint32
}

func (a *atom) question() question { return question{a.kind, a.types, a.slot} }

// node makes a node that finds the clauses, and always the rules.
func (b *build) node(refs []ref, always []uint32) uint32 {
	at := uint32(len(b.ix.nodes))
	b.ix.nodes = append(b.ix.nodes, node{})
	first := uint32(len(b.ix.guarded))
	if len(refs) <= smallGuarded {
		refs = slices.DeleteFunc(refs, b.guard)
	}
	nd := node{guarded: first, guardedEnd: uint32(len(b.ix.guarded))}
	var parts []answered
	for len(refs) > small {
		q, share, ok := choose(refs)
		if !ok {
			break
		}
		if share < fewOf || len(parts) > manySplits {
			var more []answered
			more, refs = divideAll(refs)
			parts = append(parts, more...)
			break
		}
		var with []ref
		with, refs = divide(refs, q)
		parts = append(parts, answered{q, with})
	}
	if len(parts) > many {
		slices.SortFunc(parts, func(x, y answered) int { return cmp.Compare(x.question.slot, y.question.slot) })
		for _, p := range parts {
			b.slots[int(p.question.slot)] = struct{}{}
		}
	}
	ids := slices.Clone(always)
	for i := range refs {
		ids = append(ids, refs[i].clause.rule)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	nd.splits = uint32(len(b.ix.splits))
	nd.splitsEnd = nd.splits + uint32(len(parts))
	b.ix.splits = append(b.ix.splits, make([]split, len(parts))...)
	nd.ids, nd.idsEnd = b.appendIDs(ids)
	b.ix.nodes[at] = nd
	for i, p := range parts {
		b.split(nd.splits+uint32(i), p)
	}
	return at
}

func (b *build) appendIDs(ids []uint32) (from, to uint32) {
	from = uint32(len(b.ix.ids))
	b.ix.ids = append(b.ix.ids, ids...)
	return from, uint32(len(b.ix.ids))
}

// guards tells whether an atom can stand before a guarded rule.
func (r *ref) guards(i int) bool {
	a := &r.clause.atoms[i]
	return r.used&(1<<i) == 0 && a.kind == equal && len(a.hashes) == 1
}

func (r *ref) guardable() bool {
	for i := range r.clause.atoms {
		if r.guards(i) {
			return true
		}
	}
	return false
}

// guard appends the clause as a guarded rule; false: there is no value left to
// ask for.
func (b *build) guard(r ref) bool {
	g := guarded{rule: r.clause.rule, slots: [guards]uint32{noSlot, noSlot, noSlot}}
	n := 0
	for i := range r.clause.atoms {
		a := &r.clause.atoms[i]
		if n < guards && r.guards(i) {
			g.slots[n], g.hashes[n] = a.slot, uint32(a.hashes[0])
			b.ix.slots = max(b.ix.slots, int(a.slot)+1)
			n++
		}
	}
	if n > 0 {
		b.ix.guarded = append(b.ix.guarded, g)
	}
	return n > 0
}

// target is a node that finds the clauses, or the rule when there is but one.
func (b *build) target(refs []ref) uint32 {
	first := refs[0].clause.rule
	switch {
	case len(refs) <= smallGuarded && !slices.ContainsFunc(refs, func(r ref) bool { return !r.guardable() }):
		for _, r := range refs {
			b.guard(r)
		}
		return uint32(len(b.ix.guarded)-len(refs)) | uint32(len(refs)-1)<<lessOne | leafGuarded
	case !slices.ContainsFunc(refs, func(r ref) bool { return r.clause.rule != first }):
		return first | leafRule
	}
	return b.node(refs, nil)
}

// answered are clauses that have an answer to a question.
type answered struct {
	question question
	refs     []ref
}

// split makes a split of its number.
func (b *build) split(at uint32, p answered) {
	sp := split{kind: p.question.kind, types: p.question.types, slot: p.question.slot}
	switch sp.kind {
	case typed:
		sp.target = b.target(p.refs)
	case above, below:
		slices.SortStableFunc(p.refs, func(x, y ref) int { return cmp.Compare(x.current().bound, y.current().bound) })
		sp.target, sp.from = uint32(len(b.ix.ids)), uint32(len(b.ix.bounds))
		for i := range p.refs {
			b.ix.bounds = append(b.ix.bounds, p.refs[i].current().bound)
			b.ix.ids = append(b.ix.ids, p.refs[i].clause.rule)
		}
		sp.to = uint32(len(b.ix.bounds))
	case part:
		sp.from, sp.to = b.sizes(pieces(p.refs))
		ids := make([]uint32, len(p.refs))
		for i := range p.refs {
			ids[i] = p.refs[i].clause.rule
		}
		b.hashed(at, p.refs)
		slices.Sort(ids)
		ids = slices.Compact(ids)
		sp.target = uint32(len(b.ix.nodes))
		from, to := b.appendIDs(ids)
		b.ix.nodes = append(b.ix.nodes, node{ids: from, idsEnd: to})
	case prefix, suffix:
		sizes := map[uint16]struct{}{}
		for i := range p.refs {
			sizes[uint16(len(p.refs[i].current().text))] = struct{}{}
		}
		sp.from, sp.to = b.sizes(sizes)
		b.hashed(at, p.refs)
	default:
		if sp.kind == equal {
			b.ix.slots = max(b.ix.slots, int(sp.slot)+1)
		}
		b.hashed(at, p.refs)
	}
	b.ix.splits[at] = sp
}

func (b *build) sizes(set map[uint16]struct{}) (from, to uint32) {
	from = uint32(len(b.ix.sizes))
	b.ix.sizes = append(b.ix.sizes, slices.Sorted(maps.Keys(set))...)
	return from, uint32(len(b.ix.sizes))
}

// hashed makes a target for each hash that an atom in hand has.
func (b *build) hashed(at uint32, refs []ref) {
	groups := make(map[uint64][]ref)
	for _, r := range refs {
		a := r.current()
		r.copies = uint16(min(int(r.copies)*len(a.hashes), 1<<16-1))
		for _, h := range a.hashes {
			groups[h] = append(groups[h], r)
		}
	}
	for h, group := range groups {
		target := b.target(group)
		b.hashes, b.targets = append(b.hashes, mix(h, at)), append(b.targets, target)
	}
}

// pieces gives each text its piece that the fewest other texts have, and returns
// the sizes of these pieces.
func pieces(refs []ref) map[uint16]struct{} {
	each := func(text string, f func(hash uint64)) uint16 {
		n := pieceSize(len(text))
		for at := 0; at+n <= len(text); at++ {
			f(pieceHash(text[at : at+n]))
		}
		return uint16(n)
	}
	count := map[uint64]int{}
	for i := range refs {
		each(refs[i].current().text, func(hash uint64) { count[hash]++ })
	}
	sizes := map[uint16]struct{}{}
	for i := range refs {
		a := refs[i].current()
		var best uint64
		n := each(a.text, func(hash uint64) {
			if best == 0 || count[hash] < count[best] {
				best = hash
			}
		})
		a.hashes, sizes[n] = []uint64{best}, struct{}{}
	}
	return sizes
}

// pieceSize is the size of the pieces of a text: few sizes are looked up.
func pieceSize(n int) int {
	for size := piece; size > 1; size /= 2 {
		if n >= size {
			return size
		}
	}
	return 1
}

// tally is what is known of the answers to one question.
type tally struct {
	clauses float64
	hashes  map[uint64]float64
}

// score is how many clauses the question will spare, more or less.
func (t *tally) score(k kind) float64 {
	same := 0.0
	for _, f := range t.hashes {
		same += f / t.clauses * f / t.clauses
	}
	return t.clauses * (1.5 - min(same, 1)) * k.worth()
}

// tallies looks at every step-th clause.
func tallies(refs []ref, step int) map[question]*tally {
	found := map[question]*tally{}
	for i := 0; i < len(refs); i += step {
		r := &refs[i]
		for j := range r.clause.atoms {
			if !r.usable(j) {
				continue
			}
			a := &r.clause.atoms[j]
			t := found[a.question()]
			if t == nil {
				t = &tally{hashes: map[uint64]float64{}}
				found[a.question()] = t
			}
			t.clauses++
			for _, h := range a.hashes {
				t.hashes[h]++
			}
		}
	}
	return found
}

// choose finds the question that spares the most clauses, and the share of the
// clauses that have an answer; false: there is none left.
func choose(refs []ref) (best question, share float64, ok bool) {
	step := max(1, len(refs)/sampled)
	found := tallies(refs, step)
	if len(found) == 0 && step > 1 {
		found = tallies(refs, 1)
		step = 1
	}
	most := 0.0
	for q, t := range found {
		if score := t.score(q.kind); score > most || score == most && q.less(best) {
			best, most = q, score
			share = t.clauses * float64(step) / float64(len(refs))
		}
	}
	return best, share, most > 0
}

func (q question) less(o question) bool {
	return cmp.Or(cmp.Compare(q.kind, o.kind), cmp.Compare(q.slot, o.slot), cmp.Compare(q.types, o.types)) < 0
}

// worth is how cheap and how telling a question is beside the others.
func (k kind) worth() float64 {
	switch k {
	case equal:
		return 1
	case element:
		return 0.8
	case prefix, suffix:
		return 0.7
	case part:
		return 0.4
	}
	return 0.2
}

// divide takes the clauses out that have an answer to the question.
func divide(refs []ref, q question) (with, without []ref) {
	without = refs[:0]
	for _, r := range refs {
		if i := r.answers(q); i >= 0 {
			r.use(i)
			with = append(with, r)
			continue
		}
		without = append(without, r)
	}
	return with, without
}

// answers is the atom that answers the question, -1 for none.
func (r *ref) answers(q question) int {
	for i := range r.clause.atoms {
		if r.usable(i) && r.clause.atoms[i].question() == q {
			return i
		}
	}
	return -1
}

// divideAll gives each clause the best question of its own.
func divideAll(refs []ref) (parts []answered, without []ref) {
	scores := map[question]float64{}
	for q, t := range tallies(refs, 1) {
		scores[q] = t.score(q.kind)
	}
	at := map[question]int{}
	without = refs[:0]
	for _, r := range refs {
		best, most := -1, 0.0
		for i := range r.clause.atoms {
			if score := scores[r.clause.atoms[i].question()]; r.usable(i) && score > most {
				best, most = i, score
			}
		}
		if best < 0 {
			without = append(without, r)
			continue
		}
		q := r.clause.atoms[best].question()
		i, ok := at[q]
		if !ok {
			i = len(parts)
			at[q], parts = i, append(parts, answered{question: q})
		}
		r.use(best)
		parts[i].refs = append(parts[i].refs, r)
	}
	return parts, without
}
