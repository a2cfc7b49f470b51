package config

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// TypeSNMPTrap is the type of source that takes traps and informs.
const TypeSNMPTrap = "snmptrap"

// SNMPTrap is what a source of type TypeSNMPTrap is made of.
type SNMPTrap struct {
	// Listen is host:port, UDP.
	Listen string
	// Community is what v1 and v2c must say; zero: neither is taken.
	Community Secret
	// Users may send v3.
	Users []SNMPUser
	// EngineID is ours, by which v3 informs address us, as bytes; nil: one made of
	// the router's and the source's name.
	EngineID []byte
	// Allow are the networks that may send; empty: all.
	Allow []netip.Prefix
	// Names are what object identifiers are called, without a leading dot.
	Names map[string]string
}

// SNMPUser is a user of the User-based Security Model (RFC 3414).
type SNMPUser struct {
	Name string
	// Auth is md5, sha, sha224, sha256, sha384 or sha512; empty: messages of this
	// user prove nothing.
	Auth           string
	AuthPassphrase Secret
	// Priv is des, aes, aes192, aes256, aes192c or aes256c; empty: not encrypted.
	Priv           string
	PrivPassphrase Secret
}

// minPassphrase is the least length of a passphrase (RFC 3414, section 11.2).
const minPassphrase = 8

var (
	oidForm = regexp.MustCompile(`^\.?[012](\.(0|[1-9][0-9]{0,9}))+$`)
	// oidLine is what snmptranslate -Tz prints.
	oidLine = regexp.MustCompile(`^"([A-Za-z][A-Za-z0-9-]*)"\s+"([0-9.]+)"$`)
	oidName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)
)

func snmpTrapKeys() []string {
	return []string{"listen", "community", "users", "engine_id", "allow", "names"}
}

func (r *reader) snmpTrap(m *strictyaml.Map, s *Source) {
	c := &SNMPTrap{Names: make(map[string]string)}
	s.SNMPTrap = c
	m.Required("listen")
	r.listen(m.Key("listen"), "0.0.0.0:9162", &c.Listen)
	r.take(m.Key("listen"), "udp", c.Listen, fmt.Sprintf("source %q", s.Name))
	if n := m.Key("community"); n != nil {
		c.Community = r.secret(n, 1)
	}
	users := m.Key("users")
	items, _ := users.List()
	names := map[string]int{}
	for _, item := range items {
		c.Users = append(c.Users, r.snmpUser(item, names))
	}
	if m.Key("community") == nil && (users == nil || users.IsList() && len(items) == 0) {
		m.Node().Errorf("want community (for v1 and v2c), users (for v3), or both")
	}
	if text, ok := r.maybe(m.Key("engine_id")); ok {
		id, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
		if err != nil || len(id) < 5 || len(id) > 32 {
			m.Key("engine_id").Errorf("want 5 to 32 bytes in hexadecimal, such as 80001f8804706f696e74 (RFC 3411, SnmpEngineID)")
		}
		c.EngineID = id
	}
	c.Allow = r.networks(m.Key("allow"))
	r.oidNames(m.Key("names"), c.Names)
	if m.Key("community") != nil && !loopback(c.Listen) && len(c.Allow) == 0 {
		m.Key("community").Warn("clear-community", 0, "a community is sent in the clear, and whoever reads one can send traps (name the senders in allow, or use v3 users)")
	}
}

func (r *reader) snmpUser(n *strictyaml.Node, names map[string]int) SNMPUser {
	m := n.Map("name", "auth", "auth_passphrase", "priv", "priv_passphrase")
	u := SNMPUser{Name: r.text(m.Required("name"))}
	line, taken := names[u.Name]
	switch at := m.Key("name"); {
	case at == nil:
	case u.Name == "" || len(u.Name) > 32:
		at.Errorf("the name of a user has 1 to 32 bytes (RFC 3414)")
	case taken:
		at.Errorf("user %q is defined in line %d already", u.Name, line)
	default:
		names[u.Name], _ = at.Pos()
	}
	r.oneOf(m.Key("auth"), &u.Auth, "md5", "sha", "sha224", "sha256", "sha384", "sha512")
	r.oneOf(m.Key("priv"), &u.Priv, "des", "aes", "aes192", "aes256", "aes192c", "aes256c")
	r.passphrase(m, "auth", &u.AuthPassphrase)
	r.passphrase(m, "priv", &u.PrivPassphrase)
	if m != nil && m.Key("auth") == nil {
		n.Errorf("\"auth\" is missing: without it anyone can send as this user (write auth: sha256 and auth_passphrase)")
	}
	if u.Auth == "md5" || u.Auth == "sha" {
		m.Key("auth").Warn("weak-algorithm", 0, "%s is broken or weak (use sha256 where the device can)", u.Auth)
	}
	if u.Priv == "des" {
		m.Key("priv").Warn("weak-algorithm", 0, "des is broken (use aes where the device can)")
	}
	return u
}

// passphrase reads the passphrase that belongs to a protocol.
func (r *reader) passphrase(m *strictyaml.Map, protocol string, to *Secret) {
	key := protocol + "_passphrase"
	switch {
	case m.Key(protocol) == nil && m.Key(key) == nil:
	case m.Key(key) == nil:
		m.Key(protocol).Errorf("%q is missing", key)
	case m.Key(protocol) == nil:
		m.Key(key).Errorf("%q is missing", protocol)
		m.Key(key).Secret()
	default:
		*to = r.secret(m.Key(key), minPassphrase)
	}
}

// oidNames reads a mapping of object identifiers, or a list of files as
// snmptranslate -Tz prints them.
func (r *reader) oidNames(n *strictyaml.Node, to map[string]string) {
	if n == nil {
		return
	}
	if !n.IsList() && !n.IsMap() {
		n.Want("a mapping of identifiers to names, or a list of files")
		return
	}
	if n.IsList() {
		items, _ := n.List()
		for _, item := range items {
			if path, ok := r.maybe(item); ok {
				r.oidFile(item, r.path(path), to)
			}
		}
		return
	}
	entries, _ := n.Entries()
	for _, e := range entries {
		name, ok := e.Value.Text()
		switch {
		case !ok:
		case !oidForm.MatchString(e.Name):
			e.Key.Errorf("%q is not an object identifier (write it in numbers, such as \"1.3.6.1.6.3.1.1.5.3\")", e.Name)
		case !oidName.MatchString(name):
			e.Value.Errorf("%q is not a name (a letter, then letters, digits and -, at most 64)", name)
		default:
			to[strings.TrimPrefix(e.Name, ".")] = name
		}
	}
}

// maxNames bounds the table of names.
const maxNames = 1_000_000

func (r *reader) oidFile(n *strictyaml.Node, path string, to map[string]string) {
	data, err := readLimited(path, strictyaml.MaxSize)
	if err != nil {
		n.Errorf("file %s cannot be read: %s", path, reason(err))
		return
	}
	line := 0
	for text := range strings.Lines(string(data)) {
		line++
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		found := oidLine.FindStringSubmatch(text)
		if found == nil || !oidForm.MatchString(found[2]) {
			n.Errorf("%s:%d: want \"name\" \"1.3.6...\", as snmptranslate -m ALL -Tz prints it", path, line)
			return
		}
		to[strings.TrimPrefix(found[2], ".")] = found[1]
	}
	if len(to) > maxNames {
		n.Errorf("the table has %d names (at most %d)", len(to), maxNames)
	}
}
