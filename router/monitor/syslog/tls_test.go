package syslog_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/pointsman/pointsman/router/monitor/syslog"
)

// issuer is a certificate authority.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	ca := &issuer{}
	c := ca.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "example ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	ca.cert, ca.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	return ca
}

func (ca *issuer) issue(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (ca *issuer) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

func (ca *issuer) server(t *testing.T) tls.Certificate {
	t.Helper()
	return ca.issue(t, &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

func (ca *issuer) client(t *testing.T) tls.Certificate {
	t.Helper()
	return ca.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "sw1.example.net"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := newIssuer(t)
	r := start(t, syslog.Config{Network: syslog.TLS, TLS: &tls.Config{Certificates: []tls.Certificate{ca.server(t)}}})
	conn, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: ca.pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send(t, conn, "5 <13>a5 <13>b")
	r.wantLines(t, "<13>a", "<13>b")
	plain := r.dial(t, "tcp")
	send(t, plain, "<13>not encrypted, and long enough to be read as a record of TLS\n")
	until(t, "a refusal", func() bool { return r.metric(t, "refused_total", "tls") == 1 })
	r.wantLines(t, "<13>a", "<13>b")
}

// TestMutualTLS: who has no certificate of the authority sends nothing.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ca, other := newIssuer(t), newIssuer(t)
	r := start(t, syslog.Config{Network: syslog.TLS, TLS: &tls.Config{
		Certificates: []tls.Certificate{ca.server(t)}, ClientCAs: ca.pool(), ClientAuth: tls.RequireAndVerifyClientCert,
	}})
	for i, strangers := range [][]tls.Certificate{nil, {other.client(t)}} {
		conn, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: ca.pool(), Certificates: strangers})
		if err == nil { // with TLS 1.3 the client learns of it only when it reads
			_, _ = conn.Write([]byte("<13>stranger\n"))
			defer conn.Close()
		}
		until(t, "a refusal", func() bool { return r.metric(t, "refused_total", "tls") == float64(i+1) })
	}
	conn, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.client(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send(t, conn, "<13>friend\n")
	r.wantLines(t, "<13>friend")
}

// TestTLSHandshakeThatNeverComes does not keep others waiting, nor the end.
func TestTLSHandshakeThatNeverComes(t *testing.T) {
	t.Parallel()
	ca := newIssuer(t)
	r := start(t, syslog.Config{Network: syslog.TLS, TLS: &tls.Config{Certificates: []tls.Certificate{ca.server(t)}}})
	r.dial(t, "tcp")
	conn, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: ca.pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send(t, conn, "<13>a\n")
	r.wantLines(t, "<13>a")
	r.stop()
}
