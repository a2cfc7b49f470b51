// Package index finds the rules that an event may concern without trying each.
// It knows of every rule some comparisons of which one set must hold, and looks
// the values of the event up in them. What it finds is a superset: a rule it
// leaves out is certainly false, a rule it names has to be evaluated.
package index

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"math"
	"slices"
	"sort"

	"github.com/pointsman/pointsman/rules/expression"
	"github.com/pointsman/pointsman/rules/scan"
)

// Index is immutable and safe for concurrent use.
type Index struct {
	seed   maphash.Seed
	nodes  []node // the first is the root
	splits []split
	// guarded are rules with what else the event must have.
	guarded []guarded
	// ids are rules: those that nodes try whatever the event is, and those of
	// bounds.
	ids    []uint32
	bounds []float64
	sizes  []uint16
	table  table
	// paths are the slots of nodes with many splits; nil: there are none.
	paths *expression.Paths
	slots int // beyond the last one whose value is hashed
}

// node is rules to try, rules to try under a guard, and questions that lead to
// other nodes: many of them ordered by slot.
type node struct{ ids, idsEnd, guarded, guardedEnd, splits, splitsEnd uint32 }

// guarded is a rule that is tried when the values of slots have these hashes.
// It spares a look at the rule itself, which is far off in memory.
type guarded struct {
	rule   uint32
	slots  [guards]uint32 // noSlot: nothing more is asked
	hashes [guards]uint32 // the lower halves
}

const (
	guards = 3
	noSlot = math.MaxUint32
)

// kind is how a split asks for a value.
type kind uint8

const (
	equal   kind = iota + 1 // the value
	element                 // each element of a list or key of a map
	prefix                  // the beginning of a text, in each size
	suffix                  // its end
	part                    // each piece of it, in each size
	above                   // numbers that are not less than a bound
	below                   // numbers that are not greater
	typed                   // its type
)

// split is one question about the value of a slot. For the first five the table
// knows where a hash of the value leads.
type split struct {
	kind  kind
	types expression.Types // of typed
	slot  uint32
	// from and to are a part of sizes (prefix, suffix, part) or of bounds (above,
	// below).
	from, to uint32
	// target is that of typed; of above and below where the ids of the bounds
	// begin; of part the node with all rules, for a text too long to be looked
	// up in pieces.
	target uint32
}

// many is how many splits a node looks at without asking which slots there are.
const many = 48

// A target is a node, or with one of these marks a rule or some guarded rules:
// the number of the first, and from lessOne on how many follow it.
const (
	leafRule    = 1 << 31
	leafGuarded = 1 << 30
	lessOne     = 27
)

// longest is the longest prefix and suffix, in bytes, that is looked up. What
// follows is left to the rule.
const longest = 64

// piece is the longest piece of a text that is looked up.
const piece = 8

// About how many nanoseconds it takes to look a piece up and to evaluate a rule,
// and how many bytes of a text a rule searches in one.
const (
	pieceCost = 5
	ruleCost  = 100
	textRate  = 10
)

// Search is the memory of searches, one after the other; the zero Search is
// ready.
type Search struct {
	ix    *Index
	s     *expression.State
	found []uint32
	// present are the slots of paths that the event has, in order.
	present []uint32
	// hashes are those of the values of slots, as far as they are of this event.
	hashes []hashed
	event  uint32
}

type hashed struct {
	hash  uint64
	event uint32
}

// Candidates returns the rules that the event of the state may concern, in
// ascending order, each once. They are valid until the next search.
func (w *Search) Candidates(ix *Index, s *expression.State) []uint32 {
	w.ix, w.s, w.found, w.present = ix, s, w.found[:0], w.present[:0]
	if w.event++; len(w.hashes) < ix.slots || w.event == 0 {
		w.hashes, w.event = make([]hashed, ix.slots), 1
	}
	if ix.paths != nil {
		w.present = s.Present(ix.paths, w.present)
		slices.Sort(w.present)
	}
	w.node(0)
	slices.Sort(w.found)
	return slices.Compact(w.found)
}

func (w *Search) follow(target uint32) {
	switch {
	case target&leafRule != 0:
		w.found = append(w.found, target&^leafRule)
	case target&leafGuarded != 0:
		first := target & (1<<lessOne - 1)
		w.guarded(w.ix.guarded[first : first+(target&^leafGuarded)>>lessOne+1])
	default:
		w.node(target)
	}
}

func (w *Search) guarded(list []guarded) {
next:
	for i := range list {
		g := &list[i]
		for k, slot := range g.slots {
			if slot != noSlot && uint32(w.hash(slot)) != g.hashes[k] {
				continue next
			}
		}
		w.found = append(w.found, g.rule)
	}
}

// hash is that of the value of a slot, reckoned once.
func (w *Search) hash(slot uint32) uint64 {
	h := &w.hashes[slot]
	if h.event != w.event {
		*h = hashed{w.slotHash(slot), w.event}
	}
	return h.hash
}

func (w *Search) node(n uint32) {
	nd := &w.ix.nodes[n]
	w.found = append(w.found, w.ix.ids[nd.ids:nd.idsEnd]...)
	w.guarded(w.ix.guarded[nd.guarded:nd.guardedEnd])
	if nd.splitsEnd-nd.splits > many {
		w.manySplits(nd)
		return
	}
	for i := nd.splits; i < nd.splitsEnd; i++ {
		sp := &w.ix.splits[i]
		if v := w.s.Place(int(sp.slot)); v.Kind() > scan.Null {
			w.split(i, sp, v)
		}
	}
}

// manySplits looks only at those whose slot the event has.
func (w *Search) manySplits(nd *node) {
	splits := w.ix.splits[nd.splits:nd.splitsEnd]
	for _, slot := range w.present {
		i, _ := slices.BinarySearchFunc(splits, slot, func(sp split, slot uint32) int { return cmp.Compare(sp.slot, slot) })
		for ; i < len(splits) && splits[i].slot == slot; i++ {
			w.split(nd.splits+uint32(i), &splits[i], w.s.Place(int(slot)))
		}
	}
}

func (w *Search) split(i uint32, sp *split, v scan.Value) {
	switch sp.kind {
	case equal:
		w.look(i, w.hash(sp.slot))
	case element:
		for e := range v.Elements {
			w.look(i, placeHash(w.ix.seed, e))
		}
		for name := range v.Members {
			w.look(i, maphash.String(w.ix.seed, name.Text()))
		}
	case typed:
		if typeOf(v)&sp.types != 0 {
			w.follow(sp.target)
		}
	case above, below:
		if f, ok := v.Number(); ok {
			w.bounds(sp, f)
		}
	default:
		if text, ok := w.s.Text(int(sp.slot)); ok {
			w.text(i, sp, text)
		}
	}
}

// slotHash is the hashOf of the value of a slot.
func (w *Search) slotHash(slot uint32) uint64 {
	if text, ok := w.s.Text(int(slot)); ok {
		return maphash.String(w.ix.seed, text)
	}
	return placeHash(w.ix.seed, w.s.Place(int(slot)))
}

func (w *Search) look(split uint32, hash uint64) {
	if target, ok := w.ix.table.find(mix(hash, split)); ok {
		w.follow(target)
	}
}

func (w *Search) text(i uint32, sp *split, text string) {
	sizes := w.ix.sizes[sp.from:sp.to]
	if sp.kind == part {
		all := &w.ix.nodes[sp.target]
		if rules := int(all.idsEnd - all.ids); len(text)*len(sizes)*pieceCost > rules*(ruleCost+len(text)/textRate) {
			w.found = append(w.found, w.ix.ids[all.ids:all.idsEnd]...)
			return
		}
		for _, n := range sizes {
			for at := 0; at+int(n) <= len(text); at++ {
				w.look(i, pieceHash(text[at:at+int(n)]))
			}
		}
		return
	}
	for _, n := range sizes {
		switch {
		case int(n) > len(text):
			return // sizes ascend
		case sp.kind == prefix:
			w.look(i, maphash.String(w.ix.seed, text[:n]))
		default:
			w.look(i, maphash.String(w.ix.seed, text[len(text)-int(n):]))
		}
	}
}

// bounds takes the rules whose bound v reaches.
func (w *Search) bounds(sp *split, v float64) {
	list := w.ix.bounds[sp.from:sp.to]
	ids := w.ix.ids[sp.target : sp.target+sp.to-sp.from]
	if sp.kind == above {
		w.found = append(w.found, ids[:sort.Search(len(list), func(i int) bool { return list[i] > v })]...)
		return
	}
	w.found = append(w.found, ids[sort.SearchFloat64s(list, v):]...)
}

// Hashes of values that are equal are the same; those of others may be.
const (
	nilHash   = 0x9e3779b97f4a7c15
	falseHash = 0xbf58476d1ce4e5b9
	trueHash  = 0x94d049bb133111eb
	listHash  = 0xd6e8feb86659fd93
	mapHash   = 0xa0761d6478bd642f
)

func hashOf(seed maphash.Seed, v any) uint64 {
	switch v := v.(type) {
	case string:
		return maphash.String(seed, v)
	case bool:
		if v {
			return trueHash
		}
		return falseHash
	case int64:
		return numberHash(float64(v))
	case float64:
		return numberHash(v)
	case []any:
		return listHash
	case map[string]any:
		return mapHash
	}
	return nilHash
}

// placeHash is the hashOf of what is at a place.
func placeHash(seed maphash.Seed, v scan.Value) uint64 {
	switch v.Kind() {
	case scan.Text:
		return maphash.String(seed, v.Text())
	case scan.True:
		return trueHash
	case scan.False:
		return falseHash
	case scan.Int, scan.Float:
		f, _ := v.Number()
		return numberHash(f)
	case scan.List:
		return listHash
	case scan.Map:
		return mapHash
	}
	return nilHash
}

// typeOf is the expression.TypesOf of what is at a place.
func typeOf(v scan.Value) expression.Types {
	switch v.Kind() {
	case scan.Text:
		return expression.TypesOf("")
	case scan.List:
		return expression.TypesOf([]any(nil))
	case scan.Map:
		return expression.TypesOf(map[string]any(nil))
	}
	return expression.TypesOf(v.Scalar())
}

// numberHash is one for 0 and -0, and for integers that round to one float.
func numberHash(f float64) uint64 {
	if f == 0 {
		f = 0
	}
	return scramble(math.Float64bits(f))
}

// pieceHash is that of a text of at most 8 bytes.
func pieceHash(text string) uint64 {
	var b [piece]byte
	copy(b[:], text)
	return scramble(binary.LittleEndian.Uint64(b[:]) + uint64(len(text)))
}

func scramble(x uint64) uint64 {
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}

// mix is the hash of a value for one split.
func mix(hash uint64, split uint32) uint64 {
	x := (hash ^ uint64(split)*nilHash) * 0xd6e8feb86659fd93
	return x ^ x>>32
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// table leads from hashes to targets.
type table []place

// place has hash 0 when it is free.
type place struct {
	hash   uint64
	target uint32
}

func (t table) find(hash uint64) (uint32, bool) {
	if len(t) == 0 {
		return 0, false
	}
	hash |= 1
	mask := uint64(len(t) - 1)
	for i := hash >> 20 & mask; t[i].hash != 0; i = (i + 1) & mask {
		if t[i].hash == hash {
			return t[i].target, true
		}
	}
	return 0, false
}

// newTable makes a table that is at most two thirds full.
func newTable(hashes []uint64, targets []uint32) table {
	if len(hashes) == 0 {
		return nil
	}
	size := 8
	for size*2 < len(hashes)*3 {
		size *= 2
	}
	t := make(table, size)
	mask := uint64(size - 1)
	for n, hash := range hashes {
		hash |= 1
		i := hash >> 20 & mask
		for t[i].hash != 0 {
			i = (i + 1) & mask
		}
		t[i] = place{hash, targets[n]}
	}
	return t
}
