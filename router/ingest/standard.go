package ingest

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of Standard Webhooks, in their canonical form.
const (
	standardID        = "Webhook-Id"
	standardTimestamp = "Webhook-Timestamp"
	standardSignature = "Webhook-Signature"
)

// maxTimestamp is a second far beyond every clock, and far below what
// time.Time can hold.
const maxTimestamp = 1 << 40

// StandardWebhooksConfig configures StandardWebhooks.
type StandardWebhooksConfig struct {
	// Keys, as bytes: a signature by any of them is enough.
	Keys []string
	// Tolerance is how far webhook-timestamp may be from now, before or after;
	// default 5 minutes.
	Tolerance time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// StandardWebhooks wants the headers webhook-id, webhook-timestamp and
// webhook-signature: "v1," and the base64 of HMAC-SHA256 over id, timestamp and
// body, byte for byte as it was sent, with dots between. Several signatures may
// stand in the header with spaces between: one that fits is enough, other
// versions than v1 are skipped, and the first 16 of v1 are looked at. That
// something sent again is not taken twice is up to who remembers its id.
// (Standard Webhooks 1.0.0, "Signature scheme".)
func StandardWebhooks(c StandardWebhooksConfig) Auth {
	s := &standard{tolerance: c.Tolerance, now: c.Now}
	if s.tolerance == 0 {
		s.tolerance = defaultTolerance
	}
	if s.now == nil {
		s.now = time.Now
	}
	for _, key := range c.Keys {
		s.keys = append(s.keys, []byte(key))
	}
	return Auth{s}
}

// standard is StandardWebhooks.
type standard struct {
	keys      [][]byte
	tolerance time.Duration
	now       func() time.Time
}

func (s *standard) name() string      { return "standard-webhooks" }
func (s *standard) signed() bool      { return true }
func (s *standard) header() string    { return standardSignature }
func (s *standard) challenge() string { return "" }

func (s *standard) check(r *http.Request, body []byte) *problem {
	var sent [3]string
	for i, name := range []string{standardID, standardTimestamp, standardSignature} {
		var p *problem
		if sent[i], p = one(r.Header, name); p != nil {
			return p
		}
	}
	id, timestamp, signatures := sent[0], sent[1], sent[2]
	// With a dot in it, an id could hold a part of what another one signed.
	if id == "" || strings.Contains(id, ".") {
		return unauthorized()
	}
	at, ok := parseTimestamp(timestamp)
	if !ok || s.now().Sub(at).Abs() > s.tolerance {
		return badTimestamp(standardTimestamp)
	}
	if !signedWith(sha256.New, s.keys, standardSignatures(signatures), id+"."+timestamp+".", body) {
		return unauthorized()
	}
	return nil
}

// defaultTolerance is how far a signed time of sending may be from now.
const defaultTolerance = 5 * time.Minute

func badTimestamp(header string) *problem {
	return &problem{
		status: http.StatusUnauthorized, code: "timestamp", close: true,
		detail: strings.ToLower(header) + " is not the number of seconds since 1970 by the clock of this host, or too far from it",
	}
}

// standardSignatures lists the signatures of a header that can be ones.
func standardSignatures(value string) [][]byte {
	var sent [][]byte
	n := 0
	for part := range strings.FieldsSeq(value) {
		text, ok := strings.CutPrefix(part, "v1,")
		if !ok {
			continue
		}
		if n++; n > maxSignatures {
			break
		}
		if got, err := base64.StdEncoding.Strict().DecodeString(text); err == nil {
			sent = append(sent, got)
		}
	}
	return sent
}

// parseTimestamp reads seconds since 1970: digits and nothing else.
func parseTimestamp(text string) (time.Time, bool) {
	if strings.ContainsFunc(text, func(c rune) bool { return c < '0' || c > '9' }) {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds > maxTimestamp {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0).UTC(), true
}

// sentAt is when a request was sent as far as its proof says it, or zero. It is
// for requests that have been authenticated.
func (a Auth) sentAt(r *http.Request) time.Time {
	header := ""
	switch s := a.scheme.(type) {
	case *standard:
		header = standardTimestamp
	case *signature:
		if s.fresh == nil {
			return time.Time{}
		}
		header = s.fresh.header
	default:
		return time.Time{}
	}
	at, _ := parseTimestamp(r.Header.Get(header))
	return at
}
