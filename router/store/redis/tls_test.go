package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/redis"
)

// authority signs certificates for servers.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.key = check(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	own := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der := check(x509.CreateCertificate(rand.Reader, own, own, a.key.Public(), a.key))(t)
	a.cert = check(x509.ParseCertificate(der))(t)
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME.key for an address.
func (a *authority) issue(name string, ip net.IP) {
	a.t.Helper()
	key := check(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(a.t)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{ip},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	a.write(name+".pem", "CERTIFICATE", check(x509.CreateCertificate(rand.Reader, leaf, a.cert, key.Public(), a.key))(a.t))
	a.write(name+".key", "PRIVATE KEY", check(x509.MarshalPKCS8PrivateKey(key))(a.t))
}

// trustEnv marks the process that runs with SSL_CERT_FILE set: the roots of the
// system are read once in a process.
const trustEnv = "POINTSMAN_TEST_REDIS_TLS"

func TestTLS(t *testing.T) {
	t.Parallel()
	if urls := os.Getenv(trustEnv); urls != "" {
		overTLS(t, strings.Fields(urls))
		return
	}
	if got := check(newServer(t).client().ConfigGet(t.Context(), "tls-port").Result())(t); len(got) == 0 {
		t.Skip("NOT RUN: this redis-server was built without TLS; rediss:// is not tested")
	}
	a := newAuthority(t)
	a.issue("right", net.IPv4(127, 0, 0, 1))
	a.issue("elsewhere", net.IPv4(192, 0, 2, 1))
	var urls []string
	for _, name := range []string{"right", "elsewhere"} {
		port := unused(t)
		s := newServer(t)
		s.stop()
		s.args = []string{
			"--tls-port", port, "--tls-cert-file", a.path(name + ".pem"), "--tls-key-file", a.path(name + ".key"),
			"--tls-ca-cert-file", a.path("ca.pem"), "--tls-auth-clients", "no",
		}
		s.start()
		urls = append(urls, "rediss://127.0.0.1:"+port+"/0", s.url())
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestTLS$", "-test.v")
	cmd.Env = append(os.Environ(), trustEnv+"="+strings.Join(urls, " "), "SSL_CERT_FILE="+a.path("ca.pem"))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestTLS") {
		t.Errorf("%v:\n%s", err, out)
	}
	// Without trust in the authority.
	refusedTLS(t, urls[0], "certificate")
}

// overTLS has a trusted server, the same without TLS, and one whose certificate
// is for another address.
func overTLS(t *testing.T, urls []string) {
	t.Helper()
	db := open(t, urls[0], "a", nil)
	enter(t, db, "i")
	round(t, db, "1", "a")
	select {
	case <-db.Wake(): // the listener's connection is over TLS too
	case <-time.After(5 * time.Second):
		t.Error("not woken")
	}
	refusedTLS(t, urls[2], "192.0.2.1")
	refusedTLS(t, strings.Replace(urls[1], "redis://", "rediss://", 1), "")
}

func refusedTLS(t *testing.T, url, says string) {
	t.Helper()
	db := check(redis.Open(redis.Config{URL: url, Name: "a"}))(t)
	defer db.Close()
	_, err := db.Enter(t.Context(), store.Instance{ID: "i"})
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), says) {
		t.Errorf("enter: %v, want %q in it", err, says)
	}
}
