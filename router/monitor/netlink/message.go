package netlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/router/monitor/memory"
)

// The lengths of the fixed parts of messages, in bytes.
const (
	linkHeader      = unix.SizeofIfInfomsg
	addressHeader   = unix.SizeofIfAddrmsg
	routeHeader     = unix.SizeofRtMsg
	neighbourHeader = unix.SizeofNdMsg
)

// The values of IFLA_OPERSTATE that count as up: RFC 2863's up, and what devices
// have that tell nothing, such as the loopback.
const (
	operUnknown = 0
	operUp      = 6
)

// interrupted is NLM_F_DUMP_INTR: what was dumped changed meanwhile.
const interrupted = netlink.HeaderFlags(unix.NLM_F_DUMP_INTR)

// A dump that was interrupted is begun again after a pause, which doubles from
// firstPause to lastPause.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 10 * time.Second
	// lookPause is the longest between two dumps that do not agree.
	lookPause = 80 * time.Millisecond
)

// dump asks for all things that are watched, and the names of all interfaces.
func (w *watch) dump(ctx context.Context) ([]thing, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	things, err := w.dumpAll(ctx, conn)
	stop()
	if ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), conn.Close())
	}
	return things, errors.Join(err, conn.Close())
}

func (w *watch) dumpAll(ctx context.Context, conn *netlink.Conn) ([]thing, error) {
	var out []thing
	for _, d := range []struct {
		kind   string
		ask    uint16
		header int
	}{
		{Link, unix.RTM_GETLINK, linkHeader},
		{Address, unix.RTM_GETADDR, addressHeader},
		{Route, unix.RTM_GETROUTE, routeHeader},
		{Neighbour, unix.RTM_GETNEIGH, neighbourHeader},
	} {
		if w.sets[d.kind] == nil && d.kind != Link {
			continue
		}
		things, err := w.agreed(ctx, conn, d.kind, netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(d.ask), Flags: netlink.Request | netlink.Dump},
			Data:   make([]byte, d.header),
		})
		if err != nil {
			return nil, fmt.Errorf("netlink: list of kind %s: %w", d.kind, err)
		}
		out = append(out, things...)
	}
	return out, nil
}

// agreed repeats a dump until two in a row list the same things. The kernel goes on
// by place from one part of a dump to the next, so what stands behind something
// that is removed meanwhile is left out. It says so in the header of the next
// part, but if that is only the end of the dump the library keeps it to itself.
// Links are listed by number and need no second look. What changes all the time is
// taken as it is after some looks; the messages of the changes follow.
func (w *watch) agreed(ctx context.Context, conn *netlink.Conn, kind string, ask netlink.Message) ([]thing, error) {
	var before map[string]bool
	for pause := firstPause; ; pause *= 2 {
		msgs, err := whole(ctx, conn, ask)
		if err != nil {
			return nil, err
		}
		if kind == Link {
			clear(w.names)
		}
		things, keys := make([]thing, 0, len(msgs)), make(map[string]bool, len(msgs))
		for _, m := range msgs {
			if t, ok := w.parse(m); ok {
				things, keys[t.key] = append(things, t), true
			}
		}
		if kind == Link || before != nil && maps.Equal(before, keys) || pause > lookPause {
			return things, nil
		}
		if before != nil && !wait(ctx, pause) {
			return nil, ctx.Err()
		}
		before = keys
	}
}

// wait is false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// whole repeats a dump until it is of one moment, as far as the kernel's word for
// that is heard.
func whole(ctx context.Context, conn *netlink.Conn, ask netlink.Message) ([]netlink.Message, error) {
	for pause := firstPause; pause <= lastPause; pause *= 2 {
		msgs, err := conn.Execute(ask)
		if err != nil {
			return nil, err
		}
		torn := slices.ContainsFunc(msgs, func(m netlink.Message) bool { return m.Header.Flags&interrupted != 0 })
		if !torn {
			return msgs, nil
		}
		if !wait(ctx, pause) {
			return nil, ctx.Err()
		}
	}
	return nil, errors.New("it changes faster than it can be read")
}

// parse makes a thing of a message; false when it is none that is watched. The
// names of interfaces are kept on the way.
func (w *watch) parse(m netlink.Message) (thing, bool) {
	switch uint16(m.Header.Type) {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return w.link(m.Data, uint16(m.Header.Type) == unix.RTM_DELLINK)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return w.address(m.Data, uint16(m.Header.Type) == unix.RTM_DELADDR)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return w.route(m.Data, uint16(m.Header.Type) == unix.RTM_DELROUTE)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		return w.neighbour(m.Data, uint16(m.Header.Type) == unix.RTM_DELNEIGH)
	}
	return thing{}, false
}

// attributes reads what follows a header of n bytes. Damaged ones end the list.
func attributes(data []byte, n int) *netlink.AttributeDecoder {
	ad, err := netlink.NewAttributeDecoder(data[n:])
	if err != nil {
		ad, _ = netlink.NewAttributeDecoder(nil)
	}
	return ad
}

// link reads struct ifinfomsg: family, pad, type u16, index i32, flags u32.
func (w *watch) link(data []byte, gone bool) (thing, bool) {
	if len(data) < linkHeader || data[0] != unix.AF_UNSPEC { // AF_BRIDGE tells of ports
		return thing{}, false
	}
	index := binary.NativeEndian.Uint32(data[4:])
	flags := binary.NativeEndian.Uint32(data[8:])
	more := map[string]any{"index": index}
	var name string
	operstate := uint8(operUnknown)
	for ad := attributes(data, linkHeader); ad.Next(); {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			name = ad.String()
		case unix.IFLA_OPERSTATE:
			operstate = ad.Uint8()
		case unix.IFLA_MTU:
			more["mtu"] = ad.Uint32()
		case unix.IFLA_ADDRESS:
			more["mac"] = net.HardwareAddr(ad.Bytes()).String()
		case unix.IFLA_CARRIER_CHANGES:
			more["carrier_changes"] = ad.Uint32()
		}
	}
	if name == "" || strings.Contains(name, "/") { // which the kernel refuses
		return thing{}, false
	}
	name = memory.Text(name)
	before := w.names[index]
	if gone {
		delete(w.names, index)
	} else {
		w.names[index] = name
	}
	if before != "" && before != name && !gone {
		// Renamed; the comparison that follows finds the old name gone.
		more["renamed_from"] = before
	}
	state := stateDown
	running := operstate == operUp || operstate == operUnknown && flags&unix.IFF_RUNNING != 0
	if flags&unix.IFF_UP != 0 && running {
		state = stateUp
	}
	return thing{kind: Link, key: name, value: state, gone: gone, more: more}, w.cfg.wanted(name)
}

// address reads struct ifaddrmsg: family, prefixlen, flags, scope, index u32.
func (w *watch) address(data []byte, gone bool) (thing, bool) {
	if len(data) < addressHeader {
		return thing{}, false
	}
	bits, scope := data[1], data[3]
	name := w.names[binary.NativeEndian.Uint32(data[4:])]
	var addr, local netip.Addr
	for ad := attributes(data, addressHeader); ad.Next(); {
		switch ad.Type() {
		case unix.IFA_ADDRESS:
			addr, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(ad.Bytes())
		}
	}
	if local.IsValid() { // on a point-to-point link the other is that of the peer
		addr = local
	}
	if !addr.IsValid() || name == "" || !w.cfg.wanted(name) {
		return thing{}, false
	}
	return thing{
		kind: Address, key: name + "/" + netip.PrefixFrom(addr, int(bits)).String(), value: scopeName(scope), gone: gone,
	}, true
}

func scopeName(scope uint8) string {
	switch scope {
	case unix.RT_SCOPE_UNIVERSE:
		return "global"
	case unix.RT_SCOPE_SITE:
		return "site"
	case unix.RT_SCOPE_LINK:
		return "link"
	case unix.RT_SCOPE_HOST:
		return "host"
	}
	return strconv.Itoa(int(scope))
}

// route reads struct rtmsg: family, dst_len, src_len, tos, table, protocol,
// scope, type, flags u32. Of the routes that the kernel keeps for itself, those
// of the local table and clones, none is watched.
func (w *watch) route(data []byte, gone bool) (thing, bool) {
	if len(data) < routeHeader {
		return thing{}, false
	}
	family, bits, tos, kind := data[0], data[1], data[3], data[7]
	table := uint32(data[4])
	var dst netip.Addr
	var metric uint32
	var one hop
	var hops []hop
	for ad := attributes(data, routeHeader); ad.Next(); {
		switch ad.Type() {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.RTA_TABLE:
			table = ad.Uint32()
		case unix.RTA_PRIORITY:
			metric = ad.Uint32()
		case unix.RTA_OIF:
			one.name = w.names[ad.Uint32()]
		case unix.RTA_GATEWAY:
			one.gateway, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.RTA_VIA:
			one.gateway = via(ad.Bytes())
		case unix.RTA_MULTIPATH:
			hops = w.multipath(ad.Bytes())
		}
	}
	if hops == nil {
		hops = []hop{one}
	}
	way, watched := routeType(kind), false
	for _, h := range hops {
		way += h.String()
		watched = watched || w.cfg.wanted(h.name)
	}
	switch {
	case family == unix.AF_INET && !dst.IsValid():
		dst = netip.IPv4Unspecified()
	case family == unix.AF_INET6 && !dst.IsValid():
		dst = netip.IPv6Unspecified()
	}
	if !dst.IsValid() || !watched || table == unix.RT_TABLE_LOCAL || routeType(kind) == "" ||
		binary.NativeEndian.Uint32(data[8:])&unix.RTM_F_CLONED != 0 {
		return thing{}, false
	}
	own := ""
	if data[5] == unix.RTPROT_KERNEL && !one.gateway.IsValid() {
		own = one.name // of a connected network, which several interfaces may have
	}
	key := fmt.Sprintf("%d/%d/%d/%s/%s", table, metric, tos, own, netip.PrefixFrom(dst, int(bits)))
	return thing{kind: Route, key: key, value: way, gone: gone, more: map[string]any{"protocol": data[5]}}, true
}

func routeType(kind uint8) string {
	switch kind {
	case unix.RTN_UNICAST:
		return "unicast"
	case unix.RTN_BLACKHOLE:
		return "blackhole"
	case unix.RTN_UNREACHABLE:
		return "unreachable"
	case unix.RTN_PROHIBIT:
		return "prohibit"
	case unix.RTN_THROW:
		return "throw"
	}
	return ""
}

// hop is one way of a route.
type hop struct {
	gateway netip.Addr
	name    string
}

// String is empty or begins with a space.
func (h hop) String() string {
	text := ""
	if h.gateway.IsValid() {
		text += " via " + h.gateway.String()
	}
	if h.name != "" {
		text += " dev " + h.name
	}
	return text
}

// multipath reads struct rtnexthop one after another: len u16, flags, hops,
// index u32, attributes.
func (w *watch) multipath(data []byte) []hop {
	hops := []hop{}
	for len(data) >= unix.SizeofRtNexthop {
		n := int(binary.NativeEndian.Uint16(data))
		if n < unix.SizeofRtNexthop || n > len(data) {
			break
		}
		h := hop{name: w.names[binary.NativeEndian.Uint32(data[4:])]}
		for ad := attributes(data[:n], unix.SizeofRtNexthop); ad.Next(); {
			switch ad.Type() {
			case unix.RTA_GATEWAY:
				h.gateway, _ = netip.AddrFromSlice(ad.Bytes())
			case unix.RTA_VIA:
				h.gateway = via(ad.Bytes())
			}
		}
		hops = append(hops, h)
		data = data[min((n+3)&^3, len(data)):]
	}
	return hops
}

// via reads struct rtvia: family u16, address.
func via(data []byte) netip.Addr {
	if len(data) < 2 {
		return netip.Addr{}
	}
	addr, _ := netip.AddrFromSlice(data[2:])
	return addr
}

// neighbour reads struct ndmsg: family, pad u8, pad u16, index i32, state u16,
// flags u8, type u8.
func (w *watch) neighbour(data []byte, gone bool) (thing, bool) {
	if len(data) < neighbourHeader || data[0] != unix.AF_INET && data[0] != unix.AF_INET6 || data[10]&unix.NTF_PROXY != 0 {
		return thing{}, false
	}
	name := w.names[binary.NativeEndian.Uint32(data[4:])]
	var addr netip.Addr
	var mac string
	for ad := attributes(data, neighbourHeader); ad.Next(); {
		switch ad.Type() {
		case unix.NDA_DST:
			addr, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.NDA_LLADDR:
			mac = net.HardwareAddr(ad.Bytes()).String()
		}
	}
	if !addr.IsValid() || name == "" || !w.cfg.wanted(name) {
		return thing{}, false
	}
	t := thing{kind: Neighbour, key: name + "/" + addr.String(), gone: gone}
	switch state := binary.NativeEndian.Uint16(data[8:]); {
	case state&unix.NUD_FAILED != 0:
		t.value = neighbourFailed
	case state&(unix.NUD_REACHABLE|unix.NUD_PERMANENT|unix.NUD_STALE|unix.NUD_DELAY|unix.NUD_PROBE) != 0 && mac != "":
		t.value = neighbourReachable + " " + mac
		// Whether one that was not asked for long is still there is not known.
		t.stale = state&(unix.NUD_REACHABLE|unix.NUD_PERMANENT) == 0
	default: // being asked for the first time, or of a kind that is not asked
		t.value = ""
	}
	return t, t.gone || t.value != ""
}
