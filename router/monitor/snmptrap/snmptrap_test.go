package snmptrap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

const within = 30 * time.Second

// rig is a source that listens on loopback, and what it accepted.
type rig struct {
	t      *testing.T
	addr   string
	reg    *prometheus.Registry
	log    *bytes.Buffer
	source *Source
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	events []*rules.Event
	seen   map[string]bool
	states map[string]store.State
	// refuse, when set, is what accept answers.
	refuse error
	grew   chan struct{}
}

func start(t *testing.T, cfg config.SNMPTrap) *rig {
	t.Helper()
	r := newRig(t, cfg)
	r.run()
	return r
}

func newRig(t *testing.T, cfg config.SNMPTrap) *rig {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	r := &rig{
		t: t, reg: prometheus.NewRegistry(), log: &bytes.Buffer{}, seen: map[string]bool{}, states: map[string]store.State{},
		grew: make(chan struct{}, 1),
	}
	s, err := New("default", "traps", &cfg, NewCounts(r.reg), slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	r.source = s
	return r
}

func (r *rig) run() {
	r.t.Helper()
	listening := make(chan net.Addr, 1)
	r.source.listening = func(a net.Addr) { listening <- a }
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.ended = cancel, make(chan error, 1)
	go func() { r.ended <- r.source.Run(ctx, r.accept, r) }()
	r.t.Cleanup(func() { r.stop() })
	select {
	case a := <-listening:
		r.addr = a.String()
	case err := <-r.ended:
		r.t.Fatalf("it ended: %v", err)
	case <-time.After(within):
		r.t.Fatal("it does not listen")
	}
}

func (r *rig) stop() {
	r.cancel()
	select {
	case err := <-r.ended:
		r.ended <- nil
		if err != nil {
			r.t.Errorf("run: %v", err)
		}
	case <-time.After(within):
		r.t.Fatal("it does not end")
	}
}

func (r *rig) accept(ctx context.Context, ev *rules.Event, st *store.StateWrite) (router.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return router.Result{}, ctx.Err()
	}
	if st != nil {
		if r.states[st.Key].Version != st.Read {
			return router.Result{}, router.ErrStale
		}
		st.Version = st.Read + 1
		r.states[st.Key] = st.State
	}
	if ev == nil {
		return router.Result{}, nil
	}
	if r.refuse != nil {
		return router.Result{}, r.refuse
	}
	if r.seen[ev.ID()] {
		return router.Result{Duplicate: true}, nil
	}
	r.seen[ev.ID()] = true
	r.events = append(r.events, ev)
	select {
	case r.grew <- struct{}{}:
	default:
	}
	return router.Result{}, nil
}

func (r *rig) Load(_ context.Context, keys ...string) ([]store.State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]store.State, len(keys))
	for i, k := range keys {
		out[i] = r.states[k]
		out[i].Key = k
	}
	return out, nil
}

func (r *rig) setRefusal(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = err
}

// wait returns the events once there are n.
func (r *rig) wait(n int) []*rules.Event {
	r.t.Helper()
	deadline := time.After(within)
	for {
		r.mu.Lock()
		got := slices.Clone(r.events)
		r.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-r.grew:
		case <-deadline:
			r.t.Fatalf("%d events, want %d\n%s", len(got), n, r.log.String())
		}
	}
}

// dropped waits until n messages were dropped for a reason.
func (r *rig) dropped(reason string, n float64) {
	r.t.Helper()
	counter := r.source.counts.dropped.WithLabelValues("traps", reason)
	for deadline := time.Now().Add(within); testutil.ToFloat64(counter) < n; {
		if time.Now().After(deadline) {
			r.t.Fatalf("%v dropped as %s, want %v\n%s", testutil.ToFloat64(counter), reason, n, r.log.String())
		}
	}
}

// snmptrap runs Debian's command; args may name the address as ADDR.
func (r *rig) snmptrap(args ...string) error {
	r.t.Helper()
	path, err := exec.LookPath("snmptrap")
	if err != nil {
		r.t.Skip("snmptrap is NOT installed (make deps): nothing was tested")
	}
	args = slices.Clone(args)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "ADDR", "udp:"+r.addr)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"HOME=" + r.t.TempDir(), "MIBS=", "SNMP_PERSISTENT_DIR=" + r.t.TempDir(), "PATH=/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

const (
	community  = "net-ops-7"
	passphrase = "a pass phrase of ours"
	encryption = "another of our phrases"
	linkDown   = "1.3.6.1.6.3.1.1.5.3"
)

func byCommunity() config.SNMPTrap { return config.SNMPTrap{Community: config.NewSecret(community)} }

// down are the variables of a linkDown.
var down = []string{
	"1.3.6.1.2.1.2.2.1.1.3", "i", "3",
	"1.3.6.1.2.1.2.2.1.2.3", "s", "GigabitEthernet0/3",
	"1.3.6.1.2.1.2.2.1.8.3", "i", "2",
}

func data(t *testing.T, ev *rules.Event) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(ev.Data(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestV2c(t *testing.T) {
	t.Parallel()
	cfg := byCommunity()
	cfg.Names = map[string]string{"1.3.6.1.4.1.99999.1.7": "fanSpeed", "1.3.6.1.4.1.99999.0.1": "fanFailed"}
	r := start(t, cfg)
	if err := r.snmptrap(append([]string{"-v2c", "-c", community, "ADDR", "4242", linkDown}, down...)...); err != nil {
		t.Fatal(err)
	}
	ev := r.wait(1)[0]
	if ev.Type() != "snmp.trap" || ev.Source() != "snmp://127.0.0.1" || ev.Attributes().Subject != "127.0.0.1" {
		t.Errorf("%s", ev.JSON())
	}
	want := map[string]any{
		"agent": "127.0.0.1", "peer": "127.0.0.1", "version": "2c", "inform": false, "oid": linkDown, "name": "linkDown", "uptime": 42.42,
		"values": map[string]any{"ifIndex": 3.0, "ifDescr": "GigabitEthernet0/3", "ifOperStatus": 2.0},
		"variables": []any{
			map[string]any{"oid": "1.3.6.1.2.1.2.2.1.1.3", "name": "ifIndex", "index": "3", "type": "integer", "value": 3.0},
			map[string]any{"oid": "1.3.6.1.2.1.2.2.1.2.3", "name": "ifDescr", "index": "3", "type": "octets", "value": "GigabitEthernet0/3"},
			map[string]any{"oid": "1.3.6.1.2.1.2.2.1.8.3", "name": "ifOperStatus", "index": "3", "type": "integer", "value": 2.0},
		},
	}
	if diff := cmp.Diff(want, data(t, ev)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if strings.Contains(string(ev.JSON()), community) {
		t.Error("the community is in the event")
	}
	// Every kind of value, names of a table, an agent behind a proxy, the community in
	// a variable.
	err := r.snmptrap("-v2c", "-c", community, "ADDR", "0", "1.3.6.1.4.1.99999.0.1",
		"1.3.6.1.4.1.99999.1.7.12.1", "u", "4294967295", "1.3.6.1.4.1.99999.1.8", "x", "00112233ff", "1.3.6.1.4.1.99999.1.9", "a", "192.0.2.9",
		"1.3.6.1.4.1.99999.1.10", "o", "1.3.6.1.2.1.1", "1.3.6.1.4.1.99999.1.11", "C", "18446744073709551615",
		"1.3.6.1.4.1.99999.1.12", "t", "99", "1.3.6.1.4.1.99999.1.13", "s", "caf\u00e9", "1.3.6.1.4.1.99999.1.14", "i", "-2147483648",
		"1.3.6.1.6.3.18.1.3.0", "a", "192.0.2.77", "1.3.6.1.6.3.18.1.4.0", "s", community)
	if err != nil {
		t.Fatal(err)
	}
	ev = r.wait(2)[1]
	got := string(ev.Data())
	for _, part := range []string{
		`"name":"fanFailed"`, `"fanSpeed":4294967295`, `"index":"12.1"`, `"1.3.6.1.4.1.99999.1.8":"0x00112233ff"`, `"1.3.6.1.4.1.99999.1.9":"192.0.2.9"`,
		`"1.3.6.1.4.1.99999.1.10":"1.3.6.1.2.1.1"`, `"1.3.6.1.4.1.99999.1.12":99`, `"1.3.6.1.4.1.99999.1.13":"café"`,
		`"1.3.6.1.4.1.99999.1.14":-2147483648`, `"agent":"192.0.2.77"`, `"peer":"127.0.0.1"`,
	} {
		if !strings.Contains(got, part) {
			t.Errorf("no %s in %s", part, got)
		}
	}
	if strings.Contains(got, community) || ev.Source() != "snmp://192.0.2.77" {
		t.Errorf("%s", ev.JSON())
	}
	// Equal traps are two.
	for range 2 {
		if err := r.snmptrap("-v2c", "-c", community, "ADDR", "7", linkDown); err != nil {
			t.Fatal(err)
		}
	}
	r.wait(4)
}

func TestV1(t *testing.T) {
	t.Parallel()
	r := start(t, byCommunity())
	for _, args := range [][]string{
		{"1.3.6.1.4.1.99999", "192.0.2.5", "2", "0", "100"},
		{"1.3.6.1.4.1.99999", "192.0.2.5", "6", "17", "100"},
	} {
		if err := r.snmptrap(append(append([]string{"-v1", "-c", community, "ADDR"}, args...), down...)...); err != nil {
			t.Fatal(err)
		}
	}
	evs := r.wait(2)
	for i, want := range []string{linkDown, "1.3.6.1.4.1.99999.0.17"} {
		got := data(t, evs[i])
		if got["oid"] != want || got["agent"] != "192.0.2.5" || got["version"] != "1" || got["uptime"] != 1.0 || got["enterprise"] != "1.3.6.1.4.1.99999" {
			t.Errorf("%s", evs[i].Data())
		}
	}
}

func TestWhoMaySend(t *testing.T) {
	t.Parallel()
	cfg := byCommunity()
	cfg.Users = []config.SNMPUser{user("ops", "sha256", "aes")}
	r := start(t, cfg)
	v3 := func(args ...string) []string {
		return append(append([]string{"-v3", "-e", "0x8000270f0102030405"}, args...), "ADDR", "1", linkDown)
	}
	ok := []string{"-u", "ops", "-l", "authPriv", "-a", "SHA-256", "-A", passphrase, "-x", "AES", "-X", encryption}
	for name, args := range map[string][]string{
		"wrong community":    {"-v2c", "-c", "public", "ADDR", "1", linkDown},
		"wrong community v1": {"-v1", "-c", "public", "ADDR", "1.3.6.1.4.1.99999", "192.0.2.5", "2", "0", "1"},
		"unknown user":       v3("-u", "nobody", "-l", "authPriv", "-a", "SHA-256", "-A", passphrase, "-x", "AES", "-X", encryption),
		"wrong passphrase":   v3("-u", "ops", "-l", "authPriv", "-a", "SHA-256", "-A", passphrase+"x", "-x", "AES", "-X", encryption),
		"wrong encryption":   v3("-u", "ops", "-l", "authPriv", "-a", "SHA-256", "-A", passphrase, "-x", "AES", "-X", encryption+"x"),
		"not encrypted":      v3("-u", "ops", "-l", "authNoPriv", "-a", "SHA-256", "-A", passphrase),
		"not authenticated":  v3("-u", "ops", "-l", "noAuthNoPriv"),
		"other protocol":     v3("-u", "ops", "-l", "authPriv", "-a", "SHA", "-A", passphrase, "-x", "AES", "-X", encryption),
	} {
		if err := r.snmptrap(args...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if err := r.snmptrap(v3(ok...)...); err != nil {
		t.Fatal(err)
	}
	if n := len(r.wait(1)); n != 1 {
		t.Fatalf("%d events", n)
	}
	r.stop() // everything is decided
	if n := len(r.events); n != 1 {
		t.Errorf("%d events, want the last one alone: %s", n, r.events[0].JSON())
	}
	var refused float64
	for _, reason := range []string{unauthenticated, malformed} {
		refused += testutil.ToFloat64(r.source.counts.dropped.WithLabelValues("traps", reason))
	}
	if refused != 8 {
		t.Errorf("%v were counted, want 8\n%s", refused, r.log.String())
	}
	if strings.Contains(r.log.String(), passphrase) || strings.Contains(r.log.String(), community) {
		t.Error("a secret is logged")
	}
}

func user(name, auth, priv string) config.SNMPUser {
	u := config.SNMPUser{Name: name, Auth: auth, AuthPassphrase: config.NewSecret(passphrase)}
	if priv != "" {
		u.Priv, u.PrivPassphrase = priv, config.NewSecret(encryption)
	}
	return u
}

// TestV3 goes through the protocols, as traps and as informs.
func TestV3(t *testing.T) {
	t.Parallel()
	var cfg config.SNMPTrap
	combos := [][4]string{ // ours and the command's names
		{"md5", "", "MD5", ""},
		{"sha", "des", "SHA", "DES"},
		{"sha224", "aes", "SHA-224", "AES"},
		{"sha256", "aes", "SHA-256", "AES"},
		{"sha384", "aes", "SHA-384", "AES"},
		{"sha512", "aes192", "SHA-512", "AES-192"},
		{"sha256", "aes256", "SHA-256", "AES-256"},
		{"sha", "aes256c", "SHA", "AES-256-C"},
	}
	for i, c := range combos {
		cfg.Users = append(cfg.Users, user(fmt.Sprintf("u%d", i), c[0], c[1]))
	}
	r := start(t, cfg)
	n := 0
	for i, c := range combos {
		args := []string{"-v3", "-u", fmt.Sprintf("u%d", i), "-a", c[2], "-A", passphrase, "-l", "authNoPriv"}
		if c[3] != "" {
			args = append(args[:len(args)-1], "authPriv", "-x", c[3], "-X", encryption)
		}
		for _, inform := range []bool{false, true} {
			all := append(slices.Clone(args), "-e", "0x8000270f0102030405")
			if inform {
				all = append(slices.Clone(args), "-Ci", "-t", "5", "-r", "3")
			}
			all = append(append(all, "ADDR", "1", linkDown), down...)
			err := r.snmptrap(all...)
			if err != nil && strings.Contains(err.Error(), "Invalid privacy protocol") {
				t.Logf("NOT tested, as this snmptrap has no %s", c[3])
				continue
			}
			if err != nil {
				t.Errorf("%v, inform %v: %v\n%s", c, inform, err, r.log.String())
				continue
			}
			n++
			ev := r.wait(n)[n-1]
			got := data(t, ev)
			if got["user"] != fmt.Sprintf("u%d", i) || got["inform"] != inform || got["version"] != "3" || got["values"].(map[string]any)["ifIndex"] != 3.0 {
				t.Errorf("%v: %s", c, ev.Data())
			}
		}
	}
	if got := string(r.states["boots"].Data); got != "1" {
		t.Errorf("boots %q", got)
	}
}

// An inform is answered when its event is stored and not before, and what is sent
// again meanwhile is the same event.
func TestInformWaitsForTheStore(t *testing.T) {
	t.Parallel()
	for _, version := range [][]string{{"-v2c", "-c", community}, {"-v3", "-u", "ops", "-l", "authPriv", "-a", "SHA-256", "-A", passphrase, "-x", "AES", "-X", encryption}} {
		t.Run(version[0], func(t *testing.T) {
			t.Parallel()
			cfg := byCommunity()
			cfg.Users = []config.SNMPUser{user("ops", "sha256", "aes")}
			r := start(t, cfg)
			inform := append(append([]string{"-Ci", "-t", "1", "-r", "0"}, version...), "ADDR", "1", linkDown)
			r.setRefusal(router.ErrUnavailable)
			if err := r.snmptrap(inform...); err == nil {
				t.Fatal("acknowledged while the store is away")
			}
			r.setRefusal(nil)
			r.wait(1) // it was kept and not lost
			if err := r.snmptrap(append(append([]string{"-Ci", "-t", "5", "-r", "3"}, version...), "ADDR", "1", linkDown)...); err != nil {
				t.Fatal(err)
			}
			r.wait(2)
		})
	}
}

// TestReplay sends captured messages again.
func TestReplay(t *testing.T) {
	t.Parallel()
	cfg := config.SNMPTrap{Users: []config.SNMPUser{user("ops", "sha256", "aes")}}
	r := newRig(t, cfg)
	r.states["boots"] = store.State{Key: "boots", Version: 3, Data: []byte("41")}
	r.run()
	// Between sender and router: what comes is kept and passed on.
	tap, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	direct := r.addr
	r.addr = tap.LocalAddr().String()
	err = r.snmptrap("-v3", "-e", "0x8000270f0102030405", "-u", "ops", "-l", "authPriv", "-a", "SHA-256", "-A", passphrase,
		"-x", "AES", "-X", encryption, "ADDR", "1", linkDown)
	if err != nil {
		t.Fatal(err)
	}
	captured := make([]byte, 65535)
	if err := tap.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	n, _, err := tap.ReadFrom(captured)
	if err != nil {
		t.Fatal(err)
	}
	out, err := net.Dial("udp", direct)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for range 3 {
		if _, err := out.Write(captured[:n]); err != nil {
			t.Fatal(err)
		}
	}
	r.wait(1)
	// Much later the engine has moved on.
	d := message{data: captured[:n], from: netip.MustParseAddrPort("127.0.0.1:1"), at: time.Now().Add(time.Hour)}
	if _, _, err := r.source.usm.open(d); !isRefused(err, replayed) {
		t.Errorf("an hour later: %v", err)
	}
	r.stop()
	if len(r.events) != 1 {
		t.Errorf("%d events of one message", len(r.events))
	}
	if got := string(r.states["boots"].Data); got != "42" {
		t.Errorf("boots %s", got)
	}
}

func isRefused(err error, reason string) bool {
	var r *refusal
	return errors.As(err, &r) && r.reason == reason
}

func TestAllow(t *testing.T) {
	t.Parallel()
	cfg := byCommunity()
	cfg.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	r := start(t, cfg)
	if err := r.snmptrap("-v2c", "-c", community, "ADDR", "1", linkDown); err != nil {
		t.Fatal(err)
	}
	r.dropped(denied, 1)
}

func TestJunk(t *testing.T) {
	t.Parallel()
	cfg := byCommunity()
	cfg.Users = []config.SNMPUser{user("ops", "sha256", "aes")}
	r := start(t, cfg)
	out, err := net.Dial("udp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	junk := []string{
		"", "x", "0", "\x30", "\x30\x84", "\x30\x84\xff\xff\xff\xff", "\x30\x03\x02\x01\x01", "\x30\x03\x02\x01\x03", "\x30\x03\x02\x01\x09",
		strings.Repeat("\x30\x82\xff\xff", 1000), strings.Repeat("\x00", 60000),
		"\x30\x0e\x02\x01\x01\x04\x06public\xa7\x01", "\x30\x16\x02\x01\x01\x04\x09" + community + "\xa7\x06\x02\x01\x01\x02\x01\x00",
	}
	for _, j := range junk {
		if _, err := out.Write([]byte(j)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.snmptrap("-v2c", "-c", community, "ADDR", "1", linkDown); err != nil {
		t.Fatal(err)
	}
	r.wait(1)
}

func TestLossIsAnEvent(t *testing.T) {
	t.Parallel()
	ev, err := lossEvent("traps", 12, time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if ev.Type() != "pointsman.source.loss" || !strings.Contains(string(ev.Data()), `"lost":12`) {
		t.Errorf("%s", ev.JSON())
	}
}

func FuzzOpen(f *testing.F) {
	cfg := byCommunity()
	cfg.Users = []config.SNMPUser{user("ops", "md5", "des"), {Name: "open"}}
	s, err := New("default", "traps", &cfg, NewCounts(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("\x30\x16\x02\x01\x01\x04\x09" + community + "\xa7\x06\x02\x01\x01\x02\x01\x00"))
	f.Add([]byte("0>\x02\x01\x030\x11\x02\x04\x00\x00\x00\x01\x02\x03\x00\xff\xe3\x04\x01\x04\x02\x01\x03\x04\x100\x0e\x04\x00\x02\x01\x00\x02\x01\x00\x04\x00\x04\x00\x04\x000\x14\x04\x00\x04\x00\xa0\x0e\x02\x04\x00\x00\x00\x01\x02\x01\x00\x02\x01\x000\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		d := message{data: in, from: netip.MustParseAddrPort("192.0.2.1:9"), at: time.Now()}
		p, _, err := s.usm.open(d)
		if (p == nil) == (err == nil) && err == nil {
			return // a discovery
		}
		if p == nil {
			return
		}
		if ev, err := s.event(p, d); err == nil {
			if _, err := rules.ParseEvent(ev.JSON(), rules.Limits{}); err != nil {
				t.Errorf("%s: %v", ev.JSON(), err)
			}
		}
	})
}
