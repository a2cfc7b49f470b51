package ingest

import (
	"net/http"
	"strconv"

	"github.com/pointsman/pointsman/rules"
)

// An action that sends an event in turn says how many routers, or how many turns
// of this one, the event behind it has passed. Without it a rule whose action
// causes what the rule matches would run for ever.
const (
	hopsHeader    = "Pointsman-Hops"
	hopsExtension = "pointsmanhops"
)

// countHops refuses events that came too far, and writes into the others how far
// they came: the larger of what the request and the event say.
func (h *Handler) countHops(r *http.Request, evs []*rules.Event) *problem {
	value, p := one(r.Header, hopsHeader)
	if p != nil {
		return p
	}
	sent := 0
	if value != "" {
		var ok bool
		if sent, ok = hops(value); !ok {
			return &problem{
				status: http.StatusBadRequest, code: "bad_hops", attribute: "pointsman-hops",
				detail: "the header is not a number from 0 to 255",
			}
		}
	}
	for i, ev := range evs {
		own, given := ev.Attribute(hopsExtension)
		if sent == 0 && !given {
			continue
		}
		n, ok := hops(own)
		if given && !ok {
			return &problem{
				status: http.StatusBadRequest, code: "bad_hops", attribute: hopsExtension,
				detail: "the extension is not a number from 0 to 255", index: i, inBatch: len(evs) > 1,
			}
		}
		n = max(n, sent)
		if n > h.cfg.Hops {
			return &problem{
				status: http.StatusBadRequest, code: "too_many_hops", index: i, inBatch: len(evs) > 1,
				detail: "the event was caused by events over more than " + strconv.Itoa(h.cfg.Hops) +
					" hops: a rule's action seems to cause what the rule matches (see limits.hops)",
			}
		}
		marked, err := ev.WithExtension(hopsExtension, int32(n))
		if err != nil {
			return eventProblem(err)
		}
		evs[i] = marked
	}
	return nil
}

// hops reads the text of a header, or the value of an extension.
func hops(v any) (int, bool) {
	switch v := v.(type) {
	case int32:
		return int(v), v >= 0 && v <= 255
	case string:
		n, err := strconv.ParseUint(v, 10, 8)
		return int(n), err == nil
	}
	return 0, false
}
