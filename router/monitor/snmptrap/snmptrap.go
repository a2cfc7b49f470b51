// Package snmptrap takes SNMP traps and informs over UDP and makes one event of
// each: v1 and v2c by community, v3 by user. An inform is acknowledged once its
// event is durable, never before.
package snmptrap

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/monitor/datagram"
	"github.com/pointsman/pointsman/rules"
)

const (
	// lanes work side by side. The messages of one sender share a lane, so their
	// events are accepted in the order of arrival.
	lanes = 64
	// perLane is how many messages of a lane wait; what comes beyond is lost and
	// counted.
	perLane = 512
	// lossEvery is how often, at most, an event tells of losses.
	lossEvery = time.Minute
	// retryFirst and retryMost bound the pause after a store that was away.
	retryFirst, retryMost = 50 * time.Millisecond, 2 * time.Second
)

// Source is a listener for traps. It is a router.Source.
type Source struct {
	name   string
	cfg    config.SNMPTrap
	log    *slog.Logger
	usm    *usm
	seed   maphash.Seed
	counts *Counts
	// listening is told the address, for tests; nil: nobody asks.
	listening func(net.Addr)

	lost atomic.Uint64 // since the last event that told of it
}

// Counts are the metrics of all listeners of a process.
type Counts struct{ dropped *prometheus.CounterVec }

// NewCounts registers them.
func NewCounts(reg prometheus.Registerer) *Counts {
	c := &Counts{dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pointsman_snmptrap_dropped_total",
		Help: "SNMP messages that made no event, by source and reason: denied, malformed, unauthenticated, replayed, overflow.",
	}, []string{"source", "reason"})}
	reg.MustRegister(c.dropped)
	return c
}

// Reasons why a message makes no event.
const (
	denied          = "denied"
	malformed       = "malformed"
	unauthenticated = "unauthenticated"
	replayed        = "replayed"
	overflow        = "overflow"
)

// New makes the source of a configuration. routerName makes, with the source's
// name, our engine id where none is configured.
func New(routerName, name string, cfg *config.SNMPTrap, counts *Counts, log *slog.Logger) (*Source, error) {
	u, err := newUSM(routerName, name, cfg)
	if err != nil {
		return nil, err
	}
	return &Source{name: name, cfg: *cfg, log: log.With("source", name), usm: u, seed: maphash.MakeSeed(), counts: counts}, nil
}

// message is one as it arrived.
type message struct {
	data []byte
	from netip.AddrPort
	at   time.Time
}

// Run implements router.Source.
func (s *Source) Run(ctx context.Context, accept router.AcceptFunc, state router.StateReader) error {
	if err := s.usm.boot(ctx, accept, state); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("count the start: %w", err)
	}
	conn, err := datagram.Listen(s.cfg.Listen)
	if err != nil {
		return err
	}
	s.log.Info("source listens", "network", "udp", "address", conn.Addr().String())
	if s.listening != nil {
		s.listening(conn.Addr())
	}
	w := &work{s: s, conn: conn, accept: accept}
	var wg sync.WaitGroup
	queues := make([]chan message, lanes)
	for i := range queues {
		queues[i] = make(chan message, perLane)
		wg.Go(func() { w.lane(ctx, queues[i]) })
	}
	wg.Go(func() { w.tellLosses(ctx) })
	stop := context.AfterFunc(ctx, func() { conn.Stop(time.Unix(1, 0)) })
	err = s.read(conn, queues)
	stop()
	for _, q := range queues {
		close(q)
	}
	ended := ctx.Err() != nil
	wg.Wait()
	_ = conn.Close()
	if ended {
		return nil
	}
	return err
}

// read hands out what arrives until the connection fails or its deadline comes.
func (s *Source) read(conn *datagram.Conn, queues []chan message) error {
	buf := make([]byte, datagram.Size)
	for {
		n, from, lost, err := conn.Read(buf)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if lost > 0 {
			s.lost.Add(uint64(lost))
			s.counts.dropped.WithLabelValues(s.name, overflow).Add(float64(lost))
		}
		if !s.allowed(from.Addr()) {
			s.drop(denied)
			continue
		}
		d := message{data: append([]byte(nil), buf[:n]...), from: from, at: time.Now()}
		lane := maphash.Comparable(s.seed, from.Addr()) % lanes
		select {
		case queues[lane] <- d:
		default:
			s.lost.Add(1)
			s.drop(overflow)
		}
	}
}

func (s *Source) allowed(a netip.Addr) bool {
	if len(s.cfg.Allow) == 0 {
		return true
	}
	for _, p := range s.cfg.Allow {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (s *Source) drop(reason string) { s.counts.dropped.WithLabelValues(s.name, reason).Inc() }

// work is one Run.
type work struct {
	s      *Source
	conn   *datagram.Conn
	accept router.AcceptFunc
}

// lane takes messages in order. After ctx has ended, what waits still gets one
// try, and nothing is waited for.
func (w *work) lane(ctx context.Context, queue <-chan message) {
	for d := range queue {
		w.take(ctx, d)
	}
}

// take makes the event of one message, or answers what the protocol wants
// answered.
func (w *work) take(ctx context.Context, d message) {
	got, reply, err := w.s.usm.open(d)
	if err != nil {
		var why *refusal
		reason := malformed
		if errors.As(err, &why) {
			reason = why.reason
		}
		w.s.drop(reason)
		w.s.log.Debug("snmp message dropped", "peer", d.from.Addr().String(), "error", err)
	}
	if got == nil {
		w.answer(d, reply)
		return
	}
	ev, err := w.s.event(got, d)
	if err != nil {
		w.s.drop(malformed)
		w.s.log.Warn("trap is no event", "peer", d.from.Addr().String(), "error", err)
		return
	}
	if w.commit(ctx, ev) {
		w.answer(d, reply)
	}
}

// answer sends a reply, which may be nil.
func (w *work) answer(d message, reply []byte) {
	if reply == nil {
		return
	}
	if err := w.conn.Write(reply, d.from); err != nil {
		w.s.log.Debug("snmp answer not sent", "peer", d.from.Addr().String(), "error", err)
	}
}

// commit accepts an event, waiting for a store that is away. False: ctx ended
// first, and the sender of an inform will repeat it.
func (w *work) commit(ctx context.Context, ev *rules.Event) bool {
	pause := retryFirst
	once, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryMost)
	defer cancel()
	for {
		use := ctx
		if ctx.Err() != nil {
			use = once
		}
		_, err := w.accept(use, ev, nil)
		if err == nil {
			return true
		}
		if ctx.Err() != nil || errors.Is(err, router.ErrStopping) {
			w.s.lost.Add(1)
			w.s.log.Error("trap lost while stopping", "event_id", ev.ID(), "error", err)
			return false
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		pause = min(2*pause, retryMost)
	}
}

// tellLosses makes an event of what had to be dropped.
func (w *work) tellLosses(ctx context.Context) {
	tick := time.NewTicker(lossEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		n := w.s.lost.Swap(0)
		if n == 0 {
			continue
		}
		w.s.log.Warn("traps were lost: they came faster than they could be stored", "count", n)
		ev, err := lossEvent(w.s.name, n, time.Now())
		if err == nil {
			_, err = w.accept(ctx, ev, nil)
		}
		if err != nil {
			w.s.lost.Add(n) // to be told later
		}
	}
}
