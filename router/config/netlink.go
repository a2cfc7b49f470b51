package config

import (
	"path"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// TypeNetlink is the type of source that hears of the network of this host.
const TypeNetlink = "netlink"

// Netlink is what a source of type TypeNetlink is made of.
type Netlink struct {
	// Watch has at least one of link, address, route and neighbour.
	Watch []string
	// Interfaces are patterns of names; none: all. Except are those left out.
	Interfaces, Except []string
	// Limit is the most things of each kind; default 10000.
	Limit int
	// Buffer for messages of the kernel, in bytes; default 4 MiB.
	Buffer int64
}

func netlinkKeys() []string { return []string{"watch", "interfaces", "except", "limit", "buffer"} }

// netlink reads the keys of a source of type TypeNetlink.
func (r *reader) netlink(m *strictyaml.Map, s *Source) {
	n := &Netlink{Limit: 10_000, Buffer: 4 << 20}
	s.Netlink = n
	kinds := []string{"link", "address", "route", "neighbour"}
	watch := m.Required("watch")
	items, ok := watch.List()
	if ok && len(items) == 0 {
		watch.Errorf("want at least one of %s", strings.Join(kinds, ", "))
	}
	for _, item := range items {
		var kind string
		r.oneOf(item, &kind, kinds...)
		switch {
		case kind == "":
		case slices.Contains(n.Watch, kind):
			item.Errorf("%s is there twice", kind)
		default:
			n.Watch = append(n.Watch, kind)
		}
	}
	n.Interfaces = r.patterns(m.Key("interfaces"))
	n.Except = r.patterns(m.Key("except"))
	integer(m.Key("limit"), &n.Limit, 1, 100_000)
	r.size(m.Key("buffer"), &n.Buffer, 64<<10, 1<<30)
}

// patterns reads a list of patterns as of path.Match.
func (r *reader) patterns(n *strictyaml.Node) []string {
	items, _ := n.List()
	var out []string
	for _, item := range items {
		text, ok := r.maybe(item)
		if !ok {
			continue
		}
		if _, err := path.Match(text, ""); err != nil || text == "" {
			item.Errorf("%q is not a pattern (write it like eth* or *.conf)", text)
			continue
		}
		out = append(out, text)
	}
	return out
}
