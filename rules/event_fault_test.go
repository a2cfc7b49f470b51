package rules_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules"
)

// TestFaults: what is wrong, and where.
func TestFaults(t *testing.T) {
	t.Parallel()
	good := with(`"data":1`)
	tests := []struct{ in, want string }{
		{" ", "the JSON text ends too early"},
		{`{"specversion"`, "the JSON text ends too early at byte 14"},
		{`{"id":1`, "the JSON text ends too early at byte 7"},
		{`{"id":"1}`, "the JSON text ends too early at byte 9"},
		{good + " x", "something follows the JSON text at byte 65"},
		{`{"id" 1}`, "the text is not valid JSON in UTF-8 at byte 6"},
		{`{"id":tru}`, "the text is not valid JSON in UTF-8 at byte 9"},
		{`{"id":"a` + "\n" + `"}`, "the text is not valid JSON in UTF-8 at byte 8"},
		{"{\"id\":\"\xff\"}", "the text is not valid JSON in UTF-8 at byte 7"},
		{`{"id":"\ud800"}`, "the text is not valid JSON in UTF-8 at byte 7"},
		{`{"data":[1,]}`, "the text is not valid JSON in UTF-8 at byte 11"},
		{`{"data":{"a":1,"a":2}}`, "an object has two members of one name at byte 15"},
		{`{"data":[[],[[]]]}`, "arrays and objects are nested deeper than 2 at byte 13"},
		{with(`"data":[1,-2e999]`), "a number is beyond the range of a 64-bit float (send it as a string) at byte 66"},
		{with(`"Id":"x"`), "attribute Id has a name with other characters than a-z and 0-9 at byte 59"},
		{with(`"x":[]`), "attribute x is an array or an object at byte 58"},
		{with(`"data_base64":[]`), "data_base64 is not a string at byte 68"},
		{`"x"`, "an event must be a JSON object at byte 0"},
		{"[" + good, "the JSON text ends too early at byte 65"},
		{"[" + good + ",", "event 1: the JSON text ends too early at byte 66"},
		{"[" + good + ",]", "event 1: the text is not valid JSON in UTF-8 at byte 66"},
		{"[" + good + " 1]", "the text is not valid JSON in UTF-8 at byte 66"},
		{"[" + good + "] 1", "something follows the JSON text at byte 67"},
		{"[" + good + "," + with(`"id":"2"`) + "]", "event 1: an object has two members of one name at byte 121"},
	}
	for _, tt := range tests {
		var err error
		if strings.HasPrefix(tt.in, "[") {
			_, err = rules.ParseBatch([]byte(tt.in), rules.Limits{Depth: 2}, 3)
		} else {
			_, err = rules.ParseEvent([]byte(tt.in), rules.Limits{Depth: 2})
		}
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q: %v, want %s", tt.in, err, tt.want)
		}
	}
}

// TestEventForMany: whoever reads an event first, and however many do at once, it
// is the same for all.
func TestEventForMany(t *testing.T) {
	t.Parallel()
	const text = `{"specversion":"1.0","id":"a\"b","source":"/s","type":"t","subject":"caf\u00e9","x":"y","data":{"b":[1,{"c":"\u0041"}],"a":2}}`
	rs := load(t, `
rules:
  - name: r
    when: event.data.b[1].c == "A" and event.id == 'a"b'
    key: event.subject
    do: [{action: log, with: "${{ event.data }}"}]
`)
	other := parse(t, text)
	wantValue, wantDigest := other.Value(), other.Digest()
	for range 20 {
		ev := parse(t, text)
		var wg sync.WaitGroup
		for k := range 12 {
			wg.Go(func() {
				switch k % 4 {
				case 0:
					m := rs.Match(ev)
					if len(m) != 1 || m[0].Key != "café" || string(m[0].Calls[0].Params) != `{"a":2,"b":[1,{"c":"A"}]}` {
						t.Errorf("matches %v", m)
					}
				case 1:
					if ev.Digest() != wantDigest {
						t.Error("another digest")
					}
				case 2:
					if diff := cmp.Diff(wantValue, ev.Value()); diff != "" {
						t.Error(diff)
					}
				default:
					more, err := ev.WithExtension("z", true)
					if err != nil || string(more.Data()) != string(ev.Data()) || more.ID() != `a"b` {
						t.Errorf("with an extension: %v", err)
					}
				}
			})
		}
		wg.Wait()
		if a := ev.Attributes(); a.ID != `a"b` || a.Subject != "café" || a.Extensions["x"] != "y" {
			t.Errorf("attributes %v", a)
		}
	}
}
