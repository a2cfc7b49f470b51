package config

import (
	"net/http"
	"slices"
	"strings"
	"time"

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
	// AuthSNS: signed by Amazon SNS for one of Topics.
	AuthSNS
)

var authNames = [...]string{"none", "hmac", "bearer", "basic", "token", "certificate", "standard-webhooks", "sns"}

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
	// fits is enough, so that they can be changed without a gap. Of AuthBearer
	// and AuthToken those that are taken besides Token.
	Secrets []Secret
	// Header of AuthHMAC and AuthToken.
	Header string
	// Algorithm of AuthHMAC is sha1, sha256 or sha512, Encoding hex or base64;
	// Prefix stands before the encoded hash in the header.
	Algorithm, Encoding, Prefix string
	// Timestamp is the header with the time of sending, in seconds since 1970,
	// that AuthHMAC signs before the body with Separator between; empty: only the
	// body is signed. The time may be Tolerance from that of this host.
	Timestamp, Separator string
	Tolerance            time.Duration
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
	// Topics are the ARNs of AuthSNS.
	Topics []string
}

// leastDedup is the least dedup of a source where the time of sending is signed:
// such a signature is good from a tolerance before that time to one after it,
// and must not outlive the memory of the id.
func (a Auth) leastDedup() time.Duration {
	switch {
	case a.Kind == AuthStandardWebhooks:
		return 3 * defaultTolerance
	case a.Timestamp != "":
		return 3 * a.Tolerance
	}
	return 0
}

// vendor is how the product of a vendor proves itself when it is asked to.
type vendor struct {
	// hmac has the values that need not be said; with Kind AuthStandardWebhooks
	// the product signs so.
	hmac Auth
	// token is the header of a token; empty: the source must name it.
	token string
	// sns: the product is Amazon SNS.
	sns bool
	// open: a token of any header may be asked for.
	open bool
}

// defaultTolerance is how far the timestamp of a request may be off.
const defaultTolerance = 5 * time.Minute

// auth reads one of none, {hmac: ...}, {bearer: ...}, {basic: ...}, {token: ...},
// {certificate: ...} and {sns: ...}. Without a header in v, hmac must name one.
func (r *reader) auth(n *strictyaml.Node, v vendor) Auth {
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
	forms := []string{"hmac", "bearer", "basic", "token", "certificate"}
	if v.sns {
		forms = append(forms, "sns")
	}
	m := n.Map(append(forms, "query", "header")...)
	var given []string
	for _, name := range forms {
		if m.Key(name) != nil {
			given = append(given, name)
		}
	}
	if m != nil && len(given) != 1 {
		n.Errorf("want exactly one of %s", strings.Join(forms, ", "))
		n.Secret()
		return Auth{}
	}
	if q := m.KeyNode("query"); q != nil && m.Key("bearer") == nil {
		q.Errorf("query belongs to bearer")
	}
	if h := m.KeyNode("header"); h != nil && m.Key("token") == nil {
		h.Errorf("header belongs to token (or write it within hmac)")
	}
	switch {
	case m.Key("hmac") != nil && v.hmac.Kind == AuthStandardWebhooks:
		return r.standardHMAC(m.Key("hmac"))
	case m.Key("hmac") != nil:
		return r.hmac(m.Key("hmac"), v.hmac)
	case m.Key("bearer") != nil:
		a := Auth{Kind: AuthBearer}
		r.tokens(m.Key("bearer"), &a)
		a.Query, _ = m.Key("query").Bool()
		return a
	case m.Key("basic") != nil:
		return r.basic(m.Key("basic"))
	case m.Key("token") != nil:
		return r.token(m, v)
	case m.Key("certificate") != nil:
		return r.certificate(m.Key("certificate"))
	case m.Key("sns") != nil:
		return r.sns(m.Key("sns"))
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

func (r *reader) basic(n *strictyaml.Node) Auth {
	b := n.Map("user", "password")
	a := Auth{Kind: AuthBasic}
	a.User = r.text(b.Required("user"))
	if strings.Contains(a.User, ":") {
		b.Key("user").Errorf("a user name cannot contain a colon")
	}
	a.Password = r.secret(b.Required("password"), 1)
	return a
}

func (r *reader) token(m *strictyaml.Map, v vendor) Auth {
	a := Auth{Kind: AuthToken, Header: v.token}
	instead := "bearer"
	if v.hmac.Header != "" {
		instead = "hmac"
	}
	r.tokens(m.Key("token"), &a)
	r.set(m.Key("header"), &a.Header)
	switch {
	case m.KeyNode("header") != nil && !v.open && v.token == "":
		m.KeyNode("header").Errorf("this sender cannot choose a header (use %s)", instead)
	case a.Header == "" && v.open:
		m.KeyNode("token").Errorf("\"header\" is missing (the header that carries the token)")
	case a.Header == "":
		m.KeyNode("token").Errorf("token is for senders with a header of their own (use %s)", instead)
	case strings.ContainsFunc(a.Header, notInHeaderName):
		m.Key("header").Errorf("%q is not the name of a header", a.Header)
	}
	a.Header = http.CanonicalHeaderKey(a.Header)
	return a
}

// tokens reads a token, or a list of those that are taken.
func (r *reader) tokens(n *strictyaml.Node, a *Auth) {
	if !n.IsList() {
		a.Token = r.secret(n, minSecret)
		return
	}
	items, _ := n.List()
	if len(items) == 0 {
		n.Errorf("want at least one token")
	}
	for i, item := range items {
		if s := r.secret(item, minSecret); i == 0 {
			a.Token = s
		} else {
			a.Secrets = append(a.Secrets, s)
		}
	}
}

func (r *reader) hmac(n *strictyaml.Node, of Auth) Auth {
	m := n.Map("secret", "secrets", "header", "algorithm", "encoding", "prefix", "timestamp", "separator", "tolerance")
	a := Auth{
		Kind: AuthHMAC, Header: of.Header, Prefix: of.Prefix, Separator: of.Separator,
		Algorithm: orElse(of.Algorithm, "sha256"), Encoding: orElse(of.Encoding, "hex"),
	}
	for _, s := range r.secrets(n, m) {
		a.Secrets = append(a.Secrets, s.value)
	}
	r.hmacForm(m, &a)
	switch {
	case m != nil && a.Header == "":
		n.Errorf("\"header\" is missing (the header that carries the signature)")
	case strings.ContainsFunc(a.Header, notInHeaderName):
		m.Key("header").Errorf("%q is not the name of a header", a.Header)
	case strings.ContainsFunc(a.Timestamp, notInHeaderName):
		m.Key("timestamp").Errorf("%q is not the name of a header", a.Timestamp)
	}
	for _, name := range []string{"separator", "tolerance"} {
		if k := m.KeyNode(name); k != nil && a.Timestamp == "" {
			k.Errorf("%s belongs to timestamp (the header with the time of sending)", name)
		}
	}
	a.Header = http.CanonicalHeaderKey(a.Header)
	a.Timestamp = http.CanonicalHeaderKey(a.Timestamp)
	if a.Timestamp == "" {
		a.Separator = ""
	}
	return a
}

// hmacForm reads how a signature is made and where it is.
func (r *reader) hmacForm(m *strictyaml.Map, a *Auth) {
	r.set(m.Key("header"), &a.Header)
	r.set(m.Key("prefix"), &a.Prefix)
	r.oneOf(m.Key("algorithm"), &a.Algorithm, "sha1", "sha256", "sha512")
	r.oneOf(m.Key("encoding"), &a.Encoding, "hex", "base64")
	r.set(m.Key("timestamp"), &a.Timestamp)
	if a.Timestamp == "" {
		return
	}
	a.Separator, a.Tolerance = orElse(a.Separator, "."), defaultTolerance
	r.set(m.Key("separator"), &a.Separator)
	r.duration(m.Key("tolerance"), &a.Tolerance, time.Second, time.Hour)
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
	if !n.IsText() {
		n.Want("one of " + strings.Join(allowed, ", "))
		return
	}
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
