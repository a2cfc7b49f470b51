package ingest

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
)

// Certificate wants a client certificate, which the listener has verified, with
// one of the names among its subject alternative names: a DNS name (*.example.net
// stands for one label), e-mail address, URI or IP address. The common name is
// not looked at (RFC 9525, section 2).
func Certificate(names []string) Auth { return Auth{&certificate{names: names}} }

type certificate struct{ names []string }

func (c *certificate) name() string      { return "certificate" }
func (c *certificate) signed() bool      { return false }
func (c *certificate) header() string    { return "Authorization" }
func (c *certificate) challenge() string { return "" }

func (c *certificate) check(r *http.Request, _ []byte) *problem {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return unauthorized()
	}
	if !slices.ContainsFunc(alternativeNames(r.TLS.PeerCertificates[0]), c.permits) {
		return unauthorized()
	}
	return nil
}

func (c *certificate) permits(name string) bool {
	_, parent, isDomain := strings.Cut(name, ".")
	return slices.ContainsFunc(c.names, func(want string) bool {
		return strings.EqualFold(want, name) || isDomain && strings.EqualFold(want, "*."+parent)
	})
}

func alternativeNames(c *x509.Certificate) []string {
	names := append(slices.Clone(c.DNSNames), c.EmailAddresses...)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}
