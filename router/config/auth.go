package config

import (
	"net/http"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// minSecret is the least length in bytes of hmac secrets and tokens: whoever
// can guess one can run the actions.
const minSecret = 16

// AuthKind tells how a sender proves itself.
type AuthKind uint8

// The kinds of authentication.
const (
	// AuthNone: anyone may send.
	AuthNone AuthKind = iota
	// AuthHMAC: a keyed hash of the body in a header.
	AuthHMAC
	// AuthBearer: Authorization: Bearer.
	AuthBearer
	// AuthBasic: user and password.
	AuthBasic
	// AuthToken: a token in the vendor's own header.
	AuthToken
	// AuthCertificate: a client certificate with one of some names.
	AuthCertificate
	// AuthStandardWebhooks: signed as Standard Webhooks says.
	AuthStandardWebhooks
)

var authNames = [...]string{"none", "hmac", "bearer", "basic", "token", "certificate", "standard-webhooks"}

// String returns the kind as the file names it.
func (k AuthKind) String() string {
	if int(k) < len(authNames) {
		return authNames[k]
	}
	return "unknown"
}

// Auth is how a sender proves itself.
type Auth struct {
	Kind AuthKind
	// Secrets of AuthHMAC, and keys of AuthStandardWebhooks as bytes: one that
	// fits is enough, so that they can be changed without a gap.
	Secrets []Secret
	// Header of AuthHMAC and AuthToken.
	Header string
	// Algorithm of AuthHMAC is sha1, sha256 or sha512, Encoding hex or base64;
	// Prefix stands before the encoded hash in the header.
	Algorithm, Encoding, Prefix string
	// Token of AuthBearer and AuthToken.
	Token Secret
	// Query also takes a bearer token from the query parameter access_token.
	Query bool
	// User and Password of AuthBasic.
	User     string
	Password Secret
	// Names of AuthCertificate: DNS names, of which the first label may be *, e-mail
	// addresses, URIs and IP addresses.
	Names []string
}

// auth reads one of none, {hmac: ...}, {bearer: ...}, {basic: ...}, {token: ...}
// and {certificate: ...}. vendor holds the values of the sender's vendor; without a
// header there, hmac must name one and token is refused.
func (r *reader) auth(n *strictyaml.Node, vendor Auth) Auth {
	if n == nil {
		return Auth{}
	}
	if n.IsText() {
		if text, _ := n.Text(); text != "none" {
			n.Secret()
			n.Errorf("unknown auth (write none, {bearer: TOKEN}, {basic: ...}, {hmac: ...}, {token: TOKEN} or {certificate: ...})")
		}
		return Auth{}
	}
	m := n.Map("hmac", "bearer", "basic", "token", "certificate", "query")
	count := 0
	for _, name := range authNames[AuthHMAC:AuthStandardWebhooks] {
		if m.Key(name) != nil {
			count++
		}
	}
	if m != nil && count != 1 {
		n.Errorf("want exactly one of hmac, bearer, basic, token, certificate")
		n.Secret()
		return Auth{}
	}
	if q := m.KeyNode("query"); q != nil && m.Key("bearer") == nil {
		q.Errorf("query belongs to bearer")
	}
	switch {
	case m.Key("hmac") != nil:
		return r.hmac(m.Key("hmac"), vendor)
	case m.Key("bearer") != nil:
		a := Auth{Kind: AuthBearer, Token: r.secret(m.Key("bearer"), minSecret)}
		a.Query, _ = m.Key("query").Bool()
		return a
	case m.Key("basic") != nil:
		b := m.Key("basic").Map("user", "password")
		a := Auth{Kind: AuthBasic}
		a.User = r.text(b.Required("user"))
		if strings.Contains(a.User, ":") {
			b.Key("user").Errorf("a user name cannot contain a colon")
		}
		a.Password = r.secret(b.Required("password"), 1)
		return a
	case m.Key("token") != nil:
		a := Auth{Kind: AuthToken, Header: vendor.Header, Token: r.secret(m.Key("token"), minSecret)}
		if a.Header == "" {
			m.KeyNode("token").Errorf("token is for senders with a header of their own (use bearer)")
		}
		return a
	case m.Key("certificate") != nil:
		return r.certificate(m.Key("certificate"))
	}
	return Auth{}
}

// certificate reads whose client certificates are taken.
func (r *reader) certificate(n *strictyaml.Node) Auth {
	m := n.Map("names")
	a := Auth{Kind: AuthCertificate}
	names := m.Required("names")
	items, ok := names.List()
	if ok && len(items) == 0 {
		names.Errorf("want at least one name (for any certificate of tls.client_ca, leave auth out)")
	}
	for _, item := range items {
		text := r.text(item)
		if strings.Contains(strings.TrimPrefix(text, "*."), "*") {
			item.Errorf("a * stands for the whole first label only, as in *.mon.example.net")
		}
		a.Names = append(a.Names, text)
	}
	return a
}

func (r *reader) hmac(n *strictyaml.Node, vendor Auth) Auth {
	m := n.Map("secret", "secrets", "header", "algorithm", "encoding", "prefix")
	a := Auth{
		Kind: AuthHMAC, Header: vendor.Header, Prefix: vendor.Prefix,
		Algorithm: orElse(vendor.Algorithm, "sha256"), Encoding: orElse(vendor.Encoding, "hex"),
	}
	for _, s := range r.secrets(n, m) {
		a.Secrets = append(a.Secrets, s.value)
	}
	r.set(m.Key("header"), &a.Header)
	r.set(m.Key("prefix"), &a.Prefix)
	r.oneOf(m.Key("algorithm"), &a.Algorithm, "sha1", "sha256", "sha512")
	r.oneOf(m.Key("encoding"), &a.Encoding, "hex", "base64")
	switch {
	case m != nil && a.Header == "":
		n.Errorf("\"header\" is missing (the header that carries the signature)")
	case strings.ContainsFunc(a.Header, notInHeaderName):
		m.Key("header").Errorf("%q is not the name of a header", a.Header)
	}
	a.Header = http.CanonicalHeaderKey(a.Header)
	return a
}

// placed is a secret and where it is.
type placed struct {
	node  *strictyaml.Node
	value Secret
}

// secrets reads either secret or secrets of the mapping m at n.
func (r *reader) secrets(n *strictyaml.Node, m *strictyaml.Map) []placed {
	var out []placed
	one, many := m.Key("secret"), m.Key("secrets")
	switch {
	case m != nil && (one == nil) == (many == nil):
		n.Errorf("want either secret or secrets")
		n.Secret() // it may be there by another name
	case one != nil:
		out = append(out, placed{one, r.secret(one, minSecret)})
	case many != nil:
		items, ok := many.List()
		if ok && len(items) == 0 {
			many.Errorf("want at least one secret")
		}
		for _, item := range items {
			out = append(out, placed{item, r.secret(item, minSecret)})
		}
	}
	return out
}

func notInHeaderName(c rune) bool {
	return c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
}

// secret reads a secret of at least least bytes and keeps it out of every
// message. One that is written out gives a warning.
func (r *reader) secret(n *strictyaml.Node, least int) Secret {
	text, literal, ok := r.expand(n)
	if !ok {
		n.Secret()
		return Secret{}
	}
	if literal {
		n.Secret()
	}
	switch {
	case len(text) == 0:
		n.Errorf("the secret is empty")
	case len(text) < least:
		n.Errorf("the secret has %d bytes, at least %d are needed (openssl rand -hex 32 makes a good one)", len(text), least)
	case strings.ContainsAny(text, "\r\n\x00"):
		n.Errorf("the secret has more than one line")
	case literal:
		n.Warn("literal-secret", 0, "a secret is written out here (use ${env:NAME} or ${file:PATH})")
	}
	return Secret{text}
}

func (r *reader) oneOf(n *strictyaml.Node, to *string, allowed ...string) {
	text, ok := r.maybe(n)
	if !ok {
		return
	}
	if !slices.Contains(allowed, text) {
		written, _ := n.Text() // not what a reference stands for
		n.Errorf("unknown value %q (%s)", written, strictyaml.Suggest(written, allowed))
		return
	}
	*to = text
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
