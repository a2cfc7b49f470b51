package main

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
)

// order is retry or cancel.
type order struct {
	verb, past, short, long, example string
}

func (a *app) orderCmd(o order) *cobra.Command {
	var f deliveryFilter
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use:   o.verb + " [ID...]",
		Short: o.short,
		Long: o.long + " Filters need --state; on a\n" +
			"terminal they ask first, unless --yes. Exits 1 when any of the deliveries could not be " + o.past + ".",
		Example: o.example,
		RunE: does(func(cmd *cobra.Command, args []string) error {
			q, err := f.query(a)
			if err != nil {
				return err
			}
			switch {
			case len(args) == 0 && len(f.states) == 0:
				return exitf(exitUsage, "name the deliveries to %s, or select them with --state", o.verb)
			case len(args) > 0 && len(q) > 0:
				return exitf(exitUsage, "give either ids or filters, not both")
			}
			c, err := a.admin()
			if err != nil {
				return err
			}
			run := &ordering{app: a, client: c, order: o, dryRun: dryRun}
			if len(args) > 0 {
				return run.named(cmd.Context(), args)
			}
			return run.selected(cmd.Context(), admin.Filter{
				State: f.states, Rule: f.rule, Action: f.action, Event: f.event, Since: q.Get("since"),
			}, yes)
		}),
	}
	f.flags(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask before acting on what the filters select")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing; show what would be "+o.past)
	return cmd
}

// ordering is one retry or cancel under way.
type ordering struct {
	app    *app
	client *client
	order  order
	dryRun bool
}

func (o *ordering) send(ctx context.Context, body admin.Order) ([]router.Ordered, error) {
	var res admin.Results
	err := o.client.post(ctx, api("deliveries", o.order.verb), body, &res)
	return res.Results, err
}

// named orders in steps, so that any number of ids fits.
func (o *ordering) named(ctx context.Context, ids []string) error {
	var all []router.Ordered
	for part := range slices.Chunk(ids, admin.MaxPage) {
		done, err := o.send(ctx, admin.Order{IDs: part, DryRun: o.dryRun})
		if err != nil {
			if len(all) > 0 { // what was done must not go unsaid
				_ = o.report(all)
			}
			return err
		}
		all = append(all, done...)
	}
	return o.report(all)
}

// selected first asks what the filter selects; what a person then agrees to is
// exactly that, and not what came in between.
func (o *ordering) selected(ctx context.Context, f admin.Filter, yes bool) error {
	found, err := o.send(ctx, admin.Order{Filter: &f, DryRun: true})
	if err != nil {
		return err
	}
	if o.dryRun || len(found) == 0 {
		return o.report(found)
	}
	if !yes && o.app.terminal(o.app.stdin) {
		if err := o.confirm(ctx, len(found)); err != nil {
			return err
		}
	}
	ids := make([]string, len(found))
	for i := range found {
		ids[i] = found[i].ID
	}
	return o.named(ctx, ids)
}

// confirm returns nil when a person says yes. The read cannot be interrupted,
// so it is left behind when ctx ends; the command ends with it.
func (o *ordering) confirm(ctx context.Context, n int) error {
	fmt.Fprintf(o.app.stderr, "%s %s? [y/N] ", o.order.verb, deliveriesN(n))
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(o.app.stdin).ReadString('\n') // no line is no
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
	case a := <-answer:
		if a == "y" || a == "yes" {
			return nil
		}
	}
	return exitf(exitFindings, "nothing was changed")
}

func deliveriesN(n int) string {
	if n == 1 {
		return "1 delivery"
	}
	return fmt.Sprintf("%d deliveries", n)
}

// report prints the results; for people the count, and each that failed.
func (o *ordering) report(results []router.Ordered) error {
	failed := 0
	t := &table{heading: []string{"ID", "RESULT", "REASON"}}
	for _, r := range results {
		if r.Result != "ok" {
			failed++
		}
		if r.Result != "ok" || o.dryRun {
			t.add(r.ID, r.Result, r.Reason)
		}
	}
	if err := o.print(results, t, len(results)-failed); err != nil {
		return err
	}
	if failed > 0 {
		return exitf(exitFindings, "%s could not be %s", deliveriesN(failed), o.order.past)
	}
	return nil
}

func (o *ordering) print(results []router.Ordered, t *table, done int) error {
	if o.app.json() {
		if results == nil {
			results = []router.Ordered{}
		}
		return o.app.printJSON(results)
	}
	if len(t.rows) > 0 {
		if err := t.write(o.app.stdout); err != nil {
			return err
		}
	}
	would := ""
	if o.dryRun {
		would = "would be "
	}
	return o.app.printf("%s %s%s\n", deliveriesN(done), would, o.order.past)
}
