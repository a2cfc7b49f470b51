package probe_test

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/pointsman/pointsman/router/monitor/probe"
)

// nameServer answers over UDP and TCP on one port.
func nameServer(t *testing.T, answer func(q dnsmessage.Question, tcp bool) dnsmessage.Message) string {
	t.Helper()
	reply := func(packet []byte, tcp bool) []byte {
		var q dnsmessage.Message
		if err := q.Unpack(packet); err != nil || len(q.Questions) != 1 {
			t.Errorf("question: %v", err)
			return nil
		}
		m := answer(q.Questions[0], tcp)
		m.ID, m.Response, m.Questions = q.ID, true, q.Questions
		out, err := m.Pack()
		if err != nil {
			t.Error(err)
		}
		return out
	}
	ln := listen(t)
	accept(t, ln, func(c net.Conn) {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		packet := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, packet); err != nil {
			return
		}
		out := reply(packet, true)
		_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
	})
	udp, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo([]byte("noise"), from) // damaged, and must not matter
			_, _ = udp.WriteTo(reply(buf[:n], false), from)
		}
	}()
	t.Cleanup(func() { _ = udp.Close(); <-done })
	return ln.Addr().String()
}

func TestDNS(t *testing.T) {
	t.Parallel()
	name := func(s string) dnsmessage.Name { return dnsmessage.MustNewName(s) }
	server := nameServer(t, func(q dnsmessage.Question, tcp bool) (m dnsmessage.Message) {
		add := func(kind dnsmessage.Type, bodies ...dnsmessage.ResourceBody) {
			for _, b := range bodies {
				m.Answers = append(m.Answers, dnsmessage.Resource{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: kind, Class: dnsmessage.ClassINET, TTL: 60}, Body: b,
				})
			}
		}
		host := strings.TrimSuffix(q.Name.String(), ".example.net.")
		switch {
		case host == "gone":
			m.RCode = dnsmessage.RCodeNameError
		case host == "broken":
			m.RCode = dnsmessage.RCodeServerFailure
		case host == "empty":
		case host == "large" && !tcp:
			m.Truncated = true
		case q.Type == dnsmessage.TypeA:
			add(dnsmessage.TypeCNAME, &dnsmessage.CNAMEResource{CNAME: name("other.example.net.")})
			add(q.Type, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 9}}, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 10}})
		case q.Type == dnsmessage.TypeAAAA:
			add(q.Type, &dnsmessage.AAAAResource{AAAA: [16]byte{0x20, 1, 0xd, 0xb8, 15: 1}})
		case q.Type == dnsmessage.TypeCNAME:
			add(q.Type, &dnsmessage.CNAMEResource{CNAME: name("Other.Example.net.")})
		case q.Type == dnsmessage.TypeMX:
			add(q.Type, &dnsmessage.MXResource{Pref: 10, MX: name("mail.example.net.")})
		case q.Type == dnsmessage.TypeTXT:
			add(q.Type, &dnsmessage.TXTResource{TXT: []string{"v=spf1 ", "-all"}})
		case q.Type == dnsmessage.TypeSRV:
			add(q.Type, &dnsmessage.SRVResource{Priority: 1, Weight: 5, Port: 5060, Target: name("sip.example.net.")})
		}
		return m
	})
	for test, c := range map[string]struct {
		cfg  probe.DNSConfig
		want string
		seen []string
	}{
		"A":                 {probe.DNSConfig{Name: "a.example.net", Type: "A"}, "", []string{"192.0.2.10", "192.0.2.9"}},
		"A, as expected":    {probe.DNSConfig{Name: "a.example.net.", Type: "A", Expect: []string{"192.0.2.9", "192.0.2.10"}}, "", []string{"192.0.2.10", "192.0.2.9"}},
		"A, less":           {probe.DNSConfig{Name: "a.example.net", Type: "A", Expect: []string{"192.0.2.9"}}, `want ["192.0.2.9"]`, []string{"192.0.2.10", "192.0.2.9"}},
		"AAAA":              {probe.DNSConfig{Name: "a.example.net", Type: "AAAA", Expect: []string{"2001:DB8:0::1"}}, "", []string{"2001:db8::1"}},
		"CNAME":             {probe.DNSConfig{Name: "a.example.net", Type: "CNAME", Expect: []string{"OTHER.example.net"}}, "", []string{"other.example.net."}},
		"MX":                {probe.DNSConfig{Name: "a.example.net", Type: "MX", Expect: []string{"10  mail.example.net"}}, "", []string{"10 mail.example.net."}},
		"TXT":               {probe.DNSConfig{Name: "a.example.net", Type: "TXT", Expect: []string{"v=spf1 -all"}}, "", []string{"v=spf1 -all"}},
		"SRV":               {probe.DNSConfig{Name: "a.example.net", Type: "SRV", Expect: []string{"1 5 5060 sip.example.net."}}, "", []string{"1 5 5060 sip.example.net."}},
		"over TCP":          {probe.DNSConfig{Name: "large.example.net", Type: "TXT"}, "", []string{"v=spf1 -all"}},
		"no such name":      {probe.DNSConfig{Name: "gone.example.net", Type: "A"}, "NXDOMAIN", []string{}},
		"the server cannot": {probe.DNSConfig{Name: "broken.example.net", Type: "A"}, "SERVFAIL", []string{}},
		"no such record":    {probe.DNSConfig{Name: "empty.example.net", Type: "A"}, "no A record", []string{}},
	} {
		t.Run(test, func(t *testing.T) {
			t.Parallel()
			c.cfg.Server = server
			check, err := probe.DNS(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if res := run(t, check, c.want); !cmp.Equal(res.Seen, c.seen) || res.Data["server"] != server {
				t.Fatalf("%+v", res)
			}
		})
	}
	if _, err := probe.DNS(probe.DNSConfig{Name: "a..b", Type: "HINFO"}); err == nil {
		t.Fatal("HINFO")
	}
	check, err := probe.DNS(probe.DNSConfig{Name: "a.example.net", Type: "A", Server: closed(t)})
	if err != nil {
		t.Fatal(err)
	}
	run(t, check, "connection refused")
}
