package http

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/pointsman/pointsman/actions"
)

// maxRetryAfter bounds what a target may ask for.
const maxRetryAfter = 24 * time.Hour

// minRedacted is the least length of a text that is looked for in answers: a
// shorter one would hit what it does not mean.
const minRedacted = 8

// output is the status line and the first 64 KiB of the answer. That the answer
// ends early changes nothing: its status has been said.
func (a *Action) output(res *http.Response) string {
	head := fmt.Sprintf("%d %s\n", res.StatusCode, http.StatusText(res.StatusCode))
	room := actions.MaxOutput - len(head)
	body, _ := io.ReadAll(io.LimitReader(res.Body, int64(room)+1))
	text := a.redact.Replace(string(body))
	const mark = "\n[answer cut]"
	if len(body) > room || len(text) > room {
		text = strings.ToValidUTF8(text[:min(len(text), room-len(mark))], "") + mark
	}
	return head + text
}

// redactor hides the settings' secrets from answers that repeat the request:
// the answer is stored.
func redactor(u *url.URL, set settings) *strings.Replacer {
	secrets := []string{set.Secret, strings.TrimPrefix(set.Secret, "whsec_")}
	for _, value := range set.Headers {
		secrets = append(secrets, value)
		if _, token, ok := strings.Cut(value, " "); ok {
			secrets = append(secrets, token)
		}
	}
	for _, values := range u.Query() {
		secrets = append(secrets, values...)
	}
	// A Replacer takes the first that fits: the longest must come first.
	sort.Slice(secrets, func(i, j int) bool { return len(secrets[i]) > len(secrets[j]) })
	var pairs []string
	for _, s := range secrets {
		if len(s) >= minRedacted {
			pairs = append(pairs, s, "***")
		}
	}
	return strings.NewReplacer(pairs...)
}

// outcome turns the status into what the router is told.
func outcome(res *http.Response, now time.Time) error {
	code := res.StatusCode
	switch {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusRequestTimeout, code == http.StatusNotFound, code == http.StatusConflict,
		code == http.StatusTooManyRequests, code >= 500 && code < 600:
		err := answered(code)
		if after, ok := retryAfter(res.Header.Get("Retry-After"), now); ok {
			return actions.RetryAfter(err, after)
		}
		return err
	case code >= 300 && code < 400 && res.Header.Get("Location") != "":
		return actions.Permanent(fmt.Errorf("%w: redirects are not followed (set url to where it leads)", answered(code)))
	}
	return actions.Permanent(answered(code))
}

func answered(code int) error {
	return errors.New(strings.TrimSpace(fmt.Sprintf("answered %d %s", code, http.StatusText(code))))
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3). A date that is
// over is no delay, and a header that cannot be read is none.
func retryAfter(text string, now time.Time) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, false
	}
	if strings.Trim(text, "0123456789") == "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n > int64(maxRetryAfter/time.Second) { // digits only: too many of them
			return maxRetryAfter, true
		}
		return time.Duration(n) * time.Second, true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), maxRetryAfter), true
}
