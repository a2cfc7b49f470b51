package netlink_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pointsman/pointsman/router/monitor/memory/memorytest"
	"github.com/pointsman/pointsman/router/monitor/netlink"
)

const namespaceEnv = "POINTSMAN_TEST_NAMESPACE"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inNamespace runs the calling test again, as a process in a network namespace
// of its own, and is true there. Elsewhere it reports what became of that.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaceEnv) != "" {
		return true
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("NETLINK IS NOT TESTED: ip (iproute2) is missing")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=150s")
	cmd.Env = append(os.Environ(), namespaceEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil && strings.Contains(string(out), "--- PASS: "+t.Name()):
	case err != nil && !errors.As(err, &exit):
		t.Skipf("NETLINK IS NOT TESTED: no network namespace can be made: %s", err)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skip(string(out))
	default:
		t.Fatalf("%v: %s", err, out)
	}
	return false
}

// ip runs commands of ip, one in each line.
func ip(t *testing.T, commands ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", commands[:1], err, out)
	}
}

// carried waits until interfaces have their carrier, which the kernel finds out
// in its own time.
func carried(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(30 * time.Second); ; <-tick.C {
			out, err := exec.CommandContext(t.Context(), "ip", "-br", "link", "show", "dev", name).CombinedOutput()
			if err == nil && strings.Contains(string(out), " UP ") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s has no carrier: %v %s", name, err, out)
			}
		}
	}
}

// bench is a source that runs on a store.
type bench struct {
	*memorytest.Store
	t    *testing.T
	cfg  netlink.Config
	stop func()
	seen int
}

func newBench(t *testing.T, edit func(*netlink.Config)) *bench {
	t.Helper()
	b := &bench{Store: &memorytest.Store{}, t: t, cfg: netlink.Config{
		Source: "net", Host: "gw1", Watch: []string{netlink.Link, netlink.Address, netlink.Route, netlink.Neighbour},
	}}
	if edit != nil {
		edit(&b.cfg)
	}
	return b
}

// start runs the source until stop, and waits for its baseline the first time.
func (b *bench) start() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() {
		err := netlink.New(b.cfg).Run(ctx, b.Accept, b)
		if err != nil {
			b.t.Error(err)
		}
		done <- err
	}()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Fatal(err)
		}
	}
	b.until("a baseline", func() bool { return b.Writes() >= 32*len(b.cfg.Watch) })
}

func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	if err := b.Until(ctx, ok); err != nil {
		events := b.Events()
		b.t.Fatalf("%s: not in time: %d events, the last: %+v", what, len(events), events[max(0, len(events)-5):])
	}
}

// line is an event in short.
func line(e memorytest.Event) string {
	text := e.Type + " " + e.Subject
	for _, key := range []string{"previous", "state"} {
		if v, ok := e.Data[key].(string); ok {
			text += " " + v
		}
	}
	return text
}

// want waits for further events, in any order.
func (b *bench) want(lines ...string) {
	b.t.Helper()
	slices.Sort(lines)
	var got []string
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	_ = b.Until(ctx, func() bool {
		got = nil
		events := b.Events()
		for _, e := range events[b.seen:] {
			if !strings.HasPrefix(e.Subject, "fe80:") { // come whenever IPv6 is ready
				got = append(got, line(e))
			}
		}
		if len(got) >= len(lines) {
			b.seen = len(events)
			return true
		}
		return false
	})
	slices.Sort(got)
	if diff := cmp.Diff(lines, got); diff != "" {
		b.t.Fatal(diff)
	}
}

// last is the last event of a type.
func (b *bench) last(kind string) memorytest.Event {
	b.t.Helper()
	events := b.Events()
	for _, e := range slices.Backward(events) {
		if e.Type == kind {
			return e
		}
	}
	b.t.Fatalf("no %s", kind)
	return memorytest.Event{}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	ip(t, "link add v0 type veth peer name v1", "link set v0 up", "link set v1 up")
	carried(t, "v0", "v1")
	b := newBench(t, func(c *netlink.Config) { c.Watch = []string{netlink.Link} })
	b.start()
	ip(t, "link set v1 down")
	b.want("net.link.down v0 up down", "net.link.down v1 up down")
	ip(t, "link set v1 up")
	b.want("net.link.up v0 down up", "net.link.up v1 down up")
	ip(t, "link add w0 type veth peer name w1")
	b.want("net.link.added w0 down", "net.link.added w1 down")
	ip(t, "link set w0 name x0")
	b.want("net.link.added x0 down", "net.link.removed w0 down")
	b.stop()

	// The source is away, a link goes down and others go.
	ip(t, "link set v1 down", "link del x0")
	b.start()
	b.want("net.link.down v0 up down", "net.link.down v1 up down", "net.link.removed w1 down", "net.link.removed x0 down")
	b.stop()
	e := b.Events()[0]
	if e.Source != "pointsman://gw1/netlink/net" || e.Data["host"] != "gw1" || e.Data["interface"] != e.Subject || e.Data["mac"] == nil || e.Data["mtu"] != 1500.0 {
		t.Fatalf("%+v", e)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	ip(t, "link add v0 type veth peer name v1", "address add 192.0.2.1/24 dev v0")
	b := newBench(t, func(c *netlink.Config) {
		c.Watch, c.Interfaces, c.Except = []string{netlink.Address}, []string{"v*"}, []string{"v1"}
	})
	b.start()
	ip(t, "address add 192.0.2.2/24 dev v0", "address add 2001:db8::1/64 dev v0", "address add 192.0.2.3/24 dev v1", "address add 192.0.2.4/32 dev lo")
	b.want("net.address.added 192.0.2.2/24", "net.address.added 2001:db8::1/64")
	ip(t, "address del 192.0.2.2/24 dev v0")
	b.want("net.address.removed 192.0.2.2/24")
	b.stop()
	ip(t, "address del 192.0.2.1/24 dev v0")
	b.start()
	b.want("net.address.removed 192.0.2.1/24")
	b.stop()
	// Other patterns bring others into view, which is no change.
	b.cfg.Except = nil
	before := b.Writes()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- netlink.New(b.cfg).Run(ctx, b.Accept, b) }()
	b.until("a baseline", func() bool { return b.Writes() >= before+32 })
	ip(t, "address del 192.0.2.3/24 dev v1")
	b.want("net.address.removed 192.0.2.3/24")
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	ip(t, "link add v0 type veth peer name v1", "link set v0 up", "link set v1 up", "address add 192.0.2.1/24 dev v0", "address add 2001:db8::1/64 dev v0 nodad")
	carried(t, "v0", "v1")
	b := newBench(t, func(c *netlink.Config) { c.Watch = []string{netlink.Route} })
	b.start()
	b.seen = len(b.Events()) // routes of the interfaces may still have come
	ip(t, "route add default via 192.0.2.9", "route add 198.51.100.0/24 via 192.0.2.9 metric 5", "route add blackhole 203.0.113.0/24")
	b.want("net.route.added 0.0.0.0/0", "net.route.added 198.51.100.0/24", "net.route.added 203.0.113.0/24")
	ip(t, "route replace default via 192.0.2.8")
	b.want("net.route.changed 0.0.0.0/0")
	e := b.last(netlink.TypeRouteChanged)
	want := map[string]any{
		"kind": "route", "host": "gw1", "destination": "0.0.0.0/0", "table": 254.0, "metric": 0.0, "tos": 0.0, "protocol": 3.0,
		"previous": map[string]any{"type": "unicast", "hops": []any{map[string]any{"gateway": "192.0.2.9", "interface": "v0"}}},
		"route":    map[string]any{"type": "unicast", "hops": []any{map[string]any{"gateway": "192.0.2.8", "interface": "v0"}}},
	}
	if diff := cmp.Diff(want, e.Data); diff != "" {
		t.Fatal(diff)
	}
	ip(t, "route add 2001:db8:1::/48 nexthop via 2001:db8::8 nexthop via 2001:db8::9")
	b.want("net.route.added 2001:db8:1::/48")
	if hops := b.last(netlink.TypeRouteAdded).Data["route"].(map[string]any)["hops"].([]any); len(hops) != 2 {
		// The kernel may tell the hops one by one; the comparison has them all.
		b.want("net.route.changed 2001:db8:1::/48")
	}
	ip(t, "route del 203.0.113.0/24")
	b.want("net.route.removed 203.0.113.0/24")
	// The kernel says nothing of the IPv4 routes that go with their interface.
	ip(t, "address flush dev v0 scope global")
	b.until("the routes are gone", func() bool {
		n := 0
		for _, e := range b.Events()[b.seen:] {
			if e.Type == netlink.TypeRouteRemoved && slices.Contains([]string{"0.0.0.0/0", "198.51.100.0/24", "192.0.2.0/24"}, e.Subject) {
				n++
			}
		}
		return n == 3
	})
	b.stop()
}

func TestNeighbours(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	ip(t, "link add v0 type veth peer name v1", "link set v0 up", "link set v1 up", "address add 192.0.2.1/24 dev v0",
		"neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev v0 nud reachable")
	carried(t, "v0", "v1")
	b := newBench(t, func(c *netlink.Config) { c.Watch = []string{netlink.Neighbour} })
	b.start()
	ip(t, "neigh add 192.0.2.8 lladdr 02:00:00:00:00:08 dev v0 nud reachable", // a new one is a baseline
		"neigh replace 192.0.2.9 dev v0 nud failed", // nobody has ever been there
		"neigh replace 192.0.2.7 lladdr 02:00:00:00:00:07 dev v0 nud stale",
		"neigh replace 192.0.2.7 dev v0 nud failed")
	b.want("net.neighbour.failed 192.0.2.7 reachable failed")
	ip(t, "neigh del 192.0.2.7 dev v0", "neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev v0 nud reachable")
	b.want("net.neighbour.reachable 192.0.2.7 failed reachable")
	ip(t, "neigh replace 192.0.2.8 lladdr 02:00:00:00:00:88 dev v0 nud reachable")
	b.want("net.neighbour.changed 192.0.2.8 reachable reachable")
	if e := b.last(netlink.TypeNeighbourChanged); e.Data["mac"] != "02:00:00:00:00:88" || e.Data["previous_mac"] != "02:00:00:00:00:08" || e.Data["interface"] != "v0" {
		t.Fatalf("%+v", e)
	}
	b.stop()
}

// More changes than the kernel's buffer holds: it is told that some were lost,
// and in the end every difference is.
func TestLost(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	const n = 3000
	ip(t, "link add v0 type veth peer name v1")
	b := newBench(t, func(c *netlink.Config) { c.Watch, c.Buffer = []string{netlink.Address}, 4096 })
	b.start()
	var add, del []string
	for i := range n {
		address := fmt.Sprintf("10.%d.%d.%d/32 dev v0", i>>16, i>>8&255, i&255)
		add, del = append(add, "address add "+address), append(del, "address del "+address)
	}
	ip(t, add...)
	count := func(kind string) int {
		subjects := map[string]bool{}
		for _, e := range b.Events() {
			if e.Type == kind {
				subjects[e.Subject] = true
			}
		}
		return len(subjects)
	}
	b.until("all are added", func() bool { return count(netlink.TypeAddressAdded) == n })
	ip(t, del[:n/2]...)
	b.until("half are removed", func() bool { return count(netlink.TypeAddressRemoved) == n/2 })
	b.stop()
	lost := count(netlink.TypeLost)
	if lost == 0 {
		t.Fatal("nothing was lost")
	}
	total := len(b.Events())
	b.start()
	b.stop()
	if now := len(b.Events()); now != total {
		t.Fatalf("%d events after a restart without a change", now-total)
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	ip(t, "link add v0 type veth peer name v1", "address add 192.0.2.1/32 dev v0", "address add 192.0.2.2/32 dev v0")
	b := newBench(t, func(c *netlink.Config) { c.Watch, c.Limit = []string{netlink.Address}, 1 })
	err := netlink.New(b.cfg).Run(t.Context(), b.Accept, b)
	if err == nil || !strings.Contains(err.Error(), "2 things of kind address are more than limit: 1") {
		t.Fatal(err)
	}
	b.cfg.Limit = 2
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- netlink.New(b.cfg).Run(ctx, b.Accept, b) }()
	b.until("a baseline", func() bool { return b.Writes() >= 32 })
	ip(t, "address add 192.0.2.3/32 dev v0")
	if err := <-done; err == nil || !strings.Contains(err.Error(), "more than limit: 2") {
		t.Fatal(err)
	}
}
