package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain é 漢 😀":          "plain é 漢 😀",
		"a\nb\tc\r":            `a\nb\tc\x0d`,
		"\x1b[31mred":          `\x1b[31mred`,
		"\u009b2J":             `\x9b2J`,
		"user\u202egnp":        `user\u202egnp`,
		"\U000e0001":           `\U000e0001`,
		"bad\xffbyte":          `bad\xffbyte`,
		"a replacement \ufffd": "a replacement \ufffd",
		"nul\x00":              `nul\x00`,
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
	if got := cell(strings.Repeat("é", 500)); len([]rune(got)) != maxCell || !strings.HasSuffix(got, "…") {
		t.Errorf("a long cell is %q", got)
	}
}

// Nothing that a terminal acts on is printed, and JSON means the same.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"a", "\x1b]0;t\x07", "\u009b\u202e\U000e0001", "\xff", "\u2028<&>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, out := range []string{escape(s), cell(s)} {
			if i := strings.IndexFunc(out, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("escape(%q) = %q", s, out)
			}
		}
		in := map[string]any{s: []any{s}}
		text, err := encodeJSON(in, "  ")
		if err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(string(text), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("JSON of %q: %q", s, text)
		}
		clean := strings.ToValidUTF8(s, "\x00")
		if clean != s {
			return
		}
		var out map[string]any
		if err := json.Unmarshal(text, &out); err != nil || !reflect.DeepEqual(in, out) {
			t.Errorf("%q became %v, %v", s, out, err)
		}
	})
}

func FuzzComplete(f *testing.F) {
	for _, s := range []string{`{}`, `{"id":"x"}`, `[{},{"a":1}]`, `[]`, `null`, `{"a":`, ` {"type":"t"} `, `[null]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		out, err := complete(text)
		if err == nil && json.Valid(text) && !json.Valid(out) {
			t.Errorf("%q became %q", text, out)
		}
	})
}

func TestUIDFloor(t *testing.T) {
	t.Parallel()
	for uid, want := range map[string]string{
		"":                                     "00000000-0000-7000-8000-000000000000",
		"0198c5c2-7d6b-7c35-b4a5-1c2d3e4f5a6b": "0198c5c2-759b-7000-8000-000000000000",
		"00000000-0001-7c35-b4a5-1c2d3e4f5a6b": "00000000-0000-7000-8000-000000000000",
	} {
		if got := uidFloor(uid, tailOverlap); got != want {
			t.Errorf("uidFloor(%q) = %s, want %s", uid, got, want)
		}
	}
}
