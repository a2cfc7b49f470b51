package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/admin"
	"github.com/pointsman/pointsman/rules"
)

func (a *app) whyCmd() *cobra.Command {
	var f eventFilter
	var file, rule string
	cmd := &cobra.Command{
		Use:   "why EVENT-ID | -f FILE",
		Short: "Say what each rule makes of one event, and why",
		Long: "Say what each rule makes of one event, and why. With EVENT-ID (an event's id or uid) the router\n" +
			"answers for an event it accepted, by the rules that were in force. With -f the rule files are read\n" +
			"and no router is asked; what the state of a rule would do (once) is then not known.\n" +
			"Exits 0 whatever the verdicts are.",
		Example: "  pointsman why 5f1c --rule bounce-flapping-port\n" +
			"  pointsman why -f event.json",
		Args: cobra.MaximumNArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (file != "") {
				return exitf(exitUsage, "give either the id of an event or -f with a file")
			}
			if file != "" {
				if f.source != "" || f.ceSource != "" {
					return exitf(exitUsage, "--source and --ce-source are for events that the router has")
				}
				return a.whyOffline(file, rule)
			}
			return a.whyOnline(cmd.Context(), args[0], &f, rule)
		}),
	}
	f.flags(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "explain the event in this `file` (- is stdin) by the rule files")
	cmd.Flags().StringVar(&rule, "rule", "", "only this `rule`")
	return cmd
}

func (a *app) whyOnline(ctx context.Context, id string, f *eventFilter, rule string) error {
	q, err := f.query(a)
	if err != nil {
		return err
	}
	set(q, "rule", rule)
	c, err := a.admin()
	if err != nil {
		return err
	}
	var why admin.Why
	if err := c.get(ctx, api("events", id, "why"), q, &why); err != nil {
		return about("event", id, err)
	}
	return a.printVerdicts(why.Verdicts)
}

func (a *app) whyOffline(file, rule string) error {
	text, err := a.readInput(file)
	if err != nil {
		return err
	}
	if text, err = complete(text); err != nil {
		return about("event", file, err)
	}
	ev, err := rules.ParseEvent(text, rules.Limits{})
	if err != nil {
		return about("event", file, err)
	}
	c, err := a.config()
	if err != nil {
		return err
	}
	rs, err := c.Rules()
	if err != nil {
		return exitf(exitCannotRun, "%w", err)
	}
	var verdicts []router.RuleVerdict
	for _, x := range rs.Explain(ev) {
		if rule == "" || x.Rule.Name == rule {
			verdicts = append(verdicts, verdictOf(&x))
		}
	}
	if rule != "" && len(verdicts) == 0 {
		return fmt.Errorf("there is no rule %q", rule)
	}
	return a.printVerdicts(verdicts)
}

// verdictOf is what would be recorded of an explanation, as far as it can be
// known without state.
func verdictOf(x *rules.Explanation) router.RuleVerdict {
	v := router.RuleVerdict{
		Rule: x.Rule.Name, Verdict: x.Verdict, Reason: x.Reason, Key: x.Key, Calls: []router.RuleCall{},
	}
	skipped := 0
	var failed error
	for _, c := range x.Calls {
		rc := router.RuleCall{Step: c.Step, Action: c.Action, Skipped: c.Skipped, Params: c.Params}
		if c.Err != nil {
			rc.Error = c.Err.Error()
			failed = errors.Join(failed, c.Err)
		}
		if c.Skipped {
			skipped++
		}
		if !json.Valid(rc.Params) {
			rc.Params = json.RawMessage("null")
		}
		v.Calls = append(v.Calls, rc)
	}
	if v.Verdict != "matched" {
		return v
	}
	switch {
	case failed != nil:
		v.Verdict, v.Reason = "error", failed.Error()
	case skipped > 0 && skipped == len(x.Calls):
		v.Verdict = "skipped"
	case x.Rule.DryRun:
		v.Verdict = "dry_run"
	}
	return v
}

func (a *app) printVerdicts(verdicts []router.RuleVerdict) error {
	if a.json() {
		if verdicts == nil {
			verdicts = []router.RuleVerdict{}
		}
		for i := range verdicts {
			verdicts[i].Calls = slices.Clip(append([]router.RuleCall{}, verdicts[i].Calls...))
		}
		return a.printJSON(verdicts)
	}
	t := &table{heading: []string{"VERDICT", "RULE", "REASON"}}
	for _, v := range verdicts {
		t.rows = append(t.rows, []string{cell(v.Verdict), cell(v.Rule), escape(first(v.Reason, "-"))})
	}
	return t.write(a.stdout)
}
