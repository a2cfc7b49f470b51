package expression

import (
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// The snapshots of an object before and after its change, as NetBox and
// Nautobot send them in the body of a webhook.
const (
	eventName  = "event"
	beforeName = "prechange"
	afterName  = "postchange"
)

// snapshotsPath is where they are in an event.
var snapshotsPath = []step{{name: "data"}, {name: "snapshots"}}

// changeFunction finds the tests of what a change did.
func changeFunction(name string) (function, bool) {
	switch name {
	case "changed":
		return function{min: 1, max: 2, bind: bindChange}, true
	case "became":
		return function{min: 2, max: 3, bind: bindChange}, true
	}
	return function{}, false
}

// bindChange compiles changed(path, snapshots?) and became(path, value,
// snapshots?).
func bindChange(u *unit, n *ast.BuiltinNode) (builtin, error) {
	path, err := u.changePath(n)
	if err != nil {
		return nil, err
	}
	own := 1 // arguments without the snapshots
	if n.Name == "became" {
		own = 2
	}
	snapshots := func(_ *State, a []any) any { return a[own] }
	if len(n.Arguments) == own {
		root := slices.Index(u.c.names, eventName)
		if root < 0 {
			return nil, u.fail(n, `%s looks at event.data.snapshots, and there is no event here (name the snapshots last: body.snapshots)`, n.Name)
		}
		u.reads = true
		slot := u.c.slot(root, snapshotsPath)
		snapshots = func(s *State, _ []any) any { return s.load(slot) }
	}
	return func(s *State, a []any) (any, error) {
		both := snapshots(s, a)
		before, after := at(member(both, beforeName), path), at(member(both, afterName), path)
		if err := s.spend(len(path) / 8); err != nil {
			return nil, err
		}
		if own == 1 {
			same, err := equal(s, before, after)
			return !same, err
		}
		if member(both, afterName) == nil {
			return false, nil // what is gone has become nothing
		}
		is, err := equal(s, after, a[1])
		if err != nil || !is {
			return false, err
		}
		was, err := equal(s, before, a[1])
		return !was, err
	}, nil
}

// changePath reads the path, which must be written out: names with dots
// between.
func (u *unit) changePath(n *ast.BuiltinNode) ([]string, error) {
	text, ok := n.Arguments[0].(*ast.StringNode)
	if !ok {
		return nil, u.fail(n.Arguments[0], `the field of %s must be written out, such as "status" or "custom_fields.owner"`, n.Name)
	}
	path := strings.Split(text.Value, ".")
	if slices.Contains(path, "") {
		return nil, u.fail(n.Arguments[0], `bad field %q (write names with a dot between, such as "status" or "custom_fields.owner")`, text.Value)
	}
	switch path[0] {
	case "event", "data", "snapshots", beforeName, afterName:
		return nil, u.fail(n.Arguments[0], `the field %q begins within the snapshots (write it as "status" or "custom_fields.owner")`, text.Value)
	}
	return path, nil
}

// at is the value below v; a name of digits is a position where there is a list.
func at(v any, path []string) any {
	for _, name := range path {
		list, ok := v.([]any)
		if !ok {
			v = member(v, name)
			continue
		}
		i, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			return nil
		}
		v, _ = element(list, i)
	}
	return v
}
