package http

import (
	"net/netip"
	"net/url"
	"time"
)

// Signature is signature, for the published vectors.
var Signature = signature

// ParseSecret is parseSecret.
var ParseSecret = parseSecret

// RetryAfter is retryAfter.
var RetryAfter = retryAfter

// NewAt is New with a clock that stands still.
func NewAt(now time.Time) *Action { return &Action{now: func() time.Time { return now }} }

// CheckDial asks the guard of a URL about an address that is about to be
// dialled, as the dialer does after resolving.
func CheckDial(rawURL string, allow []string, address string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return err
	}
	g, err := newGuard(u, allow)
	if err != nil {
		return err
	}
	return g.control("tcp", netip.MustParseAddrPort(address).String(), nil)
}
