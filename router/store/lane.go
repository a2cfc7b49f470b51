package store

import "fmt"

// # Lanes
//
// A lane is a row of deliveries that must not meet: Delivery.Lane names it, and
// the store does not look into the name. A delivery that is ready (also while it
// waits for a retry) or leased is unfinished and has its place in the lane, by
// the order in which it was written; one that is done, dead, held or cancelled
// has none. Of each lane Claim leases one delivery at a time: the one that is
// leased now, should its lease run out, and else the one with the first place.
// When that one finishes, the next may be due at once, at a cost that does not
// depend on how many wait.
//
//   - A retry by hand gives a delivery its old place again, before those that were
//     written later. One of them that is leased goes on first.
//   - A delivery that is cancelled while it is leased keeps its lane until its
//     outcome comes, at most until its lease would have run out: its attempt may
//     still be running.
//   - Deliveries without a lane are as if each had one of its own.
//
// Policy is the router's: what it puts in one lane, and what is Busy to it.

// Busy says what becomes of a delivery that is written while another one of its
// lane is unfinished. It counts for deliveries that are written ready, in a Txn
// or by a Change, and is not stored.
type Busy uint8

const (
	// BusyWait has it take its place in the lane.
	BusyWait Busy = iota
	// BusySkip has it written cancelled instead, with ReasonOverlap and the text of
	// Overlapping as its Error. The comparison is part of the same Txn: it sees
	// what the Txn itself and those before it have written.
	BusySkip
)

// ReasonOverlap is that of a delivery that BusySkip kept from running: an earlier
// one of its lane was not finished.
const ReasonOverlap = "overlap"

// Overlapping is the Error of a delivery that was not to run because of the one
// named: the first in the lane.
func Overlapping(id string) string {
	return fmt.Sprintf("delivery %s of the same rule, step and key was not finished", id)
}
