package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/router/store"
)

func (a *app) deliveriesCmd() *cobra.Command {
	return a.newGroup("deliveries", "List, show, retry and cancel deliveries",
		a.deliveriesListCmd(), a.deliveriesShowCmd(),
		a.orderCmd(order{
			verb: "retry", past: "retried",
			short: "Run dead, held or cancelled deliveries again",
			long: "Run dead, held or cancelled deliveries again, at once and with their retry budget anew: the\n" +
				"named ones, or all that the filters select.",
			example: "  pointsman deliveries retry 0198c5c2-7d6b-7c35-b4a5-1c2d3e4f5a6b\n" +
				"  pointsman deliveries retry --state dead --action bounce-port --since 1d",
		}),
		a.orderCmd(order{
			verb: "cancel", past: "cancelled",
			short: "End deliveries that are not done",
			long:  "End ready, running, held or dead deliveries: the named ones, or all that the filters select.",
			example: "  pointsman deliveries cancel 0198c5c2-7d6b-7c35-b4a5-1c2d3e4f5a6b\n" +
				"  pointsman deliveries cancel --state ready --rule bounce-flapping-port --dry-run",
		}))
}

// deliveryFilter are the flags that select deliveries.
type deliveryFilter struct {
	states                     []string
	rule, action, event, since string
}

func (f *deliveryFilter) flags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringSliceVar(&f.states, "state", nil, "only in this `state`: ready, leased, done, dead, held, cancelled; repeatable")
	fs.StringVar(&f.rule, "rule", "", "only of this `rule`")
	fs.StringVar(&f.action, "action", "", "only of this `action`")
	fs.StringVar(&f.event, "event", "", "only of the event with this `id` or uid")
	fs.StringVar(&f.since, "since", "", "only created since this `time` or in this long (7d, 1h30m)")
}

func (f *deliveryFilter) query(a *app) (url.Values, error) {
	q := url.Values{}
	for _, s := range f.states {
		if _, ok := store.ParseDeliveryState(s); !ok {
			return nil, exitf(exitUsage, "--state: %q is no state (ready, leased, done, dead, held, cancelled)", s)
		}
		q.Add("state", s)
	}
	set(q, "rule", f.rule)
	set(q, "action", f.action)
	set(q, "event", f.event)
	return q, a.since(q, f.since)
}

func deliveryHeading() []string {
	return []string{"CREATED", "ID", "RULE", "ACTION", "STATE", "ATTEMPTS", "DUE", "EVENT", "ERROR"}
}

func deliveryRow(d *admin.Delivery) []string {
	return []string{
		when(d.Created), d.ID, d.Rule, d.Action, stateText(d), strconv.Itoa(d.Attempts), whenMaybe(d.Due),
		d.EventID, first(d.Error, d.Reason),
	}
}

// stateText is the state for people; done alone does not say that anything ran.
func stateText(d *admin.Delivery) string {
	if d.DryRun {
		return d.State + " (dry run)"
	}
	return d.State
}

func (a *app) deliveriesListCmd() *cobra.Command {
	var f deliveryFilter
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List deliveries, newest first",
		Example: "  pointsman deliveries list --state dead --state held\n" +
			"  pointsman deliveries list --event 5f1c -o json",
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
			t := &table{heading: deliveryHeading()}
			return list(cmd.Context(), a, t, limit, admin.MaxPage, deliveryRow,
				func(ctx context.Context, n int, before string) ([]admin.Delivery, string, error) {
					var page admin.Deliveries
					err := c.get(ctx, api("deliveries"), paged(q, n, before), &page)
					return page.Deliveries, page.Next, err
				})
		}),
	}
	f.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 1000, "at most this `many`")
	return cmd
}

func (a *app) deliveriesShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show one delivery with its parameters and attempts",
		Example: "  pointsman deliveries show 0198c5c2-7d6b-7c35-b4a5-1c2d3e4f5a6b",
		Args:    cobra.ExactArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			c, err := a.admin()
			if err != nil {
				return err
			}
			var d admin.DeliveryDetail
			if err := c.get(cmd.Context(), api("deliveries", args[0]), nil, &d); err != nil {
				return about("delivery", args[0], err)
			}
			if a.json() {
				return a.printJSON(d)
			}
			return a.print([]byte(deliveryText(&d)))
		}),
	}
}

func deliveryText(d *admin.DeliveryDetail) string {
	b := &strings.Builder{}
	field(b, "id", d.ID)
	field(b, "event", d.EventID)
	field(b, "event-uid", d.EventUID)
	field(b, "source", d.Source)
	field(b, "ce-source", d.CESource)
	field(b, "rule", d.Rule)
	field(b, "step", strconv.Itoa(d.Step))
	field(b, "action", d.Action)
	field(b, "key", d.Key)
	state := d.State
	if d.Reason != "" {
		state += " (" + d.Reason + ")"
	}
	if d.DryRun {
		state += ", dry run"
	}
	field(b, "state", state)
	if d.Count > 0 {
		field(b, "stands for", strconv.Itoa(d.Count)+" deliveries")
	}
	field(b, "attempts", strconv.Itoa(d.Attempts))
	field(b, "due", whenMaybe(d.Due))
	if d.Waits != "" {
		field(b, "waits for", d.Waits)
	}
	field(b, "created", when(d.Created))
	field(b, "updated", when(d.Updated))
	field(b, "error", d.Error)
	block(b, "params", indented(d.Params))
	for _, t := range d.History {
		fmt.Fprintf(b, "\nattempt %d: %s, %s to %s\n", t.Number, escape(t.Outcome),
			when(t.Started), first(whenMaybe(t.Ended), "now"))
		if t.Error != "" {
			fmt.Fprintf(b, "  error: %s\n", escape(t.Error))
		}
		if t.Output != "" {
			fmt.Fprintf(b, "  output:\n")
			for _, line := range strings.Split(strings.TrimRight(t.Output, "\n"), "\n") {
				fmt.Fprintf(b, "    %s\n", escape(line))
			}
		}
	}
	return b.String()
}
