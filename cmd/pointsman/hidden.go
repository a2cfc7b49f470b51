package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/actions"
	"github.com/pointsman/pointsman/actions/host"
)

// reaperCmd is how the router starts plugins: this binary again, between the
// router and the plugin.
func (a *app) reaperCmd() *cobra.Command {
	return &cobra.Command{
		Use: "reaper", Hidden: true, DisableFlagParsing: true,
		Short: "Run a plugin and leave nothing of it behind (used by serve)",
		RunE: func(_ *cobra.Command, args []string) error {
			if code := host.ReaperMain(args); code != 0 {
				return &exitError{code: code, err: errSilent}
			}
			return nil
		},
	}
}

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
