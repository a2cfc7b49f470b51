package ingest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/router/store/sqlite"
	"github.com/pointsman/pointsman/rules"
)

// runner does nothing: no rule here calls an action.
type runner struct{}

func (runner) Run(context.Context, string, *actionv1.RunRequest) (*actionv1.RunResponse, error) {
	return nil, errors.New("nothing to run")
}
func (runner) Validate(string, json.RawMessage) error { return nil }
func (runner) Close(context.Context)                  {}

// routed starts a server in front of a real router with an embedded store.
func routed(t *testing.T, cfg ingest.Config) *site {
	t.Helper()
	accept, stop := route(t, filepath.Join(t.TempDir(), "events.db"))
	t.Cleanup(stop)
	cfg.Accept = accept
	return serve(t, cfg)
}

// route runs a real router on an embedded store until stop.
func route(t *testing.T, path string) (accept ingest.Accepter, stop func()) {
	t.Helper()
	db, err := sqlite.Open(sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rules.LoadFiles(nil, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := router.New(router.Config{
		Store: db, Runner: runner{}, Setup: router.Setup{Rules: rs, Revision: store.Revision{ID: "r", Data: []byte("{}")}},
		Instance: store.Instance{ID: "i", Host: "h", PID: 1},
		Log:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	started := time.NewTicker(time.Millisecond)
	defer started.Stop()
	for range started.C { // a router says that it started to nobody
		if len(r.Health().Reasons) == 0 {
			break
		}
	}
	accept = func(ctx context.Context, from router.Origin, evs []*rules.Event) ([]router.Result, error) {
		return r.Accept(ctx, from, evs)
	}
	return accept, func() {
		cancel()
		if err := errors.Join(<-done, db.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestRepeated has what becomes of a second event with the id of the first.
func TestRepeated(t *testing.T) {
	t.Parallel()
	s := routed(t, ingest.Config{Dedup: time.Hour, Depth: 200})
	js := func(members string) string {
		return `{"specversion":"1.0","source":"/s","type":"t","id":"ID"` + members + `}`
	}
	first := js(`,"n":5,"data":{"a":"é/","b":[1,2.50,9007199254740993],"c":null}`)
	binary := func(more ...string) []string {
		return append([]string{"Ce-Specversion", "1.0", "Ce-Id", "ID", "Ce-Source", "/s", "Ce-Type", "t"}, more...)
	}
	tests := []struct {
		name   string
		first  string
		header []string
		body   string
		// same content is a duplicate, other content a conflict.
		same bool
	}{
		{"B8 itself", first, ct(structured), first, true},
		{"white space and member order", first, ct(structured), "\n" + js(` , "data" : { "c":null, "b":[ 1,2.50,9007199254740993 ],"a":"é/"} ,"n" : 5 `), true},
		{"escapes", first, ct(structured), js(`,"\u006e":5,"data":{"\u0061":"\u00e9\/","b":[1,2.50,9007199254740993],"c":null}`), true},
		{"numbers written otherwise", first, ct(structured), js(`,"n":5,"data":{"a":"é/","b":[1.0,25e-1,9007199254740993],"c":null}`), true},
		{"binary mode", first, binary("Ce-N", "5", "Content-Type", "application/json"), `{"a":"é/","b":[1,2.50,9007199254740993],"c":null}`, true},
		{"binary mode without a Content-Type", first, binary("Ce-N", "5"), `{"a":"é/","b":[1,2.50,9007199254740993],"c":null}`, true},
		{"gzip", first, append(ct(structured), "Content-Encoding", "gzip"), zip(t, first), true},
		{"other headers", first, append(ct(structured+"; charset=utf-8"), "User-Agent", "x", "Ce-Id", "y"), first, true},
		{"text as bytes", js(`,"datacontenttype":"text/plain","data":"a%"`), ct(structured), js(`,"datacontenttype":"text/plain","data_base64":"YSU="`), true},
		{"text in binary mode", js(`,"datacontenttype":"text/plain","subject":"a b","data":"a%"`), binary("Content-Type", "text/plain", "Ce-Subject", "a%20b"), "a%", true},
		{"bytes in binary mode", js(`,"datacontenttype":"x/y","data_base64":"AP8="`), binary("Content-Type", "x/y"), "\x00\xff", true},
		{"JSON bytes in binary mode", js(`,"datacontenttype":"a/json","data_base64":"eyAiYSI6WzFdfQ=="`), binary("Content-Type", "a/json"), `{"a":[1]}`, true},
		{"empty text in binary mode", js(`,"datacontenttype":"text/plain","data":""`), binary("Content-Type", "text/plain"), "", true},
		{"deep data", js(`,"data":[1,` + nested(150) + `]`), ct(structured), js(`,"data":[1.0,` + nested(150) + `]`), true},

		{"B41 other data", first, ct(structured), strings.Replace(first, "é", "e", 1), false},
		{"B41 an integer that is the same float64", first, ct(structured), strings.Replace(first, "993", "992", 1), false},
		{"B41 array order", first, ct(structured), strings.Replace(first, "1,2.50", "2.50,1", 1), false},
		{"B41 other extension", first, ct(structured), strings.Replace(first, `"n":5`, `"n":6`, 1), false},
		{"B41 other type", first, ct(structured), strings.Replace(first, `"t"`, `"u"`, 1), false},
		{"B41 other data in binary mode", first, binary("Ce-N", "5"), `1`, false},
		{"B41 null and no data", js(`,"data":null`), ct(structured), js(``), false},
	}
	for i, tt := range tests {
		id := fmt.Sprintf("e%d", i)
		put := func(text string) string { return strings.Replace(text, `"ID"`, `"`+id+`"`, 1) }
		got := s.post(put(tt.first), "Content-Type", structured)
		if want := `{"id":"` + id + `","source":"events","duplicate":false}` + "\n"; got.status != 202 || got.body != want {
			t.Fatalf("%s: first %d %s", tt.name, got.status, got.body)
		}
		header := append([]string(nil), tt.header...)
		for i, v := range header {
			if v == "ID" {
				header[i] = id
			}
		}
		body := tt.body
		if i := strings.Index(body, `"ID"`); i >= 0 {
			body = put(body)
		} else if strings.HasPrefix(body, "\x1f\x8b") {
			body = zip(t, put(tt.first))
		}
		for range 2 { // a refusal changes nothing
			got = s.post(body, header...)
			if tt.same && (got.status != 202 || got.body != `{"id":"`+id+`","source":"events","duplicate":true}`+"\n") ||
				!tt.same && (got.status != 409 || got.problem.Code != "conflict") {
				t.Errorf("%s: %d %s", tt.name, got.status, got.body)
			}
		}
	}
}

// TestRepeatedInBatch: every item is committed for itself.
func TestRepeatedInBatch(t *testing.T) {
	t.Parallel()
	s := routed(t, ingest.Config{Dedup: time.Hour})
	event := func(source, id, data string) string {
		return `{"specversion":"1.0","type":"t","source":"` + source + `","id":"` + id + `","data":` + data + `}`
	}
	steps := []struct{ name, body, want string }{
		{
			"B40 the same id twice",
			"[" + event("/s", "a", "1") + "," + event("/s", "a", " 1 ") + "," + event("/s", "a", "2") + "," + event("/other", "a", "2") + "," + event("/s", "b", "1") + "]",
			`[{"id":"a","source":"events","duplicate":false},{"id":"a","source":"events","duplicate":true},` +
				`{"id":"a","source":"events","code":"conflict"},{"id":"a","source":"events","duplicate":false},{"id":"b","source":"events","duplicate":false}]`,
		},
		{
			"known ones among new ones",
			"[" + event("/s", "c", "1") + "," + event("/s", "b", "2") + "," + event("/s", "b", "1.0") + "]",
			`[{"id":"c","source":"events","duplicate":false},{"id":"b","source":"events","code":"conflict"},{"id":"b","source":"events","duplicate":true}]`,
		},
		{"B39 none of a bad batch was kept", "[" + event("/s", "d", "1") + "," + event("/s", "", "1") + "]", ""},
		{"the good one of it is new", "[" + event("/s", "d", "1") + "]", `[{"id":"d","source":"events","duplicate":false}]`},
	}
	for _, step := range steps {
		got := s.post(step.body, "Content-Type", batched)
		if step.want == "" {
			if got.status != 400 {
				t.Errorf("%s: %d %s", step.name, got.status, got.body)
			}
			continue
		}
		if diff := cmp.Diff(step.want+"\n", got.body); diff != "" || got.status != 202 {
			t.Errorf("%s: %d %s", step.name, got.status, diff)
		}
	}
}

func TestNoDedup(t *testing.T) {
	t.Parallel()
	s := routed(t, ingest.Config{})
	for _, data := range []string{"1", "1", "2"} {
		got := s.post(with(`"data":`+data+`,`), "Content-Type", structured)
		if got.status != 202 || !strings.Contains(got.body, `"duplicate":false`) {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
}
