// Package netlink is the source that hears from the Linux kernel about the
// network of this host: interfaces, addresses, routes and neighbours.
//
// It hides the messages of rtnetlink, the comparison with what was known before,
// and what happens when messages are lost. Who wants to know of another network
// namespace runs the router in it.
package netlink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/monitor/memory"
	"github.com/pointsman/pointsman/rules"
)

// The types of the events.
const (
	// TypeLinkUp and TypeLinkDown: an interface can carry traffic, or cannot any
	// more.
	TypeLinkUp   = "net.link.up"
	TypeLinkDown = "net.link.down"
	// TypeLinkAdded and TypeLinkRemoved: an interface has come or gone.
	TypeLinkAdded   = "net.link.added"
	TypeLinkRemoved = "net.link.removed"
	// TypeAddressAdded and TypeAddressRemoved tell of addresses.
	TypeAddressAdded   = "net.address.added"
	TypeAddressRemoved = "net.address.removed"
	// TypeRouteAdded, TypeRouteRemoved and TypeRouteChanged tell of routes; changed
	// is another way to the same destination.
	TypeRouteAdded   = "net.route.added"
	TypeRouteRemoved = "net.route.removed"
	TypeRouteChanged = "net.route.changed"
	// TypeNeighbourFailed: a neighbour that was reachable does not answer any more.
	TypeNeighbourFailed = "net.neighbour.failed"
	// TypeNeighbourReachable: it does again.
	TypeNeighbourReachable = "net.neighbour.reachable"
	// TypeNeighbourChanged: it has another link-layer address.
	TypeNeighbourChanged = "net.neighbour.changed"
	// TypeLost: messages were lost. What has changed in the end follows in events
	// of its own; what came and went again is not known.
	TypeLost = "net.lost"
)

// The kinds of things to watch.
const (
	Link      = "link"
	Address   = "address"
	Route     = "route"
	Neighbour = "neighbour"
)

const (
	// DefaultLimit is the most things of one kind.
	DefaultLimit = 10_000
	// DefaultBuffer is what the kernel may hold for the source, in bytes.
	DefaultBuffer = 4 << 20
	// waiting is how many messages are held between the kernel and the store.
	waiting = 4096
	// shards is the number of states of each kind; a change writes one of them.
	shards = 32
	// quiet is the pause after which everything is compared again: the kernel tells
	// nothing of, for one, the routes that go with an IPv4 interface. restless is
	// when that happens without a pause.
	quiet    = time.Second
	restless = 15 * time.Second
	// forget is after what time a neighbour that failed and is not in the kernel's
	// table any more is not known any more.
	forget = 24 * time.Hour
	// calm is the time in which there is one event of lost messages.
	calm = 10 * time.Second
)

// Config says what to watch.
type Config struct {
	// Source is the configured source's name; Host is that of this host, which
	// tells routers on one Redis apart.
	Source, Host string
	// Watch are kinds.
	Watch []string
	// Interfaces are patterns as of path.Match that the names of interfaces must
	// match; none: all. Except are those that must not.
	Interfaces, Except []string
	// Limit is the most things of one kind; with more Run fails. 0: DefaultLimit.
	Limit int
	// Buffer in bytes; 0: DefaultBuffer.
	Buffer int
}

// Source implements router.Source.
type Source struct{ cfg Config }

// New returns the source.
func New(cfg Config) *Source {
	if cfg.Limit == 0 {
		cfg.Limit = DefaultLimit
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = DefaultBuffer
	}
	return &Source{cfg: cfg}
}

// Run watches until ctx ends.
func (s *Source) Run(ctx context.Context, accept router.AcceptFunc, state router.StateReader) error {
	// Heard first and asked then, so that nothing happens in between.
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: s.groups()})
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	if err := grow(conn, s.cfg.Buffer); err != nil {
		return errors.Join(fmt.Errorf("netlink: receive buffer: %w", err), conn.Close())
	}
	w := &watch{cfg: &s.cfg, accept: accept, sets: make(map[string]*memory.Set), names: make(map[uint32]string)}
	for _, kind := range s.cfg.Watch {
		if w.sets[kind], err = memory.Open(ctx, accept, state, s.key(kind), shards); err != nil {
			closed := conn.Close()
			if ctx.Err() != nil {
				return nil
			}
			return errors.Join(err, closed)
		}
	}
	heard := make(chan heard, waiting)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		hear(ctx, conn, heard)
	}()
	err = w.run(ctx, heard)
	stopped := ctx.Err() != nil
	cancel()
	closed := conn.Close()
	<-done
	if stopped {
		return nil
	}
	return errors.Join(err, closed)
}

// grow asks for a buffer beyond the usual limit, which takes CAP_NET_ADMIN, and
// is content with that limit.
func grow(conn *netlink.Conn, size int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var forced error
	if err := raw.Control(func(fd uintptr) {
		forced = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size)
	}); err != nil {
		return err
	}
	if forced != nil {
		return conn.SetReadBuffer(size)
	}
	return nil
}

func (s *Source) groups() uint32 {
	groups := group(unix.RTNLGRP_LINK) // for the names of interfaces, always
	for _, kind := range s.cfg.Watch {
		switch kind {
		case Address:
			groups |= group(unix.RTNLGRP_IPV4_IFADDR) | group(unix.RTNLGRP_IPV6_IFADDR)
		case Route:
			groups |= group(unix.RTNLGRP_IPV4_ROUTE) | group(unix.RTNLGRP_IPV6_ROUTE)
		case Neighbour:
			groups |= group(unix.RTNLGRP_NEIGH)
		}
	}
	return groups
}

func group(n int) uint32 { return 1 << (n - 1) }

// key names the states of a kind. Other patterns have another state: what they
// bring into view has not changed.
func (s *Source) key(kind string) string {
	h := fnv.New64a()
	for _, patterns := range [][]string{s.cfg.Interfaces, s.cfg.Except} {
		fmt.Fprintf(h, "%q", patterns)
	}
	return fmt.Sprintf("%s/%s/%x", s.cfg.Host, kind, h.Sum64())
}

// heard is a message, or that some were lost, or why there will be none.
type heard struct {
	msg  netlink.Message
	lost bool
	err  error
}

// hear passes messages on until the connection is closed. When nobody takes
// them, the kernel's buffer fills, and the kernel says that it lost some.
func hear(ctx context.Context, conn *netlink.Conn, to chan<- heard) {
	pass := func(h heard) bool {
		select {
		case to <- h:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for {
		msgs, err := conn.Receive()
		for _, m := range msgs {
			if !pass(heard{msg: m}) {
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOBUFS):
			if !pass(heard{lost: true}) {
				return
			}
		case errors.Is(err, syscall.EINTR):
		default:
			pass(heard{err: err})
			return
		}
	}
}

// watch compares what is heard with what is remembered.
type watch struct {
	cfg    *Config
	accept router.AcceptFunc
	// sets by kind.
	sets map[string]*memory.Set
	// names of interfaces by index.
	names map[uint32]string
	// told is when the last event of lost messages was made.
	told time.Time
}

func (w *watch) run(ctx context.Context, in <-chan heard) error {
	if err := w.compare(ctx); err != nil {
		return err
	}
	again := time.NewTimer(quiet)
	again.Stop()
	var first time.Time // of those since the last comparison
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			first = time.Time{}
			if err := w.compare(ctx); err != nil {
				return err
			}
			continue
		case h := <-in:
			if err := w.take(ctx, h, in); err != nil {
				return err
			}
		}
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		again.Reset(max(0, min(quiet, first.Add(restless).Sub(now))))
	}
}

func (w *watch) take(ctx context.Context, h heard, in <-chan heard) error {
	switch {
	case h.err != nil:
		return fmt.Errorf("netlink: %w", h.err)
	case h.lost:
		return w.lost(ctx, in)
	}
	t, ok := w.parse(h.msg)
	if !ok {
		return nil
	}
	return w.put(ctx, t)
}

// lost tells that messages were lost and finds out what has become of
// everything. What still waits is older than that.
func (w *watch) lost(ctx context.Context, in <-chan heard) error {
	for drained := false; !drained; {
		select {
		case h := <-in:
			if h.err != nil {
				return fmt.Errorf("netlink: %w", h.err)
			}
		default:
			drained = true
		}
	}
	now := time.Now()
	if now.Sub(w.told) < calm {
		return w.compare(ctx)
	}
	w.told = now
	ev, err := w.event(TypeLost, fmt.Sprintf("%s-lost-%s-%d", w.cfg.Source, w.cfg.Host, now.UnixNano()), w.cfg.Host,
		map[string]any{"watch": w.cfg.Watch, "reason": "messages came faster than they could be stored"})
	if err != nil {
		return err
	}
	if err := memory.Send(ctx, w.accept, ev); err != nil {
		return err
	}
	return w.compare(ctx)
}

// compare asks the kernel for everything and tells what is different. Where
// nothing is remembered, it is a baseline.
func (w *watch) compare(ctx context.Context) error {
	things, err := w.dump(ctx)
	if err != nil {
		return err
	}
	byKind := make(map[string]map[string]thing)
	for kind := range w.sets {
		byKind[kind] = make(map[string]thing)
	}
	for _, t := range things {
		if _, watched := byKind[t.kind]; watched && !t.gone {
			byKind[t.kind][t.key] = t
		}
	}
	for _, kind := range w.cfg.Watch {
		if err := w.compareKind(ctx, kind, byKind[kind]); err != nil {
			return err
		}
	}
	return nil
}

func (w *watch) compareKind(ctx context.Context, kind string, now map[string]thing) error {
	set := w.sets[kind]
	if len(now) > w.cfg.Limit {
		return fmt.Errorf("%d things of kind %s are more than limit: %d", len(now), kind, w.cfg.Limit)
	}
	world := make(map[string]string, len(now))
	for key, t := range now {
		if v := t.next(""); v != "" {
			world[key] = v
		}
	}
	if err := set.Baseline(ctx, world); err != nil {
		return err
	}
	for _, key := range set.Keys() {
		if _, there := now[key]; !there {
			if err := w.put(ctx, thing{kind: kind, key: key, gone: true, missing: true}); err != nil {
				return err
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if err := w.put(ctx, now[key]); err != nil {
			return err
		}
	}
	return nil
}

// put remembers a thing and tells the change, if it is one.
func (w *watch) put(ctx context.Context, t thing) error {
	set, watched := w.sets[t.kind]
	if !watched {
		return nil
	}
	old := set.Value(t.key)
	next := t.next(old)
	if old == "" && next != "" && set.Len() >= w.cfg.Limit {
		return fmt.Errorf("things of kind %s are more than limit: %d", t.kind, w.cfg.Limit)
	}
	return set.Put(ctx, w.cfg.Source, t.key, next, func(id, old string) (*rules.Event, error) {
		kind, subject, data := t.tell(old)
		if kind == "" {
			return nil, nil
		}
		return w.event(kind, id, subject, data)
	})
}

func (w *watch) event(kind, id, subject string, data map[string]any) (*rules.Event, error) {
	data["host"] = w.cfg.Host
	text, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	return rules.NewEvent(rules.Attributes{
		ID: id, Source: "pointsman://" + url.PathEscape(w.cfg.Host) + "/netlink/" + w.cfg.Source, Type: kind, Subject: subject,
		Time: time.Now().UTC().Format(time.RFC3339Nano), DataContentType: "application/json",
	}, text, rules.Limits{})
}

// wanted tells whether an interface is watched.
func (c *Config) wanted(name string) bool {
	like := func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	}
	return (len(c.Interfaces) == 0 || slices.ContainsFunc(c.Interfaces, like)) && !slices.ContainsFunc(c.Except, like)
}

// cutName splits at the first slash: no name of an interface has one.
func cutName(key string) (name, rest string) {
	name, rest, _ = strings.Cut(key, "/")
	return name, rest
}
