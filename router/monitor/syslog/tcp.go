package syslog

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// handshakeFor is how long a TLS handshake may take.
	handshakeFor = 10 * time.Second
	// linger is how long a socket is still read from after the end was asked for:
	// the kernel has told senders that it has what is in its buffers.
	linger = 250 * time.Millisecond
)

func (r *run) listenTCP(ctx context.Context) (serve func() error, err error) {
	ln, err := net.Listen("tcp", r.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if r.cfg.Listening != nil {
		r.cfg.Listening(ln.Addr())
	}
	return func() error {
		defer ln.Close()
		defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
		err := r.connections(ctx, ln)
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("accept: %w", err)
	}, nil
}

// connections takes connections until the listener is closed, and waits for
// them.
func (r *run) connections(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	slots := make(chan struct{}, r.cfg.Connections)
	pause := time.Duration(0)
	for {
		conn, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			// Such as too many open files: one that waits may still be served.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
				continue
			case <-ctx.Done():
				return err
			}
		}
		pause = 0
		from := peerOf(conn)
		if !r.permitted(from) {
			_ = conn.Close()
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			r.refuse(refusedConnections, from)
			_ = conn.Close()
			continue
		}
		open.Go(func() {
			defer func() { <-slots }()
			r.serve(ctx, conn, from)
		})
	}
}

func peerOf(conn net.Conn) netip.Addr {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// serve reads one connection to its end.
func (r *run) serve(ctx context.Context, conn net.Conn, from netip.Addr) {
	gauge := r.cfg.Metrics.connections.WithLabelValues(r.cfg.Name)
	gauge.Inc()
	defer gauge.Dec()
	defer conn.Close()
	d := &deadline{conn: conn}
	defer context.AfterFunc(ctx, d.end)()
	if r.cfg.Network == TLS {
		secure := tls.Server(conn, r.cfg.TLS)
		d.set(handshakeFor)
		if err := secure.HandshakeContext(ctx); err != nil {
			r.refuse(refusedTLS, from)
			return
		}
		conn = secure
	}
	f := newFramer(conn, r.cfg.MaxLine)
	for {
		d.set(r.cfg.Idle)
		if f.wait() != nil {
			return
		}
		d.set(r.cfg.Line)
		text, cut, err := f.next()
		if err != nil {
			return
		}
		text = bytes.TrimRight(text, "\r\n\x00")
		if len(text) == 0 {
			continue
		}
		// Here a connection waits while the store is slow, and so does its sender.
		if !r.queue.put(r.take(bytes.Clone(text), cut, from)) {
			r.lost(1, 0)
			return
		}
	}
}

// deadline is the read deadline of a connection. After end it is never moved
// again.
type deadline struct {
	conn  net.Conn
	mu    sync.Mutex
	ended bool
}

func (d *deadline) set(after time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ended {
		_ = d.conn.SetDeadline(time.Now().Add(after))
	}
}

func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	_ = d.conn.SetDeadline(time.Now().Add(linger))
}
