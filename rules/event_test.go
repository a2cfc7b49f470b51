package rules_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules"
)

// with returns a good event with further members.
func with(members string) string {
	return `{"specversion":"1.0","id":"1","source":"/s","type":"t",` + members + `}`
}

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestParseEvent(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   string
		// code and attr of the error; an empty code: the event is good.
		code, attr string
	}{
		{"minimal", `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`, "", ""},
		{"white space around", " \n" + with(`"data":1`) + "\t\r\n", "", ""},
		{"empty text", "", "bad_json", ""},
		{"only white space", "  ", "bad_json", ""},
		{"null", "null", "bad_json", ""},
		{"array", "[]", "bad_json", ""},
		{"string", `"x"`, "bad_json", ""},
		{"byte order mark", "\ufeff" + with(`"data":1`), "bad_json", ""},
		{"trailing garbage", with(`"data":1`) + "x", "bad_json", ""},
		{"two events", with(`"data":1`) + with(`"data":1`), "bad_json", ""},
		{"cut off", `{"specversion":"1.0"`, "bad_json", ""},
		{"empty object", `{}`, "missing_attribute", "specversion"},
		{"NaN", with(`"data":NaN`), "bad_json", ""},
		{"leading zero", with(`"data":01`), "bad_json", ""},

		{"attribute twice", with(`"id":"2"`), "duplicate_key", "id"},
		{"attribute twice, escaped", with(`"\u0069d":"2"`), "duplicate_key", "id"},
		{"data twice", with(`"data":1,"data":2`), "duplicate_key", "data"},
		{"name twice within data", with(`"data":{"a":{"b":1,"b":2}}`), "duplicate_key", ""},
		{"empty name", with(`"":1`), "bad_attribute", ""},

		{"data nested 64 deep", with(`"data":` + nested(64)), "", ""},
		{"data nested 65 deep", with(`"data":` + nested(65)), "too_deep", ""},
		{"data nested 100,000 deep", with(`"data":` + nested(100_000)), "too_deep", ""},
		{"brackets in a string", with(`"data":"` + strings.Repeat("[\\\"", 100) + `"`), "", ""},

		{"1e400", with(`"data":1e400`), "number_range", ""},
		{"-1e400 deep inside", with(`"data":{"a":[-1e400]}`), "number_range", ""},
		{"400 digits", with(`"data":` + strings.Repeat("9", 400)), "number_range", ""},
		{"1e-400", with(`"data":1e-400`), "", ""},
		{"1e400 in a string", with(`"data":"1e400"`), "", ""},
		{"-0", with(`"data":-0`), "", ""},

		{"invalid UTF-8 in data", with("\"data\":\"\xff\""), "bad_json", ""},
		{"overlong UTF-8 in data", with("\"data\":\"\xc0\xaf\""), "bad_json", ""},
		{"lone surrogate in data", with(`"data":"\ud800"`), "bad_json", ""},
		{"lone surrogate in an attribute", with(`"x":"\udc00"`), "bad_json", ""},
		{"raw control character", with("\"data\":\"\n\""), "bad_json", ""},
		{"escaped NUL, ANSI escape and CR LF in data", with(`"data":"\u0000\u001b[31m\r\n"`), "", ""},
		{"right-to-left override and emoji", with(`"data":"\u202e😀","x":"\u202e😀"`), "", ""},
		{"NUL in an attribute", with(`"x":"\u0000"`), "bad_attribute", "x"},
		{"line feed in an attribute", with(`"subject":"a\nb"`), "bad_attribute", "subject"},
		{"DEL in an attribute", with(`"x":"\u007f"`), "bad_attribute", "x"},
		{"C1 control in an attribute", with(`"x":"\u0085"`), "bad_attribute", "x"},
		{"noncharacter U+FDD0", with(`"x":"\ufdd0"`), "bad_attribute", "x"},
		{"noncharacter U+1FFFF", with(`"x":"\ud83f\udfff"`), "bad_attribute", "x"},

		{"no id", `{"specversion":"1.0","source":"/s","type":"t"}`, "missing_attribute", "id"},
		{"no source", `{"specversion":"1.0","id":"1","type":"t"}`, "missing_attribute", "source"},
		{"no type", `{"specversion":"1.0","source":"/s","id":"1"}`, "missing_attribute", "type"},
		{"no specversion", `{"id":"1","source":"/s","type":"t"}`, "missing_attribute", "specversion"},
		{"null id", `{"specversion":"1.0","id":null,"source":"/s","type":"t"}`, "missing_attribute", "id"},
		{"empty id", `{"specversion":"1.0","id":"","source":"/s","type":"t"}`, "bad_attribute", "id"},
		{"numeric id", `{"specversion":"1.0","id":1,"source":"/s","type":"t"}`, "bad_attribute", "id"},
		{"specversion 0.3", `{"specversion":"0.3","id":"1","source":"/s","type":"t"}`, "bad_attribute", "specversion"},
		{"specversion 2.0", `{"specversion":"2.0","id":"1","source":"/s","type":"t"}`, "bad_attribute", "specversion"},
		{"specversion as a number", `{"specversion":1.0,"id":"1","source":"/s","type":"t"}`, "bad_attribute", "specversion"},

		{"upper-case name", with(`"Foo":"x"`), "bad_attribute", "Foo"},
		{"name with a dash", with(`"foo-bar":"x"`), "bad_attribute", "foo-bar"},
		{"name with markup is not shown", with(`"<b>":"x"`), "bad_attribute", ""},
		{"name of 21 characters", with(`"` + strings.Repeat("a", 21) + `":"x"`), "", ""},
		{"name of 64 characters", with(`"` + strings.Repeat("a", 64) + `":"x"`), "", ""},
		{"name of 65 characters", with(`"` + strings.Repeat("a", 65) + `":"x"`), "bad_attribute", ""},
		{"object attribute", with(`"x":{}`), "bad_attribute", "x"},
		{"array attribute", with(`"x":[]`), "bad_attribute", "x"},
		{"fractional attribute", with(`"x":1.5`), "bad_attribute", "x"},
		{"exponent attribute", with(`"x":1e2`), "bad_attribute", "x"},
		{"greatest integer", with(`"x":2147483647,"y":-2147483648`), "", ""},
		{"integer of 33 bits", with(`"x":2147483648`), "bad_attribute", "x"},
		{"boolean attribute", with(`"x":true,"y":false`), "", ""},
		{"empty extension", with(`"x":""`), "", ""},
		{"256 extensions", with(extensions(256)), "", ""},
		{"257 extensions", with(extensions(257)), "attribute_too_long", ""},

		{"id of 256 bytes", strings.Replace(with(`"x":1`), `"1"`, `"`+strings.Repeat("i", 256)+`"`, 1), "", ""},
		{"id of 10 KiB", strings.Replace(with(`"x":1`), `"1"`, `"`+strings.Repeat("i", 10240)+`"`, 1), "attribute_too_long", "id"},
		{"source of 1025 bytes", strings.Replace(with(`"x":1`), `"/s"`, `"`+strings.Repeat("s", 1025)+`"`, 1), "attribute_too_long", "source"},
		{"type of 10 KiB", strings.Replace(with(`"x":1`), `"t"`, `"`+strings.Repeat("t", 10240)+`"`, 1), "attribute_too_long", "type"},
		{"extension of 1025 bytes", with(`"x":"` + strings.Repeat("x", 1025) + `"`), "attribute_too_long", "x"},
		{"source with a space", strings.Replace(with(`"x":1`), `"/s"`, `"a b"`, 1), "bad_attribute", "source"},

		{"null subject", with(`"subject":null`), "", ""},
		{"empty subject", with(`"subject":""`), "bad_attribute", "subject"},
		{"time as a number", with(`"time":1`), "bad_attribute", "time"},
		{"relative dataschema", with(`"dataschema":"a"`), "bad_attribute", "dataschema"},
		{"dataschema", with(`"dataschema":"https://a/b?c"`), "", ""},
		{"datacontenttype without subtype", with(`"datacontenttype":"json"`), "bad_attribute", "datacontenttype"},
		{"null datacontenttype", with(`"datacontenttype":null,"data":{}`), "", ""},

		{"data and data_base64", with(`"data":1,"data_base64":"AA=="`), "bad_data", "data_base64"},
		{"data null and data_base64", with(`"data":null,"data_base64":"AA=="`), "bad_data", "data_base64"},
		{"data and data_base64 null", with(`"data":1,"data_base64":null`), "", ""},
		{"data_base64 as a number", with(`"data_base64":1`), "bad_data", "data_base64"},
		{"data_base64 with JSON escapes", with(`"data_base64":"\u0041A=="`), "", ""},
		{"data_base64 without padding", with(`"data_base64":"AA"`), "bad_data", "data_base64"},
		{"data_base64 with line ends", with(`"data_base64":"AA\r\n=="`), "bad_data", "data_base64"},
		{"data_base64 of the URL alphabet", with(`"data_base64":"_-8="`), "bad_data", "data_base64"},
		{"data_base64 after white space", with(`"data_base64" :   "AA=="`), "", ""},
		{"object data of +json", with(`"datacontenttype":"application/vnd.x+json","data":{}`), "", ""},
		{"text data", with(`"datacontenttype":"text/xml","data":"<a/>"`), "", ""},
		{"object data of text/xml", with(`"datacontenttype":"text/xml","data":{}`), "bad_data", "data"},
		{"null data of text/xml", with(`"datacontenttype":"text/xml","data":null`), "bad_data", "data"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ev, err := rules.ParseEvent([]byte(tt.in), rules.Limits{})
			if tt.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				roundTrip(t, ev)
				return
			}
			var ee *rules.EventError
			if !errors.As(err, &ee) {
				t.Fatalf("error %v, want an EventError", err)
			}
			if ee.Code != tt.code || ee.Attribute != tt.attr {
				t.Errorf("%s of %q (%v), want %s of %q", ee.Code, ee.Attribute, err, tt.code, tt.attr)
			}
		})
	}
}

func extensions(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"e%d":%d`, i, i))
	}
	return strings.Join(list, ",")
}

func TestTime(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want string
	}{
		{"2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"},
		{"2026-01-02t03:04:05.25z", "2026-01-02T03:04:05.25Z"},
		{"2026-01-02T03:04:05.1234567891234+05:30", "2026-01-01T21:34:05.123456789Z"},
		{"0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"},
		{"9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"},
		{"0000-01-01T00:00:00Z", ""},
		{"2016-12-31T23:59:60Z", ""},
		{"2026-02-29T00:00:00Z", ""},
		{"2026-13-01T00:00:00Z", ""},
		{"2026-01-02T24:00:00Z", ""},
		{"2026-01-02 03:04:05Z", ""},
		{"2026-01-02T03:04:05", ""},
		{"2026-01-02T03:04:05.Z", ""},
		{"2026-01-02T03:04:05+24:00", ""},
		{"2026-01-02T03:04:05+0530", ""},
		{"2026-01-02", ""},
		{"now", ""},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			ev, err := rules.ParseEvent([]byte(with(`"time":"`+tt.in+`"`)), rules.Limits{})
			if tt.want == "" {
				if err == nil {
					t.Fatal("accepted")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := ev.Attributes().Time; got != tt.in {
				t.Errorf("kept as %q", got)
			}
			if got := ev.Time().UTC().Format(time.RFC3339Nano); got != tt.want {
				t.Errorf("time %s, want %s", got, tt.want)
			}
		})
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	good := []string{
		"sw1", "/a/b", "//host/x", "urn:uuid:6e8bc430", "https://u:p@h.example:80/a?b=c#d", "mailto:a@b",
		"http://[2001:db8::1]:8/", "a%20b", "#f", "?q", "./1:2", "a/b:c",
	}
	bad := []string{
		" ", "a b", "1:2", "http://h:port/", "a#b#c", "%zz", "%4", "ü", "<a>", "a\\b", "http://[::1", "http://a[b]/", "{x}", "a|b", "/[x]", "http://a@b@c",
	}
	for _, s := range good {
		if _, err := rules.NewEvent(rules.Attributes{ID: "1", Source: s, Type: "t"}, nil, rules.Limits{}); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range bad {
		if _, err := rules.NewEvent(rules.Attributes{ID: "1", Source: s, Type: "t"}, nil, rules.Limits{}); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestJSONIsCanonical(t *testing.T) {
	t.Parallel()
	in := ` { "data": {"b" : 12345678901234567890123, "a":"\u0041"}, "zone":"z", "alpha": 7, "flag":true, "none":null,
	  "type":"t", "time":"2026-01-02T03:04:05Z", "subject":"\u0041", "source":"/s", "id":"1", "datacontenttype":"application/json", "specversion":"1.0" } `
	want := `{"specversion":"1.0","id":"1","source":"/s","type":"t","alpha":7,"datacontenttype":"application/json",` +
		`"flag":true,"subject":"A","time":"2026-01-02T03:04:05Z","zone":"z","data":{"b" : 12345678901234567890123, "a":"\u0041"}}`
	ev, err := rules.ParseEvent([]byte(in), rules.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(ev.JSON())); diff != "" {
		t.Error(diff)
	}
	value := map[string]any{
		"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "alpha": int64(7), "datacontenttype": "application/json",
		"flag": true, "subject": "A", "time": "2026-01-02T03:04:05Z", "zone": "z",
		"data": map[string]any{"a": "A", "b": 12345678901234567890123.0},
	}
	if diff := cmp.Diff(value, ev.Value()); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]any{"alpha": int32(7), "flag": true, "id": "1", "subject": "A", "specversion": "1.0", "none": nil, "data": nil} {
		if got, ok := ev.Attribute(name); got != want || ok != (want != nil) {
			t.Errorf("attribute %s: %v, %v, want %v", name, got, ok, want)
		}
	}
}

func TestValueNumbers(t *testing.T) {
	t.Parallel()
	ev, err := rules.ParseEvent([]byte(with(`"data":[0,-0,9007199254740993,9223372036854775807,9223372036854775808,1.0,1e2,[],{},null]`)), rules.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := []any{
		int64(0), int64(0), int64(9007199254740993), int64(9223372036854775807), 9223372036854775808.0, 1.0, 100.0,
		[]any{},
		map[string]any{},
		nil,
	}
	if diff := cmp.Diff(want, ev.Value()["data"]); diff != "" {
		t.Error(diff)
	}
}

func TestNewEventData(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, contentType, data string
		// want is the data member of the JSON format; "!" an error.
		want string
	}{
		{"no data", "application/json", "", ``},
		{"JSON", "application/json", ` {"a": 1} `, `,"data":{"a": 1}`},
		{"JSON null", "application/json", `null`, `,"data":null`},
		{"JSON in upper case with a parameter", "Application/JSON; charset=utf-8", `1`, `,"data":1`},
		{"+json", "application/problem+json", `1`, `,"data":1`},
		{"text/json", "text/json", `1`, `,"data":1`},
		{"no type is JSON", "", `1`, `,"data":1`},
		{"no type and not JSON", "", `x`, `!`},
		{"not JSON", "application/json", `{`, `!`},
		{"two values", "application/json", `1 2`, `!`},
		{"duplicate names", "application/json", `{"a":1,"a":1}`, `!`},
		{"too deep", "application/json", nested(65), `!`},
		{"deep", "application/json", nested(64), `,"data":` + nested(64)},
		{"out of range", "application/json", `1e999`, `!`},
		{"text", "text/plain", "a\"\n\x00é", `,"data":"a\"\n\u0000é"`},
		{"text that is said to be UTF-8", "text/plain; charset=\"UTF-8\"", "é", `,"data":"é"`},
		{"text of another charset", "text/plain; charset=iso-8859-1", "\xc3\xa9", `,"data_base64":"w6k="`},
		{"text that is not UTF-8", "text/plain", "\xff", `,"data_base64":"/w=="`},
		{"bytes", "application/octet-stream", "abc", `,"data_base64":"YWJj"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := rules.Attributes{ID: "1", Source: "/s", Type: "t", DataContentType: tt.contentType}
			ev, err := rules.NewEvent(a, []byte(tt.data), rules.Limits{})
			if tt.want == "!" {
				if err == nil {
					t.Fatal("accepted")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(string(ev.JSON()), tt.want+"}") {
				t.Errorf("got %s, want it to end with %s", ev.JSON(), tt.want)
			}
			roundTrip(t, ev)
		})
	}
}

func TestNewEventExtensions(t *testing.T) {
	t.Parallel()
	for _, ext := range []map[string]any{
		{"id": "x"}, {"specversion": "1.0"}, {"data": "x"}, {"time": "x"}, {"UP": "x"}, {"x": 1.5}, {"x": nil}, {"x": 1}, {"x": "\xff"},
	} {
		if _, err := rules.NewEvent(rules.Attributes{ID: "1", Source: "s", Type: "t", Extensions: ext}, nil, rules.Limits{}); err == nil {
			t.Errorf("%v is accepted", ext)
		}
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	base := with(`"n":5,"b":true,"data":{"a":"é","b":[1,2]}`)
	tests := []struct {
		name, a, b string
		// same, and whether the digests are equal, which is less.
		same, digest bool
	}{
		{"itself", base, base, true, true},
		{"white space, order and escapes", base, with(`"b":true, "data" : {"b":[1, 2],"a":"\u00e9"}, "n": 5`), true, true},
		{"member order deep inside", with(`"data":[{"a":{"c":1,"b":2},"b":{}}]`), with(`"data":[{"b":{},"a":{"b":2,"c":1}}]`), true, true},
		{"escaped member name", with(`"data":{"a":1}`), with(`"data":{"\u0061":1}`), true, true},
		{"escaped solidus", with(`"data":"a/b"`), with(`"data":"a\/b"`), true, true},
		{"extensions as text, as in binary mode", base, with(`"n":"5","b":"true","data":{"a":"é","b":[1,2]}`), true, true},
		{"a null attribute", base, with(`"n":5,"b":true,"x":null,"data":{"a":"é","b":[1,2]}`), true, true},
		{"no datacontenttype is JSON", base, with(`"datacontenttype":"application/json","n":5,"b":true,"data":{"a":"é","b":[1,2]}`), true, true},
		{"no datacontenttype and no data", with(`"x":1`), with(`"x":1,"datacontenttype":"application/json"`), false, false},
		{"no datacontenttype and bytes", with(`"data_base64":"e30="`), with(`"datacontenttype":"application/json","data_base64":"e30="`), false, false},
		{"another JSON type", with(`"data":1`), with(`"datacontenttype":"text/json","data":1`), false, false},
		{"text as data and as bytes", with(`"datacontenttype":"text/plain","data":"abc"`), with(`"datacontenttype":"text/plain","data_base64":"YWJj"`), true, true},
		{"JSON as data and as bytes", with(`"datacontenttype":"a/json","data":{"a":[1]}`), with(`"datacontenttype":"a/json","data_base64":"eyAiYSI6WzFdfQ=="`), true, false},
		{"JSON and bytes that are not", with(`"datacontenttype":"a/json","data":"abc"`), with(`"datacontenttype":"a/json","data_base64":"YWJj"`), false, false},
		{"empty text and no data", with(`"datacontenttype":"text/plain","data":""`), with(`"datacontenttype":"text/plain"`), true, false},
		{"null and no data", with(`"data":null`), with(`"x":null`), false, false},

		{"other data", base, with(`"n":5,"b":true,"data":{"a":"e","b":[1,2]}`), false, false},
		{"array order", base, with(`"n":5,"b":true,"data":{"a":"é","b":[2,1]}`), false, false},
		{"one element more", with(`"data":[1]`), with(`"data":[1,1]`), false, false},
		{"one element less", with(`"data":[1,1]`), with(`"data":[1]`), false, false},
		{"member name", with(`"data":{"a":1}`), with(`"data":{"b":1}`), false, false},
		{"composed and decomposed", with(`"data":"é"`), with(`"data":"e\u0301"`), false, false},
		{"no data", base, with(`"n":5,"b":true`), false, false},
		{"another attribute", base, with(`"n":6,"b":true,"data":{"a":"é","b":[1,2]}`), false, false},
		{"a further attribute", base, with(`"n":5,"b":true,"x":"","data":{"a":"é","b":[1,2]}`), false, false},
		{"an attribute less", with(`"x":1,"y":2`), with(`"x":1`), false, false},

		{"number and text", with(`"data":1`), with(`"data":"1"`), false, false},
		{"true and null", with(`"data":true`), with(`"data":null`), false, false},
		{"1 and 1.0", with(`"data":1`), with(`"data":1.0`), true, false},
		{"100 and 1e2", with(`"data":100`), with(`"data":1e2`), true, false},
		{"0.001 and 10E-4", with(`"data":0.001`), with(`"data":10E-4`), true, false},
		{"-0 and 0.0e5", with(`"data":-0`), with(`"data":0.0e5`), true, false},
		{"1 and -1", with(`"data":1`), with(`"data":-1`), false, false},
		{"1 and 10", with(`"data":1`), with(`"data":10`), false, false},
		{"0.1 and 0.01", with(`"data":0.1`), with(`"data":0.01`), false, false},
		{"integers that are one float64", with(`"data":9007199254740993`), with(`"data":9007199254740992`), false, false},
		{"integers beyond int64", with(`"data":12345678901234567890123`), with(`"data":12345678901234567890124`), false, false},
		{"exponents beyond any bound", with(`"data":1e-99999999999999999998`), with(`"data":1e-99999999999999999999`), false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := parse(t, tt.a), parse(t, tt.b)
			if rules.Same(a, b) != tt.same || rules.Same(b, a) != tt.same {
				t.Errorf("same: %v and %v, want %v", rules.Same(a, b), rules.Same(b, a), tt.same)
			}
			if got := a.Digest() == b.Digest(); got != tt.digest {
				t.Errorf("equal digests: %v, want %v", got, tt.digest)
			}
		})
	}
}

func TestParseStored(t *testing.T) {
	t.Parallel()
	ev, err := rules.ParseEvent([]byte(with(`"data":`+nested(1000))), rules.Limits{Depth: 1000})
	if err != nil {
		t.Fatal(err)
	}
	back, err := rules.ParseStored(ev.JSON())
	if err != nil || !rules.Same(ev, back) {
		t.Fatalf("came back otherwise: %v", err)
	}
}

func TestParseBatch(t *testing.T) {
	t.Parallel()
	good, bad := with(`"data":1`), `{"specversion":"1.0"}`
	tests := []struct {
		name, in string
		n, index int
		code     string
	}{
		{"empty", " [ ] ", 0, 0, ""},
		{"two", "[" + good + "," + good + "]", 2, 0, ""},
		{"second bad", "[" + good + "," + bad + "]", 0, 1, "missing_attribute"},
		{"second cut off", "[" + good + `,{"id":`, 0, 1, "bad_json"},
		{"second null", "[" + good + `,null]`, 0, 1, "bad_json"},
		{"second too deep", "[" + good + "," + with(`"data":`+nested(65)) + "]", 0, 1, "too_deep"},
		{"second 100,000 deep", "[" + good + "," + nested(100_000) + "]", 0, 1, "too_deep"},
		{"depth 64", "[" + with(`"data":`+nested(64)) + "]", 1, 0, ""},
		{"second out of range", "[" + good + "," + with(`"data":1e400`) + "]", 0, 1, "number_range"},
		{"duplicate name in the second", "[" + good + "," + with(`"id":"2"`) + "]", 0, 1, "duplicate_key"},
		{"an object", good, 0, -1, "bad_json"},
		{"nothing", "", 0, -1, "bad_json"},
		{"garbage behind", "[]x", 0, -1, "bad_json"},
		{"too many", "[" + strings.Repeat(good+",", 3) + good + "]", 0, -1, "too_many_events"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			evs, err := rules.ParseBatch([]byte(tt.in), rules.Limits{}, 3)
			if tt.code == "" {
				if err != nil || len(evs) != tt.n {
					t.Fatalf("%d events, %v; want %d", len(evs), err, tt.n)
				}
				return
			}
			var ee *rules.EventError
			if !errors.As(err, &ee) || ee.Code != tt.code || evs != nil {
				t.Fatalf("%d events, %v, want %s", len(evs), err, tt.code)
			}
			index := -1
			if be := (*rules.BatchError)(nil); errors.As(err, &be) {
				index = be.Index
			}
			if index != tt.index {
				t.Errorf("index %d, want %d", index, tt.index)
			}
		})
	}
}

func parse(t *testing.T, text string) *rules.Event {
	t.Helper()
	ev, err := rules.ParseEvent([]byte(text), rules.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func roundTrip(t *testing.T, ev *rules.Event) {
	t.Helper()
	if !json.Valid(ev.JSON()) {
		t.Fatalf("encoding/json refuses %s", ev.JSON())
	}
	back, err := rules.ParseEvent(ev.JSON(), rules.Limits{})
	if err != nil {
		t.Fatalf("%v in %s", err, ev.JSON())
	}
	if !rules.Same(ev, back) || string(back.JSON()) != string(ev.JSON()) {
		t.Fatalf("%s came back as %s", ev.JSON(), back.JSON())
	}
	// cmp.Diff takes exponential time on deep nesting.
	if !reflect.DeepEqual(ev.Value(), back.Value()) {
		t.Fatalf("the value of %s came back as %v", ev.JSON(), back.Value())
	}
}

// FuzzParseEvent: nothing panics, and what is accepted is valid JSON for
// encoding/json and comes back the same.
func FuzzParseEvent(f *testing.F) {
	f.Add(with(`"data":{"a":[1,"\u00e9",null]}`))
	f.Add(with(`"data_base64":"AA==","x":true`))
	f.Add(with(`"datacontenttype":"text/plain","data":"x"`))
	f.Add("[" + with(`"x":1`) + "]")
	f.Fuzz(func(t *testing.T, text string) {
		if ev, err := rules.ParseEvent([]byte(text), rules.Limits{}); err == nil {
			roundTrip(t, ev)
		}
		evs, _ := rules.ParseBatch([]byte(text), rules.Limits{}, 10)
		for _, ev := range evs {
			roundTrip(t, ev)
		}
	})
}

func benchmarkEvent() []byte {
	var data []string
	for i := range 45 {
		data = append(data, fmt.Sprintf(`"field%02d":"value %d"`, i, i))
	}
	return []byte(with(`"subject":"x","time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","data":{` + strings.Join(data, ",") + `}`))
}

func BenchmarkEvent(b *testing.B) {
	text := benchmarkEvent()
	for _, bb := range []struct {
		name string
		use  func(*rules.Event)
	}{
		{"parse", func(*rules.Event) {}},
		{"parse and digest", func(ev *rules.Event) { ev.Digest() }},
		{"parse and value", func(ev *rules.Event) { ev.Value() }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				ev, err := rules.ParseEvent(text, rules.Limits{})
				if err != nil {
					b.Fatal(err)
				}
				bb.use(ev)
			}
		})
	}
}
