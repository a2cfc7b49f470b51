package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pointsman/pointsman/rules/replay"
)

// print writes the report as it was asked for.
func (b *backtest) print() error {
	if b.app.json() {
		return b.app.printJSON(&b.report)
	}
	var out strings.Builder
	b.head(&out)
	if err := b.table(&out); err != nil {
		return err
	}
	for i := range b.report.Rules {
		explainRule(&out, &b.report.Rules[i])
	}
	for _, r := range b.report.Renamed {
		fmt.Fprintf(&out, "\nhint: %s and %s ran on the same %s: is it renamed? A rule's windows do not go along.\n",
			r.From, r.To, counted(r.Events, "event"))
	}
	return b.app.print([]byte(out.String()))
}

// head says what was compared, and how sure it is.
func (b *backtest) head(out *strings.Builder) {
	r := &b.report
	fmt.Fprintf(out, "%s received from %s to %s", counted(r.Events, "event"), when(r.Since), when(r.Until))
	if once := r.Since.Sub(r.WarmUpSince); once > 0 {
		fmt.Fprintf(out, ", after %d of the %s before that (the longest once)", r.WarmUpEvents, shortTime(once))
	}
	out.WriteString("\n")
	switch {
	case r.RecordBegins == nil:
		out.WriteString("the router has no events\n")
	case r.RecordBegins.After(r.Since):
		fmt.Fprintf(out, "note: the record begins only at %s\n", when(*r.RecordBegins))
	default:
		fmt.Fprintf(out, "the record begins at %s\n", when(*r.RecordBegins))
	}
	if r.UncertainUntil != nil {
		fmt.Fprintf(out, "note: windows that were open when the record begins are not known: until %s a rule with once "+
			"may run here that was throttled\n", when(*r.UncertainUntil))
	}
	if r.Unreadable > 0 {
		fmt.Fprintf(out, "note: %s could not be read\n", counted(r.Unreadable, "event"))
	}
	if r.Interrupted {
		out.WriteString("note: interrupted, this is not all\n")
	}
}

// table has a line for each rule that ran on either side, or fails.
func (b *backtest) table(out *strings.Builder) error {
	t := &table{heading: []string{"RULE", "RECORDED", "CANDIDATE", "ADDED", "REMOVED", "CHANGED", "ERRORS"}}
	quiet := 0
	row := func(name string, c *replay.Counts, changed, errors string) {
		t.add(name, strconv.Itoa(c.Recorded), strconv.Itoa(c.Candidate), strconv.Itoa(c.AddedTotal),
			strconv.Itoa(c.RemovedTotal), changed, errors)
	}
	for i := range b.report.Rules {
		r := &b.report.Rules[i]
		if r.Recorded+r.Candidate+r.Errors == 0 && r.DryRun == nil {
			quiet++
			continue
		}
		name := r.Rule
		if !r.InCandidate {
			name += " (not in the candidate)"
		}
		row(name, &r.Counts, strconv.Itoa(r.ChangedTotal), strconv.Itoa(r.Errors))
		if r.DryRun != nil {
			row(r.Rule+" (dry run)", r.DryRun, "", "")
		}
	}
	t.add("total", "", "", strconv.Itoa(b.report.AddedTotal), strconv.Itoa(b.report.RemovedTotal),
		strconv.Itoa(b.report.ChangedTotal), strconv.Itoa(b.report.ErrorsTotal))
	out.WriteString("\n")
	if err := t.write(out); err != nil {
		return err
	}
	if quiet > 0 {
		fmt.Fprintf(out, "%s did nothing on either side\n", counted(quiet, "other rule"))
	}
	return nil
}

// explainRule shows the examples of one rule.
func explainRule(out *strings.Builder, r *replay.RuleReport) {
	explainSide(out, r.Rule, "would have run and did not", r.AddedTotal, r.AddedExamples)
	explainSide(out, r.Rule, "ran and would not", r.RemovedTotal, r.RemovedExamples)
	if r.DryRun != nil {
		explainSide(out, r.Rule+" (dry run)", "would have run and did not", r.DryRun.AddedTotal, r.DryRun.AddedExamples)
		explainSide(out, r.Rule+" (dry run)", "ran and would not", r.DryRun.RemovedTotal, r.DryRun.RemovedExamples)
	}
	explainSide(out, r.Rule, "would run with other calls", r.ChangedTotal, r.ChangedExamples)
	if r.Errors > 0 {
		fmt.Fprintf(out, "\n%s fails on %s, first: %s\n", r.Rule, counted(r.Errors, "event"), escape(r.FirstError))
	}
}

func explainSide(out *strings.Builder, rule, what string, total int, examples []replay.Example) {
	if len(examples) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s %s, on %s:\n", rule, what, counted(total, "event"))
	for i := range examples {
		e := &examples[i]
		fmt.Fprintf(out, "  %s  %s  %s", when(e.Received), escape(e.ID), escape(e.Type))
		if e.Subject != "" {
			fmt.Fprintf(out, "  %s", escape(e.Subject))
		}
		out.WriteString("\n")
		if len(e.Changes) > 0 {
			for _, c := range e.Changes {
				fmt.Fprintf(out, "      %s\n", escape(c))
			}
			continue
		}
		fmt.Fprintf(out, "      recorded:  %s\n      candidate: %s\n", escape(e.Recorded), escape(e.Candidate))
	}
	if n := total - len(examples); n > 0 {
		fmt.Fprintf(out, "  and %d more\n", n)
	}
}

// shortTime is 10m instead of 10m0s.
func shortTime(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
