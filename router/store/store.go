// Package store defines what the router needs to remember and the promises it
// relies on. It holds types and contracts only; store/sqlite and store/redis
// implement them, and store/storetest is the one suite that states the
// semantics in executable form.
//
// Three interfaces, by who calls them: Store is the router's hot path,
// Operator is what people ask and order by hand, Keeper is housekeeping.
//
// # Time
//
// The store's clock decides leases and due times. Callers therefore pass
// durations (Delay, ttl) and get durations back; absolute times in records are
// for people and for rule state.
package store

import (
	"context"
	"errors"
	"time"
)

// Errors a caller branches on.
var (
	// ErrNotFound: no such record.
	ErrNotFound = errors.New("not found")
	// ErrFull: the size cap is reached and nothing finished is left to remove.
	// Nothing was written; answer 503.
	ErrFull = errors.New("store is full")
	// ErrUnavailable: the store cannot be reached or cannot write now. It is not
	// known whether the operation took effect unless the method says so.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrFenced: a newer start of this instance has entered the store; this
	// process must stop.
	ErrFenced = errors.New("a newer start of this instance has taken over")
	// ErrClosed: the store was closed by this process.
	ErrClosed = errors.New("store is closed")
)

// Store is the router's hot path. All methods are safe for concurrent use.
type Store interface {
	// Commit writes each Txn atomically, in order, each for itself: one that is a
	// duplicate, in conflict or stale writes nothing and does not touch its
	// neighbours. When Commit returns a nil error every StatusNew result is
	// durable to the configured level. On an error nothing is known to be
	// written; the caller may send the same Txns again (dedup makes that safe).
	//
	// Per Txn: the dedup mark is looked at first, then state versions, then all
	// writes happen. A later Txn of the same call sees the writes of the earlier.
	//
	// A ready delivery that says Start is leased in the same step, as Claim would
	// right after it, if this process has entered the store, the delivery has no
	// lane and nothing else of its action is due, what this call wrote before included. The same Txns sent again because
	// their answer was lost lease nothing twice: where the store remembers that it
	// wrote them it gives the leases again, and otherwise they run out.
	Commit(ctx context.Context, txns ...Txn) ([]Result, error)

	// Load returns the state of each key, in order. A key without state has
	// Version 0.
	Load(ctx context.Context, keys ...string) ([]State, error)

	// Claim leases due deliveries, at most Want.N for each action, oldest due
	// first, for ttl. It never blocks for work. A delivery whose lease ran out is
	// due again and is returned with Lost set. Of a lane it leases one delivery at a
	// time, in order; see lane.go. The same op again returns the
	// same leases. wait is how long until something else may be due for these
	// wants; 0 means nothing is known to become due by itself.
	Claim(ctx context.Context, op OpID, wants []Want, ttl time.Duration) (leases []Lease, wait time.Duration, err error)

	// Extend renews leases for ttl from now; false for each that is no longer
	// held (settled, cancelled, taken over): its attempt must be stopped.
	Extend(ctx context.Context, leases []LeaseRef, ttl time.Duration) ([]bool, error)

	// Settle stores outcomes, each for itself, fenced by epoch. It is durable
	// when it returns nil. Repeating an outcome that was stored answers
	// SettledOK again.
	Settle(ctx context.Context, outcomes ...Outcome) ([]Settled, error)
}

// Waker is implemented by every Store. Wake returns a channel that receives
// (without blocking the sender, capacity 1) when something may have become due:
// after a Commit, a Settle or an operator's change, by this router or another.
type Waker interface {
	Wake() <-chan struct{}
}

// Operator is what people ask and order by hand. Reads never block the writer.
type Operator interface {
	Events(ctx context.Context, q EventQuery) ([]Event, error)
	Deliveries(ctx context.Context, q DeliveryQuery) ([]Delivery, error)
	// History lists the attempts of a delivery, oldest first.
	History(ctx context.Context, deliveryID string) ([]Attempt, error)
	// Change applies each change for itself and tells what became of it.
	Change(ctx context.Context, changes ...Change) ([]Changed, error)
	// Counts tells how many deliveries each action has in each state.
	Counts(ctx context.Context) ([]Count, error)
}

// Keeper is housekeeping: who runs, which rules were in force, what may go.
type Keeper interface {
	// Enter records a new start of inst and returns its number (from 1). Claims,
	// extends and settles of an older start of the same instance answer
	// ErrFenced from then on, and what it had leased is due at once, as Lost.
	// It must be called once, before Claim.
	Enter(ctx context.Context, inst Instance) (start uint64, err error)
	// PutRevision stores a revision; storing the same id again changes nothing.
	PutRevision(ctx context.Context, rev Revision) error
	// Revision returns a stored revision, or ErrNotFound.
	Revision(ctx context.Context, id string) (Revision, error)
	// Retain removes what the policy no longer keeps, in steps that do not hold
	// up the hot path, and revisions that no event refers to (except keep).
	Retain(ctx context.Context, p Policy) (Retained, error)
	// Shortfalls names each setting of the store that is below the wanted
	// durability. An error means the store could not be asked.
	Shortfalls(ctx context.Context, want Durability) ([]Shortfall, error)
}

// Full is everything one store offers; New functions return it.
type Full interface {
	Store
	Waker
	Operator
	Keeper
	Close() error
}

// Txn is everything one event causes. It is written as a whole or not at all.
// Without an event, which Event.UID is empty for, it is States alone: there is
// nothing to remember and there are no deliveries, and what was written answers
// StatusNew with an empty UID. Sent again as it is, while nobody has written the
// states since, it answers StatusNew again.
type Txn struct {
	Event Event
	// Dedup is how long (source, ce source, id) is remembered; 0 neither looks
	// for a mark nor leaves one.
	Dedup time.Duration
	// Strict makes the same identity with another Digest StatusConflict; without
	// it the same identity is StatusDuplicate whatever the content.
	Strict     bool
	States     []StateWrite
	Deliveries []Delivery
	// Lease is how long the leases of deliveries that say Start last; 0: there are
	// none.
	Lease time.Duration
}

// Status is what became of a Txn.
type Status uint8

// The statuses of a Txn.
const (
	// StatusNew: everything was written.
	StatusNew Status = iota + 1
	// StatusDuplicate: the identity is remembered; nothing was written but the
	// first event's duplicate count.
	StatusDuplicate
	// StatusConflict: the identity is remembered with another digest; nothing
	// was written.
	StatusConflict
	// StatusStale: a state has another version than the Txn read; nothing was
	// written.
	StatusStale
)

// Result tells what became of one Txn.
type Result struct {
	Status Status
	// UID is the acceptance: the Txn's own for StatusNew, the first one's for a
	// duplicate or conflict, empty for StatusStale.
	UID string
	// Leased has the epoch of each delivery's lease, in the order of the Txn, and 0
	// for what was not leased. It is empty if nothing was. The attempt's number is
	// the delivery's Starts + 1, and no attempt was lost before it.
	Leased []uint64
}

// State is the state of one rule and key (or one source): a small opaque value
// with a version.
type State struct {
	Key string
	// Version is 0 when there is no state. The writer chooses each new version;
	// no two writes of one key use the same.
	Version uint64
	Data    []byte
	// Expires is when the state may be forgotten, and not before. Zero: never,
	// and retention leaves it as well.
	Expires time.Time
}

// StateWrite replaces a state if it still has version Read.
type StateWrite struct {
	State
	Read uint64
}

// Event is one acceptance of one CloudEvent.
type Event struct {
	// UID names this acceptance; UUIDv7, made by the router.
	UID string
	// Source is the configured source's name. Dedup identity is
	// (Source, CESource, ID).
	Source   string
	CESource string
	ID       string
	Type     string
	Received time.Time
	// JSON is the event in the CloudEvents JSON format.
	JSON []byte
	// Digest tells contents apart; see Txn.Strict.
	Digest   [16]byte
	Verdicts []Verdict
	Revision string
	// Duplicates counts later arrivals that were suppressed. Reads only.
	Duplicates int
}

// Verdict is what a rule and the state said of an event, as recorded at accept.
type Verdict struct {
	Rule string `json:"rule"`
	// Verdict is one of the words of docs/rules.md: matched, throttled, ...
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
}

// DeliveryState is where a delivery stands.
type DeliveryState uint8

// The states of a delivery.
const (
	// Ready waits for its due time and a free slot.
	Ready DeliveryState = iota + 1
	// Leased is being run by a router.
	Leased
	// Done was run successfully, or was a dry run.
	Done
	// Dead failed for good; a person may retry it.
	Dead
	// Held waits for a person; see Reason.
	Held
	// Cancelled was ended by a person, or was not to run; see Reason.
	Cancelled
)

var stateNames = [...]string{"", "ready", "leased", "done", "dead", "held", "cancelled"}

// String returns the state's name as people and JSON see it.
func (s DeliveryState) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// ParseDeliveryState is the inverse of String; false for an unknown name.
func ParseDeliveryState(name string) (DeliveryState, bool) {
	for i := 1; i < len(stateNames); i++ {
		if stateNames[i] == name {
			return DeliveryState(i), true
		}
	}
	return 0, false
}

// Finished says whether retention may remove the delivery.
func (s DeliveryState) Finished() bool { return s == Done || s == Dead || s == Cancelled }

// Reasons why a delivery is held or was dead before it ran. Stored as text.
const (
	// ReasonFanOut: the event caused more deliveries than the limit; Count says
	// how many this record stands for.
	ReasonFanOut = "fan_out"
	// ReasonUncertain: a crash swallowed the outcome of an attempt and the
	// action says on_uncertain: hold.
	ReasonUncertain = "uncertain"
	// ReasonKey: the rule's key could not be evaluated; the record stands for
	// every step of the rule.
	ReasonKey = "key"
	// ReasonEvaluation: the step's if or with could not be evaluated.
	ReasonEvaluation = "evaluation"
	// ReasonParams: the computed parameters do not fit the plugin's schema.
	ReasonParams = "params"
	// ReasonAttempts, ReasonAge, ReasonPermanent, ReasonCrashes: why it is dead.
	ReasonAttempts  = "attempts"
	ReasonAge       = "age"
	ReasonPermanent = "permanent"
	ReasonCrashes   = "crashes"
)

// Delivery is one (accepted event, rule, step of do). In a Txn the router fills
// it; the store owns Due, Epoch and Updated.
type Delivery struct {
	// ID never changes: it is the idempotency key the plugin sees. UUIDv7.
	ID       string
	EventUID string
	EventID  string
	Source   string
	CESource string
	Rule     string
	Step     int
	Action   string
	State    DeliveryState
	Reason   string
	// Params is the computed with: of the step, a JSON value.
	Params []byte
	DryRun bool
	// Key is the rule's key for this event, as text.
	Key string
	// Lane, if it is not empty, is the row in which one delivery runs at a time,
	// and Busy what becomes of this one if it is written behind another.
	Lane string
	Busy Busy
	// Start asks Commit to lease the delivery as it writes it. Commit only; what the
	// store returns never has it.
	Start bool
	// Waits is the delivery of the lane that must finish first, if this one is ready
	// and not the next. Reads by Operator only.
	Waits   string
	Created time.Time
	// Updated is when the record last changed. Reads only.
	Updated time.Time
	// Budget is where max_age counts from: Created, or the last retry by hand.
	Budget time.Time
	// BudgetFrom is the value of Attempts when the budget began.
	BudgetFrom int
	// Attempts are the counted ones; Starts is the number of the last attempt
	// ever started.
	Attempts int
	Starts   int
	// Crashes counts the plugin crashes laid to this delivery alone; Suspect
	// asks that it be run alone next.
	Crashes int
	Suspect bool
	// Due is when a ready delivery may start, by the store's clock. Reads only.
	Due   time.Time
	Error string
	// Count and Expanded serve ReasonFanOut: how many deliveries this record
	// stands for and how many of them were written.
	Count    int
	Expanded int
	// Epoch fences writes of an older lease. Reads only.
	Epoch uint64
}

// Attempt is one start of a delivery and how it ended.
type Attempt struct {
	Number  int
	Started time.Time
	// Ended is zero while the attempt runs.
	Ended time.Time
	// Outcome is one of the words of docs/operate.md: done, failed, permanent,
	// timeout, crashed, released, cancelled, lost; running while it runs.
	Outcome string
	Error   string
	Output  string
}

// OpID names one Claim, so that it can be repeated after a lost reply.
type OpID string

// Want asks for deliveries of one action.
type Want struct {
	Action string
	N      int
	// Durable asks that the start be durable before Claim returns, so that a
	// crash of the whole machine cannot hide it (on_uncertain: hold). Without
	// it the store may write the start a little later, at most 100 ms.
	Durable bool
}

// LeaseRef names a lease.
type LeaseRef struct {
	ID    string
	Epoch uint64
}

// Lease is a delivery that this router may run now.
type Lease struct {
	Delivery Delivery
	Epoch    uint64
	// Number is the attempt's number if it is started (Delivery.Starts + 1).
	Number int
	// Event is the event in the CloudEvents JSON format.
	Event []byte
	// Lost is the previous attempt when no outcome of it was stored: its router
	// died or lost its lease. The store has recorded it as lost.
	Lost *Attempt
}

// Ref returns the lease's name.
func (l *Lease) Ref() LeaseRef { return LeaseRef{ID: l.Delivery.ID, Epoch: l.Epoch} }

// Outcome ends a lease.
type Outcome struct {
	ID    string
	Epoch uint64
	// State is Ready (again after Delay), Done, Dead, Held or Cancelled.
	State  DeliveryState
	Reason string
	// Delay until due, for Ready.
	Delay time.Duration
	// Attempt is what to add to the history. Nil takes the start back: nothing
	// was run, and the number will be used again.
	Attempt *Attempt
	// Attempts, Crashes and Suspect replace the delivery's.
	Attempts int
	Crashes  int
	Suspect  bool
	Error    string
}

// Settled tells what became of an Outcome.
type Settled uint8

// What became of an outcome.
const (
	// SettledOK: it is stored.
	SettledOK Settled = iota + 1
	// SettledCancelled: the delivery was cancelled while it ran; the attempt was
	// added to its history and it stays cancelled.
	SettledCancelled
	// SettledLost: the lease is not this one's any more; nothing was written.
	SettledLost
)

// EventQuery selects events, newest first. Zero fields do not restrict.
type EventQuery struct {
	UID      string
	ID       string
	Source   string
	CESource string
	Since    time.Time
	// Until excludes events received at or after it.
	Until time.Time
	// Before is the UID the page continues after.
	Before string
	// After asks for events later than this UID, oldest first (tail, backtest).
	After string
	// Limit defaults to 1000 and is at most 1000.
	Limit int
}

// DeliveryQuery selects deliveries, newest first. Zero fields do not restrict.
type DeliveryQuery struct {
	ID       string
	EventUID string
	EventID  string
	Rule     string
	Action   string
	States   []DeliveryState
	Since    time.Time
	Until    time.Time
	// Before is the ID the page continues after.
	Before string
	// Limit defaults to 1000 and is at most 1000.
	Limit int
}

// ChangeKind is what a person orders.
type ChangeKind uint8

// The orders.
const (
	// Retry makes a dead, held or cancelled delivery ready at once with both
	// budgets anew. In a store that several processes share, one whose cancelled
	// attempt may still run is due when that is settled or its lease runs out.
	Retry ChangeKind = iota + 1
	// Cancel ends a ready, leased, held or dead delivery.
	Cancel
	// Expand writes Deliveries beside a held fan-out record and raises its
	// Expanded; when Expanded reaches Count the record is done.
	Expand
	// Bury makes a delivery dead for Reason and Error that is ready or whose lease
	// ran out, and which nobody claims: its action is gone.
	Bury
)

// Change is one order for one delivery.
type Change struct {
	ID   string
	Kind ChangeKind
	// Replace, for Retry: the call evaluated again.
	Replace *Call
	// Also, for Retry and Expand: further deliveries to write in the same step.
	Also []Delivery
	// From, for Expand: the value of Expanded it continues from; another value
	// in the store answers ChangedRefused.
	From int
	// Reason and Error, for Bury.
	Reason string
	Error  string
}

// Call is what a retry by hand puts in place of a delivery's call.
type Call struct {
	Step   int
	Action string
	Params []byte
	Key    string
	Lane   string
}

// Changed tells what became of a Change.
type Changed uint8

// What became of a change.
const (
	ChangedOK Changed = iota + 1
	// ChangedRefused: its state does not allow this order.
	ChangedRefused
	// ChangedNotFound: there is no such delivery.
	ChangedNotFound
)

// Count is how many deliveries of an action are in a state.
type Count struct {
	Action string
	State  DeliveryState
	N      int
	// Oldest is the creation time of the oldest of them, for Ready, Leased and
	// Held; else zero.
	Oldest time.Time
}

// Instance is one router's data_dir on one boot of one host.
type Instance struct {
	ID string
	// Host and PID are for people.
	Host string
	PID  int
}

// Revision is a rule set as it was in force.
type Revision struct {
	// ID names the content: the same rules have the same id.
	ID      string
	Created time.Time
	Data    []byte
}

// Policy is what to keep. An event stays while a delivery of it stays that is
// neither done nor cancelled. Unfinished deliveries are never removed. At Size
// unmatched events and those with only done or cancelled deliveries go first,
// oldest first, dead ones last.
type Policy struct {
	Events     time.Duration
	Deliveries time.Duration
	// Size in bytes; 0: no cap.
	Size int64
	// Keep is the revision in force.
	Keep string
}

// Retained tells what Retain did.
type Retained struct {
	Events     int
	Deliveries int
	// DeadForSize counts dead deliveries that had to go for size.
	DeadForSize int
	// Bytes is the size after it.
	Bytes int64
	// Full: the cap is reached and nothing finished is left.
	Full bool
}

// Durability is what a 202 promises to survive.
type Durability uint8

// The durability levels of the configuration.
const (
	// Strict: fsynced before 202.
	Strict Durability = iota + 1
	// Process: survives any process crash.
	Process
	// None: promises nothing.
	None
)

// Shortfall is one setting below the wanted durability.
type Shortfall struct {
	Setting string
	Value   string
	// Want says what it should be and how to set it.
	Want string
	// Fatal: serve refuses to start with it. Otherwise it is a warning.
	Fatal bool
}
