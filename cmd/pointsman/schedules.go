package main

import (
	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/monitor/schedule"
)

func (a *app) schedulesCmd() *cobra.Command {
	return a.newGroup("schedules", "List schedules, and run one by hand", a.schedulesListCmd(), a.schedulesRunCmd())
}

func (a *app) schedulesListCmd() *cobra.Command {
	var offline bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the schedules with their last tick and the next five",
		Long: "List the schedules of the running router with their last tick and the next five, in each schedule's zone.\n" +
			"With --offline those of the configuration file, without a router and so without the last tick.",
		Example: "  pointsman schedules list\n  pointsman schedules list --offline -c new.yaml",
		Args:    cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			var page admin.ScheduleList
			var err error
			if offline {
				page.Schedules, err = a.offlineSchedules()
			} else {
				var c *client
				if c, err = a.admin(); err == nil {
					err = c.get(cmd.Context(), api("schedules"), nil, &page)
				}
			}
			if err != nil {
				return err
			}
			if a.json() {
				if page.Schedules == nil {
					page.Schedules = []router.ScheduleStatus{}
				}
				return a.printJSON(page.Schedules)
			}
			t := &table{heading: []string{"NAME", "WHEN", "TIMEZONE", "LAST", "NEXT"}}
			for _, s := range page.Schedules {
				last := ""
				if s.Last != nil {
					last = s.Last.Format(zoned)
				}
				if len(s.Next) == 0 {
					t.add(s.Name, s.When, s.Timezone, last, "")
				}
				for i, next := range s.Next {
					if i == 0 {
						t.add(s.Name, s.When, s.Timezone, last, next.Format(zoned))
						continue
					}
					t.rows = append(t.rows, []string{"", "", "", "", next.Format(zoned)})
				}
			}
			return t.write(a.stdout)
		}),
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "read the configuration file and ask no router")
	return cmd
}

// zoned is how times of schedules are shown: in the schedule's zone.
const zoned = "2006-01-02T15:04:05Z07:00"

// offlineSchedules are those of the configuration file.
func (a *app) offlineSchedules() ([]router.ScheduleStatus, error) {
	cfg, err := loadOffline(a.configPath)
	if err != nil {
		return nil, &exitError{exitCannotRun, err}
	}
	var out []router.ScheduleStatus
	for _, src := range cfg.Sources {
		if src.Type != config.TypeSchedule {
			continue
		}
		made, err := schedule.New(schedule.Config{Name: src.Name, Schedule: src.Schedule, Now: a.now})
		if err != nil {
			return nil, &exitError{exitCannotRun, err}
		}
		out = append(out, scheduleStatus(&src, made))
	}
	return out, nil
}

func (a *app) schedulesRunCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "run NAME",
		Short: "Make an event of a schedule now",
		Long: "Make an event of a schedule now, as a tick does but with data.manual true and an id of its own. The last\n" +
			"tick and the next stay as they are.",
		Example: "  pointsman schedules run nightly",
		Args:    cobra.ExactArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			c, err := a.admin()
			if err != nil {
				return err
			}
			var run router.ScheduleRun
			if err := c.post(cmd.Context(), api("schedules", args[0], "run"), struct{}{}, &run); err != nil {
				return about("schedule", args[0], err)
			}
			if a.json() {
				return a.printJSON(run)
			}
			return a.printf("accepted as event %s\n", escape(run.ID))
		}),
	}
}
