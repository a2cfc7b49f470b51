package syslog

import (
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
)

// Dialect is the way of writing a line that Parse took it for. It is a help to
// people: what a line says is in the fields of the Message whatever the dialect.
type Dialect string

// The dialects.
const (
	// Raw is a line of no known form: all of it is in Message.Text.
	Raw     Dialect = "raw"
	RFC3164 Dialect = "rfc3164"
	RFC5424 Dialect = "rfc5424"
	// IOS is Cisco IOS and IOS-XE, and what writes like them (ASA).
	IOS   Dialect = "ios"
	IOSXR Dialect = "iosxr"
	NXOS  Dialect = "nxos"
	EOS   Dialect = "eos"
	Junos Dialect = "junos"
	// Huawei is VRP, and Comware, which writes like it.
	Huawei Dialect = "huawei"
	// Fortinet is FortiOS with its pairs of key=value.
	Fortinet Dialect = "fortinet"
	Opengear Dialect = "opengear"
)

// Clock is what a line says of the clock that its time is from.
type Clock string

// The clocks. Cisco devices put a mark before the time.
const (
	// ClockUnset: the device says that its clock is not to be trusted (*).
	ClockUnset Clock = "unset"
	// ClockUnsynchronised: set once, and now without its time server (.).
	ClockUnsynchronised Clock = "unsynchronised"
	// ClockUptime: the line tells how long the device has been up, and no time.
	ClockUptime Clock = "uptime"
	// ClockReceiver: the line has no time, or one that cannot be.
	ClockReceiver Clock = "receiver"
)

// Facility and severity of a line without them (RFC 3164 section 4.3.3).
const (
	defaultFacility = 1
	defaultSeverity = 5
)

// Message is what a line says. A text that the line does not have is empty. All
// text is valid UTF-8: bytes that are not became U+FFFD.
type Message struct {
	Dialect Dialect
	// Host is the name that the line gives its sender, or else the peer's
	// address: 1 to 255 printable ASCII characters without space.
	Host string
	// Time is the line's own, in its own zone, or else the time of receipt.
	// Clock is empty for a time that nothing is said against.
	Time  time.Time
	Clock Clock
	// Facility is 0 to 23, Severity 0 (emergency) to 7 (debug). They are those
	// of the priority in front of the line, or else the severity that the
	// mnemonic has.
	Facility, Severity int
	App, ProcID        string
	// MsgID is that of RFC 5424, and FortiOS's logid.
	MsgID string
	// Sequence is the number that Cisco and Huawei devices give a line.
	Sequence string
	// Node is the card of an IOS-XR device that speaks, such as 0/RSP0/CPU0.
	Node string
	// Mnemonic is the vendor's name for what happened: LINK-3-UPDOWN,
	// RPD_BGP_NEIGHBOR_STATE_CHANGED, IFNET/4/LINK_STATE, event/vpn.
	Mnemonic string
	// StructuredData is that of RFC 5424: the parameters of each element. A
	// parameter that is there twice has both values, with a comma between, as far
	// as they fit 1 KiB.
	StructuredData map[string]map[string]string
	// Fields are the pairs of FortiOS and the parameters of Junos's element.
	Fields map[string]string
	// Text is the message proper: what follows all of the above.
	Text string
	// Raw is the whole line without what ends it.
	Raw string
}

// Parse reads one line, without its framing. It never fails: what it does not
// understand is in Text and Raw. now is the time of receipt; it gives the year
// to a time without one, which is taken to be the nearest. zone is that of times
// that do not say theirs, nil: UTC. Nothing of line is kept. It is safe for
// concurrent use.
func Parse(line []byte, peer netip.Addr, now time.Time, zone *time.Location) Message {
	if zone == nil {
		zone = time.UTC
	}
	raw := strings.TrimRight(string(line), "\r\n\x00")
	if !utf8.ValidString(raw) {
		raw = strings.ToValidUTF8(raw, "\uFFFD")
	}
	p := parser{now: now, zone: zone, ownSeverity: -1}
	p.m.Raw = raw
	p.m.Facility, p.m.Severity = defaultFacility, -1
	p.line(strings.TrimLeft(raw, " \t\r\n\x00\uFEFF"))
	p.m.Text = strings.Trim(p.m.Text, " \t\r\n")
	if p.m.Severity < 0 {
		p.m.Severity = p.ownSeverity
	}
	if p.m.Severity < 0 {
		p.m.Severity = defaultSeverity
	}
	if p.m.Host == "" && peer.IsValid() {
		p.m.Host = peer.Unmap().WithZone("").String()
	}
	if p.m.Time.IsZero() {
		p.m.Time = now.In(zone)
		if p.m.Clock != ClockUptime {
			p.m.Clock = ClockReceiver
		}
	}
	return p.m
}

// parser is one call of Parse.
type parser struct {
	now  time.Time
	zone *time.Location
	m    Message
	// priority: the line begins with one.
	priority bool
	// ownSeverity is that of the mnemonic or the field level, -1 for none.
	ownSeverity int
}

func (p *parser) line(s string) {
	if pri, rest, ok := priority(s); ok {
		p.priority = true
		p.m.Facility, p.m.Severity = pri>>3, pri&7
		s = rest
		if p.rfc5424(s) {
			return
		}
		s = strings.TrimLeft(s, " ")
	}
	switch {
	case p.fortinet(s), p.cisco(s):
	default:
		p.bsd(s)
	}
}

// priority reads <PRI> (RFC 5424 section 6.2.1; a leading zero is let pass).
func priority(s string) (pri int, rest string, ok bool) {
	if len(s) < 3 || s[0] != '<' {
		return 0, s, false
	}
	pri, n := number(s[1:], 3)
	if n == 0 || pri > 191 || len(s) <= n+1 || s[n+1] != '>' {
		return 0, s, false
	}
	return pri, s[n+2:], true
}

// bsd reads what RFC 3164 describes: time, host, tag, text; each of them may be
// missing.
func (p *parser) bsd(s string) {
	st, timed := p.stamp(s)
	if timed {
		p.m.Dialect = RFC3164
		p.take(st)
		s = p.bsdHost(strings.TrimLeft(st.rest, " "))
	} else {
		p.m.Dialect = Raw
	}
	if p.fortinet(s) || !timed && p.opengear(s) {
		return
	}
	if timed && s != "" && strings.IndexByte("0123456789:*.", s[0]) >= 0 && p.cisco(s) {
		return // a relay put its own header before the device's
	}
	p.content(s, timed)
}

// bsdHost takes the host, which is the next word unless that is a tag.
func (p *parser) bsdHost(s string) string {
	word, rest, _ := strings.Cut(s, " ")
	rest = strings.TrimLeft(rest, " ")
	if name, ok := strings.CutSuffix(word, ":"); ok {
		if !strings.HasPrefix(rest, "%") {
			return s
		}
		word = name
	} else if strings.HasPrefix(rest, ": %") {
		rest = rest[2:] // ASA
	}
	if !hostName(word) || word[0] == '%' || strings.HasSuffix(word, "]") {
		return s
	}
	p.m.Host = word
	return rest
}

// content reads tag and text. timed: a header came before.
func (p *parser) content(s string, timed bool) {
	p.m.Text = s
	if p.huawei(s) {
		return
	}
	if rest, ok := p.mnemonic(s); ok {
		p.m.Dialect, p.m.Text = IOS, rest
		return
	}
	if !timed && !p.priority {
		p.mnemonicWithin(s)
		return
	}
	t, ok := readTag(s)
	if !ok {
		if !p.junosCard(s) {
			p.mnemonicWithin(s)
		}
		return
	}
	p.m.App, p.m.ProcID, p.m.Text = t.app, t.pid, t.rest
	if p.m.Dialect == Raw {
		p.m.Dialect = RFC3164
	}
	if rest, ok := p.mnemonic(p.sequences(t.rest)); ok {
		p.m.Dialect, p.m.Text = EOS, rest
		return
	}
	p.junosTag(t)
}

// tag is the name of a process, and its number where it says one.
type tag struct {
	app, pid string
	// slash: it was written with a slash, as the kernel of Junos writes its own.
	slash bool
	rest  string
}

// maxTag is more than any process's name, in bytes; RFC 3164 allows 32.
const maxTag = 64

// readTag reads "name: ", "name[pid]: " and "name[pid] ".
func readTag(s string) (t tag, ok bool) {
	end := 0
	for end < len(s) && end <= maxTag && tagByte(s[end]) {
		end++
	}
	if _, n := number(s, maxTag); end == 0 || end > maxTag || end == len(s) || n == end {
		return tag{}, false
	}
	t.app = s[:end]
	switch s[end] {
	case '[':
		n := strings.IndexByte(s[end:], ']')
		if n < 2 || n > maxTag {
			return tag{}, false
		}
		t.pid = s[end+1 : end+n]
		t.rest = s[end+n+1:]
		if t.rest != "" && t.rest[0] != ':' && t.rest[0] != ' ' {
			return tag{}, false
		}
		t.rest = strings.TrimPrefix(t.rest, ":")
	case ':':
		t.rest = s[end+1:]
		if t.rest != "" && t.rest[0] != ' ' {
			return tag{}, false
		}
	default:
		return tag{}, false
	}
	if name, ok := strings.CutPrefix(t.app, "/"); ok && name != "" {
		t.app, t.slash = name, true
	}
	t.rest = strings.TrimLeft(t.rest, " ")
	return t, true
}

func tagByte(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(":[]\"'=<>{},", c) < 0
}

// hostName tells whether a word can be the name of a host.
func hostName(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// number reads up to most digits; n is how many there are.
func number(s string, most int) (v, n int) {
	for n < len(s) && n < most && '0' <= s[n] && s[n] <= '9' {
		v = v*10 + int(s[n]-'0')
		n++
	}
	return v, n
}
