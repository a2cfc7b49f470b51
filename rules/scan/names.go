package scan

import (
	"bytes"
	"hash/maphash"
)

// manyNames is how many members an object has when its names go into a table:
// the others are compared one by one with those that may be the same.
const manyNames = 48

// nameTable holds the names of large objects. Its hash has a seed, so that
// nobody can make names that all fall on one place.
type nameTable struct {
	seed   maphash.Seed
	places []place
	used   int
}

// place is a name; hash 0 is a free place.
type place struct {
	hash         uint64
	object, name uint32 // their nodes
}

// isKnown tells whether the object has the name of the last node already.
func (s *Scanner) isKnown(f *frame) bool {
	last := len(s.doc.nodes) - 1
	if f.count < manyNames {
		for i := f.at + header; i < last; i = s.doc.behind(i + 1) {
			if s.sameName(i, last) {
				return true
			}
		}
		return false
	}
	if f.count == manyNames { // those before it go in now
		for i := f.at + header; i < last; i = s.doc.behind(i + 1) {
			if s.enter(f.at, i) {
				return true
			}
		}
	}
	return s.enter(f.at, last)
}

// duplicate is the fault of a name that is there twice.
func (s *Scanner) duplicate(name node) int {
	s.err = &Error{Fault: Duplicate, Offset: name.begin() - 1}
	if s.open == 1 {
		s.err.Name = string(s.nameOf(0, name))
	}
	return -1
}

func (s *Scanner) nameOf(room int, n node) []byte {
	if n.kind() == escaped {
		return s.unescape(room, n.begin(), n.begin()+n.size())
	}
	return s.doc.text[n.begin() : n.begin()+n.size()]
}

func (s *Scanner) sameName(i, j int) bool {
	a, b := s.doc.nodes[i], s.doc.nodes[j]
	if a.kind() == Text && b.kind() == Text {
		text := s.doc.text
		return a.size() == b.size() && string(text[a.begin():a.begin()+a.size()]) == string(text[b.begin():b.begin()+b.size()])
	}
	return bytes.Equal(s.nameOf(0, a), s.nameOf(1, b))
}

// enter puts a name of an object into the table and tells whether it was there.
func (s *Scanner) enter(object, name int) bool {
	t := &s.names
	if 2*t.used >= len(t.places) {
		t.grow()
	}
	// One table is for all objects: each has hashes of its own.
	hash := (maphash.Bytes(t.seed, s.nameOf(0, s.doc.nodes[name])) ^ uint64(object)*0x9e3779b97f4a7c15) | 1
	mask := uint64(len(t.places) - 1)
	for i := hash >> 20 & mask; ; i = (i + 1) & mask {
		p := &t.places[i]
		if p.hash == 0 {
			*p = place{hash, uint32(object), uint32(name)}
			t.used++
			return false
		}
		if p.hash == hash && p.object == uint32(object) && s.sameName(int(p.name), name) {
			return true
		}
	}
}

func (t *nameTable) grow() {
	if len(t.places) == 0 {
		t.seed, t.places = maphash.MakeSeed(), make([]place, 256)
		return
	}
	old := t.places
	t.places = make([]place, 4*len(old))
	mask := uint64(len(t.places) - 1)
	for _, p := range old {
		if p.hash == 0 {
			continue
		}
		i := p.hash >> 20 & mask
		for t.places[i].hash != 0 {
			i = (i + 1) & mask
		}
		t.places[i] = p
	}
}

func (t *nameTable) reset() {
	if t.used > 0 {
		clear(t.places)
		t.used = 0
	}
}

func (t *nameTable) forget() {
	if len(t.places) > keptNodes {
		t.places, t.used = nil, 0
	}
}
