package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/rules"
)

// why is what the command was asked.
type why struct {
	*app
	filter     eventFilter
	file, rule string
	all        bool
}

func (a *app) whyCmd() *cobra.Command {
	w := &why{app: a}
	cmd := &cobra.Command{
		Use:   "why EVENT-ID | -f FILE",
		Short: "Say what each rule makes of one event, and why",
		Long: "Say what each rule makes of one event, and why. With EVENT-ID (an event's id or uid) the router\n" +
			"answers for an event it accepted, by the rules that were in force then, and tells what became of\n" +
			"each delivery. With -f the rule files are read and no router is asked; what the state of a rule\n" +
			"would do (once) is then not known. Rules that matched or failed come first, then the nearest\n" +
			"misses. Exits 0 whatever the verdicts are.",
		Example: "  pointsman why 5f1c --rule bounce-flapping-port\n" +
			"  pointsman why -f event.json",
		Args: cobra.MaximumNArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (w.file != "") {
				return exitf(exitUsage, "give either the id of an event or -f with a file")
			}
			if w.file != "" {
				if w.filter.source != "" || w.filter.ceSource != "" {
					return exitf(exitUsage, "--source and --ce-source are for events that the router has")
				}
				return w.offline()
			}
			return w.online(cmd.Context(), args[0])
		}),
	}
	w.filter.flags(cmd)
	cmd.Flags().StringVarP(&w.file, "file", "f", "", "explain the event in this `file` (- is stdin) by the rule files")
	cmd.Flags().StringVar(&w.rule, "rule", "", "only this `rule`, with every condition")
	cmd.Flags().BoolVar(&w.all, "all", false, "show every rule, also those that are far from matching")
	return cmd
}

func (w *why) online(ctx context.Context, id string) error {
	q, err := w.filter.query(w.app)
	if err != nil {
		return err
	}
	set(q, "rule", w.rule)
	c, err := w.admin()
	if err != nil {
		return err
	}
	var answer admin.Why
	if err := c.get(ctx, api("events", id, "why"), q, &answer); err != nil {
		return w.notFound(ctx, c, id, err)
	}
	if answer.Event == nil { // an older router does not tell
		answer.Event = &admin.Event{UID: answer.UID}
	}
	return w.show(&answer)
}

// notFound helps with an id that the router does not know: what has a similar
// one, and where else to look.
func (w *why) notFound(ctx context.Context, c *client, id string, err error) error {
	var p *problemError
	if !errors.As(err, &p) || p.Status != http.StatusNotFound || p.Detail != admin.NoSuchEvent {
		return about("event", id, err)
	}
	hints := []string{"It was never accepted here, or retention has removed it."}
	var page admin.Events
	if w.filter.source != "" || w.filter.ceSource != "" {
		if c.get(ctx, api("events"), url.Values{"id": {id}, "limit": {"5"}}, &page) == nil && len(page.Events) > 0 {
			hints = []string{"It was accepted from another source:"}
			for i := range page.Events {
				e := &page.Events[i]
				hints = append(hints, fmt.Sprintf("  pointsman why %s --source %s --ce-source %s",
					shellWord(id), shellWord(e.Source), shellWord(attributesOf(e.Event).Source)))
			}
			return about("event", id, fmt.Errorf("%w\n%s", err, strings.Join(hints, "\n")))
		}
	}
	if c.get(ctx, api("events"), url.Values{"limit": {"200"}}, &page) == nil {
		if near := similar(id, page.Events); len(near) > 0 {
			hints = append(hints, "Similar ids among the last events: "+strings.Join(near, ", "))
		}
	}
	hints = append(hints,
		"What was accepted (events of webhooks have ids that pointsman makes): pointsman events list --since 1h",
		"An event that was refused is not recorded: its sender got an answer 4xx or 503 that says why.")
	return about("event", id, fmt.Errorf("%w\n%s", err, strings.Join(hints, "\n")))
}

// similar lists at most five ids that contain id, are contained in it, or differ
// from it by one slip of the finger.
func similar(id string, events []admin.Event) []string {
	var near []string
	for i := range events {
		other := attributesOf(events[i].Event).ID
		if other == "" || slices.Contains(near, shellWord(other)) || len(near) == 5 {
			continue
		}
		if strings.Contains(other, id) || len(other) > 3 && strings.Contains(id, other) || oneApart(id, other) {
			near = append(near, shellWord(other))
		}
	}
	return near
}

// oneApart tells whether one inserted, left out or other character, or two that
// are exchanged, make b of a.
func oneApart(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i == len(a) || a[i+1:] == b[i+1:] ||
			i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
	}
	return a[i:] == b[i+1:]
}

// shellWord is a text as one word of a command line, safe to show.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(escape(s), "'", `'\''`) + "'"
}

func (w *why) offline() error {
	text, err := w.readInput(w.file)
	if err != nil {
		return err
	}
	if text, err = complete(text); err != nil {
		return about("event", w.file, err)
	}
	ev, err := rules.ParseEvent(text, rules.Limits{})
	if err != nil {
		return about("event", w.file, err)
	}
	c, err := w.config()
	if err != nil {
		return err
	}
	rs, err := c.Rules()
	if err != nil {
		return exitf(exitCannotRun, "%w", err)
	}
	answer := admin.Why{Event: &admin.Event{Event: ev.JSON()}}
	var names []string
	if w.rule != "" {
		names = []string{w.rule}
	}
	for _, v := range router.Explain(rs, ev, names...) {
		answer.Verdicts = append(answer.Verdicts, admin.Verdict{RuleVerdict: v})
	}
	if w.rule != "" && len(answer.Verdicts) == 0 {
		return fmt.Errorf("there is no rule %q", w.rule)
	}
	return w.show(&answer)
}

// show prints the verdicts: as JSON all of them and nothing else.
func (w *why) show(answer *admin.Why) error {
	if !w.json() {
		text := whyText{
			width: w.width(), now: w.now(), all: w.all, detail: w.rule != "", file: w.file,
		}
		return w.print([]byte(text.render(answer)))
	}
	verdicts := answer.Verdicts
	if verdicts == nil {
		verdicts = []admin.Verdict{}
	}
	for i := range verdicts {
		v := &verdicts[i]
		v.Calls, v.Conditions = orNone(v.Calls), orNone(v.Conditions)
		v.Deliveries = orNone(v.Deliveries)
	}
	return w.printJSON(verdicts)
}

func orNone[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
