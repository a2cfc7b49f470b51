package config

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// TypeSyslog is the type of source that listens for syslog.
const TypeSyslog = "syslog"

// Syslog is what a source of type TypeSyslog is made of.
type Syslog struct {
	// Network is udp, tcp or tls, Listen host:port.
	Network, Listen string
	// Timezone is the name of a zone; default UTC.
	Timezone string
	// Allow are the networks of permitted senders; empty: any.
	Allow []netip.Prefix
	// TLS is set for Network tls alone. TLSSum is a hash of what its files held
	// at Load, so that other certificates make another configuration.
	TLS    *TLS
	TLSSum [sha256.Size]byte
	// MaxLine in bytes; default 64 KiB.
	MaxLine int64
	// Connections is the most at once; default 1000.
	Connections int
	// Idle is how long a connection may be without a line; default 24h.
	Idle time.Duration
}

// syslogDedup is how long the id of a line is remembered. It is one that the
// router made itself, for tries to store one line; no sender uses it again.
const syslogDedup = time.Hour

func syslogKeys() []string {
	return []string{"listen", "timezone", "allow", "tls", "max_line", "connections", "idle"}
}

func (r *reader) syslog(m *strictyaml.Map, s *Source) {
	c := &Syslog{Timezone: "UTC", MaxLine: 64 << 10, Connections: 1000, Idle: 24 * time.Hour}
	s.Syslog = c
	listen := m.Required("listen")
	r.syslogListen(listen, c)
	network := "tcp"
	if c.Network == "udp" {
		network = "udp"
	}
	r.take(listen, network, c.Listen, fmt.Sprintf("source %q", s.Name))
	r.timezone(m.Key("timezone"), &c.Timezone)
	allow := m.Key("allow")
	c.Allow = r.networks(allow)
	r.size(m.Key("max_line"), &c.MaxLine, 512, 64<<10)
	files := m.Key("tls")
	c.TLS = r.tls(files)
	if c.TLS != nil {
		c.TLSSum = c.TLS.sum()
	}
	connections, idle := m.Key("connections"), m.Key("idle")
	integer(connections, &c.Connections, 1, 100_000)
	r.duration(idle, &c.Idle, time.Second, year)
	if c.Listen == "" {
		return
	}
	if c.Network == "tls" && files == nil {
		listen.Errorf("tls needs a certificate (set tls: {cert: FILE, key: FILE})")
	}
	if c.Network != "tls" {
		files.Errorf("the key is for listen: tls://host:port")
	}
	if c.Network == "udp" {
		connections.Errorf("datagrams have no connections (remove the key)")
		idle.Errorf("datagrams have no connections (remove the key)")
	}
	if !r.insecure && allow == nil && (c.TLS == nil || c.TLS.ClientCA == "") && !loopback(c.Listen) {
		listen.Errorf("source %q is open to other hosts and asks nobody who they are (set allow to the networks of the senders"+
			" or, with tls, tls.client_ca; listen on 127.0.0.1, or say insecure: true at the top level)", s.Name)
	}
}

// syslogListen reads udp://host:port and its like.
func (r *reader) syslogListen(n *strictyaml.Node, c *Syslog) {
	const want = "udp://host:port, tcp://host:port or tls://host:port, such as udp://0.0.0.0:5514"
	if !n.IsText() {
		n.Want(want)
		return
	}
	text, ok := r.maybe(n)
	if !ok {
		return
	}
	network, address, ok := strings.Cut(text, "://")
	if !ok || !listenable(address) || network != "udp" && network != "tcp" && network != "tls" {
		n.Errorf("want %s", want)
		return
	}
	c.Network, c.Listen = network, address
}

// networks reads a list of networks and single addresses.
func (r *reader) networks(n *strictyaml.Node) []netip.Prefix {
	items, ok := n.List()
	if !ok {
		return nil
	}
	if len(items) == 0 {
		n.Errorf("the list is empty, so nobody may send (name the networks of the senders, or remove the key)")
	}
	var out []netip.Prefix
	for _, item := range items {
		text, ok := r.maybe(item)
		if !ok {
			continue
		}
		p, err := netip.ParsePrefix(text)
		if a, single := netip.ParseAddr(text); single == nil {
			p, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
		}
		switch {
		case err != nil || p.Addr().Is4In6() || p.Addr().Zone() != "":
			written, _ := item.Text()
			item.Errorf("%q is not a network (write it like 192.0.2.0/24 or 2001:db8::/32)", written)
		case p != p.Masked():
			item.Errorf("the address has bits beyond the prefix (write the network, like 192.0.2.0/24, or the address alone)")
		default:
			out = append(out, p)
		}
	}
	return out
}

// sum hashes what the files hold. One that cannot be read has its problem
// already.
func (t *TLS) sum() [sha256.Size]byte {
	h := sha256.New()
	for _, file := range []string{t.Cert, t.Key, t.ClientCA} {
		data, _ := os.ReadFile(file)
		one := sha256.Sum256(data)
		h.Write(one[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}
