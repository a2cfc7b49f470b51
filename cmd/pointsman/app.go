package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

// defaultConfig is the configuration file when -c does not name one.
const defaultConfig = "./pointsman.yaml"

// app is what the commands share: the streams, the global flags, and the ways
// to the outside.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string
	now            func() time.Time
	// terminal tells whether a stream is a terminal.
	terminal func(stream any) bool
	// load reads the configuration file for a command that needs a part of it.
	load func(path string) (configuration, error)

	configPath string
	output     string
	url        string
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{
		stdin: stdin, stdout: stdout, stderr: stderr,
		env: os.Getenv, now: wallClock(), terminal: isTerminal, load: loadSettings,
	}
}

// root builds the tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "pointsman",
		Short:         "Route infrastructure events to actions",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          a.group,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "table" && a.output != "json" {
				return fmt.Errorf("invalid value %q for -o (want table or json)", a.output)
			}
			return nil
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	flags := root.PersistentFlags()
	flags.StringVarP(&a.configPath, "config", "c", defaultConfig, "configuration `file`")
	flags.StringVarP(&a.output, "output", "o", "table", "output `format`: table or json")
	flags.StringVar(&a.url, "url", "", "base `URL` of the router (default: from the environment or the configuration)")
	root.AddCommand(a.serveCmd(), a.demoCmd(), a.checkCmd(), a.testCmd(), a.backtestCmd(), a.pluginCmd(),
		a.sendCmd(), a.whyCmd(), a.eventsCmd(), a.deliveriesCmd(),
		a.actionsCmd(), a.sourcesCmd(), a.schedulesCmd(), a.pluginsCmd(), a.schemaCmd(), a.versionCmd())
	return root
}

// group is what a command that only holds others does when none is named.
func (a *app) group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("name a command of %s: %s", cmd.CommandPath(), strings.Join(subcommands(cmd), ", "))
	}
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf(" (did you mean %s?)", strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), hint)
}

func subcommands(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	slices.Sort(names)
	return names
}

// newGroup returns a command that only holds others.
func (a *app) newGroup(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: a.group}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(commands...)
	return cmd
}

// does makes RunE of a function: an error without an exit code of its own, met
// while a command runs, is a failure and not a wrong command line.
func does(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := f(cmd, args)
		var exit *exitError
		if err != nil && !errors.As(err, &exit) {
			return &exitError{code: exitFindings, err: err}
		}
		return err
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

func (a *app) json() bool { return a.output == "json" }
