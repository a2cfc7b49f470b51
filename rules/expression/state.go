package expression

// State is what programs run on: the values of the names, the paths looked up so
// far, and the steps left. It is not safe for concurrent use; keep one for each
// goroutine, or a pool.
type State struct {
	slots  []slot // the Compiler's, read only
	roots  []any
	values []any
	known  []bool
	// loaded are the slots that are known.
	loaded []int
	// memos are what shared parts came to, and remembered those that are known.
	memos      []memo
	remembered []int
	locals     []any
	scopes     [MaxPredicates]scope
	// steps are left of allowed.
	steps, allowed int
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
}

// step is a map key or, when name is empty and list is set, a list index.
type step struct {
	name  string
	index int64
	list  bool
}

// Reset gives the names their values, in the order of NewCompiler, and forgets
// everything of the values before. MaxSteps are allowed from here on.
func (s *State) Reset(roots ...any) {
	s.roots = append(s.roots[:0], roots...)
	for _, i := range s.loaded {
		s.values[i], s.known[i] = nil, false
	}
	s.loaded = s.loaded[:0]
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

// Slot is the value of a path that Compiler.Slot has numbered, nil when it is
// missing.
func (s *State) Slot(i int) any { return s.load(i) }

func (s *State) load(i int) any {
	if !s.known[i] {
		s.known[i] = true
		s.loaded = append(s.loaded, i)
		s.values[i], _ = s.slots[i].lookup(s.roots)
	}
	return s.values[i]
}

// lookup also tells whether the field is there at all.
func (sl *slot) lookup(roots []any) (v any, ok bool) {
	v = roots[sl.root]
	for i := range sl.path {
		st := &sl.path[i]
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
