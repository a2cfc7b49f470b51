package scan_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules/scan"
)

// depth is that of jsontext.
const depth = 10_000

// read is Scan of a text with nothing but white space behind the value.
func read(text []byte, depth int) (*scan.Scanner, error) {
	var s scan.Scanner
	end, err := s.Scan(text, 0, depth)
	if err != nil {
		return nil, err
	}
	if end = scan.Space(text, end); end < len(text) {
		return nil, &scan.Error{Fault: scan.Syntax, Offset: end}
	}
	return &s, nil
}

// other decodes a text by jsontext alone.
func other(text []byte) (any, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(text))
	v, err := otherValue(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows")
	}
	return v, nil
}

func otherValue(dec *jsontext.Decoder) (any, error) {
	tok, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case '{':
		m := map[string]any{}
		for dec.PeekKind() != '}' {
			name, err := dec.ReadToken()
			if err != nil {
				return nil, err
			}
			text := name.String()
			if m[text], err = otherValue(dec); err != nil {
				return nil, err
			}
		}
		_, err = dec.ReadToken()
		return m, err
	case '[':
		list := []any{}
		for dec.PeekKind() != ']' {
			v, err := otherValue(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.ReadToken()
		return list, err
	case '"':
		return tok.String(), nil
	case 't', 'f':
		return tok.Bool(), nil
	case '0':
		text := tok.String()
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
		f, _ := strconv.ParseFloat(text, 64)
		return f, nil
	}
	return nil, nil
}

// compare is what Scan and jsontext must agree on.
func compare(t *testing.T, text []byte) {
	t.Helper()
	want, wantErr := other(text)
	s, err := read(text, depth)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q: %v, by jsontext %v", text, err, wantErr)
	}
	if valid := jsontext.Value(text).IsValid(); valid != (err == nil) {
		t.Fatalf("%q: %v, by IsValid %v", text, err, valid)
	}
	if err != nil {
		compareFaults(t, text, err, wantErr)
		return
	}
	root := s.Doc().Root()
	if got := root.Any(); !reflect.DeepEqual(got, want) { // cmp.Diff takes exponential time on deep nesting
		t.Fatalf("%q: %v, by jsontext %v", text, got, want)
	}
	if got := bytes.TrimSpace(text); string(got) != string(root.Raw()) {
		t.Fatalf("%q: raw %q", text, root.Raw())
	}
	sorted := jsontext.Value(bytes.Clone(text))
	if err := sorted.Format(jsontext.ReorderRawObjects(true)); err != nil {
		t.Fatal(err)
	}
	if got := string(root.AppendSorted(nil)); got != string(sorted) {
		t.Fatalf("%q: sorted %q, by jsontext %q", text, got, sorted)
	}
	lookUp(t, root, want)
}

// compareFaults: the fault and where it is.
func compareFaults(t *testing.T, text []byte, err, wantErr error) {
	t.Helper()
	var e *scan.Error
	if !errors.As(err, &e) {
		t.Fatalf("%q: %T", text, err)
	}
	var syntax *jsontext.SyntacticError
	if !errors.As(wantErr, &syntax) {
		return
	}
	fault := scan.Syntax
	switch {
	case errors.Is(wantErr, jsontext.ErrDuplicateName):
		fault = scan.Duplicate
	case errors.Is(wantErr, io.ErrUnexpectedEOF):
		fault = scan.Early
	case strings.Contains(wantErr.Error(), "depth"):
		fault = scan.TooDeep
	}
	want := int(syntax.ByteOffset)
	if fault == scan.Early {
		want = len(text) // jsontext has the beginning of what is cut off
	}
	if e.Fault == scan.Syntax && e.Offset < want && text[e.Offset] != '"' {
		return // where a name should begin jsontext reads the value that is there first
	}
	if e.Fault == scan.Syntax && strings.ContainsRune("]}", rune(text[e.Offset])) && want < e.Offset && text[want] == ',' {
		return // between tokens jsontext blames the comma before a bracket, within a value the bracket
	}
	if e.Fault != fault || e.Offset != want {
		t.Errorf("%q: %v (%d), by jsontext %v (%d at %d)", text, err, e.Fault, wantErr, fault, want)
	}
}

// lookUp finds every value by its place.
func lookUp(t *testing.T, v scan.Value, want any) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		if v.Kind() != scan.Map || v.Len() != len(want) || len(want) > 100 {
			return
		}
		for name, e := range want {
			at := v.Member(name)
			if at.Kind() == scan.None {
				t.Fatalf("no member %q", name)
			}
			lookUp(t, at, e)
		}
		if v.Member("no such member").Kind() != scan.None && want["no such member"] == nil {
			t.Fatal("a member that is not there")
		}
	case []any:
		for i, e := range want[:min(len(want), 100)] {
			lookUp(t, v.Element(int64(i)), e)
			if v.Element(int64(i-len(want))) != v.Element(int64(i)) {
				t.Fatalf("element %d is another one from the end", i)
			}
		}
		if v.Element(int64(len(want))).Kind() != scan.None || v.Element(int64(-len(want)-1)).Kind() != scan.None {
			t.Fatal("an element that is not there")
		}
	default:
		if got := v.Scalar(); !reflect.DeepEqual(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

// corners are texts at the corners of RFC 8259, each with what must become of it:
// y is valid, n is not, and i is what the RFC leaves open and is decided here.
var corners = []struct{ name, verdict, text string }{
	{"y_null", "y", `null`},
	{"y_true", "y", `true`},
	{"y_false", "y", `false`},
	{"y_number", "y", `0`},
	{"y_text", "y", `""`},
	{"y_space_around", "y", " \t\r\n[ ] \n"},
	{"n_empty", "n", ``},
	{"n_space_alone", "n", "  "},
	{"n_form_feed", "n", "\f1"},
	{"n_no_break_space", "n", "\u00a01"},
	{"n_vertical_tab", "n", "[\v1]"},
	{"n_nul_byte", "n", "1\x00"},
	{"n_comment", "n", `/**/1`},
	{"n_comment_behind", "n", `1 // one`},
	{"i_byte_order_mark", "n", "\ufeff{}"},
	{"n_utf16", "n", "[\x00\"\x00\xe9\x00\"\x00]\x00"},
	{"n_word_cut_off", "n", `nul`},
	{"n_word_upper", "n", `True`},
	{"n_word_longer", "n", `nulll`},
	{"n_word_with_nul", "n", "tru\x00"},
	{"n_nan", "n", `NaN`},
	{"n_infinity", "n", `Infinity`},
	{"n_minus_infinity", "n", `-Infinity`},
	{"n_undefined", "n", `undefined`},

	{"y_empty_array", "y", `[]`},
	{"y_array", "y", `[1, [2], {"a":[]}]`},
	{"n_comma_behind", "n", `[1,]`},
	{"n_comma_first", "n", `[,1]`},
	{"n_comma_twice", "n", `[1,,2]`},
	{"n_no_comma", "n", `[1 2]`},
	{"n_colon_in_array", "n", `["a":1]`},
	{"n_array_open", "n", `[1`},
	{"n_array_open_behind_comma", "n", `[1,`},
	{"n_array_closed_twice", "n", `[1]]`},
	{"n_array_closed_by_brace", "n", `[1}`},
	{"n_close", "n", `]`},
	{"n_two_values", "n", `1 2`},
	{"n_two_arrays", "n", `[][]`},
	{"n_array_and_comma", "n", `[],`},
	{"n_semicolon", "n", `[1;2]`},

	{"y_empty_object", "y", `{}`},
	{"y_object", "y", `{"a":1, "b" : 2}`},
	{"y_empty_name", "y", `{"":0}`},
	{"y_name_with_escape", "y", `{"\u0061b":0,"ab\u0000":1}`},
	{"n_object_comma_behind", "n", `{"a":1,}`},
	{"n_object_comma_first", "n", `{,"a":1}`},
	{"n_no_colon", "n", `{"a" 1}`},
	{"n_comma_for_colon", "n", `{"a",1}`},
	{"n_two_colons", "n", `{"a"::1}`},
	{"n_no_value", "n", `{"a":}`},
	{"n_no_value_open", "n", `{"a":`},
	{"n_name_alone", "n", `{"a"}`},
	{"n_name_open", "n", `{"a`},
	{"n_number_as_name", "n", `{1:1}`},
	{"n_bare_name", "n", `{a:1}`},
	{"n_single_quotes", "n", `{'a':1}`},
	{"n_object_open", "n", `{"a":1`},
	{"n_brace", "n", `{`},
	{"n_closed_by_bracket", "n", `{"a":1]`},
	{"n_null_as_name", "n", `{null:1}`},
	{"n_array_as_name", "n", `{[]:1}`},
	{"i_name_twice", "n", `{"a":1,"a":1}`},
	{"i_name_twice_escaped", "n", `{"a":1,"\u0061":2}`},
	{"i_escaped_name_twice", "n", `{"\u0061":1,"\u0061":2}`},
	{"i_name_twice_deep", "n", `[{"b":{"a":1,"c":[],"a":1}}]`},
	{"y_name_in_two_objects", "y", `{"a":{"a":{"a":1}},"b":{"a":1}}`},
	{"i_empty_name_twice", "n", `{"":1,"":2}`},
	{"y_names_in_order", "y", `{"b":{"d":1, "c":2},"a":3,"":4,"\u0061b":5,"😀":6,"\ue000":7,"\ud83d\ude01":8,"é":9,"\uffff":10,"éa":11}`},
	{"y_names_alike", "y", `{"a":1,"A":1,"a ":1,"b":1,"aaaaaaaab":1,"aaaaaaaac":1,"aaaaaaaa":1}`},
	{"y_composed_and_not", "y", `{"é":1,"e\u0301":1}`},

	{"y_zero", "y", `0`},
	{"y_minus_zero", "y", `-0`},
	{"y_fraction", "y", `0.10`},
	{"y_exponents", "y", `[1e2,1E2,1e+2,1e-2,0e0,1.5e007]`},
	{"n_leading_zero", "n", `01`},
	{"n_minus_leading_zero", "n", `-01`},
	{"n_minus", "n", `-`},
	{"n_minus_text", "n", `-a`},
	{"n_two_minus", "n", `--1`},
	{"n_plus", "n", `+1`},
	{"n_point_behind", "n", `1.`},
	{"n_point_first", "n", `.5`},
	{"n_minus_point", "n", `-.5`},
	{"n_two_points", "n", `1.2.3`},
	{"n_exponent_empty", "n", `1e`},
	{"n_exponent_sign", "n", `1e+`},
	{"n_exponent_point", "n", `1e1.5`},
	{"n_point_exponent", "n", `1.e1`},
	{"n_hexadecimal", "n", `0x1`},
	{"n_underscore", "n", `1_000`},
	{"n_full_width_digit", "n", "\uff11"},
	{"n_number_and_letter", "n", `1a`},
	{"n_number_cut_off", "n", `[1.`},
	{"y_long_integer", "y", `123456789012345678901234567890`},
	{"i_beyond_float", "y", `[1e400,-1e400]`},
	{"i_too_small", "y", `1e-400`},
	{"y_int64", "y", `[9223372036854775807,-9223372036854775808,9223372036854775808,999999999999999999,1000000000000000000]`},

	{"y_escapes", "y", `"\"\\\/\b\f\n\r\t\u00e9\u0000"`},
	{"n_escape_unknown", "n", `"\a"`},
	{"n_escape_upper", "n", `"\N"`},
	{"n_escape_x", "n", `"\x41"`},
	{"n_escape_quote", "n", `"\'"`},
	{"n_escape_cut_off", "n", `"\`},
	{"n_escape_end", "n", `"\"`},
	{"n_unit_short", "n", `"\u00e"`},
	{"n_unit_letter", "n", `"\u00eg"`},
	{"n_unit_upper_u", "n", `"\U00e9"`},
	{"n_unit_cut_off", "n", `"\u00`},
	{"y_unit_upper", "y", `"\u00E9\uABCD"`},
	{"y_pair", "y", `"\ud83d\ude00"`},
	{"i_high_alone", "n", `"\ud83d"`},
	{"i_low_alone", "n", `"\ude00"`},
	{"i_high_and_text", "n", `"\ud83dx"`},
	{"i_high_twice", "n", `"\ud83d\ud83d"`},
	{"i_high_and_escape", "n", `"\ud83d\n"`},
	{"i_high_and_letter", "n", `"\ud83d\u0061"`},
	{"i_pair_cut_off", "n", `"\ud83d\ude`},
	{"i_low_and_high", "n", `"\ude00\ud83d"`},
	{"y_noncharacter", "y", `"\uffff"`},
	{"n_line_feed", "n", "\"a\nb\""},
	{"n_tab", "n", "\"\t\""},
	{"n_nul", "n", "\"a\x00\""},
	{"n_control_late", "n", "\"0123456789abcde\x1f\""},
	{"y_delete", "y", "\"\x7f\""},
	{"y_c1_control", "y", "\"\u0085\""},
	{"n_text_open", "n", `"abc`},
	{"n_text_open_long", "n", `"abcdefghijklmnop`},
	{"y_line_separator", "y", "\"\u2028\""},
	{"y_utf8", "y", "\"aé€😀\""},
	{"n_utf8_continuation", "n", "\"\x80\""},
	{"n_utf8_overlong", "n", "\"\xc0\xaf\""},
	{"n_utf8_overlong_3", "n", "\"\xe0\x80\xaf\""},
	{"n_utf8_surrogate", "n", "\"\xed\xa0\x80\""},
	{"n_utf8_beyond", "n", "\"\xf4\x90\x80\x80\""},
	{"n_utf8_cut_off", "n", "\"\xc3"},
	{"n_utf8_cut_off_quote", "n", "\"\xc3\""},
	{"n_utf8_five_bytes", "n", "\"\xf8\x88\x80\x80\x80\""},
	{"n_utf8_ff", "n", "\"0123456\xff\""},
	{"n_utf8_bad_name", "n", "{\"a\xff\":1}"},
	{"n_utf8_behind_ascii", "n", "\"é23456789abcdef\xfe\""},
	{"n_utf8_outside", "n", "é"},
	{"y_quote_behind_utf8", "y", `"éééééééé\"é"`},
	{"y_eight", "y", `"12345678"`},
	{"y_seven", "y", `["1234567","123456789"]`},
}

func TestCorners(t *testing.T) {
	t.Parallel()
	for _, tt := range corners {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := read([]byte(tt.text), depth)
			if (err == nil) != (tt.verdict == "y") {
				t.Errorf("%q: %v", tt.text, err)
			}
			compare(t, []byte(tt.text))
			// At another place and among other bytes it is the same.
			around := "[" + strings.Repeat(" ", len(tt.text)%9) + tt.text + strings.Repeat(" ", len(tt.text)%11) + "]"
			if tt.text != "" && strings.TrimSpace(tt.text) != "" {
				compare(t, []byte(around))
			}
		})
	}
}

// TestCutOff: no beginning of a text is valid, and each ends too early.
func TestCutOff(t *testing.T) {
	t.Parallel()
	text := []byte(`{"a\u00e9\ud83d\ude00é":[1.5e-3,-0,true,false,null,"12345678é"],"":{"x":"\\"}}`)
	for n := range text {
		compare(t, text[:n])
		for _, c := range []byte("x\"\\\xff\x00 ,:{}[]0") {
			changed := bytes.Clone(text)
			changed[n] = c
			compare(t, changed)
		}
	}
}

func TestManyNames(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 7, 45, 46, 47, 48, 49, 100, 1000, 20_000} {
		var b strings.Builder
		b.WriteString(`{"list":[`)
		for k := range 3 { // the same names in others, before and within
			if k > 0 {
				b.WriteByte(',')
			}
			b.WriteByte('{')
			for i := range n {
				if i > 0 {
					b.WriteByte(',')
				}
				if i == n/2 {
					fmt.Fprintf(&b, `"inner":{"name0":0,"name%d":1,"a":{}},`, n-1+i%2)
				}
				fmt.Fprintf(&b, `"name%d":[{}]`, i)
			}
			b.WriteByte('}')
		}
		b.WriteString("]}")
		text := b.String()
		compare(t, []byte(text))
		for _, again := range []string{`"name0"`, `"\u006eame0"`, fmt.Sprintf(`"name%d"`, n-1), `"inner"`} {
			bad := strings.TrimSuffix(text, "}]}") + "," + again + ":0}]}"
			compare(t, []byte(bad))
			if _, err := read([]byte(bad), depth); err == nil || err.(*scan.Error).Fault != scan.Duplicate { //nolint:errorlint // its type is documented
				t.Errorf("%d names and %s again: %v", n, again, err)
			}
		}
	}
}

func TestDepth(t *testing.T) {
	t.Parallel()
	nested := func(n int) []byte {
		return []byte(strings.Repeat(`[`, n/2) + strings.Repeat(`{"a":`, n-n/2) + `1` + strings.Repeat(`}`, n-n/2) + strings.Repeat("]", n/2))
	}
	for _, tt := range []struct {
		text   []byte
		depth  int
		offset int // -1: valid
	}{
		{[]byte("1"), 0, -1},
		{[]byte("[]"), 0, 0},
		{[]byte(`[[1],{"a":"[[["}]`), 2, -1},
		{[]byte(`[[1],{"a":[]}]`), 2, 10},
		{nested(64), 64, -1},
		{nested(65), 64, 32 + 5*32},
		{nested(10_000), 10_000, -1},
		{bytes.Repeat([]byte("["), 1_000_000), 9000, 9000},
	} {
		_, err := read(tt.text, tt.depth)
		got := -1
		if e := (*scan.Error)(nil); errors.As(err, &e) {
			if got = e.Offset; e.Fault != scan.TooDeep {
				t.Errorf("%.20s: %v", tt.text, err)
			}
		}
		if got != tt.offset {
			t.Errorf("%.20s: %v, want %d", tt.text, err, tt.offset)
		}
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		`1e308`: -1, `1.8e308`: 0, `-1.8e308`: 1, `[1,"1e999",-1e999,1e400]`: 12, `1e-999`: -1, `1e99999999999999999999`: 0,
		strings.Repeat("9", 309): 0, strings.Repeat("9", 308): -1, `0e999`: -1, `0.` + strings.Repeat("0", 400) + `1e401`: -1,
	} {
		s, err := read([]byte(text), depth)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.TooLarge(); got != want {
			t.Errorf("%.30s: %d, want %d", text, got, want)
		}
	}
}

// TestReuse: nothing of a text is left for the next one.
func TestReuse(t *testing.T) {
	t.Parallel()
	var s scan.Scanner
	for _, tt := range corners {
		end, err := s.Scan([]byte(tt.text), 0, depth)
		var fresh scan.Scanner
		wantEnd, want := fresh.Scan([]byte(tt.text), 0, depth)
		if end != wantEnd || fmt.Sprint(err) != fmt.Sprint(want) {
			t.Errorf("%s: %d %v, then %d %v", tt.name, wantEnd, want, end, err)
		}
		if diff := cmp.Diff(fresh.Doc().Root().Any(), s.Doc().Root().Any()); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		s.Forget()
	}
}

// FuzzScan: every text is as valid as it is by jsontext, at fault in the same
// place, and says the same.
func FuzzScan(f *testing.F) {
	for _, tt := range corners {
		f.Add([]byte(tt.text))
	}
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":[1,-2.5e3,true,null],"\u00e9":"é\ud83d\ude00"}}`))
	f.Fuzz(func(t *testing.T, text []byte) { compare(t, text) })
}
