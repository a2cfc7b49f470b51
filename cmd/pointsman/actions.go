package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router/admin"
)

func (a *app) actionsCmd() *cobra.Command {
	return a.newGroup("actions", "List the configured actions", a.actionsListCmd())
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
				"NAME", "PLUGIN", "VERSION", "STATE", "RUNNING", "READY", "HELD", "DEAD", "DONE", "LAST ERROR",
			}}
			for _, x := range page.Actions {
				t.add(x.Name, x.Plugin, x.Version, x.State, fmt.Sprintf("%d/%d", x.Running, x.Concurrency),
					strconv.Itoa(x.Counts["ready"]), strconv.Itoa(x.Counts["held"]), strconv.Itoa(x.Counts["dead"]),
					strconv.Itoa(x.Counts["done"]), x.LastError)
			}
			return t.write(a.stdout)
		}),
	}
}
