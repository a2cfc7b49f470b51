package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
)

func (a *app) pluginsCmd() *cobra.Command {
	return a.newGroup("plugins", "List, describe and test plugins", a.pluginsListCmd(), a.pluginsDescribeCmd(), a.pluginsTestCmd())
}

func (a *app) pluginsListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the plugins that the configured actions use",
		Example: "  pointsman plugins list",
		Args:    cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			c, err := a.admin()
			if err != nil {
				return err
			}
			var page admin.Plugins
			if err := c.get(cmd.Context(), api("plugins"), nil, &page); err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(page.Plugins)
			}
			t := &table{heading: []string{"NAME", "VERSION", "IDEMPOTENCY", "DRY-RUN", "ACTIONS", "PATH"}}
			for _, p := range page.Plugins {
				t.add(p.Name, p.Version, p.Idempotency, yesNo(p.DryRun), strings.Join(p.Actions, ","), p.Path)
			}
			return t.write(a.stdout)
		}),
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (a *app) pluginsDescribeCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "describe NAME",
		Short:   "Show what a plugin says of itself and the schemas of its settings and params",
		Example: "  pointsman plugins describe exec",
		Args:    cobra.ExactArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			c, err := a.admin()
			if err != nil {
				return err
			}
			var p router.PluginStatus
			if err := c.get(cmd.Context(), api("plugins", args[0]), nil, &p); err != nil {
				return about("plugin", args[0], err)
			}
			if a.json() {
				return a.printJSON(p)
			}
			b := &strings.Builder{}
			field(b, "name", p.Name)
			field(b, "version", p.Version)
			field(b, "summary", p.Summary)
			field(b, "path", first(p.Path, "bundled"))
			field(b, "idempotency", p.Idempotency)
			field(b, "dry-run", yesNo(p.DryRun))
			field(b, "actions", strings.Join(p.Actions, ", "))
			block(b, "settings", indented(p.SettingsSchema))
			block(b, "params", indented(p.ParamsSchema))
			return a.print([]byte(b.String()))
		}),
	}
}
