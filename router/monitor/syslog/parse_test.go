package syslog_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/monitor/syslog"
)

// at is a time in UTC, now the time of receipt in the tests.
func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

const received = "2026-03-10T12:00:00Z"

func peer() netip.Addr { return netip.MustParseAddr("192.0.2.99") }

type parseCase struct {
	name, line string
	want       syslog.Message
}

// checkLines compares all of each message; Raw is the line.
func checkLines(t *testing.T, cases []parseCase) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := syslog.Parse([]byte(tc.line), peer(), at(received), time.UTC)
			tc.want.Raw = tc.line
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestParseRFC5424(t *testing.T) {
	t.Parallel()
	checkLines(t, []parseCase{
		{
			"all parts", `<165>1 2026-03-10T11:59:58.003Z app1.example.net billing 8710 ID47 [origin@32473 ip="192.0.2.1" ip="192.0.2.2"][x@32473 a="b"] ` + "\uFEFF" + `invoice späť`,
			syslog.Message{
				Dialect: syslog.RFC5424, Host: "app1.example.net", Time: at("2026-03-10T11:59:58.003Z"), Facility: 20, Severity: 5,
				App: "billing", ProcID: "8710", MsgID: "ID47", Text: "invoice späť",
				StructuredData: map[string]map[string]string{"origin@32473": {"ip": "192.0.2.1,192.0.2.2"}, "x@32473": {"a": "b"}},
			},
		},
		{
			"nil values", "<0>1 - - - - - -",
			syslog.Message{Dialect: syslog.RFC5424, Host: "192.0.2.99", Time: at(received), Clock: syslog.ClockReceiver},
		},
		{
			"escapes", `<14>1 2026-03-10T13:00:00+01:00 h a - - [q@32473 v="\"x\" \] \\ \n"] t`,
			syslog.Message{
				Dialect: syslog.RFC5424, Host: "h", Time: at("2026-03-10T12:00:00Z"), Facility: 1, Severity: 6, App: "a", Text: "t",
				StructuredData: map[string]map[string]string{"q@32473": {"v": `"x" ] \ \n`}},
			},
		},
		{
			"structured data left out", "<14>1 2026-03-10T11:00:00Z h a 1 - [not data] text",
			syslog.Message{
				Dialect: syslog.RFC5424, Host: "h", Time: at("2026-03-10T11:00:00Z"), Facility: 1, Severity: 6,
				App: "a", ProcID: "1", Text: "[not data] text",
			},
		},
		{
			"a time that cannot be", "<14>1 2026-02-30T11:00:00Z h a 1 - - text",
			syslog.Message{
				Dialect: syslog.RFC5424, Host: "h", Time: at(received), Clock: syslog.ClockReceiver, Facility: 1, Severity: 6,
				App: "a", ProcID: "1", Text: "text",
			},
		},
		{
			"a mnemonic within", "<187>1 2026-03-10T11:00:00Z sw7 Ebra - - - %LINEPROTO-5-UPDOWN: Line protocol on Interface Ethernet7, changed state to down",
			syslog.Message{
				Dialect: syslog.RFC5424, Host: "sw7", Time: at("2026-03-10T11:00:00Z"), Facility: 23, Severity: 3, App: "Ebra",
				Mnemonic: "LINEPROTO-5-UPDOWN", Text: "Line protocol on Interface Ethernet7, changed state to down",
			},
		},
	})
}

func TestParseRFC3164(t *testing.T) {
	t.Parallel()
	checkLines(t, []parseCase{
		{
			"tag and process id", "<34>Mar  9 22:14:15 web1 su[81]: 'su root' failed for op on /dev/pts/8",
			syslog.Message{
				Dialect: syslog.RFC3164, Host: "web1", Time: at("2026-03-09T22:14:15Z"), Facility: 4, Severity: 2,
				App: "su", ProcID: "81", Text: "'su root' failed for op on /dev/pts/8",
			},
		},
		{
			"no priority", "Mar 10 11:00:00 web1 CRON(pam_unix)[81]: session opened",
			syslog.Message{
				Dialect: syslog.RFC3164, Host: "web1", Time: at("2026-03-10T11:00:00Z"), Facility: 1, Severity: 5,
				App: "CRON(pam_unix)", ProcID: "81", Text: "session opened",
			},
		},
		{
			"no host", "<13>Mar 10 11:00:00 backup: done",
			syslog.Message{
				Dialect: syslog.RFC3164, Host: "192.0.2.99", Time: at("2026-03-10T11:00:00Z"), Facility: 1, Severity: 5, App: "backup", Text: "done",
			},
		},
		{
			"no tag", "<13>Mar 10 11:00:00 web1 last message repeated 3 times",
			syslog.Message{
				Dialect: syslog.RFC3164, Host: "web1", Time: at("2026-03-10T11:00:00Z"), Facility: 1, Severity: 5, Text: "last message repeated 3 times",
			},
		},
		{
			"no time", "<30>ntpd[77]: clock stepped",
			syslog.Message{
				Dialect: syslog.RFC3164, Host: "192.0.2.99", Time: at(received), Clock: syslog.ClockReceiver, Facility: 3, Severity: 6,
				App: "ntpd", ProcID: "77", Text: "clock stepped",
			},
		},
		{
			"time of RFC 3339", "<30>2026-03-10T12:30:00.25+01:00 web1 app: hello",
			syslog.Message{
				Dialect: syslog.RFC3164, Host: "web1", Time: at("2026-03-10T11:30:00.25Z"), Facility: 3, Severity: 6, App: "app", Text: "hello",
			},
		},
		{
			"year behind", "<190>Mar 10 11:00:00 2025 core2 %%10IFNET/3/LINK_UPDOWN: GigabitEthernet1/0/1 link status is down.",
			syslog.Message{
				Dialect: syslog.Huawei, Host: "core2", Time: at("2025-03-10T11:00:00Z"), Facility: 23, Severity: 6,
				App: "IFNET", Mnemonic: "IFNET/3/LINK_UPDOWN", Text: "GigabitEthernet1/0/1 link status is down.",
			},
		},
	})
}

func TestParseCisco(t *testing.T) {
	t.Parallel()
	const text = "Interface GigabitEthernet0/3, changed state to down"
	checkLines(t, []parseCase{
		{
			"ios: number, host, marked time", "<187>4711: acc-3: *Mar  9 10:05:53.044: %LINK-3-UPDOWN: " + text,
			syslog.Message{
				Dialect: syslog.IOS, Host: "acc-3", Time: at("2026-03-09T10:05:53.044Z"), Clock: syslog.ClockUnset, Facility: 23, Severity: 3,
				Sequence: "4711", Mnemonic: "LINK-3-UPDOWN", Text: text,
			},
		},
		{
			"ios: two numbers, zone, year", "<189>12: 000044: .Mar  9 2026 10:05:53 CET: %SYS-5-CONFIG_I: Configured from console by op on vty0",
			syslog.Message{
				Dialect: syslog.IOS, Host: "192.0.2.99", Time: at("2026-03-09T09:05:53Z"), Clock: syslog.ClockUnsynchronised, Facility: 23, Severity: 5,
				Sequence: "000044", Mnemonic: "SYS-5-CONFIG_I", Text: "Configured from console by op on vty0",
			},
		},
		{
			"ios: uptime", "<187>30: 1w2d: %LINK-3-UPDOWN: " + text,
			syslog.Message{
				Dialect: syslog.IOS, Host: "192.0.2.99", Time: at(received), Clock: syslog.ClockUptime, Facility: 23, Severity: 3,
				Sequence: "30", Mnemonic: "LINK-3-UPDOWN", Text: text,
			},
		},
		{
			"ios: uptime of a first day, switch number", "<189>30: 00:00:46: %SYS-SW2-5-RESTART: System restarted",
			syslog.Message{
				Dialect: syslog.IOS, Host: "192.0.2.99", Time: at(received), Clock: syslog.ClockUptime, Facility: 23, Severity: 5,
				Sequence: "30", Mnemonic: "SYS-SW2-5-RESTART", Text: "System restarted",
			},
		},
		{
			"ios: nothing but the mnemonic", "%LINK-3-UPDOWN: " + text,
			syslog.Message{
				Dialect: syslog.IOS, Host: "192.0.2.99", Time: at(received), Clock: syslog.ClockReceiver, Facility: 1, Severity: 3,
				Mnemonic: "LINK-3-UPDOWN", Text: text,
			},
		},
		{
			"ios: behind a relay", "<189>Mar 10 11:00:00 192.0.2.7 88: acc-3: Mar 10 10:59:59.500: %LINK-5-CHANGED: Interface Gi2, changed state to administratively down",
			syslog.Message{
				Dialect: syslog.IOS, Host: "acc-3", Time: at("2026-03-10T10:59:59.5Z"), Facility: 23, Severity: 5,
				Sequence: "88", Mnemonic: "LINK-5-CHANGED", Text: "Interface Gi2, changed state to administratively down",
			},
		},
		{
			"ios: a debug message", "<191>120: Mar 10 11:00:00: RT: add 198.51.100.0/24 via 192.0.2.1",
			syslog.Message{
				Dialect: syslog.IOS, Host: "192.0.2.99", Time: at("2026-03-10T11:00:00Z"), Facility: 23, Severity: 7,
				Sequence: "120", Text: "RT: add 198.51.100.0/24 via 192.0.2.1",
			},
		},
		{
			"ios: an origin of several words", "<189>9: row 4 rack 2: Mar 10 11:00:00: %SYS-5-RESTART: System restarted",
			syslog.Message{
				Dialect: syslog.IOS, Host: "192.0.2.99", Time: at(received), Clock: syslog.ClockReceiver, Facility: 23, Severity: 5,
				Mnemonic: "SYS-5-RESTART", Text: "System restarted",
			},
		},
		{
			"asa", "<166>Mar 10 2026 11:00:00 fw-a : %ASA-6-302013: Built outbound TCP connection 7",
			syslog.Message{
				Dialect: syslog.IOS, Host: "fw-a", Time: at("2026-03-10T11:00:00Z"), Facility: 20, Severity: 6,
				Mnemonic: "ASA-6-302013", Text: "Built outbound TCP connection 7",
			},
		},
		{
			"iosxr", "<187>94307: pe1.example.net LC/0/2/CPU0:Mar  9 20:16:14.834 : ifmgr[214]: %PKT_INFRA-LINK-3-UPDOWN : Interface TenGigE0/2/0/4, changed state to Down",
			syslog.Message{
				Dialect: syslog.IOSXR, Host: "pe1.example.net", Time: at("2026-03-09T20:16:14.834Z"), Facility: 23, Severity: 3, App: "ifmgr", ProcID: "214",
				Sequence: "94307", Node: "LC/0/2/CPU0", Mnemonic: "PKT_INFRA-LINK-3-UPDOWN", Text: "Interface TenGigE0/2/0/4, changed state to Down",
			},
		},
		{
			"iosxr: no host, zone", "<149>7: RP/0/RSP0/CPU0:Mar 10 11:00:00.941 UTC: bgp[1051]: %ROUTING-BGP-5-ADJCHANGE : neighbor 192.0.2.5 Down",
			syslog.Message{
				Dialect: syslog.IOSXR, Host: "192.0.2.99", Time: at("2026-03-10T11:00:00.941Z"), Facility: 18, Severity: 5, App: "bgp", ProcID: "1051",
				Sequence: "7", Node: "RP/0/RSP0/CPU0", Mnemonic: "ROUTING-BGP-5-ADJCHANGE", Text: "neighbor 192.0.2.5 Down",
			},
		},
		{
			"iosxr: year", "<190>7: pe2 RP/0/RP0/CPU0:2025 Dec 31 23:59:59.001 UTC: config[65]: %MGBL-CONFIG-6-DB_COMMIT : Configuration committed by user 'op'.",
			syslog.Message{
				Dialect: syslog.IOSXR, Host: "pe2", Time: at("2025-12-31T23:59:59.001Z"), Facility: 23, Severity: 6, App: "config", ProcID: "65",
				Sequence: "7", Node: "RP/0/RP0/CPU0", Mnemonic: "MGBL-CONFIG-6-DB_COMMIT", Text: "Configuration committed by user 'op'.",
			},
		},
		{
			"nxos", "<189>2026 Mar 10 11:00:00.125 leaf-2 %ETHPORT-5-IF_DOWN_LINK_FAILURE: Interface Ethernet1/3 is down (Link failure)",
			syslog.Message{
				Dialect: syslog.NXOS, Host: "leaf-2", Time: at("2026-03-10T11:00:00.125Z"), Facility: 23, Severity: 5,
				Mnemonic: "ETHPORT-5-IF_DOWN_LINK_FAILURE", Text: "Interface Ethernet1/3 is down (Link failure)",
			},
		},
		{
			"nxos: no host, zone", "<187>: 2026 Mar 10 13:00:00 CEST: %ETHPORT-3-IF_ERROR: Interface Ethernet1/4",
			syslog.Message{
				Dialect: syslog.NXOS, Host: "192.0.2.99", Time: at("2026-03-10T11:00:00Z"), Facility: 23, Severity: 3,
				Mnemonic: "ETHPORT-3-IF_ERROR", Text: "Interface Ethernet1/4",
			},
		},
		{
			"nxos: virtual device", "<186>2026 Mar 10 11:00:00 leaf-2 %$ VDC-1 %$ %MODULE-2-MOD_FAIL: Initialization of module 3 failed",
			syslog.Message{
				Dialect: syslog.NXOS, Host: "leaf-2", Time: at("2026-03-10T11:00:00Z"), Facility: 23, Severity: 2,
				Mnemonic: "MODULE-2-MOD_FAIL", Text: "Initialization of module 3 failed",
			},
		},
	})
}

func TestParseOtherVendors(t *testing.T) {
	t.Parallel()
	checkLines(t, []parseCase{
		{
			"eos", "<165>Mar 10 09:42:36 spine1 Ebra: %LINEPROTO-5-UPDOWN: Line protocol on Interface Ethernet28, changed state to down",
			syslog.Message{
				Dialect: syslog.EOS, Host: "spine1", Time: at("2026-03-10T09:42:36Z"), Facility: 20, Severity: 5, App: "Ebra",
				Mnemonic: "LINEPROTO-5-UPDOWN", Text: "Line protocol on Interface Ethernet28, changed state to down",
			},
		},
		{
			"eos: number", "<165>Mar 10 09:42:36 spine1 Bgp: 512: %BGP-3-NOTIFICATION: sent to neighbor 192.0.2.8",
			syslog.Message{
				Dialect: syslog.EOS, Host: "spine1", Time: at("2026-03-10T09:42:36Z"), Facility: 20, Severity: 5, App: "Bgp", Sequence: "512",
				Mnemonic: "BGP-3-NOTIFICATION", Text: "sent to neighbor 192.0.2.8",
			},
		},
		{
			"eos: time of RFC 3339", "<13>2026-03-10T08:41:59+00:00 spine2 Bgp: %BGP-5-ADJCHANGE: peer 192.0.2.2 new state Idle",
			syslog.Message{
				Dialect: syslog.EOS, Host: "spine2", Time: at("2026-03-10T08:41:59Z"), Facility: 1, Severity: 5, App: "Bgp",
				Mnemonic: "BGP-5-ADJCHANGE", Text: "peer 192.0.2.2 new state Idle",
			},
		},
		{
			"junos", "<28>Mar 10 10:03:12  mx-1 rpd[2902]: RPD_BGP_NEIGHBOR_STATE_CHANGED: BGP peer 192.0.2.3 changed state from Established to Idle",
			syslog.Message{
				Dialect: syslog.Junos, Host: "mx-1", Time: at("2026-03-10T10:03:12Z"), Facility: 3, Severity: 4, App: "rpd", ProcID: "2902",
				Mnemonic: "RPD_BGP_NEIGHBOR_STATE_CHANGED", Text: "BGP peer 192.0.2.3 changed state from Established to Idle",
			},
		},
		{
			"junos: structured", `<28>1 2026-03-10T10:03:12.719Z mx-1 mib2d 2917 SNMP_TRAP_LINK_DOWN [junos@2636.1.1.1.2.18 snmp-interface-index="531" interface-name="ge-0/0/3"] ifIndex 531`,
			syslog.Message{
				Dialect: syslog.Junos, Host: "mx-1", Time: at("2026-03-10T10:03:12.719Z"), Facility: 3, Severity: 4, App: "mib2d", ProcID: "2917",
				MsgID: "SNMP_TRAP_LINK_DOWN", Mnemonic: "SNMP_TRAP_LINK_DOWN", Text: "ifIndex 531",
				StructuredData: map[string]map[string]string{"junos@2636.1.1.1.2.18": {"snmp-interface-index": "531", "interface-name": "ge-0/0/3"}},
				Fields:         map[string]string{"snmp-interface-index": "531", "interface-name": "ge-0/0/3"},
			},
		},
		{
			"junos: a function speaks", "<172>2026-03-10T08:41:59+00:00 mx-1 rpd[4936]: bgp_pp_recv:4609: NOTIFICATION sent to 192.0.2.6+44759",
			syslog.Message{
				Dialect: syslog.Junos, Host: "mx-1", Time: at("2026-03-10T08:41:59Z"), Facility: 21, Severity: 4, App: "rpd", ProcID: "4936",
				Mnemonic: "bgp_pp_recv", Text: "4609: NOTIFICATION sent to 192.0.2.6+44759",
			},
		},
		{
			"junos: its kernel", "<4>Mar 10 08:23:00 mx-2 /kernel: tcp_auth_ok: Packet from 192.0.2.254:61664 wrong MD5 digest",
			syslog.Message{
				Dialect: syslog.Junos, Host: "mx-2", Time: at("2026-03-10T08:23:00Z"), Facility: 0, Severity: 4, App: "kernel",
				Mnemonic: "tcp_auth_ok", Text: "Packet from 192.0.2.254:61664 wrong MD5 digest",
			},
		},
		{
			"junos: a card", "<7>Mar 10 08:00:01 qfx-1 fpc0 (buf alloc) failed allocating packet buffer",
			syslog.Message{
				Dialect: syslog.Junos, Host: "qfx-1", Time: at("2026-03-10T08:00:01Z"), Facility: 0, Severity: 7, App: "fpc0",
				Text: "(buf alloc) failed allocating packet buffer",
			},
		},
		{
			"huawei", "<188>2026-3-10 01:00:33.270.1 ce-4 %%01IFNET/4/LINK_STATE(l)[4997]:The line protocol IP on the interface GE1/0/8 has entered the DOWN state.",
			syslog.Message{
				Dialect: syslog.Huawei, Host: "ce-4", Time: at("2026-03-10T01:00:33.27Z"), Facility: 23, Severity: 4, App: "IFNET", Sequence: "4997",
				Mnemonic: "IFNET/4/LINK_STATE", Text: "The line protocol IP on the interface GE1/0/8 has entered the DOWN state.",
			},
		},
		{
			"huawei: year in the middle, zone", "<188>Mar 10 2026 01:00:33+08:00 ce-4 %%01SHELL/5/LOGIN(s)[12]:VTY login from 192.0.2.4.",
			syslog.Message{
				Dialect: syslog.Huawei, Host: "ce-4", Time: at("2026-03-09T17:00:33Z"), Facility: 23, Severity: 4, App: "SHELL", Sequence: "12",
				Mnemonic: "SHELL/5/LOGIN", Text: "VTY login from 192.0.2.4.",
			},
		},
		{
			"huawei: no number", "Mar 10 2026 01:00:33 ce-4 %%01IFNET/2/linkDown_active(l):CID=0x807a0405;The interface status changes.",
			syslog.Message{
				Dialect: syslog.Huawei, Host: "ce-4", Time: at("2026-03-10T01:00:33Z"), Facility: 1, Severity: 2, App: "IFNET",
				Mnemonic: "IFNET/2/linkDown_active", Text: "CID=0x807a0405;The interface status changes.",
			},
		},
		{
			"fortinet", `<189>date=2026-03-10 time=09:19:21 devname=fw-b devid=FG1 logid=0100032003 type=event subtype=system level=notice msg="Link \"wan1\" is down"`,
			syslog.Message{
				Dialect: syslog.Fortinet, Host: "fw-b", Time: at("2026-03-10T09:19:21Z"), Facility: 23, Severity: 5, App: "event", MsgID: "0100032003",
				Mnemonic: "event/system", Text: `Link "wan1" is down`,
				Fields: map[string]string{
					"date": "2026-03-10", "time": "09:19:21", "devname": "fw-b", "devid": "FG1", "logid": "0100032003", "type": "event",
					"subtype": "system", "level": "notice", "msg": `Link "wan1" is down`,
				},
			},
		},
		{
			"fortinet: zone, no priority", `date=2026-03-10 time=09:19:21 devname="fw b" devid="FG1" eventtime=1773133161000000000 tz="+0100" logid="1" type="traffic" level="warning"`,
			syslog.Message{
				Dialect: syslog.Fortinet, Host: "192.0.2.99", Time: at("2026-03-10T08:19:21Z"), Facility: 1, Severity: 4, App: "traffic", MsgID: "1",
				Text: `date=2026-03-10 time=09:19:21 devname="fw b" devid="FG1" eventtime=1773133161000000000 tz="+0100" logid="1" type="traffic" level="warning"`,
				Fields: map[string]string{
					"date": "2026-03-10", "time": "09:19:21", "devname": "fw b", "devid": "FG1", "eventtime": "1773133161000000000",
					"tz": "+0100", "logid": "1", "type": "traffic", "level": "warning",
				},
			},
		},
		{
			"fortinet: within a header, no zone", `<188>Mar 10 10:00:00 relay date=2026-03-10 time=10:19:21 devname=fw-c devid=FG2 eventtime=1773133161 logid=2 type=utm subtype=virus`,
			syslog.Message{
				Dialect: syslog.Fortinet, Host: "fw-c", Time: at("2026-03-10T08:59:21Z"), Facility: 23, Severity: 4, App: "utm", MsgID: "2",
				Mnemonic: "utm/virus",
				Text:     `date=2026-03-10 time=10:19:21 devname=fw-c devid=FG2 eventtime=1773133161 logid=2 type=utm subtype=virus`,
				Fields: map[string]string{
					"date": "2026-03-10", "time": "10:19:21", "devname": "fw-c", "devid": "FG2", "eventtime": "1773133161", "logid": "2",
					"type": "utm", "subtype": "virus",
				},
			},
		},
		{
			"opengear", "<30>con-1 port02 2026-Mar- 9 15:42:06.972 SIGNAL: CTS => 0",
			syslog.Message{
				Dialect: syslog.Opengear, Host: "con-1", Time: at("2026-03-09T15:42:06.972Z"), Facility: 3, Severity: 6, App: "port02",
				Mnemonic: "SIGNAL", Text: "CTS => 0",
			},
		},
		{
			"frr", "<166>1 2026-03-10T11:10:35.073589+00:00 tor-1 bgpd 83 - -  %ADJCHANGE: neighbor 192.0.2.142 in vrf Default Down",
			syslog.Message{
				Dialect: syslog.RFC5424, Host: "tor-1", Time: at("2026-03-10T11:10:35.073589Z"), Facility: 20, Severity: 6, App: "bgpd", ProcID: "83",
				Mnemonic: "ADJCHANGE", Text: "neighbor 192.0.2.142 in vrf Default Down",
			},
		},
	})
}

// TestParseWhatIsNoSyslog: whatever comes is a message, with all of it in Text.
func TestParseWhatIsNoSyslog(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"", "x", "<", "<>", "<1", "<192>text", "<999>1 - - - - - -", "<13", "hello world", "%", "%%", "% text", "%%01/x", "{\"a\": 1}",
		"GET / HTTP/1.1", "2026 Octember 12 text", "99:99:99: %", ": : :", "*", "date=", "error: disk full",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			want := syslog.Message{
				Dialect: syslog.Raw, Host: "192.0.2.99", Time: at(received), Clock: syslog.ClockReceiver, Facility: 1, Severity: 5,
				Text: line, Raw: line,
			}
			if diff := cmp.Diff(want, syslog.Parse([]byte(line), peer(), at(received), nil)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	amsterdam, err := time.LoadLocation("Europe/Amsterdam")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, line, now, want string
		zone                  *time.Location
		clock                 syslog.Clock
	}{
		{name: "new year: of the year before", line: "Dec 31 23:59:59 h t", now: "2026-01-01T00:00:10Z", want: "2025-12-31T23:59:59Z"},
		{name: "new year: a clock ahead", line: "Jan  1 00:00:05 h t", now: "2025-12-31T23:59:50Z", want: "2026-01-01T00:00:05Z"},
		{name: "leap day", line: "Feb 29 10:00:00 h t", now: "2028-03-01T00:00:00Z", want: "2028-02-29T10:00:00Z"},
		{name: "leap day of the year before", line: "Feb 29 10:00:00 h t", now: "2029-01-02T00:00:00Z", want: "2028-02-29T10:00:00Z"},
		{name: "no leap day near", line: "Feb 29 10:00:00 h t", now: received, want: received, clock: syslog.ClockReceiver},
		{name: "no such day", line: "Apr 31 10:00:00 h t", now: received, want: received, clock: syslog.ClockReceiver},
		{name: "leap second", line: "2016-12-31T23:59:60Z h t", now: received, want: "2016-12-31T23:59:59Z"},
		{name: "configured zone", line: "Jul  1 12:00:00 h t", now: "2026-07-01T10:00:00Z", want: "2026-07-01T10:00:00Z", zone: amsterdam},
		{name: "the hour that is there twice, first", line: "Oct 25 02:30:00 h t", now: "2026-10-25T00:30:01Z", want: "2026-10-25T00:30:00Z", zone: amsterdam},
		{name: "the hour that is there twice, second", line: "Oct 25 02:30:00 h t", now: "2026-10-25T01:30:01Z", want: "2026-10-25T01:30:00Z", zone: amsterdam},
		{name: "named zone", line: "<189>1: Jul  1 12:00:00 EDT: %A-1-B: t", now: "2026-07-01T16:00:00Z", want: "2026-07-01T16:00:00Z", zone: amsterdam},
		{name: "unknown name: configured zone", line: "<189>1: Jul  1 12:00:00 XYZ: %A-1-B: t", now: "2026-07-01T16:00:00Z", want: "2026-07-01T10:00:00Z", zone: amsterdam},
		{name: "numeric zone", line: "2026-03-10T10:00:00-0530 h t", now: received, want: "2026-03-10T15:30:00Z"},
		{name: "unset clock", line: "<189>1: *Mar 10 10:00:00: %A-1-B: t", now: received, want: "2026-03-10T10:00:00Z", clock: syslog.ClockUnset},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := syslog.Parse([]byte(tc.line), peer(), at(tc.now), tc.zone)
			if !got.Time.Equal(at(tc.want)) || got.Clock != tc.clock {
				t.Fatalf("got %s %q, want %s %q", got.Time, got.Clock, tc.want, tc.clock)
			}
		})
	}
}

// TestParseOwnZoneFirst: IST is another time in Dublin than in India.
func TestParseOwnZoneFirst(t *testing.T) {
	t.Parallel()
	dublin, err := time.LoadLocation("Europe/Dublin")
	if err != nil {
		t.Fatal(err)
	}
	line := []byte("<189>1: Jul  1 12:00:00 IST: %A-1-B: t")
	if got := syslog.Parse(line, peer(), at("2026-07-01T11:00:00Z"), dublin).Time; !got.Equal(at("2026-07-01T11:00:00Z")) {
		t.Fatalf("in Dublin: %s", got)
	}
	if got := syslog.Parse(line, peer(), at("2026-07-01T06:30:00Z"), time.UTC).Time; !got.Equal(at("2026-07-01T06:30:00Z")) {
		t.Fatalf("elsewhere: %s", got)
	}
}

// TestParseWhatThePageShows: the lines of docs/sources/syslog.md are what it says
// they are.
func TestParseWhatThePageShows(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/sources/syslog.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for row := range strings.Lines(string(page)) {
		cells := strings.Split(row, " | ")
		if len(cells) != 3 || !strings.HasPrefix(cells[1], "`<") {
			continue
		}
		rows++
		dialect := strings.Split(cells[0], "`")[1]
		mnemonic := ""
		if quoted := strings.Split(cells[2], "`"); strings.HasPrefix(cells[2], "`") {
			mnemonic = quoted[1]
		}
		got := syslog.Parse([]byte(strings.Trim(cells[1], "`")), peer(), at(received), nil)
		if string(got.Dialect) != dialect || got.Mnemonic != mnemonic || got.Host == peer().String() {
			t.Fatalf("%q %q of %s: %s", got.Dialect, got.Mnemonic, got.Host, row)
		}
	}
	if rows < 10 {
		t.Fatalf("%d rows", rows)
	}
}

func TestParseRepairsText(t *testing.T) {
	t.Parallel()
	got := syslog.Parse([]byte("<13>Mar 10 11:00:00 web1 app: caf\xe9 \xff\xfe ok\r\n\x00"), netip.Addr{}, at(received), nil)
	if want := "caf\uFFFD \uFFFD ok"; got.Text != want {
		t.Fatalf("got %q, want %q", got.Text, want)
	}
	got = syslog.Parse([]byte("<13>Mar 10 11:00:00 "+strings.Repeat("h", 300)+" text"), peer(), at(received), nil)
	if got.Host != "192.0.2.99" {
		t.Fatalf("the host is %q", got.Host)
	}
}
