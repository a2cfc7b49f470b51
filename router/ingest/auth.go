package ingest

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxSignatures is how many signatures of one request are looked at.
const maxSignatures = 16

// queryToken is the query parameter of a bearer token (RFC 6750, section 2.3).
const queryToken = "access_token"

// Auth checks that a request comes from who may send it. The zero Auth takes
// every request. It is immutable, and prints as the name of its scheme.
type Auth struct{ scheme scheme }

// scheme is one way to prove who sends.
type scheme interface {
	name() string
	// check is handed the body as it was sent if signed says so.
	check(r *http.Request, body []byte) *problem
	signed() bool
	// header carries the proof; it is never shown to expressions.
	header() string
	// challenge is the WWW-Authenticate header, "" where the scheme has none.
	challenge() string
}

// String names the scheme.
func (a Auth) String() string {
	if a.scheme == nil {
		return "none"
	}
	return a.scheme.name()
}

// GoString names the scheme.
func (a Auth) GoString() string { return a.String() }

// Format writes the name of the scheme for every verb.
func (a Auth) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.String()) }

// LogValue is the name of the scheme.
func (a Auth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// HMACConfig configures HMAC.
type HMACConfig struct {
	// Secrets: a signature by any of them is enough.
	Secrets []string
	Header  string
	// Algorithm is sha1, sha256 or sha512; default sha256.
	Algorithm string
	// Encoding is hex or base64; default hex.
	Encoding string
	// Prefix stands before each encoded signature.
	Prefix string
	// Timestamp is the header with the time of sending, in seconds since 1970.
	// It is signed before the body, with Separator between. Empty: only the body
	// is signed.
	Timestamp, Separator string
	// Tolerance is how far the timestamp may be from now, before or after;
	// default 5 minutes.
	Tolerance time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// HMAC wants a header with a keyed hash of the body, byte for byte as it was
// sent. Several signatures may stand in the header, with commas or spaces
// between; one that fits is enough, and the first 16 are looked at.
func HMAC(c HMACConfig) Auth {
	s := &signature{head: http.CanonicalHeaderKey(c.Header), prefix: c.Prefix, base64: c.Encoding == "base64"}
	if c.Timestamp != "" {
		s.fresh = &freshness{
			header: http.CanonicalHeaderKey(c.Timestamp), separator: c.Separator,
			tolerance: cmp.Or(c.Tolerance, defaultTolerance), now: c.Now,
		}
		if s.fresh.now == nil {
			s.fresh.now = time.Now
		}
	}
	s.hash, s.weak = sha256.New, true
	switch c.Algorithm {
	case "sha1":
		s.hash, s.weak = sha1.New, false
	case "sha512":
		s.hash = sha512.New
	}
	for _, secret := range c.Secrets {
		s.keys = append(s.keys, []byte(secret))
	}
	return Auth{s}
}

// Bearer wants the token, or one of the others, in the Authorization header or,
// with query, in the query parameter access_token instead.
func Bearer(token string, query bool, others ...string) Auth {
	return Auth{&bearer{sums: sums(token, others), query: query}}
}

// Basic wants a user and a password.
func Basic(user, password string) Auth {
	return Auth{&basic{user: sha256.Sum256([]byte(user)), password: sha256.Sum256([]byte(password))}}
}

// Token wants the token, or one of the others, as the whole value of a header of
// the sender's own.
func Token(header, token string, others ...string) Auth {
	return Auth{&vendorToken{head: http.CanonicalHeaderKey(header), sums: sums(token, others)}}
}

func sums(token string, others []string) [][sha256.Size]byte {
	out := [][sha256.Size]byte{sha256.Sum256([]byte(token))}
	for _, other := range others {
		out = append(out, sha256.Sum256([]byte(other)))
	}
	return out
}

// authenticate checks a request before anything of it is parsed. A body that
// is signed is read up to limit bytes for that and then put back.
func (h *Handler) authenticate(w http.ResponseWriter, r *http.Request, a Auth, limit int64) *problem {
	if a.scheme == nil {
		return nil
	}
	if b, ok := a.scheme.(*bearer); ok && b.inQuery(r) {
		w.Header().Set("Cache-Control", "private")
	}
	var body []byte
	if a.scheme.signed() {
		// A request that is not signed at all costs no reading.
		if r.Header.Get(a.scheme.header()) == "" {
			return unauthorized()
		}
		var p *problem
		if body, p = rawBody(w, r, limit); p != nil {
			return p
		}
		r.Body.(*metered).again(bytes.NewReader(body))
	}
	p := a.scheme.check(r, body)
	if p != nil && p.status == http.StatusUnauthorized {
		if c := a.scheme.challenge(); c != "" {
			w.Header().Set("WWW-Authenticate", c)
		}
	}
	return p
}

// rawBody reads a body as it was sent.
func rawBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *problem) {
	tooLarge := &problem{
		status: http.StatusRequestEntityTooLarge, code: "too_large", close: true,
		detail: "the body is larger than the limit",
	}
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	body, err := r.Body.(*metered).readAll(http.MaxBytesReader(w, r.Body, limit), r.ContentLength, limit)
	if err != nil {
		return nil, readProblem(err, tooLarge)
	}
	return body, nil
}

// unauthorized is the one answer to a proof that is missing, wrong or not
// readable: which of them it was helps only who is guessing.
func unauthorized() *problem {
	return &problem{
		status: http.StatusUnauthorized, code: "unauthorized", close: true,
		detail: "the request does not prove who sends it (see auth of the source)",
	}
}

func same(sum [sha256.Size]byte, sent string) bool {
	return oneOf([][sha256.Size]byte{sum}, sent)
}

// oneOf compares with each, so that the time does not tell which one fits.
func oneOf(sums [][sha256.Size]byte, sent string) bool {
	got := sha256.Sum256([]byte(sent))
	good := 0
	for _, sum := range sums {
		good |= subtle.ConstantTimeCompare(sum[:], got[:])
	}
	return good == 1
}

// signature is HMAC.
type signature struct {
	keys         [][]byte
	head, prefix string
	hash         func() hash.Hash
	base64       bool
	// weak: SHA-1 is not what is configured.
	weak bool
	// fresh: the time of sending is signed as well; nil: it is not.
	fresh *freshness
}

// freshness is a signed time of sending.
type freshness struct {
	header, separator string
	tolerance         time.Duration
	now               func() time.Time
}

// signedBefore is what is signed before the body.
func (f *freshness) signedBefore(r *http.Request) (string, *problem) {
	if f == nil {
		return "", nil
	}
	text, p := one(r.Header, f.header)
	if p != nil {
		return "", p
	}
	if text == "" {
		return "", unauthorized()
	}
	if at, ok := parseTimestamp(text); !ok || f.now().Sub(at).Abs() > f.tolerance {
		return "", badTimestamp(f.header)
	}
	return text + f.separator, nil
}

func (s *signature) name() string      { return "hmac" }
func (s *signature) signed() bool      { return true }
func (s *signature) header() string    { return s.head }
func (s *signature) challenge() string { return "" }

func (s *signature) check(r *http.Request, body []byte) *problem {
	value, p := one(r.Header, s.head)
	if p != nil {
		return p
	}
	before, p := s.fresh.signedBefore(r)
	if p != nil {
		return p
	}
	sent, legacy := s.decode(value)
	switch {
	case signedWith(s.hash, s.keys, sent, before, body):
		return nil
	case legacy && len(sent) == 0:
		p := unauthorized()
		p.code, p.detail = "algorithm_not_allowed", "the signature is made with SHA-1, which this source does not take"
		return p
	}
	return unauthorized()
}

// signedWith tells whether one of the keys made one of the signatures of before
// and the body. All are compared, so that the time does not tell which one fits.
func signedWith(hash func() hash.Hash, keys, signatures [][]byte, before string, body []byte) bool {
	good := 0
	for _, key := range keys {
		mac := hmac.New(hash, key)
		mac.Write([]byte(before))
		mac.Write(body)
		want := mac.Sum(nil)
		for _, got := range signatures {
			good |= subtle.ConstantTimeCompare(got, want)
		}
	}
	return good == 1
}

// decode lists the signatures of a header that can be ones. legacy: some are
// said to be made with SHA-1 though another algorithm is configured.
func (s *signature) decode(value string) (sent [][]byte, legacy bool) {
	parts := strings.FieldsFuncSeq(value, separates)
	if strings.ContainsFunc(s.prefix, separates) {
		// Such a prefix leaves room for one signature only.
		parts = slices.Values([]string{value})
	}
	n := 0
	for part := range parts {
		if n++; n > maxSignatures {
			break
		}
		if s.weak && len(part) > 5 && strings.EqualFold(part[:5], "sha1=") {
			legacy = true
			continue
		}
		text, ok := strings.CutPrefix(part, s.prefix)
		if !ok {
			continue
		}
		var got []byte
		var err error
		if s.base64 {
			got, err = base64.StdEncoding.Strict().DecodeString(text)
		} else {
			got, err = hex.DecodeString(text)
		}
		if err == nil {
			sent = append(sent, got)
		}
	}
	return sent, legacy
}

func separates(c rune) bool { return c == ',' || c == ' ' || c == '\t' }

// bearer is Bearer.
type bearer struct {
	sums  [][sha256.Size]byte
	query bool
}

func (b *bearer) name() string      { return "bearer" }
func (b *bearer) signed() bool      { return false }
func (b *bearer) header() string    { return "Authorization" }
func (b *bearer) challenge() string { return `Bearer realm="pointsman"` }

func (b *bearer) inQuery(r *http.Request) bool {
	return b.query && len(tokens(r)) > 0
}

// tokens are the values of access_token. A query that cannot be parsed has
// those of its good part.
func tokens(r *http.Request) []string {
	q, _ := url.ParseQuery(r.URL.RawQuery)
	return q[queryToken]
}

func (b *bearer) check(r *http.Request, _ []byte) *problem {
	value, p := one(r.Header, "Authorization")
	if p != nil {
		return p
	}
	var inQuery []string
	if b.query {
		inQuery = tokens(r)
	}
	switch {
	case len(inQuery) > 1 || len(inQuery) == 1 && value != "":
		return &problem{
			status: http.StatusBadRequest, code: "duplicate_credentials",
			detail: "the token is given more than once",
		}
	case len(inQuery) == 1:
		value = "Bearer " + inQuery[0]
	}
	kind, token, _ := strings.Cut(value, " ")
	if !strings.EqualFold(kind, "Bearer") || !oneOf(b.sums, strings.Trim(token, " ")) {
		return unauthorized()
	}
	return nil
}

// basic is Basic.
type basic struct{ user, password [sha256.Size]byte }

func (b *basic) name() string      { return "basic" }
func (b *basic) signed() bool      { return false }
func (b *basic) header() string    { return "Authorization" }
func (b *basic) challenge() string { return `Basic realm="pointsman", charset="UTF-8"` }

func (b *basic) check(r *http.Request, _ []byte) *problem {
	if _, p := one(r.Header, "Authorization"); p != nil {
		return p
	}
	user, password, _ := r.BasicAuth()
	goodUser, goodPassword := same(b.user, user), same(b.password, password)
	if !goodUser || !goodPassword {
		return unauthorized()
	}
	return nil
}

// vendorToken is Token.
type vendorToken struct {
	head string
	sums [][sha256.Size]byte
}

func (t *vendorToken) name() string      { return "token" }
func (t *vendorToken) signed() bool      { return false }
func (t *vendorToken) header() string    { return t.head }
func (t *vendorToken) challenge() string { return "" }

func (t *vendorToken) check(r *http.Request, _ []byte) *problem {
	value, p := one(r.Header, t.head)
	if p != nil {
		return p
	}
	if !oneOf(t.sums, value) {
		return unauthorized()
	}
	return nil
}

// hiddenHeaders carry proofs of who sends, whichever of them a source asks for.
var hiddenHeaders = []string{"Authorization", "Proxy-Authorization", "Cookie"}

// hides tells whether a header may hold a secret.
func (a Auth) hides(header string) bool {
	return slices.Contains(hiddenHeaders, header) || a.scheme != nil && header == a.scheme.header()
}
