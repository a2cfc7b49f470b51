package router

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/sqlite"
	"github.com/pointsman/pointsman/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call is one run as the plugin sees it.
type call struct {
	*actionv1.RunRequest
	ctx context.Context
	// kill is closed when the runner ends its processes.
	kill <-chan struct{}
}

// script says how a run ends.
type script func(c call) (*actionv1.RunResponse, error)

func answer(s actionv1.Status, text string) (*actionv1.RunResponse, error) {
	return &actionv1.RunResponse{Status: s, Error: text}, nil
}

func succeed(call) (*actionv1.RunResponse, error) { return answer(actionv1.Status_STATUS_DONE, "") }
func refuse(call) (*actionv1.RunResponse, error) {
	return answer(actionv1.Status_STATUS_PERMANENT, "no such port")
}

func fail(call) (*actionv1.RunResponse, error) {
	return answer(actionv1.Status_STATUS_FAILED, "exit status 1")
}
func crash(call) (*actionv1.RunResponse, error)    { return nil, crashError{} }
func notThere(call) (*actionv1.RunResponse, error) { return nil, absentError{} }

// hang runs until it is told to stop, and answers that it was.
func hang(c call) (*actionv1.RunResponse, error) {
	select {
	case <-c.ctx.Done():
		return answer(actionv1.Status_STATUS_FAILED, "stopped")
	case <-c.kill:
		return nil, crashError{}
	}
}

// deaf does not listen: it has to be killed.
func deaf(c call) (*actionv1.RunResponse, error) {
	<-c.kill
	return nil, crashError{}
}

// runner is a Runner whose plugins follow a script. It watches that no delivery
// runs twice at once.
type runner struct {
	t    testing.TB
	kill chan struct{}
	once sync.Once
	open sync.WaitGroup

	mu       sync.Mutex
	scripts  map[string]script // by action; "" for all others
	validate func(action string, params json.RawMessage) error
	now      map[string]bool // running deliveries
	active   map[string]int  // runs by action
	peak     map[string]int
	calls    []call
	epochs   map[string]uint64
}

func newRunner(t testing.TB) *runner {
	return &runner{
		t: t, kill: make(chan struct{}), scripts: map[string]script{"": succeed},
		now: map[string]bool{}, active: map[string]int{}, peak: map[string]int{}, epochs: map[string]uint64{},
	}
}

// plays sets the script of an action.
func (p *runner) plays(action string, s script) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scripts[action] = s
}

func (p *runner) Run(ctx context.Context, action string, req *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	p.open.Add(1)
	defer p.open.Done()
	id := req.GetDeliveryId()
	c := call{req, ctx, p.kill}
	p.mu.Lock()
	s := p.scripts[action]
	if s == nil {
		s = p.scripts[""]
	}
	if p.now[id] {
		p.t.Errorf("delivery %s of %s runs twice at once", id, req.GetEventId())
	}
	if req.GetEpoch() <= p.epochs[id] {
		p.t.Errorf("delivery %s: epoch %d after %d", id, req.GetEpoch(), p.epochs[id])
	}
	p.epochs[id] = req.GetEpoch()
	p.now[id] = true
	p.active[action]++
	p.peak[action] = max(p.peak[action], p.active[action])
	p.calls = append(p.calls, c)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.now, id)
		p.active[action]--
	}()
	return s(c)
}

func (p *runner) Validate(action string, params json.RawMessage) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.validate == nil {
		return nil
	}
	return p.validate(action, params)
}

// Close ends what runs when ctx is done.
func (p *runner) Close(ctx context.Context) {
	idle := make(chan struct{})
	go func() { p.open.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	p.once.Do(func() { close(p.kill) })
	<-idle
}

// ran lists what was run, as "event action" in order.
func (p *runner) ran() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, c := range p.calls {
		out = append(out, c.GetEventId()+" "+c.GetAction())
	}
	return out
}

func (p *runner) count() int { return len(p.ran()) }

// bench is a router on a real store.
type bench struct {
	t      *testing.T
	path   string
	cfg    Config
	db     *sqlite.DB
	runner *runner
	r      *Router
	cancel context.CancelFunc
	done   chan error
	log    *lockedBuffer
}

// lockedBuffer collects the log.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

const bounceRule = `
rules:
  - name: bounce
    when: event.type == "down"
    key: event.source
    do: [{action: bounce, with: {args: ["${{ event.source }}"]}}]
`

// policy is the retry policy of the tests: three attempts a second apart at
// most.
var policy = RetryPolicy{Attempts: 3, MaxAge: time.Hour, Min: time.Second, Max: time.Second}

// setup makes a Setup of a rule file.
func setup(t testing.TB, text string, actions ...Action) Setup {
	t.Helper()
	rs, err := rules.LoadFiles([]rules.File{{Name: "rules.yaml", Data: []byte(text)}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := Setup{Rules: rs, Actions: make(map[string]Action)}
	var names []string
	for _, a := range actions {
		if a.Concurrency == 0 {
			a.Concurrency = 4
		}
		if a.Timeout == 0 {
			a.Timeout = 30 * time.Second
		}
		if a.Retry == (RetryPolicy{}) {
			a.Retry = policy
		}
		s.Actions[a.Name] = a
		names = append(names, a.Name)
	}
	slices.Sort(names)
	if s.Revision, err = NewRevision(rs, names, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	return s
}

// inBubble runs f with a clock that jumps to the next thing to do.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// newBench makes a router that does not run yet.
func newBench(t *testing.T, s Setup) *bench {
	t.Helper()
	b := &bench{t: t, path: filepath.Join(t.TempDir(), "store.db"), log: new(lockedBuffer)}
	b.cfg = Config{Setup: s, Instance: store.Instance{ID: "one", Host: "test"}}
	b.open()
	return b
}

// open opens the store anew and makes a router on it.
func (b *bench) open() {
	b.t.Helper()
	db, err := sqlite.Open(sqlite.Config{Path: b.path})
	if err != nil {
		b.t.Fatal(err)
	}
	b.db = db
	b.t.Cleanup(func() { _ = db.Close() })
	b.cfg.Store = db
	b.build()
}

// build makes a router on b.cfg.Store.
func (b *bench) build() {
	b.t.Helper()
	b.runner = newRunner(b.t)
	b.cfg.Runner = b.runner
	b.cfg.Log = slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.cfg.Metrics = nil
	var err error
	if b.r, err = New(b.cfg); err != nil {
		b.t.Fatal(err)
	}
}

// run starts the router; the test's end stops it.
func (b *bench) run() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel, b.done = cancel, make(chan error, 1)
	done := b.done
	r := b.r
	go func() { done <- r.Run(ctx) }()
	b.t.Cleanup(cancel)
	b.t.Cleanup(func() {
		if b.done == done { // not stopped by the test
			b.stop()
		}
	})
	synctest.Wait()
}

// stop ends the router and returns what Run did.
func (b *bench) stop() error {
	b.cancel()
	err := <-b.done
	b.done = nil
	return err
}

// restart closes the store and starts another router on it, as after a crash or
// a shutdown.
func (b *bench) restart() {
	b.t.Helper()
	if err := b.db.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.open()
}

func running(t *testing.T, s Setup) *bench {
	t.Helper()
	b := newBench(t, s)
	b.run()
	return b
}

func event(t testing.TB, id, source string) *rules.Event {
	t.Helper()
	return eventOf(t, id, source, `null`)
}

func eventOf(t testing.TB, id, source, data string) *rules.Event {
	t.Helper()
	ev, err := rules.NewEvent(rules.Attributes{ID: id, Source: source, Type: "down"}, []byte(data), rules.Limits{Depth: 500})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

var fromEvents = Origin{Source: "events", Dedup: 24 * time.Hour, Strict: true}

// accept sends events and fails the test when they are not accepted.
func (b *bench) accept(evs ...*rules.Event) []Result {
	b.t.Helper()
	res, err := b.r.Accept(b.t.Context(), fromEvents, evs)
	if err != nil {
		b.t.Fatalf("accept: %v", err)
	}
	return res
}

// deliveries lists those of an event, oldest first.
func (b *bench) deliveries(eventID string) []store.Delivery {
	b.t.Helper()
	ds, err := b.db.Deliveries(b.t.Context(), store.DeliveryQuery{EventID: eventID})
	if err != nil {
		b.t.Fatal(err)
	}
	slices.Reverse(ds)
	return ds
}

// the is the only delivery of an event.
func (b *bench) the(eventID string) store.Delivery {
	b.t.Helper()
	ds := b.deliveries(eventID)
	if len(ds) != 1 {
		b.t.Fatalf("event %s has %d deliveries: %+v", eventID, len(ds), ds)
	}
	return ds[0]
}

// is checks the state of the only delivery of an event.
func (b *bench) is(eventID string, state store.DeliveryState, attempts int) store.Delivery {
	b.t.Helper()
	d := b.the(eventID)
	if d.State != state || d.Attempts != attempts {
		b.t.Fatalf("delivery of %s is %s (%s) after %d attempts, want %s after %d: %s\n%s",
			eventID, d.State, d.Reason, d.Attempts, state, attempts, d.Error, b.log)
	}
	return d
}

// history is the outcomes of a delivery's attempts.
func (b *bench) history(id string) []string {
	b.t.Helper()
	as, err := b.db.History(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	var out []string
	for _, a := range as {
		out = append(out, fmt.Sprintf("%d %s", a.Number, a.Outcome))
	}
	return out
}

// recorded returns an event as it is stored.
func (b *bench) recorded(id string) store.Event {
	b.t.Helper()
	evs, err := b.db.Events(b.t.Context(), store.EventQuery{ID: id})
	if err != nil || len(evs) != 1 {
		b.t.Fatalf("event %s: %d stored, %v", id, len(evs), err)
	}
	return evs[0]
}

func (b *bench) retry(id string) Ordered   { return b.order(id, b.r.Retry) }
func (b *bench) cancelD(id string) Ordered { return b.order(id, b.r.Cancel) }

func (b *bench) order(id string, do func(context.Context, []string) ([]Ordered, error)) Ordered {
	b.t.Helper()
	out, err := do(b.t.Context(), []string{id})
	if err != nil || len(out) != 1 {
		b.t.Fatalf("order: %v, %v", out, err)
	}
	return out[0]
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d) // the bubble's clock
	synctest.Wait()
}

func retryAfter(d time.Duration) script {
	return func(call) (*actionv1.RunResponse, error) {
		return &actionv1.RunResponse{Status: actionv1.Status_STATUS_FAILED, Error: "busy", RetryAfter: durationpb.New(d)}, nil
	}
}
