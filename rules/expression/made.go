package expression

import "github.com/pointsman/pointsman/rules/scan"

// made is what has been made of a scan.Doc: whatever paths programs read, no part
// of the text becomes values twice, and no large list or map is searched twice.
type made struct {
	doc *scan.Doc // nil: nothing is found
	// values are lists and maps by the ID of their place; what is in them is made
	// too.
	values map[int]any
	// members and elements are those of what has many of them.
	members  map[int]map[string]scan.Value
	elements map[int][]scan.Value
}

// many is how many members or elements are not searched one by one.
const many = 48

// reset forgets everything and takes another text.
func (m *made) reset(doc *scan.Doc) {
	m.doc = doc
	if len(m.values)+len(m.members)+len(m.elements) > 0 {
		clear(m.values)
		clear(m.members)
		clear(m.elements)
	}
}

func (m *made) below(v scan.Value, st *step) scan.Value {
	if v.Len() < many {
		if st.list {
			return v.Element(st.index)
		}
		return v.Member(st.name)
	}
	if st.list == (v.Kind() == scan.Map) {
		return scan.Value{}
	}
	if st.list {
		all := m.elements[v.ID()]
		if all == nil {
			all = make([]scan.Value, 0, v.Len())
			for e := range v.Elements {
				all = append(all, e)
			}
			if m.elements == nil {
				m.elements = map[int][]scan.Value{}
			}
			m.elements[v.ID()] = all
		}
		i := st.index
		if i < 0 {
			i += int64(len(all))
		}
		if i < 0 || i >= int64(len(all)) {
			return scan.Value{}
		}
		return all[i]
	}
	all := m.members[v.ID()]
	if all == nil {
		all = make(map[string]scan.Value, v.Len())
		for name, e := range v.Members {
			all[name.Text()] = e
		}
		if m.members == nil {
			m.members = map[int]map[string]scan.Value{}
		}
		m.members[v.ID()] = all
	}
	return all[st.name]
}

// value is what is at the place that the path leads to.
func (m *made) value(v scan.Value, path []step) any {
	if k := v.Kind(); k != scan.List && k != scan.Map {
		return v.Scalar()
	}
	if len(m.values) == 0 {
		if m.values == nil {
			m.values = map[int]any{}
		}
		all := v.Any()
		m.values[v.ID()] = all
		return all
	}
	// It may lie in something that is made, or such things in it.
	at := m.doc.Root()
	for i := range path {
		if around, ok := m.values[at.ID()]; ok {
			all, _ := walk(around, path[i:])
			return all
		}
		at = m.below(at, &path[i])
	}
	all := v.AnyBut(func(v scan.Value) (any, bool) {
		known, ok := m.values[v.ID()]
		return known, ok
	})
	m.values[v.ID()] = all
	return all
}
