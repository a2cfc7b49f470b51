package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router/admin"
)

func (a *app) sourcesCmd() *cobra.Command {
	return a.newGroup("sources", "List the sources of events, see what they are sent, and try their translation",
		a.sourcesListCmd(), a.sourcesCaptureCmd(), a.sourcesTestCmd())
}

func (a *app) sourcesListCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the sources with their state and what came from them",
		Long: "List POST /events (\"events\") and the configured sources with their state and what came from them since\n" +
			"this router started.",
		Example: "  pointsman sources list\n  pointsman sources list -o json",
		Args:    cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			c, err := a.admin()
			if err != nil {
				return err
			}
			var page admin.Sources
			if err := c.get(cmd.Context(), api("sources"), nil, &page); err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(page.Sources)
			}
			t := &table{heading: []string{
				"NAME", "TYPE", "STATE", "LAST EVENT", "ACCEPTED", "DUPLICATE", "CONFLICT", "REJECTED", "REASON",
			}}
			for _, s := range page.Sources {
				t.add(s.Name, s.Type, s.State, whenMaybe(s.LastEvent), strconv.Itoa(s.Accepted), strconv.Itoa(s.Duplicate),
					strconv.Itoa(s.Conflict), strconv.Itoa(s.Rejected), s.Reason)
			}
			return t.write(a.stdout)
		}),
	}
}
