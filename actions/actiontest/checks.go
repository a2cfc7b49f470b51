package actiontest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pointsman/pointsman/actions"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// ErrSkipped: the check does not apply to this plugin.
var ErrSkipped = errors.New("skipped")

// Check is one question to a plugin that has just been started and was not
// configured yet.
type Check struct {
	Name string
	// Run returns nil, ErrSkipped, or what the plugin does wrong.
	Run func(ctx context.Context, c actionv1.ActionServiceClient) error
}

// Checks returns the suite for these options.
func Checks(o Options) []Check {
	o.resolve(o.Dir)
	s := &suite{o}
	return []Check{
		{"describes itself", s.describe},
		{"describes itself the same twice", s.describeTwice},
		{"schemas compile and take the options", s.schemas},
		{"takes its settings", s.configure},
		{"refuses unknown settings", s.unknownSettings},
		{"runs alone", s.unary},
		{"runs on the stream", s.stream},
		{"takes the same delivery twice", s.twice},
		{"takes many at a time", s.many},
		{"takes a large event", s.large},
		{"answers a cancelled run", s.cancelled},
		{"answers when its time is over", s.overdue},
		{"honours dry run", s.dryRun},
	}
}

type suite struct{ o Options }

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
	if err := compiled.Validate(v); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (s *suite) configure(ctx context.Context, c actionv1.ActionServiceClient) error {
	_, err := c.Configure(ctx, &actionv1.ConfigureRequest{Action: "test", Settings: s.o.Settings, Dir: s.o.Dir})
	if status.Code(err) == codes.Unimplemented {
		return nil
	}
	return err
}

func (s *suite) unknownSettings(ctx context.Context, c actionv1.ActionServiceClient) error {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(s.o.Settings, &m); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	m["no-such-setting"] = json.RawMessage("1")
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = c.Configure(ctx, &actionv1.ConfigureRequest{Action: "test", Settings: text, Dir: s.o.Dir})
	if code := status.Code(err); code != codes.InvalidArgument && code != codes.Unimplemented {
		return fmt.Errorf("a setting that does not exist was answered with %v, want INVALID_ARGUMENT", err)
	}
	return nil
}

// ready configures the plugin; ErrSkipped when nothing may be run.
func (s *suite) ready(ctx context.Context, c actionv1.ActionServiceClient) error {
	if len(s.o.Params) == 0 {
		return fmt.Errorf("%w: no parameters to run with", ErrSkipped)
	}
	return s.configure(ctx, c)
}

func (s *suite) unary(ctx context.Context, c actionv1.ActionServiceClient) error {
	if err := s.ready(ctx, c); err != nil {
		return err
	}
	res, err := c.Run(ctx, request("d-1", s.o.Params))
	if err != nil {
		return err
	}
	return done(res)
}

func done(r *actionv1.RunResponse) error {
	if r.GetStatus() != actionv1.Status_STATUS_DONE {
		return fmt.Errorf("status %v, error %q; want done", r.GetStatus(), r.GetError())
	}
	return nil
}

// run does runs on the stream; a plugin without one skips.
func (s *suite) run(ctx context.Context, c actionv1.ActionServiceClient, stop <-chan struct{}, runs ...*actionv1.RunRequest) ([]*actionv1.RunResponse, error) {
	if err := s.ready(ctx, c); err != nil {
		return nil, err
	}
	res, err := runAll(ctx, c, stop, runs...)
	if status.Code(err) == codes.Unimplemented {
		return nil, fmt.Errorf("%w: no stream", ErrSkipped)
	}
	return res, err
}

func (s *suite) allDone(ctx context.Context, c actionv1.ActionServiceClient, runs ...*actionv1.RunRequest) error {
	res, err := s.run(ctx, c, nil, runs...)
	if err != nil {
		return err
	}
	for _, r := range res {
		if err := done(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) stream(ctx context.Context, c actionv1.ActionServiceClient) error {
	return s.allDone(ctx, c, request("d-1", s.o.Params))
}

func (s *suite) twice(ctx context.Context, c actionv1.ActionServiceClient) error {
	if err := s.allDone(ctx, c, request("d-1", s.o.Params)); err != nil {
		return err
	}
	return s.allDone(ctx, c, request("d-1", s.o.Params))
}

func (s *suite) many(ctx context.Context, c actionv1.ActionServiceClient) error {
	var runs []*actionv1.RunRequest
	for i := range 16 {
		runs = append(runs, request(fmt.Sprintf("d-%d", i), s.o.Params))
	}
	return s.allDone(ctx, c, runs...)
}

// large is an event of the size the router takes at most, with room for escapes.
func (s *suite) large(ctx context.Context, c actionv1.ActionServiceClient) error {
	r := request("d-1", s.o.Params)
	r.Event = []byte(`{"specversion":"1.0","id":"event-1","source":"test","type":"test.event","data":"` + strings.Repeat("x", 5<<20) + `"}`)
	return s.allDone(ctx, c, r)
}

func (s *suite) cancelled(ctx context.Context, c actionv1.ActionServiceClient) error {
	stop := make(chan struct{})
	close(stop)
	_, err := s.run(ctx, c, stop, request("d-1", s.o.Params))
	return err
}

func (s *suite) overdue(ctx context.Context, c actionv1.ActionServiceClient) error {
	r := request("d-1", s.o.Params)
	r.Timeout = durationpb.New(time.Nanosecond)
	_, err := s.run(ctx, c, nil, r)
	return err
}

func (s *suite) dryRun(ctx context.Context, c actionv1.ActionServiceClient) error {
	d, err := described(ctx, c)
	if err != nil {
		return err
	}
	if !d.DryRun {
		return fmt.Errorf("%w: no dry run", ErrSkipped)
	}
	r := request("d-1", s.o.Params)
	r.DryRun = true
	res, err := s.run(ctx, c, nil, r)
	if err != nil {
		return err
	}
	if res[0].GetOutput() == "" {
		return errors.New("a dry run must say in its output what would be done")
	}
	return done(res[0])
}

// shortDir is a folder whose path leaves room for a socket's name; the test's
// own has the name of the test in it.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "at-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
