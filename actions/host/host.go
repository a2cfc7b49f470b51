// Package host runs action plugins: it verifies and starts their processes,
// each under a reaper, keeps them alive, sends them runs, and makes sure that
// nothing they started outlives them. It needs Linux.
//
// What a plugin does, whatever it does, must not hurt the router: its output is
// bounded and cleaned, its messages are limited, its address must be a socket in
// a private folder, and no call to it waits without a deadline. A plugin that
// acts against the user it runs as is not kept out; that is said in the docs.
package host

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pointsman/pointsman/actions"
	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

// Config is what a Host needs to know.
type Config struct {
	// RunDir is a private folder for sockets. When it is empty or its path is too
	// long for a socket, a folder with a short path is made instead.
	RunDir string
	// Instance names this router's data; processes are marked with it for Sweep.
	// Empty: a random one.
	Instance string
	// Log; nil: slog.Default().
	Log *slog.Logger
	// Reaper is the argv of a process that calls ReaperMain with the arguments
	// that follow. Nil: this program with the argument "reaper".
	Reaper []string
	// Bundled are the plugins that this program carries.
	Bundled map[string]actions.Description
	// Plugin is the argv of a process that serves the bundled plugin named by the
	// argument that follows. Nil: this program with the argument "plugin".
	Plugin []string
	// StartTimeout is how long a plugin may take to start; 0: 10 s.
	StartTimeout time.Duration
	// CancelGrace is how long a run may take to answer its cancellation before
	// the plugin is stopped; 0: 5 s.
	CancelGrace time.Duration
	// HealthEvery and HealthDeadline: how often a sign of life is asked for, and
	// how long it may take; 0: 5 s and 2 s. Three misses end the process.
	HealthEvery    time.Duration
	HealthDeadline time.Duration
	// CircuitCrashes within CircuitWindow stop a plugin from being started, for
	// CircuitPause at first and twice that each time it crashes again, up to 5
	// minutes; 0: 5 crashes, 10 minutes and 10 s. Runs are refused meanwhile as
	// Unavailable. A process that had to be stopped for a run over its time is none.
	CircuitCrashes int
	CircuitWindow  time.Duration
	CircuitPause   time.Duration
}

// selfExe is the running image, whatever has become of the file.
const selfExe = "/proc/self/exe"

// maxSocketDir leaves room for the names in it: a socket's path has at most 107
// bytes.
const maxSocketDir = 60

// Host keeps the plugins of all configured actions. Its methods are safe for
// concurrent use. Close it.
type Host struct {
	cfg     Config
	sockets string
	made    bool // sockets was made by New
	openMu  sync.Mutex
	open    string // see openSockets; empty: not made yet
	memory  func(name string) *os.File
	root    string // of the control groups' file system; empty but in tests
	images  images

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.RWMutex
	workers map[string]*worker
	known   map[string]known // by plugin and checksum
	closed  bool
}

// known is a plugin that has described itself.
type known struct {
	desc  actions.Description
	check *schemas
}

// New returns a Host without actions. Nothing is started.
func New(cfg Config) (*Host, error) {
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	cfg.Instance = cmp.Or(cfg.Instance, rand.Text())
	cfg.StartTimeout = cmp.Or(cfg.StartTimeout, 10*time.Second)
	cfg.CancelGrace = cmp.Or(cfg.CancelGrace, 5*time.Second)
	cfg.HealthEvery = cmp.Or(cfg.HealthEvery, 5*time.Second)
	cfg.HealthDeadline = cmp.Or(cfg.HealthDeadline, 2*time.Second)
	cfg.CircuitCrashes = cmp.Or(cfg.CircuitCrashes, circuitCrashes)
	cfg.CircuitWindow = cmp.Or(cfg.CircuitWindow, circuitWindow)
	cfg.CircuitPause = cmp.Or(cfg.CircuitPause, circuitPause)
	if cfg.Reaper == nil {
		cfg.Reaper = []string{selfExe, "reaper"}
	}
	if cfg.Plugin == nil {
		cfg.Plugin = []string{selfExe, "plugin"}
	}
	h := &Host{cfg: cfg, memory: memoryFile, workers: make(map[string]*worker), known: make(map[string]known)}
	for name, desc := range cfg.Bundled {
		check, err := compile(desc)
		if err != nil {
			return nil, fmt.Errorf("bundled plugin %s: %w", name, err)
		}
		h.known[name] = known{desc, check}
	}
	if err := h.makeSockets(); err != nil {
		return nil, fmt.Errorf("folder for sockets: %w", err)
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h, nil
}

// makeSockets finds a private folder with a short path and empties it. One that
// is not RunDir is noted there, so that the next start finds it.
func (h *Host) makeSockets() error {
	dir, note := h.cfg.RunDir, ""
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
		note = filepath.Join(dir, "sockets")
		if old, err := os.ReadFile(note); err == nil && strings.HasPrefix(filepath.Base(string(old)), "pointsman-") {
			_ = os.RemoveAll(string(old))
		}
		if old, err := os.ReadFile(filepath.Join(dir, openNote)); err == nil && strings.HasPrefix(filepath.Base(string(old)), "pointsman-") {
			_ = os.RemoveAll(string(old))
		}
		left, _ := filepath.Glob(filepath.Join(dir, "plugin-dir*"))
		for _, l := range left {
			_ = os.RemoveAll(l)
		}
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if len(abs) <= maxSocketDir {
			h.sockets = abs
			return nil
		}
	}
	parent := os.TempDir()
	if len(parent) > maxSocketDir-20 {
		parent = "/tmp"
	}
	made, err := os.MkdirTemp(parent, "pointsman-")
	if err != nil {
		return err
	}
	if made, err = filepath.Abs(made); err != nil {
		return err
	}
	h.sockets, h.made = made, true
	if note != "" {
		return os.WriteFile(note, []byte(made), 0o600)
	}
	return nil
}

// newProcess prepares a start; for an external plugin it verifies the file.
func (h *Host) newProcess(spec *Spec, log *slog.Logger) (*process, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	p := &process{
		session: h.cfg.Instance + "/" + rand.Text(),
		mtls:    spec.mtls(),
		log:     log,
		lines:   &lineLog{log: log},
		gone:    make(chan struct{}),
		reaper:  h.cfg.Reaper,
		parent:  h.sockets,

		instance: h.cfg.Instance, limits: spec.Limits, root: h.root,
	}
	p.env = hostEnv(os.Environ())
	if spec.User != "" {
		var err error
		if p.account, err = lookup(spec.User); err != nil {
			return nil, err
		}
		if p.parent, err = h.openSockets(); err != nil {
			return nil, err
		}
		p.env = p.account.env(p.env)
	}
	p.env = append(p.env, spec.Env...)
	p.env = append(p.env, sessionEnv+"="+p.session)
	if !spec.external() {
		if _, ok := h.cfg.Bundled[spec.Plugin]; !ok {
			return nil, fmt.Errorf("there is no bundled plugin %q; an executable needs its path", spec.Plugin)
		}
		p.program = slices.Concat(h.cfg.Plugin[:1], h.cfg.Plugin, []string{spec.Plugin})
		return p, nil
	}
	image, err := h.images.open(spec.Plugin, spec.SHA256, h.memory)
	if err != nil {
		return nil, err
	}
	p.image = image
	p.program = []string{imageArg, spec.Plugin}
	return p, nil
}

// hostEnv keeps what a plugin may see of the router's environment.
func hostEnv(from []string) []string {
	var out []string
	for _, kv := range from {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH", "HOME", "LANG", "TZ", "TMPDIR":
			out = append(out, kv)
		default:
			if strings.HasPrefix(name, "LC_") {
				out = append(out, kv)
			}
		}
	}
	return out
}

// Add adds an action. Nothing is started. It is an error when the action exists.
func (h *Host) Add(spec Spec) error {
	if err := spec.check(); err != nil {
		return fmt.Errorf("action %q: %w", spec.Action, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return errors.New("the host is closed")
	case h.workers[spec.Action] != nil:
		return fmt.Errorf("action %q exists", spec.Action)
	}
	h.workers[spec.Action] = newWorker(h, spec, closedChan())
	return nil
}

func closedChan() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Replace puts specs in place of all actions, or changes nothing on an error. An
// action that stays the same is not touched. A changed one gets a new process,
// started after the old one has finished its runs; a removed one finishes its
// runs and is stopped.
func (h *Host) Replace(specs []Spec) error {
	var errs []error
	for i := range specs {
		if err := specs[i].check(); err != nil {
			errs = append(errs, fmt.Errorf("action %q: %w", specs[i].Action, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errors.New("the host is closed")
	}
	next := make(map[string]*worker, len(specs))
	for _, spec := range specs {
		old := h.workers[spec.Action]
		switch {
		case next[spec.Action] != nil:
			return fmt.Errorf("action %q: named twice", spec.Action)
		case old == nil:
			next[spec.Action] = newWorker(h, spec, closedChan())
		case old.spec.equal(&spec):
			next[spec.Action] = old
		default:
			next[spec.Action] = newWorker(h, spec, old.done)
		}
	}
	for name, old := range h.workers {
		if next[name] != old {
			h.wg.Go(func() { old.close(h.ctx) })
		}
	}
	h.workers = next
	return nil
}

// Run sends one run to the plugin of an action and returns its result, however
// it ended. It starts the plugin when it does not run, and waits for it and for
// a free place until ctx ends.
//
// When ctx ends the run is cancelled, and its result is still waited for, and
// preferred, within the cancel grace. An error is an *Error: the run has no
// result. It is returned only when nothing of the run goes on.
func (h *Host) Run(ctx context.Context, action string, req *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	for {
		h.mu.RLock()
		w := h.workers[action]
		h.mu.RUnlock()
		if w == nil {
			return nil, &Error{kindUnavailable, action, errors.New("there is no such action")}
		}
		res, err := h.runOn(ctx, w, req)
		if !errors.Is(err, errNotSent) {
			return res, err
		}
		h.mu.RLock()
		closed := h.closed
		h.mu.RUnlock()
		if closed {
			return nil, &Error{kindUnavailable, action, errors.New("the router is stopping")}
		}
	}
}

func (h *Host) runOn(ctx context.Context, w *worker, req *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	if !w.enter() {
		return nil, errNotSent // replaced meanwhile
	}
	defer w.leave()
	probe, err := w.circuit.enter(time.Now())
	if err != nil {
		return nil, w.unavailable(err)
	}
	var res *actionv1.RunResponse
	for {
		var in *instance
		if in, err = w.acquire(ctx, probe); err != nil {
			break
		}
		if res, err = in.run(ctx, req); !errors.Is(err, errNotSent) {
			break
		}
		<-in.gone
	}
	if probe {
		w.settleGone() // a crash is counted before the next is let in
		w.circuit.leave(err == nil)
	}
	return res, err
}

// Describe says what a plugin is. A bundled one is known; an executable is
// verified, started, asked and stopped, and then known to Validate.
func (h *Host) Describe(ctx context.Context, spec Spec) (actions.Description, error) {
	if err := spec.check(); err != nil {
		return actions.Description{}, err
	}
	if d, ok := h.cfg.Bundled[spec.Plugin]; ok && !spec.external() {
		return d, nil
	}
	in, err := h.launch(ctx, &spec, false)
	if err != nil {
		return actions.Description{}, err
	}
	in.stop()
	h.learn(&spec, in.desc, in.check)
	return in.desc, nil
}

func knownKey(spec *Spec) string {
	if spec.external() {
		return spec.Plugin + "\x00" + strings.ToLower(spec.SHA256)
	}
	return spec.Plugin
}

func (h *Host) learn(spec *Spec, d actions.Description, s *schemas) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known[knownKey(spec)] = known{d, s}
}

// Validate says what is wrong with parameters for an action, nil when nothing
// is. It starts nothing: the parameters of an executable that has neither been
// described nor run yet are not checked.
func (h *Host) Validate(action string, params json.RawMessage) error {
	h.mu.RLock()
	w := h.workers[action]
	var k known
	if w != nil {
		k = h.known[knownKey(w.spec)]
	}
	h.mu.RUnlock()
	switch {
	case w == nil:
		return fmt.Errorf("there is no action %q", action)
	case k.check == nil:
		return nil
	}
	return k.check.checkParams(params)
}

// ValidateSettings says what is wrong with the settings of a spec, on the same
// terms as Validate.
func (h *Host) ValidateSettings(spec Spec) error {
	h.mu.RLock()
	k := h.known[knownKey(&spec)]
	h.mu.RUnlock()
	if k.check == nil {
		return nil
	}
	return k.check.checkSettings(spec.settings())
}

// Sweep kills what an earlier router of this instance left behind; see Sweep.
// Call it before the first Run.
func (h *Host) Sweep(ctx context.Context) (int, error) { return Sweep(ctx, h.cfg.Instance) }

// Status lists the actions by name.
func (h *Host) Status() []Status {
	h.mu.RLock()
	out := make([]Status, 0, len(h.workers))
	for _, w := range h.workers {
		out = append(out, w.status())
	}
	h.mu.RUnlock()
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.Action, b.Action) })
	return out
}

// Close takes no more runs, waits for those in flight until ctx ends, and stops
// all plugins with everything they started. Runs that were still open are then
// Crashed. It returns when all processes are gone.
func (h *Host) Close(ctx context.Context) {
	h.mu.Lock()
	again := h.closed
	h.closed = true
	workers := h.workers
	h.mu.Unlock()
	if !again {
		stop := context.AfterFunc(ctx, h.cancel) // those being replaced, too
		defer stop()
		var wg sync.WaitGroup
		for _, w := range workers {
			wg.Go(func() { w.close(ctx) })
		}
		wg.Wait()
	}
	h.wg.Wait()
	h.cancel()
	h.images.close()
	if h.made {
		_ = os.RemoveAll(h.sockets)
	}
	h.openMu.Lock()
	defer h.openMu.Unlock()
	if h.open != "" {
		_ = os.RemoveAll(h.open)
	}
}
