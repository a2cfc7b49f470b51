// Package actions is what an author of a pointsman action plugin imports, and
// the only thing: the Action interface, the request it gets, the errors that
// tell the router what to do next, and Serve for main.
//
//	func main() { actions.Serve(wake{}) }
//
// A plugin is a process of its own. The router starts it at first use, hands it
// its settings, and then sends it runs, many at a time. The contract on the
// wire is pointsman.action.v1 in actions/proto; docs/actions.md explains it for
// other languages.
package actions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Action is what a plugin does. One value serves one configured action for the
// life of the process.
type Action interface {
	// Describe says what the plugin is. It is called at any time, before
	// Configure too, concurrently, and must neither act nor block.
	Describe() Description
	// Run does the action once. It is called concurrently, up to Credits times.
	// A goroutine may do several runs, one after the other: a run that locks it to
	// a thread (runtime.LockOSThread) and changes that thread must do so in a
	// goroutine of its own.
	//
	// A nil error is success. An error is tried again by the action's retry
	// policy, unless it is or wraps one of Permanent (never again) or RetryAfter
	// (not before). A Result beside an error keeps its output.
	//
	// ctx ends when the time of the attempt is over, a person cancels the
	// delivery, or the router is gone; Run should then stop and say how far it
	// got. A result that comes within the grace period after it counts.
	//
	// A panic ends the process, as in any Go program: its state is not trusted
	// afterwards. The router starts it anew and counts the crash against the
	// delivery that caused it.
	Run(ctx context.Context, req *Request) (*Result, error)
}

// Configurer is implemented by an Action with settings. Without it any settings
// but an empty object are refused.
type Configurer interface {
	// Configure is called once, before the first Run. An error refuses the
	// settings and is shown to the operator: it should name the setting and must
	// not hold secrets.
	Configure(ctx context.Context, s Settings) error
}

// Limiter is implemented by an Action that takes another number of runs at a
// time than DefaultCredits.
type Limiter interface {
	// Credits is asked once for each connection; at least 1.
	Credits() int
}

// DefaultCredits is how many runs a plugin takes at a time.
const DefaultCredits = 256

// Settings are what the configuration says of one action.
type Settings struct {
	// Action is the configured action's name.
	Action string
	// JSON is an object.
	JSON json.RawMessage
	// Dir is the folder of pointsman.yaml; relative paths in settings start
	// there.
	Dir string
}

// Decode stores the settings in v, a pointer to a struct; a field that v does
// not have is an error.
func (s Settings) Decode(v any) error { return decode(s.JSON, v) }

// Request is one attempt of one delivery. It must not be changed.
type Request struct {
	// DeliveryID is the idempotency key: the same for every attempt of the
	// delivery, for ever.
	DeliveryID string
	// Attempt counts every start, from 1.
	Attempt int
	// Epoch grows with each lease; a target that fences refuses smaller ones.
	Epoch uint64
	// Rule and Action are names from the configuration.
	Rule   string
	Action string
	// EventID is the id attribute of the event.
	EventID string
	// Key is the rule's key for this event, empty without one.
	Key string
	// EventJSON is the event in the CloudEvents JSON format.
	EventJSON json.RawMessage
	// Params are the computed parameters, a JSON value; null when the rule gives
	// none.
	Params json.RawMessage
	// DryRun: say in the output what would be done and do nothing. Only set when
	// Describe says DryRun.
	DryRun bool

	once  sync.Once
	event event.Event
	err   error
}

// Event decodes EventJSON, once, at the first call. A plugin that needs the
// parameters alone does not pay for it. Safe for concurrent use.
func (r *Request) Event() (event.Event, error) {
	r.once.Do(func() {
		defer func() {
			// The SDK's decoder panics on some texts that are JSON; the plugin must
			// not crash for what somebody sent.
			if p := recover(); p != nil {
				r.err = fmt.Errorf("event: the CloudEvents SDK cannot read it: %v", p)
			}
		}()
		if err := json.Unmarshal(r.EventJSON, &r.event); err != nil {
			r.err = fmt.Errorf("event: %w", err)
		}
	})
	return r.event, r.err
}

// Hops is what an event that this run causes must say of how it came to be: one
// more than the event of the request says in its extension pointsmanhops. Over
// HTTP it is sent in the header Pointsman-Hops; the router refuses what has too
// many, which ends a rule that causes what it matches.
func (r *Request) Hops() int {
	if !bytes.Contains(r.EventJSON, []byte(`"pointsmanhops"`)) {
		return 1
	}
	var ev struct {
		Hops json.RawMessage `json:"pointsmanhops"`
	}
	if err := json.Unmarshal(r.EventJSON, &ev); err != nil {
		return 1
	}
	n, err := strconv.ParseUint(string(bytes.Trim(ev.Hops, `"`)), 10, 8)
	if err != nil {
		return 1
	}
	return int(n) + 1
}

// Decode stores the parameters in v, a pointer to a struct; a field that v does
// not have is an error. Null and nothing leave v as it is.
func (r *Request) Decode(v any) error { return decode(r.Params, v) }

// Result is what a run leaves behind.
type Result struct {
	// Output is kept with the attempt for people, at most MaxOutput bytes of it.
	Output string
}

// MaxOutput is how many bytes of an output are kept.
const MaxOutput = 64 << 10

func decode(raw json.RawMessage, v any) error {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
