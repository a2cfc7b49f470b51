package rules

import (
	"maps"
	"slices"
	"strconv"

	"github.com/pointsman/pointsman/rules/expression"
	"github.com/pointsman/pointsman/rules/scan"
)

// MatchValue is Match of an event whose Value is v.
func (rs *Ruleset) MatchValue(v map[string]any) []Match {
	var s scan.Scanner
	if _, err := s.Scan(appendValue(nil, v), 0, storedDepth); err != nil {
		panic(err)
	}
	return rs.match(s.Doc(), nil)
}

// appendValue writes v so that it is read as v: a float keeps its exponent.
func appendValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case float64:
		return strconv.AppendFloat(dst, v, 'e', -1, 64)
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, e)
		}
		return append(dst, ']')
	case map[string]any:
		dst = append(dst, '{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendValue(dst, name), ':')
			dst = appendValue(dst, v[name])
		}
		return append(dst, '}')
	}
	dst, err := expression.AppendJSON(dst, v)
	if err != nil {
		panic(err)
	}
	return dst
}

// ExplainValue is Explain of an event whose Value is v.
func (rs *Ruleset) ExplainValue(v map[string]any) []Explanation { return rs.explain(rs.rules, v) }

// MatchEach is MatchValue that tries every rule, on values and not on JSON text.
func (rs *Ruleset) MatchEach(v map[string]any) []Match {
	s := rs.state(v)
	defer rs.release(s)
	return s.each(rs.rules, nil)
}

// Scanned is the event's text, scanned for MatchScanned.
func (e *Event) Scanned() *scan.Doc { return e.take() }

// MatchScanned is Match of an event that is scanned: Match of an event that has
// been matched before scans it again.
func (rs *Ruleset) MatchScanned(doc *scan.Doc) []Match { return rs.match(doc, nil) }
