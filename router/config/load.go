package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// Options say what Load may refer to.
type Options struct {
	// Bundled are the names of the plugins that the binary carries.
	Bundled []string
	// Env looks up a variable for ${env:NAME}; nil: os.LookupEnv.
	Env func(name string) (string, bool)
	// WithoutSecrets lets references to what is not there stand for some text, and
	// certificates be missing, for who calls nobody and takes no requests.
	WithoutSecrets bool
}

const year = 366 * 24 * time.Hour

var (
	nameForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	topicForm = regexp.MustCompile(`^arn:aws(-cn|-us-gov)?:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,256}$`)
	secretish = regexp.MustCompile(`(?i)secret|token|password|bearer|redis`)
)

// Load reads and checks a configuration file. The error is a
// strictyaml.Errors with every problem, or tells why the file cannot be read.
// Besides the file, Load reads the files that it refers to for secrets and TLS.
func Load(path string, opt Options) (*Config, error) {
	if opt.Env == nil {
		opt.Env = os.LookupEnv
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	data, err := readLimited(abs, strictyaml.MaxSize)
	if err != nil && !errors.Is(err, errTooLarge) { // Parse says the latter better
		return nil, fmt.Errorf("configuration: %w", err)
	}
	doc, err := strictyaml.Parse(path, data)
	if err != nil {
		var list strictyaml.Errors
		if errors.As(err, &list) {
			hideSecrets(list)
		}
		return nil, err
	}
	r := &reader{dir: filepath.Dir(abs), opt: opt}
	cfg := r.config(doc.Root())
	if err := doc.Err(); err != nil {
		return nil, err
	}
	cfg.File, cfg.Dir, cfg.doc = path, r.dir, doc
	cfg.Warnings = doc.Warnings()
	return cfg, nil
}

// hideSecrets drops source lines that may hold a secret: before the structure
// of the file is known, nobody can tell where it begins and ends.
func hideSecrets(list strictyaml.Errors) {
	for _, e := range list {
		if secretish.MatchString(e.SourceLine) {
			e.SourceLine = ""
		}
	}
}

func (r *reader) config(root *strictyaml.Node) *Config {
	m := root.Map("name", "listen", "insecure", "admin", "data_dir", "store", "durability", "rules", "events",
		"retention", "limits", "shutdown_grace", "tls", "sources", "actions")
	c := &Config{
		Name: "default", Listen: "127.0.0.1:8080", DataDir: r.path("pointsman-data"),
		Rules: defaultRules(), ShutdownGrace: 10 * time.Second,
	}
	r.name(m.Key("name"), &c.Name)
	r.listen(m.Key("listen"), "127.0.0.1:8080", &c.Listen)
	c.Insecure, _ = m.Key("insecure").Bool()
	r.insecure = c.Insecure
	c.Admin = r.admin(m.Key("admin"))
	r.take(m.Key("listen"), "tcp", c.Listen, "listen")
	r.take(field(m.Key("admin"), "listen"), "tcp", c.Admin.Listen, "admin.listen")
	if dir, ok := r.maybe(m.Key("data_dir")); ok {
		c.DataDir = r.path(dir)
	}
	c.Store = r.store(m.Key("store"), c.DataDir)
	c.Durability = r.durability(m)
	r.rules(m.Key("rules"), &c.Rules)
	c.Events = r.events(m.Key("events"))
	c.Retention = r.retention(m.Key("retention"), c.Store.Kind)
	c.Limits = r.limits(m.Key("limits"))
	r.duration(m.Key("shutdown_grace"), &c.ShutdownGrace, 0, time.Hour)
	c.TLS = r.tls(m.Key("tls"))
	c.Sources = r.sources(m.Key("sources"))
	c.Actions = r.actions(m.Key("actions"))
	needsClientCA(m.Key("events"), c)
	items, _ := m.Key("sources").List()
	for _, item := range items {
		needsClientCA(item, c)
	}
	r.exposure(m, c)
	exposedHooks(m.Key("sources"), c)
	return c
}

// exposure refuses sources that anyone beyond this host may feed.
func (r *reader) exposure(m *strictyaml.Map, c *Config) {
	if c.Insecure || loopback(c.Listen) || c.clientCertificates() || c.Events.Auth.Kind != AuthNone {
		return
	}
	at := m.Key("listen")
	if events := m.Key("events"); events.IsMap() {
		at = events
		if auth := field(events, "auth"); auth != nil {
			if !auth.IsText() {
				return // a form that has its own problem
			}
			at = auth
		}
	}
	at.Errorf("POST /events is open to other hosts and asks for no authentication " +
		"(set events.auth, listen on 127.0.0.1, or say insecure: true at the top level)")
}

// clientCertificates tells whether every client must show a certificate.
func (c *Config) clientCertificates() bool { return c.TLS != nil && c.TLS.ClientCA != "" }

// needsClientCA refuses certificate authentication that no listener asks for.
func needsClientCA(n *strictyaml.Node, c *Config) {
	if auth := field(n, "auth"); auth.IsMap() && !c.clientCertificates() {
		if at := field(auth, "certificate"); at != nil {
			at.Errorf("no client is asked for a certificate (set tls.client_ca)")
		}
	}
}

// field looks a key up without judging the others.
func field(n *strictyaml.Node, name string) *strictyaml.Node {
	entries, _ := n.Entries()
	for _, e := range entries {
		if e.Name == name {
			return e.Value
		}
	}
	return nil
}

func (r *reader) admin(n *strictyaml.Node) Admin {
	m := n.Map("listen", "token")
	a := Admin{Listen: "127.0.0.1:8081"}
	r.listen(m.Key("listen"), "127.0.0.1:8081", &a.Listen)
	if token := m.Key("token"); token != nil {
		a.Token = r.secret(token, minSecret)
	}
	return a
}

func (r *reader) durability(m *strictyaml.Map) store.Durability {
	word := "process"
	r.oneOf(m.Key("durability"), &word, "strict", "process", "none")
	switch word {
	case "strict":
		return store.Strict
	case "none":
		m.Key("durability").Warn("weak-durability", 0, "accepted events can be lost with durability none")
		return store.None
	}
	return store.Process
}

func (r *reader) rules(n *strictyaml.Node, to *[]string) {
	items, ok := n.List()
	if !ok {
		return
	}
	*to = make([]string, 0, len(items))
	for _, item := range items {
		text, ok := item.Text()
		if !ok {
			continue
		}
		pattern := filepath.ToSlash(filepath.Clean(text))
		switch _, err := filepath.Match(pattern, ""); {
		case text == "":
			item.Errorf("the pattern is empty (write it like rules/*.yaml)")
		case err != nil:
			item.Errorf("%q is not a pattern: a [ or \\ is not closed", text)
		case filepath.IsAbs(text) || pattern == ".." || strings.HasPrefix(pattern, "../"):
			item.Errorf("%q is outside the folder of the configuration file (rule files live in it)", text)
		default:
			*to = append(*to, pattern)
		}
	}
}

func (r *reader) events(n *strictyaml.Node) Events {
	m := n.Map("auth", "dedup", "origins", "rate")
	e := Events{Auth: r.auth(m.Key("auth"), vendor{}), Dedup: 24 * time.Hour}
	r.duration(m.Key("dedup"), &e.Dedup, 0, year)
	r.rate(m.Key("rate"), &e.Rate)
	if items, ok := m.Key("origins").List(); ok {
		for _, item := range items {
			if text, ok := r.maybe(item); ok {
				if text == "" || strings.ContainsAny(text, "/ \r\n") {
					item.Errorf("an origin is the name of a host, or \"*\" for any")
				}
				e.Origins = append(e.Origins, text)
			}
		}
	}
	return e
}

func (r *reader) retention(n *strictyaml.Node, kind StoreKind) Retention {
	m := n.Map("events", "deliveries", "size")
	out := Retention{Events: 7 * 24 * time.Hour, Deliveries: 30 * 24 * time.Hour, Size: 8 << 30}
	if kind == Redis {
		out.Size = 1 << 30
	}
	r.duration(m.Key("events"), &out.Events, time.Minute, 20*year)
	r.duration(m.Key("deliveries"), &out.Deliveries, time.Minute, 20*year)
	r.size(m.Key("size"), &out.Size, 1<<20, 1<<50)
	return out
}

func (r *reader) limits(n *strictyaml.Node) Limits {
	m := n.Map("body", "batch_body", "in_flight", "batch", "depth", "deliveries_per_event", "hops", "connections")
	l := Limits{
		Body: 1 << 20, BatchBody: 8 << 20, Batch: 1000, Depth: 64, DeliveriesPerEvent: 1000, Hops: 8, Connections: 4096,
	}
	r.size(m.Key("body"), &l.Body, 1<<10, 64<<20)
	r.size(m.Key("batch_body"), &l.BatchBody, 1<<10, 256<<20)
	r.size(m.Key("in_flight"), &l.InFlight, 1<<20, 1<<40)
	integer(m.Key("batch"), &l.Batch, 1, 100_000)
	integer(m.Key("depth"), &l.Depth, 1, 1000)
	integer(m.Key("deliveries_per_event"), &l.DeliveriesPerEvent, 1, 1_000_000)
	integer(m.Key("hops"), &l.Hops, 1, 255)
	integer(m.Key("connections"), &l.Connections, 16, 1_000_000)
	return l
}

// sourceType is what the configuration must know of a type of source.
type sourceType struct {
	name string
	// vendor holds the vendor's authentication where the type has one.
	vendor vendor
	// adapter: the rest is in the adapter's definition.
	adapter bool
	// auth reads the key auth where its forms are others than usual.
	auth func(r *reader, m *strictyaml.Map) Auth
	// dedup is the default.
	dedup time.Duration
	// text is the default of the key text.
	text bool
	// monitor: it runs within the router, so there is nobody to authenticate and
	// the ids are its own. It has neither auth nor dedup.
	monitor bool
	// keys are those beyond name, type, auth and dedup; read reads them.
	keys []string
	read func(r *reader, m *strictyaml.Map, s *Source)
}

// sourceTypes lists the types that sources may have. POST /events is not one:
// it is always there and configured under events.
func sourceTypes() []sourceType {
	types := []sourceType{
		{name: Webhook, vendor: vendor{open: true}, dedup: defaultDedup, keys: hookKeys(), read: (*reader).webhook},
		{
			name: StandardWebhooks, auth: (*reader).standardAuth, dedup: defaultDedup,
			keys: hookKeys(), read: (*reader).standardWebhooks,
		},
		{name: TypeSchedule, monitor: true, dedup: 24 * time.Hour, keys: scheduleKeys(), read: (*reader).schedule},
		{name: TypeSNMPTrap, monitor: true, dedup: 24 * time.Hour, keys: snmpTrapKeys(), read: (*reader).snmpTrap},
		{name: TypeSyslog, monitor: true, dedup: syslogDedup, keys: syslogKeys(), read: (*reader).syslog},
		{name: TypeProbe, monitor: true, dedup: 24 * time.Hour, keys: probeKeys(), read: (*reader).probe},
		{name: TypeNetlink, monitor: true, dedup: 24 * time.Hour, keys: netlinkKeys(), read: (*reader).netlink},
		{name: TypeFile, monitor: true, dedup: 24 * time.Hour, keys: fileKeys(), read: (*reader).file},
	}
	for _, name := range Adapters() {
		types = append(types, sourceType{name: name, adapter: true})
	}
	return types
}

// defaultDedup is how long sources remember ids unless their type says more.
const defaultDedup = 24 * time.Hour

func (r *reader) sources(n *strictyaml.Node) []Source {
	items, _ := n.List()
	types := sourceTypes()
	var out []Source
	names := map[string]int{"events": 0}
	for _, item := range items {
		known := slices.IndexFunc(types, func(t sourceType) bool {
			kind := field(item, "type")
			if !kind.IsText() {
				return false
			}
			text, _ := kind.Text()
			return text == t.name
		})
		if known < 0 {
			unknownSource(item, types)
			continue
		}
		t := types[known]
		if t.adapter {
			var err error
			if t, err = adapterType(t.name); err != nil {
				item.Errorf("%v", err)
			}
		}
		keys := []string{"name", "type"}
		if !t.monitor {
			keys = append(keys, "auth", "dedup")
		}
		keys = append(keys, t.keys...)
		m := item.Map(keys...)
		s := Source{Type: t.name, Dedup: t.dedup, Pos: pos(item)}
		switch {
		case t.monitor:
		case t.auth != nil:
			s.Auth = t.auth(r, m)
		default:
			s.Auth = r.auth(m.Key("auth"), t.vendor)
		}
		r.unique(m, names, "source", &s.Name)
		if !t.monitor {
			r.duration(m.Key("dedup"), &s.Dedup, s.Auth.leastDedup(), year)
		}
		if t.read != nil {
			t.read(r, m, &s)
		}
		out = append(out, s)
	}
	return out
}

// unknownSource reports an entry whose other keys nobody can judge.
func unknownSource(item *strictyaml.Node, types []sourceType) {
	entries, ok := item.Entries()
	if !ok {
		return
	}
	for _, e := range entries {
		if e.Name != "name" && e.Name != "type" {
			e.Value.Secret()
		}
	}
	kind := field(item, "type")
	if kind == nil {
		item.Errorf("\"type\" is missing")
		return
	}
	text, ok := kind.Text()
	if !ok {
		return
	}
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.name
	}
	if len(names) == 0 {
		kind.Errorf("unknown source type %q", text)
		return
	}
	kind.Errorf("unknown source type %q (%s)", text, strictyaml.Suggest(text, names))
}

// unique reads the name of an entry and refuses one that is taken.
func (r *reader) unique(m *strictyaml.Map, names map[string]int, what string, to *string) {
	n := m.Required("name")
	r.name(n, to)
	if *to == "" {
		return
	}
	line, taken := names[*to]
	switch {
	case taken && line == 0:
		n.Errorf("the name %q is reserved", *to)
	case taken:
		n.Errorf("%s %q is defined in line %d already", what, *to, line)
	default:
		names[*to], _ = n.Pos()
	}
}

// name reads a name that is safe in keys, paths, logs and metrics.
func (r *reader) name(n *strictyaml.Node, to *string) {
	text, ok := r.maybe(n)
	if !ok {
		return
	}
	if !nameForm.MatchString(text) {
		written, _ := n.Text()
		n.Errorf("%q is not a name (1 to 63 letters, digits, \".\", \"_\" and \"-\", a letter or digit first)", written)
		return
	}
	*to = text
}

// quantity reads a duration or a size. When a reference stands for it, its
// value is in no message.
func quantity[T any](r *reader, n *strictyaml.Node, what string,
	read func(*strictyaml.Node) (T, bool), parse func(string) (T, error),
) (T, bool) {
	if !n.IsText() {
		return read(n)
	}
	text, literal, ok := r.expand(n)
	switch {
	case !ok:
		var zero T
		return zero, false
	case literal:
		return read(n)
	}
	v, err := parse(text)
	if err != nil {
		n.Errorf("what the reference stands for is not %s", what)
	}
	return v, err == nil
}

func (r *reader) duration(n *strictyaml.Node, to *time.Duration, low, high time.Duration) {
	d, ok := quantity(r, n, "a duration", (*strictyaml.Node).Duration, strictyaml.ParseDuration)
	if !ok {
		return
	}
	if d < low || d > high {
		n.Errorf("%s is out of range (%s to %s)", strictyaml.FormatDuration(d),
			strictyaml.FormatDuration(low), strictyaml.FormatDuration(high))
		return
	}
	*to = d
}

// rate reads such as 100/s, 600/m or 1000/h as events per second.
func (r *reader) rate(n *strictyaml.Node, to *float64) {
	text, ok := r.maybe(n)
	if !ok {
		return
	}
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600}
	count, unit, _ := strings.Cut(text, "/")
	v, err := strconv.ParseUint(strings.TrimSpace(count), 10, 32)
	per := seconds[strings.TrimSpace(unit)]
	if err != nil || v == 0 || per == 0 {
		n.Errorf("want a number of events and a unit, such as 100/s, 600/m or 1000/h (leave it out for no limit)")
		return
	}
	*to = float64(v) / per
}

func (r *reader) size(n *strictyaml.Node, to *int64, low, high int64) {
	v, ok := quantity(r, n, "a size", (*strictyaml.Node).Size, strictyaml.ParseSize)
	if !ok {
		return
	}
	if v < low || v > high {
		n.Errorf("%s is out of range (%s to %s)", strictyaml.FormatSize(v), strictyaml.FormatSize(low), strictyaml.FormatSize(high))
		return
	}
	*to = v
}

func integer(n *strictyaml.Node, to *int, low, high int64) {
	if v, ok := n.Int(low, high); ok {
		*to = int(v)
	}
}

func pos(n *strictyaml.Node) Pos {
	line, col := n.Pos()
	return Pos{Line: line, Col: col}
}
