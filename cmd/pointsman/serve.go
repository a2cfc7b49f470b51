package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/actions/host"
	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/router/monitor"
	"github.com/pointsman/pointsman/router/monitor/probe"
	"github.com/pointsman/pointsman/router/monitor/snmptrap"
	"github.com/pointsman/pointsman/router/monitor/syslog"
	"github.com/pointsman/pointsman/router/store"
)

func (a *app) serveCmd() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the router until SIGTERM",
		Long: "Run the router. Logs go to stderr, as JSON when it is not a terminal. SIGHUP loads the configuration's\n" +
			"rules, sources, events and actions again, as a whole or not at all. SIGTERM and SIGINT stop it: nothing is accepted any\n" +
			"more, running actions get shutdown_grace, what they do not finish is run after the next start.\n" +
			"With --dry-run everything happens but the calls: they are recorded as dry runs, and deliveries that\n" +
			"wait in the store wait on.\n" +
			"Exits 3 when the configuration is not valid, the store may not be used, or it is unknown what reached the disk.",
		Example: "  pointsman serve\n  pointsman serve -c /etc/pointsman/pointsman.yaml --dry-run",
		Args:    cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			s := &server{app: a, log: a.serveLog(), dryRun: dryRun}
			return s.run(cmd.Context())
		}),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "record what would run, and run nothing")
	return cmd
}

// server is everything that serve wires together.
type server struct {
	app     *app
	log     *slog.Logger
	dryRun  bool
	cfg     *config.Config
	data    *dataDir
	store   store.Full
	host    *host.Host
	router  *router.Router
	events  *ingest.Handler
	metrics *router.Metrics
	// certificates of the public listener; nil: plain HTTP.
	certificates *certificates
	// monitors are the sources that run within the router.
	monitors   *monitor.Supervisor
	trapCounts *snmptrap.Counts
	syslog     *syslog.Metrics
	// probes bounds the checks of all probes at once.
	probes  chan struct{}
	started time.Time
	// memory is the control group's limit in bytes, 0 for none.
	memory int64

	mu        sync.Mutex // guards what a reload changes
	loaded    *loaded
	reloaded  time.Time
	reloadErr error
}

// run is one straight line: nearly every step needs what the one before made,
// and the defers undo them in reverse.
func (s *server) run(ctx context.Context) error {
	// The live heap is a few MiB, so by default the collector would run all the
	// time under load. A block that is never touched takes no memory and makes it
	// wait for as much again; a large heap is collected as ever, which a higher
	// GOGC would not do.
	ballast := make([]byte, ballastBytes)
	defer runtime.KeepAlive(ballast)
	if s.memory = limitMemory(); s.memory > 0 {
		s.log.Info("memory is limited by the control group", "bytes", s.memory)
	}
	s.started = time.Now()
	// First of all: unheard, the signal would end a router that is still starting.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	cfg, err := loadConfig(s.app.configPath)
	if err != nil {
		return &exitError{exitCannotRun, err}
	}
	s.cfg = cfg
	if s.data, err = openDataDir(cfg.DataDir); err != nil {
		return &exitError{exitCannotRun, err}
	}
	defer s.data.close()
	token, err := s.data.adminToken(cfg.Admin.Token.Reveal())
	if err != nil {
		return exitf(exitCannotRun, "admin token: %w", err)
	}
	s.host, err = host.New(host.Config{
		RunDir: filepath.Join(cfg.DataDir, "run"), Instance: s.data.instance.ID,
		Log: s.log, Bundled: bundledDescriptions(),
	})
	if err != nil {
		return &exitError{exitCannotRun, err}
	}
	defer s.host.Close(context.WithoutCancel(ctx))
	if n, err := s.host.Sweep(ctx); err != nil {
		return exitf(exitCannotRun, "end what an earlier router left running: %w", err)
	} else if n > 0 {
		s.log.Warn("ended processes that an earlier router left running", "processes", n)
	}
	setup, err := s.load(ctx)
	if err != nil {
		return &exitError{exitCannotRun, err}
	}
	if s.store, err = openStore(cfg, s.app.now); err != nil {
		return &exitError{exitCannotRun, err}
	}
	defer s.store.Close()
	if err := s.mayUse(ctx); err != nil {
		return &exitError{exitCannotRun, err}
	}
	s.announceDryRun(ctx)
	reg := prometheus.NewRegistry()
	s.metrics, s.monitors = router.NewMetrics(reg), monitor.New(s.log)
	s.trapCounts = snmptrap.NewCounts(reg)
	s.probes = make(chan struct{}, probe.MaxConcurrent)
	s.register(reg)
	s.router, err = router.New(router.Config{
		Store: s.store, Runner: s.host, Setup: setup, Instance: s.data.instance, Log: s.log, Now: s.app.now, Metrics: s.metrics,
		FanOut: cfg.Limits.DeliveriesPerEvent, Grace: cfg.ShutdownGrace, Durability: cfg.Durability,
		Retention: store.Policy{
			Events: cfg.Retention.Events, Deliveries: cfg.Retention.Deliveries, Size: cfg.Retention.Size,
		},
	})
	if err != nil {
		return err
	}
	watching, err := s.monitorSpecs(cfg)
	if err != nil {
		return &exitError{exitCannotRun, err}
	}
	s.monitors.Replace(watching)
	stop, err := s.listen(reg, token)
	if err != nil {
		return &exitError{exitCannotRun, err}
	}
	done := make(chan struct{})
	var background sync.WaitGroup
	background.Go(func() {
		for {
			select {
			case <-reload:
				s.reload(ctx)
			case <-done:
				return
			}
		}
	})
	background.Go(func() {
		select {
		case <-s.router.Started():
			s.monitors.Start()
		case <-done:
		}
	})
	// The listener and the sources stop taking new work before the router drains.
	routing, drain := context.WithCancel(context.WithoutCancel(ctx))
	defer drain()
	unhook := context.AfterFunc(ctx, func() {
		defer drain()
		s.log.Info("stopping", "running", s.router.Running(), "grace", cfg.ShutdownGrace)
		s.events.Stop()
		s.stopSources(cfg.ShutdownGrace)
	})
	defer unhook()
	err = s.router.Run(routing)
	s.stopSources(cfg.ShutdownGrace) // the router may have ended by itself
	close(done)
	background.Wait()
	stop()
	if err != nil {
		return &exitError{exitCannotRun, err}
	}
	s.log.Info("stopped")
	return nil
}

// load reads rules and asks plugins, and makes the host run what is configured.
func (s *server) load(ctx context.Context) (router.Setup, error) {
	l, err := s.read(ctx, s.cfg)
	if err != nil {
		return router.Setup{}, err
	}
	setup, err := l.setup(time.Now())
	if err != nil {
		return router.Setup{}, err
	}
	if err := s.host.Replace(l.specs); err != nil {
		return router.Setup{}, err
	}
	for action, why := range l.broken {
		s.log.Error("action is broken; its deliveries wait", "action", action, "error", why)
	}
	for _, w := range l.warnings() {
		s.log.Warn("configuration", "warning", w.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded, s.reloaded = l, time.Now()
	return setup, nil
}

// read loads what cfg names; in a dry run with every rule dry.
func (s *server) read(ctx context.Context, cfg *config.Config) (*loaded, error) {
	l, err := load(ctx, cfg, s.host, true, nil)
	if err == nil && s.dryRun {
		l.rules = l.rules.AsDryRun()
	}
	return l, err
}

// announceDryRun says that nothing will run, and how much waits.
func (s *server) announceDryRun(ctx context.Context) {
	if !s.dryRun {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	waiting := 0
	counts, err := s.store.Counts(ctx)
	if err != nil {
		s.log.Warn("asking the store what waits", "error", err)
	}
	for _, c := range counts {
		if c.State == store.Ready || c.State == store.Leased {
			waiting += c.N
		}
	}
	s.log.Warn("dry run: events are recorded and nothing is run; what waits, waits on", "waiting", waiting)
}

// reload replaces rules, sources and actions, or changes nothing and says why.
func (s *server) reload(ctx context.Context) {
	err := s.tryReload(ctx)
	s.mu.Lock()
	s.reloadErr = err
	s.mu.Unlock()
	if err != nil {
		s.log.Error("reload changed nothing", "error", err)
		return
	}
	s.log.Info("reloaded", "rules", len(s.router.Setup().Rules.Rules()), "revision", s.router.Setup().Revision.ID)
}

func (s *server) tryReload(ctx context.Context) error {
	cfg, err := loadConfig(s.app.configPath)
	if err != nil {
		return err
	}
	if key := needsRestart(s.cfg, cfg); key != "" {
		return fmt.Errorf("%s changed: that needs a restart", key)
	}
	l, err := s.read(ctx, cfg)
	if err != nil {
		return err
	}
	setup, err := l.setup(time.Now())
	if err != nil {
		return err
	}
	watching, err := s.monitorSpecs(cfg)
	if err != nil {
		return err
	}
	// The host first: rules in force never name an action it does not know. Should
	// the store refuse the revision, the host goes back.
	old := s.view()
	if err := s.host.Replace(l.specs); err != nil {
		return err
	}
	if err := s.router.Reload(ctx, setup); err != nil {
		return errors.Join(err, s.host.Replace(old.specs))
	}
	s.events.SetSources(ingestSources(l))
	if s.certificates != nil {
		s.certificates.reload()
	}
	s.monitors.Replace(watching)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg, s.loaded, s.reloaded = cfg, l, time.Now()
	return nil
}

// needsRestart names a changed key that a reload cannot apply; "" for none.
func needsRestart(old, cfg *config.Config) string {
	switch {
	case old.Name != cfg.Name:
		return "name"
	case old.Listen != cfg.Listen:
		return "listen"
	case old.Admin != cfg.Admin:
		return "admin"
	case old.DataDir != cfg.DataDir:
		return "data_dir"
	case old.Store != cfg.Store || old.Durability != cfg.Durability:
		return "store or durability"
	case old.Limits != cfg.Limits:
		return "limits"
	case old.Retention != cfg.Retention:
		return "retention"
	case old.ShutdownGrace != cfg.ShutdownGrace:
		return "shutdown_grace"
	case (old.TLS == nil) != (cfg.TLS == nil) || old.TLS != nil && *old.TLS != *cfg.TLS:
		return "tls"
	}
	return ""
}

func (s *server) view() *loaded {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loaded
}

// mayUse refuses a store that promises less than is configured. One that cannot
// be asked yet is waited for later.
func (s *server) mayUse(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	short, err := s.store.Shortfalls(ctx, s.cfg.Durability)
	if err != nil {
		s.log.Warn("asking the store for its settings", "error", err)
		return nil
	}
	var fatal []error
	for _, f := range short {
		if f.Fatal {
			fatal = append(fatal, fmt.Errorf("the store promises less than durability %s: %s is %s, want %s",
				durabilityName(s.cfg.Durability), f.Setting, f.Value, f.Want))
		}
	}
	return errors.Join(fatal...)
}

// listen opens both listeners. stop closes them and waits for their handlers.
func (s *server) listen(reg *prometheus.Registry, token string) (stop func(), err error) {
	s.events = s.newIngest()
	s.events.SetSources(ingestSources(s.view()))
	publicLn, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if s.cfg.TLS != nil {
		s.certificates, err = newCertificates(*s.cfg.TLS, s.log, time.Now)
		if err != nil {
			_ = publicLn.Close()
			return nil, fmt.Errorf("tls: %w", err)
		}
		reg.MustRegister(s.certificates)
		publicLn = tls.NewListener(publicLn, s.certificates.config())
	}
	adminLn, err := net.Listen("tcp", s.cfg.Admin.Listen)
	if err != nil {
		_ = publicLn.Close()
		return nil, fmt.Errorf("admin listen: %w", err)
	}
	public := ingest.NewServer(s.events, s.connections())
	private := &http.Server{
		Handler: admin.New(admin.Config{
			Router: s, Orders: s.router, Pauser: s.router, Schedules: s, Store: s.store, Metrics: reg, Token: token, Captures: s.events.Captures,
			Listen: s.cfg.Admin.Listen, Version: buildVersion(), Depth: s.cfg.Limits.Depth, Log: s.log,
			Panicked: s.panicked,
		}),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	public.ErrorLog = private.ErrorLog
	var serving sync.WaitGroup
	serving.Go(func() { s.served(public.Serve(publicLn)) })
	serving.Go(func() { s.served(private.Serve(adminLn)) })
	s.log.Info("listening", "events", publicLn.Addr().String(), "admin", adminLn.Addr().String(),
		"store", s.storeName(), "version", buildVersion().Version)
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		for _, srv := range []*http.Server{public, private} {
			if srv.Shutdown(ctx) != nil {
				_ = srv.Close()
			}
		}
		serving.Wait()
	}, nil
}

func (s *server) served(err error) {
	if !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("listener ended", "error", err)
	}
}

func (s *server) register(reg *prometheus.Registry) {
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		router.NewQueueMetrics(router.QueueConfig{Counter: s.store}),
		newPluginMetrics(s.host, s.Actions),
		s.monitors,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "pointsman_ingest_in_flight_bytes",
			Help: "Memory that the bodies of requests take which are being received or stored; limits.in_flight bounds it.",
		}, func() float64 { return float64(s.events.InFlight()) }),
	)
	s.syslog = syslog.NewMetrics(reg)
	v := buildVersion()
	router.RegisterBuildInfo(reg, v.Version, v.Commit)
}

// serveLog is the log of serve: for people on a terminal, JSON otherwise.
func (a *app) serveLog() *slog.Logger {
	if a.terminal(a.stderr) {
		return slog.New(slog.NewTextHandler(a.stderr, nil))
	}
	return slog.New(slog.NewJSONHandler(a.stderr, nil))
}

// quietLog shows only errors, for commands whose output is for people.
func (a *app) quietLog() *slog.Logger {
	return slog.New(slog.DiscardHandler)
}
