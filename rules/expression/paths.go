package expression

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

// Present appends the slots of p whose value is not nil, in no order.
func (s *State) Present(p *Paths, to []uint32) []uint32 { return s.present(p, s.roots[0], to) }

func (s *State) present(p *Paths, v any, to []uint32) []uint32 {
	if v == nil {
		return to
	}
	if p.slot >= 0 {
		if !s.known[p.slot] {
			s.known[p.slot], s.values[p.slot] = true, v
			s.loaded = append(s.loaded, p.slot)
		}
		to = append(to, uint32(p.slot))
	}
	switch v := v.(type) {
	case map[string]any:
		if len(v) < len(p.names) {
			for name, e := range v {
				if below, ok := p.names[name]; ok {
					to = s.present(below, e, to)
				}
			}
			return to
		}
		for name, below := range p.names {
			to = s.present(below, v[name], to)
		}
	case []any:
		if 2*len(v) < len(p.items) {
			for i, e := range v {
				for _, at := range [...]int64{int64(i), int64(i - len(v))} {
					if below, ok := p.items[at]; ok {
						to = s.present(below, e, to)
					}
				}
			}
			return to
		}
		for i, below := range p.items {
			e, _ := element(v, i)
			to = s.present(below, e, to)
		}
	}
	return to
}
