package syslog

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// receiveBuffer is what is asked of the kernel, in bytes; it gives no more than
// net.core.rmem_max.
const receiveBuffer = 4 << 20

func (r *run) listenUDP(ctx context.Context) (serve func() error, err error) {
	addr, err := net.ResolveUDPAddr("udp", r.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	_ = conn.SetReadBuffer(receiveBuffer)
	countDrops(conn)
	if r.cfg.Listening != nil {
		r.cfg.Listening(conn.LocalAddr())
	}
	return func() error {
		defer conn.Close()
		// What the kernel has by then is still read.
		defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now().Add(linger)) })()
		err := r.datagrams(conn)
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("read: %w", err)
	}, nil
}

// countDrops has each datagram come with the count of those before it that the
// kernel had no room for. A kernel that cannot do that counts nothing.
func countDrops(conn *net.UDPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	})
}

// datagrams reads until there is an error, be it the deadline. A line that finds the queue full
// is lost: a sender of datagrams cannot be made to wait.
func (r *run) datagrams(conn *net.UDPConn) error {
	buf := make([]byte, 64<<10)
	oob := make([]byte, unix.CmsgSpace(4))
	dropped := uint32(0)
	for {
		n, oobn, _, from, err := conn.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			return err
		}
		if total, ok := drops(oob[:oobn]); ok && total != dropped {
			r.lost(0, int64(total-dropped)) // wraps around as the kernel's does
			dropped = total
		}
		addr := from.Addr().Unmap()
		if !r.permitted(addr) {
			continue
		}
		text := bytes.TrimRight(buf[:n], "\r\n\x00")
		if len(text) == 0 {
			continue
		}
		cut := len(text) > r.cfg.MaxLine
		text = bytes.Clone(text[:min(len(text), r.cfg.MaxLine)])
		if !r.queue.offer(r.take(text, cut, addr)) {
			r.lost(1, 0)
		}
	}
}

// drops reads the count that the kernel sends along.
func drops(oob []byte) (total uint32, ok bool) {
	if len(oob) == 0 {
		return 0, false
	}
	h, data, _, err := unix.ParseOneSocketControlMessage(oob)
	if err != nil || h.Level != unix.SOL_SOCKET || h.Type != unix.SO_RXQ_OVFL || len(data) < 4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(data), true
}
