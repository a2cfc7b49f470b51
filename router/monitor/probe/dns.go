package probe

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// maxServers is how many servers of resolv.conf are asked, as in the system's
// own resolver.
const maxServers = 3

// DNSConfig is a question to be asked.
type DNSConfig struct {
	// Name is asked for as it stands; there is no search list.
	Name string
	// Type is A, AAAA, CNAME, MX, TXT or SRV.
	Type string
	// Server is a host or host:port. "": those of /etc/resolv.conf, in order.
	Server string
	// Expect are the values that must be answered, in any order; none: any
	// answer will do and is shown.
	Expect []string
}

// DNSTypes are the types that DNS can ask for.
func DNSTypes() []string { return []string{"A", "AAAA", "CNAME", "MX", "TXT", "SRV"} }

func dnsType(name string) (dnsmessage.Type, bool) {
	t, ok := map[string]dnsmessage.Type{
		"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "CNAME": dnsmessage.TypeCNAME,
		"MX": dnsmessage.TypeMX, "TXT": dnsmessage.TypeTXT, "SRV": dnsmessage.TypeSRV,
	}[name]
	return t, ok
}

// DNS asks over UDP, and over TCP when the answer does not fit. Values are
// written as in a zone file, names in lower case with the dot at the end:
// "10 mail.example.net." for MX, "0 5 5060 sip.example.net." for SRV.
func DNS(c DNSConfig) (Check, error) {
	kind, ok := dnsType(c.Type)
	if !ok {
		return nil, fmt.Errorf("dns: unknown type %q", c.Type)
	}
	name, err := dnsmessage.NewName(strings.TrimSuffix(c.Name, ".") + ".")
	if err != nil {
		return nil, fmt.Errorf("dns: name %q: %w", c.Name, err)
	}
	if _, _, err := net.SplitHostPort(c.Server); err != nil && c.Server != "" {
		c.Server = net.JoinHostPort(strings.Trim(c.Server, "[]"), "53")
	}
	want := make([]string, len(c.Expect))
	for i, v := range c.Expect {
		want[i] = canonical(kind, v)
	}
	slices.Sort(want)
	want = slices.Compact(want)
	return func(ctx context.Context) Result {
		servers := []string{c.Server}
		if c.Server == "" {
			var err error
			if servers, err = resolvers("/etc/resolv.conf"); err != nil {
				return Result{Err: fmt.Errorf("%w: %w", ErrLocal, err)}
			}
		}
		var res Result
		for _, server := range servers {
			res = ask(ctx, server, name, kind)
			if len(want) > 0 && res.Err == nil && !slices.Equal(res.Seen, want) {
				res.Err = fmt.Errorf("the answer is %q, want %q", res.Seen, want)
			}
			if res.Err == nil || ctx.Err() != nil {
				break
			}
		}
		return res
	}, nil
}

// canonical writes an expected value as answers are written.
func canonical(kind dnsmessage.Type, value string) string {
	switch kind {
	case dnsmessage.TypeA, dnsmessage.TypeAAAA:
		if addr, err := netip.ParseAddr(value); err == nil {
			return addr.String()
		}
	case dnsmessage.TypeCNAME, dnsmessage.TypeMX, dnsmessage.TypeSRV:
		value = strings.ToLower(strings.Join(strings.Fields(value), " "))
		if !strings.HasSuffix(value, ".") {
			value += "."
		}
	}
	return value
}

// resolvers are the name servers of a resolv.conf.
func resolvers(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	var out []string
	for lines := bufio.NewScanner(f); lines.Scan() && len(out) < maxServers; {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "nameserver" {
			out = append(out, net.JoinHostPort(fields[1], "53"))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s names no server", path)
	}
	return out, nil
}

// ask puts one question to one server.
func ask(ctx context.Context, server string, name dnsmessage.Name, kind dnsmessage.Type) Result {
	msg, err := exchange(ctx, "udp", server, name, kind)
	if err == nil && msg.Truncated {
		msg, err = exchange(ctx, "tcp", server, name, kind)
	}
	if err != nil {
		return Result{Err: err, Data: map[string]any{"server": server}}
	}
	res := Result{Seen: []string{}, Data: map[string]any{"server": server, "rcode": rcode(msg.RCode)}}
	if msg.RCode != dnsmessage.RCodeSuccess {
		res.Err = errors.New("the server answers " + rcode(msg.RCode))
		return res
	}
	for _, a := range msg.Answers {
		if v, ok := value(a.Body); ok && a.Header.Type == kind {
			res.Seen = append(res.Seen, v)
		}
	}
	slices.Sort(res.Seen)
	res.Seen = slices.Compact(res.Seen)
	res.Data["values"] = res.Seen
	if len(res.Seen) == 0 {
		res.Err = fmt.Errorf("the answer has no %s record", strings.TrimPrefix(kind.String(), "Type"))
	}
	return res
}

// rcode is the code as dig writes it.
func rcode(c dnsmessage.RCode) string {
	names := map[dnsmessage.RCode]string{
		dnsmessage.RCodeSuccess: "NOERROR", dnsmessage.RCodeFormatError: "FORMERR", dnsmessage.RCodeServerFailure: "SERVFAIL",
		dnsmessage.RCodeNameError: "NXDOMAIN", dnsmessage.RCodeNotImplemented: "NOTIMP", dnsmessage.RCodeRefused: "REFUSED",
	}
	if name, ok := names[c]; ok {
		return name
	}
	return "RCODE" + strconv.Itoa(int(c))
}

func value(body dnsmessage.ResourceBody) (string, bool) {
	switch b := body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(b.A).String(), true
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(b.AAAA).String(), true
	case *dnsmessage.CNAMEResource:
		return strings.ToLower(b.CNAME.String()), true
	case *dnsmessage.MXResource:
		return fmt.Sprintf("%d %s", b.Pref, strings.ToLower(b.MX.String())), true
	case *dnsmessage.TXTResource:
		return strings.ToValidUTF8(strings.Join(b.TXT, ""), "\uFFFD"), true
	case *dnsmessage.SRVResource:
		return fmt.Sprintf("%d %d %d %s", b.Priority, b.Weight, b.Port, strings.ToLower(b.Target.String())), true
	}
	return "", false
}

func exchange(ctx context.Context, network, server string, name dnsmessage.Name, kind dnsmessage.Type) (*dnsmessage.Message, error) {
	id := uint16(rand.Uint32())
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: kind, Class: dnsmessage.ClassINET}},
	}
	packet, err := q.Pack()
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return nil, plain("connect", err)
	}
	defer conn.Close()
	stop := closeWith(ctx, conn)
	defer stop()
	if network == "tcp" {
		packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	}
	if _, err := conn.Write(packet); err != nil {
		return nil, plain("send", err)
	}
	for {
		text, err := receive(conn, network)
		if err != nil {
			return nil, plain("read", err)
		}
		var m dnsmessage.Message
		err = m.Unpack(text)
		asked := m.Response && m.ID == id && len(m.Questions) == 1 && m.Questions[0].Type == kind &&
			strings.EqualFold(m.Questions[0].Name.String(), name.String())
		if asked && (err == nil || network == "udp" && m.Truncated) {
			return &m, nil
		}
		if network == "tcp" {
			return nil, errors.New("the answer cannot be read, or is to another question")
		}
		// Someone else's, or damaged: the right one may still come.
	}
}

func receive(conn net.Conn, network string) ([]byte, error) {
	if network != "tcp" {
		buf := make([]byte, 64<<10)
		n, err := conn.Read(buf)
		return buf[:n], err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(conn, buf)
	return buf, err
}
