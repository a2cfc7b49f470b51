package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxBody is how much of a body is compared, in bytes.
const maxBody = 1 << 20

// HTTPConfig is a request to be made.
type HTTPConfig struct {
	// Method is GET when empty.
	Method, URL string
	// Header is sent; Host is taken from it.
	Header map[string]string
	// Status are the expected codes; none: 200 to 299.
	Status []int
	// Contains and Matches must be in the first MiB of the body; "" and nil: not
	// looked at.
	Contains string
	Matches  *regexp.Regexp
	// Follow follows redirects, at most 10.
	Follow bool
	TLS    TLSOptions
}

// HTTP makes a request on a connection of its own, without a proxy, and is up
// when the answer is as expected.
func HTTP(c HTTPConfig) (Check, error) {
	if c.Method == "" {
		c.Method = http.MethodGet
	}
	req, err := http.NewRequest(c.Method, c.URL, http.NoBody)
	if err != nil {
		return nil, plain("http", err)
	}
	for name, value := range c.Header {
		req.Header.Set(name, value)
		if http.CanonicalHeaderKey(name) == "Host" {
			req.Host = value
		}
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "pointsman")
	}
	tc := c.TLS.config("")
	tc.ServerName = c.TLS.ServerName // otherwise that of each URL
	client := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: tc, DisableKeepAlives: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 1 << 20,
		},
	}
	if !c.Follow {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return func(ctx context.Context) Result {
		begun := time.Now()
		resp, err := client.Do(req.Clone(ctx))
		if err != nil {
			return Result{Err: plain("http", err)}
		}
		defer resp.Body.Close()
		res := c.judge(resp)
		res.Data = map[string]any{"status": resp.StatusCode, "first_byte": time.Since(begun).Round(time.Microsecond).Seconds()}
		if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
			res.Expires = describe(resp.TLS.PeerCertificates).Expires
		}
		return res
	}, nil
}

func (c *HTTPConfig) judge(resp *http.Response) Result {
	ok := slices.Contains(c.Status, resp.StatusCode)
	if len(c.Status) == 0 {
		ok = resp.StatusCode >= 200 && resp.StatusCode <= 299
	}
	if !ok {
		return Result{Err: fmt.Errorf("status %d", resp.StatusCode)}
	}
	if c.Contains == "" && c.Matches == nil {
		return Result{}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	switch {
	case err != nil:
		return Result{Err: plain("body", err)}
	case !strings.Contains(string(body), c.Contains):
		return Result{Err: errors.New("the body does not contain what is expected")}
	case c.Matches != nil && !c.Matches.Match(body):
		return Result{Err: errors.New("the body does not match what is expected")}
	}
	return Result{}
}
