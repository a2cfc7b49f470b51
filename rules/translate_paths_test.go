package rules_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules"
)

func TestTranslateExtensions(t *testing.T) {
	t.Parallel()
	tr := translator(t, rules.Translation{Type: `"t"`, ID: `"1"`, Data: "nil", Extensions: []rules.Extension{
		{Name: "severitytext", Text: "body.severity"},
		{Name: "severitynumber", Text: "body.number"},
		{Name: "flag", Text: "body.flag"},
	}})
	for body, want := range map[string]string{
		`{"severity": "high", "number": 17, "flag": false}`: `"flag":false,"severitynumber":17,"severitytext":"high",`,
		`{"severity": "", "number": null}`:                  ``,
		`{"severity": "é", "number": -2147483648}`:          `"severitynumber":-2147483648,"severitytext":"é",`,
	} {
		evs, err := tr.Events(rules.Request{Body: []byte(body)}, rules.Limits{}, 1)
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		want = `{"specversion":"1.0","id":"1","source":"pointsman:/hooks/hook","type":"t","datacontenttype":"application/json",` + want + `"data":null}`
		if diff := cmp.Diff(want, string(evs[0].JSON())); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
	for body, want := range map[string]string{
		`{"number": 2147483648}`: "event.extensions.severitynumber: it yields an integer of more than 32 bits (make it text with string())",
		`{"number": 1.5}`:        "event.extensions.severitynumber: it yields a float, not text, an integer or a boolean",
		`{"severity": []}`:       "event.extensions.severitytext: it yields a list, not text, an integer or a boolean",
		`{"severity": "\u0007"}`: "event.extensions.severitytext: attribute severitytext has characters that no attribute may have",
	} {
		_, err := tr.Events(rules.Request{Body: []byte(body)}, rules.Limits{}, 1)
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

func TestTranslateSkip(t *testing.T) {
	t.Parallel()
	for _, each := range []string{"", "body.list"} {
		tr := translator(t, rules.Translation{Skip: `headers["x-event"] == "ping" or body.skip`, Each: each, Type: `"t"`})
		for body, want := range map[string]int{
			`{"list": [1]}`:                0,
			`{"list": [1], "skip": true}`:  0,
			`{"list": [2], "skip": null}`:  0,
			`{"list": [2], "skip": false}`: 0,
		} {
			evs, err := tr.Events(rules.Request{Body: []byte(body), Headers: map[string]string{"x-event": "ping"}}, rules.Limits{}, 5)
			if err != nil || len(evs) != want {
				t.Errorf("%s: %d events, %v", body, len(evs), err)
			}
			evs, err = tr.Events(rules.Request{Body: []byte(body)}, rules.Limits{}, 5)
			if err != nil || (len(evs) == 0) != strings.Contains(body, "true") {
				t.Errorf("%s without a header: %d events, %v", body, len(evs), err)
			}
		}
		_, err := tr.Events(rules.Request{Body: []byte(`{"list": [], "skip": 1}`)}, rules.Limits{}, 5)
		var re *rules.RequestError
		if !errors.As(err, &re) || re.Key != "skip" || re.Index != -1 {
			t.Errorf("%v", err)
		}
	}
}

// An id that yields a list or a map is a hash of it: equal for what is equal,
// and another one for each source.
func TestTranslateHashedID(t *testing.T) {
	t.Parallel()
	tr := rules.Translation{Name: "hook", Type: `"t"`, ID: "body.labels"}
	id := func(tr rules.Translation, body string) string {
		t.Helper()
		compiled, err := rules.NewTranslator(tr)
		if err != nil {
			t.Fatal(err)
		}
		evs, err := compiled.Events(rules.Request{Body: []byte(body)}, rules.Limits{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		return evs[0].ID()
	}
	first := id(tr, `{"labels": {"a": "1", "b": "2"}, "other": 1}`)
	if len(first) != 32 || id(tr, `{"labels": {"b": "2", "a": "1"}, "other": 2}`) != first {
		t.Errorf("id %q, or it depends on the order", first)
	}
	if id(tr, `{"labels": {"a": "1", "b": "3"}}`) == first || id(tr, `{"labels": [{"a": "1", "b": "2"}]}`) == first {
		t.Error("other labels have the same id")
	}
	tr.Name = "other"
	if id(tr, `{"labels": {"a": "1", "b": "2"}}`) == first {
		t.Error("two sources have the same id")
	}
}

func TestTranslatePaths(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		strip, decode []string
		body, want    string
	}{
		"a member":                {[]string{"body.secret"}, nil, `{"secret": "canary", "n": 123456789012345678901}`, `{"n":123456789012345678901}`},
		"the last one":            {[]string{"body.secret"}, nil, `{"n": 1.50 ,"secret": {"a": "canary"}}`, `{"n":1.50}`},
		"the only one":            {[]string{"body.secret"}, nil, `{"secret": "canary"}`, `{}`},
		"below":                   {[]string{"body.a.secret"}, nil, `{"secret": 1, "a": {"secret": "canary"}}`, `{"secret":1,"a":{}}`},
		"in lists":                {[]string{"body.a.secret"}, nil, `[{"a": [{"secret": "canary"}, {"secret": "canary", "b": 2}]}]`, `[{"a":[{},{"b":2}]}]`},
		"any member":              {[]string{"body.*.secret"}, nil, `{"a": {"secret": "canary"}, "b": {"secret": "canary"}, "secret": 1}`, `{"a":{},"b":{},"secret":1}`},
		"any and one":             {[]string{"body.*.x", "body.a.y"}, nil, `{"a": {"x": 1, "y": 2, "z": 3}, "b": {"x": 1, "y": 2}}`, `{"a":{"z":3},"b":{"y":2}}`},
		"escaped name":            {[]string{"body.secret"}, nil, `{"s\u0065cret": "canary"}`, `{}`},
		"nothing there":           {[]string{"body.secret"}, nil, `["a", 1, null, {"b": true}]`, `["a",1,null,{"b":true}]`},
		"a scalar":                {[]string{"body.secret"}, nil, `"canary"`, `"canary"`},
		"decoded":                 {nil, []string{"body.message"}, `{"message": "{\"n\": 9007199254740993, \"s\": \"x\"}"}`, `{"message":{"n": 9007199254740993, "s": "x"}}`},
		"text that is no JSON":    {nil, []string{"body.message"}, `{"message": "down"}`, `{"message":"down"}`},
		"text with a double name": {nil, []string{"body.message"}, `{"message": "{\"a\":1,\"a\":2}"}`, `{"message":"{\"a\":1,\"a\":2}"}`},
		"text that is too deep":   {nil, []string{"body.message"}, `{"message": "[[[[[]]]]]"}`, `{"message":"[[[[[]]]]]"}`},
		"no text":                 {nil, []string{"body.message"}, `{"message": [1, "2"]}`, `{"message":[1,2]}`},
	} {
		tr := translator(t, rules.Translation{Type: `"t"`, Strip: tc.strip, Decode: tc.decode})
		evs, err := tr.Events(rules.Request{Body: []byte(tc.body)}, rules.Limits{Depth: 4}, 1)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(tc.want, string(evs[0].Data())); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	tr := translator(t, rules.Translation{Type: `"t"`, Data: "[headers, query]", Strip: []string{"headers.X-Key", "query.key"}})
	evs, err := tr.Events(rules.Request{
		Body: []byte("1"), Headers: map[string]string{"x-key": "canary", "x-site": "ams1"}, Query: map[string]string{"key": "canary", "a": "b"},
	}, rules.Limits{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`[{"x-site":"ams1"},{"a":"b"}]`, string(evs[0].Data())); diff != "" {
		t.Error(diff)
	}
}

func TestTranslationPathProblems(t *testing.T) {
	t.Parallel()
	_, err := rules.NewTranslator(rules.Translation{
		Type: `"t"`, Strip: []string{"secret", "body", "body..a", "headers.a.b"}, Decode: []string{"headers.a"},
		Extensions: []rules.Extension{{Name: "Bad", Text: `"x"`}, {Name: "subject", Text: `"x"`}, {Name: "good", Text: `item`}},
	})
	var got []string
	for _, line := range strings.Split(err.Error(), "\n") {
		key, _, _ := strings.Cut(line, ": ")
		got = append(got, key)
	}
	want := []string{
		"strip.secret", "strip.body", "strip.body..a", "strip.headers.a.b", "decode.headers.a",
		"event.extensions.Bad", "event.extensions.subject", "event.extensions.good",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%v", diff, err)
	}
}
