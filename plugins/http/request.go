package http

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/actions"
)

type params struct {
	// Body is nil when left out and "null" when it is null.
	Body    json.RawMessage            `json:"body"`
	Query   map[string]json.RawMessage `json:"query"`
	Headers map[string]json.RawMessage `json:"headers"`
}

// request makes the request of one attempt, and tells the size of its body.
func (a *Action) request(ctx context.Context, req *actions.Request) (*http.Request, int, error) {
	var p params
	if err := req.Decode(&p); err != nil {
		return nil, 0, err
	}
	body, contentType, err := a.body(p.Body, req.EventJSON)
	if err != nil {
		return nil, 0, err
	}
	u := *a.url
	if u.RawQuery, err = addQuery(u.RawQuery, p.Query); err != nil {
		return nil, 0, err
	}
	out, err := http.NewRequestWithContext(ctx, a.method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, 0, errors.New("they do not make a request") // the error holds the URL
	}
	if len(body) == 0 {
		out.Body = http.NoBody
	}
	out.Header = a.headers.Clone()
	for name, raw := range p.Headers {
		value, err := scalar(raw)
		if err != nil {
			return nil, 0, fmt.Errorf("headers: %q: %w", name, err)
		}
		if a.headers.Values(name) != nil {
			return nil, 0, fmt.Errorf("headers: %q is set by the settings", name)
		}
		if err := setHeader(out.Header, name, value); err != nil {
			return nil, 0, fmt.Errorf("headers: %w", err)
		}
	}
	setDefault(out.Header, "User-Agent", "pointsman")
	if contentType != "" {
		setDefault(out.Header, "Content-Type", contentType)
	}
	out.Header.Set("Webhook-Id", req.DeliveryID)
	out.Header.Set("Pointsman-Hops", strconv.Itoa(req.Hops()))
	if a.key != nil {
		a.sign(out.Header, req.DeliveryID, body)
	}
	return out, len(body), nil
}

// body is what is sent, and as what.
func (a *Action) body(raw, event json.RawMessage) (body []byte, contentType string, err error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0:
		switch a.method {
		case http.MethodGet, http.MethodHead, http.MethodDelete:
			return nil, "", nil
		}
		return event, "application/cloudevents+json; charset=utf-8", nil
	case string(raw) == "null":
		return nil, "", nil
	case raw[0] == '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return nil, "", fmt.Errorf("body: %w", err)
		}
		return []byte(text), "text/plain; charset=utf-8", nil
	}
	return raw, "application/json", nil
}

// addQuery adds pairs, by name, to what the settings say, which they cannot
// replace.
func addQuery(query string, add map[string]json.RawMessage) (string, error) {
	if len(add) == 0 {
		return query, nil
	}
	fixed, err := url.ParseQuery(query)
	if err != nil {
		return "", errors.New("query: that of the settings is not well-formed")
	}
	pairs := make(url.Values, len(add))
	for name, raw := range add {
		if fixed.Has(name) {
			return "", fmt.Errorf("query: %q is set by the settings' url", name)
		}
		values := []json.RawMessage{raw}
		if raw = bytes.TrimSpace(raw); len(raw) > 0 && raw[0] == '[' {
			if err := json.Unmarshal(raw, &values); err != nil {
				return "", fmt.Errorf("query: %q: %w", name, err)
			}
		}
		for _, v := range values {
			text, err := scalar(v)
			if err != nil {
				return "", fmt.Errorf("query: %q: %w", name, err)
			}
			pairs.Add(name, text)
		}
	}
	if query != "" {
		query += "&"
	}
	return query + pairs.Encode(), nil
}

// scalar is a string, a number as it was written, or a boolean.
func scalar(raw json.RawMessage) (string, error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || raw[0] == 'n':
		return "", errors.New("not a string, number or boolean")
	case raw[0] == '"':
		var text string
		err := json.Unmarshal(raw, &text)
		return text, err
	}
	return string(raw), nil
}

// reserved are the headers that are made here or by the connection.
var reserved = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection",
	"Te", "Trailer", "Upgrade", "Expect", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature",
}

// setHeader refuses what would change the framing of the request, and repeats
// no value: it may be a secret.
func setHeader(h http.Header, name, value string) error {
	if name == "" || strings.ContainsFunc(name, notToken) {
		return fmt.Errorf("%q is not the name of a header", name)
	}
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case slices.Contains(reserved, canonical):
		return fmt.Errorf("%q cannot be set", name)
	case strings.ContainsFunc(value, isControl):
		return fmt.Errorf("%q has a control character in its value", name)
	case h.Values(canonical) != nil:
		return fmt.Errorf("%q is there twice", name)
	}
	h.Set(canonical, value)
	return nil
}

// notToken tells what the name of a header cannot hold (RFC 9110, section 5.6.2).
func notToken(c rune) bool {
	return c <= ' ' || c >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, c)
}

func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

func setDefault(h http.Header, name, value string) {
	if h.Values(name) == nil {
		h.Set(name, value)
	}
}
