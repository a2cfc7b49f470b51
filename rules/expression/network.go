package expression

import (
	"net/netip"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// networkFunction finds the tests of IP addresses. What is no address is in no
// network: it makes the test false, as nil does.
func networkFunction(name string) (function, bool) {
	switch name {
	case "isIP":
		return function{min: 1, max: 1, run: func(_ *State, a []any) (any, error) {
			_, ok := address(a[0])
			return ok, nil
		}}, true
	case "isPrivate":
		return function{min: 1, max: 1, run: func(_ *State, a []any) (any, error) {
			ip, ok := address(a[0])
			return ok && ip.IsPrivate(), nil
		}}, true
	case "inCIDR":
		return function{min: 2, max: manyArguments, bind: bindCIDR}, true
	}
	return function{}, false
}

// longAddress is more than the text of any address has bytes.
const longAddress = 128

// address reads an IP address: IPv4 or IPv6, with or without a zone (%eth0) and
// a prefix length (/24), which are not looked at. An IPv4 address written as
// IPv6 (::ffff:192.0.2.1) is that IPv4 address.
func address(v any) (netip.Addr, bool) {
	text, ok := v.(string)
	if !ok || len(text) > longAddress {
		return netip.Addr{}, false
	}
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		return p.Addr().Unmap(), err == nil
	}
	ip, err := netip.ParseAddr(text)
	return ip.WithZone("").Unmap(), err == nil
}

// bindCIDR reads the networks, which must be written out.
func bindCIDR(u *unit, n *ast.BuiltinNode) (builtin, error) {
	var networks []netip.Prefix
	var add func(n ast.Node) error
	add = func(n ast.Node) error {
		switch n := n.(type) {
		case *ast.StringNode:
			p, err := u.network(n)
			networks = append(networks, p)
			return err
		case *ast.ArrayNode:
			for _, e := range n.Nodes {
				if err := add(e); err != nil {
					return err
				}
			}
			return nil
		}
		return u.fail(n, `the networks of inCIDR must be written out, such as "10.0.0.0/8" or ["10.0.0.0/8", "2001:db8::/32"]`)
	}
	for _, arg := range n.Arguments[1:] {
		if err := add(arg); err != nil {
			return nil, err
		}
	}
	if len(networks) == 0 {
		return nil, u.fail(n, "inCIDR takes at least one network")
	}
	return func(s *State, a []any) (any, error) {
		ip, ok := address(a[0])
		if !ok {
			return false, nil
		}
		if err := s.spend(len(networks) / 16); err != nil {
			return nil, err
		}
		for _, p := range networks {
			if p.Contains(ip) {
				return true, nil
			}
		}
		return false, nil
	}, nil
}

// network reads a network; an address alone is the network of that address.
func (u *unit) network(n *ast.StringNode) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(n.Value); err == nil && ip.Zone() == "" && !ip.Is4In6() {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(n.Value)
	switch {
	case err != nil:
		return p, u.fail(n, "%q is not a network (write it like 10.0.0.0/8 or 2001:db8::/32)", n.Value)
	case p.Addr().Is4In6():
		return p, u.fail(n, "%q is IPv4 written as IPv6 (write it as IPv4, such as 10.0.0.0/8)", n.Value)
	case p.Masked() != p:
		return p, u.fail(n, "%q has bits behind its length (the network is %s, the address %s/%d)",
			n.Value, p.Masked(), p.Addr(), p.Addr().BitLen())
	}
	return p, nil
}
