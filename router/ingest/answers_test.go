package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

// exchange is a request, and what must come back.
type exchange struct {
	name   string
	method string // default POST
	path   string // default /events
	header []string
	body   string
	status int
	// code and attribute of a problem.
	code, attribute string
	// index of the bad event of a batch, counted from 1; 0: none.
	index int
}

// run runs a table against one server. Only what is answered 202 reaches the
// router.
func run(t *testing.T, cfg ingest.Config, table []exchange) {
	for _, tt := range table {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var refused atomic.Int32
			cfg := cfg
			cfg.Rejected = func(source string) {
				if refused.Add(1); source != "events" {
					t.Errorf("refusal counted for %q", source)
				}
			}
			s := serve(t, cfg)
			method, path := tt.method, tt.path
			if method == "" {
				method = http.MethodPost
			}
			if path == "" {
				path = "/events"
			}
			got := s.request(method, path, strings.NewReader(tt.body), tt.header...)
			if got.status != tt.status || got.problem.Code != tt.code || got.problem.Attribute != tt.attribute {
				t.Fatalf("%d %s of %q, want %d %s of %q\n%.300s", got.status, got.problem.Code, got.problem.Attribute, tt.status, tt.code, tt.attribute, got.body)
			}
			switch index := got.problem.Index; {
			case tt.index == 0 && index != nil, tt.index > 0 && (index == nil || *index != tt.index-1):
				t.Errorf("index in %s, want %d from 1", got.body, tt.index)
			}
			if (len(s.sink.events()) > 0) != (got.status == 202 && strings.Contains(got.body, `"id"`)) {
				t.Errorf("%d events accepted with %d", len(s.sink.events()), got.status)
			}
			if (got.status >= 400) != (refused.Load() == 1) {
				t.Errorf("%d refusals counted with %d", refused.Load(), got.status)
			}
			if got.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Error("no nosniff")
			}
			if got.status == 405 && got.header.Get("Allow") != "POST, OPTIONS" {
				t.Errorf("Allow: %q", got.header.Get("Allow"))
			}
		})
	}
}

func ct(value string) []string { return []string{"Content-Type", value} }

func ce(more ...string) []string {
	return append([]string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "t"}, more...)
}

func TestPathsAndMethods(t *testing.T) {
	t.Parallel()
	good := with("")
	table := []exchange{
		{name: "good", header: ct(structured), body: good, status: 202},
		{name: "query", path: "/events?a=b&c", header: ct(structured), body: good, status: 202},
	}
	for _, path := range []string{
		"/", "/event", "/events/", "/events/x", "/Events", "/x/../events", "/events/..", "//events", "/%2e%2e/events", "/%65vents",
		"/events%2f", "/events%00", "/events;x", "/./events", "/" + strings.Repeat("x", 8<<10), "/hooks/",
	} {
		table = append(table, exchange{
			name: fmt.Sprintf("B15 path %.20s", path), path: path, header: ct(structured), body: good, status: 404, code: "not_found",
		})
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "post"} {
		table = append(table, exchange{name: "B16 " + method, method: method, header: ct(structured), body: good, status: 405, code: "method_not_allowed"})
	}
	table = append(table, exchange{name: "B16 HEAD", method: "HEAD", status: 405})
	run(t, ingest.Config{}, table)
}

func TestMediaTypes(t *testing.T) {
	t.Parallel()
	good, list := with(""), "["+with("")+"]"
	var table []exchange
	for _, v := range []string{
		structured, "Application/CloudEvents+JSON", structured + ";charset=utf-8", structured + ` ; Charset="UTF-8"`,
		structured + "; charset=us-ascii", structured + "; x=y", structured + ";", " " + structured + " ",
	} {
		table = append(table, exchange{name: "structured " + v, header: ct(v), body: good, status: 202})
	}
	for _, v := range []string{batched, "APPLICATION/CLOUDEVENTS-BATCH+JSON; charset=UTF-8"} {
		table = append(table, exchange{name: "batched " + v, header: ct(v), body: list, status: 202})
	}
	for _, v := range []string{
		"application/cloudevents", "application/cloudevents+avro", "application/cloudevents+xml", "application/cloudevents-batch",
		"application/cloudevents-batch+avro", "application/cloudevents+json2", structured + "; charset=utf-16", structured + "; charset=iso-8859-1",
		structured + "; charset", structured + "; charset=utf-8; charset=utf-16", batched + "; charset=latin1", structured + ", text/plain",
	} {
		table = append(
			table,
			exchange{name: "refused " + v, header: ct(v), body: good, status: 415, code: "unsupported_media_type"},
			// Such an event is not one of binary mode, whatever its headers say.
			exchange{name: "refused with ce- headers " + v, header: ce(ct(v)...), body: good, status: 415, code: "unsupported_media_type"},
		)
	}
	for name, v := range map[string]string{
		"B25 text/plain": "text/plain", "B25 application/xml": "application/xml", "B26 application/json": "application/json",
		"B27 multipart/form-data": "multipart/form-data; boundary=x", "B25 form": "application/x-www-form-urlencoded",
	} {
		table = append(table, exchange{name: name, header: ct(v), body: good, status: 415, code: "unsupported_media_type"})
	}
	table = append(
		table,
		exchange{name: "B25 no Content-Type", body: good, status: 415, code: "unsupported_media_type"},
		exchange{name: "B12 two Content-Types", header: append(ct(structured), ct("text/plain")...), body: good, status: 400, code: "duplicate_header", attribute: "content-type"},
		exchange{name: "headers beside a structured event do not count", header: append(ct(structured), "Ce-Specversion", "0.3", "Ce-Id", "%"), body: good, status: 202},
		exchange{name: "binary multipart", header: ce(ct("multipart/form-data; boundary=x")...), body: "--x--", status: 202},
		exchange{name: "a batch as one event", header: ct(structured), body: list, status: 400, code: "bad_json"},
		exchange{name: "one event as a batch", header: ct(batched), body: good, status: 400, code: "bad_json"},
	)
	run(t, ingest.Config{}, table)
}

func TestBadEvents(t *testing.T) {
	t.Parallel()
	json := func(name, body string, status int, code, attribute string) exchange {
		return exchange{name: name, header: ct(structured), body: body, status: status, code: code, attribute: attribute}
	}
	long := strings.Repeat("x", 10<<10)
	run(t, ingest.Config{}, []exchange{
		json("B28 invalid JSON", `{"id":`, 400, "bad_json", ""),
		json("B28 trailing garbage", with("")+"x", 400, "bad_json", ""),
		json("B28 byte order mark", "\ufeff"+with(""), 400, "bad_json", ""),
		json("B28 empty body", "", 400, "bad_json", ""),
		json("B28 null", "null", 400, "bad_json", ""),
		json("B28 empty array", "[]", 400, "bad_json", ""),
		json("B29 depth 64", with(`"data":`+nested(64)+","), 202, "", ""),
		json("B29 depth 65", with(`"data":`+nested(65)+","), 400, "too_deep", ""),
		json("B29 depth 100,000", with(`"data":`+nested(100_000)+","), 400, "too_deep", ""),
		json("B29 100,000 open brackets", strings.Repeat("[", 100_000), 400, "too_deep", ""),
		json("B30 a million members", with(`"data":{`+strings.Repeat(`"a":1,`, 1_000_000)+`"b":1},`), 413, "too_large", ""),
		json("B30 100,000 members", with(`"data":{`+members(50_000)+`},`), 202, "", ""),
		json("B30 a million elements", with(`"data":[`+strings.Repeat("1,", 1_000_000)+`1],`), 413, "too_large", ""),
		json("B30 half a million elements", with(`"data":[`+strings.Repeat("1,", 500_000)+`1],`), 202, "", ""),
		json("B30 string of 1 MiB", with(`"data":"`+strings.Repeat("x", 1<<20)+`",`), 413, "too_large", ""),
		json("B30 number of 5 MB", with(`"data":`+strings.Repeat("1", 5_000_000)+`,`), 413, "too_large", ""),
		json("B30 number of 0.5 MB", with(`"data":`+strings.Repeat("1", 500_000)+`,`), 400, "number_range", ""),
		json("B30 1e400", with(`"data":1e400,`), 400, "number_range", ""),
		json("B30 -0", with(`"data":-0,`), 202, "", ""),
		json("B31 duplicate attribute", with(`"id":"2",`), 400, "duplicate_key", "id"),
		json("B31 duplicate name in data", with(`"data":{"a":1,"a":1},`), 400, "duplicate_key", ""),
		json("B32 invalid UTF-8", with("\"data\":\"\xff\","), 400, "bad_json", ""),
		json("B32 lone surrogate", with(`"data":"\ud800",`), 400, "bad_json", ""),
		json("B32 NUL, right-to-left override and emoji in data", with(`"data":"\u0000\u202e😀",`), 202, "", ""),
		json("B33 no id", `{"specversion":"1.0","source":"/s","type":"t"}`, 400, "missing_attribute", "id"),
		json("B33 no source", `{"specversion":"1.0","id":"1","type":"t"}`, 400, "missing_attribute", "source"),
		json("B33 no type", `{"specversion":"1.0","id":"1","source":"/s"}`, 400, "missing_attribute", "type"),
		json("B33 no specversion", `{"id":"1","source":"/s","type":"t"}`, 400, "missing_attribute", "specversion"),
		json("B33 empty source", `{"specversion":"1.0","id":"1","source":"","type":"t"}`, 400, "bad_attribute", "source"),
		json("B33 specversion 0.3", `{"specversion":"0.3","id":"1","source":"/s","type":"t"}`, 400, "bad_attribute", "specversion"),
		json("B33 specversion 2.0", `{"specversion":"2.0","id":"1","source":"/s","type":"t"}`, 400, "bad_attribute", "specversion"),
		json("B34 upper-case name", with(`"Foo":"x",`), 400, "bad_attribute", "Foo"),
		json("B34 name with a dash", with(`"foo-bar":"x",`), 400, "bad_attribute", "foo-bar"),
		json("B34 name of 21 characters", with(`"`+strings.Repeat("a", 21)+`":"x",`), 202, "", ""),
		json("B34 object attribute", with(`"x":{},`), 400, "bad_attribute", "x"),
		json("B34 markup as a name is not shown", with(`"<b>":"x",`), 400, "bad_attribute", ""),
		json("B35 invalid time", with(`"time":"yesterday",`), 400, "bad_attribute", "time"),
		json("B35 year 0001", with(`"time":"0001-01-01T00:00:00Z",`), 202, "", ""),
		json("B35 year 9999", with(`"time":"9999-12-31T23:59:59Z",`), 202, "", ""),
		json("B35 leap second", with(`"time":"2016-12-31T23:59:60Z",`), 400, "bad_attribute", "time"),
		json("B36 id of 10 KiB", `{"specversion":"1.0","id":"`+long+`","source":"/s","type":"t"}`, 400, "attribute_too_long", "id"),
		json("B36 type of 10 KiB", `{"specversion":"1.0","id":"1","source":"/s","type":"`+long+`"}`, 400, "attribute_too_long", "type"),
		json("B36 source that is no URI-reference", `{"specversion":"1.0","id":"1","source":"a b","type":"t"}`, 400, "bad_attribute", "source"),
		{name: "B37 data that is not JSON", header: ce(ct("application/json")...), body: `{"a"`, status: 400, code: "bad_data", attribute: "data"},
		json("B37 data and data_base64", with(`"data":1,"data_base64":"AA==",`), 400, "bad_data", "data_base64"),
		json("B42 CR LF and ANSI escape in data", with(`"data":"\r\n\u001b[31m\u0000",`), 202, "", ""),
		json("B42 CR LF in an attribute", with(`"subject":"a\r\nb",`), 400, "bad_attribute", "subject"),
		json("B42 ANSI escape in an attribute", with(`"subject":"\u001b[31m",`), 400, "bad_attribute", "subject"),
		json("B42 NUL in an attribute", with(`"x":"\u0000",`), 400, "bad_attribute", "x"),
	})
}

func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"m%d":%d,`, i, i)
	}
	return b.String() + `"last":0`
}

func TestBatches(t *testing.T) {
	t.Parallel()
	good, bad := with(""), `{"specversion":"1.0","id":"1","source":"/s"}`
	many := func(n int) string { return strings.Repeat(good+",", n-1) + good }
	batch := func(name, body string, status int, code, attribute string, index int) exchange {
		return exchange{name: name, header: ct(batched), body: body, status: status, code: code, attribute: attribute, index: index}
	}
	run(t, ingest.Config{}, []exchange{
		batch("B39 1 bad of 100", "["+many(41)+","+bad+","+many(58)+"]", 400, "missing_attribute", "type", 42),
		batch("B39 empty", "[]", 202, "", "", 0),
		batch("B39 100,000", "["+many(100_000)+"]", 413, "too_many_events", "", 0),
		batch("1,000", "["+many(1000)+"]", 202, "", "", 0),
		batch("1,001", "["+many(1001)+"]", 413, "too_many_events", "", 0),
		batch("trailing comma", "["+good+",]", 400, "bad_json", "", 2),
		batch("null in the middle", "["+good+",null,"+good+"]", 400, "bad_json", "", 2),
		batch("cut off", "["+good+",", 400, "bad_json", "", 2),
		batch("garbage behind", "["+good+"] x", 400, "bad_json", "", 0),
		batch("too deep", "["+good+","+with(`"data":`+nested(65)+",")+"]", 400, "too_deep", "", 2),
		batch("2 MiB", "["+with(`"data":"`+strings.Repeat("x", 2<<20)+`",`)+"]", 202, "", "", 0),
		batch("8 MiB and more", "["+with(`"data":"`+strings.Repeat("x", 8<<20)+`",`)+"]", 413, "too_large", "", 0),
	})
}

func TestLimitsAreThoseOfTheConfiguration(t *testing.T) {
	t.Parallel()
	good := with("")
	exactly := good + strings.Repeat(" ", 200-len(good))
	run(t, ingest.Config{Body: 200, BatchBody: 300, Batch: 2, Depth: 2}, []exchange{
		{name: "body at the limit", header: ct(structured), body: exactly, status: 202},
		{name: "body beyond it", header: ct(structured), body: exactly + " ", status: 413, code: "too_large"},
		{name: "batch body at the limit", header: ct(batched), body: "[" + good + "]" + strings.Repeat(" ", 298-len(good)), status: 202},
		{name: "batch body beyond it", header: ct(batched), body: "[" + good + "]" + strings.Repeat(" ", 299-len(good)), status: 413, code: "too_large"},
		{name: "batch", header: ct(batched), body: "[" + good + "," + good + "," + good + "]", status: 413, code: "too_many_events"},
		{name: "depth", header: ct(structured), body: with(`"data":[[]],`), status: 202},
		{name: "depth beyond", header: ct(structured), body: with(`"data":[[[]]],`), status: 400, code: "too_deep"},
		{name: "depth in binary mode", header: ce(), body: `[[]]`, status: 202},
		{name: "depth beyond in binary mode", header: ce(), body: `[[[]]]`, status: 400, code: "too_deep"},
	})
}

// TestAccepted: 202 says what became of each event, and the router gets what it
// needs to decide.
func TestAccepted(t *testing.T) {
	t.Parallel()
	results := map[string]router.Result{"dup": {Duplicate: true}, "other": {Conflict: true}}
	s := serve(t, ingest.Config{Dedup: time.Hour})
	s.sink.answer = func(_ context.Context, evs []*rules.Event) ([]router.Result, error) {
		out := make([]router.Result, len(evs))
		for i, ev := range evs {
			out[i] = results[ev.ID()]
		}
		return out, nil
	}
	event := func(id string) string { return `{"specversion":"1.0","source":"/s","type":"t","id":"` + id + `"}` }
	tests := []struct {
		name, media, body string
		status            int
		want              string
	}{
		{"new", structured, event("new"), 202, `{"id":"new","source":"events","duplicate":false}`},
		{"duplicate", structured, event("dup"), 202, `{"id":"dup","source":"events","duplicate":true}`},
		{
			"batch", batched, "[" + event("new") + "," + event("other") + "," + event("dup") + "]", 202,
			`[{"id":"new","source":"events","duplicate":false},{"id":"other","source":"events","code":"conflict"},{"id":"dup","source":"events","duplicate":true}]`,
		},
		{"empty batch", batched, "[]", 202, `[]`},
	}
	for _, tt := range tests {
		got := s.post(tt.body, "Content-Type", tt.media)
		if diff := cmp.Diff(tt.want+"\n", got.body); diff != "" || got.status != tt.status || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s\n%s", tt.name, got.status, got.header.Get("Content-Type"), diff)
		}
	}
	if got := s.post(event("other"), "Content-Type", structured); got.status != 409 || got.problem.Code != "conflict" || got.problem.Attribute != "id" {
		t.Errorf("B41: %d %s", got.status, got.body)
	}
	if want := (router.Origin{Source: "events", Dedup: time.Hour, Strict: true}); s.sink.origin() != want {
		t.Errorf("origin %+v, want %+v", s.sink.origin(), want)
	}
}

func TestNotAccepted(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{
		fmt.Errorf("commit: %w: /var/lib/secret", router.ErrUnavailable), router.ErrStopping, context.Canceled, context.DeadlineExceeded, io.ErrShortWrite,
	} {
		t.Run(cause.Error(), func(t *testing.T) {
			t.Parallel()
			s := serve(t, ingest.Config{})
			s.sink.answer = func(context.Context, []*rules.Event) ([]router.Result, error) { return nil, cause }
			got := s.post(with(""), "Content-Type", structured)
			if got.status != 503 || got.problem.Code != "unavailable" || got.header.Get("Retry-After") == "" {
				t.Errorf("%d, Retry-After %q: %s", got.status, got.header.Get("Retry-After"), got.body)
			}
			if strings.Contains(got.body, "secret") || errors.Is(cause, io.ErrShortWrite) && strings.Contains(got.body, cause.Error()) {
				t.Errorf("the cause is told: %s", got.body)
			}
		})
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	s := serve(t, ingest.Config{})
	if got := s.post(with(""), "Content-Type", structured); got.status != 202 || got.close {
		t.Fatalf("%d, close %v", got.status, got.close)
	}
	s.handler.Stop()
	for _, body := range []string{with(""), "not an event"} {
		if got := s.post(body, "Content-Type", structured); got.status != 503 || got.problem.Code != "unavailable" || !got.close || got.header.Get("Retry-After") == "" {
			t.Errorf("%d, close %v: %s", got.status, got.close, got.body)
		}
	}
	if n := len(s.sink.events()); n != 1 {
		t.Errorf("%d events accepted", n)
	}
}
