package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pointsman/pointsman/router/config"
)

// source loads a configuration with one source and returns it.
func source(t *testing.T, text string) config.Source {
	t.Helper()
	c, err := config.Load(write(t, "sources:\n  - "+text+"\n"), options())
	if err != nil {
		t.Fatal(err)
	}
	return c.Sources[0]
}

// refused loads a configuration with one source, and wants it refused with
// every one of the texts.
func refused(t *testing.T, text string, wants ...string) {
	t.Helper()
	_, err := config.Load(write(t, "sources:\n  - "+text+"\n"), options())
	if err == nil {
		t.Errorf("%s: loaded", text)
		return
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n%s\nwant %s", text, err, want)
		}
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	verified := config.ProbeTrust{Verify: true}
	base := func(kind string, edit func(*config.Probe), targets ...string) config.Probe {
		p := config.Probe{
			Kind: kind, Targets: targets, Interval: 30 * time.Second, Timeout: 5 * time.Second, DownAfter: 3, UpAfter: 2,
		}
		edit(&p)
		return p
	}
	for text, want := range map[string]config.Probe{
		"http: 'https://a.example.net:8443/health?key=1'": base("http", func(p *config.Probe) {
			p.HTTP = &config.ProbeHTTP{Method: "GET", URL: "https://a.example.net:8443/health?key=1", Trust: verified}
		}, "https://a.example.net:8443/health"),
		"http: {url: 'http://{target}/', method: HEAD, status: 204, follow: true, verify: false}, targets: [a, b], interval: 2s, timeout: 1s, down_after: 1, up_after: 1": base("http", func(p *config.Probe) {
			p.HTTP = &config.ProbeHTTP{Method: "HEAD", URL: "http://{target}/", Status: []int{204}, Follow: true}
			p.Interval, p.Timeout, p.DownAfter, p.UpAfter = 2*time.Second, time.Second, 1, 1
		}, "a", "b"),
		"tcp: 'a.example.net:22', interval: 1s": base("tcp", func(p *config.Probe) {
			p.TCP = &config.ProbeTCP{Address: "a.example.net:22", Trust: verified}
			p.Interval, p.Timeout = time.Second, time.Second
		}, "a.example.net:22"),
		"tcp: {address: '[2001:db8::1]:25', send: \"QUIT\\r\\n\", expect: '^220', tls: true}": base("tcp", func(p *config.Probe) {
			p.TCP = &config.ProbeTCP{Address: "[2001:db8::1]:25", Send: "QUIT\r\n", Expect: "^220", TLS: true, Trust: verified}
		}, "[2001:db8::1]:25"),
		"tls: 'a.example.net:443'": base("tls", func(p *config.Probe) {
			p.TLS = &config.ProbeTLS{Address: "a.example.net:443", ExpiresWithin: []time.Duration{30 * day, 7 * day, day}, Trust: verified}
		}, "a.example.net:443"),
		"tls: {address: '192.0.2.1:443', expires_within: [14d], server_name: a.example.net}": base("tls", func(p *config.Probe) {
			p.TLS = &config.ProbeTLS{Address: "192.0.2.1:443", ExpiresWithin: []time.Duration{14 * day}, Trust: config.ProbeTrust{Verify: true, ServerName: "a.example.net"}}
		}, "192.0.2.1:443"),
		"dns: a.example.net": base("dns", func(p *config.Probe) { p.DNS = &config.ProbeDNS{Name: "a.example.net", Type: "A"} }, "a.example.net"),
		"dns: {name: a.example.net, type: MX, server: '{target}', expect: [10 b.example.net]}, targets: ['192.0.2.53', '2001:db8::53']": base("dns", func(p *config.Probe) {
			p.DNS = &config.ProbeDNS{Name: "a.example.net", Type: "MX", Server: "{target}", Expect: []string{"10 b.example.net"}}
		}, "192.0.2.53", "2001:db8::53"),
		"icmp: 192.0.2.1": base("icmp", func(p *config.Probe) { p.ICMP = &config.ProbeICMP{Host: "192.0.2.1"} }, "192.0.2.1"),
		"command: [./check.sh, -w]": base("command", func(p *config.Probe) {
			p.Command = &config.ProbeCommand{Argv: []string{"DIR/check.sh", "-w"}, Dir: "DIR"}
		}, "p1"),
		"command: {argv: [check, '{target}'], dir: sub, exit: [0, 1], output: ok}, targets: [a]": base("command", func(p *config.Probe) {
			p.Command = &config.ProbeCommand{Argv: []string{"check", "{target}"}, Dir: "DIR/sub", Exit: []int{0, 1}, Output: "ok"}
		}, "a"),
	} {
		path := write(t, "sources:\n  - {name: p1, type: probe, "+text+"}\n")
		c, err := config.Load(path, options())
		if err != nil {
			t.Errorf("%s: %s", text, err)
			continue
		}
		s := c.Sources[0]
		got := *s.Probe
		if got.Command != nil {
			got.Command.Dir = strings.Replace(got.Command.Dir, c.Dir, "DIR", 1)
			got.Command.Argv[0] = strings.Replace(got.Command.Argv[0], c.Dir, "DIR", 1)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		if !s.Monitor() || s.Dedup == 0 {
			t.Errorf("%+v", s)
		}
	}
}

func TestProbeHeaders(t *testing.T) {
	t.Parallel()
	s := source(t, "{name: p1, type: probe, http: {url: 'http://a.example.net', headers: {Accept: text/html, Authorization: '${env:TOKEN}'}}}")
	if got := s.Probe.HTTP.Headers["Accept"]; got.Reveal() != "text/html" {
		t.Error(got.Reveal())
	}
	refused(t, "{name: p1, type: probe, http: {url: 'http://a.example.net', headers: {'a b': x}}}", `"a b" is not the name of a header`)
}

func TestProbeProblems(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                      "what to look at is missing (one of http, tcp, tls, dns, icmp, command)",
		"icmp: a, tcp: 'a:1'":                   "a probe is of one kind, and tcp is there already",
		"http: ftp://a.example.net/":            "want a URL such as",
		"http: 'http://u:canary@a.example.net'": "a URL with a user is refused",
		"http: {}":                              `"url" is missing`,
		"http: {url: 'http://a', status: 99}":   "99 is out of range",
		"http: {url: 'http://a', body_matches: '('}":     "not a regular expression: missing closing )",
		"http: {url: 'http://a', ca: none.pem}":          "cannot be read: no such file",
		"http: {url: 'http://a', methd: GET}":            `unknown key "methd" (did you mean "method"?)`,
		"tcp: a.example.net":                             "want host:port",
		"tcp: 'a:0'":                                     "want host:port",
		"tls: {address: 'a:1', expires_within: [never]}": "expires_within",
		"dns: {name: a, type: HINFO}":                    `unknown value "HINFO"`,
		"dns: a..b":                                      "want a name",
		"dns: {name: a, server: 'a b'}":                  "want a server",
		"dns: {name: a, server: 'x:y:z'}":                "want a server",
		"tcp: 22":                                        "want host:port, or a mapping with address, got an integer",
		"http: [a]":                                      "want a URL, or a mapping with url, got a list",
		"icmp: ":                                         "a value is missing: want a host, or a mapping with host",
		"icmp: 'a b'":                                    "want a host name",
		"command: []":                                    "name a program",
		"command: x":                                     "want a list [PROGRAM, ARG...], or a mapping with argv, got text",
		"command: {argv: [a], exit: []}":                 "at least one code",
		"icmp: a, targets: [b]":                          "nothing refers to the targets (write {target}",
		"icmp: '{target}'":                               "there are no targets to stand for {target}",
		"http: {url: 'http://a', headers: {Host: '{target}'}}": "there are no targets to stand for {target}",
		"icmp: '{target}', targets: []":                        "want 1 to 1000 targets",
		"icmp: '{target}', targets: [a, a]":                    `the target "a" is there twice`,
		"icmp: '{target}', targets: [a b]":                     "a target is the name of a host",
		"tcp: '{target}', targets: ['a:1', b]":                 "want host:port",
		"icmp: a, interval: 1s, timeout: 2s":                   "the timeout is longer than the interval of 1s",
		"icmp: a, interval: 100ms":                             "out of range",
		"icmp: a, down_after: 0":                               "out of range",
		"icmp: a, auth: none":                                  `unknown key "auth"`,
	} {
		if text != "" {
			text = ", " + text
		}
		want = strings.TrimSuffix(want, "expires_within")
		refused(t, "{name: p1, type: probe"+text+"}", want)
	}
	if _, err := config.Load(write(t, "sources:\n  - {name: p1, type: probe, http: 'http://u:canary@a.example.net'}\n"), options()); strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}
