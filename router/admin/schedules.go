package admin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/store"
)

// ScheduleList is the list of schedules in file order.
type ScheduleList struct {
	Schedules []router.ScheduleStatus `json:"schedules"`
}

func (a *api) listSchedules(w http.ResponseWriter, r *http.Request) {
	if p := a.params(r); p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	list, err := a.Schedules.Schedules(r.Context())
	if err != nil {
		a.fail(w, r, fmt.Errorf("list schedules: %w", err))
		return
	}
	a.write(w, r, http.StatusOK, ScheduleList{Schedules: orEmpty(list)})
}

func (a *api) runSchedule(w http.ResponseWriter, r *http.Request) {
	if p := a.params(r); p.err != nil {
		a.fail(w, r, p.err)
		return
	}
	run, err := a.Schedules.RunSchedule(r.Context(), r.PathValue("name"))
	switch {
	case errors.Is(err, store.ErrNotFound):
		a.fail(w, r, problemf(http.StatusNotFound, "not_found", "no schedule has this name"))
	case errors.Is(err, router.ErrUnavailable), errors.Is(err, router.ErrStopping):
		a.fail(w, r, fmt.Errorf("run the schedule: %w: %w", store.ErrUnavailable, err))
	case err != nil:
		a.fail(w, r, fmt.Errorf("run the schedule: %w", err))
	default:
		a.write(w, r, http.StatusAccepted, run)
	}
}
