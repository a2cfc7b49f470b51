package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/config"
)

// A rule whose command sends what the rule matches ends after limits.hops.
func TestLoopEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, actions, rules, says string }{
		{
			"pointsman send", `
  - name: again
    plugin: exec
    settings: {command: [PROGRAM, send, --url, EVENTS, --type, loop]}
    retry: {attempts: 1}
`, "rules: [{name: again, when: 'event.type == \"loop\"', do: [{action: again, with: {stdin: ''}}]}]\n",
			"more than 3 hops",
		},
		{
			"http", `
  - name: again
    plugin: http
    settings: {url: EVENTS/events, headers: {Content-Type: application/cloudevents+json}}
    retry: {attempts: 1}
`, `
rules:
  - name: again
    when: event.type == "loop"
    do:
      - action: again
        with: {body: {specversion: "1.0", type: loop, source: again, id: "${{ event.id }}x"}}
`,
			"400",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := ln.Addr().String()
			if err := ln.Close(); err != nil {
				t.Fatal(err)
			}
			bin, err := program()
			if err != nil {
				t.Fatal(err)
			}
			yaml := "listen: " + addr + "\nadmin: {listen: 127.0.0.1:0}\nlimits: {hops: 3}\nactions:" + tt.actions
			yaml = strings.NewReplacer("EVENTS", "http://"+addr, "PROGRAM", bin).Replace(yaml)
			r := newSite(t, yaml, tt.rules, succeeds).serve()
			if code := r.send("e1", "loop"); code != http.StatusAccepted {
				t.Fatalf("sent: %d", code)
			}
			// e1 and the three it caused; the last attempt is refused.
			dead := r.all("dead", 1)
			if done := r.all("done", 3); len(done) != 3 || len(dead) != 1 {
				t.Errorf("%d done, %d dead", len(done), len(dead))
			}
			var last struct{ History []struct{ Output string } }
			r.ask(&last, "deliveries", "show", dead[0].ID)
			if len(last.History) != 1 || !strings.Contains(last.History[0].Output+dead[0].Error, tt.says) {
				t.Errorf("%q, %+v", dead[0].Error, last)
			}
		})
	}
}

// certify writes a self-signed certificate for 127.0.0.1 and its key.
func certify(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(time.Now().UnixNano()), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "EC PRIVATE KEY", Bytes: text},
	} {
		// As renewal tools do it: another file under the same name.
		fresh := filepath.Join(dir, file+".new")
		if err := os.WriteFile(fresh, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(fresh, filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
}

// shown is the name on the certificate that a server at addr shows.
func shown(t *testing.T, addr string) string {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certify(t, dir, "first")
	now := time.Now()
	var log bytes.Buffer
	c, err := newCertificates(config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")},
		slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	name := func() string {
		return c.current().Certificates[0].Leaf.Subject.CommonName
	}
	if name() != "first" {
		t.Fatal(name())
	}
	certify(t, dir, "second")
	if now = now.Add(certificateCheck - time.Second); name() != "first" {
		t.Error("looked too early")
	}
	if now = now.Add(time.Second); name() != "second" {
		t.Errorf("not read again: %s", name())
	}
	// Half replaced: what is in force stays.
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if now = now.Add(certificateCheck); name() != "second" {
			t.Errorf("a broken key is in force: %s", name())
		}
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
	certify(t, dir, "third")
	if now = now.Add(certificateCheck); name() != "third" {
		t.Errorf("not read after it was mended: %s", name())
	}
	if got := time.Until(c.expires); got < 50*time.Minute || got > time.Hour {
		t.Errorf("expires in %s", got)
	}
}

func TestCertificatesOnSIGHUP(t *testing.T) {
	t.Parallel()
	s := newSite(t, "tls: {cert: cert.pem, key: key.pem}\n"+routerConfig, routerRules, succeeds)
	certify(t, s.dir, "first")
	r := s.serve()
	addr := strings.TrimPrefix(strings.TrimPrefix(r.events, "http://"), "https://")
	if got := shown(t, addr); got != "first" {
		t.Fatalf("%s", got)
	}
	certify(t, s.dir, "second")
	r.signal(syscall.SIGHUP)
	for deadline := time.Now().Add(20 * time.Second); shown(t, addr) != "second"; {
		if time.Now().After(deadline) {
			t.Fatalf("still %s; %s", shown(t, addr), r.said())
		}
	}
}

func TestRateThroughServe(t *testing.T) {
	t.Parallel()
	r := newSite(t, "events: {rate: 3/h}\nsources: [{name: cmdb, type: grafana, rate: 1/h}, {name: plain, type: grafana}]\n"+routerConfig, routerRules, succeeds).serve()
	var codes []string
	for i := range 3 {
		codes = append(codes, fmt.Sprint(r.send(fmt.Sprintf("e%d", i), "work")))
	}
	// One at once: a second of this rate is less than an event.
	if got := strings.Join(codes, " "); got != "202 429 429" {
		t.Error(got)
	}
	alert := `{"title":"t","state":"alerting","ruleId":1,"ruleName":"r","evalMatches":[]}`
	for _, want := range []int{http.StatusAccepted, http.StatusTooManyRequests} {
		status, text := r.post("/hooks/cmdb", alert, map[string]string{"Content-Type": "application/json"})
		if status != want {
			t.Errorf("%d %s, want %d", status, text, want)
		}
	}
	// What curl -d sends without a header of its own is no form of Grafana's.
	status, text := r.post("/hooks/plain", alert, map[string]string{"Content-Type": "application/x-www-form-urlencoded"})
	if status != http.StatusUnsupportedMediaType || !strings.Contains(text, "application/json (set the Content-Type)") {
		t.Errorf("%d %s", status, text)
	}
}
