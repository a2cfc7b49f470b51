package syslog_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pointsman/pointsman/router/monitor/syslog"
	"github.com/pointsman/pointsman/rules"
)

func TestUDPMakesAnEvent(t *testing.T) {
	t.Parallel()
	r := start(t, syslog.Config{Network: syslog.UDP, Now: func() time.Time { return at(received) }})
	conn := r.dial(t, "udp")
	const line = "<187>4711: acc-3: Mar 10 10:05:53.044: %LINK-3-UPDOWN: Interface Gi0/3, changed state to down"
	send(t, conn, line+"\n")
	until(t, "an event", func() bool { return len(r.lines(t)) == 1 })
	ev := r.events[0]
	want := rules.Attributes{
		ID: ev.ID(), Source: "pointsman:/sources/sw", Type: "net.syslog.message", Subject: "acc-3",
		Time: "2026-03-10T10:05:53.044Z", DataContentType: "application/json",
		Extensions: map[string]any{"severitytext": "error", "severitynumber": int32(17)},
	}
	if diff := cmp.Diff(want, ev.Attributes()); diff != "" {
		t.Fatal(diff)
	}
	data := map[string]any{
		"host": "acc-3", "peer": "127.0.0.1", "facility": 23.0, "facility_name": "local7", "severity": 3.0, "severity_name": "error",
		"sequence": "4711", "mnemonic": "LINK-3-UPDOWN", "message": "Interface Gi0/3, changed state to down", "raw": line,
		"dialect": "ios", "received": received,
	}
	if diff := cmp.Diff(data, r.of(t, syslog.EventType)[0]); diff != "" {
		t.Fatal(diff)
	}
}

// TestEqualLinesAreTwoEvents: what says the same twice happened twice.
func TestEqualLinesAreTwoEvents(t *testing.T) {
	t.Parallel()
	r := start(t, syslog.Config{Network: syslog.UDP})
	conn := r.dial(t, "udp")
	send(t, conn, "<13>same")
	send(t, conn, "<13>same")
	r.wantLines(t, "<13>same", "<13>same")
}

func TestUDPJunk(t *testing.T) {
	t.Parallel()
	r := start(t, syslog.Config{Network: syslog.UDP, MaxLine: 1 << 10})
	conn := r.dial(t, "udp")
	for _, junk := range []string{"", "\n\r\n", "\x00\x00"} {
		send(t, conn, junk)
	}
	send(t, conn, "\xff\xfe\x00\x01")
	send(t, conn, "two\nlines")
	send(t, conn, strings.Repeat("x", 2<<10))
	r.wantLines(t, "\uFFFD\x00\x01", "two\nlines", strings.Repeat("x", 1<<10))
	if got := r.metric(t, "truncated_total", "sw"); got != 1 {
		t.Fatalf("truncated %v", got)
	}
	for _, data := range r.of(t, syslog.EventType) {
		if long := len(data["raw"].(string)) > 100; long != (data["truncated"] == true) {
			t.Fatal(data)
		}
	}
}

func TestTCPFramings(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("y", 3000)
	for _, tc := range []struct {
		name, stream string
		want         []string
		cut          int
	}{
		{name: "lines", stream: "<13>a\n<13>b\r\n\n<13>c\n", want: []string{"<13>a", "<13>b", "<13>c"}},
		{name: "a last line without its end", stream: "<13>a\n<13>b", want: []string{"<13>a", "<13>b"}, cut: 1},
		{name: "lines that begin with digits", stream: "2026 Mar 10 a\n12 b\n", want: []string{"2026 Mar 10 a", "12 b"}},
		{name: "a long line", stream: "<13>" + long + "\n<13>b\n", want: []string{"<13>" + long[:2044], "<13>b"}, cut: 1},
		{name: "counted", stream: "5 <13>a9 <13>b\nb\n\n5 <13>c", want: []string{"<13>a", "<13>b\nb", "<13>c"}},
		{name: "counted, with line feeds between", stream: "5 <13>a\n5 <13>b\n", want: []string{"<13>a", "<13>b"}},
		{name: "counted, and too long", stream: "3004 <13>" + long + "5 <13>b", want: []string{"<13>" + long[:2044], "<13>b"}, cut: 1},
		{name: "counted, and then cut off", stream: "5 <13>a50 <13>b", want: []string{"<13>a", "<13>b"}, cut: 1},
		{name: "counted, and then not", stream: "5 <13>a<13>b\n<13>c\n", want: []string{"<13>a", "<13>b\n<13>c"}, cut: 1},
		{name: "nothing", stream: ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, syslog.Config{Network: syslog.TCP, MaxLine: 2 << 10})
			conn := r.dial(t, "tcp")
			send(t, conn, tc.stream)
			_ = conn.Close()
			r.wantLines(t, tc.want...)
			if got := r.metric(t, "truncated_total", "sw"); got != float64(tc.cut) {
				t.Fatalf("truncated %v, want %d", got, tc.cut)
			}
		})
	}
}

// TestTCPByteByByte: it is not the packets that make lines.
func TestTCPByteByByte(t *testing.T) {
	t.Parallel()
	r := start(t, syslog.Config{Network: syslog.TCP})
	for _, stream := range []string{"<13>a\n<13>b\n", "5 <13>c5 <13>d"} {
		conn := r.dial(t, "tcp")
		for i := range len(stream) {
			send(t, conn, stream[i:i+1])
		}
	}
	r.wantLines(t, "<13>a", "<13>b", "<13>c", "<13>d")
}

// TestTCPWaitsForTheStore: a sender waits while the store is away, and nothing
// of what it sent is lost.
func TestTCPWaitsForTheStore(t *testing.T) {
	t.Parallel()
	r := start(t, syslog.Config{Network: syslog.TCP})
	r.close(true)
	conn := r.dial(t, "tcp")
	const n = 25_000 // more than the queue holds
	var want []string
	sent := make(chan error, 1)
	go func() {
		w := bufio.NewWriter(conn)
		for i := range n {
			fmt.Fprintf(w, "<13>line %06d %s\n", i, strings.Repeat("z", 500))
		}
		sent <- errors.Join(w.Flush(), conn.Close())
	}()
	for i := range n {
		want = append(want, fmt.Sprintf("<13>line %06d %s", i, strings.Repeat("z", 500)))
	}
	until(t, "a queue that is full", func() bool { return r.metric(t, "lines_total", "sw") > 10_000 && r.tried() > 100 })
	select {
	case err := <-sent:
		t.Fatalf("the sender was not made to wait: %v", err)
	default:
	}
	r.close(false)
	until(t, "all lines", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.events) >= n })
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	r.wantLines(t, want...)
	if got := r.metric(t, "dropped_total", "sw"); got != 0 {
		t.Fatalf("dropped %v", got)
	}
}

// TestUDPTellsOfLoss: a sender of datagrams cannot be made to wait, so the queue
// runs over, and that is an event.
func TestUDPTellsOfLoss(t *testing.T) {
	t.Parallel()
	r := start(t, syslog.Config{Network: syslog.UDP, ReportEvery: 200 * time.Millisecond})
	r.close(true)
	conn := r.dial(t, "udp")
	until(t, "a loss", func() bool {
		for range 1000 {
			send(t, conn, "<13>flood")
		}
		return r.metric(t, "dropped_total", "sw") > 100
	})
	r.close(false)
	settled := func() bool {
		told, queue := 0.0, 0.0
		for _, data := range r.of(t, syslog.LossType) {
			if data["lost"] != data["queue"].(float64)+data["kernel"].(float64) || data["source"] != "sw" {
				t.Fatal(data)
			}
			told += data["lost"].(float64)
			queue += data["queue"].(float64)
		}
		// Every line that was read is an event or told to be lost.
		return told > 0 && told == r.metric(t, "dropped_total", "sw") &&
			float64(len(r.lines(t)))+queue == r.metric(t, "lines_total", "sw")
	}
	until(t, "an event for all that is lost", settled)
	r.stop()
	if !settled() {
		t.Fatal("the last loss is not told")
	}
}

func TestOnlyPermittedSenders(t *testing.T) {
	t.Parallel()
	for _, network := range []string{syslog.UDP, syslog.TCP} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			r := start(t, syslog.Config{
				Network: network, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}, ReportEvery: 100 * time.Millisecond,
			})
			stranger := r.dial(t, network)
			_, _ = stranger.Write([]byte("<13>no\n"))
			until(t, "a refusal", func() bool { return r.metric(t, "refused_total", "peer") > 0 })
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
			if network == syslog.UDP {
				d.LocalAddr = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}
			}
			friend, err := d.Dial(network, r.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer friend.Close()
			send(t, friend, "<13>yes\n")
			r.wantLines(t, "<13>yes")
			until(t, "a line of the log", func() bool { return strings.Contains(r.log.String(), `"last_peer":"127.0.0.1"`) })
		})
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	r := start(t, syslog.Config{Network: syslog.TCP, Connections: 2})
	first, second := r.dial(t, "tcp"), r.dial(t, "tcp")
	send(t, first, "<13>a\n")
	send(t, second, "<13>b\n")
	r.wantLines(t, "<13>a", "<13>b")
	third := r.dial(t, "tcp")
	_ = third.SetReadDeadline(time.Now().Add(patience))
	if _, err := third.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a third connection was kept: %v", err)
	}
	until(t, "a refusal", func() bool { return r.metric(t, "refused_total", "connections") == 1 })
	_ = first.Close()
	until(t, "a free place", func() bool { return r.metric(t, "connections", "sw") == 1 })
	fourth := r.dial(t, "tcp")
	send(t, fourth, "<13>d\n")
	r.wantLines(t, "<13>a", "<13>b", "<13>d")
}

func TestThousandConnections(t *testing.T) {
	t.Parallel()
	r := start(t, syslog.Config{Network: syslog.TCP})
	var want []string
	for i := range 1000 {
		conn := r.dial(t, "tcp")
		line := fmt.Sprintf("<13>from %04d", i)
		send(t, conn, line+"\n")
		want = append(want, line)
	}
	r.wantLines(t, want...)
}

// TestSlowClient: one that never ends its line does not keep others waiting, and
// what it sent is not lost.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	r := start(t, syslog.Config{Network: syslog.TCP, Idle: time.Second})
	slow := r.dial(t, "tcp")
	send(t, slow, "<13>ha")
	quick := r.dial(t, "tcp")
	send(t, quick, "<13>quick\n")
	r.wantLines(t, "<13>quick")
	until(t, "the idle one is closed", func() bool { return r.metric(t, "connections", "sw") == 1 })
	r.stop()
	r.wantLines(t, "<13>ha", "<13>quick")
}

// TestLineThatNeverEnds: its beginning is an event, and the connection is closed.
func TestLineThatNeverEnds(t *testing.T) {
	t.Parallel()
	for name, stream := range map[string]string{"line": "<13>half", "counted": "99 <13>half"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, syslog.Config{Network: syslog.TCP, Line: 200 * time.Millisecond})
			send(t, r.dial(t, "tcp"), stream)
			r.wantLines(t, "<13>half")
			if data := r.of(t, syslog.EventType)[0]; data["truncated"] != true {
				t.Fatal(data)
			}
			until(t, "it is closed", func() bool { return r.metric(t, "connections", "sw") == 0 })
		})
	}
}

// TestBothFamilies: an IPv4 sender is one, also where IPv6 listens.
func TestBothFamilies(t *testing.T) {
	t.Parallel()
	for _, network := range []string{syslog.UDP, syslog.TCP} {
		r := start(t, syslog.Config{
			Network: network, Listen: "[::]:0", Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		})
		_, port, _ := net.SplitHostPort(r.addr)
		r.addr = net.JoinHostPort("127.0.0.1", port)
		send(t, r.dial(t, network), "<13>a\n")
		r.wantLines(t, "<13>a")
		if got := r.of(t, syslog.EventType)[0]["peer"]; got != "127.0.0.1" {
			t.Fatalf("%s: the peer is %s", network, got)
		}
	}
}

// TestStopLosesNothing: what was read, and what the kernel took before the end,
// is stored.
func TestStopLosesNothing(t *testing.T) {
	t.Parallel()
	for _, network := range []string{syslog.UDP, syslog.TCP} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			r := start(t, syslog.Config{Network: network})
			conn := r.dial(t, network)
			var want []string
			for i := range 100 {
				line := fmt.Sprintf("<13>%03d", i)
				send(t, conn, line+"\n")
				want = append(want, line)
			}
			r.close(true)
			until(t, "a try", func() bool { return r.tried() > 0 })
			ended := make(chan struct{})
			go func() { r.stop(); close(ended) }()
			r.close(false)
			<-ended
			r.wantLines(t, want...)
			if got := r.metric(t, "dropped_total", "sw"); got != 0 {
				t.Fatalf("dropped %v", got)
			}
		})
	}
}

// TestStopWithoutStore: the end does not wait for ever for a store that is
// away, and what is lost by it is counted.
func TestStopWithoutStore(t *testing.T) {
	t.Parallel()
	r := start(t, syslog.Config{Network: syslog.UDP})
	r.close(true)
	conn := r.dial(t, "udp")
	send(t, conn, "<13>a")
	until(t, "a try", func() bool { return r.tried() > 0 })
	r.stop()
	if got := r.metric(t, "dropped_total", "sw"); got != 1 {
		t.Fatalf("dropped %v", got)
	}
	if !strings.Contains(r.log.String(), `"lines are lost"`) {
		t.Fatal(r.log.String())
	}
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	for _, network := range []string{syslog.UDP, syslog.TCP} {
		r := start(t, syslog.Config{Network: network})
		again := syslog.New(syslog.Config{
			Name: "b", Network: network, Listen: r.addr, Log: slog.New(slog.DiscardHandler), Metrics: syslog.NewMetrics(prometheus.NewRegistry()),
		})
		err := again.Run(t.Context(), r.accept, nil)
		if err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Fatalf("%s: %v", network, err)
		}
	}
}

// TestLogger: the tool that everybody has.
func TestLogger(t *testing.T) {
	t.Parallel()
	logger, err := exec.LookPath("logger")
	if err != nil {
		t.Skip("SKIPPED: logger of util-linux is not installed")
	}
	for _, tc := range []struct {
		name, network, dialect string
		args                   []string
	}{
		{"udp 5424", syslog.UDP, "rfc5424", []string{"--udp", "--rfc5424"}},
		{"udp 3164", syslog.UDP, "rfc3164", []string{"--udp", "--rfc3164"}},
		{"tcp lines", syslog.TCP, "rfc5424", []string{"--tcp", "--rfc5424"}},
		{"tcp counted", syslog.TCP, "rfc5424", []string{"--tcp", "--rfc5424", "--octet-count"}},
		{"tcp counted 3164", syslog.TCP, "rfc3164", []string{"--tcp", "--rfc3164", "--octet-count"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, syslog.Config{Network: tc.network, Zone: time.Local})
			host, port, _ := net.SplitHostPort(r.addr)
			args := append([]string{"--server", host, "--port", port, "--tag", "deploy", "-p", "local3.warning"}, tc.args...)
			if out, err := exec.Command(logger, append(args, "it is done")...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			until(t, "an event", func() bool { return len(r.of(t, syslog.EventType)) == 1 })
			data := r.of(t, syslog.EventType)[0]
			got := []any{data["dialect"], data["app"], data["message"], data["facility_name"], data["severity_name"], data["truncated"], data["clock"]}
			if diff := cmp.Diff([]any{tc.dialect, "deploy", "it is done", "local3", "warning", nil, nil}, got); diff != "" {
				t.Fatal(diff)
			}
			when, err := time.Parse(time.RFC3339Nano, r.events[0].Attributes().Time)
			if err != nil || time.Since(when).Abs() > patience {
				t.Fatalf("the time is %s (%v)", when, err)
			}
		})
	}
}
