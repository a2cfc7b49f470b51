// Package crashpoint marks the steps in which a store writes, so that a torture
// run can end or stop the process just before and just after each of them.
//
// In an ordinary build Here is empty and is compiled away. Built with the tag
// torture it reads POINTSMAN_CRASH once; see on.go.
package crashpoint

import "strings"

// Moment says on which side of a step a point is.
type Moment string

// The two sides of a step.
const (
	Before Moment = "before"
	After  Moment = "after"
)

// maxName is enough to tell all statements apart.
const maxName = 56

// Name is how a step is written in POINTSMAN_CRASH and in reports: its first
// bytes on one line. A step is the name of a script or the text of a statement.
func Name(step string) string {
	name := strings.Join(strings.Fields(step), " ")
	return strings.TrimSpace(name[:min(len(name), maxName)])
}
