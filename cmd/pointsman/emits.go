package main

import (
	"encoding/json"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/router/config"
)

// emits tells, for check, of an action that sends events to this router: an http
// action with the router's own address, or an exec action of `pointsman send`.
// Nil: it sends none, as far as the configuration shows.
func emits(cfg *config.Config, a config.Action) func(with any) (string, bool) {
	if !a.Bundled || a.DryRun {
		return nil
	}
	switch a.Plugin {
	case "http":
		var s struct {
			URL     string            `json:"url"`
			Method  string            `json:"method"`
			Headers map[string]string `json:"headers"`
		}
		if json.Unmarshal([]byte(a.Settings.Reveal()), &s) != nil || s.Method != "" && s.Method != "POST" {
			return nil
		}
		switch place := ownPath(cfg, s.URL); {
		case place == "/events":
			return func(with any) (string, bool) { return postedType(with, s.Headers) }
		case strings.HasPrefix(place, "/hooks/"):
			// The source's expressions make the type.
			return func(any) (string, bool) { return "", true }
		}
	case "exec":
		var s struct {
			Command []string `json:"command"`
		}
		if json.Unmarshal([]byte(a.Settings.Reveal()), &s) != nil {
			return nil
		}
		for i := range s.Command[:max(len(s.Command)-1, 0)] {
			if path.Base(s.Command[i]) == "pointsman" && s.Command[i+1] == "send" {
				fixed := s.Command[i+2:]
				return func(with any) (string, bool) { return sentType(cfg, fixed, with) }
			}
		}
	}
	return nil
}

// ownPath is the path of a URL that leads to this router's listener, "" of any
// other.
func ownPath(cfg *config.Config, text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return ""
	}
	defaults := map[string]string{"http": "80", "https": "443"}
	if first(u.Port(), defaults[strings.ToLower(u.Scheme)]) != port {
		return ""
	}
	if !strings.EqualFold(u.Hostname(), host) && (!isLocal(u.Hostname()) || !isLocal(host) && !isEvery(host)) {
		return ""
	}
	return path.Clean("/" + u.Path)
}

func isLocal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// isEvery tells whether a listener takes connections to every address.
func isEvery(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// postedType is the type of the event in a request of the http plugin: in a
// header, or in the body. Without a body the plugin sends the event it was
// called for, which is a duplicate and calls nothing.
func postedType(with any, headers map[string]string) (string, bool) {
	params, _ := with.(map[string]any)
	given, _ := params["headers"].(map[string]any)
	for name, v := range given {
		if text, ok := v.(string); ok && strings.EqualFold(name, "ce-type") {
			return constantText(text), true
		}
	}
	for name, text := range headers {
		if strings.EqualFold(name, "ce-type") {
			return text, true
		}
	}
	body, ok := params["body"]
	if !ok {
		return "", false
	}
	event, _ := body.(map[string]any)
	text, _ := event["type"].(string)
	return constantText(text), true
}

// sentType is the type of the event that `pointsman send` sends with these
// arguments; none when it sends it elsewhere.
func sentType(cfg *config.Config, fixed []string, with any) (string, bool) {
	args := slices.Clone(fixed)
	params, _ := with.(map[string]any)
	more, _ := params["args"].([]any)
	for _, a := range more {
		text, _ := a.(string)
		args = append(args, text)
	}
	eventType := ""
	for i, a := range args {
		name, value, joined := strings.Cut(a, "=")
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		switch name {
		case "--type":
			eventType = constantText(value)
		case "--url":
			if ownPath(cfg, value) == "" {
				return "", false
			}
		}
	}
	return eventType, true
}

// constantText is "" for a text that depends on the event.
func constantText(text string) string {
	if strings.Contains(text, "${{") {
		return ""
	}
	return text
}
