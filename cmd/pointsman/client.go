package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/router/admin"
)

// maxAnswer limits the answers that are taken in, in bytes: a page of
// eventPage events of the default largest size, with room.
const maxAnswer = 512 << 20

// client talks to one listener of a router.
type client struct {
	http  *http.Client
	base  string
	token string
	// hops is what a command that an action runs must say; see ingest.
	hops string
	// hint says how to choose another router.
	hint string
}

func (a *app) newClient(base, token, hint string) *client {
	return &client{
		http: &http.Client{
			Timeout: time.Minute,
			// A redirect would take the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		base: base, token: token, hint: hint,
	}
}

// admin returns a client of the admin listener.
func (a *app) admin() (*client, error) {
	base, token, err := a.adminTarget()
	if err != nil {
		return nil, err
	}
	return a.newClient(base, token, "--url or POINTSMAN_ADMIN_URL choose another"), nil
}

// api returns the path of an API resource; each part is escaped so that any id
// is one segment.
func api(parts ...string) string {
	var b strings.Builder
	b.WriteString("/api/v1")
	for _, p := range parts {
		b.WriteByte('/')
		for _, c := range []byte(p) {
			if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
	}
	return b.String()
}

// get asks and decodes the answer into out.
func (c *client) get(ctx context.Context, path string, query url.Values, out any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.call(ctx, http.MethodGet, path, "", nil, out)
}

// post sends in as JSON and decodes the answer into out.
func (c *client) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	return c.call(ctx, http.MethodPost, path, "application/json", body, out)
}

func (c *client) call(ctx context.Context, method, path, contentType string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.hops != "" {
		req.Header.Set("Pointsman-Hops", c.hops)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return c.unreachable(ctx, err)
	}
	if len(answer) > maxAnswer {
		return exitf(exitCannotRun, "the router at %s answered with more than %d bytes", c.base, maxAnswer)
	}
	if resp.StatusCode/100 != 2 {
		return c.refused(resp, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return exitf(exitCannotRun, "%s does not answer like a router: %w (%s)", c.base, err, c.hint)
	}
	return nil
}

func (c *client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return exitf(exitFindings, "interrupted")
	}
	reason := err.Error()
	var errno syscall.Errno
	var ne net.Error
	var ue *url.Error
	switch {
	case errors.As(err, &errno):
		reason = errno.Error()
	case errors.As(err, &ne) && ne.Timeout():
		reason = "no answer in time"
	case errors.As(err, &ue):
		reason = ue.Err.Error()
	}
	return exitf(exitCannotRun, "cannot reach the router at %s: %s (is `pointsman serve` running? %s)",
		c.base, reason, c.hint)
}

// problemError is an answer of the router that is an error.
type problemError struct{ admin.Problem }

func (p *problemError) Error() string { return p.Detail }

func (c *client) refused(resp *http.Response, answer []byte) error {
	p := &problemError{}
	if json.Unmarshal(answer, &p.Problem) != nil || p.Detail == "" && p.Title == "" {
		return exitf(exitCannotRun, "%s does not answer like a router: %s (%s)", c.base, resp.Status, c.hint)
	}
	p.Status = resp.StatusCode
	p.Detail = first(p.Detail, p.Title)
	code := exitFindings
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return exitf(exitCannotRun, "the router at %s refuses the token: %w (POINTSMAN_TOKEN for queries and "+
			"POINTSMAN_EVENTS_TOKEN for send set it)", c.base, p)
	case http.StatusForbidden, http.StatusMisdirectedRequest,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInternalServerError:
		code = exitCannotRun
	}
	return &exitError{code: code, err: p}
}
