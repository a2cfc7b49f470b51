package rules_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/rules"
)

func translator(t *testing.T, tr rules.Translation) *rules.Translator {
	t.Helper()
	tr.Name = "hook"
	out, err := rules.NewTranslator(tr)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTranslate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		tr   rules.Translation
		body string
		want string // the events as JSON, ids that are made here as "*"
	}{
		"defaults": {
			rules.Translation{Type: `"a.b"`},
			` {"n": 12345678901234567890, "é": [1.50]} `,
			`[{"specversion":"1.0","id":"*","source":"pointsman:/hooks/hook","type":"a.b","datacontenttype":"application/json","data":{"n": 12345678901234567890, "é": [1.50]}}]`,
		},
		"all": {
			rules.Translation{
				Type: `"x." + body.kind`, Source: `"urn:" + headers["x-site"]`, ID: "body.id", Subject: `query.who ?? "nobody"`,
				Time: "body.at", Data: "{only: body.n}",
			},
			`{"kind": "up", "id": 17, "at": "2026-11-23T12:00:00Z", "n": [true, null]}`,
			`[{"specversion":"1.0","id":"17","source":"urn:ams1","type":"x.up","datacontenttype":"application/json","subject":"eth1","time":"2026-11-23T12:00:00Z","data":{"only":[true,null]}}]`,
		},
		"nothing leaves the default": {
			rules.Translation{Type: `"t"`, Source: "body.s", Subject: "body.s", Time: "body.t", ID: "body.id"},
			`{"id": "1"}`,
			`[{"specversion":"1.0","id":"1","source":"pointsman:/hooks/hook","type":"t","datacontenttype":"application/json","data":{"id": "1"}}]`,
		},
		"each": {
			rules.Translation{Each: "body.list", Type: `"t"`, ID: "item.id", Subject: "body.s"},
			`{"s": "sub", "list": [{"id": "1"}, {"id": "2"}]}`,
			`[{"specversion":"1.0","id":"1","source":"pointsman:/hooks/hook","type":"t","datacontenttype":"application/json","subject":"sub","data":{"id":"1"}},` +
				`{"specversion":"1.0","id":"2","source":"pointsman:/hooks/hook","type":"t","datacontenttype":"application/json","subject":"sub","data":{"id":"2"}}]`,
		},
		"no items":    {rules.Translation{Each: "body.list", Type: `"t"`}, `{"list": []}`, `[]`},
		"any JSON":    {rules.Translation{Type: `"t"`}, `[1]`, `[{"specversion":"1.0","id":"*","source":"pointsman:/hooks/hook","type":"t","datacontenttype":"application/json","data":[1]}]`},
		"filter each": {rules.Translation{Each: "filter(body, # > 1)", Type: `"t"`, ID: "item", Data: "nil"}, `[1, 2]`, `[{"specversion":"1.0","id":"2","source":"pointsman:/hooks/hook","type":"t","datacontenttype":"application/json","data":null}]`},
	} {
		evs, err := translator(t, tc.tr).Events(rules.Request{
			Body: []byte(tc.body), Headers: map[string]string{"x-site": "ams1"}, Query: map[string]string{"who": "eth1"},
		}, rules.Limits{}, 10)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		texts := make([]string, len(evs))
		for i, ev := range evs {
			texts[i] = string(ev.JSON())
			if len(ev.ID()) == 32 {
				texts[i] = strings.Replace(texts[i], ev.ID(), "*", 1)
			}
		}
		if diff := cmp.Diff(tc.want, "["+strings.Join(texts, ",")+"]"); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestDerivedIDs(t *testing.T) {
	t.Parallel()
	tr := rules.Translation{Type: "body.type", Subject: "body.subject", Time: "body.time", Data: "body.data"}
	id := func(name, body string) string {
		tr := tr
		tr.Name = name
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
	base := id("a", `{"type": "t", "subject": "s", "data": {"a": 1, "b": 2}}`)
	for name, same := range map[string]string{
		"member order": id("a", `{"data": {"b": 2, "a": 1}, "subject": "s", "type": "t"}`),
		"time":         id("a", `{"type": "t", "subject": "s", "time": "2026-11-23T12:00:00Z", "data": {"a": 1, "b": 2}}`),
	} {
		if same != base {
			t.Errorf("another %s makes another id", name)
		}
	}
	seen := map[string]string{base: "the first"}
	for name, other := range map[string]string{
		"source":  id("b", `{"type": "t", "subject": "s", "data": {"a": 1, "b": 2}}`),
		"type":    id("a", `{"type": "u", "subject": "s", "data": {"a": 1, "b": 2}}`),
		"subject": id("a", `{"type": "t", "subject": "r", "data": {"a": 1, "b": 2}}`),
		"data":    id("a", `{"type": "t", "subject": "s", "data": {"a": 1, "b": 3}}`),
	} {
		if seen[other] != "" {
			t.Errorf("another %s has the id of %s", name, seen[other])
		}
		seen[other] = name
	}
}

func TestRequestsThatCannotBeTranslated(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		tr         rules.Translation
		body, want string
	}{
		"empty body":      {rules.Translation{Type: `"t"`}, "", "the body is not valid JSON in UTF-8"},
		"not JSON":        {rules.Translation{Type: `"t"`}, "{canary", "the body is not valid JSON in UTF-8 at byte 1"},
		"two values":      {rules.Translation{Type: `"t"`}, "{} {}", "the body is not valid JSON in UTF-8 at byte 3"},
		"deep":            {rules.Translation{Type: `"t"`}, strings.Repeat("[", 100) + strings.Repeat("]", 100), "arrays and objects are nested deeper than 64 at byte 64"},
		"duplicate":       {rules.Translation{Type: `"t"`}, `{"canary":1,"canary":2}`, "an object has two members of one name at byte 12"},
		"no type":         {rules.Translation{Type: "body.type"}, "{}", "event.type: it yields nothing"},
		"empty type":      {rules.Translation{Type: "body.type"}, `{"type": ""}`, "event.type: it yields an empty text"},
		"a map":           {rules.Translation{Type: "body"}, `{}`, "event.type: it yields a map, not text"},
		"a float":         {rules.Translation{Type: `"t"`, ID: "body"}, `1.5`, "event.id: it yields a float, not text"},
		"failing":         {rules.Translation{Type: `"t"`, Data: "body.a + 1"}, `{"a": "canary"}`, "event.data: + takes two numbers or two strings, not string and integer"},
		"time":            {rules.Translation{Type: `"t"`, ID: `"1"`, Time: "body"}, `"canary"`, "event.time: attribute time is not a timestamp (RFC 3339)"},
		"long id":         {rules.Translation{Type: `"t"`, ID: "body"}, `"` + strings.Repeat("x", 257) + `"`, "event.id: attribute id is longer than 256 bytes"},
		"no list":         {rules.Translation{Type: `"t"`, Each: "body.list"}, "{}", "each: it yields nil, not a list"},
		"too many":        {rules.Translation{Type: `"t"`, Each: "body"}, "[1,2,3]", "each: there are more items than a request may have"},
		"the second item": {rules.Translation{Type: "item", Each: "body"}, `["a", {}]`, "event.type of item 1: it yields a map, not text"},
		"one budget": {
			rules.Translation{Type: `"t"`, Each: "body", ID: `string(count(1..800, count(1..800, # > 0) > 0))`},
			`[1,2]`,
			"event.id of item 1: more than 1000000 steps are taken (look at fewer elements or shorter texts)",
		},
		"the second event": {rules.Translation{Type: "item", Each: "body"}, `["a", "\u0000"]`, "event.type of item 1: attribute type has characters that no attribute may have"},
	} {
		evs, err := translator(t, tc.tr).Events(rules.Request{Body: []byte(tc.body)}, rules.Limits{}, 2)
		if evs != nil || err == nil || err.Error() != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
			continue
		}
		var request *rules.RequestError
		var event *rules.EventError
		if !errors.As(err, &request) && !errors.As(err, &event) {
			t.Errorf("%s: %T", name, err)
		}
	}
}

func TestTranslationsThatDoNotCompile(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		tr   rules.Translation
		want string
	}{
		"no type":           {rules.Translation{}, "event.type: an event needs a type"},
		"item without each": {rules.Translation{Type: "item.type"}, `event.type: unknown name "item" (known: body, headers, query; text is written in quotes)`},
		"item in each":      {rules.Translation{Type: `"t"`, Each: "item"}, `each: unknown name "item" (known: body, headers, query; text is written in quotes)`},
		"event":             {rules.Translation{Type: "event.type"}, `event.type: unknown name "event" (known: body, headers, query; text is written in quotes)`},
	} {
		_, err := rules.NewTranslator(tc.tr)
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
}

// A request that is translated gives good events, whatever it holds, and gives
// the same again.
func FuzzTranslate(f *testing.F) {
	f.Add([]byte(`{"type":"t","list":[{"id":1}]}`))
	f.Add([]byte(`{"type":"t","list":[{"id":"1","time":"2026-11-23T12:00:00Z"}, 1e300, "\ud83d\ude00"]}`))
	tr, err := rules.NewTranslator(rules.Translation{
		Name: "hook", Each: "body.list", Type: "body.type", Subject: "item.id", Time: "item.time", Data: "[item, body.type]",
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		evs, err := tr.Events(rules.Request{Body: body}, rules.Limits{}, 100)
		if err != nil {
			return
		}
		again, err := tr.Events(rules.Request{Body: body}, rules.Limits{}, 100)
		if err != nil || len(again) != len(evs) {
			t.Fatalf("%d events, then %d: %v", len(evs), len(again), err)
		}
		for i, ev := range evs {
			if !json.Valid(ev.JSON()) || ev.ID() != again[i].ID() {
				t.Errorf("%s", ev.JSON())
			}
			if _, err := rules.ParseEvent(ev.JSON(), rules.Limits{Depth: 100}); err != nil {
				t.Errorf("%s: %v", ev.JSON(), err)
			}
		}
	})
}

// The first example of docs/webhooks.md.
func TestDocumentedTranslation(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```json\n")
	if len(blocks) != 3 {
		t.Fatalf("%d blocks of JSON", len(blocks)-1)
	}
	body, _, _ := strings.Cut(blocks[1], "```")
	want, _, _ := strings.Cut(blocks[2], "```")
	tr, err := rules.NewTranslator(rules.Translation{Name: "tickets", Type: `"ticket." + body.action`, ID: "body.delivery", Subject: "body.ticket.queue"})
	if err != nil {
		t.Fatal(err)
	}
	evs, err := tr.Events(rules.Request{Body: []byte(body)}, rules.Limits{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := rules.ParseEvent([]byte(want), rules.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if !rules.Same(ev, evs[0]) {
		t.Errorf("%s", evs[0].JSON())
	}
}
