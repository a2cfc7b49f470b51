package strictyaml_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

func parse(t *testing.T, text string) *strictyaml.Document {
	t.Helper()
	doc, err := strictyaml.Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"alias and anchor", "a: &x 1\nb: *x\n", `f.yaml:1:4: anchors are not supported (remove &x)
    a: &x 1
       ^
f.yaml:2:4: aliases are not supported (write the value out)
    b: *x
       ^`},
		{"unknown alias", "a: *x\n", `f.yaml:1:4: aliases are not supported (write the value out)
    a: *x
       ^`},
		{"alias as a key", "a: &x b\n*x : 1\n", `f.yaml:1:4: anchors are not supported (remove &x)
    a: &x b
       ^
f.yaml:2:1: aliases are not supported (write the value out)
    *x : 1
    ^`},
		{"merge key", "<<: {a: 1}\n", `f.yaml:1:1: merge keys are not supported (write the keys out)
    <<: {a: 1}
    ^`},
		{"python tag", "a: !!python/object:os.system ls\n", `f.yaml:1:4: tags are not supported (remove the tag !!python/object:os.system)
    a: !!python/object:os.system ls
       ^`},
		{"standard tag", "a: !!str 1\n", `f.yaml:1:4: tags are not supported (remove the tag !!str)
    a: !!str 1
       ^`},
		{"tag on a mapping", "a: !x {b: 1}\n", `f.yaml:1:4: tags are not supported (remove the tag !x)
    a: !x {b: 1}
       ^`},
		{"duplicate keys", "a: 1\nb:\n  c: 1\n  \"c\": 2\na: 2\n", `f.yaml:4:3: duplicate key "c" (it is in line 3 already)
      "c": 2
      ^
f.yaml:5:1: duplicate key "a" (it is in line 1 already)
    a: 2
    ^`},
		{"second document", "a: 1\n---\nb: 1\n", `f.yaml:2:1: a second document begins here (put it in a file of its own)
    ---
    ^`},
		{"tab", "a:\n\tb: 1\n", `f.yaml:2:1: a tab cannot indent YAML (use spaces)
     b: 1
    ^`},
		{"list as key", "? [1]\n: 2\n", `f.yaml:1:3: a key must be text
    ? [1]
      ^`},
		{"number as key", "1: x\n", `f.yaml:1:1: a key must be text (write "1" in quotes)
    1: x
    ^`},
		{"boolean as key", "true: x\n", `f.yaml:1:1: a key must be text (write "true" in quotes)
    true: x
    ^`},
		{"octal", "a: 010\n", `f.yaml:1:4: 010 begins with a zero, which readers of YAML take for different numbers (write 10, or "010" for text)
    a: 010
       ^`},
		{"zeros", "a: -00.5\n", `f.yaml:1:4: -00.5 begins with a zero, which readers of YAML take for different numbers (write -0.5, or "-00.5" for text)
    a: -00.5
       ^`},
		{"infinity", "a: -.inf\n", `f.yaml:1:4: -.inf is not a number here (put it in quotes for text)
    a: -.inf
       ^`},
		{"beyond 64 bits", "a: 9223372036854775808\n", `f.yaml:1:4: 9223372036854775808 does not fit into 64 bits (put it in quotes for text)
    a: 9223372036854775808
       ^`},
		{"beyond floats", "a: 1e999\n", `f.yaml:1:4: 1e999 is too large for a number (put it in quotes for text)
    a: 1e999
       ^`},
		{"not UTF-8", "é: 1\na: é\xff\n", `f.yaml:2:5: byte 0xff is not UTF-8 text (save the file as UTF-8)
    a: é�
        ^`},
		{"control character", "a: \x1b[31m\n", `f.yaml:1:4: control character U+001B is not allowed (write "\u001b" in double quotes)
    a: ?[31m
       ^`},
		{"exotic line break", "a: x\u2028b: y\n", `f.yaml:1:5: character U+2028 is not allowed here (write "\u2028" in double quotes)
    a: x?b: y
        ^`},
		{"unclosed list", "a: [1,\nb: 2\n", `f.yaml:1:4: did not find expected ',' or ']' while parsing a flow sequence
    a: [1,
       ^`},
		{"colon in a value", "when: a: b\n", `f.yaml:1:8: a second ":" in one value (put the value in quotes)
    when: a: b
           ^`},
		{"reserved character", "a: @x\n", `f.yaml:1:4: a value cannot begin with '@' (put it in quotes)
    a: @x
       ^`},
		{"too deep", "a: " + strings.Repeat("[", 120) + strings.Repeat("]", 120), `f.yaml:1:103: nested more than 100 levels deep
    …[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]…
                                                       ^`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := strictyaml.Parse("f.yaml", []byte(tt.in))
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			var one *strictyaml.Error
			if !errors.As(err, &one) {
				t.Errorf("%T does not unwrap to an Error", err)
			}
		})
	}
}

func TestParseRefusesLargeFiles(t *testing.T) {
	t.Parallel()
	_, err := strictyaml.Parse("big.yaml", make([]byte, strictyaml.MaxSize+1))
	want := "big.yaml:1:1: file has 67108865 bytes, the limit is 67108864 (split it)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAny(t *testing.T) {
	t.Parallel()
	doc := parse(t, `
text: yes
time: 2020-01-01
clock: 1:30
grouped: 1_000
on: off
int: -12
hex: 0x1F
octal: 0o17
float: 1.5e3
zero: 0
empty:
tilde: ~
yes: true
quoted: "010"
list: [1, a, [], {}]
map: {a: {b: c}}
template: ${{ event.data }}
`)
	got, ok := doc.Root().Any()
	want := map[string]any{
		"text": "yes", "time": "2020-01-01", "clock": "1:30", "grouped": "1_000", "on": "off",
		"int": int64(-12), "hex": int64(31), "octal": int64(15), "float": 1500.0, "zero": int64(0),
		"empty": nil, "tilde": nil, "yes": true, "quoted": "010",
		"list": []any{int64(1), "a", []any{}, map[string]any{}},
		"map":  map[string]any{"a": map[string]any{"b": "c"}}, "template": "${{ event.data }}",
	}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("ok %v, -want +got\n%s", ok, diff)
	}
	if err := doc.Err(); err != nil {
		t.Error(err)
	}
}

func TestEmptyDocumentIsAnEmptyMapping(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing\n", "---\n", "\xef\xbb\xbf"} {
		doc := parse(t, text)
		if m := doc.Root().Map("a"); m.Key("a") != nil || doc.Err() != nil {
			t.Errorf("%q: key %v, error %v", text, m.Key("a"), doc.Err())
		}
	}
}

func TestWalkReportsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	doc := parse(t, `nmae: x
wait: 30
size: 5
ratio: high
on: yes
count: 11
rules: {a: 1}
text: 12
null_text:
zebra: 1
`)
	m := doc.Root().Map("name", "wait", "size", "ratio", "on", "count", "rules", "text", "null_text", "must")
	if _, ok := m.Key("wait").Duration(); ok {
		t.Error("a bare number is no duration")
	}
	m.Key("size").Size()
	m.Key("ratio").Float()
	m.Key("on").Bool()
	m.Key("count").Int(1, 10)
	m.Key("rules").List()
	m.Key("text").Text()
	m.Key("null_text").Text()
	m.Required("must")
	want := `f.yaml:1:1: "must" is missing
    nmae: x
    ^
f.yaml:1:1: unknown key "nmae" (did you mean "name"?)
    nmae: x
    ^
f.yaml:2:7: a duration needs a unit (write "30s" for seconds)
    wait: 30
          ^
f.yaml:3:7: a size needs a unit (write "5B" for bytes, or KiB, MiB, GiB)
    size: 5
          ^
f.yaml:4:8: want a number, got text
    ratio: high
           ^
f.yaml:5:5: want true or false, got text
    on: yes
        ^
f.yaml:6:8: 11 is out of range (1 to 10)
    count: 11
           ^
f.yaml:7:8: want a list, got a mapping
    rules: {a: 1}
           ^
f.yaml:8:7: want text, got an integer (write "12" in quotes)
    text: 12
          ^
f.yaml:9:11: a value is missing: want text (give one, or remove the key)
    null_text:
              ^
f.yaml:10:1: unknown key "zebra" (known: name, wait, size, ratio, on, count, rules, text, null_text, must)
    zebra: 1
    ^`
	err := doc.Err()
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestAbsentValuesAreSilent(t *testing.T) {
	t.Parallel()
	doc := parse(t, "a: 1\n")
	n := doc.Root().Map("a", "b").Key("b")
	if _, ok := n.Text(); ok {
		t.Error("text of nothing")
	}
	n.Errorf("x")
	n.Warn("a-kind", 0, "x")
	n.Secret()
	if m := n.Map("x"); m.Key("x") != nil || m.Required("x") != nil || m.Node() != nil {
		t.Error("a mapping of nothing")
	}
	if _, ok := n.Entries(); ok {
		t.Error("entries of nothing")
	}
	if err := doc.Err(); err != nil {
		t.Error(err)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	t.Parallel()
	doc := parse(t, "auth: {hmac: {secret: \"hunter2 hunter2\"}, dedup: 5}\nblock: |\n  hunter2\n  hunter3\n")
	m := doc.Root().Map("auth", "block")
	auth := m.Key("auth").Map("hmac", "dedup")
	auth.Key("dedup").Duration() // reported before the secret is known
	secret := auth.Key("hmac").Map("secret").Key("secret")
	secret.Secret()
	secret.Errorf("too short")
	secret.Warn("a-kind", 0, "literal secret")
	m.Key("block").Secret()
	m.Key("block").ErrorfAt(9, "bad")
	want := `f.yaml:1:23: too short
    auth: {hmac: {secret: ***}, dedup: 5}
                          ^
f.yaml:1:50: a duration needs a unit (write "5s" for seconds)
    auth: {hmac: {secret: ***}, dedup: 5}
                                       ^
f.yaml:4:4: bad
    ***
    ^`
	if diff := cmp.Diff(want, doc.Err().Error()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got := doc.Warnings()[0].Error(); strings.Contains(got, "hunter") || !strings.Contains(got, "***") {
		t.Error(got)
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	good := map[string]time.Duration{
		"0s": 0, "30s": 30 * time.Second, "10m": 10 * time.Minute, "24h": 24 * time.Hour, "7d": 168 * time.Hour,
		"1h30m": 90 * time.Minute, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond, "0.1s": 100 * time.Millisecond,
	}
	for text, want := range good {
		if got, err := strictyaml.ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	bad := map[string]string{
		"30":       `a duration needs a unit (write "30s" for seconds)`,
		"0":        `a duration needs a unit (write "0s" for seconds)`,
		"":         `"" is not a duration (write it like 30s, 10m, 24h or 7d)`,
		"-5s":      `"-5s" is not a duration (write it like 30s, 10m, 24h or 7d)`,
		"1 h":      `"1 h" is not a duration (write it like 30s, 10m, 24h or 7d)`,
		"5min":     `"5min" is not a duration (write it like 30s, 10m, 24h or 7d)`,
		"1s5":      `"1s5" is not a duration (write it like 30s, 10m, 24h or 7d)`,
		"9999999d": `duration "9999999d" is too long`,
	}
	for text, want := range bad {
		if got, err := strictyaml.ParseDuration(text); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0s": 0, "30s": 30 * time.Second, "10m": 10 * time.Minute, "1h30m": 90 * time.Minute,
		"20h": 20 * time.Hour, "7d": 168 * time.Hour, "25h": 25 * time.Hour, "1m10s": 70 * time.Second,
	} {
		if got := strictyaml.FormatDuration(d); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	good := map[string]int64{
		"512B": 512, "64KiB": 64 << 10, "1MiB": 1 << 20, "8GiB": 8 << 30, "1TiB": 1 << 40, "1.5MiB": 3 << 19,
		"64KB": 64e3, "64kB": 64e3, "1MB": 1e6, "8GB": 8e9, "0B": 0,
	}
	for text, want := range good {
		if again, err := strictyaml.ParseSize(strictyaml.FormatSize(want)); err != nil || again != want {
			t.Errorf("%s is written as %s", text, strictyaml.FormatSize(want))
		}
		if got, err := strictyaml.ParseSize(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	bad := map[string]string{
		"512":         `a size needs a unit (write "512B" for bytes, or KiB, MiB, GiB)`,
		"1M":          `"1M" is not a size (write it like 64KiB, 1MiB or 8GiB)`,
		"1 MiB":       `"1 MiB" is not a size (write it like 64KiB, 1MiB or 8GiB)`,
		"-1MiB":       `"-1MiB" is not a size (write it like 64KiB, 1MiB or 8GiB)`,
		"":            `"" is not a size (write it like 64KiB, 1MiB or 8GiB)`,
		"99999999TiB": `size "99999999TiB" is too large`,
	}
	for text, want := range bad {
		if got, err := strictyaml.ParseSize(text); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}
