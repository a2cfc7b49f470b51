package netlink

import (
	"strconv"
	"strings"
	"time"
)

// The values of links, and how those of neighbours begin.
const (
	stateUp            = "up"
	stateDown          = "down"
	neighbourReachable = "reachable"
	neighbourFailed    = "failed"
)

// thing is one link, address, route or neighbour, as it is now.
type thing struct {
	kind string
	// key tells it from others of its kind:
	//
	//	link       NAME
	//	address    NAME/ADDRESS/BITS
	//	route      TABLE/METRIC/TOS/[NAME]/ADDRESS/BITS
	//	neighbour  NAME/ADDRESS
	key string
	// value is its state:
	//
	//	link       up or down
	//	address    its scope
	//	route      TYPE [via ADDRESS] [dev NAME]...
	//	neighbour  reachable MAC or failed
	value string
	gone  bool
	// missing: gone, and found so by a comparison.
	missing bool
	// stale: a neighbour of which only the address is sure.
	stale bool
	// more is told in the event.
	more map[string]any
}

// next is what is to be remembered when old is; "" is nothing.
func (t *thing) next(old string) string {
	if t.kind != Neighbour {
		if t.gone {
			return ""
		}
		return t.value
	}
	switch was := parseNeighbour(old); {
	case t.gone && was.state == neighbourFailed:
		// The kernel forgets those soon; that it answers again is to be told. In
		// the end it is forgotten here too.
		if t.missing && time.Since(was.since) > forget {
			return ""
		}
		return old
	case t.gone:
		return ""
	case t.value == neighbourFailed:
		// One that was never reachable has not failed: someone asked for an
		// address that nobody has.
		if was.state != neighbourReachable {
			return old
		}
		return neighbourFailed + " " + was.mac + " " + strconv.FormatInt(time.Now().Unix(), 10)
	case t.stale && was.state == neighbourFailed:
		return old
	}
	return t.value
}

// neighbour is what is remembered of one.
type neighbour struct {
	state, mac string
	since      time.Time // of those that failed
}

func parseNeighbour(value string) neighbour {
	f := append(strings.Fields(value), "", "", "")
	seconds, _ := strconv.ParseInt(f[2], 10, 64)
	return neighbour{state: f[0], mac: f[1], since: time.Unix(seconds, 0)}
}

// tell makes an event of the change from old; kind is "" when it is none.
func (t *thing) tell(old string) (kind, subject string, data map[string]any) {
	data = map[string]any{"kind": t.kind}
	for k, v := range t.more {
		data[k] = v
	}
	switch t.kind {
	case Link:
		kind, subject = t.tellLink(old, data)
	case Address:
		kind, subject = t.tellAddress(old, data)
	case Route:
		kind, subject = t.tellRoute(old, data)
	case Neighbour:
		kind, subject = t.tellNeighbour(old, data)
	}
	return kind, subject, data
}

func (t *thing) tellLink(old string, data map[string]any) (kind, subject string) {
	data["interface"] = t.key
	if old != "" {
		data["previous"] = old
	}
	if t.gone {
		return TypeLinkRemoved, t.key
	}
	data["state"] = t.value
	switch {
	case old == "":
		return TypeLinkAdded, t.key
	case t.value == stateUp:
		return TypeLinkUp, t.key
	}
	return TypeLinkDown, t.key
}

func (t *thing) tellAddress(old string, data map[string]any) (kind, subject string) {
	name, address := cutName(t.key)
	data["interface"], data["address"], data["scope"] = name, address, t.value
	switch {
	case t.gone:
		data["scope"] = old
		return TypeAddressRemoved, address
	case old == "":
		return TypeAddressAdded, address
	}
	return "", "" // another scope of the same address
}

func (t *thing) tellRoute(old string, data map[string]any) (kind, subject string) {
	part := strings.SplitN(t.key, "/", 5)
	for i, name := range []string{"table", "metric", "tos"} {
		n, _ := strconv.ParseUint(part[i], 10, 32)
		data[name] = n
	}
	destination := part[4]
	data["destination"] = destination
	if old != "" {
		data["previous"] = way(old)
	}
	if t.gone {
		return TypeRouteRemoved, destination
	}
	data["route"] = way(t.value)
	if old == "" {
		return TypeRouteAdded, destination
	}
	return TypeRouteChanged, destination
}

// way takes apart the value of a route.
func way(value string) map[string]any {
	f := strings.Fields(value)
	hops := []map[string]string{}
	hop := map[string]string{}
	for i := 1; i+1 < len(f); i += 2 {
		if f[i] == "via" && len(hop) > 0 {
			hops, hop = append(hops, hop), map[string]string{}
		}
		hop[map[string]string{"via": "gateway", "dev": "interface"}[f[i]]] = f[i+1]
		if f[i] == "dev" {
			hops, hop = append(hops, hop), map[string]string{}
		}
	}
	if len(hop) > 0 {
		hops = append(hops, hop)
	}
	return map[string]any{"type": f[0], "hops": hops}
}

func (t *thing) tellNeighbour(old string, data map[string]any) (kind, subject string) {
	name, address := cutName(t.key)
	was, now := parseNeighbour(old), parseNeighbour(t.next(old))
	data["interface"], data["address"], data["state"], data["mac"] = name, address, now.state, now.mac
	if was.state != "" {
		data["previous"] = was.state
	}
	if was.mac != now.mac {
		data["previous_mac"] = was.mac
	}
	switch {
	case was.state == "" || now.state == "":
		return "", "" // a baseline of its own, or forgotten by the kernel
	case now.state == neighbourFailed:
		return TypeNeighbourFailed, address
	case was.state == neighbourFailed:
		return TypeNeighbourReachable, address
	}
	return TypeNeighbourChanged, address
}
