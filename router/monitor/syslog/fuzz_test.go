package syslog_test

import (
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/pointsman/pointsman/router/monitor/syslog"
	"github.com/pointsman/pointsman/rules"
)

// FuzzParse: whatever is received, the message is valid text within bounds, and
// it fits an event that can be read again.
func FuzzParse(f *testing.F) {
	for _, line := range seeds() {
		f.Add([]byte(line), int64(1773144000))
	}
	zone, err := time.LoadLocation("Europe/Amsterdam")
	if err != nil {
		f.Fatal(err)
	}
	src := syslog.New(syslog.Config{Name: "sw", Network: syslog.UDP, Zone: zone})
	from := netip.MustParseAddr("2001:db8::1")
	f.Fuzz(func(t *testing.T, text []byte, seconds int64) {
		now := time.Unix(seconds%(1<<36), 0)
		if y := now.Year(); y < 1971 || y > 3000 {
			now = time.Unix(1773144000, 0)
		}
		m := syslog.Parse(text, from, now, zone)
		for _, s := range []string{m.Host, m.App, m.ProcID, m.MsgID, m.Sequence, m.Node, m.Mnemonic, m.Text, m.Raw} {
			if !utf8.ValidString(s) || len(s) > 3*len(text)+20 {
				t.Fatalf("%q of %q", s, text)
			}
		}
		if m.Host == "" || len(m.Host) > 255 || m.Severity < 0 || m.Severity > 7 || m.Facility < 0 || m.Facility > 23 || m.Time.IsZero() {
			t.Fatalf("%+v", m)
		}
		ev, err := syslog.EventOf(src, text, from, now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rules.ParseStored(ev.JSON()); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzFrames: a stream ends, no message is longer than it may be, and of a
// stream of lines nothing is missing.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("<13>a\n<14>b\r\n\nc"))
	f.Add([]byte("5 <13>a6 <13>bb\n3 <1x"))
	f.Add([]byte("99999999 <13>a"))
	f.Add([]byte("10 <13>a"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		const most = 100
		texts, _, err := syslog.Frames(stream, most)
		if err == nil || len(texts) > len(stream)+1 {
			t.Fatal(err, len(texts))
		}
		total := 0
		for _, text := range texts {
			if len(text) > most {
				t.Fatalf("%d bytes", len(text))
			}
			total += len(text)
		}
		if total > len(stream) {
			t.Fatalf("%d bytes of %d", total, len(stream))
		}
		if errors.Is(err, io.EOF) && len(stream) > 0 && total == 0 {
			for _, c := range stream {
				if c != '\n' && c != '\r' && c != 0 && (c < '0' || c > '9') {
					t.Fatalf("nothing of %q", stream)
				}
			}
		}
	})
}

// seeds are lines of every dialect.
func seeds() []string {
	return []string{
		`<165>1 2026-03-10T11:59:58.003Z app1.example.net billing 8710 ID47 [o@32473 ip="192.0.2.1"] invoice`,
		"<34>Mar  9 22:14:15 web1 su[81]: 'su root' failed",
		"<187>4711: acc-3: *Mar  9 10:05:53.044: %LINK-3-UPDOWN: Interface GigabitEthernet0/3, changed state to down",
		"<187>94307: pe1 LC/0/2/CPU0:Mar  9 20:16:14.834 CET: ifmgr[214]: %PKT_INFRA-LINK-3-UPDOWN : Interface Te0/2",
		"<189>: 2026 Mar 10 11:00:00 UTC: %$ VDC-1 %$ %ETHPORT-5-IF_DOWN: Interface Ethernet1/3 is down",
		"<165>Mar 10 09:42:36 spine1 Ebra: 12: %LINEPROTO-5-UPDOWN: Line protocol",
		"<28>Mar 10 10:03:12  mx-1 rpd[2902]: RPD_OSPF_NBRDOWN: OSPF neighbor 192.0.2.3",
		"<188>2026-3-10 01:00:33.270.1 ce-4 %%01IFNET/4/LINK_STATE(l)[4997]:The line protocol",
		`<189>date=2026-03-10 time=09:19:21 devname=fw-b devid=FG1 logid=01 type=event subtype=system tz="+0100" msg="a \" b"`,
		"<30>con-1 port02 2026-Mar- 9 15:42:06.972 SIGNAL: CTS => 0",
		"<189>30: 1w2d: %SYS-5-RESTART: x", "<7>Mar 10 08:00:01 q fpc0 x_y: z",
	}
}
