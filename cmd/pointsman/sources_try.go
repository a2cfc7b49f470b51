package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/rules"
)

func (a *app) sourcesTestCmd() *cobra.Command {
	var headers []string
	var query string
	cmd := &cobra.Command{
		Use:   "test NAME FILE",
		Short: "Translate a request to a webhook source, without a router",
		Long: "Translate a request as the source would and print the events. FILE holds the body (- is stdin), or\n" +
			"what `pointsman sources capture -o json` wrote. Nothing is sent or stored, and nobody has to prove who\n" +
			"sends. Exits 1 when the request cannot be translated, and says why.",
		Example: "  pointsman sources test netbox body.json\n" +
			"  pointsman sources test github push.json --header 'X-GitHub-Event: push'",
		Args: cobra.ExactArgs(2),
		RunE: does(func(_ *cobra.Command, args []string) error {
			return a.sourcesTest(args[0], args[1], headers, query)
		}),
	}
	cmd.Flags().StringArrayVar(&headers, "header", nil, "a `header` of the request, \"Name: value\"; may be given several times")
	cmd.Flags().StringVar(&query, "query", "", "the `query` of the URL, without the question mark")
	return cmd
}

// tried is a request to be translated.
type tried struct {
	header http.Header
	query  string
	body   []byte
}

func (a *app) sourcesTest(name, file string, headers []string, query string) error {
	cfg, err := loadOffline(a.configPath)
	if err != nil {
		return exitf(exitCannotRun, "%w", err)
	}
	at := slices.IndexFunc(cfg.Sources, func(s config.Source) bool { return s.Name == name && s.Hook() })
	if at < 0 {
		return fmt.Errorf("no source %q takes webhooks (see sources in %s)", name, a.configPath)
	}
	tr, err := rules.NewTranslator(cfg.Sources[at].Translation)
	if err != nil {
		return fmt.Errorf("source %q: %w", name, err)
	}
	hook := ingestHook(cfg.Sources[at], tr)
	text, err := a.readInput(file)
	if err != nil {
		return err
	}
	requests, err := capturedRequests(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if requests == nil {
		requests = []tried{{body: text, query: query}}
	}
	events := []json.RawMessage{}
	var problems []error
	for _, r := range requests {
		if err := addHeaders(&r, headers); err != nil {
			return exitf(exitUsage, "%w", err)
		}
		evs, err := hook.Try(r.body, r.header, r.query, rules.Limits{Depth: cfg.Limits.Depth}, cfg.Limits.Batch)
		if err != nil {
			problems = append(problems, fmt.Errorf("source %q: %w", name, err))
			continue
		}
		for _, ev := range evs {
			events = append(events, ev.JSON())
		}
	}
	if err := a.printJSON(events); err != nil {
		return err
	}
	if len(events) == 0 && len(problems) == 0 {
		fmt.Fprintln(a.stderr, "the request is good, and makes no event")
	}
	return errors.Join(problems...)
}

// addHeaders adds those of the command line.
func addHeaders(r *tried, headers []string) error {
	if r.header == nil {
		r.header = make(http.Header)
	}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || name == "" {
			return fmt.Errorf("%q is not a header (write --header 'Name: value')", h)
		}
		r.header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return nil
}

// capturedRequests reads what sources capture wrote, oldest request first; nil
// when the text is something else, such as a body.
func capturedRequests(text []byte) ([]tried, error) {
	var list []struct {
		Received  *string            `json:"received"`
		Headers   *map[string]string `json:"headers"`
		Query     map[string]string  `json:"query"`
		Body      *string            `json:"body"`
		Status    *int               `json:"status"`
		Truncated bool               `json:"truncated"`
	}
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) || json.Unmarshal(text, &list) != nil || len(list) == 0 {
		return nil, nil
	}
	var out []tried
	for _, c := range slices.Backward(list) {
		if c.Received == nil || c.Headers == nil || c.Body == nil || c.Status == nil {
			return nil, nil
		}
		if *c.Body == "" || c.Truncated {
			continue // the router kept no whole body of it
		}
		r := tried{header: make(http.Header), body: []byte(*c.Body)}
		for name, value := range *c.Headers {
			r.header.Set(name, value)
		}
		if strings.HasPrefix(r.header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			r.header.Set("Content-Type", "application/json") // as which a form is kept
		}
		q := url.Values{}
		for name, value := range c.Query {
			q.Set(name, value)
		}
		r.query = q.Encode()
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, errors.New("none of the captured requests has a whole body")
	}
	return out, nil
}
