package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pointsman/pointsman/actions"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// Checks returns the suite for these options. Each check wants a plugin of its
// own.
func Checks(o Options) []Check {
	s := &suite{o: o.Resolve(), prefix: rand.Text()}
	return []Check{
		{"describes itself", s.describe},
		{"describes itself the same twice", s.describeTwice},
		{"has schemas that compile and take the options", s.schemas},
		{"takes its settings", s.configure},
		{"refuses unknown settings", s.unknownSettings},
		{"runs alone", s.unary},
		{"runs on the stream", s.stream},
		{"takes the same delivery twice", s.twice},
		{"takes many at a time", s.many},
		{"takes a large event", s.largeEvent},
		{"takes large parameters", s.largeParams},
		{"withstands parameters that do not fit its schema", s.unfitParams},
		{"answers a cancelled run", s.cancelled},
		{"answers when its time is over", s.overdue},
		{"stops a slow run that is cancelled", s.slowCancelled},
		{"stops a slow run when its time is over", s.slowOverdue},
		{"says of a failure what went wrong", s.failing},
		{"says of a failure for good that it is one", s.permanent},
		{"honours dry run", s.dryRun},
	}
}

type suite struct {
	o Options
	// prefix and n make delivery ids that a plugin cannot have seen.
	prefix string
	n      atomic.Int64
}

func (s *suite) request(params json.RawMessage) *actionv1.RunRequest {
	return Request(fmt.Sprintf("%s-%d", s.prefix, s.n.Add(1)), params)
}

func (s *suite) describe(ctx context.Context, c actionv1.ActionServiceClient) error {
	_, err := described(ctx, c)
	return err
}

func described(ctx context.Context, c actionv1.ActionServiceClient) (actions.Description, error) {
	r, err := c.Describe(ctx, &actionv1.DescribeRequest{})
	if err != nil {
		return actions.Description{}, err
	}
	return actions.DescriptionFrom(r)
}

func (s *suite) describeTwice(ctx context.Context, c actionv1.ActionServiceClient) error {
	a, err := described(ctx, c)
	if err != nil {
		return err
	}
	if err := s.configure(ctx, c); err != nil {
		return err
	}
	b, err := described(ctx, c)
	if err != nil {
		return err
	}
	at, _ := json.Marshal(a)
	bt, _ := json.Marshal(b)
	if !bytes.Equal(at, bt) {
		return fmt.Errorf("first %s, after Configure %s", at, bt)
	}
	return nil
}

func (s *suite) schemas(ctx context.Context, c actionv1.ActionServiceClient) error {
	d, err := described(ctx, c)
	if err != nil {
		return err
	}
	return errors.Join(
		fits("settings", d.SettingsSchema, s.o.Settings),
		fits("params", d.ParamsSchema, s.o.Params))
}

func fits(what string, schema, value json.RawMessage) error {
	if len(schema) == 0 {
		return nil
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return fmt.Errorf("schema of %s: %w", what, err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{}) // nothing is fetched
	if err := c.AddResource("schema.json", doc); err != nil {
		return fmt.Errorf("schema of %s: %w", what, err)
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		return fmt.Errorf("schema of %s: %w", what, err)
	}
	if len(value) == 0 {
		return nil
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	err = compiled.Validate(v)
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return err
	}
	for len(invalid.Causes) > 0 {
		invalid = invalid.Causes[0]
	}
	at := strings.Join(append([]string{what}, invalid.InstanceLocation...), ".")
	return fmt.Errorf("the %s to try it with do not fit its schema: %s: %s",
		what, at, invalid.ErrorKind.LocalizedString(message.NewPrinter(language.English)))
}

func (s *suite) configure(ctx context.Context, c actionv1.ActionServiceClient) error {
	_, err := c.Configure(ctx, &actionv1.ConfigureRequest{Action: "test", Settings: s.o.Settings, Dir: s.o.Dir})
	if status.Code(err) != codes.Unimplemented {
		return err
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(s.o.Settings, &m) == nil && len(m) > 0 {
		return errors.New("there are settings, and Configure is not implemented")
	}
	return nil
}

// unknownSettings adds a setting whose value looks like a secret, which must
// not come back.
func (s *suite) unknownSettings(ctx context.Context, c actionv1.ActionServiceClient) error {
	const secret = "d41d8cd98f00b204"
	var m map[string]json.RawMessage
	if err := json.Unmarshal(s.o.Settings, &m); err != nil || m == nil {
		return errors.New("the settings to check with are not an object")
	}
	m["no-such-setting"] = json.RawMessage(`"` + secret + `"`)
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = c.Configure(ctx, &actionv1.ConfigureRequest{Action: "test", Settings: text, Dir: s.o.Dir})
	switch status.Code(err) {
	case codes.InvalidArgument:
		if strings.Contains(err.Error(), secret) {
			return errors.New("the refusal quotes the value of a setting, which may be a secret; name the setting only")
		}
		return nil
	case codes.Unimplemented:
		return fmt.Errorf("%w: it takes no settings", ErrSkipped)
	case codes.OK:
		return errors.New("a setting that does not exist was taken; refuse it with INVALID_ARGUMENT, since it is likely a misspelt one")
	}
	return fmt.Errorf("a setting that does not exist was answered with another error than INVALID_ARGUMENT: %w", err)
}

// ready configures the plugin; ErrSkipped when it may not be run with params.
func (s *suite) ready(ctx context.Context, c actionv1.ActionServiceClient, what string, params json.RawMessage) error {
	if len(params) == 0 {
		return fmt.Errorf("%w: no parameters of %s are given", ErrSkipped, what)
	}
	return s.configure(ctx, c)
}

const harmless = "a run that may be done"

func (s *suite) unary(ctx context.Context, c actionv1.ActionServiceClient) error {
	if err := s.ready(ctx, c, harmless, s.o.Params); err != nil {
		return err
	}
	res, err := calls(ctx, c, s.request(s.o.Params))
	if err != nil {
		return err
	}
	return done(res...)
}

// done wants success of all.
func done(results ...*actionv1.RunResponse) error {
	for _, r := range results {
		if err := shape(r); err != nil {
			return err
		}
		if r.GetStatus() != actionv1.Status_STATUS_DONE {
			return fmt.Errorf("status %v, error %q; want done", r.GetStatus(), r.GetError())
		}
	}
	return nil
}

// run does runs on the stream, or without one as calls.
func (s *suite) run(ctx context.Context, c actionv1.ActionServiceClient, runs ...*actionv1.RunRequest) ([]*actionv1.RunResponse, error) {
	res, err := Stream(ctx, c, nil, runs...)
	switch status.Code(err) {
	case codes.Unimplemented:
		return calls(ctx, c, runs...)
	case codes.ResourceExhausted:
		return nil, callError(err)
	}
	return res, err
}

func (s *suite) allDone(ctx context.Context, c actionv1.ActionServiceClient, runs ...*actionv1.RunRequest) error {
	res, err := s.run(ctx, c, runs...)
	if err != nil {
		return err
	}
	return done(res...)
}

func (s *suite) stream(ctx context.Context, c actionv1.ActionServiceClient) error {
	if err := s.ready(ctx, c, harmless, s.o.Params); err != nil {
		return err
	}
	res, err := Stream(ctx, c, nil, s.request(s.o.Params))
	if status.Code(err) == codes.Unimplemented {
		return fmt.Errorf("%w: it has none; the router calls Run", ErrSkipped)
	}
	if err != nil {
		return err
	}
	return done(res...)
}

func (s *suite) twice(ctx context.Context, c actionv1.ActionServiceClient) error {
	if err := s.ready(ctx, c, harmless, s.o.Params); err != nil {
		return err
	}
	r := s.request(s.o.Params)
	if err := s.allDone(ctx, c, r); err != nil {
		return err
	}
	if err := s.allDone(ctx, c, r); err != nil {
		return fmt.Errorf("the second run of a delivery, which a crash can always cause: %w", err)
	}
	return nil
}

func (s *suite) many(ctx context.Context, c actionv1.ActionServiceClient) error {
	if err := s.ready(ctx, c, harmless, s.o.Params); err != nil {
		return err
	}
	var runs []*actionv1.RunRequest
	for range 16 {
		runs = append(runs, s.request(s.o.Params))
	}
	err := s.allDone(ctx, c, runs...)
	if errors.Is(err, ErrSkipped) {
		err = s.allDone(ctx, c, runs[:2]...)
	}
	return err
}

// largeEvent is one of the size the router takes at most, with room for escapes.
func (s *suite) largeEvent(ctx context.Context, c actionv1.ActionServiceClient) error {
	if err := s.ready(ctx, c, harmless, s.o.Params); err != nil {
		return err
	}
	r := s.request(s.o.Params)
	r.Event = []byte(`{"specversion":"1.0","id":"event-1","source":"test","type":"test.event","data":"` + strings.Repeat("x", 5<<20) + `"}`)
	return s.allDone(ctx, c, r)
}

// largeParams are the same parameters with as much white space around them as
// the router takes: they mean the same to whatever the plugin does.
func (s *suite) largeParams(ctx context.Context, c actionv1.ActionServiceClient) error {
	if err := s.ready(ctx, c, harmless, s.o.Params); err != nil {
		return err
	}
	pad := bytes.Repeat([]byte(" "), max(1<<20-len(s.o.Params), 0))
	return s.allDone(ctx, c, s.request(append(pad, s.o.Params...)))
}

// unfitParams: the router checks parameters too, but not against a schema that
// it has not read yet. A plugin may do without them; a try again cannot help.
func (s *suite) unfitParams(ctx context.Context, c actionv1.ActionServiceClient) error {
	if err := s.ready(ctx, c, harmless, s.o.Params); err != nil {
		return err
	}
	d, err := described(ctx, c)
	if err != nil {
		return err
	}
	for _, params := range []string{`{"no-such-parameter":1}`, `[]`, `"text"`, `17`} {
		if len(d.ParamsSchema) == 0 || fits("params", d.ParamsSchema, json.RawMessage(params)) == nil {
			continue
		}
		res, err := s.run(ctx, c, s.request(json.RawMessage(params)))
		if err != nil {
			return fmt.Errorf("parameters %s: %w", params, err)
		}
		if err := shape(res[0]); err != nil {
			return err
		}
		if res[0].GetStatus() == actionv1.Status_STATUS_FAILED {
			return fmt.Errorf("parameters %s, which its schema refuses, were answered with STATUS_FAILED and would be tried again; want STATUS_PERMANENT", params)
		}
		return nil
	}
	return fmt.Errorf("%w: its schema takes anything", ErrSkipped)
}

func (s *suite) cancelled(ctx context.Context, c actionv1.ActionServiceClient) error {
	return s.cancel(ctx, c, s.o.Params, harmless)
}

func (s *suite) cancel(ctx context.Context, c actionv1.ActionServiceClient, params json.RawMessage, what string) error {
	if err := s.ready(ctx, c, what, params); err != nil {
		return err
	}
	stop := make(chan struct{})
	close(stop)
	res, err := Stream(ctx, c, stop, s.request(params))
	if status.Code(err) == codes.Unimplemented {
		return fmt.Errorf("%w: without the stream a run is not cancelled, its time ends", ErrSkipped)
	}
	if err != nil {
		return err
	}
	return shape(res[0])
}

func (s *suite) overdue(ctx context.Context, c actionv1.ActionServiceClient) error {
	return s.late(ctx, c, s.o.Params, harmless, time.Nanosecond)
}

func (s *suite) late(ctx context.Context, c actionv1.ActionServiceClient, params json.RawMessage, what string, limit time.Duration) error {
	if err := s.ready(ctx, c, what, params); err != nil {
		return err
	}
	r := s.request(params)
	r.Timeout = durationpb.New(limit)
	res, err := s.run(ctx, c, r)
	if err != nil {
		return err
	}
	return shape(res[0])
}

const slow = "a run that takes long"

// slowGrace is how long the router waits for the result of a run that it has
// cancelled, before it ends the plugin.
const slowGrace = 5 * time.Second

func (s *suite) slowCancelled(ctx context.Context, c actionv1.ActionServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, slowGrace)
	defer cancel()
	return inGrace(s.cancel(ctx, c, s.o.Slow, slow))
}

func (s *suite) slowOverdue(ctx context.Context, c actionv1.ActionServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, slowGrace)
	defer cancel()
	return inGrace(s.late(ctx, c, s.o.Slow, slow, 200*time.Millisecond))
}

func inGrace(err error) error {
	if status.Code(err) == codes.DeadlineExceeded {
		return fmt.Errorf("no result within %v of its end, so the router would kill the plugin with all its runs; stop when the run is cancelled and after RunRequest.timeout", slowGrace)
	}
	return err
}

func (s *suite) failing(ctx context.Context, c actionv1.ActionServiceClient) error {
	return s.fails(ctx, c, s.o.Failing, "a run that fails", actionv1.Status_STATUS_FAILED)
}

func (s *suite) permanent(ctx context.Context, c actionv1.ActionServiceClient) error {
	return s.fails(ctx, c, s.o.Permanent, "a run that fails for good", actionv1.Status_STATUS_PERMANENT)
}

func (s *suite) fails(ctx context.Context, c actionv1.ActionServiceClient, params json.RawMessage, what string, want actionv1.Status) error {
	if err := s.ready(ctx, c, what, params); err != nil {
		return err
	}
	res, err := s.run(ctx, c, s.request(params))
	if err != nil {
		return err
	}
	if got := res[0].GetStatus(); got != want {
		return fmt.Errorf("status %v, error %q; want %v", got, res[0].GetError(), want)
	}
	return shape(res[0])
}

func (s *suite) dryRun(ctx context.Context, c actionv1.ActionServiceClient) error {
	d, err := described(ctx, c)
	if err != nil {
		return err
	}
	if !d.DryRun {
		return fmt.Errorf("%w: it has no dry run", ErrSkipped)
	}
	if err := s.ready(ctx, c, harmless, s.o.Params); err != nil {
		return err
	}
	r := s.request(s.o.Params)
	r.DryRun = true
	res, err := s.run(ctx, c, r)
	if err != nil {
		return err
	}
	if res[0].GetOutput() == "" {
		return errors.New("a dry run must say in its output what would be done")
	}
	return done(res...)
}
