package main

import "github.com/spf13/cobra"

func (a *app) sourcesCmd() *cobra.Command {
	return a.newGroup("sources", "See what sources are sent, and try their translation", a.sourcesCaptureCmd(), a.sourcesTestCmd())
}
