package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

func TestSyslogSource(t *testing.T) {
	t.Parallel()
	c := load(t, `
sources:
  - name: switches
    type: syslog
    listen: udp://0.0.0.0:5514
    timezone: Europe/Amsterdam
    allow: [10.0.0.0/8, 192.0.2.7, "2001:db8::/32"]
    max_line: 8KiB
  - {name: here, type: syslog, listen: "tcp://[::1]:5514", connections: 10, idle: 1h}
`)
	want := []config.Source{
		{
			Name: "switches", Type: "syslog", Dedup: time.Hour, Pos: config.Pos{Line: 3, Col: 5},
			Syslog: &config.Syslog{
				Network: "udp", Listen: "0.0.0.0:5514", Timezone: "Europe/Amsterdam", MaxLine: 8 << 10, Connections: 1000, Idle: 24 * time.Hour,
				Allow: []netip.Prefix{
					netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32"),
				},
			},
		},
		{
			Name: "here", Type: "syslog", Dedup: time.Hour, Pos: config.Pos{Line: 9, Col: 5},
			Syslog: &config.Syslog{
				Network: "tcp", Listen: "[::1]:5514", Timezone: "UTC", MaxLine: 64 << 10, Connections: 10, Idle: time.Hour,
			},
		},
	}
	if diff := cmp.Diff(want, c.Sources, reveal, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Fatal(diff)
	}
	if !c.Sources[0].Monitor() || c.Sources[0].Hook() {
		t.Fatal("a listener runs within the router")
	}
}

func TestSyslogProblems(t *testing.T) {
	t.Parallel()
	const open = `source "a" is open to other hosts and asks nobody who they are (set allow to the networks of the senders` +
		` or, with tls, tls.client_ca; listen on 127.0.0.1, or say insecure: true at the top level)`
	const form = `want udp://host:port, tcp://host:port or tls://host:port, such as udp://0.0.0.0:5514`
	for name, tc := range map[string]struct{ in, want string }{
		"no listen":      {"name: a, type: syslog", `1:11: "listen" is missing`},
		"no network":     {"name: a, type: syslog, listen: '127.0.0.1:5514'", `1:43: ` + form},
		"other network":  {"name: a, type: syslog, listen: 'http://127.0.0.1:5514'", `1:43: ` + form},
		"no port":        {"name: a, type: syslog, listen: 'udp://127.0.0.1'", `1:43: ` + form},
		"a path":         {"name: a, type: syslog, listen: 'udp://127.0.0.1:5514/x'", `1:43: ` + form},
		"open":           {"name: a, type: syslog, listen: 'udp://:5514'", `1:43: ` + open},
		"auth":           {"name: a, type: syslog, listen: 'udp://127.0.0.1:5514', auth: none", `1:67: unknown key "auth" (known: name, type, listen, timezone, allow, tls, max_line, connections, idle)`},
		"tls without":    {"name: a, type: syslog, listen: 'tls://127.0.0.1:6514'", `1:43: tls needs a certificate (set tls: {cert: FILE, key: FILE})`},
		"nobody":         {"name: a, type: syslog, listen: 'udp://:5514', allow: []", `1:65: the list is empty, so nobody may send (name the networks of the senders, or remove the key)`},
		"bits":           {"name: a, type: syslog, listen: 'udp://:5514', allow: [10.1.0.0/8]", `1:66: the address has bits beyond the prefix (write the network, like 192.0.2.0/24, or the address alone)`},
		"no network at":  {"name: a, type: syslog, listen: 'udp://:5514', allow: [sw1]", `1:66: "sw1" is not a network (write it like 192.0.2.0/24 or 2001:db8::/32)`},
		"zone":           {"name: a, type: syslog, listen: 'udp://127.0.0.1:5514', timezone: Mars/North", `1:77: unknown time zone "Mars/North" (write an IANA name like Europe/Berlin, or UTC)`},
		"udp connection": {"name: a, type: syslog, listen: 'udp://127.0.0.1:5514', connections: 5", `1:80: datagrams have no connections (remove the key)`},
		"line":           {"name: a, type: syslog, listen: 'udp://127.0.0.1:5514', max_line: 1MiB", `1:77: 1MiB is out of range (512B to 64KiB)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(write(t, "sources: [{"+tc.in+"}]\n"), options())
			var list strictyaml.Errors
			if !errors.As(err, &list) {
				t.Fatalf("got %v", err)
			}
			var got []string
			for _, e := range list {
				got = append(got, e.Error()[strings.Index(e.Error(), ".yaml:")+len(".yaml:"):])
			}
			first, _, _ := strings.Cut(strings.Join(got, "\n"), "\n")
			if diff := cmp.Diff(tc.want, first); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

// TestSyslogOpenToOthers: what makes it right to listen to other hosts.
func TestSyslogOpenToOthers(t *testing.T) {
	t.Parallel()
	load(t, "insecure: true\nsources: [{name: a, type: syslog, listen: 'udp://:5514'}]\n")
	load(t, "sources: [{name: a, type: syslog, listen: 'tcp://:5514', allow: [192.0.2.0/24]}]\n")
	load(t, "sources: [{name: a, type: syslog, listen: 'tcp://localhost:5514'}]\n")
}

// TestSyslogCertificates: other certificates in the same files are another
// configuration, so that a reload takes them.
func TestSyslogCertificates(t *testing.T) {
	t.Parallel()
	path := write(t, "sources: [{name: a, type: syslog, listen: 'tls://:6514', tls: {cert: c.pem, key: k.pem, client_ca: c.pem}}]\n")
	sum := func() [32]byte {
		t.Helper()
		c, err := config.Load(path, options())
		if err != nil {
			t.Fatal(err)
		}
		return c.Sources[0].Syslog.TLSSum
	}
	writeCertificate(t, filepath.Dir(path))
	first := sum()
	if first != sum() {
		t.Fatal("the same files have another sum")
	}
	writeCertificate(t, filepath.Dir(path))
	if first == sum() {
		t.Fatal("other files have the same sum")
	}
}

// writeCertificate makes c.pem and k.pem in a folder.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"c.pem": {Type: "CERTIFICATE", Bytes: cert}, "k.pem": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSyslogPage loads every configuration of the page on syslog.
func TestSyslogPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/sources/syslog.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```yaml\n# pointsman.yaml\n")[1:]
	if len(blocks) != 2 {
		t.Fatalf("%d blocks", len(blocks))
	}
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		path := write(t, text)
		dir := filepath.Join(filepath.Dir(path), "tls")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		writeCertificate(t, dir)
		for to, from := range map[string]string{"server.pem": "c.pem", "ca.pem": "c.pem", "server.key": "k.pem"} {
			if err := os.Link(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
				t.Fatal(err)
			}
		}
		c, err := config.Load(path, options())
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Warnings) > 0 {
			t.Fatal(c.Warnings)
		}
	}
}
