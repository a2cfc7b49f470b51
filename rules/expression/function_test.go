package expression_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules/expression"
)

// value evaluates a text of which only event.data is interesting.
func value(t *testing.T, text string, data any) (any, error) {
	t.Helper()
	c := expression.NewCompiler("event")
	p, err := c.Compile(text)
	if err != nil {
		t.Fatalf("compile %s: %v", text, err)
	}
	s := c.NewState()
	s.Reset(map[string]any{"data": data})
	return p.Eval(s)
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		data any
		want any
		err  string
	}{
		{`unixTime(event.data)`, "1970-01-01T00:00:01Z", int64(1), ""},
		{`unixTime(event.data)`, "0000-01-01T00:00:00Z", int64(-62167219200), ""},
		{`unixTime(event.data)`, "9999-12-31T23:59:59Z", int64(253402300799), ""},
		{`unixTime(event.data)`, int64(5), int64(5), ""},
		{`unixTime(event.data)`, 5.0, int64(5), ""},
		{`unixTime(event.data)`, -0.5, -0.5, ""},
		{`unixTime(event.data)`, nil, nil, ""},
		{`unixTime(event.data)`, "yesterday", nil, "unixTime: the text is not a time (it is written like 2026-03-06T15:11:23Z, RFC 3339)"},
		{`unixTime(event.data)`, int64(1772836883000), nil, "unixTime: the number is not a time between the years 0 and 9999 (it counts seconds since 1970)"},
		{`unixTime(event.data)`, 1e300, nil, "unixTime: the number is not a time between the years 0 and 9999 (it counts seconds since 1970)"},
		{`unixTime(event.data)`, true, nil, "unixTime: it takes a time as text or as seconds since 1970, not a boolean"},
		{`secondsBetween(event.data, 10)`, "1970-01-01T00:00:09.999999999Z", 1e-9, ""},
		{`secondsBetween(event.data, 10)`, "0001-01-01T00:00:00Z", int64(62135596810), ""},
		{`secondsBetween(10, event.data)`, nil, nil, ""},
		{`secondsBetween(event.data, 10)`, nil, nil, ""},
		{`secondsBetween("x", event.data)`, nil, nil, "secondsBetween: the text is not a time (it is written like 2026-03-06T15:11:23Z, RFC 3339)"},
		{`duration(event.data)`, "1d", int64(86400), ""},
		{`duration(event.data)`, nil, nil, ""},
		{`duration(event.data)`, "5", nil, "duration: the text is not a duration (it is written like 30s, 10m, 1h30m or 7d)"},
		{`duration(event.data)`, int64(5), nil, "duration: it takes a string, not an integer"},
		// The hour that summer time leaves out and the one that comes twice.
		{`timeOfDay(event.data, "Europe/Amsterdam")`, "2026-03-29T00:59:59Z", "01:59", ""},
		{`timeOfDay(event.data, "Europe/Amsterdam")`, "2026-03-29T01:00:00Z", "03:00", ""},
		{`timeOfDay(event.data, "Europe/Amsterdam")`, "2026-10-25T00:59:59Z", "02:59", ""},
		{`timeOfDay(event.data, "Europe/Amsterdam")`, "2026-10-25T01:00:00Z", "02:00", ""},
		{`timeOfDay(event.data, "Asia/Kolkata")`, int64(0), "05:30", ""},
		{`weekday(event.data, "Pacific/Auckland")`, "2026-03-06T12:00:00Z", "Sat", ""},
		{`weekday(event.data, "UTC")`, nil, nil, ""},
		{`between(timeOfDay(event.data, "UTC"), "22:00", "06:00")`, "2026-03-06T22:00:00Z", true, ""},
		{`between(timeOfDay(event.data, "UTC"), "22:00", "06:00")`, "2026-03-06T21:59:59Z", false, ""},
		{`between(timeOfDay(event.data, "UTC"), "22:00", "06:00")`, "2026-03-06T05:59:59Z", true, ""},
		{`between(timeOfDay(event.data, "UTC"), "22:00", "06:00")`, "2026-03-06T06:00:00Z", false, ""},
		{`between(timeOfDay(event.data, "UTC"), "22:00", "06:00")`, nil, false, ""},
		{`between(event.data, 1, 5)`, int64(5), false, ""},
		{`between(event.data, 1, 5)`, 1.0, true, ""},
		{`between(event.data, 1, 5)`, "3", false, ""},
		{`between("b", event.data, "c")`, nil, false, ""},
	} {
		got, err := value(t, tt.text, tt.data)
		if msg := errText(err); !cmp.Equal(got, tt.want) || msg != tt.err {
			t.Errorf("%s of %v: %v, error %q", tt.text, tt.data, got, msg)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		data any
		want bool
	}{
		{`inCIDR(event.data, "10.0.0.0/8")`, "10.255.255.255", true},
		{`inCIDR(event.data, "10.0.0.0/8")`, "11.0.0.0", false},
		{`inCIDR(event.data, "10.0.0.0/8")`, "::ffff:10.1.2.3", true},
		{`inCIDR(event.data, "10.0.0.0/8")`, "10.1.2.3/31", true},
		{`inCIDR(event.data, "10.0.0.0/8")`, "10.1.2.3:22", false},
		{`inCIDR(event.data, "10.0.0.0/8")`, "010.1.2.3", false},
		{`inCIDR(event.data, "10.0.0.0/8")`, nil, false},
		{`inCIDR(event.data, "10.0.0.0/8")`, int64(167772161), false},
		{`inCIDR(event.data, "192.0.2.1")`, "192.0.2.1", true},
		{`inCIDR(event.data, "192.0.2.1")`, "192.0.2.2", false},
		{`inCIDR(event.data, "fe80::/10")`, "fe80::1%eth0", true},
		{`inCIDR(event.data, ["2001:db8::/32"], "192.0.2.0/24")`, "2001:DB8:0::9", true},
		{`inCIDR(event.data, "::/0")`, "192.0.2.1", false},
		{`event.data | inCIDR("0.0.0.0/0")`, "192.0.2.1", true},
		{`isIP(event.data)`, "::", true},
		{`isIP(event.data)`, "", false},
		{`isIP(event.data)`, "1.2.3", false},
		{`isIP(event.data)`, "1.2.3.4/", false},
		{`isPrivate(event.data)`, "172.31.0.1", true},
		{`isPrivate(event.data)`, "172.32.0.1", false},
		{`isPrivate(event.data)`, "fd00::1", true},
		{`isPrivate(event.data)`, "127.0.0.1", false},
		{`isPrivate(event.data)`, nil, false},
	} {
		if got, err := value(t, tt.text, tt.data); got != tt.want || err != nil {
			t.Errorf("%s of %v: %v, %v", tt.text, tt.data, got, err)
		}
	}
}

// TestVersionOrder: each version is before the next one, equal to itself, and
// the order holds over any distance.
func TestVersionOrder(t *testing.T) {
	t.Parallel()
	ordered := []string{
		"0.9", "1.0-alpha", "1.0-alpha.1", "1.0-beta.2", "1.0-beta.11", "1.0-rc1", "1.0-rc.2", "1.0", "1.0a", "1.0B", "1.0.1-rc1", "1.0.1",
		"4.9.1F", "4.28.3", "4.28.3F", "4.28.3M", "4.28.3.1M", "15.2(4)", "15.2(4a)", "15.2(4)E8", "15.2(4)M3", "15.2(4)M10", "15.2(10)",
		"17.9.4", "17.09.04a", "17.12.1", "21.4R3", "21.4R3-S4", "21.4R3-S4.9", "21.4R3-S10", "21.4.1",
		"99999999999999999999999999.1", "100000000000000000000000000",
	}
	for i, a := range ordered {
		for j, b := range ordered {
			want := int64(0)
			switch {
			case i < j:
				want = -1
			case i > j:
				want = 1
			}
			if got, err := value(t, `versionCompare(event.data.a, event.data.b)`, map[string]any{"a": a, "b": b}); got != want || err != nil {
				t.Errorf("%s, %s: %v, want %d, %v", a, b, got, want, err)
			}
		}
	}
	for _, same := range [][2]string{
		{"1", "1.0.0"}, {"v1.2", "1.2"}, {"EOS-4.28.3m", "4.28.3M"}, {"1.0+a", "1+b"}, {"17.09.04", "17.9.4"}, {"1.0-rc", "1-RC.0"}, {"15.2(0)M3", "15.2M3"},
	} {
		if got, err := value(t, `versionCompare(event.data[0], event.data[1])`, []any{same[0], same[1]}); got != int64(0) || err != nil {
			t.Errorf("%v: %v, %v", same, got, err)
		}
	}
	for data, want := range map[any]string{
		"unknown": "versionCompare: the text is no version (it has no digit)",
		1.10:      "versionCompare: it takes a string, not a float (put a number such as 1.10 in quotes)",
	} {
		if _, err := value(t, `versionCompare("1", event.data)`, data); errText(err) != want {
			t.Errorf("%v: %v", data, err)
		}
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		data any
		want bool
	}{
		{`glob("*", event.data)`, "", true},
		{`glob("*", event.data)`, "a/b.c\nd", true},
		{`glob("*", event.data)`, nil, false},
		{`glob("", event.data)`, "", true},
		{`glob("a", event.data)`, "ab", false},
		{`glob("?", event.data)`, "ü", true},
		{`glob("?", event.data)`, "", false},
		{`glob("a.c", event.data)`, "abc", false},
		{`glob("[a-c]x", event.data)`, "bx", true},
		{`glob("[!a-c]x", event.data)`, "bx", false},
		{`glob("[!a-c]x", event.data)`, "ßx", true},
		{`glob("{a,b*}c", event.data)`, "bxxc", true},
		{`glob("{a,}c", event.data)`, "c", true},
		{`glob("a,b", event.data)`, "a,b", true},
		{`glob("a}", event.data)`, "a}", true},
		{`glob('\\*', event.data)`, "*", true},
		{`glob('\\*', event.data)`, "x", false},
		{`glob("**a**b", event.data)`, "xxayyb", true},
		{`glob("^$|()", event.data)`, "^$|()", true},
		{`equalFold(event.data, "STRASSE")`, "strasse", true},
		{`equalFold(event.data, "K")`, "\u212a", true},
		{`equalFold(event.data, "1")`, int64(1), false},
	} {
		if got, err := value(t, tt.text, tt.data); got != tt.want || err != nil {
			t.Errorf("%s of %q: %v, %v", tt.text, tt.data, got, err)
		}
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	was := map[string]any{"status": "planned", "rack": nil, "tags": []any{"a"}, "role": map[string]any{"slug": "leaf"}}
	is := map[string]any{"status": "active", "rack": nil, "tags": []any{"a"}, "role": map[string]any{"slug": "spine"}, "n": int64(1)}
	data := func(before, after any) any {
		return map[string]any{"snapshots": map[string]any{"prechange": before, "postchange": after}}
	}
	for name, tt := range map[string]struct {
		data any
		want map[string]bool
	}{
		"updated": {data(was, is), map[string]bool{
			`changed("status")`: true, `changed("rack")`: false, `changed("tags")`: false, `changed("role")`: true, `changed("role.slug")`: true,
			`changed("tags.0")`: false, `changed("tags.x")`: false, `changed("n")`: true, `changed("nope.deep")`: false,
			`became("status", "active")`: true, `became("status", "planned")`: false, `became("rack", nil)`: false, `became("n", 1.0)`: true,
			`became("role.slug", "spine")`: true, `became("role", {"slug": "spine"})`: true, `became("tags.0", "a")`: false,
			`changed("status", event.data.snapshots)`: true, `changed("status", event.data)`: false,
		}},
		"created": {data(nil, is), map[string]bool{
			`changed("status")`: true, `changed("rack")`: false, `became("status", "active")`: true, `became("rack", nil)`: false,
		}},
		"deleted": {data(was, nil), map[string]bool{
			`changed("status")`: true, `changed("rack")`: false, `became("status", nil)`: false, `became("status", "planned")`: false,
		}},
		"no snapshots": {map[string]any{}, map[string]bool{
			`changed("status")`: false, `became("status", nil)`: false, `became("status", "active")`: false,
		}},
		"odd snapshots": {map[string]any{"snapshots": "x"}, map[string]bool{
			`changed("status")`: false, `became("status", nil)`: false,
		}},
	} {
		for text, want := range tt.want {
			if got, err := value(t, text, tt.data); got != want || err != nil {
				t.Errorf("%s, %s: %v, %v", name, text, got, err)
			}
		}
	}
}

// TestFunctionsExplained: a reason shows what a test looked at.
func TestFunctionsExplained(t *testing.T) {
	t.Parallel()
	ev := map[string]any{"time": "2026-03-06T12:00:00Z", "data": map[string]any{
		"ip": "192.0.2.1", "version": "15.2", "hosts": []any{"a"},
		"snapshots": map[string]any{"postchange": map[string]any{"status": "planned"}},
		"other":     map[string]any{"prechange": map[string]any{"a": int64(1)}, "postchange": map[string]any{}},
	}}
	for text, want := range map[string]string{
		`became("status", "active")`:                   `became("status", "active") is false (prechange is missing, postchange.status is "planned")`,
		`became("a", 1, event.data.other)`:             `became("a", 1, event.data.other) is false (prechange.a is 1, postchange.a is null)`,
		`inCIDR(event.data.ip, "10.0.0.0/8")`:          `inCIDR(event.data.ip, "10.0.0.0/8") is false (event.data.ip is "192.0.2.1")`,
		`isPrivate(event.data.nope)`:                   `isPrivate(event.data.nope) is false (event.data.nope is missing)`,
		`versionCompare(event.data.version, "15") < 0`: `versionCompare(event.data.version, "15") < 0 is false: versionCompare(event.data.version, "15") is 1 (event.data.version is "15.2")`,
		`between(timeOfDay(event.time, "UTC"), "22:00", "06:00")`: `between(timeOfDay(event.time, "UTC"), "22:00", "06:00") is false ` +
			`(timeOfDay(event.time, "UTC") is "12:00" (event.time is "2026-03-06T12:00:00Z"))`,
		`any(event.data.hosts, glob("b*", #))`: `any(event.data.hosts, glob("b*", #)) is false: event.data.hosts is ["a"]`,
		`len(event.data.hosts) > 1`:            `len(event.data.hosts) > 1 is false: len(event.data.hosts) is 1`,
	} {
		if why, err := expression.WhyFalse(text, []string{"event"}, ev); why != want || err != nil {
			t.Errorf("%s, %v", why, err)
		}
	}
}

// TestConstantArguments: what must be written out is checked where it stands.
func TestConstantArguments(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`timeOfDay(event.time, event.data.zone)`:       `the zone of timeOfDay must be written out, such as "Europe/Amsterdam" or "UTC"`,
		`weekday(event.time, "Europe/Amsterdm")`:       `unknown time zone "Europe/Amsterdm" (did you mean "Europe/Amsterdam"?)`,
		`weekday(event.time, "Local")`:                 `unknown time zone "Local" (write it as in the IANA database: "Europe/Amsterdam", "America/New_York", "UTC")`,
		`weekday(event.time, "")`:                      `unknown time zone "" (write it as in the IANA database: "Europe/Amsterdam", "America/New_York", "UTC")`,
		`weekday(event.time)`:                          `weekday takes 2 arguments, not 1`,
		`between(event.data.t, "8:00", "18:00")`:       `a time of day has two digits for the hour (write "08:00")`,
		`between(event.data.t, "08:00", "08:00")`:      `nothing is between two ends that are the same (the second is not in the range)`,
		`between(event.data.t, 1, "b")`:                `between takes two numbers or two strings as ends, not integer and string`,
		`duration("1w")`:                               `duration: the text is not a duration (it is written like 30s, 10m, 1h30m or 7d)`,
		`inCIDR(event.data.ip, event.data.net)`:        `the networks of inCIDR must be written out, such as "10.0.0.0/8" or ["10.0.0.0/8", "2001:db8::/32"]`,
		`inCIDR(event.data.ip, "10.0.0.0/33")`:         `"10.0.0.0/33" is not a network (write it like 10.0.0.0/8 or 2001:db8::/32)`,
		`inCIDR(event.data.ip, "10.1.0.0/8")`:          `"10.1.0.0/8" has bits behind its length (the network is 10.0.0.0/8, the address 10.1.0.0/32)`,
		`inCIDR(event.data.ip, "::ffff:10.0.0.0/104")`: `"::ffff:10.0.0.0/104" is IPv4 written as IPv6 (write it as IPv4, such as 10.0.0.0/8)`,
		`inCIDR(event.data.ip, [])`:                    `inCIDR takes at least one network`,
		`glob(event.data.p, "x")`:                      `the pattern of glob must be written out, and comes first: glob("sw-*", event.data.host)`,
		`glob("[a", event.data.h)`:                     `bad pattern: [ is not closed by ] (write \[ for the character)`,
		`glob("[z-a]", event.data.h)`:                  "bad pattern: invalid character class range: `z-a`",
		`glob("{a{b}}", event.data.h)`:                 `bad pattern: { within { } is not possible (write \{ for the character)`,
		`glob("{a", event.data.h)`:                     `bad pattern: { is not closed by } (write \{ for the character)`,
		`glob('a\\', event.data.h)`:                    `bad pattern: \ at the end (write \\ for the character)`,
		`changed(event.data.f)`:                        `the field of changed must be written out, such as "status" or "custom_fields.owner"`,
		`changed("a..b")`:                              `bad field "a..b" (write names with a dot between, such as "status" or "custom_fields.owner")`,
		`became("postchange.status", 1)`:               `the field "postchange.status" begins within the snapshots (write it as "status" or "custom_fields.owner")`,
		`chnaged("a")`:                                 `unknown function "chnaged" (did you mean "changed"?)`,
		`event.data.x matches "(a{1000}){1000}"`:       "bad pattern: invalid repeat count: `{1000}`",
		`event.data.x matches "` + strings.Repeat("[ab]{1000}", 19) + `(c?d){400}"`: `bad pattern: it has 20620 instructions, at most 20000 are possible (repeat less)`,
	} {
		_, err := expression.NewCompiler("event").Compile(text)
		if errText(err) != want {
			t.Errorf("%s:\n%v", text, err)
		}
	}
	_, err := expression.NewCompiler("body").Compile(`changed("status")`)
	if errText(err) != `changed looks at event.data.snapshots, and there is no event here (name the snapshots last: body.snapshots)` {
		t.Error(err)
	}
	if _, err := expression.NewCompiler("body").Compile(`changed("status", body.snapshots)`); err != nil {
		t.Error(err)
	}
}

// TestStepsOfMaps: comparing maps takes the same steps whatever the order in
// which their members are visited.
func TestStepsOfMaps(t *testing.T) {
	t.Parallel()
	a, b := map[string]any{}, map[string]any{}
	for i := range 20 {
		a[fmt.Sprint(i)], b[fmt.Sprint(i)] = make([]any, 40), make([]any, 40)
	}
	b["7"] = "x" // they differ in one
	c := expression.NewCompiler("a", "b")
	p, err := c.Compile("a == b")
	if err != nil {
		t.Fatal(err)
	}
	s := c.NewState()
	steps := func() int {
		for n := 1; ; n++ {
			s.Reset(a, b)
			s.Allow(n)
			if same, err := p.Eval(s); err == nil {
				if same != false {
					t.Fatal("they are not the same")
				}
				return n
			}
		}
	}
	want := steps()
	for range 50 {
		if got := steps(); got != want {
			t.Fatalf("%d steps, before %d", got, want)
		}
	}
}

// FuzzVersions: the order is one: it can be turned round, and what is not after
// the second is not after what the second is not after.
func FuzzVersions(f *testing.F) {
	f.Add("1.0", "1.0.0", "1.0-rc1")
	f.Add("15.2(4)M3", "15.2(4a)", "15.2(10)")
	f.Add("0a0b", "00.0", "1+x")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		compare := func(x, y string) int64 {
			v, err := value(t, `versionCompare(event.data[0], event.data[1])`, []any{x, y})
			if err != nil {
				t.Skip()
			}
			return v.(int64)
		}
		ab, bc, ac := compare(a, b), compare(b, c), compare(a, c)
		if ab != -compare(b, a) || compare(a, a) != 0 {
			t.Errorf("%q, %q: %d and %d", a, b, ab, compare(b, a))
		}
		if ab <= 0 && bc <= 0 && ac > 0 || ab == 0 && ac != bc {
			t.Errorf("%q, %q, %q: %d, %d, %d", a, b, c, ab, bc, ac)
		}
	})
}

// FuzzGlob: a pattern is refused or compiles, and one in which every character
// is escaped fits its own text alone.
func FuzzGlob(f *testing.F) {
	f.Add("sw-*.ams?", "x")
	f.Add(`[a-c]{x,\*}`, "[")
	f.Add("ü{,}[!]]", "ü")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if !utf8.ValidString(text) || len(text) > 1000 || strings.ContainsRune(text, '\uFEFF') {
			t.Skip()
		}
		if _, err := expression.NewCompiler("event").Compile("glob(" + strconv.Quote(pattern) + ", event.data)"); err != nil {
			t.Log(err)
		}
		var escaped strings.Builder
		for _, r := range text {
			escaped.WriteString(`\` + string(r))
		}
		for other, want := range map[string]bool{text: true, text + "x": false, "x" + text: false} {
			c := expression.NewCompiler("event")
			p, err := c.Compile("glob(" + quote(escaped.String()) + ", event.data)")
			if err != nil {
				t.Skip(err) // too long, or no text of an expression
			}
			s := c.NewState()
			s.Reset(map[string]any{"data": other})
			if got, err := p.Eval(s); got != want || err != nil {
				t.Errorf("glob(%q, %q) is %v, %v", escaped.String(), other, got, err)
			}
		}
	})
}

// quote writes a text as a string of expressions.
func quote(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range text {
		if r < ' ' || r == '"' || r == '\\' || r > '~' {
			fmt.Fprintf(&out, `\U%08x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String() + `"`
}
