package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/actions/conformance"
	"github.com/pointsman/pointsman/actions/host"
	"github.com/pointsman/pointsman/actions/host/trial"
)

// trialFlags are the flags of plugins test.
type trialFlags struct {
	settings, params, failing, permanent, slow string
	noMTLS                                     bool
	timeout                                    time.Duration
}

func (a *app) pluginsTestCmd() *cobra.Command {
	var f trialFlags
	cmd := &cobra.Command{
		Use:   "test PATH",
		Short: "Try an executable as a plugin: does it keep the contract?",
		Long: "Start an executable as the router does and check that it keeps the contract of action plugins, whatever\n" +
			"it is written in. With --params it is also run, about 40 times: they must be parameters that may be used.\n" +
			"Prints what to write in pointsman.yaml. Exits 1 when a check fails; no router is needed.",
		Example: "  pointsman plugins test ./wake --settings '{\"broadcast\": \"127.0.0.1:9\"}' --params '{\"mac\": \"02:00:00:00:00:01\"}'\n" +
			"  pointsman plugins test ./notify.py --no-mtls -o json",
		Args: cobra.ExactArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			return a.tryPlugin(cmd.Context(), args[0], f)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.settings, "settings", "", "valid settings, a `JSON` object")
	flags.StringVar(&f.params, "params", "", "parameters of a run that may be done and succeeds, `JSON`")
	flags.StringVar(&f.failing, "failing", "", "parameters of a run that fails and is worth another try, `JSON`")
	flags.StringVar(&f.permanent, "permanent", "", "parameters of a run that fails for good, `JSON`")
	flags.StringVar(&f.slow, "slow", "", "parameters of a run that takes a second or more, `JSON`")
	flags.BoolVar(&f.noMTLS, "no-mtls", false, "talk to it without mutual TLS, as with mtls: false")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "how `long` one check may take")
	return cmd
}

// options reads the JSON of the flags.
func (f *trialFlags) options(dir string) (conformance.Options, error) {
	o := conformance.Options{Dir: dir, Timeout: f.timeout}
	if f.timeout <= 0 {
		return o, exitf(exitUsage, "--timeout must be above zero")
	}
	for _, v := range []struct {
		name, text string
		to         *json.RawMessage
	}{
		{"settings", f.settings, &o.Settings},
		{"params", f.params, &o.Params},
		{"failing", f.failing, &o.Failing},
		{"permanent", f.permanent, &o.Permanent},
		{"slow", f.slow, &o.Slow},
	} {
		if v.text == "" {
			continue
		}
		if !json.Valid([]byte(v.text)) {
			return o, exitf(exitUsage, "--%s is not JSON", v.name)
		}
		*v.to = json.RawMessage(v.text)
	}
	var object map[string]json.RawMessage
	if len(o.Settings) > 0 && (json.Unmarshal(o.Settings, &object) != nil || object == nil) {
		return o, exitf(exitUsage, "--settings is not a JSON object")
	}
	return o, nil
}

// trialReport is `plugins test -o json`.
type trialReport struct {
	Plugin  string         `json:"plugin"`
	SHA256  string         `json:"sha256"`
	MTLS    bool           `json:"mtls"`
	Name    string         `json:"name"`
	Version string         `json:"version"`
	Summary string         `json:"summary"`
	Checks  []trial.Result `json:"checks"`
	OK      int            `json:"ok"`
	Failed  int            `json:"failed"`
	Skipped int            `json:"skipped"`
}

func (a *app) tryPlugin(ctx context.Context, path string, f trialFlags) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	opts, err := f.options(filepath.Dir(path))
	if err != nil {
		return err
	}
	sum, err := fileSum(path)
	if err != nil {
		return err
	}
	mtls := !f.noMTLS
	report, err := trial.Run(ctx, trial.Config{
		Spec:    host.Spec{Action: "test", Plugin: path, SHA256: sum, MTLS: &mtls},
		Options: opts,
		Each:    a.printTrial,
	})
	if err != nil {
		return err
	}
	d := report.Description
	out := trialReport{
		Plugin: path, SHA256: sum, MTLS: mtls, Name: d.Name, Version: d.Version, Summary: d.Summary,
		Checks: report.Results, OK: report.Count(trial.OK), Failed: report.Count(trial.Failed), Skipped: report.Count(trial.Skipped),
	}
	if a.json() {
		err = a.printJSON(out)
	} else {
		err = a.print([]byte(out.text(len(opts.Settings) > 0)))
	}
	switch {
	case err != nil:
		return err
	case out.Failed == 1:
		return exitf(exitFindings, "1 check failed")
	case out.Failed > 0:
		return exitf(exitFindings, "%d checks failed", out.Failed)
	}
	return nil
}

// fileSum is what sha256sum prints.
func fileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return "", errors.Join(err, fmt.Errorf("%s is not a regular file", path))
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// printTrial prints a result for people as it comes.
func (a *app) printTrial(r trial.Result) error {
	if a.json() {
		return nil
	}
	word := string(r.Outcome)
	if r.Outcome == trial.Failed {
		word = "FAILED"
	}
	line := fmt.Sprintf("%-8s %s", word, r.Check)
	if r.Detail != "" {
		line += ": " + r.Detail
	}
	b := &strings.Builder{}
	fmt.Fprintln(b, escape(line))
	for _, l := range r.Log {
		fmt.Fprintf(b, "         | %s\n", escape(l))
	}
	return a.print([]byte(b.String()))
}

// text is the end of the report for people.
func (r *trialReport) text(settings bool) string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "\n%d ok, %d failed, %d skipped\n", r.OK, r.Failed, r.Skipped)
	if r.Name == "" {
		return b.String()
	}
	fmt.Fprintf(b, "\n%s\n\nactions:\n  - name: %s\n    plugin: %s\n    sha256: %s\n",
		escape("# "+r.Name+" "+r.Version+": "+r.Summary), r.Name, yamlText(r.Plugin), r.SHA256)
	if !r.MTLS {
		fmt.Fprintln(b, "    mtls: false")
	}
	if settings {
		fmt.Fprintln(b, "    # settings: those you tested with")
	}
	return b.String()
}

// yamlText quotes a path where YAML would read it as something else; JSON text
// is YAML too.
func yamlText(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return s
	}
	text, err := json.Marshal(s)
	if err != nil {
		return s
	}
	return string(escapeJSON(text))
}
