package config

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// TypeProbe is the type of source that looks at other systems at intervals.
const TypeProbe = "probe"

// targetMark stands for the target in the texts of a probe that has targets.
const targetMark = "{target}"

// maxTargets is the most targets of one probe.
const maxTargets = 1000

// Probe is what a source of type TypeProbe is made of. Exactly one of HTTP, TCP,
// TLS, DNS, ICMP and Command is set, and Kind is its key in the file.
type Probe struct {
	Kind string
	// Targets are the names that Fill puts into texts. Without targets in the
	// file it is one, and no text refers to it.
	Targets []string
	// Interval default 30s, Timeout 5s and never more than Interval.
	Interval, Timeout time.Duration
	// DownAfter and UpAfter are checks in a row; default 3 and 2.
	DownAfter, UpAfter int

	HTTP    *ProbeHTTP
	TCP     *ProbeTCP
	TLS     *ProbeTLS
	DNS     *ProbeDNS
	ICMP    *ProbeICMP
	Command *ProbeCommand
}

// Fill returns a text of the probe for one target.
func (*Probe) Fill(text, target string) string {
	return strings.ReplaceAll(text, targetMark, target)
}

// ProbeTrust says how certificates are judged.
type ProbeTrust struct {
	// Verify default true.
	Verify bool
	// CA holds certificates in PEM form; "": the system's.
	CA string
	// ServerName instead of the host.
	ServerName string
}

// ProbeHTTP is a request.
type ProbeHTTP struct {
	// Method default GET; URL has no user.
	Method, URL string
	Headers     map[string]Secret
	// Status are the expected codes; none: 200 to 299.
	Status []int
	// Body must be in the answer, which must match BodyMatches (RE2); "": any.
	Body, BodyMatches string
	// Follow redirects.
	Follow bool
	Trust  ProbeTrust
}

// ProbeTCP is a connection.
type ProbeTCP struct {
	// Address is host:port.
	Address string
	// Send is written, and what comes back must match Expect (RE2); "": nothing.
	Send, Expect string
	TLS          bool
	Trust        ProbeTrust
}

// ProbeTLS is a certificate.
type ProbeTLS struct {
	// Address is host:port.
	Address string
	// ExpiresWithin default 30d, 7d and 1d.
	ExpiresWithin []time.Duration
	Trust         ProbeTrust
}

// ProbeDNS is a question.
type ProbeDNS struct {
	// Type default A; Server is a host, with or without a port; "" those of
	// resolv.conf.
	Name, Type, Server string
	Expect             []string
}

// ProbeICMP is a host.
type ProbeICMP struct{ Host string }

// ProbeCommand is a program. A program with a slash and Dir are absolute; Dir is
// by default the folder of the configuration file.
type ProbeCommand struct {
	Argv []string
	Dir  string
	// Exit are the expected exit codes; none: 0.
	Exit []int
	// Output must match (RE2); "": any.
	Output string
}

func probeKinds() []string { return []string{"http", "tcp", "tls", "dns", "icmp", "command"} }

func probeKeys() []string {
	return append(probeKinds(), "targets", "interval", "timeout", "down_after", "up_after")
}

// probe reads the keys of a source of type TypeProbe.
func (r *reader) probe(m *strictyaml.Map, s *Source) {
	p := &Probe{Interval: 30 * time.Second, DownAfter: 3, UpAfter: 2}
	s.Probe = p
	r.duration(m.Key("interval"), &p.Interval, time.Second, 24*time.Hour)
	p.Timeout = min(5*time.Second, p.Interval)
	r.duration(m.Key("timeout"), &p.Timeout, 10*time.Millisecond, time.Hour)
	if n := m.Key("timeout"); n != nil && p.Timeout > p.Interval {
		n.Errorf("the timeout is longer than the interval of %s", strictyaml.FormatDuration(p.Interval))
	}
	integer(m.Key("down_after"), &p.DownAfter, 1, 1000)
	integer(m.Key("up_after"), &p.UpAfter, 1, 1000)
	kinds := slices.DeleteFunc(probeKinds(), func(kind string) bool { return m.Key(kind) == nil })
	switch {
	case m == nil:
		return
	case len(kinds) == 0:
		m.Node().Errorf("what to look at is missing (one of %s)", strings.Join(probeKinds(), ", "))
		return
	case len(kinds) > 1:
		m.KeyNode(kinds[1]).Errorf("a probe is of one kind, and %s is there already (write two probes)", kinds[0])
		return
	}
	p.Kind = kinds[0]
	p.Targets = r.targets(m.Key("targets"))
	t := &probeReader{reader: r, probe: p, many: m.Key("targets") != nil}
	n := m.Key(p.Kind)
	short, form := t.short(p.Kind)
	if !n.IsMap() && !short(n) {
		n.Want(form)
		return
	}
	subject := t.kind(n)
	switch {
	case t.many && !t.used:
		m.KeyNode("targets").Errorf("nothing refers to the targets (write %s where each belongs, in quotes)", targetMark)
	case !t.many:
		p.Targets = []string{orElse(subject, s.Name)}
	}
}

// short tells what may stand for a kind instead of a mapping, and what is then
// wanted.
func (*probeReader) short(kind string) (is func(*strictyaml.Node) bool, form string) {
	text := (*strictyaml.Node).IsText
	switch kind {
	case "http":
		return text, "a URL, or a mapping with url"
	case "dns":
		return text, "a name, or a mapping with name"
	case "icmp":
		return text, "a host, or a mapping with host"
	case "command":
		return (*strictyaml.Node).IsList, "a list [PROGRAM, ARG...], or a mapping with argv"
	}
	return text, "host:port, or a mapping with address"
}

func (r *reader) targets(n *strictyaml.Node) []string {
	items, ok := n.List()
	if !ok {
		return nil
	}
	if len(items) == 0 || len(items) > maxTargets {
		n.Errorf("want 1 to %d targets", maxTargets)
	}
	seen := make(map[string]bool)
	var out []string
	for _, item := range items {
		text, ok := r.maybe(item)
		switch {
		case !ok:
		case text == "" || len(text) > 255 || strings.ContainsAny(text, " \t\r\n\x00{}"):
			item.Errorf("a target is the name of a host or the like, without spaces and braces")
		case seen[text]:
			item.Errorf("the target %q is there twice", text)
		default:
			seen[text] = true
			out = append(out, text)
		}
	}
	return out
}

// probeReader reads the texts of a probe, in which its target may be named.
type probeReader struct {
	*reader
	probe *Probe
	// many: there are targets; used: a text names them.
	many, used bool
}

// fits tells whether a text is right for every target.
func (t *probeReader) fits(text string, right func(string) bool) bool {
	if !strings.Contains(text, targetMark) {
		return right(text)
	}
	return !slices.ContainsFunc(t.probe.Targets, func(target string) bool { return !right(t.probe.Fill(text, target)) })
}

// mark looks for the mark of a target.
func (t *probeReader) mark(n *strictyaml.Node, text string) {
	if !strings.Contains(text, targetMark) {
		return
	}
	t.used = true
	if !t.many {
		n.Errorf("there are no targets to stand for %s (add targets)", targetMark)
	}
}

func (t *probeReader) fillable(n *strictyaml.Node, to *string) bool {
	text, ok := t.maybe(n)
	if ok {
		t.mark(n, text)
		*to = text
	}
	return ok
}

// kind reads the one kind, and returns the subject that its events have when
// there are no targets.
func (t *probeReader) kind(n *strictyaml.Node) string {
	switch p := t.probe; p.Kind {
	case "http":
		p.HTTP = t.http(n)
		u, err := url.Parse(p.HTTP.URL)
		if err != nil {
			return ""
		}
		// Without the query, which may hold a token.
		return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	case "tcp":
		p.TCP = t.tcp(n)
		return p.TCP.Address
	case "tls":
		p.TLS = t.tlsProbe(n)
		return p.TLS.Address
	case "dns":
		p.DNS = t.dns(n)
		return p.DNS.Name
	case "icmp":
		p.ICMP = &ProbeICMP{}
		host := n
		if !n.IsText() {
			host = n.Map("host").Required("host")
		}
		if t.fillable(host, &p.ICMP.Host) && !t.fits(p.ICMP.Host, isHost) {
			host.Errorf("want a host name or an address")
		}
		return p.ICMP.Host
	case "command":
		p.Command = t.command(n)
	}
	return ""
}

func (t *probeReader) http(n *strictyaml.Node) *ProbeHTTP {
	h := &ProbeHTTP{Method: http.MethodGet, Trust: ProbeTrust{Verify: true}}
	at := n
	var m *strictyaml.Map
	if !n.IsText() {
		m = n.Map("url", "method", "headers", "status", "body", "body_matches", "follow", "verify", "ca", "server_name")
		at = m.Required("url")
	}
	if t.fillable(at, &h.URL) {
		switch {
		case !t.fits(h.URL, isURL):
			at.Errorf("want a URL such as https://www.example.net/health")
		case !t.fits(h.URL, withoutUser):
			at.Secret()
			at.Errorf("a URL with a user is refused, because it is shown (use headers: {Authorization: ...})")
		}
	}
	t.oneOf(m.Key("method"), &h.Method, "GET", "HEAD", "POST", "OPTIONS")
	h.Headers = t.headers(m.Key("headers"))
	h.Status = codes(m.Key("status"), 100, 599)
	t.fillable(m.Key("body"), &h.Body)
	t.pattern(m.Key("body_matches"), &h.BodyMatches)
	h.Follow, _ = m.Key("follow").Bool()
	h.Trust = t.trust(m)
	return h
}

func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

func withoutUser(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.User == nil
}

func (t *probeReader) headers(n *strictyaml.Node) map[string]Secret {
	entries, _ := n.Entries()
	if len(entries) == 0 {
		return nil
	}
	out := make(map[string]Secret, len(entries))
	for _, e := range entries {
		if e.Name == "" || strings.ContainsFunc(e.Name, notInHeaderName) {
			e.Key.Errorf("%q is not the name of a header", e.Name)
		}
		if secretHeader.MatchString(e.Name) {
			out[e.Name] = t.secret(e.Value, 1)
			t.mark(e.Value, out[e.Name].Reveal())
			continue
		}
		text, ok := t.maybe(e.Value)
		if ok && strings.ContainsAny(text, "\r\n\x00") {
			e.Value.Errorf("a header has one line")
		}
		t.mark(e.Value, text)
		out[e.Name] = Secret{text}
	}
	return out
}

var secretHeader = regexp.MustCompile(`(?i)auth|cookie|token|secret|key|password`)

func (t *probeReader) trust(m *strictyaml.Map) ProbeTrust {
	out := ProbeTrust{Verify: true}
	if v, ok := m.Key("verify").Bool(); ok {
		out.Verify = v
	}
	t.fillable(m.Key("server_name"), &out.ServerName)
	_, out.CA = t.authorities(m.Key("ca"))
	return out
}

func (t *probeReader) tcp(n *strictyaml.Node) *ProbeTCP {
	c := &ProbeTCP{Trust: ProbeTrust{Verify: true}}
	at := n
	if !n.IsText() {
		m := n.Map("address", "send", "expect", "tls", "verify", "ca", "server_name")
		at = m.Required("address")
		t.fillable(m.Key("send"), &c.Send)
		t.pattern(m.Key("expect"), &c.Expect)
		c.TLS, _ = m.Key("tls").Bool()
		c.Trust = t.trust(m)
	}
	t.address(at, &c.Address)
	return c
}

func (t *probeReader) tlsProbe(n *strictyaml.Node) *ProbeTLS {
	const day = 24 * time.Hour
	c := &ProbeTLS{ExpiresWithin: []time.Duration{30 * day, 7 * day, day}, Trust: ProbeTrust{Verify: true}}
	at := n
	if !n.IsText() {
		m := n.Map("address", "expires_within", "verify", "ca", "server_name")
		at = m.Required("address")
		c.Trust = t.trust(m)
		if items, ok := m.Key("expires_within").List(); ok {
			c.ExpiresWithin = nil
			for _, item := range items {
				var d time.Duration
				t.duration(item, &d, 0, 10*year)
				c.ExpiresWithin = append(c.ExpiresWithin, d)
			}
		}
	}
	t.address(at, &c.Address)
	return c
}

func (t *probeReader) address(n *strictyaml.Node, to *string) {
	if t.fillable(n, to) && !t.fits(*to, isAddress) {
		n.Errorf("want host:port, such as www.example.net:443")
	}
}

func isAddress(text string) bool {
	host, port, err := net.SplitHostPort(text)
	if err != nil || !isHost(host) {
		return false
	}
	p, err := strconv.ParseUint(port, 10, 16)
	return err == nil && p > 0
}

func isHost(text string) bool {
	if strings.Contains(text, ":") { // no name has one
		_, err := netip.ParseAddr(text)
		return err == nil
	}
	return text != "" && len(text) <= 255 && !strings.ContainsAny(text, " \t\r\n\x00/@?#")
}

func (t *probeReader) dns(n *strictyaml.Node) *ProbeDNS {
	d := &ProbeDNS{Type: "A"}
	at := n
	if !n.IsText() {
		m := n.Map("name", "type", "server", "expect")
		at = m.Required("name")
		t.oneOf(m.Key("type"), &d.Type, "A", "AAAA", "CNAME", "MX", "TXT", "SRV")
		if s := m.Key("server"); t.fillable(s, &d.Server) {
			if !t.fits(d.Server, func(text string) bool { return isAddress(text) || isHost(text) }) {
				s.Errorf("want a server such as 192.0.2.53 or ns1.example.net:53")
			}
		}
		items, _ := m.Key("expect").List()
		for _, item := range items {
			var text string
			if t.fillable(item, &text) {
				d.Expect = append(d.Expect, text)
			}
		}
	}
	if t.fillable(at, &d.Name) {
		if !t.fits(d.Name, isName) {
			at.Errorf("want a name such as www.example.net")
		}
	}
	return d
}

func isName(text string) bool {
	_, err := dnsmessage.NewName(strings.TrimSuffix(text, ".") + ".")
	return err == nil && isHost(text) && !strings.Contains(text, "..")
}

func (t *probeReader) command(n *strictyaml.Node) *ProbeCommand {
	c := &ProbeCommand{Dir: t.dir}
	argv := n
	if !n.IsList() {
		m := n.Map("argv", "dir", "exit", "output")
		argv = m.Required("argv")
		if dir, ok := t.maybe(m.Key("dir")); ok {
			c.Dir = t.path(dir)
		}
		c.Exit = codes(m.Key("exit"), 0, 255)
		t.pattern(m.Key("output"), &c.Output)
	}
	items, ok := argv.List()
	if ok && len(items) == 0 {
		argv.Errorf("name a program")
	}
	for i, item := range items {
		var text string
		if !t.fillable(item, &text) {
			continue
		}
		switch {
		case strings.ContainsRune(text, 0):
			item.Errorf("an argument cannot have a NUL byte")
		case i == 0 && text == "":
			item.Errorf("name a program")
		case i == 0 && strings.Contains(text, "/"):
			text = t.path(text)
		}
		c.Argv = append(c.Argv, text)
	}
	return c
}

// pattern reads a regular expression.
func (r *reader) pattern(n *strictyaml.Node, to *string) {
	text, ok := r.maybe(n)
	if !ok {
		return
	}
	if _, err := regexp.Compile(text); err != nil {
		n.Errorf("not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return
	}
	*to = text
}

// codes reads one integer or a list of them.
func codes(n *strictyaml.Node, low, high int64) []int {
	if n == nil {
		return nil
	}
	items := []*strictyaml.Node{n}
	if n.IsList() {
		items, _ = n.List()
		if len(items) == 0 {
			n.Errorf("want at least one code (%s)", fmt.Sprintf("%d to %d", low, high))
		}
	}
	var out []int
	for _, item := range items {
		if v, ok := item.Int(low, high); ok {
			out = append(out, int(v))
		}
	}
	return out
}
