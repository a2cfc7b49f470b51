package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	storeSQLite = "sqlite"
	storeRedis  = "redis"
	holdAction  = "hold"
)

// plan says what a round is; it follows from the seed alone.
type plan struct {
	number int
	store  string
	faults []*fault
	// points are the crash points that the fault crash-point takes.
	points []point
	seed   uint64
}

func (p *plan) String() string {
	names := make([]string, len(p.faults))
	for i, f := range p.faults {
		names[i] = f.name
	}
	return p.store + " " + strings.Join(names, "+")
}

// round is one round while it goes on.
type round struct {
	plan
	tools  *tools
	dir    string
	rng    *rand.Rand
	redis  *redisServer
	wire   *wire
	routes []*pointsman
	load   *load
	// read is how much of the ledger is in entries.
	read    int64
	entries []entry
	emptied time.Time
	// clockSet: a router's clock was wrong for a while.
	clockSet bool
	// undo is what ends with the round.
	undo []func()
	res  result
}

// tools are the programs that rounds use, and what this machine permits.
type tools struct {
	pointsman    string
	self, digest string
	strace       bool
	mount        bool
}

// recovery is how long it took after a fault until a new event was accepted and
// run.
type recovery struct {
	Fault string        `json:"fault"`
	Took  time.Duration `json:"took_ns"`
}

// result is what a round showed.
type result struct {
	Number     int           `json:"round"`
	Store      string        `json:"store"`
	Faults     []string      `json:"faults"`
	Took       time.Duration `json:"took_ns"`
	Accepted   int           `json:"accepted"`
	Unanswered int           `json:"unanswered"`
	Deliveries int           `json:"deliveries"`
	Repeated   int           `json:"repeated_attempts"`
	Held       int           `json:"held"`
	Forgotten  int           `json:"forgotten"`
	Recoveries []recovery    `json:"recoveries"`
	Points     []string      `json:"crash_points"`
	Notes      []string      `json:"notes,omitempty"`
	Violations []violation   `json:"violations"`
}

const rulesText = `rules:
  - {name: work, when: 'event.type == "work"', do: [{action: ledger}]}
  - {name: two, when: 'event.type == "two"', do: [{action: ledger}, {action: other}]}
  - {name: once, when: 'event.type == "once"', key: event.data.key, once: 2s, do: [{action: ledger}]}
  - {name: hold, when: 'event.type == "hold"', do: [{action: hold}]}
`

// play runs a round in dir. An error is a fault of the harness or its machine;
// what pointsman did wrong is among the result's violations.
func play(ctx context.Context, t *tools, p plan, dir string) (result, error) {
	r := &round{plan: p, tools: t, dir: dir, rng: rand.New(rand.NewPCG(p.seed, uint64(p.number)))}
	r.res = result{Number: p.number, Store: p.store}
	for _, f := range p.faults {
		r.res.Faults = append(r.res.Faults, f.name)
	}
	begun := time.Now()
	defer r.clean()
	err := r.play(ctx)
	r.res.Took = time.Since(begun)
	if err != nil && ctx.Err() == nil && r.died() {
		// That a router ended by itself is its fault, not the harness's.
		r.violate(kindFault, "%v", err)
		err = nil
	}
	return r.res, err
}

// died: a router that should run does not.
func (r *round) died() bool {
	for _, p := range r.routes {
		if run := p.process(); run == nil || !run.running() {
			return true
		}
	}
	return false
}

func (r *round) violate(kind, format string, args ...any) {
	r.res.Violations = append(r.res.Violations, violation{kind, fmt.Sprintf(format, args...)})
}

func (r *round) note(format string, args ...any) {
	r.res.Notes = append(r.res.Notes, fmt.Sprintf(format, args...))
}

func (r *round) play(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	r.load.start(ctx, r.seed)
	sleep(ctx, 400*time.Millisecond)
	operating, stop := context.WithCancel(ctx)
	operator := make(chan struct{})
	go func() { r.operate(operating); close(operator) }()
	err := r.inject(ctx)
	stop()
	<-operator
	r.load.end()
	if err != nil {
		return err
	}
	return r.judge(ctx)
}

// inject does one fault after the other, each followed by a new event that must
// get through.
func (r *round) inject(ctx context.Context) error {
	for _, f := range r.faults {
		undone, err := f.inject(ctx, r)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		took, err := r.recover(ctx, undone)
		if err != nil {
			r.violate(kindFault, "after %s: %v", f.name, err)
			return nil
		}
		r.res.Recoveries = append(r.res.Recoveries, recovery{f.name, took})
		sleep(ctx, 300*time.Millisecond)
	}
	return nil
}

// prepare makes what the round needs and starts it.
func (r *round) prepare(ctx context.Context) error {
	for _, dir := range []string{"ledger/locks", "ledger/effects"} {
		if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o700); err != nil {
			return err
		}
	}
	store := storeSQLite
	if r.store == storeRedis {
		if err := os.Mkdir(filepath.Join(r.dir, "redis"), 0o700); err != nil {
			return err
		}
		var err error
		if r.redis, err = newRedis(filepath.Join(r.dir, "redis")); err != nil {
			return err
		}
		r.undo = append(r.undo, func() { r.redis.run.kill() })
		if r.wire, err = newWire(r.redis.addr, rand.New(rand.NewPCG(r.seed, 1))); err != nil {
			return err
		}
		r.undo = append(r.undo, r.wire.close)
		store = "redis://" + r.wire.addr() + "/0"
	}
	routers := 1
	for _, f := range r.faults {
		routers = max(routers, f.routers)
	}
	for i := range routers {
		dir := filepath.Join(r.dir, "router-"+string(rune('a'+i)))
		if err := r.site(dir, store); err != nil {
			return err
		}
		r.routes = append(r.routes, &pointsman{binary: r.tools.pointsman, dir: dir, config: filepath.Join(dir, "pointsman.yaml")})
	}
	r.load = newLoad(fmt.Sprint("r", r.number), r.routes)
	for _, f := range r.faults {
		if f.prepare != nil {
			if err := f.prepare(r); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	for _, p := range r.routes {
		r.undo = append(r.undo, func() {
			if run := p.process(); run != nil && run.running() {
				run.signal(syscall.SIGCONT)
				run.kill()
			}
		})
		if err := p.serve(ctx); err != nil {
			return err
		}
	}
	return nil
}

// site writes the configuration of one router.
func (r *round) site(dir, store string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	plugin := fmt.Sprintf("plugin: %q, sha256: %s, timeout: 20s, retry: {min: 10ms, max: 200ms}, settings: {dir: %q}",
		r.tools.self, r.tools.digest, filepath.Join(r.dir, "ledger"))
	config := fmt.Sprintf("name: torture\nlisten: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0, token: %q}\ndata_dir: %q\nstore: %q\ndurability: strict\n"+
		"rules: [rules.yaml]\nshutdown_grace: 5s\nactions:\n  - {name: ledger, concurrency: 8, %[4]s}\n  - {name: other, concurrency: 2, %[4]s}\n"+
		"  - {name: hold, concurrency: 3, on_uncertain: hold, %[4]s}\n", adminToken, filepath.Join(dir, "data"), store, plugin)
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "pointsman.yaml"), []byte(config), 0o600),
		os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(rulesText), 0o600),
	)
}

func (r *round) clean() {
	for i := len(r.undo) - 1; i >= 0; i-- {
		r.undo[i]()
	}
}

// any is one of the routers.
func (r *round) any() *pointsman { return r.routes[r.rng.IntN(len(r.routes))] }

// operate is a person at work: it cancels what waits or runs and has it run
// again. It leaves the actions that hold what is uncertain alone.
func (r *round) operate(ctx context.Context) {
	for ; ctx.Err() == nil; sleep(ctx, 250*time.Millisecond) {
		var page struct{ Deliveries []storedDelivery }
		if r.routes[0].get(ctx, "/api/v1/deliveries?state=ready&state=leased&action=other&limit=2", &page) != nil || len(page.Deliveries) == 0 {
			continue
		}
		for _, d := range page.Deliveries {
			_ = r.order(ctx, "cancel", []string{d.ID}) // either may fail: all is made good in the end
			_ = r.order(ctx, "retry", []string{d.ID})
		}
	}
}

func (r *round) order(ctx context.Context, what string, ids []string) error {
	body, err := json.Marshal(map[string][]string{"ids": ids})
	if err != nil {
		return err
	}
	return r.routes[0].call(ctx, "POST", "/api/v1/deliveries/"+what, string(body), nil)
}

// recover waits until a new event is accepted and run, and tells how long that
// took from a moment on.
func (r *round) recover(ctx context.Context, from time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	e := r.load.add(typeWork, "k0")
	if !r.load.until202(ctx, r.rng, e) {
		return 0, fmt.Errorf("no event was accepted within %s", patience)
	}
	for ctx.Err() == nil {
		fresh, err := r.readOn()
		if err != nil {
			return 0, err
		}
		for i := range fresh {
			if fresh[i].eventID == e.id && fresh[i].what == "end" {
				return time.Since(from), nil
			}
		}
		sleep(ctx, poll)
	}
	return 0, fmt.Errorf("event %s was accepted and not run within %s", e.id, patience)
}

// readOn reads what is new in the ledger.
func (r *round) readOn() ([]entry, error) {
	fresh, to, err := readLedger(filepath.Join(r.dir, "ledger", "ledger"), r.read)
	r.read = to
	r.entries = append(r.entries, fresh...)
	return fresh, err
}

// judge lets everything come to its end and looks at all of it.
func (r *round) judge(ctx context.Context) error {
	ev := &evidence{sent: r.load.events, confirmed: map[string]bool{}, emptied: r.emptied, clockSet: r.clockSet}
	r.res.Violations = append(r.res.Violations, r.load.problems...)
	r.res.Accepted, r.res.Unanswered = len(r.load.acked), len(r.load.events)-len(r.load.acked)
	if err := r.drain(ctx, ev); err != nil {
		if ctx.Err() != nil {
			return err
		}
		r.violate(kindLost, "%v", err)
	}
	if err := r.collect(ctx, ev); err != nil {
		return err
	}
	if _, err := r.readOn(); err != nil {
		return err
	}
	ev.entries = r.entries
	f := check(ev)
	r.res.Deliveries, r.res.Repeated, r.res.Forgotten = len(ev.deliveries), f.repeated, f.forgotten
	r.res.Violations = append(r.res.Violations, f.violations...)
	for _, p := range r.routes {
		p.process().signal(syscall.SIGTERM)
		if code, err := p.process().wait(patience); err != nil || code != 0 {
			r.violate(kindFault, "pointsman ends with exit code %d after SIGTERM, %v: %s", code, err, tail(p.process().log))
		}
	}
	return writeEvidence(filepath.Join(r.dir, "api.json"), ev)
}

// drain waits until nothing is ready or leased; then it has run again what was
// cancelled and, once it is sure what ran, what is held.
func (r *round) drain(ctx context.Context, ev *evidence) error {
	for {
		if err := r.idle(ctx); err != nil {
			return err
		}
		again, err := r.list(ctx, "state=cancelled&state=held")
		if err != nil {
			return err
		}
		if len(again) == 0 {
			return nil
		}
		var ids []string
		for _, d := range again {
			if d.State == "held" {
				if ev.confirmed[d.ID] || d.Reason != "uncertain" || d.Action != holdAction {
					return fmt.Errorf("delivery %s of event %s (%s) is held: %s", d.ID, d.EventID, d.Action, d.Reason)
				}
				ev.confirmed[d.ID] = true
				r.res.Held++
			}
			ids = append(ids, d.ID)
		}
		if err := r.order(ctx, "retry", ids); err != nil {
			return err
		}
	}
}

func (r *round) idle(ctx context.Context) error {
	var page struct{ Deliveries []storedDelivery }
	var err error
	for late := time.Now().Add(patience); time.Now().Before(late) && ctx.Err() == nil; sleep(ctx, 50*time.Millisecond) {
		if err = r.routes[0].get(ctx, "/api/v1/deliveries?state=ready&state=leased&limit=5", &page); err == nil && len(page.Deliveries) == 0 {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("after %s it is not known whether all has come to its end: %w", patience, err)
	}
	return fmt.Errorf("after %s these have come to no end: %+v", patience, page.Deliveries)
}

// collect reads all events and deliveries.
func (r *round) collect(ctx context.Context, ev *evidence) error {
	for before := ""; ; {
		var page struct {
			Events []storedEvent
			Next   string
		}
		if err := r.routes[0].get(ctx, "/api/v1/events?verdicts=true"+before, &page); err != nil {
			return err
		}
		ev.events = append(ev.events, page.Events...)
		if page.Next == "" {
			break
		}
		before = "&before=" + url.QueryEscape(page.Next)
	}
	var err error
	ev.deliveries, err = r.list(ctx, "")
	return err
}

func (r *round) list(ctx context.Context, query string) ([]storedDelivery, error) {
	var all []storedDelivery
	for before := ""; ; {
		var page struct {
			Deliveries []storedDelivery
			Next       string
		}
		if err := r.routes[0].get(ctx, "/api/v1/deliveries?"+query+before, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Deliveries...)
		if page.Next == "" {
			return all, nil
		}
		before = "&before=" + url.QueryEscape(page.Next)
	}
}
