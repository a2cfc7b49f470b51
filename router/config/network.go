package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// listen reads host:port; such is an example.
func (r *reader) listen(n *strictyaml.Node, such string, to *string) {
	if !n.IsText() {
		n.Want("host:port, such as " + such)
		return
	}
	text, ok := r.maybe(n)
	if !ok {
		return
	}
	if !listenable(text) {
		n.Errorf("want host:port, such as %s", such)
		return
	}
	*to = text
}

// listenable tells whether a text is host:port; no host means all addresses of
// this one, port 0 any that is free.
func listenable(text string) bool {
	host, port, err := net.SplitHostPort(text)
	if err != nil || strings.ContainsAny(host, " /@") {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// taken is an address, and what listens on it.
type taken struct {
	network, host string
	port          uint64
	by            string
	node          *strictyaml.Node
}

// take refuses an address that something else listens on already. n is where
// it is written, nil when it is a default; network is tcp or udp.
func (r *reader) take(n *strictyaml.Node, network, address, by string) {
	host, text, err := net.SplitHostPort(address)
	port, bad := strconv.ParseUint(text, 10, 16)
	if err != nil || bad != nil || port == 0 { // it has its problem already, or the system chooses
		return
	}
	one := taken{network: network, host: host, port: port, by: by, node: n}
	for _, other := range r.taken {
		if !other.overlaps(one) {
			continue
		}
		at, first := n, other.by
		if at == nil { // the default of the other is not to blame
			at, first = other.node, by
		}
		at.Errorf("port %d of %s is taken by %s (choose another port)", port, network, first)
		return
	}
	r.taken = append(r.taken, one)
}

// overlaps tells whether two addresses cannot be listened on at once. All
// addresses of a host, however they are written, are those of IPv4 and IPv6.
func (t taken) overlaps(o taken) bool {
	all := func(host string) bool {
		ip, err := netip.ParseAddr(host)
		return host == "" || err == nil && ip.IsUnspecified()
	}
	return t.network == o.network && t.port == o.port && (t.host == o.host || all(t.host) || all(o.host))
}

// loopback tells whether only this host can reach an address.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func (r *reader) store(n *strictyaml.Node, dataDir string) Store {
	embedded := Store{Kind: SQLite, Path: filepath.Join(dataDir, "pointsman.db")}
	text, literal, ok := r.expand(n)
	if !ok {
		return embedded
	}
	kind, rest, hasRest := strings.Cut(text, ":")
	switch {
	case text == "sqlite":
		return embedded
	case kind == "sqlite" && rest == "":
		n.Errorf("the path is missing (write sqlite:PATH, or sqlite for a file in data_dir)")
	case kind == "sqlite":
		return Store{Kind: SQLite, Path: r.path(rest)}
	case kind == "redis" || kind == "rediss":
		return r.redis(n, text, literal)
	case hasRest && strings.HasPrefix(kind, "redis"):
		n.Errorf("Redis Sentinel and Cluster are not supported (give one server: redis://host:6379/0)")
		n.Secret()
	default:
		n.Errorf("unknown store (write sqlite, sqlite:PATH, redis://host:6379/0 or rediss://host:6379/0)")
		n.Secret()
	}
	return embedded
}

// redis checks a URL. No message holds any of it: it may have a password.
func (r *reader) redis(n *strictyaml.Node, text string, literal bool) Store {
	out := Store{Kind: Redis, URL: Secret{text}}
	if strings.Contains(text, "@") && literal {
		n.Secret()
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Opaque != "" {
		if strings.Contains(text, ",") {
			n.Errorf("Redis Sentinel and Cluster are not supported (give one server: redis://host:6379/0)")
			return out
		}
		n.Errorf("not a URL of Redis (write redis://host:6379/0 or rediss://user:password@host:6379/0)")
		return out
	}
	if strings.Contains(u.Host, ",") {
		n.Errorf("Redis Sentinel and Cluster are not supported (give one server: redis://host:6379/0)")
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if _, err := strconv.ParseUint(db, 10, 16); err != nil {
			n.Errorf("the path of a Redis URL is the number of a database (write /0)")
		}
	}
	if u.RawQuery != "" || u.Fragment != "" {
		n.Errorf("a Redis URL takes no parameters (remove what follows the database number)")
	}
	if _, has := u.User.Password(); has && literal {
		n.Warn("literal-secret", 0, "a secret is written out here (use ${env:NAME} or ${file:PATH})")
	}
	u.User = nil
	out.Address = u.String()
	return out
}

func (r *reader) tls(n *strictyaml.Node) *TLS {
	if n == nil {
		return nil
	}
	m := n.Map("cert", "key", "client_ca")
	out := &TLS{}
	cert, certOK := r.maybe(m.Required("cert"))
	key, keyOK := r.maybe(m.Required("key"))
	if certOK && keyOK {
		out.Cert, out.Key = r.path(cert), r.path(key)
		if _, err := tls.LoadX509KeyPair(out.Cert, out.Key); err != nil && !r.opt.WithoutSecrets {
			at := m.Key("cert")
			var pe *fs.PathError
			if errors.As(err, &pe) && pe.Path == out.Key {
				at = m.Key("key")
			}
			at.Errorf("certificate and key: %s", err)
		}
	}
	out.ClientCA, _ = r.authorities(m.Key("client_ca"))
	return out
}

// authorities reads the path of a file with certificates, and the file.
func (r *reader) authorities(n *strictyaml.Node) (path, pem string) {
	text, ok := r.maybe(n)
	if !ok {
		return "", ""
	}
	path = r.path(text)
	data, err := readLimited(path, maxSecretFile)
	switch {
	case err != nil && r.opt.WithoutSecrets:
	case err != nil:
		n.Errorf("file %s cannot be read: %s", path, reason(err))
	case !x509.NewCertPool().AppendCertsFromPEM(data):
		n.Errorf("file %s holds no certificate in PEM form", path)
	}
	return path, string(data)
}
