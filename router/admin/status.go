package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/store"
)

func (a *api) livez(w http.ResponseWriter, r *http.Request) {
	a.write(w, r, http.StatusOK, struct {
		OK bool `json:"live"`
	}{true})
}

func (a *api) readyz(w http.ResponseWriter, r *http.Request) {
	ready := a.Router.Ready()
	ready.Reasons = orEmpty(ready.Reasons)
	ready.Durability = orEmpty(ready.Durability)
	ready.Actions = orEmpty(ready.Actions)
	ready.Sources = orEmpty(ready.Sources)
	status := http.StatusOK
	if !ready.OK {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	a.write(w, r, status, ready)
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func (a *api) version(w http.ResponseWriter, r *http.Request) {
	if p := a.params(r); p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	a.write(w, r, http.StatusOK, a.Version)
}

// Status is the router at a glance.
type Status struct {
	router.Status
	Version Version          `json:"version"`
	Ready   router.Readiness `json:"readiness"`
}

func (a *api) status(w http.ResponseWriter, r *http.Request) {
	if p := a.params(r); p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	s := Status{Status: a.Router.Status(), Version: a.Version, Ready: a.Router.Ready()}
	s.Started, s.Reloaded = s.Started.UTC(), s.Reloaded.UTC()
	a.write(w, r, http.StatusOK, s)
}

// Action is an action with its deliveries counted.
type Action struct {
	router.ActionStatus
	// Counts has every state of a delivery by name.
	Counts map[string]int `json:"counts"`
}

// Actions is the list of actions, by name.
type Actions struct {
	Actions []Action `json:"actions"`
}

// Sources is the list of sources: POST /events, then those of the configuration
// in file order.
type Sources struct {
	Sources []router.SourceStatus `json:"sources"`
}

func (a *api) listSources(w http.ResponseWriter, r *http.Request) {
	if p := a.params(r); p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	a.write(w, r, http.StatusOK, Sources{Sources: orEmpty(a.Router.Sources())})
}

// Plugins is the list of plugins, by name.
type Plugins struct {
	Plugins []router.PluginStatus `json:"plugins"`
}

func (a *api) listActions(w http.ResponseWriter, r *http.Request) {
	if p := a.params(r); p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	counts, err := a.Store.Counts(r.Context())
	if err != nil {
		a.fail(w, r, fmt.Errorf("count deliveries: %w", err))
		return
	}
	list := Actions{Actions: []Action{}}
	at := map[string]int{}
	add := func(s router.ActionStatus) {
		n := map[string]int{}
		for state := store.Ready; state <= store.Cancelled; state++ {
			n[state.String()] = 0
		}
		at[s.Name] = len(list.Actions)
		list.Actions = append(list.Actions, Action{ActionStatus: s, Counts: n})
	}
	for _, s := range a.Router.Actions() {
		add(s)
	}
	for _, c := range counts {
		if c.Action == "" || c.N == 0 { // a rule that failed names no action
			continue
		}
		if _, ok := at[c.Action]; !ok {
			add(router.ActionStatus{Name: c.Action, State: "removed"})
		}
		list.Actions[at[c.Action]].Counts[c.State.String()] += c.N
	}
	slices.SortStableFunc(list.Actions, func(x, y Action) int { return cmp.Compare(x.Name, y.Name) })
	a.write(w, r, http.StatusOK, list)
}

func (a *api) plugins() []router.PluginStatus {
	list := slices.Clone(a.Router.Plugins())
	for i := range list {
		p := &list[i]
		p.SettingsSchema, p.ParamsSchema = rawJSON(p.SettingsSchema), rawJSON(p.ParamsSchema)
		p.Actions = orEmpty(p.Actions)
	}
	return orEmpty(list)
}

func (a *api) listPlugins(w http.ResponseWriter, r *http.Request) {
	if p := a.params(r); p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	a.write(w, r, http.StatusOK, Plugins{Plugins: a.plugins()})
}

func (a *api) showPlugin(w http.ResponseWriter, r *http.Request) {
	if p := a.params(r); p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	for _, p := range a.plugins() {
		if p.Name == r.PathValue("name") {
			a.write(w, r, http.StatusOK, p)
			return
		}
	}
	a.fail(w, r, problemf(http.StatusNotFound, "not_found", "no configured action uses such a plugin"))
}
