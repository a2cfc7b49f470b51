package probe

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// TLSOptions say how the certificate of a target is judged. The zero value
// verifies it against the system's authorities and the name of the host.
type TLSOptions struct {
	// ServerName is asked for and verified instead of the host.
	ServerName string
	// CA are the authorities instead of the system's; nil: the system's.
	CA *x509.CertPool
	// SkipVerify takes any certificate.
	SkipVerify bool
}

func (o TLSOptions) config(host string) *tls.Config {
	if o.ServerName != "" {
		host = o.ServerName
	}
	return &tls.Config{
		ServerName: host, RootCAs: o.CA, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: o.SkipVerify,
	}
}

// maxBanner is how much of what a target sends is compared, in bytes.
const maxBanner = 4 << 10

// TCPConfig is a connection to be made.
type TCPConfig struct {
	// Address is host:port.
	Address string
	// TLS, when set, is spoken after connecting.
	TLS *TLSOptions
	// Send is written first, Expect must match what comes back (at most 4 KiB);
	// nil: nothing is waited for.
	Send   string
	Expect *regexp.Regexp
}

// TCP connects and is up when that succeeds and the answer is as expected.
func TCP(c TCPConfig) Check {
	return func(ctx context.Context) Result {
		conn, err := dial(ctx, c.Address, c.TLS)
		if err != nil {
			return Result{Err: err}
		}
		defer conn.Close()
		stop := closeWith(ctx, conn)
		defer stop()
		if c.Send != "" {
			if _, err := io.WriteString(conn, c.Send); err != nil {
				return Result{Err: plain("send", err)}
			}
		}
		if c.Expect == nil {
			return Result{}
		}
		return banner(conn, c.Expect)
	}
}

// banner reads until what came matches. What came is told when it does not.
func banner(conn io.Reader, want *regexp.Regexp) Result {
	buf := make([]byte, maxBanner)
	for n := 0; ; {
		m, err := conn.Read(buf[n:])
		n += m
		switch {
		case want.Match(buf[:n]):
			return Result{Data: map[string]any{"answer": short(string(buf[:n]))}}
		case err == nil && n < len(buf):
			continue
		case err == nil || errors.Is(err, io.EOF):
			err = fmt.Errorf("the answer does not match %q", want)
		default:
			err = plain("read", err)
		}
		return Result{Err: err, Data: map[string]any{"answer": short(string(buf[:n]))}}
	}
}

// TLSConfig is a certificate to watch.
type TLSConfig struct {
	// Address is host:port.
	Address string
	TLSOptions
}

// TLS makes a handshake. It shows the certificate's fingerprint, and when the
// first certificate of what the target sends ends.
func TLS(c TLSConfig) Check {
	return func(ctx context.Context) Result {
		// Verified by hand, so that what is wrong with a certificate is told with
		// what it is.
		options := c.TLSOptions
		options.SkipVerify = true
		conn, err := dial(ctx, c.Address, &options)
		if err != nil {
			return Result{Err: err}
		}
		defer conn.Close()
		certs := conn.(*tls.Conn).ConnectionState().PeerCertificates
		res := describe(certs)
		if !c.SkipVerify {
			res.Err = verify(certs, options.config(hostOf(c.Address)))
		}
		return res
	}
}

func verify(certs []*x509.Certificate, c *tls.Config) error {
	o := x509.VerifyOptions{Roots: c.RootCAs, DNSName: c.ServerName, Intermediates: x509.NewCertPool()}
	for _, cert := range certs[1:] {
		o.Intermediates.AddCert(cert)
	}
	_, err := certs[0].Verify(o)
	return err
}

func describe(certs []*x509.Certificate) Result {
	leaf := certs[0]
	sum := sha256.Sum256(leaf.Raw)
	fingerprint := hex.EncodeToString(sum[:])
	res := Result{Seen: []string{fingerprint}, Expires: leaf.NotAfter, Data: map[string]any{
		"certificate": map[string]any{
			"subject": short(leaf.Subject.String()), "issuer": short(leaf.Issuer.String()), "serial": leaf.SerialNumber.Text(16),
			"sha256": fingerprint, "not_before": leaf.NotBefore.UTC().Format(time.RFC3339),
			"not_after": leaf.NotAfter.UTC().Format(time.RFC3339),
		},
	}}
	for _, cert := range certs[1:] {
		if cert.NotAfter.Before(res.Expires) {
			res.Expires = cert.NotAfter
		}
	}
	return res
}

// dial connects, and speaks TLS when o is there.
func dial(ctx context.Context, address string, o *TLSOptions) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, plain("connect", err)
	}
	if o == nil {
		return conn, nil
	}
	secure := tls.Client(conn, o.config(hostOf(address)))
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, plain("tls", err)
	}
	return secure, nil
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// closeWith ends reads and writes of conn when ctx ends.
func closeWith(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// plain is an error of the network without the addresses, and marked when the
// reason is on this side.
func plain(what string, err error) error {
	local := isLocal(err)
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		if op.Op == "dial" {
			what = "connect"
		}
		err = op.Err
	}
	text := strings.TrimPrefix(err.Error(), "connect: ")
	if local {
		return fmt.Errorf("%s: %w: %s", what, ErrLocal, text)
	}
	return fmt.Errorf("%s: %s", what, text)
}

// isLocal says that a check failed for want of something here: descriptors,
// memory, ports, processes or rights.
func isLocal(err error) bool {
	for _, no := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EADDRNOTAVAIL, syscall.EAGAIN,
		syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT,
	} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
