package expression

import (
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// noted are the functions whose result says little without what they looked at.
var noted = []string{
	"became", "between", "changed", "duration", "equalFold", "glob", "inCIDR", "isIP", "isPrivate", "secondsBetween",
	"timeOfDay", "unixTime", "versionCompare", "weekday",
}

// note shows what such a function saw, as in
//
//	inCIDR(event.data.ip, "10.0.0.0/8") is false (event.data.ip is "192.0.2.1")
//
// It is empty for any other node.
func (e *explainer) note(n ast.Node) string {
	b, ok := n.(*ast.BuiltinNode)
	if !ok || !slices.Contains(noted, b.Name) {
		return ""
	}
	seen := e.snapshotsSeen(b)
	if seen == nil {
		var operands []ast.Node
		for _, arg := range b.Arguments {
			e.operands(arg, &operands)
		}
		for _, o := range operands {
			// What cannot be shown alone, such as #, is left out.
			if s, err := e.shown(o); err == nil && !slices.Contains(seen, s) {
				seen = append(seen, s)
			}
		}
	}
	if len(seen) == 0 {
		return ""
	}
	return " (" + strings.Join(seen, ", ") + ")"
}

// snapshotsSeen is what changed and became saw, which their text does not name.
func (e *explainer) snapshotsSeen(b *ast.BuiltinNode) []string {
	own := map[string]int{"changed": 1, "became": 2}[b.Name]
	if own == 0 {
		return nil
	}
	path, err := e.unit.changePath(b)
	if err != nil {
		return nil
	}
	var both any
	if len(b.Arguments) > own {
		if both, err = e.eval(b.Arguments[own]); err != nil {
			return nil
		}
	} else {
		sl := slot{root: slices.Index(e.unit.c.names, eventName), path: snapshotsPath}
		both, _ = sl.lookup(e.roots)
	}
	var seen []string
	for _, side := range []string{beforeName, afterName} {
		snapshot := member(both, side)
		if snapshot == nil {
			seen = append(seen, side+" is missing")
			continue
		}
		seen = append(seen, side+"."+strings.Join(path, ".")+" is "+Show(at(snapshot, path)))
	}
	return seen
}
