package ingest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/router/ingest"
)

// FuzzHandler: whatever is sent, nothing panics, the answer is never a 5xx, an
// error is a problem with a code, and only what is accepted reaches the router.
func FuzzHandler(f *testing.F) {
	f.Add("POST", "/events", structured, "", "", "", with(`"data":{"a":[1,"\u00e9",null]},`))
	f.Add("POST", "/events", batched, "", "", "", "["+with("")+"]")
	f.Add("POST", "/events", "text/plain", "", "Ce-Subject", `"a\"%20"`, "text")
	f.Add("POST", "/events", structured, "gzip", "", "", zip(f, with("")))
	f.Add("OPTIONS", "/events", "", "", "Webhook-Request-Origin", "a.example", "")
	f.Add("GET", "/hooks/x", "", "", "Ce-", "%", "\xff")
	f.Fuzz(func(t *testing.T, method, path, media, coding, name, value, body string) {
		req, err := http.NewRequest(method, "http://h/", strings.NewReader(body))
		if err != nil {
			return
		}
		if req.URL, err = req.URL.Parse(path); err != nil {
			return
		}
		req.Header = http.Header{}
		for i, h := 0, ce("Content-Type", media, "Content-Encoding", coding); i < len(h); i += 2 {
			// Every other body comes without ce- headers.
			if h[i+1] != "" && (!strings.HasPrefix(h[i], "Ce-") || len(body)%2 == 0) {
				req.Header.Set(h[i], h[i+1])
			}
		}
		if name != "" {
			req.Header.Add(name, value)
		}
		s := &sink{}
		rec := httptest.NewRecorder()
		ingest.New(ingest.Config{Accept: s.accept, Origins: []string{"*"}, Body: 4 << 10, BatchBody: 8 << 10, Batch: 5}).ServeHTTP(rec, req)
		if rec.Code >= 500 {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
		if rec.Code != 202 && len(s.events()) > 0 {
			t.Errorf("%d, yet accepted", rec.Code)
		}
		var problem struct{ Code string }
		if rec.Code >= 400 && (json.Unmarshal(rec.Body.Bytes(), &problem) != nil || problem.Code == "") {
			t.Errorf("%d without a problem: %s", rec.Code, rec.Body)
		}
	})
}
