package expression

import "github.com/pointsman/pointsman/rules/scan"

// Paths finds out which of many slots an event has, in a time that grows with
// the smaller of the two. It is immutable.
type Paths struct {
	slot  int // -1: no slot ends here
	names map[string]*Paths
	items map[int64]*Paths
}

// Paths makes a Paths of slots below the first name.
func (c *Compiler) Paths(slots []int) *Paths {
	root := &Paths{slot: -1}
	for _, i := range slots {
		p := root
		for _, st := range c.slots[i].path {
			p = p.below(st)
		}
		p.slot = i
	}
	return root
}

// below is the place one step below, made where there is none.
func (p *Paths) below(st step) *Paths {
	if st.list {
		if p.items == nil {
			p.items = map[int64]*Paths{}
		}
		if p.items[st.index] == nil {
			p.items[st.index] = &Paths{slot: -1}
		}
		return p.items[st.index]
	}
	if p.names == nil {
		p.names = map[string]*Paths{}
	}
	if p.names[st.name] == nil {
		p.names[st.name] = &Paths{slot: -1}
	}
	return p.names[st.name]
}

// Present appends the slots of p that the *scan.Doc has and whose value is not
// nil, in no order.
func (s *State) Present(p *Paths, to []uint32) []uint32 {
	return s.present(p, s.made.doc.Root(), to)
}

func (s *State) present(p *Paths, v scan.Value, to []uint32) []uint32 {
	kind := v.Kind()
	if kind == scan.None || kind == scan.Null {
		return to
	}
	if p.slot >= 0 {
		if !s.known[p.slot].found {
			s.found(p.slot, v)
		}
		to = append(to, uint32(p.slot))
	}
	switch kind {
	case scan.Map:
		if len(p.names) <= fewNames {
			for name, below := range p.names {
				to = s.present(below, s.made.below(v, &step{name: name}), to)
			}
			return to
		}
		for name, e := range v.Members {
			if below, ok := p.names[name.Text()]; ok {
				to = s.present(below, e, to)
			}
		}
	case scan.List:
		if len(p.items) <= fewNames || len(p.items) < v.Len()/2 {
			for i, below := range p.items {
				to = s.present(below, s.made.below(v, &step{index: i, list: true}), to)
			}
			return to
		}
		i, n := int64(0), int64(v.Len())
		for e := range v.Elements {
			for _, at := range [...]int64{i, i - n} {
				if below, ok := p.items[at]; ok {
					to = s.present(below, e, to)
				}
			}
			i++
		}
	}
	return to
}

// fewNames is how many names are looked up one by one.
const fewNames = 2
