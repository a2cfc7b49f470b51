package syslog

import (
	"strconv"
	"strings"
	"time"
)

// cisco reads the header that IOS, IOS-XE, IOS-XR and NX-OS write. Every part of
// it can be switched on or off on the device:
//
//	[: ] [SEQUENCE: ] [HOST: ] [SEQUENCE: ] [[HOST ]NODE:] [TIME[ ZONE]: ] [PROCESS[PID]: ] %MNEMONIC: text
//
// It takes nothing when the line is not one of these.
func (p *parser) cisco(s string) bool {
	saved := p.m
	if p.ciscoHeader(s) {
		return true
	}
	p.m = saved
	return false
}

func (p *parser) ciscoHeader(s string) bool {
	s = strings.TrimLeft(strings.TrimPrefix(s, ":"), " ")
	s = p.sequences(s)
	st, timed := p.stamp(s)
	node, rest, xr := readNode(s)
	if !timed && !xr && !strings.HasPrefix(s, "%") {
		host, after, ok := ciscoHost(s)
		if !ok {
			return false
		}
		p.m.Host = host
		s = p.sequences(after)
		st, timed = p.stamp(s)
		node, rest, xr = readNode(s)
	}
	if xr {
		return p.iosxr(node, rest)
	}
	dialect := IOS
	if timed {
		s = strings.TrimLeft(st.rest, " ")
		if st.yearFirst {
			dialect = NXOS
			if !st.colon {
				s = p.bsdHost(s)
			}
		} else if !st.colon {
			return false
		}
	}
	rest, ok := p.mnemonic(s)
	switch {
	case ok:
		s = rest
	case !timed || p.m.Sequence == "":
		return false // with a number and a time it is at least a debug message
	}
	if timed {
		p.take(st)
	}
	p.m.Dialect, p.m.Text = dialect, s
	return true
}

// iosxr reads what follows the node.
func (p *parser) iosxr(node, s string) bool {
	st, timed := p.stamp(s)
	if timed {
		p.take(st)
		s = strings.TrimLeft(st.rest, " ")
	}
	p.m.Dialect, p.m.Node = IOSXR, node
	if t, ok := readTag(s); ok {
		p.m.App, p.m.ProcID, s = t.app, t.pid, t.rest
	}
	p.m.Text = s
	if rest, ok := p.mnemonic(s); ok {
		p.m.Text = rest
	}
	return true
}

// sequences takes numbers with a colon behind them, of which a line has up to
// two: one of the line and one of the log.
func (p *parser) sequences(s string) string {
	for range 2 {
		_, n := number(s, 12)
		if n == 0 || len(s) < n+2 || s[n] != ':' || s[n+1] != ' ' {
			break
		}
		p.m.Sequence, s = s[:n], strings.TrimLeft(s[n+1:], " ")
	}
	return s
}

// ciscoHost reads a host before the time: with a colon, or before a node.
func ciscoHost(s string) (host, rest string, ok bool) {
	host, rest, ok = strings.Cut(s, " ")
	if !ok {
		return "", s, false
	}
	rest = strings.TrimLeft(rest, " ")
	if name, ok := strings.CutSuffix(host, ":"); ok {
		return name, rest, hostName(name) && strings.IndexByte(name, '[') < 0
	}
	_, _, xr := readNode(rest)
	return host, rest, xr && hostName(host)
}

// readNode reads RP/0/RSP0/CPU0: and its like.
func readNode(s string) (node, rest string, ok bool) {
	if len(s) < 8 || s[0] < 'A' || s[0] > 'Z' {
		return "", s, false
	}
	end := strings.IndexByte(s[:min(len(s), 40)], ':')
	if end < 0 || strings.Count(s[:end], "/") < 2 || strings.IndexByte(s[:end], ' ') >= 0 {
		return "", s, false
	}
	return s[:end], s[end+1:], true
}

// mnemonic reads %FACILITY-SEVERITY-NAME: in front of a text, with any number of
// sub-facilities, and %NAME: as FRR writes it. It returns the text behind it.
func (p *parser) mnemonic(s string) (rest string, ok bool) {
	if len(s) < 3 || s[0] != '%' {
		return s, false
	}
	if vdc, ok := strings.CutPrefix(s, "%$ "); ok {
		if _, after, ok := strings.Cut(vdc, " %$ "); ok && strings.HasPrefix(after, "%") {
			return p.mnemonic(strings.TrimLeft(after, " "))
		}
	}
	end := 1
	for end < len(s) && end <= 128 && mnemonicByte(s[end]) {
		end++
	}
	name := s[1:end]
	rest, ok = strings.CutPrefix(strings.TrimLeft(s[end:], " "), ":")
	if !ok || name == "" {
		return s, false
	}
	severity, has := mnemonicSeverity(name)
	if !has && strings.ToUpper(name) != name {
		return s, false
	}
	if has {
		p.ownSeverity = severity
	}
	p.m.Mnemonic = name
	return strings.TrimLeft(rest, " "), true
}

// maxPercents is how many percent signs are looked at for a mnemonic.
const maxPercents = 8

// mnemonicWithin looks for a mnemonic with a severity behind a header of
// unknown form.
func (p *parser) mnemonicWithin(s string) {
	at := 0
	for range maxPercents {
		next := strings.Index(s[at:], " %")
		if next < 0 {
			return
		}
		at += next + 1
		if rest, ok := p.mnemonic(s[at:]); ok {
			if _, has := mnemonicSeverity(p.m.Mnemonic); has {
				p.m.Dialect, p.m.Text = IOS, rest
				return
			}
			p.m.Mnemonic = ""
		}
	}
}

func mnemonicByte(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// mnemonicSeverity finds the severity: one digit between two dashes.
func mnemonicSeverity(name string) (int, bool) {
	for i := 1; i+3 < len(name)+1; i++ {
		if name[i] == '-' && i+2 < len(name) && name[i+2] == '-' && '0' <= name[i+1] && name[i+1] <= '7' {
			return int(name[i+1] - '0'), true
		}
	}
	return 0, false
}

// huawei reads %%01MODULE/SEVERITY/NAME(l)[SEQUENCE]:text.
func (p *parser) huawei(s string) bool {
	s, ok := strings.CutPrefix(s, "%%")
	if !ok {
		return false
	}
	_, n := number(s, 2)
	end := strings.IndexAny(s, "([: ")
	if n != 2 || end < 0 || end > 128 {
		return false
	}
	name := s[n:end]
	module, behind, ok := strings.Cut(name, "/")
	if !ok || module == "" || len(behind) < 3 || behind[0] < '0' || behind[0] > '7' || behind[1] != '/' {
		return false
	}
	s = s[end:]
	if s[0] == '(' { // (l) log, (s) security log, (t) trap, (D) diagnosis
		_, after, ok := strings.Cut(s, ")")
		if !ok {
			return false
		}
		s = after
	}
	if strings.HasPrefix(s, "[") {
		number, after, ok := strings.Cut(s[1:], "]")
		if !ok {
			return false
		}
		p.m.Sequence, s = number, after
	}
	p.m.Dialect, p.m.App, p.m.Mnemonic = Huawei, module, name
	p.ownSeverity = int(behind[0] - '0')
	p.m.Text = strings.TrimPrefix(s, ":")
	return true
}

// junosTag reads the tag that Junos puts before a text, "RPD_OSPF_NBRDOWN: ",
// and the name of the function that speaks where there is no tag.
func (p *parser) junosTag(t tag) {
	daemon := t.slash && t.app == "kernel" || junosDaemon(t.app)
	end := 0
	upper, lower, under := false, false, false
	for ; end < len(t.rest) && end <= maxTag && mnemonicByte(t.rest[end]) && t.rest[end] != '-'; end++ {
		c := t.rest[end]
		upper = upper || 'A' <= c && c <= 'Z'
		lower = lower || 'a' <= c && c <= 'z'
		under = under || c == '_'
	}
	found := under && upper != lower && strings.HasPrefix(t.rest[end:], ":") &&
		(daemon || upper && (t.pid != "" || strings.HasPrefix(t.rest, t.app+"_")))
	if found {
		p.m.Mnemonic, p.m.Text = t.rest[:end], strings.TrimLeft(t.rest[end+1:], " ")
	}
	if found || daemon {
		p.m.Dialect = Junos
	}
}

// junosCard reads the messages that a line card writes without a colon behind
// its name: "fpc0 text".
func (p *parser) junosCard(s string) bool {
	name, rest, ok := strings.Cut(s, " ")
	slot, isCard := strings.CutPrefix(name, "fpc")
	_, n := number(slot, 3)
	if !ok || !isCard || n == 0 || n != len(slot) {
		return false
	}
	p.m.App, p.m.Text, p.m.Dialect = name, rest, Junos
	p.junosTag(tag{app: "fpc", rest: rest})
	return true
}

// junosDaemon knows the processes of Junos that no other system has.
func junosDaemon(name string) bool {
	switch name {
	case "rpd", "mgd", "dcd", "chassisd", "alarmd", "craftd", "lacpd", "l2ald", "l2cpd", "mib2d", "cosd", "ppmd", "bfdd",
		"eswd", "pfed", "rmopd", "jsrpd", "kmd", "nsd", "xntpd", "cfmd", "dfwd", "vrrpd", "jdhcpd", "l2ald-agent", "RT_FLOW", "fpc":
		return true
	}
	return false
}

// junosElement takes the tag and the parameters of Junos's structured form.
func (p *parser) junosElement() {
	for id, params := range p.m.StructuredData {
		if strings.HasPrefix(id, "junos@") {
			p.m.Dialect, p.m.Fields = Junos, params
			if p.m.Mnemonic == "" {
				p.m.Mnemonic = p.m.MsgID
			}
		}
	}
}

// opengear reads "HOST PORT 2006-Jan-_2 15:04:05 TAG: text".
func (p *parser) opengear(s string) bool {
	host, rest, _ := strings.Cut(s, " ")
	port, rest, ok := strings.Cut(rest, " ")
	if !ok || !dated(rest) || !hostName(host) || !hostName(port) {
		return false
	}
	if _, _, named := monthName(rest[5:]); !named {
		return false
	}
	st, timed := p.stamp(rest)
	t, tagged := readTag(strings.TrimLeft(st.rest, " "))
	if !timed || !tagged {
		return false
	}
	p.take(st)
	p.m.Dialect, p.m.Host, p.m.App, p.m.Mnemonic, p.m.Text = Opengear, host, port, t.app, t.rest
	return true
}

// maxFields is more than the pairs of any FortiOS line; what comes after them is
// in the text only.
const maxFields = 256

// fortinet reads the pairs of key=value that FortiOS writes.
func (p *parser) fortinet(s string) bool {
	if !fortinetStart(s) || !strings.Contains(s, "logid=") && !strings.Contains(s, "devid=") {
		return false
	}
	fields := make(map[string]string, 32)
	for rest := s; rest != "" && len(fields) < maxFields; {
		var name, value string
		var ok bool
		rest = strings.TrimLeft(rest, " ")
		if name, rest, ok = strings.Cut(rest, "="); !ok || name == "" || strings.IndexByte(name, ' ') >= 0 {
			break
		}
		if strings.HasPrefix(rest, `"`) {
			if value, rest, ok = quoted(rest[1:], `"\`); !ok {
				break
			}
		} else {
			value, rest, _ = strings.Cut(rest, " ")
		}
		fields[name] = value
	}
	p.m.Dialect, p.m.Fields, p.m.Text = Fortinet, fields, s
	if msg := fields["msg"]; msg != "" {
		p.m.Text = msg
	}
	if host := fields["devname"]; hostName(host) {
		p.m.Host = host
	}
	p.m.App, p.m.MsgID = fields["type"], fields["logid"]
	if p.m.App != "" && fields["subtype"] != "" {
		p.m.Mnemonic = p.m.App + "/" + fields["subtype"]
	}
	if severity, ok := severityOf(fields["level"]); ok {
		p.ownSeverity = severity
	}
	p.fortinetTime(fields)
	return true
}

func fortinetStart(s string) bool {
	for _, key := range [...]string{"date=", "devname=", "devid=", "logver=", "timestamp=", "eventtime=", "itime="} {
		if strings.HasPrefix(s, key) {
			return true
		}
	}
	return false
}

// fortinetTime takes date, time and tz, or else eventtime, which counts seconds
// or, in later versions, nanoseconds.
func (p *parser) fortinetTime(f map[string]string) {
	st, ok := p.stamp(f["date"] + " " + f["time"] + f["tz"])
	exact := ok && f["tz"] != "" && st.rest == ""
	if v, err := strconv.ParseInt(f["eventtime"], 10, 64); err == nil && v > 0 && !exact {
		st.at, ok = epoch(v).In(p.zone), true
	}
	if ok {
		p.take(st)
	}
}

// epoch takes seconds, milliseconds, microseconds or nanoseconds by their size.
func epoch(v int64) time.Time {
	switch {
	case v < 1e11:
		return time.Unix(v, 0)
	case v < 1e14:
		return time.UnixMilli(v)
	case v < 1e17:
		return time.UnixMicro(v)
	}
	return time.Unix(0, v)
}
