package ingest

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// inFlight bounds the memory that bodies of requests take, all requests
// together, from their first byte until the request is answered: the number of
// connections and the size of a body alone would allow gigabytes. What comes in
// beyond it is refused at once and not waited for, because requests that wait for
// each other's memory, each with a part of its body, would all wait in vain.
type inFlight struct {
	most int64

	mu   sync.Mutex
	used int64
}

// take gives a request that has held bytes so far more of them. total is what it
// says it will need, or 0: one for which there is no room now is better refused before it
// is read than after. The last quarter is for requests that stay small, so that
// large ones do not keep them out. One that is larger than the whole bound is let
// through while it is alone.
func (f *inFlight) take(held, more, total int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	most, wanted := f.most, max(more, total-held)
	if held+wanted > firstBuffer+1 {
		most -= most / 4
	}
	if f.used+wanted > most && f.used > held {
		return false
	}
	f.used += more
	return true
}

func (f *inFlight) giveBack(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used -= n
}

// InFlight returns how many bytes the bodies of requests take now.
func (h *Handler) InFlight() int64 {
	h.flight.mu.Lock()
	defer h.flight.mu.Unlock()
	return h.flight.used
}

// metered is the body of a request together with what has been taken for it. It
// belongs to the request's goroutine.
type metered struct {
	io.ReadCloser
	flight *inFlight
	held   int64
}

// meter puts the request's body on account; release must follow when the request
// has been answered. It puts the server's own body back, of which the server
// knows how to get rid when it was not read.
func (h *Handler) meter(r *http.Request) (release func()) {
	body := r.Body
	m := &metered{ReadCloser: body, flight: &h.flight}
	r.Body = m
	return func() {
		r.Body = body
		m.flight.giveBack(m.held)
	}
}

// again replaces what is read from the body; what was taken stays taken.
func (m *metered) again(src io.Reader) { m.ReadCloser = io.NopCloser(src) }

// errBusy says that other requests have all the memory.
var errBusy = errors.New("too much is in flight")

// firstBuffer is the most memory that a body gets before its bytes are there:
// Content-Length is no more than a claim.
const firstBuffer = 64 << 10

// readExactly reads a small body of n bytes, neither zipped nor of unknown length.
func (m *metered) readExactly(n int64) ([]byte, error) {
	if !m.flight.take(m.held, n, n) {
		return nil, errBusy
	}
	m.held += n
	buf := make([]byte, n)
	_, err := io.ReadFull(m.ReadCloser, buf)
	return buf, err
}

// readAll reads src up to limit bytes and one more, in memory taken from the
// account as it is needed. expected is how much is said to come, or -1.
func (m *metered) readAll(src io.Reader, expected, limit int64) ([]byte, error) {
	// One byte more than is expected, so that its end is seen without growing.
	size := min(max(expected, 511), firstBuffer, limit) + 1
	var buf []byte
	for {
		if !m.flight.take(m.held, size-int64(cap(buf)), min(expected, limit)+1) {
			return nil, errBusy
		}
		m.held += size - int64(cap(buf))
		buf = append(make([]byte, 0, size), buf...)
		for len(buf) < cap(buf) {
			n, err := src.Read(buf[len(buf):cap(buf)])
			buf = buf[:len(buf)+n]
			if errors.Is(err, io.EOF) {
				return buf, nil
			}
			if err != nil {
				return nil, err
			}
		}
		if size > limit {
			return buf, nil
		}
		if expected < size { // more than was said, or nothing was said
			size = min(2*size, limit+1)
		} else {
			size = min(4*size, expected+1, limit+1)
		}
	}
}
