package syslog

import "strings"

// rfc5424 reads what follows the priority when it is of RFC 5424. What is in the
// place of structured data and is none becomes text: many senders leave it out.
func (p *parser) rfc5424(s string) bool {
	s, ok := strings.CutPrefix(s, "1 ")
	if !ok {
		return false
	}
	var head [5]string
	for i := range head {
		head[i], s, ok = strings.Cut(s, " ")
		if !ok && i < len(head)-1 || head[i] == "" {
			return false
		}
	}
	st, timed := p.stamp(head[0])
	if head[0] != "-" && (!timed || st.rest != "") && !dated(head[0]) {
		return false
	}
	p.m.Dialect = RFC5424
	if timed && st.rest == "" {
		p.take(st)
	}
	if host := known(head[1]); hostName(host) {
		p.m.Host = host
	}
	p.m.App, p.m.ProcID, p.m.MsgID = known(head[2]), known(head[3]), known(head[4])
	p.m.Text = p.structuredData(s)
	if p.fortinet(p.m.Text) {
		return true
	}
	if rest, ok := p.mnemonic(p.m.Text); ok {
		p.m.Text = rest
	}
	p.junosElement()
	return true
}

// dated tells whether a word that is no time was meant as one.
func dated(s string) bool {
	_, n := number(s, 4)
	return n == 4 && len(s) > 4 && s[4] == '-'
}

// known is a field that may be the nil value.
func known(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

// structuredData reads the elements and returns the text behind them.
func (p *parser) structuredData(s string) string {
	if rest, ok := strings.CutPrefix(s, "-"); ok && (rest == "" || rest[0] == ' ') {
		return strings.TrimPrefix(strings.TrimLeft(rest, " "), "\uFEFF")
	}
	rest := s
	var all map[string]map[string]string
	for strings.HasPrefix(rest, "[") {
		id, params, after, ok := element(rest)
		if !ok {
			return strings.TrimPrefix(s, "\uFEFF")
		}
		if all == nil {
			all = make(map[string]map[string]string)
		}
		if all[id] == nil {
			all[id] = params
		} else {
			for name, value := range params {
				add(all[id], name, value)
			}
		}
		rest = after
	}
	if all != nil && rest != "" && rest[0] != ' ' {
		return s
	}
	p.m.StructuredData = all
	return strings.TrimPrefix(strings.TrimLeft(rest, " "), "\uFEFF")
}

// element reads [ID NAME="VALUE" ...] (RFC 5424 section 6.3).
func element(s string) (id string, params map[string]string, rest string, ok bool) {
	s = s[1:]
	end := strings.IndexAny(s, " ]\"=")
	if end <= 0 || s[end] == '"' || s[end] == '=' {
		return "", nil, "", false
	}
	id, s = s[:end], s[end:]
	params = make(map[string]string)
	for {
		s = strings.TrimLeft(s, " ")
		if s == "" {
			return "", nil, "", false
		}
		if s[0] == ']' {
			return id, params, s[1:], true
		}
		end := strings.IndexAny(s, " ]\"=")
		if end <= 0 || !strings.HasPrefix(s[end:], `="`) {
			return "", nil, "", false
		}
		value, after, ok := quoted(s[end+2:], `"\]`)
		if !ok {
			return "", nil, "", false
		}
		add(params, s[:end], value)
		s = after
	}
}

// maxJoined bounds the values of one name together, in bytes: to join ever more
// of them is work that grows with the square of the line.
const maxJoined = 1 << 10

// add keeps both values of a name that is there twice.
func add(to map[string]string, name, value string) {
	if old, twice := to[name]; twice {
		if len(old)+len(value) >= maxJoined {
			return
		}
		value = old + "," + value
	}
	to[name] = value
}

// quoted reads up to the closing quote. A backslash escapes the characters of
// escapes and is itself before any other.
func quoted(s, escapes string) (value, rest string, ok bool) {
	plain := strings.IndexAny(s, `"\`)
	if plain < 0 {
		return "", "", false
	}
	if s[plain] == '"' {
		return s[:plain], s[plain+1:], true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte(escapes, s[i+1]) >= 0:
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
