package ingest_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/ingest"
)

// TestDecodeHeader has the rules of the CloudEvents HTTP Protocol Binding 1.0.2,
// section 3.1.3.2, and RFC 7230, section 3.2.6.
func TestDecodeHeader(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in, want string
		bad            bool
	}{
		{name: "plain", in: "abc-123", want: "abc-123"},
		{name: "empty", in: "", want: ""},
		{name: "every character that needs no encoding", in: "!#$&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~", want: "!#$&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~"},
		{name: "example of the specification", in: "Euro%20%E2%82%AC%20%F0%9F%98%80", want: "Euro € 😀"},
		{name: "lower-case hexadecimals", in: "Euro%20%e2%82%ac%20%f0%9f%98%80", want: "Euro € 😀"},
		{name: "mixed case", in: "%e2%82%Ac", want: "€"},
		{name: "space, quote and percent", in: "%20%22%25", want: ` "%`},
		{name: "encoded without need", in: "%41%62%7e%21", want: "Ab~!"},
		{name: "one round only", in: "%2541", want: "%41"},
		{name: "one round only, twice encoded", in: "%252541", want: "%2541"},
		{name: "a plus is a plus", in: "a+b", want: "a+b"},
		{name: "a space within", in: "a b", want: "a b"},
		{name: "white space around", in: " \tab\t ", want: "ab"},
		{name: "encoded white space around stays", in: "%20ab%09", want: " ab\t"},
		{name: "UTF-8 that is not encoded", in: "é", want: "é"},
		{name: "last code point", in: "%F4%8F%BF%BF", want: "\U0010ffff"},
		{name: "NUL", in: "%00", want: "\x00"},
		{name: "first of two bytes", in: "%C2%80", want: "\u0080"},

		{name: "quoted", in: `"abc"`, want: "abc"},
		{name: "quoted, empty", in: `""`, want: ""},
		{name: "quoted space", in: `"a b"`, want: "a b"},
		{name: "quoted quote and backslash", in: `"a\"b\\c"`, want: `a"b\c`},
		{name: "quoted pair of an ordinary character", in: `"\a"`, want: "a"},
		{name: "quoted, then percent-decoded", in: `"a%20b"`, want: "a b"},
		{name: "a percent escape may hide a quote", in: `"a%22b"`, want: `a"b`},
		{name: "quotes from percent escapes are no quoted string", in: `%22a%5Cb%22`, want: `"a\b"`},
		{name: "backslash outside quotes", in: `a\b`, want: `a\b`},
		{name: "a quote within", in: `a"b`, want: `a"b`},
		{name: "white space around quotes", in: ` "a" `, want: "a"},
		{name: "white space within quotes stays", in: `" a "`, want: " a "},

		{name: "quote not closed", in: `"abc`, bad: true},
		{name: "only a quote", in: `"`, bad: true},
		{name: "quote closed too early", in: `"a"b`, bad: true},
		{name: "two quoted strings", in: `"a" "b"`, bad: true},
		{name: "ends in a backslash", in: `"a\`, bad: true},
		{name: "closing quote escaped", in: `"a\"`, bad: true},
		{name: "percent at the end", in: "a%", bad: true},
		{name: "one digit", in: "a%4", bad: true},
		{name: "no hexadecimal", in: "%4g", bad: true},
		{name: "two percents", in: "%%41", bad: true},
		{name: "percent and space", in: "100% sure", bad: true},
		{name: "overlong space, the example of the specification", in: "%C0%A0", bad: true},
		{name: "overlong slash", in: "%C0%AF", bad: true},
		{name: "overlong slash in three bytes", in: "%E0%80%AF", bad: true},
		{name: "overlong NUL in four bytes", in: "%F0%80%80%80", bad: true},
		{name: "surrogate", in: "%ED%A0%80", bad: true},
		{name: "surrogate pair, as in CESU-8", in: "%ED%A0%BD%ED%B8%80", bad: true},
		{name: "beyond Unicode", in: "%F4%90%80%80", bad: true},
		{name: "byte that is never UTF-8", in: "%FF", bad: true},
		{name: "continuation byte alone", in: "%80", bad: true},
		{name: "sequence cut off", in: "%E2%82", bad: true},
		{name: "Latin-1 that is not encoded", in: "caf\xe9", bad: true},
		{name: "half encoded, half not", in: "%E2\x82\xac", want: "€"},
		{name: "quoted Latin-1", in: "\"\xe9\"", bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, ok := ingest.DecodeHeader(tt.in)
			if ok == tt.bad || !tt.bad && got != tt.want {
				t.Errorf("%q, %v, want %q, %v", got, ok, tt.want, !tt.bad)
			}
		})
	}
}

// encode writes a value as section 3.1.3.2 asks senders to.
func encode(value string) string {
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	for _, c := range []byte(value) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '%' {
			out.WriteString("%" + hex[c>>4:c>>4+1] + hex[c&15:c&15+1])
			continue
		}
		out.WriteByte(c)
	}
	return out.String()
}

// FuzzDecodeHeader: what is accepted is UTF-8 and no longer than it was, and what
// a sender encodes comes back, unchanged and quoted.
func FuzzDecodeHeader(f *testing.F) {
	for _, s := range []string{"Euro%20%E2%82%AC", `"a\"b"`, "%C0%A0", "%", `"`, "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, ok := ingest.DecodeHeader(s); ok && (!utf8.ValidString(got) || len(got) > len(s)) {
			t.Errorf("%q became %q", s, got)
		}
		if !utf8.ValidString(s) {
			return
		}
		for _, in := range []string{encode(s), `"` + strings.ReplaceAll(encode(s), `\`, `\\`) + `"`} {
			if got, ok := ingest.DecodeHeader(in); !ok || got != s {
				t.Errorf("%q came back as %q, %v from %q", s, got, ok, in)
			}
		}
	})
}

// TestBinaryMode has what an event of binary mode is in the JSON format.
func TestBinaryMode(t *testing.T) {
	t.Parallel()
	const attrs = `{"specversion":"1.0","id":"1","source":"/s","type":"t"`
	tests := []struct {
		name   string
		header []string
		body   string
		want   string
	}{
		{"no data, no Content-Type", ce(), "", `}`},
		{"no data", ce(ct("text/plain")...), "", `,"datacontenttype":"text/plain"}`},
		{"JSON", ce(ct("application/json")...), ` {"a": 1} `, `,"datacontenttype":"application/json","data":{"a": 1}}`},
		{"JSON null", ce(ct("application/json")...), `null`, `,"datacontenttype":"application/json","data":null}`},
		{"JSON without a Content-Type", ce(), `[1]`, `,"data":[1]}`},
		{"parameters are kept", ce(ct(`Application/JSON; Charset="UTF-8"`)...), `1`, `,"datacontenttype":"Application/JSON; Charset=\"UTF-8\"","data":1}`},
		{"+json", ce(ct("application/vnd.x+json")...), `1`, `,"datacontenttype":"application/vnd.x+json","data":1}`},
		{"B38 text with a quote", ce(ct("text/plain")...), `a"`, `,"datacontenttype":"text/plain","data":"a\""}`},
		{"bytes", ce(ct("application/octet-stream")...), "\x00\xff", `,"datacontenttype":"application/octet-stream","data_base64":"AP8="}`},
		{"XML in Latin-1", ce(ct("text/xml; charset=iso-8859-1")...), "\xe9", `,"datacontenttype":"text/xml; charset=iso-8859-1","data_base64":"6Q=="}`},
		{"B38 percent-encoded subject", ce("Ce-Subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"), "", `,"subject":"Euro € 😀"}`},
		{"quoted subject", ce("Ce-Subject", `"a \"b\""`), "", `,"subject":"a \"b\""}`},
		{"time and dataschema", ce("Ce-Time", "2026-01-02T03:04:05Z", "Ce-Dataschema", "https://a/b"), "", `,"dataschema":"https://a/b","time":"2026-01-02T03:04:05Z"}`},
		{"extensions are text", ce("Ce-Zone", "a", "Ce-N", "5", "Ce-Flag", "true"), "", `,"flag":"true","n":"5","zone":"a"}`},
		{"empty extension", ce("Ce-X", ""), "", `,"x":""}`},
		{"percent sign and plus", ce("Ce-X", "100%25+"), "", `,"x":"100%+"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, ingest.Config{})
			got := s.post(tt.body, tt.header...)
			evs := s.sink.events()
			if got.status != 202 || len(evs) != 1 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if diff := cmp.Diff(attrs+tt.want, string(evs[0].JSON())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// without returns the headers of a good event but one.
func without(name string) []string {
	var out []string
	for h := ce(); len(h) > 0; h = h[2:] {
		if h[0] != name {
			out = append(out, h[0], h[1])
		}
	}
	return out
}

func TestBadBinaryMode(t *testing.T) {
	t.Parallel()
	bad := func(name, code, attribute string, header ...string) exchange {
		return exchange{name: name, header: header, status: 400, code: code, attribute: attribute}
	}
	var many []string
	for i := range 1000 {
		many = append(many, "Ce-E"+strings.Repeat("x", i/26)+string(rune('a'+i%26)), "")
	}
	run(t, ingest.Config{}, []exchange{
		bad("B33 no specversion", "missing_attribute", "specversion", without("Ce-Specversion")...),
		bad("B33 no id", "missing_attribute", "id", without("Ce-Id")...),
		bad("B33 no source", "missing_attribute", "source", without("Ce-Source")...),
		bad("B33 no type", "missing_attribute", "type", without("Ce-Type")...),
		bad("B33 empty id", "missing_attribute", "id", append(without("Ce-Id"), "Ce-Id", "")...),
		bad("B33 empty specversion", "missing_attribute", "specversion", append(without("Ce-Specversion"), "Ce-Specversion", "")...),
		bad("B33 specversion 0.3", "bad_attribute", "specversion", append(without("Ce-Specversion"), "Ce-Specversion", "0.3")...),
		bad("empty subject", "bad_attribute", "subject", ce("Ce-Subject", "")...),
		bad("empty quoted subject", "bad_attribute", "subject", ce("Ce-Subject", `""`)...),
		bad("empty time", "bad_attribute", "time", ce("Ce-Time", "")...),
		bad("empty dataschema", "bad_attribute", "dataschema", ce("Ce-Dataschema", "")...),
		bad("ce-datacontenttype", "bad_attribute", "datacontenttype", ce("Ce-Datacontenttype", "application/json")...),
		bad("ce-data", "bad_attribute", "data", ce("Ce-Data", "1")...),
		bad("ce- without a name", "bad_attribute", "", ce("Ce-", "x")...),
		bad("B34 name with an underscore", "bad_attribute", "foo_bar", ce("Ce-Foo_bar", "x")...),
		bad("B34 name with a dash", "bad_attribute", "foo-bar", ce("Ce-Foo-Bar", "x")...),
		bad("name of 10 KiB", "bad_attribute", "", ce("Ce-"+strings.Repeat("x", 10<<10), "x")...),
		bad("a name that is not to be shown, badly encoded", "bad_attribute", "", ce("Ce-$|`", "%")...),
		bad("B38 bad percent", "bad_attribute", "subject", ce("Ce-Subject", "100%")...),
		bad("B38 overlong", "bad_attribute", "subject", ce("Ce-Subject", "%C0%A0")...),
		bad("B32 Latin-1", "bad_attribute", "subject", ce("Ce-Subject", "caf\xe9")...),
		bad("B42 encoded CR LF", "bad_attribute", "subject", ce("Ce-Subject", "a%0D%0Ab")...),
		bad("B42 encoded NUL", "bad_attribute", "x", ce("Ce-X", "%00")...),
		bad("B12 id twice", "duplicate_header", "ce-id", ce("Ce-Id", "2")...),
		bad("B12 extension twice, alike", "duplicate_header", "ce-x", ce("Ce-X", "a", "Ce-X", "a")...),
		bad("B35 leap second", "bad_attribute", "time", ce("Ce-Time", "2016-12-31T23:59:60Z")...),
		bad("B36 id of 10 KiB", "attribute_too_long", "id", append(without("Ce-Id"), "Ce-Id", strings.Repeat("x", 10<<10))...),
		bad("B23 1,000 attributes", "attribute_too_long", "", append(ce(), many...)...),
		bad("datacontenttype that is none", "bad_attribute", "datacontenttype", ce("Content-Type", "json")...),
	})
}
