package expression

// Left is how many steps are left.
func (s *State) Left() int { return s.steps }
