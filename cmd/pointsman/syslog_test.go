package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// listens waits until a source listens, for the n-th time, and returns where.
func (l *live) listens(source string, n int) string {
	l.t.Helper()
	address := ""
	l.until("the source listens", func() bool {
		seen := 0
		for text := range strings.Lines(l.log()) {
			var line struct{ Msg, Source, Address string }
			if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "source listens" && line.Source == source {
				address = line.Address
				seen++
			}
		}
		return seen == n
	})
	return address
}

// count is how many events a source has.
func (l *live) count(source string) int {
	l.t.Helper()
	status, text := l.get("/api/v1/events?limit=1000&source=" + source)
	var page struct{ Events []json.RawMessage }
	if err := json.Unmarshal([]byte(text), &page); err != nil || status != 200 {
		l.t.Fatalf("%d %s", status, text)
	}
	return len(page.Events)
}

// syslogPage runs the example of docs/sources/syslog.md on the loopback.
func syslogPage(t *testing.T) *live {
	t.Helper()
	page, err := os.ReadFile("../../docs/sources/syslog.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```yaml\n")
	if len(blocks) < 3 {
		t.Fatal("the page has no example")
	}
	config, _, _ := strings.Cut(blocks[1], "```")
	rule, _, _ := strings.Cut(blocks[2], "```")
	here := strings.NewReplacer("udp://0.0.0.0:5514", "udp://127.0.0.1:0", "192.0.2.0/24", "127.0.0.0/8").Replace(config)
	if strings.Count(here, "127.0.0.") != 2 {
		t.Fatalf("the example is another one:\n%s", config)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "rules"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"pointsman.yaml": here, "rules/links.yaml": rule, "bounce.sh": "#!/bin/sh\necho \"bounced $1 $2\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return startLive(t, dir)
}

// A link that flaps is bounced once, as the page says.
func TestSyslogExample(t *testing.T) {
	t.Parallel()
	l := syslogPage(t)
	conn, err := net.Dial("udp", l.listens("switches", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range 5 {
		for _, state := range []string{"down", "up"} {
			fmt.Fprintf(conn, "<187>%d: acc-3: Mar 10 10:05:53.044: %%LINK-3-UPDOWN: Interface GigabitEthernet0/3, changed state to %s", i, state)
		}
	}
	l.until("all lines are events", func() bool { return l.count("switches") == 10 })
	l.until("the port is bounced", func() bool { return len(l.deliveries("done")) == 1 })
	all := l.deliveries("")
	if len(all) != 1 || all[0].Rule != "bounce-flapping-link" {
		t.Fatalf("%v", all)
	}
	if _, text := l.get("/api/v1/deliveries/" + all[0].ID); !strings.Contains(text, "bounced acc-3 GigabitEthernet0/3") {
		t.Fatal(text)
	}
	_, metrics := l.get("/metrics")
	for _, want := range []string{`pointsman_syslog_lines_total{source="switches"} 10`, `pointsman_syslog_dropped_total{source="switches"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Fatalf("no %s in\n%s", want, metrics)
		}
	}
}

// A reload adds a listener and leaves the other alone; what was sent to it
// before SIGTERM is there after the next start.
func TestSyslogReloadAndStop(t *testing.T) {
	t.Parallel()
	l := syslogPage(t)
	udp := l.listens("switches", 1)
	path := filepath.Join(l.dir, "pointsman.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	more := strings.Replace(string(text), "sources:\n", "sources:\n  - {name: servers, type: syslog, listen: 'tcp://127.0.0.1:0'}\n", 1)
	if err := os.WriteFile(path, []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", l.listens("servers", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if again := l.listens("switches", 1); again != udp {
		t.Fatalf("the other source moved from %s to %s", udp, again)
	}
	const n = 500
	for i := range n {
		fmt.Fprintf(conn, "<13>line %d\n", i)
	}
	l.until("the first line is an event", func() bool { return l.count("servers") > 0 })
	l.stop()
	if strings.Contains(l.log(), "lines are lost") {
		t.Fatal(l.log())
	}
	l = startLive(t, l.dir)
	if got := l.count("servers"); got != n {
		t.Fatalf("%d of %d lines are there", got, n)
	}
}

// An address that is taken breaks that source and no other.
func TestSyslogAddressTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	config := fmt.Sprintf("rules: []\nsources:\n  - {name: a, type: syslog, listen: 'tcp://%s'}\n  - {name: b, type: syslog, listen: 'tcp://127.0.0.1:0'}\n", taken.Addr())
	if err := os.WriteFile(filepath.Join(dir, "pointsman.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l := startLive(t, dir)
	l.listens("b", 1)
	l.until("the source is reported", func() bool {
		_, text := l.get("/readyz")
		return strings.Contains(text, `"name":"a"`) && strings.Contains(text, "address already in use")
	})
	_ = taken.Close()
	l.listens("a", 1)
}

// writeSyslogCertificate makes c.pem and k.pem in a folder, with a serial number.
func writeSyslogCertificate(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
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

// New certificates in the same files are in force after SIGHUP.
func TestSyslogCertificatesOnReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := "rules: []\nsources:\n  - {name: a, type: syslog, listen: 'tls://127.0.0.1:0', tls: {cert: c.pem, key: k.pem}}\n"
	if err := os.WriteFile(filepath.Join(dir, "pointsman.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	writeSyslogCertificate(t, dir, 1)
	l := startLive(t, dir)
	for serial := range int64(2) {
		conn, err := tls.Dial("tcp", l.listens("a", int(serial)+1), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != serial+1 {
			t.Fatalf("certificate %d, want %d", got, serial+1)
		}
		fmt.Fprintf(conn, "<13>under certificate %d\n", serial+1)
		l.until("the line is an event", func() bool { return l.count("a") == int(serial)+1 })
		writeSyslogCertificate(t, dir, serial+2)
		if err := l.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
}
