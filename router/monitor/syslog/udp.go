package syslog

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/pointsman/pointsman/router/monitor/datagram"
)

func (r *run) listenUDP(ctx context.Context) (serve func() error, err error) {
	conn, err := datagram.Listen(r.cfg.Listen)
	if err != nil {
		return nil, err
	}
	if r.cfg.Listening != nil {
		r.cfg.Listening(conn.Addr())
	}
	return func() error {
		defer conn.Close()
		// What the kernel has by then is still read.
		defer context.AfterFunc(ctx, func() { conn.Stop(time.Now().Add(linger)) })()
		err := r.datagrams(conn)
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("read: %w", err)
	}, nil
}

// datagrams reads until there is an error, be it the deadline. A line that finds the queue full
// is lost: a sender of datagrams cannot be made to wait.
func (r *run) datagrams(conn *datagram.Conn) error {
	buf := make([]byte, datagram.Size)
	for {
		n, from, lost, err := conn.Read(buf)
		if err != nil {
			return err
		}
		if lost > 0 {
			r.lost(0, int64(lost))
		}
		if !r.permitted(from.Addr()) {
			continue
		}
		text := bytes.TrimRight(buf[:n], "\r\n\x00")
		if len(text) == 0 {
			continue
		}
		cut := len(text) > r.cfg.MaxLine
		text = bytes.Clone(text[:min(len(text), r.cfg.MaxLine)])
		if !r.queue.offer(r.take(text, cut, from.Addr())) {
			r.lost(1, 0)
		}
	}
}
