package main

import (
	"errors"
	"io/fs"
	"net/url"
	"strings"

	"github.com/pointsman/pointsman/rules"
)

// configuration is what the commands that talk to a router, or explain without
// one, read of the configuration file.
type configuration interface {
	// EventsURL and AdminURL are the base URLs of the two listeners, without a
	// path.
	EventsURL() string
	AdminURL() string
	// AdminToken is admin.token or, without one, the token that serve left in
	// data_dir; empty when there is neither.
	AdminToken() (string, error)
	// EventsToken is the bearer token of POST /events; empty when it asks for
	// none, or for another proof.
	EventsToken() (string, error)
	// Rules loads the rule files.
	Rules() (*rules.Ruleset, error)
}

// config loads the configuration. A file that is not there is no error as long
// as nobody named it: the defaults hold then.
func (a *app) config() (configuration, error) {
	c, err := a.load(a.configPath)
	if errors.Is(err, fs.ErrNotExist) && a.configPath == defaultConfig {
		return defaultSettings(), nil
	}
	if err != nil {
		return nil, exitf(exitCannotRun, "read configuration: %w", err)
	}
	return c, nil
}

// adminTarget resolves where to ask and with which token: flag, environment,
// configuration, in this order, each of the two for itself.
func (a *app) adminTarget() (base, token string, err error) {
	base, token = first(a.url, a.env("POINTSMAN_ADMIN_URL")), a.env("POINTSMAN_TOKEN")
	if base == "" || token == "" {
		c, err := a.config()
		if err != nil {
			return "", "", err
		}
		base = first(base, c.AdminURL())
		if token == "" {
			if token, err = c.AdminToken(); err != nil {
				return "", "", exitf(exitCannotRun, "find the admin token: %w (POINTSMAN_TOKEN sets another)", err)
			}
		}
	}
	base, err = checkURL(base)
	return base, token, err
}

// eventsTarget resolves where send delivers to and with which token, as
// adminTarget does.
func (a *app) eventsTarget() (base, token string, err error) {
	base, token = first(a.url, a.env("POINTSMAN_URL")), a.env("POINTSMAN_EVENTS_TOKEN")
	if base == "" || token == "" {
		c, err := a.config()
		if err != nil {
			return "", "", err
		}
		base = first(base, c.EventsURL())
		if token == "" {
			if token, err = c.EventsToken(); err != nil {
				return "", "", exitf(exitCannotRun, "find the token of POST /events: %w (POINTSMAN_EVENTS_TOKEN sets another)", err)
			}
		}
	}
	base, err = checkURL(base)
	return base, token, err
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// checkURL returns base without a trailing slash.
func checkURL(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		return "", exitf(exitUsage, "the router's URL must look like http://127.0.0.1:8081, without user, query or fragment")
	}
	return strings.TrimRight(base, "/"), nil
}
