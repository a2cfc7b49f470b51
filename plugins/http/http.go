// Package http is the action that sends one HTTP request: to the URL of the
// settings and nowhere else, with what the rule adds to it.
package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pointsman/pointsman/actions"
)

const settingsSchema = `{
  "type": "object",
  "additionalProperties": false,
  "required": ["url"],
  "properties": {
    "url": {
      "description": "Where requests go: http or https, without user and fragment.",
      "type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"
    },
    "method": {
      "description": "The request's method; POST by default.",
      "enum": ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"]
    },
    "headers": {
      "description": "Sent with every request. Parameters cannot replace them.",
      "type": "object",
      "additionalProperties": {"type": "string"}
    },
    "secret": {
      "description": "Signs each request as Standard Webhooks says: whsec_ and base64, or any text of 16 bytes or more.",
      "type": "string", "minLength": 16
    },
    "allow": {
      "description": "Addresses, networks (CIDR) and names that may be dialled though they are link-local.",
      "type": "array", "maxItems": 256,
      "items": {"type": "string", "minLength": 1}
    }
  }
}`

const paramsSchema = `{
  "type": ["object", "null"],
  "additionalProperties": false,
  "properties": {
    "body": {"description": "A text is sent as it is, null sends nothing, any other value as JSON. Left out: the event."},
    "query": {
      "description": "Added to the URL's query; each value is a scalar or a list of them.",
      "type": "object",
      "additionalProperties": {
        "type": ["string", "number", "boolean", "array"],
        "items": {"type": ["string", "number", "boolean"]}
      }
    },
    "headers": {
      "description": "Added to the request.",
      "type": "object",
      "additionalProperties": {"type": ["string", "number", "boolean"]}
    }
  }
}`

// Description is what the plugin says of itself.
func Description() actions.Description {
	return actions.Description{
		Name:           "http",
		Version:        "1.0.0",
		Summary:        "Send an HTTP request to a fixed URL, signed if wanted.",
		SettingsSchema: json.RawMessage(settingsSchema),
		ParamsSchema:   json.RawMessage(paramsSchema),
		Idempotency:    actions.IdempotentKey,
		DryRun:         true,
	}
}

type settings struct {
	URL     string            `json:"url"`
	Method  string            `json:"method"`
	Headers map[string]string `json:"headers"`
	Secret  string            `json:"secret"`
	Allow   []string          `json:"allow"`
}

// Action sends requests to one configured URL.
type Action struct {
	url     *url.URL
	method  string
	headers http.Header
	key     []byte // nil: not signed
	client  *http.Client
	// redact replaces what an answer must not carry into the store.
	redact *strings.Replacer
	now    func() time.Time
}

// New returns the action; Configure makes it usable.
func New() *Action { return &Action{now: time.Now} }

// Describe implements actions.Action.
func (a *Action) Describe() actions.Description { return Description() }

// Configure implements actions.Configurer. No error holds a value of the
// settings but the names of headers and entries of allow.
func (a *Action) Configure(_ context.Context, s actions.Settings) error {
	var set settings
	if err := s.Decode(&set); err != nil {
		return err
	}
	u, err := parseURL(set.URL)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	method, err := parseMethod(set.Method)
	if err != nil {
		return fmt.Errorf("method: %w", err)
	}
	headers := make(http.Header, len(set.Headers))
	for name, value := range set.Headers {
		if err := setHeader(headers, name, value); err != nil {
			return fmt.Errorf("headers: %w", err)
		}
	}
	var key []byte
	if set.Secret != "" {
		if key, err = parseSecret(set.Secret); err != nil {
			return fmt.Errorf("secret: %w", err)
		}
	}
	g, err := newGuard(u, set.Allow)
	if err != nil {
		return err
	}
	a.url, a.method, a.headers, a.key = u, method, headers, key
	a.redact = redactor(u, set)
	a.client = &http.Client{
		Transport: g.transport(),
		// The answer itself is what counts; where it points to is not followed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// parseURL takes an absolute URL of http or https. No error holds the text: a
// path or query may be a secret.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil, errors.New("say where requests go, such as https://host/path")
	case err != nil:
		return nil, errors.New("not a URL (write https://host/path)")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("the scheme must be http or https")
	case u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("the host is missing (write https://host/path)")
	case u.User != nil:
		return nil, errors.New("user and password do not belong in it (set an Authorization header in headers)")
	case u.Fragment != "":
		return nil, errors.New("a fragment is never sent (remove what follows the #)")
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil {
		return nil, errors.New("the query is not well-formed")
	}
	return u, checkHost(u.Hostname())
}

func parseMethod(text string) (string, error) {
	switch text {
	case "":
		return http.MethodPost, nil
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodGet, http.MethodHead:
		return text, nil
	}
	return "", errors.New("want POST, PUT, PATCH, DELETE, GET or HEAD")
}

// Run implements actions.Action.
func (a *Action) Run(ctx context.Context, req *actions.Request) (*actions.Result, error) {
	if a.client == nil {
		return nil, errors.New("not configured")
	}
	out, size, err := a.request(ctx, req)
	if err != nil {
		return nil, actions.Permanent(fmt.Errorf("params: %w", err))
	}
	// Path and query stay out of it: they may hold a secret.
	if req.DryRun {
		return &actions.Result{Output: fmt.Sprintf("dry run: would %s %d bytes to %s://%s", a.method, size, a.url.Scheme, a.url.Host)}, nil
	}
	res, err := a.client.Do(out)
	if err != nil {
		return nil, a.sendError(ctx, err)
	}
	defer func() { _ = res.Body.Close() }() // only read
	return &actions.Result{Output: a.output(res)}, outcome(res, a.now())
}

// sendError says why there is no answer, without the URL that net/http puts
// around it.
func (a *Action) sendError(ctx context.Context, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("no answer from %s: %w", a.url.Host, context.Cause(ctx))
	}
	err = fmt.Errorf("no answer from %s: %w", a.url.Host, err)
	if errors.Is(err, errRefused) {
		return actions.Permanent(err)
	}
	return err
}
