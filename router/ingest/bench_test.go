package ingest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/ingest"
	"github.com/pointsman/pointsman/rules"
)

// discard is a ResponseWriter that costs nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// BenchmarkPost compares a structured event of 1 KB through the handler with a
// handler that reads the body and answers 202, without and with a real server.
func BenchmarkPost(b *testing.B) {
	var fields []string
	for i := range 45 {
		fields = append(fields, fmt.Sprintf(`"field%02d":"value %d"`, i, i))
	}
	body := with(`"data":{` + strings.Join(fields, ",") + `},`)
	accepted := make([]router.Result, 1)
	handlers := []struct {
		name string
		http.Handler
	}{
		{"bare", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err == nil {
				w.WriteHeader(http.StatusAccepted)
			}
		})},
		{"events", ingest.New(ingest.Config{Accept: func(context.Context, router.Origin, []*rules.Event) ([]router.Result, error) {
			return accepted, nil
		}})},
	}
	for _, h := range handlers {
		b.Run("handler/"+h.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			text := strings.NewReader(body)
			req := httptest.NewRequest(http.MethodPost, "/events", text)
			req.Header.Set("Content-Type", structured)
			for b.Loop() {
				text.Reset(body)
				req.Body = io.NopCloser(text)
				h.ServeHTTP(&discard{http.Header{}}, req)
			}
		})
	}
	for _, h := range handlers {
		b.Run("server/"+h.name, func(b *testing.B) {
			b.ReportAllocs()
			srv := httptest.NewServer(h)
			defer srv.Close()
			defer http.DefaultClient.CloseIdleConnections()
			for b.Loop() {
				res, err := http.Post(srv.URL+"/events", structured, strings.NewReader(body))
				if err != nil || res.StatusCode != http.StatusAccepted {
					b.Fatal(res, err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
}
