package ingest

import (
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pointsman/pointsman/rules"
)

const cePrefix = "Ce-"

// binary says whether a request means to carry an event in binary mode.
func binary(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, cePrefix) {
			return true
		}
	}
	return false
}

// headerAttributes reads the context attributes of binary mode. Which headers
// are at fault is looked for in the order of their names.
// (CloudEvents HTTP Protocol Binding 1.0.2, section 3.1.3.)
func headerAttributes(h http.Header, contentType string) (rules.Attributes, *problem) {
	a := rules.Attributes{DataContentType: contentType, Extensions: map[string]any{}}
	names := make([]string, 0, len(h))
	for name := range h {
		if strings.HasPrefix(name, cePrefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	version := ""
	for _, header := range names {
		raw, p := one(h, header)
		if p != nil {
			return a, p
		}
		name := strings.ToLower(header[len(cePrefix):])
		value, ok := decodeHeader(raw)
		if !ok {
			return a, badHeader(name, "the header's value is not percent-encoded UTF-8")
		}
		switch name {
		case "":
			return a, badHeader("", "a ce- header has no attribute name")
		case "specversion":
			version = value
		case "id":
			a.ID = value
		case "source":
			a.Source = value
		case "type":
			a.Type = value
		case "subject":
			if a.Subject = value; value == "" {
				return a, badHeader(name, "subject must not be empty")
			}
		case "time":
			if a.Time = value; value == "" {
				return a, badHeader(name, "time must be a timestamp as in RFC 3339")
			}
		case "dataschema":
			if a.DataSchema = value; value == "" {
				return a, badHeader(name, "dataschema must be an absolute URI")
			}
		case "datacontenttype":
			return a, badHeader(name, "in binary mode Content-Type says it, and there is no ce-datacontenttype")
		default:
			a.Extensions[name] = value
		}
	}
	switch version {
	case rules.SpecVersion:
		return a, nil
	case "":
		return a, &problem{status: http.StatusBadRequest, code: rules.CodeMissingAttribute, attribute: "specversion", detail: "specversion is missing"}
	default:
		return a, badHeader("specversion", "specversion must be "+rules.SpecVersion)
	}
}

func badHeader(attribute, detail string) *problem {
	return &problem{status: http.StatusBadRequest, code: rules.CodeBadAttribute, attribute: shown(attribute), detail: detail}
}

// shown returns a name taken from a header if it may appear in an answer, else
// "". Letters, digits and '-' are harmless anywhere.
func shown(name string) string {
	if len(name) > 64 {
		return ""
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return ""
		}
	}
	return name
}

// decodeHeader undoes a quoted string (RFC 7230, section 3.2.6) and then one
// round of percent-encoding (RFC 3986, section 2.4). The result is valid UTF-8,
// or ok is false.
func decodeHeader(raw string) (value string, ok bool) {
	raw = strings.Trim(raw, " \t")
	if strings.HasPrefix(raw, `"`) {
		if raw, ok = unquote(raw); !ok {
			return "", false
		}
	}
	if strings.IndexByte(raw, '%') < 0 {
		return raw, utf8.ValidString(raw)
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			out = append(out, raw[i])
			continue
		}
		if i+2 >= len(raw) {
			return "", false
		}
		hi, ok1 := hexDigit(raw[i+1])
		lo, ok2 := hexDigit(raw[i+2])
		if !ok1 || !ok2 {
			return "", false
		}
		out = append(out, hi<<4|lo)
		i += 2
	}
	return string(out), utf8.Valid(out)
}

// unquote reads a quoted string that is the whole value.
func unquote(raw string) (string, bool) {
	var out strings.Builder
	for i := 1; i < len(raw); i++ {
		switch c := raw[i]; c {
		case '"':
			return out.String(), i == len(raw)-1
		case '\\':
			if i++; i == len(raw) {
				return "", false
			}
			out.WriteByte(raw[i])
		default:
			out.WriteByte(c)
		}
	}
	return "", false
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
