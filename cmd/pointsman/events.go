package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router/admin"
)

// eventPage is how many events are asked for at a time; they may be large.
const eventPage = 200

func (a *app) eventsCmd() *cobra.Command {
	return a.newGroup("events", "List, show and follow accepted events",
		a.eventsListCmd(), a.eventsShowCmd(), a.eventsTailCmd())
}

// eventFilter are the flags that select events.
type eventFilter struct {
	since, source, ceSource, id string
}

func (f *eventFilter) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.source, "source", "", "only of this configured `source`")
	cmd.Flags().StringVar(&f.ceSource, "ce-source", "", "only with this source `attribute`")
}

func (f *eventFilter) query(a *app) (url.Values, error) {
	q := url.Values{}
	set(q, "source", f.source)
	set(q, "ce_source", f.ceSource)
	set(q, "id", f.id)
	return q, a.since(q, f.since)
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// since makes the start of a list absolute, so that every page has the same.
func (a *app) since(q url.Values, text string) error {
	if text == "" {
		return nil
	}
	t, err := admin.ParseTime(text, a.now())
	if err != nil {
		return exitf(exitUsage, "--since: %w", err)
	}
	q.Set("since", t.UTC().Format("2006-01-02T15:04:05.999999999Z07:00"))
	return nil
}

func checkLimit(limit int) error {
	if limit < 1 {
		return exitf(exitUsage, "--limit must be at least 1")
	}
	return nil
}

func (a *app) eventsListCmd() *cobra.Command {
	var f eventFilter
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List accepted events, newest first",
		Example: "  pointsman events list --since 1h --source netbox\n" +
			"  pointsman events list --limit 10 -o json",
		Args: cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			q, err := f.query(a)
			if err == nil {
				err = checkLimit(limit)
			}
			if err != nil {
				return err
			}
			c, err := a.admin()
			if err != nil {
				return err
			}
			t := &table{heading: eventHeading()}
			return list(cmd.Context(), a, t, limit, eventPage, eventRow,
				func(ctx context.Context, n int, before string) ([]admin.Event, string, error) {
					var page admin.Events
					err := c.get(ctx, api("events"), paged(q, n, before), &page)
					return page.Events, page.Next, err
				})
		}),
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&f.since, "since", "", "only received since this `time` or in this long (7d, 1h30m)")
	cmd.Flags().StringVar(&f.id, "id", "", "only with this id `attribute`")
	cmd.Flags().IntVar(&limit, "limit", 1000, "at most this `many`")
	return cmd
}

func paged(q url.Values, n int, before string) url.Values {
	q.Set("limit", strconv.Itoa(n))
	set(q, "before", before)
	return q
}

// list prints up to limit records page by page. As JSON they are written as
// they come, one array; a table is aligned when all are there.
func list[T any](
	ctx context.Context, a *app, t *table, limit, page int, row func(*T) []string,
	get func(ctx context.Context, n int, before string) ([]T, string, error),
) error {
	opened, before := false, ""
	for left := limit; left > 0; {
		records, next, err := get(ctx, min(left, page), before)
		if err != nil {
			return err
		}
		for i := range records {
			if !a.json() {
				t.add(row(&records[i])...)
				continue
			}
			text, err := encodeJSON(&records[i], "")
			if err != nil {
				return err
			}
			lead := "[\n"
			if opened {
				lead = ",\n"
			}
			opened = true
			if err := a.printf("%s%s", lead, strings.TrimSuffix(string(text), "\n")); err != nil {
				return err
			}
		}
		left -= len(records)
		if next == "" || len(records) == 0 {
			break
		}
		before = next
	}
	switch {
	case !a.json():
		return t.write(a.stdout)
	case opened:
		return a.printf("\n]\n")
	default:
		return a.printf("[]\n")
	}
}

// attributes are the ones that a list of events shows.
type attributes struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Source  string `json:"source"`
	Subject string `json:"subject"`
}

func attributesOf(raw json.RawMessage) attributes {
	var at attributes
	_ = json.Unmarshal(raw, &at) // a damaged record is shown with empty cells
	return at
}

func eventHeading() []string {
	return []string{"RECEIVED", "ID", "TYPE", "SOURCE", "CE-SOURCE", "SUBJECT", "DUPLICATES"}
}

func eventRow(e *admin.Event) []string {
	at := attributesOf(e.Event)
	return []string{when(e.Received), at.ID, at.Type, e.Source, at.Source, at.Subject, strconv.Itoa(e.Duplicates)}
}

func (a *app) eventsShowCmd() *cobra.Command {
	var f eventFilter
	var all bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one event with its verdicts and deliveries",
		Long: "Show one event with its verdicts and deliveries. ID is the event's id or the uid of its\n" +
			"acceptance. Of an id that was accepted more than once the newest is shown, or --all.",
		Example: "  pointsman events show 5f1c --source netbox\n" +
			"  pointsman events show 5f1c --all -o json",
		Args: cobra.ExactArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			q, err := f.query(a)
			if err != nil {
				return err
			}
			c, err := a.admin()
			if err != nil {
				return err
			}
			path := api("events", args[0])
			if !all {
				var e admin.EventDetail
				if err := c.get(cmd.Context(), path, q, &e); err != nil {
					return about("event", args[0], err)
				}
				return a.showEvents(e, e)
			}
			q.Set("all", "true")
			var es admin.EventDetails
			if err := c.get(cmd.Context(), path, q, &es); err != nil {
				return about("event", args[0], err)
			}
			return a.showEvents(es.Events, es.Events...)
		}),
	}
	f.flags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "show every event of this id; JSON is then an array")
	return cmd
}

// about says what the router's answer is about.
func about(what, name string, err error) error {
	return fmt.Errorf("%s %q: %w", what, name, err)
}

func (a *app) showEvents(v any, events ...admin.EventDetail) error {
	if a.json() {
		return a.printJSON(v)
	}
	var b strings.Builder
	for i := range events {
		if i > 0 {
			b.WriteString("\n")
		}
		if err := eventText(&b, &events[i]); err != nil {
			return err
		}
	}
	return a.print([]byte(b.String()))
}

func eventText(b *strings.Builder, e *admin.EventDetail) error {
	at := attributesOf(e.Event.Event)
	field(b, "id", at.ID)
	field(b, "uid", e.UID)
	field(b, "type", at.Type)
	field(b, "source", e.Source)
	field(b, "ce-source", at.Source)
	field(b, "subject", at.Subject)
	field(b, "received", when(e.Received))
	field(b, "duplicates", strconv.Itoa(e.Duplicates))
	field(b, "revision", e.Revision)
	block(b, "event", indented(e.Event.Event))
	b.WriteString("\nverdicts:\n")
	vt := &table{heading: []string{"VERDICT", "RULE", "REASON"}}
	for _, v := range e.Verdicts {
		vt.add(v.Verdict, v.Rule, v.Reason)
	}
	if err := vt.write(b); err != nil {
		return err
	}
	b.WriteString("\ndeliveries:\n")
	dt := &table{heading: deliveryHeading()}
	for i := range e.Deliveries {
		dt.add(deliveryRow(&e.Deliveries[i])...)
	}
	if err := dt.write(b); err != nil {
		return err
	}
	if e.DeliveriesMore {
		fmt.Fprintf(b, "... and more: pointsman deliveries list --event %s --limit 100000\n", e.UID)
	}
	return nil
}
