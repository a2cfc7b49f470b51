package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"github.com/pointsman/pointsman/router/store"
)

func (a *app) serveCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the router until SIGTERM",
		Long: "Run the router. Logs go to stderr, as JSON when it is not a terminal. SIGHUP loads the configuration's\n" +
			"rules, sources, events and actions again, as a whole or not at all. SIGTERM and SIGINT stop it: nothing is accepted any\n" +
			"more, running actions get shutdown_grace, what they do not finish is run after the next start.\n" +
			"Exits 3 when the configuration is not valid or the store may not be used.",
		Example: "  pointsman serve\n  pointsman serve -c /etc/pointsman/pointsman.yaml",
		Args:    cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			s := &server{app: a, log: a.serveLog()}
			return s.run(cmd.Context())
		}),
	}
}

// server is everything that serve wires together.
type server struct {
	app     *app
	log     *slog.Logger
	cfg     *config.Config
	data    *dataDir
	store   store.Full
	host    *host.Host
	router  *router.Router
	events  *ingest.Handler
	started time.Time

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
	ballast := make([]byte, 48<<20)
	defer runtime.KeepAlive(ballast)
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
	if s.store, err = openStore(cfg); err != nil {
		return &exitError{exitCannotRun, err}
	}
	defer s.store.Close()
	if err := s.mayUse(ctx); err != nil {
		return &exitError{exitCannotRun, err}
	}
	reg := prometheus.NewRegistry()
	metrics := router.NewMetrics(reg)
	s.register(reg)
	s.router, err = router.New(router.Config{
		Store: s.store, Runner: s.host, Setup: setup, Instance: s.data.instance, Log: s.log, Metrics: metrics,
		FanOut: cfg.Limits.DeliveriesPerEvent, Grace: cfg.ShutdownGrace, Durability: cfg.Durability,
		Retention: store.Policy{
			Events: cfg.Retention.Events, Deliveries: cfg.Retention.Deliveries, Size: cfg.Retention.Size,
		},
	})
	if err != nil {
		return err
	}
	stop, err := s.listen(metrics, reg, token)
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
	// The listener stops taking new work before the router drains.
	unhook := context.AfterFunc(ctx, func() {
		s.log.Info("stopping", "running", s.router.Running(), "grace", cfg.ShutdownGrace)
		s.events.Stop()
	})
	defer unhook()
	err = s.router.Run(ctx)
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
	l, err := load(ctx, s.cfg, s.host, true)
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
	l, err := load(ctx, cfg, s.host, true)
	if err != nil {
		return err
	}
	setup, err := l.setup(time.Now())
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
func (s *server) listen(metrics *router.Metrics, reg *prometheus.Registry, token string) (stop func(), err error) {
	s.events = s.newIngest(metrics)
	s.events.SetSources(ingestSources(s.view()))
	publicLn, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if s.cfg.TLS != nil {
		tc, err := serverTLS(s.cfg.TLS)
		if err != nil {
			_ = publicLn.Close()
			return nil, fmt.Errorf("tls: %w", err)
		}
		publicLn = tls.NewListener(publicLn, tc)
	}
	adminLn, err := net.Listen("tcp", s.cfg.Admin.Listen)
	if err != nil {
		_ = publicLn.Close()
		return nil, fmt.Errorf("admin listen: %w", err)
	}
	public := ingest.NewServer(s.events)
	private := &http.Server{
		Handler: admin.New(admin.Config{
			Router: s, Orders: s.router, Store: s.store, Metrics: reg, Token: token, Captures: s.events.Captures,
			Listen: s.cfg.Admin.Listen, Version: buildVersion(), Depth: s.cfg.Limits.Depth, Log: s.log,
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

func serverTLS(t *config.TLS) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if t.ClientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(t.ClientCA)
	if err != nil {
		return nil, err
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", t.ClientCA)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}

func (s *server) register(reg *prometheus.Registry) {
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		router.NewQueueMetrics(router.QueueConfig{Counter: s.store}),
		newPluginMetrics(s.host),
	)
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
