package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/actions/host"
	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/replay"
)

const (
	// oldestUID is before every event.
	oldestUID = "00000000-0000-7000-8000-000000000000"
	// maxRevisions is how many revisions of the rules are kept at a time; events
	// come in their order, so that few are asked for again.
	maxRevisions = 32
)

// backtestFlags are those of pointsman backtest.
type backtestFlags struct {
	since, source, rule string
	examples            int
	dryRuns             bool
}

func (a *app) backtestCmd() *cobra.Command {
	var f backtestFlags
	cmd := &cobra.Command{
		Use:   "backtest",
		Short: "Say what other rules would have run on the recorded events",
		Long: "Put the rules of a candidate configuration (-c) to the events that a running router recorded, at the\n" +
			"times they were accepted, and compare with the recorded verdicts: what would have run that did not, and\n" +
			"what did run and would not. Nothing runs, nothing is stored, and no process is started. The windows of\n" +
			"once are warmed up by events from before --since. Exits 0 whatever it finds, 3 when the router cannot be\n" +
			"reached or the candidate is not valid.",
		Example: "  pointsman backtest -c candidate/pointsman.yaml --since 7d\n" +
			"  pointsman backtest -c candidate/pointsman.yaml --rule bounce-flapping-port -o json",
		Args: cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			return a.backtest(cmd.Context(), f)
		}),
	}
	cmd.Flags().StringVar(&f.since, "since", "7d", "compare events received since this `time` or in this long (7d, 1h30m)")
	cmd.Flags().StringVar(&f.source, "source", "", "report only events of this configured `source`")
	cmd.Flags().StringVar(&f.rule, "rule", "", "report only this `rule`")
	cmd.Flags().IntVar(&f.examples, "examples", 3, "explain this `many` events of each difference")
	cmd.Flags().BoolVar(&f.dryRuns, "include-dry-runs", false, "count dry runs as runs, recorded ones and the candidate's")
	return cmd
}

// backtestReport is `backtest -o json`.
type backtestReport struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// RecordBegins is when the oldest event was received that the router still
	// has; nil when it has none.
	RecordBegins *time.Time `json:"record_begins"`
	// WarmUpSince is how far back events were looked at for the windows of once;
	// WarmUpEvents is how many they were.
	WarmUpSince  time.Time `json:"warm_up_since"`
	WarmUpEvents int       `json:"warm_up_events"`
	// UncertainUntil is set when the record does not reach back far enough: before
	// it a rule with once may run here that was throttled.
	UncertainUntil *time.Time `json:"uncertain_until"`
	// Unreadable counts recorded events that could not be read.
	Unreadable int `json:"unreadable"`
	// Interrupted: not all events were looked at.
	Interrupted bool `json:"interrupted"`
	replay.Report
}

// backtest is one run of the command.
type backtest struct {
	app        *app
	client     *client
	flags      backtestFlags
	comparison *replay.Comparison
	report     backtestReport
	// newest is the uid of the last event to look at, which came at newestAt.
	newest    string
	newestAt  time.Time
	revisions map[string]*rules.Ruleset
	progress  *progress
}

func (a *app) backtest(ctx context.Context, f backtestFlags) error {
	now := a.now().UTC()
	since, err := admin.ParseTime(f.since, now)
	if err != nil {
		return exitf(exitUsage, "--since: %w", err)
	}
	if f.examples < 0 {
		return exitf(exitUsage, "--examples must not be negative")
	}
	candidate, err := a.candidate(ctx)
	if err != nil {
		return &exitError{exitCannotRun, err}
	}
	c, err := a.backtestClient()
	if err != nil {
		return err
	}
	b := &backtest{
		app: a, client: c, flags: f, revisions: make(map[string]*rules.Ruleset),
		comparison: replay.NewComparison(replay.CompareConfig{
			Config: candidate, Rule: f.rule, DryRuns: f.dryRuns, Examples: f.examples,
		}),
		report: backtestReport{Since: since.UTC(), Until: now},
	}
	b.report.WarmUpSince = b.report.Since.Add(-longestOnce(candidate.Rules))
	err = b.run(ctx)
	b.report.Interrupted = ctx.Err() != nil
	if err != nil && !b.report.Interrupted {
		return err
	}
	b.report.Report = b.comparison.Report()
	if err := b.print(); err != nil {
		return err
	}
	if b.report.Interrupted {
		return exitf(exitFindings, "interrupted after %s", counted(b.report.Events, "event"))
	}
	if f.rule != "" && !b.comparison.Has(f.rule) {
		return exitf(exitFindings, "neither the candidate nor the record has a rule %q", f.rule)
	}
	return nil
}

// candidate loads the configuration as check --no-plugins does.
func (a *app) candidate(ctx context.Context) (replay.Config, error) {
	cfg, err := loadOffline(a.configPath)
	if err != nil {
		return replay.Config{}, err
	}
	h, err := host.New(host.Config{Bundled: bundledDescriptions(), Log: a.quietLog()})
	if err != nil {
		return replay.Config{}, err
	}
	defer h.Close(ctx)
	l, err := load(ctx, cfg, h, false, nil)
	if err != nil {
		return replay.Config{}, err
	}
	byName := make(map[string]host.Spec, len(l.specs))
	for _, spec := range l.specs {
		byName[spec.Action] = spec
	}
	return replay.Config{Rules: l.rules, Validate: func(action string, params json.RawMessage) error {
		return h.ValidateParams(byName[action], params)
	}}, nil
}

// backtestClient returns a client of the admin listener. The token of a router
// is in its own data_dir: when the candidate lies elsewhere and knows of none,
// the configuration in the working directory is asked.
func (a *app) backtestClient() (*client, error) {
	base, token, err := a.adminTarget()
	if err != nil {
		return nil, err
	}
	if token == "" {
		if c, err := a.load(defaultConfig); err == nil {
			token, _ = c.AdminToken() // without one the router says what it wants
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, exitf(exitCannotRun, "find the admin token: %w (POINTSMAN_TOKEN sets another)", err)
		}
	}
	return a.newClient(base, token, "--url or POINTSMAN_ADMIN_URL choose another"), nil
}

func longestOnce(rs *rules.Ruleset) time.Duration {
	var longest time.Duration
	for _, r := range rs.Rules() {
		longest = max(longest, r.Once)
	}
	return longest
}

// run replays the record; it ends early, without an error of its own, when ctx
// does.
func (b *backtest) run(ctx context.Context) error {
	if err := b.bounds(ctx); err != nil || b.newest == "" {
		return err
	}
	b.progress = b.app.newProgress(b.report.WarmUpSince, b.newestAt)
	defer b.progress.end()
	ctx, cancel := context.WithCancel(ctx)
	pages := make(chan eventsPage, 1)
	defer func() {
		cancel()
		for range pages { // until the reader has ended
		}
	}()
	go b.read(ctx, pages)
	for page := range pages {
		if page.err != nil {
			return page.err
		}
		for i := range page.events {
			if err := b.event(ctx, &page.events[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// eventsPage is a page of the record, or why there is none.
type eventsPage struct {
	events []admin.Event
	err    error
}

// bounds asks for the first and the last event of the record.
func (b *backtest) bounds(ctx context.Context) error {
	var page admin.Events
	q := url.Values{"after": {oldestUID}}
	if err := b.client.get(ctx, api("events"), paged(q, 1, ""), &page); err != nil || len(page.Events) == 0 {
		return err
	}
	begins := page.Events[0].Received.UTC()
	b.report.RecordBegins = &begins
	if begins.After(b.report.WarmUpSince) {
		if until := begins.Add(b.report.Since.Sub(b.report.WarmUpSince)); until.After(b.report.Since) && until.After(begins) {
			b.report.UncertainUntil = &until
		}
	}
	page = admin.Events{}
	if err := b.client.get(ctx, api("events"), paged(url.Values{}, 1, ""), &page); err != nil || len(page.Events) == 0 {
		return err
	}
	b.newest, b.newestAt = page.Events[0].UID, page.Events[0].Received
	return nil
}

// read sends the pages of the record, from the warm-up to the newest event that
// there was at the start, while the page before is worked on. It closes pages.
func (b *backtest) read(ctx context.Context, pages chan<- eventsPage) {
	defer close(pages)
	after := oldestUID
	for {
		q := url.Values{"after": {after}, "verdicts": {"true"}}
		q.Set("since", b.report.WarmUpSince.Format(time.RFC3339Nano))
		var page admin.Events
		err := b.client.get(ctx, api("events"), paged(q, eventPage, ""), &page)
		last := err != nil || page.Next == "" || page.Next == after
		for i := range page.Events {
			if page.Events[i].UID == b.newest {
				page.Events, last = page.Events[:i+1], true
				break
			}
		}
		select {
		case pages <- eventsPage{page.Events, err}:
		case <-ctx.Done():
			return
		}
		if last {
			return
		}
		after = page.Next
	}
}

// event takes one recorded event in.
func (b *backtest) event(ctx context.Context, e *admin.Event) error {
	b.progress.add(e.Received)
	ev, err := rules.ParseStored(e.Event)
	if err != nil {
		b.report.Unreadable++
		return nil
	}
	warm := e.Received.Before(b.report.Since)
	if warm {
		b.report.WarmUpEvents++
	}
	if warm || b.flags.source != "" && b.flags.source != e.Source {
		b.comparison.WarmUp(ev, e.Received)
		return nil
	}
	rec := replay.Record{UID: e.UID, Source: e.Source, Received: e.Received, Event: ev}
	if rec.Rules, err = b.rulesOf(ctx, e.Revision); err != nil {
		return err
	}
	for _, v := range e.Verdicts {
		rec.Verdicts = append(rec.Verdicts, replay.Recorded{
			Rule: v.Rule, Verdict: replay.Verdict(v.Verdict), Reason: v.Reason,
		})
	}
	b.comparison.Add(rec)
	return nil
}

// rulesOf returns the rules of a revision, nil when the router or this program
// does not know them any more.
func (b *backtest) rulesOf(ctx context.Context, id string) (*rules.Ruleset, error) {
	if rs, known := b.revisions[id]; known || id == "" {
		return rs, nil
	}
	if len(b.revisions) >= maxRevisions {
		clear(b.revisions)
	}
	var rev admin.Revision
	err := b.client.get(ctx, api("revisions", id), nil, &rev)
	var problem *problemError
	if err != nil && (!errors.As(err, &problem) || problem.Status != http.StatusNotFound) {
		return nil, err
	}
	if err == nil {
		files := make([]rules.File, len(rev.Files))
		for i, f := range rev.Files {
			files[i] = rules.File{Name: f.Name, Data: []byte(f.Text)}
		}
		rs, err := rules.LoadFiles(files, rules.Options{})
		if err == nil && rev.DryRun {
			rs = rs.AsDryRun()
		}
		if err == nil {
			b.revisions[id] = rs
			return rs, nil
		}
	}
	b.revisions[id] = nil
	return nil, nil
}
