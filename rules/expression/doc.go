// Package expression compiles and runs the expressions of rules. The syntax is
// that of expr-lang, read by expr-lang's own parser; what an expression means is
// defined here, because rules need a semantics that never fails on a missing
// field, keeps integers exact, and ends within a bounded number of steps.
//
// The way of a text is: limits (prescan), syntax tree (parse), allow-list and
// translation (compile) into Go closures over slots. A slot is one static path
// such as event.data.site; the slots of all programs of a Compiler are shared,
// so each path of an event is looked up at most once whatever the number of
// programs that read it.
//
// Values are nil, bool, int64, float64, string, []any and map[string]any, as
// they come from JSON, and nothing else.
package expression

import (
	"errors"
	"fmt"
)

// Limits of one expression. They keep the parser's stack, the memory of a
// program and the time of a run small whatever a rule file holds.
const (
	// MaxSource is the longest expression, in bytes.
	MaxSource = 16 << 10
	// MaxNesting is how deep brackets and unary operators may be nested.
	MaxNesting = 64
	// MaxPredicates is how deep predicates (any, filter, ...) may be nested.
	MaxPredicates = 2
	// MaxRange is the largest number of elements of a range such as 1..10.
	MaxRange = 1000
	// MaxSteps is what all programs may spend on a State between two calls of
	// Reset or Allow: one step for each element a predicate or a list function
	// looks at, one for each function, and more for large predicates and for work
	// on long strings. Prices are set so that a step takes at most 250 ns and 64
	// bytes: MaxSteps are within 250 ms and 64 MiB.
	MaxSteps = 1_000_000
	// maxString is the longest string an expression may build, in bytes.
	maxString = 8 << 20
)

// Error is a fault in the text of an expression.
type Error struct {
	// Offset is the byte position in the text.
	Offset int
	Msg    string
}

func (e *Error) Error() string { return e.Msg }

// ErrSteps is the error, by errors.Is, of a run that would spend more than its
// State allows.
var ErrSteps = errors.New("too many steps")

// stepsError says how many steps were too few.
type stepsError struct{ allowed int }

func (e *stepsError) Error() string {
	return fmt.Sprintf("more than %d steps are taken (look at fewer elements or shorter texts)", e.allowed)
}

// Is makes it an ErrSteps.
func (e *stepsError) Is(target error) bool { return target == ErrSteps }
