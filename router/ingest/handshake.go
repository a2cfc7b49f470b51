package ingest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// options answers the abuse-protection handshake of web hooks. Consent is given
// by the WebHook-Allowed headers alone. A callback is never called: whoever asks
// for one gets no consent here. The asked rate is granted as it is.
// (CloudEvents HTTP 1.1 Web Hooks 1.0.2, section 4.)
func (h *Handler) options(w http.ResponseWriter, r *http.Request, source string, origins []string) {
	w.Header().Set("Allow", "POST, OPTIONS")
	origin, p := one(r.Header, "WebHook-Request-Origin")
	if p != nil {
		h.refuseFrom(w, source, p)
		return
	}
	rate, p := one(r.Header, "WebHook-Request-Rate")
	if p != nil {
		h.refuseFrom(w, source, p)
		return
	}
	if rate = strings.TrimSpace(rate); rate != "" {
		if n, err := strconv.ParseUint(rate, 10, 31); err != nil || n == 0 {
			h.refuseFrom(w, source, &problem{
				status: http.StatusBadRequest, code: "bad_rate", attribute: "webhook-request-rate",
				detail: "WebHook-Request-Rate must be a positive number of requests a minute",
			})
			return
		}
	}
	origin = strings.TrimSpace(origin)
	switch {
	case origin == "":
		w.WriteHeader(http.StatusNoContent)
		return
	case len(r.Header.Values("WebHook-Request-Callback")) > 0, !allowed(origins, origin):
		h.refuseFrom(w, source, &problem{
			status: http.StatusMethodNotAllowed, code: "no_consent",
			detail: "this origin may not deliver here, or asked for a callback, which is never made (see events.origins)",
		})
		return
	}
	w.Header().Set("WebHook-Allowed-Origin", origin)
	if rate != "" {
		w.Header().Set("WebHook-Allowed-Rate", rate)
	}
	w.WriteHeader(http.StatusOK)
}

// allowed compares exactly, but for the case of letters: origins are host names.
func allowed(origins []string, origin string) bool {
	return slices.ContainsFunc(origins, func(o string) bool {
		return o == "*" || strings.EqualFold(o, origin)
	})
}
