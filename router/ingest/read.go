package ingest

import (
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/rules"
)

// Media types of the CloudEvents JSON formats.
const (
	structuredPrefix = "application/cloudevents"
	batchPrefix      = "application/cloudevents-batch"
	structuredJSON   = "application/cloudevents+json"
	batchJSON        = "application/cloudevents-batch+json"
)

// read decodes a request into events: all of them good, or a problem.
// (CloudEvents HTTP Protocol Binding 1.0.2, section 3.)
func (h *Handler) read(w http.ResponseWriter, r *http.Request) (evs []*rules.Event, batch bool, p *problem) {
	contentType, p := one(r.Header, "Content-Type")
	if p != nil {
		return nil, false, p
	}
	media := mediaType(contentType)
	lim := rules.Limits{Depth: h.cfg.Depth}
	switch {
	case strings.HasPrefix(media, batchPrefix):
		if media != batchJSON || !utf8Charset(contentType) {
			return nil, true, unsupported("batches are taken as " + batchJSON + " in UTF-8 only")
		}
		body, p := h.body(w, r, h.cfg.BatchBody)
		if p != nil {
			return nil, true, p
		}
		evs, err := rules.ParseBatch(body, lim, h.cfg.Batch)
		return evs, true, eventProblem(err)
	case strings.HasPrefix(media, structuredPrefix):
		if media != structuredJSON || !utf8Charset(contentType) {
			return nil, false, unsupported("structured events are taken as " + structuredJSON + " in UTF-8 only")
		}
		body, p := h.body(w, r, h.cfg.Body)
		if p != nil {
			return nil, false, p
		}
		ev, err := rules.ParseEvent(body, lim)
		return []*rules.Event{ev}, false, eventProblem(err)
	case !binary(r.Header):
		return nil, false, unsupported("send " + structuredJSON + ", " + batchJSON + ", or an event in binary mode with ce- headers")
	}
	attrs, p := headerAttributes(r.Header, contentType)
	if p != nil {
		return nil, false, p
	}
	body, p := h.body(w, r, h.cfg.Body)
	if p != nil {
		return nil, false, p
	}
	if len(body) == 0 {
		body = nil
	}
	ev, err := rules.NewEvent(attrs, body, lim)
	return []*rules.Event{ev}, false, eventProblem(err)
}

// sizeLimit is how large the body of a request to POST /events may be.
func (h *Handler) sizeLimit(r *http.Request) int64 {
	if strings.HasPrefix(mediaType(r.Header.Get("Content-Type")), batchPrefix) {
		return h.cfg.BatchBody
	}
	return h.cfg.Body
}

// one returns the value of a header that may be given once.
func one(h http.Header, name string) (string, *problem) {
	switch v := h.Values(name); len(v) {
	case 0:
		return "", nil
	case 1:
		return v[0], nil
	default:
		return "", &problem{
			status: http.StatusBadRequest, code: "duplicate_header", attribute: shown(strings.ToLower(name)),
			detail: "the header is given more than once",
		}
	}
}

// mediaType is the type without parameters, in lower case.
func mediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// utf8Charset says whether a JSON text may be read as UTF-8: the charset is not
// said or is UTF-8. A Content-Type that cannot be parsed is not.
func utf8Charset(contentType string) bool {
	if !strings.Contains(contentType, ";") {
		return true
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	cs, given := params["charset"]
	return !given || strings.EqualFold(cs, "utf-8") || strings.EqualFold(cs, "us-ascii")
}

func unsupported(detail string) *problem {
	return &problem{status: http.StatusUnsupportedMediaType, code: "unsupported_media_type", detail: detail}
}

// body reads the whole body, decoded, up to limit bytes. The request's body is
// metered.
func (h *Handler) body(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *problem) {
	coding, p := one(r.Header, "Content-Encoding")
	if p != nil {
		return nil, unsupported("one content coding is taken, gzip")
	}
	onWire, zipped := limit, false
	switch strings.ToLower(strings.TrimSpace(coding)) {
	case "", "identity":
	case "gzip", "x-gzip":
		// What cannot be compressed grows a little.
		onWire, zipped = limit+limit/1024+1024, true
	default:
		return nil, unsupported("the content coding is not taken; send gzip or none")
	}
	if r.ContentLength > onWire {
		return nil, tooLarge(limit)
	}
	if !zipped && 0 <= r.ContentLength && r.ContentLength <= firstBuffer {
		// net/http gives no more than was said.
		body, err := r.Body.(*metered).readExactly(r.ContentLength)
		if err != nil {
			return nil, readProblem(err, tooLarge(limit))
		}
		return body, nil
	}
	var src io.Reader = http.MaxBytesReader(w, r.Body, onWire)
	if zipped {
		z, err := gzip.NewReader(src)
		if err != nil {
			return nil, readProblem(err, tooLarge(limit))
		}
		src = z
	}
	expected := r.ContentLength
	if zipped {
		expected = -1
	}
	body, err := r.Body.(*metered).readAll(src, expected, limit)
	if err != nil {
		return nil, readProblem(err, tooLarge(limit))
	}
	if int64(len(body)) > limit {
		return nil, tooLarge(limit)
	}
	return body, nil
}

// tooLarge answers a body over the limit.
func tooLarge(limit int64) *problem {
	return &problem{
		status: http.StatusRequestEntityTooLarge, code: "too_large", close: true,
		detail: "the body is larger than " + strconv.FormatInt(limit, 10) + " bytes",
	}
}

// readProblem answers a body that ended early, came too slowly, is not framed or
// coded as its headers say, or for which there is no memory.
func readProblem(err error, tooLarge *problem) *problem {
	if errors.Is(err, errBusy) {
		return &problem{
			status: http.StatusServiceUnavailable, code: "busy", close: true, retryAfter: 1,
			detail: "the requests of all senders together are larger than the router takes at a time (send it again later)",
		}
	}
	var beyond *http.MaxBytesError
	if errors.As(err, &beyond) {
		return tooLarge
	}
	return &problem{status: http.StatusBadRequest, code: "bad_body", detail: "the body is cut off or not what its headers say", close: true}
}

// eventProblem is nil for a nil error.
func eventProblem(err error) *problem {
	if err == nil {
		return nil
	}
	p := &problem{status: http.StatusBadRequest, code: rules.CodeBadJSON, detail: err.Error()}
	var batch *rules.BatchError
	if errors.As(err, &batch) {
		p.index, p.inBatch = batch.Index, true
	}
	var ev *rules.EventError
	if errors.As(err, &ev) {
		p.code, p.attribute = ev.Code, ev.Attribute
		p.offset, p.hasOffset = ev.Offset, ev.Offset >= 0
		if ev.Code == rules.CodeTooMany {
			p.status = http.StatusRequestEntityTooLarge
		}
	}
	return p
}
