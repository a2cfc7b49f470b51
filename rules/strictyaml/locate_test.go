package strictyaml_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// TestAt marks the wanted place in the file with ‸ (removed before parsing)
// and finds the same place by the text "HERE" in the decoded value.
func TestAt(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"plain":                       "a: one two ‸HERE\n",
		"plain behind wide letters":   "ä: öö ‸HERE\n",
		"plain over lines":            "a: one\n  two  \n\n\n  three ‸HERE\n",
		"plain with carriage returns": "a: one\r\n  two\r\n\r\n  ‸HERE\r\n",
		"byte order mark":             "\xef\xbb\xbfa: ‸HERE\n",
		"single quoted":               "a: 'it''s ‸HERE'\n",
		"single quoted over lines":    "a: 'it''s\n\n   x ‸HERE'\n",
		"double quoted":               "a: \"\\\"é\\\" \\u00e9 \\U0001F600\\t\\x41 ‸HERE\"\n",
		"double quoted over lines":    "a: \"x\\\n   y \\\n\n   z\n   ‸HERE\"\n",
		"in a list in a mapping":      "a:\n  - {b: [x, '‸HERE']}\n",
		"literal":                     "a: |\n  one\n   two ‸HERE\n",
		"literal after blank lines":   "a: |\n\n\n  one\n\n  ‸HERE\n",
		"literal, chomped":            "- a: |-   # comment\n    é ‸HERE\n",
		"literal, indentation given":  "a: |2\n   x\n  ‸HERE\n",
		"literal, carriage returns":   "a: |\r\n  one\r\n  é‸HERE\r\n",
		"folded":                      "a: >\n  one\n  two\n\n  three ‸HERE\n",
		"folded, more indented":       "a: >-\n  one\n    two\n    ‸HERE\n  four\n",
	}
	for name, marked := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after, _ := strings.Cut(strings.TrimPrefix(marked, "\xef\xbb\xbf"), "‸")
			want := fmt.Sprint(strings.Count(before, "\n")+1, ":",
				len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))+1)
			doc := parse(t, before+after)
			n := leaf(doc.Root())
			text, ok := n.Text()
			if !ok || !strings.Contains(text, "HERE") {
				t.Fatalf("text is %q, %v", text, doc.Err())
			}
			line, col := n.At(strings.Index(text, "HERE"))
			if got := fmt.Sprint(line, ":", col); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// leaf returns the last scalar below n.
func leaf(n *strictyaml.Node) *strictyaml.Node {
	for n.IsMap() || n.IsList() {
		if n.IsMap() {
			entries, _ := n.Entries()
			n = entries[len(entries)-1].Value
			continue
		}
		items, _ := n.List()
		n = items[len(items)-1]
	}
	return n
}

func TestAtOutOfRange(t *testing.T) {
	t.Parallel()
	n := leaf(parse(t, "a: \"xy\"\n").Root())
	for offset, want := range map[int]int{-5: 5, 0: 5, 2: 7, 99: 7} {
		if line, col := n.At(offset); line != 1 || col != want {
			t.Errorf("offset %d: got %d:%d, want 1:%d", offset, line, col, want)
		}
	}
}

// FuzzParse states: parsing and walking never panic, an error has a place in
// the file, and At gives places that are in the file and never go backwards.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"a: 1\n", "- x\n- 'y''z'\n- \"\\u00e9\\\n  q\"\n", "a: |\n  x\n\n  y\n", "a: >-\n\n  x\n   y\n\n  z\n", "? a\n: b\n",
		"a: {b: [1, 2.5, ~, true]}\n", "a: &x 1\nb: *x\n", "a: !t x\n", "%YAML 1.2\n---\na\n...\n", "\xef\xbb\xbfa: x\r\n  y\r\n", "a: |2-\n   x\n", "|", "[", ">\n00\n \t", "\u79b7",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 1
		doc, err := strictyaml.Parse("f", data)
		if err != nil {
			for _, e := range err.(strictyaml.Errors) { //nolint:errorlint // Parse promises the type
				if e.Line < 1 || e.Line > lines || e.Col < 1 || e.Msg == "" || strings.ContainsAny(e.SourceLine, "\n\x1b") {
					t.Fatalf("%+v", *e)
				}
			}
			return
		}
		doc.Root().Any()
		walk(t, doc.Root(), lines)
		doc.Root().Secret()
		doc.Root().Errorf("x")
		_ = doc.Err().Error()
	})
}

func walk(t *testing.T, n *strictyaml.Node, lines int) {
	t.Helper()
	if entries, ok := n.Entries(); ok {
		for _, e := range entries {
			walk(t, e.Key, lines)
			walk(t, e.Value, lines)
		}
		return
	}
	if items, ok := n.List(); ok {
		for _, item := range items {
			walk(t, item, lines)
		}
		return
	}
	text, _ := n.Text()
	lastLine, lastCol := 0, 0
	for i := range min(len(text), 200) + 1 {
		line, col := n.At(i)
		if line < 1 || line > lines || col < 1 || line < lastLine || line == lastLine && col < lastCol {
			t.Fatalf("%q: offset %d is at %d:%d after %d:%d", text, i, line, col, lastLine, lastCol)
		}
		lastLine, lastCol = line, col
	}
}
