package ingest_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/router/ingest"
)

func TestContentCodings(t *testing.T) {
	t.Parallel()
	good := with(`"data":"` + strings.Repeat("x", 2000) + `",`)
	zipped := zip(t, good)
	gz := func(coding string) []string { return append(ct(structured), "Content-Encoding", coding) }
	corrupt := []byte(zipped)
	corrupt[len(corrupt)-8] ^= 1 // the checksum
	broken := []byte(zipped)
	broken[11] ^= 0xff // the data
	run(t, ingest.Config{}, []exchange{
		{name: "gzip", header: gz("gzip"), body: zipped, status: 202},
		{name: "GZip", header: gz("GZip"), body: zipped, status: 202},
		{name: "x-gzip", header: gz("x-gzip"), body: zipped, status: 202},
		{name: "identity", header: gz("identity"), body: good, status: 202},
		{name: "empty coding", header: gz(""), body: good, status: 202},
		{name: "gzip of a batch", header: append(ct(batched), "Content-Encoding", "gzip"), body: zip(t, "["+good+"]"), status: 202},
		{name: "gzip of data in binary mode", header: ce("Content-Encoding", "gzip"), body: zip(t, "1"), status: 202},
		{name: "gzip of several members", header: gz("gzip"), body: zip(t, good[:100]) + zip(t, good[100:]) + zip(t, ""), status: 202},
		{name: "gzip of nothing", header: gz("gzip"), body: zip(t, ""), status: 400, code: "bad_json"},
		{name: "gzip with garbage behind it", header: gz("gzip"), body: zipped + "garbage", status: 400, code: "bad_body"},
		{name: "gzip with zeros behind it", header: gz("gzip"), body: zipped + "\x00\x00\x00", status: 400, code: "bad_body"},
		{name: "gzip cut off", header: gz("gzip"), body: zipped[:len(zipped)-1], status: 400, code: "bad_body"},
		{name: "gzip with a wrong checksum", header: gz("gzip"), body: string(corrupt), status: 400, code: "bad_body"},
		{name: "gzip that is broken", header: gz("gzip"), body: string(broken), status: 400, code: "bad_body"},
		{name: "gzip that is none", header: gz("gzip"), body: good, status: 400, code: "bad_body"},
		{name: "gzip without a body", header: gz("gzip"), status: 400, code: "bad_body"},
		{name: "gzip not said", header: ct(structured), body: zipped, status: 400, code: "bad_json"},
		{name: "B21 nested gzip, said once", header: gz("gzip"), body: zip(t, zipped), status: 400, code: "bad_json"},
		{name: "B21 nested gzip", header: gz("gzip, gzip"), body: zip(t, zipped), status: 415, code: "unsupported_media_type"},
		{name: "B21 nested gzip in two headers", header: append(gz("gzip"), "Content-Encoding", "gzip"), body: zip(t, zipped), status: 415, code: "unsupported_media_type"},
		{name: "B21 br", header: gz("br"), body: "x", status: 415, code: "unsupported_media_type"},
		{name: "deflate", header: gz("deflate"), body: "x", status: 415, code: "unsupported_media_type"},
		{name: "zstd", header: gz("zstd"), body: "x", status: 415, code: "unsupported_media_type"},
	})
}

// TestGzipCountsDecoded: bytes that gzip makes longer are counted as they were.
func TestGzipCountsDecoded(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	noise := make([]byte, limit)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise)
	zipped := zip(t, string(noise))
	if len(zipped) <= limit {
		t.Fatal("the noise was compressed")
	}
	more := zip(t, string(noise)+"x")
	header := ce(append(ct("application/octet-stream"), "Content-Encoding", "gzip")...)
	run(t, ingest.Config{}, []exchange{
		{name: "at the limit", header: header, body: zipped, status: 202},
		{name: "beyond it", header: header, body: more, status: 413, code: "too_large"},
	})
}

// bomb is gzip of n zeros, made as it is read.
func bomb(n int64) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
		zeros := make([]byte, 1<<20)
		for ; n > 0; n -= int64(len(zeros)) {
			if _, err := z.Write(zeros); err != nil {
				return // the request is over
			}
		}
		_ = w.CloseWithError(z.Close())
	}()
	return r
}

// TestGzipBomb: B21, 1 GiB of zeros costs no more than the limit.
func TestGzipBomb(t *testing.T) { // not parallel: it measures memory
	s := serve(t, ingest.Config{})
	for _, media := range []string{structured, batched} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := s.request(http.MethodPost, "/events", bomb(1<<30), "Content-Type", media, "Content-Encoding", "gzip")
		runtime.ReadMemStats(&after)
		if got.status != 413 || got.problem.Code != "too_large" || !got.close {
			t.Errorf("%s: %d, close %v: %s", media, got.status, got.close, got.body)
		}
		// All that a buffer of 8 MiB was while it grew, and what both ends of
		// HTTP and gzip take.
		if used := after.TotalAlloc - before.TotalAlloc; used > 128<<20 {
			t.Errorf("%s: %d MiB allocated", media, used>>20)
		}
	}
}

// endless is a body without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte(" "), len(p))), nil }

func TestChunkedBeyondTheLimit(t *testing.T) {
	t.Parallel()
	s := serve(t, ingest.Config{})
	got := s.request(http.MethodPost, "/events", io.NopCloser(endless{}), "Content-Type", structured)
	if got.status != 413 || got.problem.Code != "too_large" || !got.close {
		t.Errorf("B20: %d, close %v: %s", got.status, got.close, got.body)
	}
}
