package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/actions/host"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

func (a *app) checkCmd() *cobra.Command {
	var strict, noPlugins bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Find every problem of the configuration and the rules",
		Long: "Load the configuration and the rules as serve does, and print every problem with its file, line and\n" +
			"column. Each external plugin is verified and started, only to be asked what it takes. Exits 1 when\n" +
			"there is a problem; warnings alone exit 0, with --strict 1.",
		Example: "  pointsman check\n  pointsman check -c /etc/pointsman/pointsman.yaml --strict",
		Args:    cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			return a.check(cmd.Context(), strict, noPlugins)
		}),
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "treat warnings as problems")
	cmd.Flags().BoolVar(&noPlugins, "no-plugins", false, "do not start external plugins")
	return cmd
}

// finding is one element of `check -o json`.
type finding struct {
	Severity string `json:"severity"`
	// File, Line and Col are empty for what has no place in a file.
	File string `json:"file"`
	Line int    `json:"line"`
	Col  int    `json:"col"`
	// Code is a stable word for the kind of finding: "invalid" for an error.
	Code    string `json:"code"`
	Message string `json:"message"`

	text string // with place, source line and caret
}

func newFinding(severity string, err error) finding {
	f := finding{Severity: severity, Code: "invalid", Message: err.Error(), text: err.Error()}
	var at *strictyaml.Error
	if errors.As(err, &at) {
		f.File, f.Line, f.Col, f.Message = at.File, at.Line, at.Col, at.Msg
		if severity == "warning" {
			f.Code = at.Code
		}
	}
	return f
}

func (a *app) check(ctx context.Context, strict, noPlugins bool) error {
	problems, warnings, err := a.findings(ctx, noPlugins)
	if err != nil {
		return err
	}
	list := []finding{}
	for _, p := range problems {
		list = append(list, newFinding("error", p))
	}
	for _, w := range warnings {
		list = append(list, newFinding("warning", w))
	}
	if a.json() {
		if err := a.printJSON(list); err != nil {
			return err
		}
	} else {
		for _, f := range list {
			if err := a.printf("%s: %s\n", f.Severity, escapeLines(f.text)); err != nil {
				return err
			}
		}
		if len(problems) == 0 {
			if err := a.printf("%s: ok, %s\n", a.configPath, counted(len(warnings), "warning")); err != nil {
				return err
			}
		}
	}
	if n := len(problems); n > 0 {
		return exitf(exitFindings, "%s, %s", counted(n, "problem"), counted(len(warnings), "warning"))
	}
	if strict && len(warnings) > 0 {
		return exitf(exitFindings, "%s, and --strict", counted(len(warnings), "warning"))
	}
	return nil
}

// findings runs the load path of serve and takes its errors apart. Where the
// configuration is not valid, the rules are looked at without it.
func (a *app) findings(ctx context.Context, noPlugins bool) (problems, warnings []error, err error) {
	var lint rules.Lint
	defer func() {
		for _, w := range lint.Warnings {
			warnings = append(warnings, w)
		}
	}()
	cfg, err := loadConfig(a.configPath)
	if err != nil {
		problems = flatten(err)
		if fsys, patterns, ok := config.RuleFiles(a.configPath); ok {
			_, err = rules.Load(fsys, rules.Options{Lint: &lint}, patterns...)
			problems = append(problems, flatten(err)...)
		}
		return problems, nil, nil
	}
	h, err := host.New(host.Config{Bundled: bundledDescriptions(), Log: a.quietLog()})
	if err != nil {
		return nil, nil, fmt.Errorf("prepare to ask plugins: %w", err)
	}
	defer h.Close(ctx)
	l, err := load(ctx, cfg, h, !noPlugins, &lint)
	problems = append(flatten(err), l.brokenProblems()...)
	for _, w := range cfg.Warnings {
		warnings = append(warnings, w)
	}
	return problems, warnings, nil
}

// flatten lists the errors that err joins.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	var many interface{ Unwrap() []error }
	if !errors.As(err, &many) {
		return []error{err}
	}
	var out []error
	for _, e := range many.Unwrap() {
		out = append(out, flatten(e)...)
	}
	return out
}
