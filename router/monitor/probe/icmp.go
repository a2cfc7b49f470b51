package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// The numbers of the protocols, as icmp.ParseMessage takes them.
const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// ICMP sends one echo request and is up when it is answered. It uses a datagram
// socket, for which net.ipv4.ping_group_range must include a group of the
// process, or a raw one, which needs CAP_NET_RAW.
func ICMP(host string) Check {
	return func(ctx context.Context) Result {
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return Result{Err: plain("resolve", err)}
		}
		addr := addrs[0].Unmap()
		conn, raw, err := listenICMP(addr)
		if err != nil {
			return Result{Err: err}
		}
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		return Result{Err: echo(conn, addr, raw), Data: map[string]any{"address": addr.String()}}
	}
}

func listenICMP(addr netip.Addr) (conn *icmp.PacketConn, raw bool, err error) {
	datagram, rawNet, local := "udp4", "ip4:icmp", "0.0.0.0"
	if addr.Is6() {
		datagram, rawNet, local = "udp6", "ip6:ipv6-icmp", "::"
	}
	if conn, err = icmp.ListenPacket(datagram, local); err == nil {
		return conn, false, nil
	}
	conn, err = icmp.ListenPacket(rawNet, local)
	switch {
	case errors.Is(err, os.ErrPermission):
		return nil, false, fmt.Errorf("%w: icmp needs CAP_NET_RAW, or a group of the router in net.ipv4.ping_group_range", ErrLocal)
	case err != nil:
		return nil, false, plain("icmp", err)
	}
	return conn, true, nil
}

// echo waits for the answer that has the same random bytes: a raw socket hears
// those of everyone on the host.
func echo(conn *icmp.PacketConn, addr netip.Addr, raw bool) error {
	var kind icmp.Type = ipv4.ICMPTypeEcho
	var reply icmp.Type = ipv4.ICMPTypeEchoReply
	protocol := protocolICMP
	if addr.Is6() {
		kind, reply, protocol = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, protocolICMPv6
	}
	token := make([]byte, 32)
	_, _ = rand.Read(token) // never fails
	msg := icmp.Message{Type: kind, Body: &icmp.Echo{ID: int(token[0])<<8 | int(token[1]), Seq: 1, Data: token}}
	packet, err := msg.Marshal(nil)
	if err != nil {
		return err
	}
	var to net.Addr = &net.UDPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}
	if raw {
		to = &net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}
	}
	if _, err := conn.WriteTo(packet, to); err != nil {
		return plain("send", err)
	}
	buf := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return plain("read", err)
		}
		got, err := icmp.ParseMessage(protocol, buf[:n])
		if err != nil || got.Type != reply {
			continue
		}
		if e, ok := got.Body.(*icmp.Echo); ok && string(e.Data) == string(token) {
			return nil
		}
	}
}
