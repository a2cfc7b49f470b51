package admin

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// guard refuses what a web page of somebody else could make a browser send: a
// foreign Host (DNS rebinding), a foreign Origin. It does so for reads too; the
// answers are nobody else's business. Then it asks for the token.
func (a *api) guard(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				a.Panicked(v)
				a.fail(w, r, problemf(http.StatusInternalServerError, "internal", "something went wrong here; the router's log says what"))
			}
		}()
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		if !a.ownHost(r) {
			a.fail(w, r, problemf(http.StatusMisdirectedRequest, "foreign_host",
				"this listener does not serve the host of the request"))
			return
		}
		if foreignOrigin(r) || cross.Check(r) != nil {
			a.fail(w, r, problemf(http.StatusForbidden, "foreign_origin",
				"requests from pages of another origin are refused"))
			return
		}
		if !open(r.URL.Path) && !a.authorized(r) {
			h.Set("WWW-Authenticate", `Bearer realm="pointsman"`)
			a.fail(w, r, problemf(http.StatusUnauthorized, "unauthorized",
				"the admin token is missing or wrong"))
			return
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		}
		next.ServeHTTP(w, r)
	})
}

// ownHost tells whether the Host of the request names this listener.
func (a *api) ownHost(r *http.Request) bool {
	host := hostname(r.Host)
	if host == "" {
		return false
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	for _, h := range a.Hosts {
		if strings.EqualFold(host, h) {
			return true
		}
	}
	listen := hostname(a.Listen)
	bound, boundErr := netip.ParseAddr(listen)
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return listen != "" && boundErr != nil && host == listen
	}
	ip = ip.Unmap()
	switch {
	case ip.IsLoopback():
		return true
	case listen == "" || boundErr == nil && bound.IsUnspecified():
		return ip == localIP(r)
	default:
		return boundErr == nil && ip == bound.Unmap()
	}
}

// hostname returns the host of host[:port] in lower case without brackets.
func hostname(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// localIP is the address that the connection came in at.
func localIP(r *http.Request) netip.Addr {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// foreignOrigin looks at what browsers add. A page on another port of this
// machine is same-site, and still somebody else's.
func foreignOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return true
	}
	if len(r.Header.Values("Origin")) == 0 {
		return false
	}
	u, err := url.Parse(r.Header.Get("Origin"))
	return err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host)
}
