package rules

import (
	"mime"
	"strconv"
	"strings"
	"time"
)

// check checks all attributes and sets e.names.
func (e *Event) check() *EventError {
	a := &e.attrs
	for _, f := range [...]struct {
		name, value string
		max         int
	}{
		{"id", a.ID, maxID},
		{"source", a.Source, maxSource},
		{"type", a.Type, maxType},
		{"subject", a.Subject, maxAttribute},
		{"time", a.Time, maxAttribute},
		{"datacontenttype", a.DataContentType, maxAttribute},
		{"dataschema", a.DataSchema, maxAttribute},
	} {
		if err := checkText(f.name, f.value, f.max); err != nil {
			return err
		}
	}
	for _, f := range [...]struct{ name, value string }{{"id", a.ID}, {"source", a.Source}, {"type", a.Type}} {
		if f.value == "" {
			return missing(f.name)
		}
	}
	if !uriReference(a.Source) {
		return badAttribute("source", "is not a URI-reference (RFC 3986)")
	}
	if a.DataSchema != "" && !absoluteURI(a.DataSchema) {
		return badAttribute("dataschema", "is not an absolute URI (RFC 3986)")
	}
	if a.DataContentType != "" && mediaType(a.DataContentType).subtype == "" {
		return badAttribute("datacontenttype", "is not a media type (RFC 2046)")
	}
	if a.Time != "" {
		if _, ok := parseTime(a.Time); !ok {
			return badAttribute("time", "is not a timestamp (RFC 3339)")
		}
	}
	if len(a.Extensions) > maxExtensions {
		return tooManyExtensions()
	}
	e.names = sortedNames(a.Extensions)
	for _, name := range e.names {
		if err := checkExtension(name, a.Extensions[name]); err != nil {
			return err
		}
	}
	return nil
}

func checkExtension(name string, value any) *EventError {
	if err := checkName(name); err != nil {
		return err
	}
	if name == "specversion" || new(Attributes).known(name) != nil {
		return badAttribute(name, "is not an extension")
	}
	switch v := value.(type) {
	case string:
		return checkText(name, v, maxAttribute)
	case bool, int32:
		return nil
	}
	return badAttribute(name, "is not a string, boolean or 32-bit integer")
}

// checkName checks the name of a context attribute.
func checkName(name string) *EventError {
	if name == "" || name == "data" || len(name) > maxName {
		return badAttribute(name, "has a name that no attribute may have")
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && !isDigit(c) {
			return badAttribute(name, "has a name with other characters than a-z and 0-9")
		}
	}
	return nil
}

func checkText(name, value string, most int) *EventError {
	if len(value) > most {
		return &EventError{
			Code: CodeAttributeTooLong, Attribute: name, Offset: -1,
			Msg: subject(name) + "is longer than " + strconv.Itoa(most) + " bytes",
		}
	}
	if !validText(value) {
		return badAttribute(name, "has characters that no attribute may have")
	}
	return nil
}

func missing(name string) *EventError {
	return &EventError{
		Code: CodeMissingAttribute, Attribute: name, Offset: -1,
		Msg: "required attribute " + name + " is missing",
	}
}

func tooManyExtensions() *EventError {
	return &EventError{
		Code: CodeAttributeTooLong, Offset: -1,
		Msg: "the event has more than " + strconv.Itoa(maxExtensions) + " extension attributes",
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// media is a media type in lower case; without a subtype it is none. charset is
// the parameter of that name, in lower case.
type media struct{ major, subtype, charset string }

// mediaType parses a media type of RFC 2046.
func mediaType(s string) media {
	base, rest, hasParams := strings.Cut(s, ";")
	charset := ""
	if hasParams && strings.Trim(rest, " \t") != "" {
		_, params, err := mime.ParseMediaType(s)
		if err != nil {
			return media{}
		}
		charset = strings.ToLower(params["charset"])
	}
	base = strings.ToLower(strings.Trim(base, " \t"))
	major, subtype, _ := strings.Cut(base, "/")
	if !token(major) || !token(subtype) {
		return media{}
	}
	return media{major, subtype, charset}
}

func (m media) json() bool { return m.subtype == "json" || strings.HasSuffix(m.subtype, "+json") }

// text tells whether bytes of the type are text in UTF-8.
func (m media) text() bool {
	switch m.charset {
	case "", "utf-8", "us-ascii":
		return m.major == "text"
	}
	return false
}

// token tells whether s is a token of RFC 2045.
func token(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// parseTime parses a timestamp of RFC 3339: T and Z in either case, any number
// of fractional digits, years from 0001, no leap second, because no Go time can
// keep one.
func parseTime(s string) (time.Time, bool) {
	var year, month, day, hour, minute, second int
	ok := len(s) > 19 && number(s[0:4], &year) && s[4] == '-' && number(s[5:7], &month) && s[7] == '-' &&
		number(s[8:10], &day) && s[10]|0x20 == 't' && number(s[11:13], &hour) && s[13] == ':' &&
		number(s[14:16], &minute) && s[16] == ':' && number(s[17:19], &second)
	if !ok || year == 0 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	rest := s[19:]
	nanos := 0
	if rest[0] == '.' {
		end := 1
		for scale := 100_000_000; end < len(rest) && isDigit(rest[end]); end++ {
			nanos += int(rest[end]-'0') * scale
			scale /= 10
		}
		if end == 1 {
			return time.Time{}, false
		}
		rest = rest[end:]
	}
	loc, ok := parseZone(rest)
	if !ok {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, loc)
	// 31 April would have become 1 May.
	return t, t.Day() == day
}

func parseZone(s string) (*time.Location, bool) {
	if s == "Z" || s == "z" {
		return time.UTC, true
	}
	var hour, minute int
	if len(s) != 6 || s[0] != '+' && s[0] != '-' || s[3] != ':' ||
		!number(s[1:3], &hour) || !number(s[4:6], &minute) || hour > 23 || minute > 59 {
		return nil, false
	}
	offset := hour*3600 + minute*60
	if s[0] == '-' {
		offset = -offset
	}
	return time.FixedZone("", offset), true
}

// number reads a number made of digits alone.
func number(s string, n *int) bool {
	*n = 0
	for _, c := range []byte(s) {
		if !isDigit(c) {
			return false
		}
		*n = *n*10 + int(c-'0')
	}
	return true
}

// absoluteURI tells whether s is an absolute-URI of RFC 3986, section 4.3.
func absoluteURI(s string) bool {
	scheme, _, found := strings.Cut(s, ":")
	return found && isScheme(scheme) && !strings.Contains(s, "#") && uriReference(s)
}

// uriReference tells whether s is a URI-reference of RFC 3986, section 4.1.
// net/url is not used: it takes spaces and other characters that no URI has.
func uriReference(s string) bool {
	s, fragment, _ := strings.Cut(s, "#")
	s, query, _ := strings.Cut(s, "?")
	if !uriChars(fragment, "/?") || !uriChars(query, "/?") {
		return false
	}
	first, _, _ := strings.Cut(s, "/")
	if scheme, rest, found := strings.Cut(first, ":"); found {
		if !isScheme(scheme) {
			return false
		}
		s = s[len(first)-len(rest):]
	}
	if rest, found := strings.CutPrefix(s, "//"); found {
		authority, path, _ := strings.Cut(rest, "/")
		return isAuthority(authority) && uriChars(path, "/")
	}
	return uriChars(s, "/")
}

func isScheme(s string) bool {
	for i, c := range []byte(s) {
		if !isAlpha(c) && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

func isAuthority(s string) bool {
	if user, host, found := strings.Cut(s, "@"); found {
		if !uriChars(user, "") {
			return false
		}
		s = host
	}
	if strings.Contains(s, "@") {
		return false
	}
	port := ""
	if literal, found := strings.CutPrefix(s, "["); found {
		inside, after, closed := strings.Cut(literal, "]")
		if !closed || inside == "" || !uriChars(inside, "") || strings.ContainsAny(inside, "@%") {
			return false
		}
		if after != "" && after[0] != ':' {
			return false
		}
		port = strings.TrimPrefix(after, ":")
	} else {
		host, p, _ := strings.Cut(s, ":")
		if !uriChars(host, "") {
			return false
		}
		port = p
	}
	var n int
	return number(port, &n)
}

// uriChars tells whether s has only pchar of RFC 3986 and the characters also.
func uriChars(s, also string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case isAlpha(c), isDigit(c), strings.IndexByte("-._~!$&'()*+,;=:@", c) >= 0, strings.IndexByte(also, c) >= 0:
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			i += 2
		default:
			return false
		}
	}
	return true
}
