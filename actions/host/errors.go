package host

import "fmt"

type kind uint8

const (
	kindCrashed kind = iota + 1
	kindUnavailable
	kindTimeout
	kindLate
)

// Error is why a run has no result. The text is for people.
type Error struct {
	kind   kind
	action string
	err    error
}

func (e *Error) Error() string {
	what := [...]string{"", "crashed", "unavailable", "did not answer in time", "was not asked"}[e.kind]
	return fmt.Sprintf("plugin of action %q %s: %v", e.action, what, e.err)
}

func (e *Error) Unwrap() error { return e.err }

// Crashed says that the plugin's process died, or had to be killed, while the
// run was open. What the run did is not known. The process and everything it started
// are gone.
func (e *Error) Crashed() bool { return e.kind == kindCrashed }

// Unavailable says that the run was never sent to the plugin. It did nothing.
func (e *Error) Unavailable() bool { return e.kind == kindUnavailable }

// Timeout says that the run was cancelled, by its deadline or by a person, and
// the plugin gave no result within the grace period. The plugin was stopped, and is gone
// with everything it started.
func (e *Error) Timeout() bool { return e.kind == kindTimeout }

// Late says that the deadline of ctx had passed before the run could be sent. It
// did nothing.
func (e *Error) Late() bool { return e.kind == kindLate }
