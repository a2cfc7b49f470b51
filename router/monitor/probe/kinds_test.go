package probe_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/router/monitor/probe"
)

// run makes one check and compares its error: "" is up, otherwise a part of it.
func run(t *testing.T, check probe.Check, want string) probe.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	res := check(ctx)
	switch {
	case want == "" && res.Err != nil:
		t.Fatal(res.Err)
	case want != "" && (res.Err == nil || !strings.Contains(res.Err.Error(), want)):
		t.Fatalf("%v, want %q", res.Err, want)
	}
	return res
}

// closed is an address where nothing listens.
func closed(t *testing.T) string {
	t.Helper()
	ln := listen(t)
	_ = ln.Close()
	return ln.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// accept serves each connection of a listener.
func accept(t *testing.T, ln net.Listener, serve func(net.Conn)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serve(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/broken":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/long":
			_, _ = io.WriteString(w, strings.Repeat(" ", 2<<20)+"end")
		default:
			fmt.Fprintf(w, "%s %s %s status=green", r.Method, r.Host, r.Header.Get("X-Key"))
		}
	}))
	t.Cleanup(srv.Close)
	for name, c := range map[string]struct {
		cfg  probe.HTTPConfig
		want string
	}{
		"up":                      {probe.HTTPConfig{URL: "/ok"}, ""},
		"down":                    {probe.HTTPConfig{URL: "/broken"}, "status 503"},
		"expected":                {probe.HTTPConfig{URL: "/broken", Status: []int{200, 503}}, ""},
		"not expected":            {probe.HTTPConfig{URL: "/ok", Status: []int{204}}, "status 200"},
		"a redirect is no answer": {probe.HTTPConfig{URL: "/moved"}, "status 302"},
		"it can be expected":      {probe.HTTPConfig{URL: "/moved", Status: []int{302}}, ""},
		"and followed":            {probe.HTTPConfig{URL: "/moved", Follow: true, Contains: "green"}, ""},
		"contains":                {probe.HTTPConfig{URL: "/ok", Contains: "status=green"}, ""},
		"contains not":            {probe.HTTPConfig{URL: "/ok", Contains: "status=red"}, "does not contain"},
		"matches":                 {probe.HTTPConfig{URL: "/ok", Matches: regexp.MustCompile(`status=(green|yellow)`)}, ""},
		"matches not":             {probe.HTTPConfig{URL: "/ok", Matches: regexp.MustCompile(`^status`)}, "does not match"},
		"beyond the first MiB":    {probe.HTTPConfig{URL: "/long", Contains: "end"}, "does not contain"},
		"method and headers":      {probe.HTTPConfig{URL: "/ok", Method: "POST", Header: map[string]string{"x-key": "k1", "host": "a.example.net"}, Contains: "POST a.example.net k1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.cfg.URL = srv.URL + c.cfg.URL
			check, err := probe.HTTP(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if res := run(t, check, c.want); res.Data["status"] == nil {
				t.Fatalf("%+v", res)
			}
		})
	}
}

func TestHTTPErrorsDoNotShowTheURL(t *testing.T) {
	t.Parallel()
	check, err := probe.HTTP(probe.HTTPConfig{URL: "http://" + closed(t) + "/?token=canary"})
	if err != nil {
		t.Fatal(err)
	}
	if res := run(t, check, "connect: connection refused"); strings.Contains(res.Err.Error(), "canary") {
		t.Fatal(res.Err)
	}
	if _, err := probe.HTTP(probe.HTTPConfig{URL: "http://canary host/"}); err == nil || strings.Contains(err.Error(), "canary host/") {
		t.Fatal(err)
	}
}

func TestHTTPOverTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	for name, c := range map[string]struct {
		tls  probe.TLSOptions
		want string
	}{
		"unknown authority": {probe.TLSOptions{}, "unknown authority"},
		"its authority":     {probe.TLSOptions{CA: pool}, "status 404"},
		"another name":      {probe.TLSOptions{CA: pool, ServerName: "other.example.net"}, "not other.example.net"},
		"not verified":      {probe.TLSOptions{SkipVerify: true}, "status 404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check, err := probe.HTTP(probe.HTTPConfig{URL: srv.URL, TLS: c.tls})
			if err != nil {
				t.Fatal(err)
			}
			run(t, check, c.want)
		})
	}
}

func TestTCP(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	accept(t, ln, func(c net.Conn) {
		_, _ = io.WriteString(c, "SSH-2.0-Open")
		_, _ = io.WriteString(c, "SSH_9.9\r\n")
		line, _ := bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, "you said "+line)
	})
	silent := listen(t) // the kernel accepts, nobody answers
	for name, c := range map[string]struct {
		cfg  probe.TCPConfig
		want string
	}{
		"connects":       {probe.TCPConfig{}, ""},
		"banner":         {probe.TCPConfig{Expect: regexp.MustCompile(`^SSH-2\.0-OpenSSH_9`)}, ""},
		"another banner": {probe.TCPConfig{Send: "\n", Expect: regexp.MustCompile(`^220 `)}, "the answer does not match"},
		"an answer":      {probe.TCPConfig{Send: "hello\n", Expect: regexp.MustCompile(`you said hello`)}, ""},
		"nobody":         {probe.TCPConfig{Address: closed(t)}, "connect: connection refused"},
		"no tls":         {probe.TCPConfig{TLS: &probe.TLSOptions{}}, "tls: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.cfg.Address == "" {
				c.cfg.Address = ln.Addr().String()
			}
			run(t, probe.TCP(c.cfg), c.want)
		})
	}
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		res := probe.TCP(probe.TCPConfig{Address: silent.Addr().String(), Expect: regexp.MustCompile("x")})(ctx)
		if res.Err == nil {
			t.Fatal("an answer from nobody")
		}
	})
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T, ends time.Time) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.key, a.cert = a.make("authority", ends)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) make(name string, ends time.Time) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-100 * 24 * time.Hour), NotAfter: ends,
		DNSNames: []string{name}, BasicConstraintsValid: true, IsCA: a.cert == nil, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, cert
}

// serve speaks TLS with a certificate, the chain included.
func (a *authority) serve(name string, ends time.Time) string {
	key, cert := a.make(name, ends)
	ln := tls.NewListener(listen(a.t), &tls.Config{Certificates: []tls.Certificate{{
		Certificate: [][]byte{cert.Raw, a.cert.Raw}, PrivateKey: key,
	}}})
	accept(a.t, ln, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	return ln.Addr().String()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	soon, late := time.Now().Add(5*24*time.Hour), time.Now().Add(100*24*time.Hour)
	a, short := newAuthority(t, late), newAuthority(t, soon)
	for name, c := range map[string]struct {
		address string
		options probe.TLSOptions
		ends    time.Time
		want    string
	}{
		"good":              {a.serve("a.example.net", late), probe.TLSOptions{CA: a.pool, ServerName: "a.example.net"}, late, ""},
		"near its end":      {a.serve("a.example.net", soon), probe.TLSOptions{CA: a.pool, ServerName: "a.example.net"}, soon, ""},
		"its issuer is":     {short.serve("a.example.net", late), probe.TLSOptions{CA: short.pool, ServerName: "a.example.net"}, soon, ""},
		"over":              {a.serve("a.example.net", time.Now().Add(-time.Hour)), probe.TLSOptions{CA: a.pool, ServerName: "a.example.net"}, time.Now().Add(-time.Hour), "expired"},
		"over, not judged":  {a.serve("a.example.net", time.Now().Add(-time.Hour)), probe.TLSOptions{SkipVerify: true}, time.Now().Add(-time.Hour), ""},
		"another name":      {a.serve("a.example.net", late), probe.TLSOptions{CA: a.pool}, late, "127.0.0.1"},
		"unknown authority": {a.serve("a.example.net", late), probe.TLSOptions{CA: short.pool, ServerName: "a.example.net"}, late, "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := run(t, probe.TLS(probe.TLSConfig{Address: c.address, TLSOptions: c.options}), c.want)
			if d := res.Expires.Sub(c.ends).Abs(); d > time.Minute {
				t.Fatalf("ends %s, want %s", res.Expires, c.ends)
			}
			if len(res.Seen) != 1 || len(res.Seen[0]) != 64 || res.Data["certificate"] == nil {
				t.Fatalf("%+v", res)
			}
		})
	}
	run(t, probe.TLS(probe.TLSConfig{Address: closed(t)}), "connect: connection refused")
}

func TestCommand(t *testing.T) {
	t.Parallel()
	sh := func(script string) []string { return []string{"/bin/sh", "-c", script} }
	for name, c := range map[string]struct {
		cfg  probe.CommandConfig
		want string
		data map[string]any
	}{
		"exit 0":             {probe.CommandConfig{Argv: sh("echo fine")}, "", map[string]any{"exit_code": 0, "output": "fine\n"}},
		"exit 2":             {probe.CommandConfig{Argv: sh("echo bad >&2; exit 2")}, "exit code 2", map[string]any{"exit_code": 2, "output": "bad\n"}},
		"expected":           {probe.CommandConfig{Argv: sh("exit 1"), Exit: []int{0, 1}}, "", map[string]any{"exit_code": 1, "output": ""}},
		"0 is not":           {probe.CommandConfig{Argv: sh("exit 0"), Exit: []int{1}}, "exit code 0", map[string]any{"exit_code": 0, "output": ""}},
		"output":             {probe.CommandConfig{Argv: sh("echo raid: optimal"), Output: regexp.MustCompile(`(?m)^raid: optimal$`)}, "", map[string]any{"exit_code": 0, "output": "raid: optimal\n"}},
		"another output":     {probe.CommandConfig{Argv: sh("echo raid: degraded"), Output: regexp.MustCompile("optimal")}, "the output does not match", map[string]any{"exit_code": 0, "output": "raid: degraded\n"}},
		"signal":             {probe.CommandConfig{Argv: sh("kill -9 $$")}, "signal: killed", map[string]any{"output": ""}},
		"no shell":           {probe.CommandConfig{Argv: []string{"echo", "$HOME; x"}}, "", map[string]any{"exit_code": 0, "output": "$HOME; x\n"}},
		"nothing on stdin":   {probe.CommandConfig{Argv: []string{"cat"}}, "", map[string]any{"exit_code": 0, "output": ""}},
		"dir":                {probe.CommandConfig{Argv: []string{"pwd"}, Dir: "/"}, "", map[string]any{"exit_code": 0, "output": "/\n"}},
		"a small envronment": {probe.CommandConfig{Argv: sh("env | grep -c '^POINTSMAN_TEST' || true")}, "", map[string]any{"exit_code": 0, "output": "0\n"}},
		"much output": {
			probe.CommandConfig{Argv: sh("head -c 200000 /dev/zero | tr '\\0' x")},
			"",
			map[string]any{"exit_code": 0, "output": strings.Repeat("x", 64<<10), "truncated": true},
		},
		"not text": {probe.CommandConfig{Argv: []string{"printf", "a\\377b"}}, "", map[string]any{"exit_code": 0, "output": "a\uFFFDb"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := run(t, probe.Command(c.cfg), c.want)
			if diff := cmp.Diff(c.data, res.Data); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestMain(m *testing.M) {
	_ = os.Setenv("POINTSMAN_TEST_CANARY", "1") // commands must not see it
	goleak.VerifyTestMain(m)
}

func TestCommandThatIsMissing(t *testing.T) {
	t.Parallel()
	res := run(t, probe.Command(probe.CommandConfig{Argv: []string{filepath.Join(t.TempDir(), "none")}}), "no such file")
	if !errors.Is(res.Err, probe.ErrLocal) {
		t.Fatal(res.Err)
	}
}

// At the timeout everything that the command started is killed.
func TestCommandIsKilled(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan probe.Result, 1)
	go func() {
		done <- probe.Command(probe.CommandConfig{Argv: []string{"/bin/sh", "-c", "sleep 1000 & echo $! > " + pidFile + ".new; mv " + pidFile + ".new " + pidFile + "; wait"}})(ctx)
	}()
	var pid int
	eventually(t, "the command starts", func() bool {
		text, err := os.ReadFile(pidFile)
		if err != nil {
			return false
		}
		_, err = fmt.Sscan(string(text), &pid)
		return err == nil
	})
	cancel()
	if res := <-done; res.Err == nil {
		t.Fatal("no error")
	}
	eventually(t, "its child ends", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(text), ") Z ")
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

func TestICMP(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	res := probe.ICMP("127.0.0.1")(ctx)
	if errors.Is(res.Err, probe.ErrLocal) {
		t.Skipf("ICMP IS NOT TESTED: %s", res.Err)
	}
	if res.Err != nil || res.Data["address"] != "127.0.0.1" {
		t.Fatalf("%+v", res)
	}
	if res := probe.ICMP("::1")(ctx); res.Err != nil && !errors.Is(res.Err, probe.ErrLocal) {
		t.Errorf("::1: %s", res.Err)
	}
	run(t, probe.ICMP("name.invalid"), "resolve: ")
}
