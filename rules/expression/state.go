package expression

import "github.com/pointsman/pointsman/rules/scan"

// State is what programs run on: the values of the names, the paths looked up so
// far, and the steps left. It is not safe for concurrent use; keep one for each
// goroutine, or a pool.
type State struct {
	slots []slot // the Compiler's, read only
	roots []any
	known []known // of each slot
	// loaded are the slots of which something is known.
	loaded []int
	made   made
	// memos are what shared parts came to, and remembered those that are known.
	memos      []memo
	remembered []int
	locals     []any
	scopes     [MaxPredicates]scope
	// steps are left of allowed.
	steps, allowed int
}

// known is what is known of a slot: where its value is in a *scan.Doc, and the
// value.
type known struct {
	found, made bool
	place       int32 // its ID, -1 for none
	value       any
}

// scope is the element a predicate looks at.
type scope struct {
	item  any
	index int
}

// slot is a static path below one name.
type slot struct {
	root int
	path []step
	// parent is the slot of a path that begins it, if it has steps.
	parent int
}

// step is a map key or, when name is empty and list is set, a list index.
type step struct {
	name  string
	index int64
	list  bool
}

// Reset gives the names their values, in the order of NewCompiler, and forgets
// everything of the values before. MaxSteps are allowed from here on. The first
// may be a *scan.Doc: what programs read of it is looked up in the text, and only
// that becomes values, each at most once.
func (s *State) Reset(roots ...any) {
	s.roots = append(s.roots[:0], roots...)
	for _, i := range s.loaded {
		s.known[i] = known{}
	}
	s.loaded = s.loaded[:0]
	var doc *scan.Doc
	if len(roots) > 0 {
		doc, _ = roots[0].(*scan.Doc)
	}
	s.made.reset(doc)
	for _, i := range s.remembered {
		s.memos[i] = memo{}
	}
	s.remembered = s.remembered[:0]
	clear(s.locals)
	s.scopes = [MaxPredicates]scope{}
	s.Allow(MaxSteps)
}

// Replace gives one name another value and keeps the steps left.
func (s *State) Replace(name int, value any) {
	left, allowed := s.steps, s.allowed
	s.roots[name] = value
	s.Reset(s.roots...)
	s.steps, s.allowed = left, allowed
}

// Allow sets how many steps the programs that run from here on may spend, all
// together.
func (s *State) Allow(steps int) { s.steps, s.allowed = steps, steps }

// Overrun tells whether a program would have spent more than was allowed. Every
// program fails then until Allow or Reset.
func (s *State) Overrun() bool { return s.steps < 0 }

// Place is where the value of a path that Compiler.Slot has numbered is in the
// *scan.Doc, none when it is missing.
func (s *State) Place(i int) scan.Value {
	k := &s.known[i]
	if !k.found {
		at := s.made.doc.Root()
		if sl := &s.slots[i]; len(sl.path) > 0 {
			at = s.Place(sl.parent)
			for n := len(s.slots[sl.parent].path); n < len(sl.path); n++ {
				at = s.made.below(at, &sl.path[n])
			}
		}
		s.found(i, at)
	}
	if k.place < 0 {
		return scan.Value{}
	}
	return s.made.doc.At(int(k.place))
}

func (s *State) found(i int, at scan.Value) {
	id := int32(-1)
	if at.Kind() != scan.None {
		id = int32(at.ID())
	}
	s.known[i].found, s.known[i].place = true, id
	s.loaded = append(s.loaded, i)
}

// Text is the value of a slot that is a text. It makes no value where the text
// stands as it is in a *scan.Doc.
func (s *State) Text(i int) (text string, ok bool) {
	if s.made.doc != nil && s.slots[i].root == 0 && !s.known[i].made {
		at := s.Place(i)
		if at.Kind() != scan.Text {
			return "", false
		}
		if text, ok = at.Plain(); ok {
			return text, true
		}
	}
	text, ok = s.load(i).(string)
	return text, ok
}

func (s *State) load(i int) any {
	k := &s.known[i]
	switch {
	case k.made:
	case s.made.doc != nil && s.slots[i].root == 0:
		k.value = s.made.value(s.Place(i), s.slots[i].path)
	default:
		k.value, _ = s.slots[i].lookup(s.roots)
		s.loaded = append(s.loaded, i)
	}
	k.made = true
	return k.value
}

// lookup also tells whether the field is there at all.
func (sl *slot) lookup(roots []any) (v any, ok bool) {
	return walk(roots[sl.root], sl.path)
}

// walk goes down from v.
func walk(v any, path []step) (_ any, ok bool) {
	for i := range path {
		st := &path[i]
		if st.list {
			list, _ := v.([]any)
			if v, ok = element(list, st.index); !ok {
				return nil, false
			}
			continue
		}
		m, _ := v.(map[string]any)
		if v, ok = m[st.name]; !ok {
			return nil, false
		}
	}
	return v, true
}

// element is list[i]; a negative i counts from the end.
func element(list []any, i int64) (any, bool) {
	if i < 0 {
		i += int64(len(list))
	}
	if i < 0 || i >= int64(len(list)) {
		return nil, false
	}
	return list[i], true
}

// member is v[prop]: nil whenever there is no such thing.
func member(v, prop any) any {
	switch p := prop.(type) {
	case string:
		m, _ := v.(map[string]any)
		return m[p]
	case int64:
		list, _ := v.([]any)
		e, _ := element(list, p)
		return e
	}
	return nil
}

// spend takes n steps from the budget.
func (s *State) spend(n int) error {
	s.steps -= n
	if s.steps < 0 {
		return &stepsError{s.allowed}
	}
	return nil
}

// scan pays for reading n bytes of strings once, rate bytes for a step.
func (s *State) scan(n, rate int) error {
	if n < rate {
		return nil
	}
	return s.spend(n / rate)
}

// size is the length of a string, 0 of anything else.
func size(v any) int {
	str, _ := v.(string)
	return len(str)
}
