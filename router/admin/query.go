package admin

import (
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/pointsman/pointsman/router/store"
)

// params reads the query of a request and keeps the first problem.
type params struct {
	values url.Values
	now    time.Time
	err    error
}

// params accepts the named parameters, each at most once; a name that ends in *
// may be repeated. A misspelt filter must not show everything.
func (a *api) params(r *http.Request, names ...string) *params {
	p := &params{now: a.Now()}
	if p.values, p.err = url.ParseQuery(r.URL.RawQuery); p.err != nil {
		p.err = problemf(http.StatusBadRequest, "bad_parameter", "the query is not well-formed")
		return p
	}
	for name, values := range p.values {
		if slices.Contains(names, name+"*") {
			continue
		}
		if !slices.Contains(names, name) {
			p.fail("bad_parameter", "unknown parameter %q (this path takes %s)", name,
				strings.ReplaceAll(strings.Join(names, ", "), "*", ""))
		} else if len(values) > 1 {
			p.fail("bad_parameter", "parameter %q is given more than once", name)
		}
	}
	return p
}

func (p *params) fail(code, format string, args ...any) {
	if p.err == nil {
		p.err = problemf(http.StatusBadRequest, code, format, args...)
	}
}

func (p *params) text(name string) string { return p.values.Get(name) }

// limit is the page size, 1 to MaxPage.
func (p *params) limit() int {
	if !p.values.Has("limit") {
		return MaxPage
	}
	n, err := strconv.Atoi(p.text("limit"))
	if err != nil || n < 1 || n > MaxPage {
		p.fail("bad_parameter", "limit must be a number from 1 to %d", MaxPage)
	}
	return n
}

// cursor is the id of a record that a page continues after.
func (p *params) cursor(name string) string {
	c := p.text(name)
	if p.values.Has(name) && !IsUID(c) {
		p.fail("bad_cursor", "%s is not a cursor that this API gave", name)
	}
	return c
}

func (p *params) time(name string) time.Time {
	if !p.values.Has(name) {
		return time.Time{}
	}
	t, err := ParseTime(p.text(name), p.now)
	if err != nil {
		p.fail("bad_parameter", "%s: %v", name, err)
	}
	return t
}

func (p *params) bool(name string) bool {
	if !p.values.Has(name) {
		return false
	}
	b, err := strconv.ParseBool(p.text(name))
	if err != nil {
		p.fail("bad_parameter", "%s must be true or false", name)
	}
	return b
}

func (p *params) states() []store.DeliveryState {
	states, err := parseStates(p.values["state"])
	if err != nil {
		p.fail("bad_parameter", "state: %v", err)
	}
	return states
}

func parseStates(names []string) ([]store.DeliveryState, error) {
	var states []store.DeliveryState
	for _, name := range names {
		s, ok := store.ParseDeliveryState(name)
		if !ok {
			return nil, fmt.Errorf("%q is no state (ready, leased, done, dead, held, cancelled)", name)
		}
		if !slices.Contains(states, s) {
			states = append(states, s)
		}
	}
	return states, nil
}

// IsUID tells whether s is written like the ids that the router makes: a UUIDv7
// in lower case.
func IsUID(s string) bool {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' || s[14] != '7' {
		return false
	}
	if s != strings.ToLower(s) {
		return false
	}
	_, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	return err == nil && strings.ContainsRune("89ab", rune(s[19]))
}

// ParseTime reads a point in time: RFC 3339, or how long before now, as a
// duration with the units d, h, m, s, ms ("7d", "1h30m").
func ParseTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	rest, days := text, 0
	if d, tail, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(d, 10, 31)
		if err != nil || n > 36500 {
			return time.Time{}, badTime(text)
		}
		rest, days = tail, int(n)
	}
	var dur time.Duration
	if rest != "" || days == 0 && rest == text {
		var err error
		if dur, err = time.ParseDuration(rest); err != nil || dur < 0 {
			return time.Time{}, badTime(text)
		}
	}
	return now.Add(-dur).Add(-time.Duration(days) * 24 * time.Hour), nil
}

func badTime(text string) error {
	return fmt.Errorf("%q is neither a time (2026-01-31T12:00:00Z) nor a duration (30m, 7d)", text)
}

// decode reads a JSON body strictly: unknown and repeated members, wrong types
// and trailing text are errors.
func decode(r *http.Request, v any) error {
	if err := wantJSON(r, "application/json"); err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	if err := json.Unmarshal(body, v, json.RejectUnknownMembers(true)); err != nil {
		return problemf(http.StatusBadRequest, "bad_body", "the body does not fit: %v", err)
	}
	return nil
}

// wantJSON also keeps HTML forms out, whose types these are not.
func wantJSON(r *http.Request, types ...string) error {
	mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(types, mt) {
		return problemf(http.StatusUnsupportedMediaType, "unsupported_media_type",
			"the body must be %s", strings.Join(types, " or "))
	}
	return nil
}
