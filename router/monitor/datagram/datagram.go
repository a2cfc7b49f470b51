// Package datagram receives UDP and knows what was lost on the way to the
// process: how many datagrams the kernel had no room for.
package datagram

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Size is the largest datagram, in bytes.
	Size = 64 << 10
	// receiveBuffer is what is asked of the kernel, in bytes; it gives no more than
	// net.core.rmem_max.
	receiveBuffer = 4 << 20
)

// Conn is an open socket. Read is for one goroutine; the other methods are safe
// for concurrent use.
type Conn struct {
	udp     *net.UDPConn
	oob     []byte
	dropped uint32
}

// Listen opens host:port.
func Listen(address string) (*Conn, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	udp, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	_ = udp.SetReadBuffer(receiveBuffer)
	countDrops(udp)
	return &Conn{udp: udp, oob: make([]byte, unix.CmsgSpace(4))}, nil
}

// countDrops has each datagram come with the count of those before it that the
// kernel had no room for. A kernel that cannot do that counts nothing.
func countDrops(udp *net.UDPConn) {
	raw, err := udp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	})
}

// Read waits for a datagram and puts it into buf, which has room for Size bytes.
// lost is how many the kernel dropped before it and after the one before.
func (c *Conn) Read(buf []byte) (n int, from netip.AddrPort, lost uint32, err error) {
	n, oobn, _, from, err := c.udp.ReadMsgUDPAddrPort(buf, c.oob)
	if err != nil {
		return 0, netip.AddrPort{}, 0, err
	}
	if total, ok := drops(c.oob[:oobn]); ok {
		lost = total - c.dropped // wraps around as the kernel's does
		c.dropped = total
	}
	return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), lost, nil
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

// Write sends a datagram.
func (c *Conn) Write(data []byte, to netip.AddrPort) error {
	_, err := c.udp.WriteToUDPAddrPort(data, to)
	return err
}

// Stop makes Read fail from t on, with what the kernel has by then still read.
func (c *Conn) Stop(t time.Time) { _ = c.udp.SetReadDeadline(t) }

// Addr is the local address.
func (c *Conn) Addr() net.Addr { return c.udp.LocalAddr() }

// Close closes the socket.
func (c *Conn) Close() error { return c.udp.Close() }
