package admin

import (
	"net/http"

	"github.com/pointsman/pointsman/router"
)

// Captures are the last requests to one webhook source, newest first.
type Captures struct {
	Source   string           `json:"source"`
	Captures []router.Capture `json:"captures"`
}

func (a *api) captures(w http.ResponseWriter, r *http.Request) {
	if p := a.params(r); p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	name := r.PathValue("name")
	var list []router.Capture
	found := false
	if a.Captures != nil {
		list, found = a.Captures(name)
	}
	if !found {
		a.fail(w, r, problemf(http.StatusNotFound, "not_found", "no source of this name takes webhooks"))
		return
	}
	a.write(w, r, http.StatusOK, Captures{Source: name, Captures: orEmpty(list)})
}
