package config

import (
	"embed"
	"fmt"
	"io/fs"

	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// definitions are the adapters: what a source of type webhook would say to take
// the requests of one product. Beside each lie requests and what becomes of
// them, which are for the tests.
//
//go:embed adapters/*/adapter.yaml
var definitions embed.FS

// Adapters lists the types of sources that are adapters, sorted.
func Adapters() []string {
	entries, _ := fs.ReadDir(definitions, "adapters") // it is there, or nothing is
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// definition is an adapter.yaml: the keys of a source of type webhook, without
// name and type, and with auth saying what the product calls things instead of
// holding secrets.
type definition struct {
	vendor vendor
	source Source
}

// define reads the definition of an adapter. The error tells of a mistake in
// it, which the tests do not let through.
func define(name string) (*definition, error) {
	file := "adapters/" + name + "/adapter.yaml"
	text, err := definitions.ReadFile(file)
	if err != nil {
		return nil, err
	}
	doc, err := strictyaml.Parse(file, text)
	if err != nil {
		return nil, err
	}
	r := &reader{}
	m := doc.Root().Map(append(hookKeys(), "auth", "dedup", "protocol")...)
	d := &definition{source: Source{Type: name, Dedup: defaultDedup}}
	d.vendor = r.vendor(m.Key("auth"))
	r.duration(m.Key("dedup"), &d.source.Dedup, 0, year)
	protocol := ""
	r.oneOf(m.Key("protocol"), &protocol, string(ProtocolSNS), string(ProtocolEventGrid))
	d.source.Protocol = Protocol(protocol)
	r.translation(m, &d.source, rules.Translation{}, "type")
	return d, doc.Err()
}

// vendor reads how a product proves itself: hmac with header, algorithm,
// encoding, prefix and separator, or as standard-webhooks says; token with the
// name of the header; sns.
func (r *reader) vendor(n *strictyaml.Node) vendor {
	m := n.Map("hmac", "token", "sns")
	v := vendor{}
	if h := m.Key("hmac"); h.IsText() {
		v.hmac.Kind = AuthStandardWebhooks
		kind := ""
		r.oneOf(h, &kind, AuthStandardWebhooks.String())
	} else if h != nil {
		hm := h.Map("header", "algorithm", "encoding", "prefix", "separator")
		r.hmacForm(hm, &v.hmac)
		r.set(hm.Key("separator"), &v.hmac.Separator)
	}
	r.set(m.Key("token"), &v.token)
	v.sns, _ = m.Key("sns").Bool()
	return v
}

// adapterType makes a type of an adapter.
func adapterType(name string) (sourceType, error) {
	t := sourceType{name: name, keys: hookKeys()}
	d, err := define(name)
	if err != nil {
		return t, fmt.Errorf("the adapter %s is broken: %w", name, err)
	}
	t.vendor, t.dedup, t.text = d.vendor, d.source.Dedup, d.source.Text
	t.read = func(r *reader, m *strictyaml.Map, s *Source) {
		s.Text, s.Protocol = d.source.Text, d.source.Protocol
		defaults := d.source.Translation
		defaults.Name = s.Name
		r.translation(m, s, defaults)
	}
	return t, nil
}

// sns reads {topics: [ARN, ...]}.
func (r *reader) sns(n *strictyaml.Node) Auth {
	a := Auth{Kind: AuthSNS}
	items, ok := n.Map("topics").Required("topics").List()
	if ok && len(items) == 0 {
		n.Errorf("want at least one topic")
	}
	for _, item := range items {
		text, ok := r.maybe(item)
		switch {
		case !ok:
		case !topicForm.MatchString(text):
			item.Errorf("want the ARN of a topic (arn:aws:sns:REGION:ACCOUNT:NAME)")
		default:
			a.Topics = append(a.Topics, text)
		}
	}
	return a
}
