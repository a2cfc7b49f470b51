package http

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// errRefused: the address may not be dialled.
var errRefused = errors.New("address refused")

// refusedNets are never dialled unless allowed: link-local networks, where
// clouds keep the credentials of the machine, and what is no address of one
// host.
var refusedNets = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("fd00:ec2::254/128"), // the metadata service of EC2 over IPv6
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("::/128"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("ff00::/8"),
}

// embedding networks have an IPv4 address inside an IPv6 one, at byte at.
var embedding = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("::/96"), 12},           // IPv4-compatible (RFC 4291)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // IPv4-translated (RFC 2765)
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64 (RFC 6052)
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},  // local NAT64 (RFC 8215), as a /96
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4 (RFC 3056)
}

// guard lets connections go to the host of the settings' URL only, and looks at
// each address after the name was resolved and before it is dialled, so that no
// answer of a name server gets around it.
type guard struct {
	target  string // host:port
	literal netip.Addr
	allowed []netip.Prefix
	// named: the URL's host itself is in allow.
	named bool
}

func newGuard(u *url.URL, allow []string) (*guard, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	g := &guard{target: net.JoinHostPort(u.Hostname(), port)}
	for _, entry := range allow {
		switch addr, err := netip.ParseAddr(entry); {
		case err == nil:
			addr = addr.Unmap().WithZone("")
			g.allowed = append(g.allowed, netip.PrefixFrom(addr, addr.BitLen()))
		case strings.Contains(entry, "/"):
			prefix, err := netip.ParsePrefix(entry)
			if err != nil {
				return nil, fmt.Errorf("allow: %q is not a network (write 10.0.0.0/8)", entry)
			}
			g.allowed = append(g.allowed, unmapPrefix(prefix))
		case strings.ContainsAny(entry, ":@ "):
			return nil, fmt.Errorf("allow: %q is not an address, a network or the name of a host", entry)
		case strings.EqualFold(strings.TrimSuffix(entry, "."), strings.TrimSuffix(u.Hostname(), ".")):
			g.named = true
		}
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		g.literal = addr
		if err := g.check(addr); err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
	}
	return g, nil
}

func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
	}
	return p.Masked()
}

// checkHost refuses the forms of addresses that only some resolvers read as
// such: 127.1, 0x7f.1, 2130706433, 0177.0.0.1.
func checkHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if strings.ContainsFunc(host, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return errors.New("the host is not in ASCII (write its xn-- form)")
	}
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	digits := strings.TrimPrefix(last, "0x")
	if last == "" || digits != last && strings.Trim(digits, "0123456789abcdef") == "" || strings.Trim(last, "0123456789") == "" {
		return errors.New("the host looks like an address but is none (write all four numbers, in decimal)")
	}
	return nil
}

// check says why an address may not be dialled.
func (g *guard) check(addr netip.Addr) error {
	zone := addr.Zone()
	addr = addr.Unmap().WithZone("")
	if g.literal.IsValid() && (g.literal.Unmap().WithZone("") != addr || g.literal.Zone() != zone) {
		return fmt.Errorf("%w: it is not that of the settings' url", errRefused)
	}
	if g.named {
		return nil
	}
	for _, p := range g.allowed {
		if p.Contains(addr) {
			return nil
		}
	}
	for _, a := range append(embedded(addr), addr) {
		for _, p := range refusedNets {
			if p.Contains(a) {
				return fmt.Errorf("%w: %s is link-local or no single host (see allow)", errRefused, addr)
			}
		}
	}
	return nil
}

// embedded lists the IPv4 addresses that a gateway could take addr for.
func embedded(addr netip.Addr) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	bytes := addr.As16()
	var out []netip.Addr
	for _, e := range embedding {
		// :: and ::1 are addresses of their own.
		if e.prefix.Contains(addr) && addr != netip.IPv6Loopback() && !addr.IsUnspecified() {
			out = append(out, netip.AddrFrom4([4]byte(bytes[e.at:e.at+4])))
		}
	}
	return out
}

// control is asked for every address that is about to be dialled.
func (g *guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: it cannot be read", errRefused)
	}
	return g.check(ap.Addr())
}

// transport has no proxy, whatever the environment says.
func (g *guard) transport() *http.Transport {
	d := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: g.control}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != g.target {
				return nil, fmt.Errorf("%w: it is not that of the settings' url", errRefused)
			}
			return d.DialContext(ctx, network, addr)
		},
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		// What is kept of an answer is bounded as it comes over the wire.
		DisableCompression: true,
		ForceAttemptHTTP2:  true,
	}
}
