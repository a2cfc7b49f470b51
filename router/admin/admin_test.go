package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/router/admin/admintest"
	"github.com/pointsman/pointsman/router/store"
)

const token = "a token of some length"

// sample has three events, two of one id, and five deliveries.
func sample() *admintest.Fake {
	e1 := admintest.Event(1, "netbox", "sw1", "a/b")
	e2 := admintest.Event(2, "events", "sw2", "two")
	e3 := admintest.Event(3, "events", "sw1", "a/b")
	e3.Duplicates = 2
	e3.Verdicts = []store.Verdict{{Rule: "bounce", Verdict: "matched", Reason: "role is access"}}
	dead := admintest.Delivery(13, e3, "bounce", "port", store.Dead)
	dead.Reason, dead.Error, dead.Attempts = store.ReasonPermanent, "no such port", 3
	return &admintest.Fake{
		Readiness: router.Readiness{OK: true, Durability: []string{"appendfsync is everysec"}},
		ActionList: []router.ActionStatus{
			{Name: "port", Plugin: "exec", State: "running", Concurrency: 4, LastError: "no such port"},
		},
		PluginList: []router.PluginStatus{{
			Name: "exec", Version: "1.0.0", ParamsSchema: json.RawMessage(`{"type":"object"}`), Actions: []string{"port"},
		}},
		Verdicts: []router.RuleVerdict{
			{Rule: "bounce", Verdict: "matched", Reason: "role is access", Calls: []router.RuleCall{}},
			{Rule: "other", Verdict: "not_matched", Reason: "type is net.link.down", Calls: []router.RuleCall{}},
		},
		EventList: []store.Event{e1, e2, e3},
		DeliveryList: []store.Delivery{
			admintest.Delivery(11, e1, "bounce", "port", store.Done),
			admintest.Delivery(12, e2, "bounce", "port", store.Ready),
			dead,
			admintest.Delivery(14, e3, "page", "gone", store.Dead),
			admintest.Delivery(15, e3, "page", "gone", store.Held),
		},
		Attempts: map[string][]store.Attempt{admintest.UID(13): {{
			Number: 1, Started: admintest.Time(13), Ended: admintest.Time(14), Outcome: "permanent",
			Error: "no such port", Output: "eth1: \x1b[31mnot found\n",
		}}},
	}
}

func serve(t *testing.T, f *admintest.Fake, change func(*admin.Config)) *httptest.Server {
	t.Helper()
	c := admin.Config{
		Router: f, Orders: f, Pauser: f, Schedules: f, Store: f, Metrics: prometheus.NewRegistry(), Token: token,
		Listen: "admin.example:8081", Version: admin.Version{Version: "1.2.3"},
		Now: func() time.Time { return admintest.Time(20) },
	}
	if change != nil {
		change(&c)
	}
	s := httptest.NewServer(admin.New(c))
	t.Cleanup(s.Close)
	return s
}

// request is one call; a header value of "-" removes the default.
type request struct {
	method, path, body string
	header             map[string]string
}

func call(t *testing.T, s *httptest.Server, rq request) (*http.Response, []byte) {
	t.Helper()
	method := rq.method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+rq.path, strings.NewReader(rq.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if rq.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range rq.header {
		switch {
		case v == "-":
			req.Header.Del(k)
		case k == "Host":
			req.Host = v
		default:
			req.Header.Set(k, v)
		}
	}
	resp, err := s.Client().Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

// TestRefused covers what must not get through: who asks (T14), how (B56, B57)
// and with what (B54).
func TestRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, sample(), nil)
	post := func(path, body string) request {
		return request{method: "POST", path: "/api/v1/" + path, body: body}
	}
	get := func(path string) request { return request{path: "/api/v1/" + path} }
	with := func(rq request, kv ...string) request {
		rq.header = map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			rq.header[kv[i]] = kv[i+1]
		}
		return rq
	}
	cases := []struct {
		name   string
		rq     request
		status int
		code   string
		allow  string
	}{
		{"no token", with(get("events"), "Authorization", "-"), 401, "unauthorized", ""},
		{"wrong token", with(get("events"), "Authorization", "Bearer x"), 401, "unauthorized", ""},
		{"basic", with(get("events"), "Authorization", "Basic "+token), 401, "unauthorized", ""},
		{"token in the query", with(get("events?token="+token[:1]), "Authorization", "-"), 401, "unauthorized", ""},
		{"metrics without token", with(request{path: "/metrics"}, "Authorization", "-"), 401, "unauthorized", ""},
		{"unknown path without token", with(get("nothing"), "Authorization", "-"), 401, "unauthorized", ""},

		{"foreign host", with(get("events"), "Host", "evil.example"), 421, "foreign_host", ""},
		{"foreign host with port", with(get("events"), "Host", "evil.example:8081"), 421, "foreign_host", ""},
		{"other address", with(get("events"), "Host", "192.0.2.1"), 421, "foreign_host", ""},
		{"foreign host of readyz", with(request{path: "/readyz"}, "Host", "evil.example"), 421, "foreign_host", ""},
		{"name that begins like loopback", with(get("events"), "Host", "127.0.0.1.evil.example"), 421, "foreign_host", ""},
		{"foreign origin", with(get("events"), "Origin", "https://evil.example"), 403, "foreign_origin", ""},
		{"null origin", with(get("events"), "Origin", "null"), 403, "foreign_origin", ""},
		{"origin on another port", with(get("events"), "Origin", "http://127.0.0.1:1"), 403, "foreign_origin", ""},
		{
			"foreign origin of an order", with(post("deliveries/retry", `{"ids":["x"]}`), "Origin", "https://evil.example"),
			403, "foreign_origin", "",
		},
		{"cross-site", with(get("events"), "Sec-Fetch-Site", "cross-site"), 403, "foreign_origin", ""},
		{"same-site", with(get("events"), "Sec-Fetch-Site", "same-site"), 403, "foreign_origin", ""},
		{
			"cross-site order", with(post("deliveries/retry", `{"ids":["x"]}`), "Sec-Fetch-Site", "cross-site"),
			403, "foreign_origin", "",
		},

		{"unknown path", get("nothing"), 404, "not_found", ""},
		{"root", request{path: "/"}, 404, "not_found", ""},
		{"order by GET", get("deliveries/retry"), 405, "method_not_allowed", "POST"},
		{"cancel by DELETE", request{method: "DELETE", path: "/api/v1/deliveries/x"}, 405, "method_not_allowed", "GET, HEAD"},
		{"POST to a list", post("events", `{}`), 405, "method_not_allowed", "GET, HEAD"},
		{"POST to readyz", request{method: "POST", path: "/readyz"}, 405, "method_not_allowed", "GET, HEAD"},

		{"unknown parameter", get("deliveries?stat=dead"), 400, "bad_parameter", ""},
		{"repeated parameter", get("deliveries?rule=a&rule=b"), 400, "bad_parameter", ""},
		{"malformed query", get("deliveries?rule=%zz"), 400, "bad_parameter", ""},
		{"unknown state", get("deliveries?state=lost"), 400, "bad_parameter", ""},
		{"limit 0", get("events?limit=0"), 400, "bad_parameter", ""},
		{"limit -1", get("events?limit=-1"), 400, "bad_parameter", ""},
		{"limit 1001", get("deliveries?limit=1001"), 400, "bad_parameter", ""},
		{"limit 10^9", get("deliveries?limit=1000000000"), 400, "bad_parameter", ""},
		{"limit empty", get("deliveries?limit="), 400, "bad_parameter", ""},
		{"limit is text", get("deliveries?limit=ten"), 400, "bad_parameter", ""},
		{"forged cursor", get("events?before=1%20OR%201=1"), 400, "bad_cursor", ""},
		{"cursor of another version", get("events?after=3f2504e0-4f89-41d3-9a0c-0305e82c3301"), 400, "bad_cursor", ""},
		{"empty cursor", get("deliveries?before="), 400, "bad_cursor", ""},
		{"both cursors", get("events?before=" + admintest.UID(1) + "&after=" + admintest.UID(2)), 400, "bad_parameter", ""},
		{"bad since", get("events?since=yesterday"), 400, "bad_parameter", ""},
		{"bad all", get("events/two?all=maybe"), 400, "bad_parameter", ""},

		{"no such event", get("events/nope"), 404, "not_found", ""},
		{"no such event of the source", get("events/two?source=netbox"), 404, "not_found", ""},
		{"no such delivery", get("deliveries/nope"), 404, "not_found", ""},
		{"no such plugin", get("plugins/nope"), 404, "not_found", ""},
		{"no such rule", get("events/two/why?rule=nope"), 404, "not_found", ""},

		{"unknown member", post("deliveries/retry", `{"ids":["x"],"force":true}`), 400, "bad_body", ""},
		{"member in another case", post("deliveries/retry", `{"IDS":["x"]}`), 400, "bad_body", ""},
		{"repeated member", post("deliveries/retry", `{"ids":["x"],"ids":["y"]}`), 400, "bad_body", ""},
		{"wrong type", post("deliveries/retry", `{"ids":"x"}`), 400, "bad_body", ""},
		{"number as id", post("deliveries/retry", `{"ids":[1]}`), 400, "bad_body", ""},
		{"trailing text", post("deliveries/retry", `{"ids":["x"]} {}`), 400, "bad_body", ""},
		{"not JSON", post("deliveries/retry", `ids=x`), 400, "bad_body", ""},
		{"neither ids nor filter", post("deliveries/retry", `{}`), 400, "bad_body", ""},
		{"ids and filter", post("deliveries/retry", `{"ids":["x"],"filter":{"state":["dead"]}}`), 400, "bad_body", ""},
		{"empty id", post("deliveries/retry", `{"ids":[""]}`), 400, "bad_body", ""},
		{"filter without state", post("deliveries/retry", `{"filter":{"rule":"bounce"}}`), 400, "bad_body", ""},
		{"filter with unknown state", post("deliveries/retry", `{"filter":{"state":["x"]}}`), 400, "bad_body", ""},
		{"retry of done", post("deliveries/retry", `{"filter":{"state":["done"]}}`), 400, "bad_body", ""},
		{"cancel of cancelled", post("deliveries/cancel", `{"filter":{"state":["cancelled"]}}`), 400, "bad_body", ""},
		{"filter with bad since", post("deliveries/retry", `{"filter":{"state":["dead"],"since":"x"}}`), 400, "bad_body", ""},
		{"unexpected count", post("deliveries/retry", `{"filter":{"state":["dead"]},"expect":5}`), 409, "count_changed", ""},
		{
			"form", with(post("deliveries/retry", `{"ids":["x"]}`), "Content-Type", "application/x-www-form-urlencoded"),
			415, "unsupported_media_type", "",
		},
		{"large body", post("deliveries/retry", `{"ids":["`+strings.Repeat("x", admin.MaxBody)+`"]}`), 413, "body_too_large", ""},
		{"event of another type", with(post("why", `{}`), "Content-Type", "text/plain"), 415, "unsupported_media_type", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			resp, body := call(t, s, c.rq)
			var p admin.Problem
			if err := json.Unmarshal(body, &p); err != nil {
				t.Fatalf("status %d, no problem: %s", resp.StatusCode, body)
			}
			if resp.StatusCode != c.status || p.Status != c.status || p.Code != c.code {
				t.Errorf("status %d, body %s; want %d %s", resp.StatusCode, body, c.status, c.code)
			}
			if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type %q", got)
			}
			if got := resp.Header.Get("Allow"); got != c.allow {
				t.Errorf("Allow %q, want %q", got, c.allow)
			}
			if p.Detail == "" || strings.Contains(string(body), token) {
				t.Errorf("detail is missing or tells the token: %s", body)
			}
		})
	}
}

func TestAllowedHosts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		listen, host string
		status       int
	}{
		{"127.0.0.1:8081", "localhost:8081", 200},
		{"127.0.0.1:8081", "127.0.0.1:9999", 200},
		{"127.0.0.1:8081", "[::1]:8081", 200},
		{"127.0.0.1:8081", "LOCALHOST", 200},
		{"192.0.2.7:8081", "192.0.2.7:8081", 200},
		{"192.0.2.7:8081", "192.0.2.8:8081", 421},
		{"admin.example:8081", "admin.EXAMPLE:8081", 200},
		{"0.0.0.0:8081", "127.0.0.1:8081", 200},
		{"0.0.0.0:8081", "192.0.2.1:8081", 421},
		{"0.0.0.0:8081", "admin.example", 421},
		{":8081", "router.example:8081", 200}, // by Hosts
	} {
		t.Run(c.listen+" "+c.host, func(t *testing.T) {
			t.Parallel()
			s := serve(t, sample(), func(cf *admin.Config) {
				cf.Listen, cf.Hosts = c.listen, []string{"router.example"}
			})
			resp, body := call(t, s, request{path: "/livez", header: map[string]string{"Host": c.host}})
			if resp.StatusCode != c.status {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, c.status, body)
			}
		})
	}
}

func TestNoTokenConfiguredRefusesAll(t *testing.T) {
	t.Parallel()
	s := serve(t, sample(), func(c *admin.Config) { c.Token = "" })
	for _, auth := range []string{"-", "Bearer ", "Bearer"} {
		resp, _ := call(t, s, request{path: "/api/v1/version", header: map[string]string{"Authorization": auth}})
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("Authorization %q: status %d", auth, resp.StatusCode)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	f := sample()
	f.Readiness.Actions = []router.Broken{{Name: "port", Reason: "exits at once"}}
	resp, body := call(t, serve(t, f, nil), request{path: "/readyz", header: map[string]string{"Authorization": "-"}})
	want := `{"ready":true,"reasons":[],"durability":["appendfsync is everysec"],` +
		`"actions":[{"name":"port","reason":"exits at once"}],"sources":[],"rules":[],"dry_run":false}`
	if resp.StatusCode != 200 || strings.TrimSpace(string(body)) != want {
		t.Errorf("readyz %d %s", resp.StatusCode, body)
	}
	down := serve(t, &admintest.Fake{Readiness: router.Readiness{Reasons: []string{"draining"}}}, nil)
	resp, body = call(t, down, request{path: "/readyz"})
	if resp.StatusCode != 503 || !strings.Contains(string(body), "draining") {
		t.Errorf("readyz %d %s", resp.StatusCode, body)
	}
	if resp, _ = call(t, down, request{path: "/livez"}); resp.StatusCode != 200 {
		t.Errorf("livez %d while unready", resp.StatusCode)
	}
	for h, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Set-Cookie": ""} {
		if got := resp.Header.Get(h); got != want {
			t.Errorf("%s: %q, want %q", h, got, want)
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	f := sample()
	reg := prometheus.NewRegistry()
	m := router.NewMetrics(reg)
	reg.MustRegister(router.NewQueueMetrics(router.QueueConfig{Counter: f}))
	router.RegisterBuildInfo(reg, "1.2.3", "abc")
	m.Events.WithLabelValues("netbox", router.EventAccepted).Inc()
	_, body := call(t, serve(t, f, func(c *admin.Config) { c.Metrics = reg }), request{path: "/metrics"})
	for _, want := range []string{
		`pointsman_events_total{outcome="accepted",source="netbox"} 1`,
		`pointsman_deliveries{action="gone",state="dead"} 1`,
		`pointsman_store_up 1`,
		`pointsman_build_info{commit="abc",`,
	} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}

func TestStoreDown(t *testing.T) {
	t.Parallel()
	f := sample()
	f.Err = fmt.Errorf("dial redis://secret@host: %w", store.ErrUnavailable)
	s := serve(t, f, nil)
	for _, path := range []string{"events", "events/two", "deliveries", "deliveries/x", "actions"} {
		resp, body := call(t, s, request{path: "/api/v1/" + path})
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || strings.Contains(string(body), "secret") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}

// decodeAs reads a 200 answer.
func decodeAs[T any](t *testing.T, s *httptest.Server, rq request) T {
	t.Helper()
	resp, body := call(t, s, rq)
	var v T
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s", rq.method, rq.path, resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestListEvents(t *testing.T) {
	t.Parallel()
	s := serve(t, sample(), nil)
	for _, c := range []struct {
		query string
		want  []int
		next  int
	}{
		{"", []int{3, 2, 1}, 0},
		{"?limit=2", []int{3, 2}, 2},
		{"?limit=2&before=" + admintest.UID(2), []int{1}, 0},
		{"?after=" + admintest.UID(1), []int{2, 3}, 0},
		{"?source=events&ce_source=sw1", []int{3}, 0},
		{"?id=a%2Fb", []int{3, 1}, 0},
		{"?since=18s", []int{3, 2}, 0},
		{"?since=2025-06-15T15:06:43Z", []int{3}, 0},
		{"?source=nobody", nil, 0},
	} {
		page := decodeAs[admin.Events](t, s, request{path: "/api/v1/events" + c.query})
		var want, got []string
		for _, n := range c.want {
			want = append(want, admintest.UID(n))
		}
		for _, e := range page.Events {
			got = append(got, e.UID)
		}
		next := ""
		if c.next > 0 {
			next = admintest.UID(c.next)
		}
		if diff := cmp.Diff(want, got); diff != "" || page.Next != next {
			t.Errorf("%q: next %q, -want +got %s", c.query, page.Next, diff)
		}
	}
}

func TestShowEvent(t *testing.T) {
	t.Parallel()
	f := sample()
	odd := []string{"..", ".", "a//b", "%2e", "wi th?#&", "ünï", "0198c5c2-7d6b-7c35-b4a5-1c2d3e4f5a6b"}
	for i, id := range odd {
		f.EventList = append(f.EventList, admintest.Event(100+i, "events", "sw9", id))
	}
	s := serve(t, f, nil)
	e := decodeAs[admin.EventDetail](t, s, request{path: "/api/v1/events/a%2Fb"})
	if e.UID != admintest.UID(3) || e.Duplicates != 2 || len(e.Verdicts) != 1 || len(e.Deliveries) != 3 {
		t.Errorf("newest: %+v", e)
	}
	e = decodeAs[admin.EventDetail](t, s, request{path: "/api/v1/events/a%2Fb?source=netbox"})
	if e.UID != admintest.UID(1) || e.Verdicts == nil {
		t.Errorf("of netbox: %+v", e)
	}
	if e = decodeAs[admin.EventDetail](t, s, request{path: "/api/v1/events/" + admintest.UID(2)}); e.Source != "events" {
		t.Errorf("by uid: %+v", e)
	}
	if all := decodeAs[admin.EventDetails](t, s, request{path: "/api/v1/events/a%2Fb?all=true"}); len(all.Events) != 2 {
		t.Errorf("all: %+v", all)
	}
	for i, id := range odd {
		path := ""
		for _, c := range []byte(id) {
			path += fmt.Sprintf("%%%02X", c)
		}
		if e := decodeAs[admin.EventDetail](t, s, request{path: "/api/v1/events/" + path}); e.UID != admintest.UID(100+i) {
			t.Errorf("id %q: %s", id, e.UID)
		}
	}
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	s := serve(t, sample(), nil)
	for query, want := range map[string]int{
		"": 5, "?state=dead": 2, "?state=dead&state=held": 3, "?rule=page": 2, "?action=port": 3,
		"?event=a%2Fb": 4, "?event=" + admintest.UID(3): 3, "?since=7s": 3, "?until=8s": 1, "?limit=1": 1,
	} {
		page := decodeAs[admin.Deliveries](t, s, request{path: "/api/v1/deliveries" + query})
		if len(page.Deliveries) != want {
			t.Errorf("%q: %d deliveries, want %d", query, len(page.Deliveries), want)
		}
	}
	resp, body := call(t, s, request{path: "/api/v1/deliveries/" + admintest.UID(13)})
	want := `{"id":"` + admintest.UID(13) + `","event_id":"a/b","event_uid":"` + admintest.UID(3) + `",` +
		`"source":"events","ce_source":"sw1","rule":"bounce","step":0,"action":"port","state":"dead",` +
		`"reason":"permanent","attempts":3,"due":null,"error":"no such port","key":"","dry_run":false,"waits":"","count":0,` +
		`"created":"2025-06-15T15:06:53Z","updated":"2025-06-15T15:06:53Z","params":{"args":["eth1"]},` +
		`"history":[{"number":1,"started":"2025-06-15T15:06:53Z","ended":"2025-06-15T15:06:54Z",` +
		`"outcome":"permanent","error":"no such port","output":"eth1: \u001b[31mnot found\n"}]}`
	if diff := cmp.Diff(want, strings.TrimSpace(string(body))); resp.StatusCode != 200 || diff != "" {
		t.Errorf("show: %d -want +got %s", resp.StatusCode, diff)
	}
}

func TestOrders(t *testing.T) {
	t.Parallel()
	ids := func(ns ...int) string {
		var out []string
		for _, n := range ns {
			out = append(out, `"`+admintest.UID(n)+`"`)
		}
		return strings.Join(out, ",")
	}
	for _, c := range []struct {
		name, order, body string
		want              []string
		changed           bool
	}{
		{"retry by id", "retry", `{"ids":[` + ids(13, 11, 99) + `]}`, []string{"ok", "refused", "not_found"}, true},
		{
			"dry run by id", "retry", `{"ids":[` + ids(13, 11, 99) + `],"dry_run":true}`,
			[]string{"ok", "refused", "not_found"},
			false,
		},
		{"retry by filter", "retry", `{"filter":{"state":["dead"]},"expect":2}`, []string{"ok", "ok"}, true},
		{"dry run by filter", "retry", `{"filter":{"state":["dead","held"]},"dry_run":true}`, []string{"ok", "ok", "ok"}, false},
		{"filter by action", "retry", `{"filter":{"state":["dead"],"action":"port"}}`, []string{"ok"}, true},
		{"filter by event", "cancel", `{"filter":{"state":["ready"],"event":"two"}}`, []string{"ok"}, true},
		{"filter that selects nothing", "cancel", `{"filter":{"state":["ready"],"rule":"page"}}`, []string{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := sample()
			before := fmt.Sprint(f.DeliveryList)
			res := decodeAs[admin.Results](t, serve(t, f, nil),
				request{method: "POST", path: "/api/v1/deliveries/" + c.order, body: c.body})
			got := []string{}
			for _, r := range res.Results {
				got = append(got, r.Result)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got %s", diff)
			}
			if changed := before != fmt.Sprint(f.DeliveryList); changed != c.changed {
				t.Errorf("changed is %v", changed)
			}
		})
	}
}

// An order that breaks off says what was done and what was not.
func TestOrderBreaksOff(t *testing.T) {
	t.Parallel()
	f := &admintest.Fake{FailAfter: 1}
	ev := admintest.Event(1, "events", "sw1", "one")
	for n := range admin.MaxPage + 5 {
		f.DeliveryList = append(f.DeliveryList, admintest.Delivery(n, ev, "r", "a", store.Dead))
	}
	res := decodeAs[admin.Results](t, serve(t, f, nil),
		request{method: "POST", path: "/api/v1/deliveries/retry", body: `{"filter":{"state":["dead"]}}`})
	n := map[string]int{}
	for _, r := range res.Results {
		n[r.Result]++
	}
	if n["ok"] != admin.MaxPage || n["error"] != 5 || res.Selected != admin.MaxPage+5 {
		t.Errorf("%v, selected %d", n, res.Selected)
	}
}

func TestActionsAndPlugins(t *testing.T) {
	t.Parallel()
	s := serve(t, sample(), nil)
	actions := decodeAs[admin.Actions](t, s, request{path: "/api/v1/actions"}).Actions
	if len(actions) != 2 || actions[0].Name != "gone" || actions[0].State != "removed" || actions[0].Counts["held"] != 1 ||
		actions[1].Counts["done"] != 1 || actions[1].Counts["leased"] != 0 || actions[1].Concurrency != 4 {
		t.Errorf("actions: %+v", actions)
	}
	p := decodeAs[router.PluginStatus](t, s, request{path: "/api/v1/plugins/exec"})
	if p.Version != "1.0.0" || string(p.ParamsSchema) != `{"type":"object"}` || string(p.SettingsSchema) != "null" {
		t.Errorf("plugin: %+v", p)
	}
	if l := decodeAs[admin.Plugins](t, s, request{path: "/api/v1/plugins"}); len(l.Plugins) != 1 {
		t.Errorf("plugins: %+v", l)
	}
	if v := decodeAs[admin.Version](t, s, request{path: "/api/v1/version"}); v.Version != "1.2.3" {
		t.Errorf("version: %+v", v)
	}
	why := decodeAs[admin.Why](t, s, request{path: "/api/v1/events/two/why?rule=other"})
	if why.UID != admintest.UID(2) || len(why.Verdicts) != 1 || why.Verdicts[0].Verdict != "not_matched" {
		t.Errorf("why: %+v", why)
	}
	if h, _ := call(t, s, request{method: "HEAD", path: "/api/v1/status"}); h.StatusCode != 200 {
		t.Errorf("HEAD status: %d", h.StatusCode)
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"7d", "1d12h", "2025-06-15T15:06:43Z", "d", "-1h", "99999999999d", "1.5h", ""} {
		f.Add(s)
	}
	now := admintest.Time(0)
	f.Fuzz(func(t *testing.T, s string) {
		at, err := admin.ParseTime(s, now)
		if err != nil && !at.IsZero() {
			t.Errorf("%q: both a time and an error", s)
		}
		if _, iso := time.Parse(time.RFC3339Nano, s); err == nil && iso != nil && at.After(now) {
			t.Errorf("%q: a duration that lies in the future: %s", s, at)
		}
	})
}

func TestSourcesAndSchedules(t *testing.T) {
	t.Parallel()
	f := sample()
	last := admintest.Time(1)
	f.SourceList = []router.SourceStatus{{Name: "nightly", Type: "schedule", State: router.SourceBroken, Reason: "away", LastEvent: &last}}
	f.ScheduleList = []router.ScheduleStatus{{Name: "nightly", Last: &last, Next: []time.Time{admintest.Time(2)}}}
	s := serve(t, f, nil)
	if diff := cmp.Diff(f.SourceList, decodeAs[admin.Sources](t, s, request{path: "/api/v1/sources"}).Sources); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if l := decodeAs[admin.ScheduleList](t, s, request{path: "/api/v1/schedules"}).Schedules; len(l) != 1 || !l[0].Last.Equal(last) {
		t.Errorf("%+v", l)
	}
	for path, want := range map[string]int{
		"/api/v1/schedules/nightly/run": 202, "/api/v1/schedules/nobody/run": 404, "/api/v1/schedules/nightly": 404,
	} {
		if resp, body := call(t, s, request{method: "POST", path: path}); resp.StatusCode != want {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	if resp, _ := call(t, s, request{path: "/api/v1/schedules/nightly/run"}); resp.StatusCode != 405 || resp.Header.Get("Allow") != "POST" {
		t.Errorf("GET of run: %d", resp.StatusCode)
	}
	f.Err = fmt.Errorf("%w: dial", router.ErrUnavailable)
	if resp, _ := call(t, s, request{method: "POST", path: "/api/v1/schedules/nightly/run"}); resp.StatusCode != 503 {
		t.Errorf("with the store away: %d", resp.StatusCode)
	}
}

// TestPanic: a request that makes the router panic is answered and counted.
func TestPanic(t *testing.T) {
	t.Parallel()
	panics := make(chan any, 1)
	s := serve(t, sample(), func(c *admin.Config) { c.Orders, c.Panicked = nil, func(v any) { panics <- v } })
	resp, body := call(t, s, request{method: http.MethodPost, path: "/api/v1/deliveries/retry", body: `{"ids":["` + admintest.UID(13) + `"]}`})
	if resp.StatusCode != http.StatusInternalServerError || !strings.Contains(string(body), `"internal"`) || len(panics) != 1 {
		t.Fatalf("%d, %d panics counted: %s", resp.StatusCode, len(panics), body)
	}
}
