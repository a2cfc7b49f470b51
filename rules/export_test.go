package rules

// MatchValue is Match of an event whose Value is v.
func (rs *Ruleset) MatchValue(v map[string]any) []Match { return rs.match(v, nil) }

// ExplainValue is Explain of an event whose Value is v.
func (rs *Ruleset) ExplainValue(v map[string]any) []Explanation { return rs.explain(rs.rules, v) }

// MatchEach is MatchValue that tries every rule.
func (rs *Ruleset) MatchEach(v map[string]any) []Match {
	s := rs.state(v)
	defer rs.release(s)
	return s.each(rs.rules, nil)
}
