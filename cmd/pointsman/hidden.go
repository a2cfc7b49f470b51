package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/actions"
)

// pluginCmd serves a bundled plugin in a process of its own.
func (a *app) pluginCmd() *cobra.Command {
	return &cobra.Command{
		Use: "plugin NAME", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Serve a bundled plugin (used by serve)",
		RunE: func(_ *cobra.Command, args []string) error {
			p, ok := bundled()[args[0]]
			if !ok {
				return fmt.Errorf("there is no bundled plugin %q", args[0])
			}
			actions.Serve(p)
			return nil
		},
	}
}
