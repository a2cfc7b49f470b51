package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router/admin"
)

func (a *app) actionsCmd() *cobra.Command {
	return a.newGroup("actions", "List the configured actions, and stop one or let it go on",
		a.actionsListCmd(), a.actionsPauseCmd(), a.actionsResumeCmd())
}

func (a *app) actionsListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the actions with their state and queues",
		Example: "  pointsman actions list\n  pointsman actions list -o json",
		Args:    cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			c, err := a.admin()
			if err != nil {
				return err
			}
			var page admin.Actions
			if err := c.get(cmd.Context(), api("actions"), nil, &page); err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(page.Actions)
			}
			t := &table{heading: []string{
				"NAME", "PLUGIN", "VERSION", "STATE", "RUNNING", "READY", "HELD", "DEAD", "DONE", "LAST ERROR", "PAUSED",
			}}
			for _, x := range page.Actions {
				t.add(x.Name, x.Plugin, x.Version, x.State, fmt.Sprintf("%d/%d", x.Running, x.Concurrency),
					strconv.Itoa(x.Counts["ready"]), strconv.Itoa(x.Counts["held"]), strconv.Itoa(x.Counts["dead"]),
					strconv.Itoa(x.Counts["done"]), x.LastError,
					pausedCell(x.PausedSince, x.PauseReason))
			}
			return t.write(a.stdout)
		}),
	}
}

// pausedCell is empty for an action that is not paused.
func pausedCell(since *time.Time, reason string) string {
	if since == nil {
		return ""
	}
	return strings.TrimSuffix("since "+when(*since)+": "+reason, ": ")
}

func (a *app) actionsPauseCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "pause NAME",
		Short: "Stop an action at once, and keep what is due",
		Long: "Stop an action: from now on no attempt of it starts, on no router that shares the store (on others within\n" +
			"a second). Attempts that run go on. Deliveries are accepted and wait; the pause counts neither as an attempt\n" +
			"nor towards max_age. It holds over restarts and reloads, until resume.",
		Example: "  pointsman actions pause bounce-port --reason 'core switch is being replaced'",
		Args:    cobra.ExactArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			return a.switchAction(cmd.Context(), args[0], "pause", admin.PauseOrder{Reason: reason})
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`text` that actions list and readyz show")
	return cmd
}

func (a *app) actionsResumeCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "resume NAME",
		Short: "Let a paused action go on",
		Long: "Let a paused action go on. What became due meanwhile starts at once, as fast as the action's concurrency\n" +
			"allows: look at it first with deliveries list --action NAME --state ready.",
		Example: "  pointsman actions resume bounce-port",
		Args:    cobra.ExactArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			return a.switchAction(cmd.Context(), args[0], "resume", struct{}{})
		}),
	}
}

func (a *app) switchAction(ctx context.Context, name, order string, body any) error {
	c, err := a.admin()
	if err != nil {
		return err
	}
	var got admin.Paused
	if err := c.post(ctx, api("actions", name, order), body, &got); err != nil {
		return about("action", name, err)
	}
	if a.json() {
		return a.printJSON(got)
	}
	if got.Paused {
		return a.printf("%s is paused %s\n", escape(got.Action), escape(pausedCell(got.Since, got.Reason)))
	}
	return a.printf("%s goes on\n", escape(got.Action))
}
