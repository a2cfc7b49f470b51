// Package admin is the router's second listener: health for orchestrators,
// metrics for Prometheus, and the API that the commands of pointsman (and
// whoever operates the router) ask and order through. It hides who may ask, how
// lists are paged, and how the answers look.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// Limits of the API.
const (
	// MaxBody is the size limit of a request's body in bytes.
	MaxBody = 1 << 20
	// MaxPage is the most records one page has, and what a page has by default.
	MaxPage = 1000
	// MaxOrder is the most deliveries one filter may select.
	MaxOrder = 100_000
)

// Router is the running router as the admin listener sees it. The methods are
// called concurrently, answer from memory and do not block.
type Router interface {
	Ready() router.Readiness
	Status() router.Status
	// Actions lists the configured actions by name.
	Actions() []router.ActionStatus
	// Plugins lists the plugins that the configured actions use, by name.
	Plugins() []router.PluginStatus
	// Sources lists POST /events and the configured sources in file order.
	Sources() []router.SourceStatus
}

// Orders is what the router decides about events and deliveries on request. The
// methods are called concurrently.
type Orders interface {
	// Why explains a recorded event by the revision that was in force for it,
	// together with the recorded verdicts, every rule in file order; an error
	// that wraps store.ErrNotFound when the event or its revision is gone. With
	// names, it explains those rules alone.
	Why(ctx context.Context, ev store.Event, names ...string) ([]router.RuleVerdict, error)
	// Explain says what the rules in force, or those of the names, make of an
	// event that was not sent.
	Explain(ctx context.Context, ev *rules.Event, names ...string) ([]router.RuleVerdict, error)
	// Revision returns the rules of a revision and when it was first in force; an
	// error that wraps store.ErrNotFound when it is gone.
	Revision(ctx context.Context, id string) (*rules.Ruleset, time.Time, error)
	// Retry and Cancel apply the order to each delivery, each for itself, and
	// answer in the order of ids. An error means that nothing is known.
	Retry(ctx context.Context, ids []string) ([]router.Ordered, error)
	Cancel(ctx context.Context, ids []string) ([]router.Ordered, error)
}

// Schedules are the schedules of the running router. The methods are called
// concurrently.
type Schedules interface {
	// Schedules lists them in file order; it asks the store for the last ticks.
	Schedules(ctx context.Context) ([]router.ScheduleStatus, error)
	// RunSchedule makes an event of a schedule now, apart from its ticks; an error
	// that wraps store.ErrNotFound when there is no such schedule.
	RunSchedule(ctx context.Context, name string) (router.ScheduleRun, error)
}

// Pauser stops actions and lets them go on. The methods are called concurrently;
// their errors wrap store.ErrNotFound for an action that is not configured.
type Pauser interface {
	Pause(ctx context.Context, action, reason string) (router.Pause, error)
	Resume(ctx context.Context, action string) error
}

// Reader is the part of store.Operator that the admin listener reads.
type Reader interface {
	Events(ctx context.Context, q store.EventQuery) ([]store.Event, error)
	Deliveries(ctx context.Context, q store.DeliveryQuery) ([]store.Delivery, error)
	History(ctx context.Context, deliveryID string) ([]store.Attempt, error)
	Counts(ctx context.Context) ([]store.Count, error)
}

var _ Reader = store.Operator(nil)

// Version names a build.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// Config configures New. Router, Orders, Pauser, Schedules, Store and Metrics are
// required.
type Config struct {
	Router    Router
	Orders    Orders
	Pauser    Pauser
	Schedules Schedules
	Store     Reader
	Metrics   prometheus.Gatherer
	// Captures returns the last requests to a webhook source, newest first;
	// false when there is no such source. Called concurrently; nil: there are no
	// such sources.
	Captures func(source string) ([]router.Capture, bool)
	// Token is what Authorization: Bearer must carry. With an empty token every
	// request that needs one is refused.
	Token string
	// Listen is the configured address, host:port. Its host is accepted as Host
	// beside the loopback names; when it is unspecified (0.0.0.0, ::), so is the
	// local IP address that the connection came in at.
	Listen string
	// Hosts are further host names to accept.
	Hosts   []string
	Version Version
	// Depth of an event to be explained; see rules.Limits.
	Depth int
	// Log takes what a client is not told; default: discarded.
	Log *slog.Logger
	// Panicked is called with the value of each panic of a request, which is
	// answered with 500; nil: nobody counts.
	Panicked func(value any)
	// Now defaults to time.Now.
	Now func() time.Time
}

// api is the handler's state; it is not changed after New.
type api struct {
	Config
	token [sha256.Size]byte
}

// New returns the handler of the admin listener. It has no background work and
// is safe for concurrent use. The server around it sets the time limits.
//
// Each request is checked in this order: Host (421), origin (403), token (401),
// path (404), method (405), content.
func New(c Config) http.Handler {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Panicked == nil {
		c.Panicked = func(any) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	a := &api{Config: c, token: sha256.Sum256([]byte(c.Token))}
	return a.guard(a.routes())
}

// methods serves one path; HEAD is answered like GET.
type methods map[string]http.HandlerFunc

func (a *api) routes() http.Handler {
	scrape := promhttp.HandlerFor(a.Metrics, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
	})
	mux := http.NewServeMux()
	for path, m := range map[string]methods{
		"/livez":                          {"GET": a.livez},
		"/readyz":                         {"GET": a.readyz},
		"/metrics":                        {"GET": scrape.ServeHTTP},
		"/api/v1/version":                 {"GET": a.version},
		"/api/v1/status":                  {"GET": a.status},
		"/api/v1/events":                  {"GET": a.listEvents},
		"/api/v1/events/{id}":             {"GET": a.showEvent},
		"/api/v1/events/{id}/why":         {"GET": a.whyEvent},
		"/api/v1/why":                     {"POST": a.whyBody},
		"/api/v1/revisions/{id}":          {"GET": a.showRevision},
		"/api/v1/deliveries":              {"GET": a.listDeliveries},
		"/api/v1/deliveries/{id}":         {"GET": a.showDelivery},
		"/api/v1/deliveries/retry":        {"POST": a.retry},
		"/api/v1/deliveries/cancel":       {"POST": a.cancel},
		"/api/v1/actions":                 {"GET": a.listActions},
		"/api/v1/plugins":                 {"GET": a.listPlugins},
		"/api/v1/plugins/{name...}":       {"GET": a.showPlugin},
		"/api/v1/sources":                 {"GET": a.listSources},
		"/api/v1/schedules":               {"GET": a.listSchedules},
		"/api/v1/schedules/{name}/run":    {"POST": a.runSchedule},
		"/api/v1/actions/{name}/pause":    {"POST": a.pause},
		"/api/v1/actions/{name}/resume":   {"POST": a.resume},
		"/api/v1/sources/{name}/captures": {"GET": a.captures},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { a.dispatch(m, w, r) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, r, problemf(http.StatusNotFound, "not_found", "there is nothing at this path"))
	})
	return mux
}

func (a *api) dispatch(m methods, w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h, ok := m[method]
	if !ok {
		allow := "POST"
		if m[http.MethodGet] != nil {
			allow = "GET, HEAD"
		}
		w.Header().Set("Allow", allow)
		a.fail(w, r, problemf(http.StatusMethodNotAllowed, "method_not_allowed", "this path takes %s", allow))
		return
	}
	h(w, r)
}

// open says which paths need no token.
func open(path string) bool { return path == "/livez" || path == "/readyz" }

// authorized compares digests, so that neither content nor length of the token
// shows in the time it takes.
func (a *api) authorized(r *http.Request) bool {
	scheme, got, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || a.Token == "" {
		return false
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(got)))
	return subtle.ConstantTimeCompare(sum[:], a.token[:]) == 1
}
