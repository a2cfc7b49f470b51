package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/host"
	"github.com/pointsman/pointsman/plugins/exec"
	"github.com/pointsman/pointsman/plugins/http"
	"github.com/pointsman/pointsman/plugins/log"
	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// bundled are the plugins that this binary carries.
func bundled() map[string]actions.Action {
	logger := actions.Logger()
	return map[string]actions.Action{
		"exec": exec.New(),
		"http": http.New(),
		"log":  log.New(logger),
	}
}

func bundledDescriptions() map[string]actions.Description {
	out := make(map[string]actions.Description)
	for name, a := range bundled() {
		out[name] = a.Describe()
	}
	return out
}

func bundledNames() []string {
	var names []string
	for name := range bundled() {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// loaded is a configuration with its rules, as serve and check load it.
type loaded struct {
	cfg   *config.Config
	rules *rules.Ruleset
	specs []host.Spec
	// described are the actions' plugins as far as they answered; broken says
	// why the others did not.
	described map[string]actions.Description
	broken    map[string]error
	// hooks are the compiled webhook sources.
	hooks map[string]*rules.Translator
}

// loadConfig reads pointsman.yaml.
func loadConfig(path string) (*config.Config, error) {
	return config.Load(path, config.Options{Bundled: bundledNames(), Env: os.LookupEnv})
}

// loadOffline reads pointsman.yaml for commands that call nobody: what they do
// needs no secret, and where it is done there may be none.
func loadOffline(path string) (*config.Config, error) {
	return config.Load(path, config.Options{Bundled: bundledNames(), Env: os.LookupEnv, WithoutSecrets: true})
}

// load asks the plugins what they take, and loads the rules against that. With
// ask false, executables are not started and their parameters not checked. lint,
// unless nil, takes the warnings of the rules. The error holds every problem with its place.
func load(ctx context.Context, cfg *config.Config, h *host.Host, ask bool, lint *rules.Lint) (*loaded, error) {
	l := &loaded{
		cfg: cfg, specs: specs(cfg),
		described: make(map[string]actions.Description), broken: make(map[string]error),
		hooks: make(map[string]*rules.Translator),
	}
	if ask {
		l.describe(ctx, h)
	}
	var problems []error
	byName := make(map[string]rules.Action, len(l.specs))
	for i, spec := range l.specs {
		a := cfg.Actions[i]
		if err := h.ValidateSettings(spec); err != nil {
			problems = append(problems, cfg.Problem(a.SettingsPos, "action %q: %v", a.Name, err))
		}
		byName[a.Name] = rules.Action{
			CheckParams: func(params json.RawMessage) error { return h.ValidateParams(spec, params) },
			Emits:       emits(cfg, a),
		}
	}
	for _, src := range cfg.Sources {
		if !src.Hook() {
			continue
		}
		tr, err := rules.NewTranslator(src.Translation)
		if err != nil { // config.Load has compiled it before
			problems = append(problems, cfg.Problem(src.Pos, "source %q: %v", src.Name, err))
			continue
		}
		l.hooks[src.Name] = tr
	}
	fsys, patterns := cfg.RulesFS()
	var err error
	if l.rules, err = rules.Load(fsys, rules.Options{Actions: byName, Overlaps: overlaps(cfg), Lint: lint}, patterns...); err != nil {
		problems = append(problems, err)
	}
	return l, errors.Join(problems...)
}

// describe asks every plugin, at the same time.
func (l *loaded) describe(ctx context.Context, h *host.Host) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, spec := range l.specs {
		wg.Go(func() {
			d, err := h.Describe(ctx, spec)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				l.broken[spec.Action] = err
				return
			}
			l.described[spec.Action] = d
		})
	}
	wg.Wait()
}

// brokenProblems gives the broken actions their places in the file.
func (l *loaded) brokenProblems() []error {
	var out []error
	for _, a := range l.cfg.Actions {
		if err := l.broken[a.Name]; err != nil {
			out = append(out, l.cfg.Problem(a.PluginPos, "action %q: %v", a.Name, err))
		}
	}
	return out
}

// warnings are those that serve logs.
func (l *loaded) warnings() []*strictyaml.Error {
	out := append([]*strictyaml.Error(nil), l.cfg.Warnings...)
	if l.rules != nil {
		out = append(out, l.rules.Warnings()...)
	}
	return out
}

// overlaps are those of the actions that say more than allow.
func overlaps(cfg *config.Config) map[string]string {
	out := make(map[string]string)
	for _, a := range cfg.Actions {
		if a.Overlap != "allow" {
			out[a.Name] = a.Overlap
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func specs(cfg *config.Config) []host.Spec {
	out := make([]host.Spec, len(cfg.Actions))
	for i, a := range cfg.Actions {
		mtls := a.MTLS
		out[i] = host.Spec{
			Action: a.Name, Plugin: a.Plugin, SHA256: a.SHA256, MTLS: &mtls,
			Settings: json.RawMessage(a.Settings.Reveal()), Dir: cfg.Dir, User: a.User, Limits: host.Limits(a.Limits),
		}
	}
	return out
}

// setup makes what the router takes of it.
func (l *loaded) setup(now time.Time) (router.Setup, error) {
	s := router.Setup{Rules: l.rules, Actions: make(map[string]router.Action, len(l.cfg.Actions))}
	names := make([]string, 0, len(l.cfg.Actions))
	versions := make(map[string]string)
	for _, a := range l.cfg.Actions {
		names = append(names, a.Name)
		if d, ok := l.described[a.Name]; ok {
			versions[d.Name] = d.Version
		}
		s.Actions[a.Name] = router.Action{
			Name: a.Name, Plugin: a.Plugin, Concurrency: a.Concurrency, Timeout: a.Timeout,
			Hold: a.HoldUncertain, DryRun: a.DryRun,
			Retry: router.RetryPolicy{
				Attempts: a.Retry.Attempts, MaxAge: a.Retry.MaxAge, Min: a.Retry.Min, Max: a.Retry.Max,
			},
		}
	}
	sort.Strings(names)
	var err error
	if s.Revision, err = router.NewRevision(l.rules, names, versions, now); err != nil {
		return s, fmt.Errorf("record the rules: %w", err)
	}
	return s, nil
}
