// Package syslog is the source that listens for syslog and makes one event of
// each line. It hides the transports (UDP, and TCP and TLS with both framings),
// the limits on senders, and the many ways in which devices write a line.
package syslog

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/rules"
)

// Networks that a source can listen on.
const (
	UDP = "udp"
	TCP = "tcp"
	TLS = "tls"
)

// Defaults of Config.
const (
	DefaultMaxLine     = 64 << 10
	DefaultConnections = 1000
	DefaultIdle        = 24 * time.Hour
	DefaultLine        = time.Minute
)

const (
	// workers is how many lines are being stored at once: as many as let a commit
	// be shared by most of them.
	workers = 64
	// drainFor is how long lines that were read may take to be stored after the
	// end was asked for.
	drainFor = 4 * time.Second
	// firstPause and longestPause bound the pauses between tries to store an
	// event.
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
	// reportEvery is the time between two reports of losses and refusals.
	reportEvery = time.Minute
)

// Config configures New.
type Config struct {
	// Name is the configured source's name.
	Name string
	// Network is UDP, TCP or TLS, Listen host:port.
	Network, Listen string
	// Zone is that of times that do not say theirs; nil: UTC.
	Zone *time.Location
	// Allow are the networks of permitted senders; empty: any.
	Allow []netip.Prefix
	// TLS is needed for Network TLS.
	TLS *tls.Config
	// MaxLine in bytes; what is beyond is cut off. 0: DefaultMaxLine.
	MaxLine int
	// Connections is the most at once; 0: DefaultConnections.
	Connections int
	// Idle is how long a connection may be without a line; 0: DefaultIdle.
	Idle time.Duration
	// Line is how long a line may take from its first byte to its last; 0:
	// DefaultLine.
	Line time.Duration
	Log  *slog.Logger
	// Metrics are shared by the sources of this type.
	Metrics *Metrics
	// Now defaults to time.Now. ReportEvery is the least time between two events
	// of LossType; 0: a minute.
	Now         func() time.Time
	ReportEvery time.Duration
	// Listening, if not nil, is told the address once the source listens.
	Listening func(net.Addr)
}

// Source is a router.Source.
type Source struct{ cfg Config }

var _ router.Source = (*Source)(nil)

// New returns a source; Run makes it listen.
func New(cfg Config) *Source {
	if cfg.MaxLine == 0 {
		cfg.MaxLine = DefaultMaxLine
	}
	if cfg.Connections == 0 {
		cfg.Connections = DefaultConnections
	}
	if cfg.Idle == 0 {
		cfg.Idle = DefaultIdle
	}
	if cfg.Line == 0 {
		cfg.Line = DefaultLine
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ReportEvery == 0 {
		cfg.ReportEvery = reportEvery
	}
	return &Source{cfg: cfg}
}

// run is one Run of a source.
type run struct {
	*Source
	accept router.AcceptFunc
	queue  *queue
	// prefix and last make ids: random for this run, and a number.
	prefix string
	last   atomic.Uint64
	report report

	lines, dropped, cut prometheus.Counter
}

// Run listens until ctx ends. Lines that were read by then are stored before it
// returns, unless that takes longer than 4 seconds. The error says why it cannot
// listen (any more).
func (s *Source) Run(ctx context.Context, accept router.AcceptFunc, _ router.StateReader) error {
	m, name := s.cfg.Metrics, s.cfg.Name
	r := &run{
		Source: s, accept: accept, queue: newQueue(), prefix: rand.Text() + "-",
		lines: m.lines.WithLabelValues(name), dropped: m.dropped.WithLabelValues(name), cut: m.cut.WithLabelValues(name),
	}
	serve, err := r.listen(ctx)
	if err != nil {
		return err
	}
	// Storing outlives ctx by drainFor; after that nobody waits for room any more.
	storing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(storing, r.queue.close)()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(drainFor, cancel) })()
	var storers, reporter sync.WaitGroup
	for range workers {
		storers.Go(func() { r.store(storing) })
	}
	reporting, stopReporting := context.WithCancel(context.WithoutCancel(ctx))
	// The last report comes after the last loss.
	reporter.Go(func() { r.reports(reporting, storing) })
	err = serve()
	if err != nil {
		time.AfterFunc(drainFor, cancel)
	}
	r.queue.close()
	storers.Wait()
	stopReporting()
	reporter.Wait()
	return err
}

// listen opens the socket. serve reads from it until ctx ends and then returns
// nil; it has closed everything when it returns.
func (r *run) listen(ctx context.Context) (serve func() error, err error) {
	if r.cfg.Network == UDP {
		return r.listenUDP(ctx)
	}
	return r.listenTCP(ctx)
}

// permitted tells whether a sender may send.
func (r *run) permitted(addr netip.Addr) bool {
	if len(r.cfg.Allow) == 0 {
		return true
	}
	for _, p := range r.cfg.Allow {
		if p.Contains(addr.WithZone("")) {
			return true
		}
	}
	r.refuse(refusedPeer, addr)
	return false
}

// refuse counts a sender that is turned away. The log hears of it now and then.
func (r *run) refuse(reason string, addr netip.Addr) {
	r.cfg.Metrics.refused.WithLabelValues(r.cfg.Name, reason).Inc()
	r.report.refused(addr)
}

// take counts a line that was read.
func (r *run) take(text []byte, cut bool, from netip.Addr) line {
	r.lines.Inc()
	if cut {
		r.cut.Inc()
	}
	return line{text: text, cut: cut, peer: from, received: r.cfg.Now()}
}

// lost counts lines that nobody will see.
func (r *run) lost(queue, kernel int64) {
	r.dropped.Add(float64(queue + kernel))
	r.report.lost(r.cfg.Now(), queue, kernel)
}

// store makes events of lines and has them stored, until the queue is closed and
// empty.
func (r *run) store(ctx context.Context) {
	for {
		l, ok := r.queue.take()
		if !ok {
			return
		}
		ev, err := r.eventOf(l)
		if err != nil {
			r.cfg.Log.Error("a line fits no event", "source", r.cfg.Name, "error", err)
			r.lost(1, 0)
			continue
		}
		if !r.stored(ctx, ev) {
			r.lost(1, 0)
		}
	}
}

// eventOf makes the event of a line. Parse takes whatever there is and makes
// texts that fit an event, so an error is a defect of ours; and even a panic must
// not let one datagram end the router.
func (r *run) eventOf(l line) (ev *rules.Event, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return r.event(l, r.id())
}

func (r *run) id() string { return r.prefix + strconv.FormatUint(r.last.Add(1), 36) }

// stored has an event stored, and tries again with the same id until ctx ends.
func (r *run) stored(ctx context.Context, ev *rules.Event) bool {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		_, err := r.accept(ctx, ev, nil)
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil || errors.Is(err, router.ErrStopping):
			return false
		}
		t := time.NewTimer(pause/2 + mathrand.N(pause/2))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
	}
}
