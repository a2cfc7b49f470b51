// Package config reads pointsman.yaml: what the router listens on, where it
// keeps its state, which sources feed it and which actions it runs.
//
// It hides the file format, the defaults, the references to secrets and the
// resolving of paths. Every problem of the file is found at once, each with
// its place. Rule files are the business of package rules.
package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// Config is a valid configuration. It is immutable after Load and safe for
// concurrent use. Paths are absolute.
type Config struct {
	// File is the path as given to Load, Dir the absolute folder it is in.
	File, Dir string
	// Name tells routers on one Redis apart; default "default".
	Name string
	// Listen is host:port of the public listener; default 127.0.0.1:8080.
	Listen string
	// Insecure allows sources without auth beyond loopback.
	Insecure bool
	Admin    Admin
	// DataDir is the router's own folder; default pointsman-data.
	DataDir string
	Store   Store
	// Durability is at least process unless the file says none.
	Durability store.Durability
	// Rules are patterns of rule files below Dir, with forward slashes.
	Rules     []string
	Events    Events
	Retention Retention
	Limits    Limits
	// ShutdownGrace is how long running attempts may go on after SIGTERM;
	// default 10s.
	ShutdownGrace time.Duration
	// TLS of the public listener; nil: plain HTTP.
	TLS *TLS
	// Sources and Actions are in file order; names are unique.
	Sources []Source
	Actions []Action
	// Warnings do not stop the router, such as a secret written out.
	Warnings []*strictyaml.Error

	doc *strictyaml.Document
}

// Admin is the admin listener.
type Admin struct {
	// Listen is host:port; default 127.0.0.1:8081.
	Listen string
	// Token is zero when none is configured: serve then makes one in
	// AdminTokenFile.
	Token Secret
}

// StoreKind tells the stores apart.
type StoreKind uint8

// The stores.
const (
	// SQLite is the embedded store.
	SQLite StoreKind = iota + 1
	// Redis is the store that several routers can share.
	Redis
)

// String returns the kind as the file names it.
func (k StoreKind) String() string {
	switch k {
	case SQLite:
		return "sqlite"
	case Redis:
		return "redis"
	}
	return "unknown"
}

// Store says where the router keeps its state.
type Store struct {
	Kind StoreKind
	// Path is the database file; SQLite only. Default pointsman.db in DataDir.
	Path string
	// URL may hold a password; Redis only.
	URL Secret
	// Address is the URL without user and password, for people; Redis only.
	Address string
}

// Events is POST /events.
type Events struct {
	Auth Auth
	// Dedup is how long an event's identity is remembered; default 24h, 0: not.
	Dedup time.Duration
	// Origins are the web hook origins that the handshake permits; "*" is any.
	Origins []string
	// Rate is how many events a second are taken; 0: no limit.
	Rate float64
}

// Retention says how long finished work is kept.
type Retention struct {
	// Events default 7d, Deliveries 30d.
	Events, Deliveries time.Duration
	// Size in bytes; default 8 GiB, with Redis 1 GiB.
	Size int64
}

// Limits bound what one request may be and cause.
type Limits struct {
	// Body and BatchBody in bytes, after decoding; default 1 MiB and 8 MiB.
	Body, BatchBody int64
	// InFlight is how much memory in bytes the bodies of all requests may take
	// together; 0: 64 MiB, less where there is little memory.
	InFlight int64
	// Batch is the most events of a batch; default 1000.
	Batch int
	// Depth is the nesting of JSON data; default 64.
	Depth int
	// DeliveriesPerEvent is the fan-out above which an event is held; default
	// 1000.
	DeliveriesPerEvent int
	// Hops is how often an event may have been caused by another; default 8.
	Hops int
	// Connections is the most open connections of the public listener; default
	// 4096.
	Connections int
}

// TLS names PEM files; they were readable and fitted together at Load.
type TLS struct {
	Cert, Key string
	// ClientCA, when set, demands client certificates signed by it.
	ClientCA string
}

// Pos is a place in the configuration file.
type Pos struct{ Line, Col int }

// Source is one configured source of events besides POST /events.
type Source struct {
	Name, Type string
	Auth       Auth
	// Dedup is how long an event's identity is remembered; 0: not.
	Dedup time.Duration
	// Rate is how many events a second are taken; 0: no limit. Webhooks only.
	Rate float64
	Pos  Pos
	// Body is the size limit of a request in bytes, after decoding; 0: that of
	// Limits. Webhooks only.
	Body int64
	// Text takes JSON that is sent as text/plain, too. Webhooks only.
	Text bool
	// Protocol is what a vendor asks for besides events. Webhooks only.
	Protocol Protocol
	// Translation makes events of requests; it compiles. Webhooks only.
	Translation rules.Translation
	// Schedule is set for sources of type TypeSchedule alone.
	Schedule *Schedule
	// SNMPTrap is set for sources of type TypeSNMPTrap alone.
	SNMPTrap *SNMPTrap
	// Syslog is set for sources of type TypeSyslog alone.
	Syslog *Syslog
	// Probe is set for sources of type TypeProbe alone.
	Probe *Probe
	// Netlink is set for sources of type TypeNetlink alone.
	Netlink *Netlink
	// File is set for sources of type TypeFile alone.
	File *File
}

// Monitor tells whether the source runs within the router, of whatever type it
// is.
func (s *Source) Monitor() bool { return !s.Hook() }

// Protocol is what some vendors want to be answered before they send.
type Protocol string

// The protocols.
const (
	// ProtocolSNS confirms subscriptions to topics of Amazon SNS.
	ProtocolSNS Protocol = "sns"
	// ProtocolEventGrid validates subscriptions of Azure Event Grid.
	ProtocolEventGrid Protocol = "eventgrid"
)

// Hook tells whether the source takes requests at /hooks/NAME, of whatever
// webhook type it is.
func (s *Source) Hook() bool { return s.Translation.Name != "" || s.Translation.Type != "" }

// Action is one configured action.
type Action struct {
	Name string
	// Plugin is the name of a bundled plugin, or the absolute path of an
	// executable when Bundled is false.
	Plugin  string
	Bundled bool
	// SHA256 is what the executable must hash to: 64 lower-case hex digits.
	// Empty for a bundled plugin.
	SHA256 string
	// MTLS secures the connection to the plugin; default true.
	MTLS bool
	// Settings is a JSON object for the plugin. It may hold secrets.
	Settings Secret
	// Concurrency is the most attempts at once; default 4.
	Concurrency int
	// Timeout of one attempt; default 30s.
	Timeout time.Duration
	Retry   Retry
	// HoldUncertain holds an attempt whose outcome a crash swallowed for a
	// person instead of running it again (on_uncertain: hold).
	HoldUncertain bool
	// DryRun asks the plugin to change nothing.
	DryRun bool
	// Overlap is that of steps which say none themselves: allow, queue or skip.
	Overlap string
	// Limits of the plugin's process and what it starts.
	Limits PluginLimits
	// User is the name of the user it runs as; empty: the router's own.
	User string
	// Pos is where the action begins, PluginPos and SettingsPos where these
	// values are (Pos when left out); see Config.Problem.
	Pos, PluginPos, SettingsPos Pos
}

// PluginLimits bound what a plugin may use, with all it starts; zero is no limit.
type PluginLimits struct {
	// Memory in bytes.
	Memory int64
	// Files that each process may have open.
	Files int
	// Processes and threads.
	Processes int
	// CPU is a share in percent of one processor.
	CPU int
	// CPUTime that each process may use before it is killed.
	CPUTime time.Duration
}

// Retry is how often and how long a delivery is tried.
type Retry struct {
	// Attempts counts the first; default 200.
	Attempts int
	// MaxAge of the delivery; default 24h.
	MaxAge time.Duration
	// Min and Max delay; default 1s and 15m.
	Min, Max time.Duration
}

// AdminTokenFile is where serve keeps the admin token that it made itself.
func (c *Config) AdminTokenFile() string { return filepath.Join(c.DataDir, "admin-token") }

// RulesFS returns what rules.Load needs: the folder of the configuration file
// and the patterns of rule files in it.
func (c *Config) RulesFS() (fsys fs.FS, patterns []string) { return os.DirFS(c.Dir), c.Rules }

// Problem returns an error at a place of the file, for what is found only
// after Load, such as settings that the plugin's schema refuses.
func (c *Config) Problem(at Pos, format string, args ...any) *strictyaml.Error {
	return c.doc.Problem(at.Line, at.Col, format, args...)
}

// Action returns the action of a name.
func (c *Config) Action(name string) (Action, bool) {
	for _, a := range c.Actions {
		if a.Name == name {
			return a, true
		}
	}
	return Action{}, false
}
