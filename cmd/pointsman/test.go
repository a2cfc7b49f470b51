package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/scenario"
)

const testSuffix = "_test.yaml"

// testFlags are those of pointsman test.
type testFlags struct {
	coverage, update bool
	junit            string
}

func (a *app) testCmd() *cobra.Command {
	var f testFlags
	cmd := &cobra.Command{
		Use:   "test [PATH...]",
		Short: "Run the tests of the rules, without a router",
		Long: "Run rule tests: events in, the calls they should cause out, on a virtual clock, with once and dedup.\n" +
			"PATHs are test files, patterns or folders; without one, every *_test.yaml below the configuration\n" +
			"file, but for folders with a pointsman.yaml of their own. No process is started and nothing is\n" +
			"stored. Exits 1 when a test fails.",
		Example: "  pointsman test\n  pointsman test 'rules/link*_test.yaml' --coverage",
		RunE: does(func(_ *cobra.Command, args []string) error {
			return a.test(args, f)
		}),
	}
	cmd.Flags().BoolVar(&f.coverage, "coverage", false, "tell which rules and steps no test reached")
	cmd.Flags().StringVar(&f.junit, "junit", "", "write the results to this `file` as JUnit XML, too")
	cmd.Flags().BoolVar(&f.update, "update", false, "write what the rules do into failing tests as what they should do")
	return cmd
}

// testReport is `test -o json`.
type testReport struct {
	Tests    int             `json:"tests"`
	Failed   int             `json:"failed"`
	Failures []testFailure   `json:"failures"`
	Coverage *coverageReport `json:"coverage,omitempty"`
}

type testFailure struct {
	File string   `json:"file"`
	Line int      `json:"line"`
	Test string   `json:"test"`
	Step int      `json:"step"`
	At   string   `json:"at"`
	Diff []string `json:"diff"`
}

type coverageReport struct {
	// Percent is that of the steps of do, RulesPercent of the rules.
	Percent      float64 `json:"percent"`
	RulesPercent float64 `json:"rules_percent"`
	// Missed are the rules and steps of do that no test reached.
	Missed []string                `json:"missed"`
	Rules  []scenario.RuleCoverage `json:"rules"`
}

func (a *app) test(paths []string, f testFlags) error {
	cfg, err := loadOffline(a.configPath)
	if err != nil {
		return err
	}
	rs, err := testRules(cfg)
	if err != nil {
		return err
	}
	files, err := testFiles(cfg.Dir, paths)
	if err != nil {
		return err
	}
	names := rs
	if f.update { // what it expects of rules that are gone is replaced
		names = nil
	}
	suites, err := parseSuites(files, names)
	if err != nil {
		return err
	}
	cov := scenario.NewCoverage()
	var results []scenario.Result
	for _, s := range suites {
		got := scenario.Run(rs, s, scenario.Options{Dedup: cfg.Events.Dedup}, cov)
		if f.update {
			if err := updateTests(s.File, got); err != nil {
				return fmt.Errorf("%s: %w", s.File, err)
			}
		}
		results = append(results, got...)
	}
	if f.junit != "" {
		if err := writeJUnit(f.junit, results); err != nil {
			return fmt.Errorf("write %s: %w", f.junit, err)
		}
	}
	report := newReport(results)
	if f.coverage {
		report.Coverage = newCoverage(cov.Report(rs))
	}
	if err := a.printReport(report, len(files), f.update); err != nil {
		return err
	}
	if report.Failed > 0 && !f.update {
		return exitf(exitFindings, "%d of %s failed", report.Failed, counted(report.Tests, "test"))
	}
	return nil
}

// testRules loads the rules against the names of the actions alone; what their
// plugins take is for check to say.
func testRules(cfg *config.Config) (*rules.Ruleset, error) {
	known := make(map[string]rules.Action, len(cfg.Actions))
	for _, act := range cfg.Actions {
		known[act.Name] = rules.Action{}
	}
	fsys, patterns := cfg.RulesFS()
	return rules.Load(fsys, rules.Options{Actions: known}, patterns...)
}

func newCoverage(rules []scenario.RuleCoverage) *coverageReport {
	c := &coverageReport{Missed: []string{}, Rules: rules}
	matched, reached, steps := 0, 0, 0
	for _, r := range rules {
		reached += r.Reached
		steps += r.Steps
		if !r.Matched {
			c.Missed = append(c.Missed, r.Rule)
			continue
		}
		matched++
		for _, m := range r.Missed {
			c.Missed = append(c.Missed, r.Rule+" "+m)
		}
	}
	c.Percent, c.RulesPercent = percent(reached, steps), percent(matched, len(rules))
	return c
}

// percent is 100 of nothing.
func percent(part, whole int) float64 {
	if whole == 0 {
		return 100
	}
	return 100 * float64(part) / float64(whole)
}

// testFiles lists the test files that the paths name or hold. A folder below them
// that has a configuration of its own is left out.
func testFiles(dir string, paths []string) ([]string, error) {
	if len(paths) == 0 {
		paths = []string{dir}
	}
	var files []string
	paths, err := expandPaths(paths)
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, p)
			continue
		}
		err = filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && path != p && isFile(filepath.Join(path, "pointsman.yaml")):
				return fs.SkipDir // the tests below are about the rules of that configuration
			case !d.IsDir() && strings.HasSuffix(path, testSuffix):
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// expandPaths replaces patterns that the shell has left as they are.
func expandPaths(paths []string) ([]string, error) {
	var out []string
	for _, p := range paths {
		if _, err := os.Lstat(p); err == nil || !strings.ContainsAny(p, "*?[") {
			out = append(out, p)
			continue
		}
		found, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: no file matches", p)
		}
		out = append(out, found...)
	}
	return out, nil
}

func parseSuites(files []string, rs *rules.Ruleset) ([]*scenario.Suite, error) {
	var suites []*scenario.Suite
	var problems []error
	for _, file := range files {
		data, err := readLimited(file)
		if err == nil {
			var s *scenario.Suite
			if s, err = scenario.Parse(shownPath(file), data, rs); err == nil {
				s.File = file
				suites = append(suites, s)
			}
		}
		if err != nil {
			problems = append(problems, err)
		}
	}
	return suites, errors.Join(problems...)
}

// shownPath is a path as people see it: relative where that is shorter.
func shownPath(path string) string {
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
			return rel
		}
	}
	return path
}

func newReport(results []scenario.Result) testReport {
	r := testReport{Tests: len(results), Failures: []testFailure{}}
	for _, res := range results {
		if len(res.Failures) > 0 {
			r.Failed++
		}
		for _, f := range res.Failures {
			r.Failures = append(r.Failures, testFailure{
				File: shownPath(f.File), Line: f.Line, Test: f.Test, Step: f.Step,
				At: shortTime(f.At), Diff: f.Diff,
			})
		}
	}
	return r
}

func (a *app) printReport(r testReport, files int, updated bool) error {
	if a.json() {
		return a.printJSON(r)
	}
	var b strings.Builder
	if len(r.Failures) > 0 {
		b.WriteString("- expected and not called, + called and not expected, ~ called with something else\n")
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "%s:%d: test %q step %d, at %s:\n", f.File, f.Line, f.Test, f.Step, f.At)
		for _, line := range f.Diff {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	if updated && r.Failed > 0 {
		fmt.Fprintf(&b, "%s updated\n", counted(r.Failed, "test"))
	} else {
		fmt.Fprintf(&b, "%s in %s, %d failed\n", counted(r.Tests, "test"), counted(files, "file"), r.Failed)
	}
	if c := r.Coverage; c != nil {
		fmt.Fprintf(&b, "coverage: %.1f %% of the steps of do, %.1f %% of the rules\n", c.Percent, c.RulesPercent)
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "    %5.1f %%  %s", percent(r.Reached, r.Steps), r.Rule)
			switch {
			case !r.Matched:
				fmt.Fprintf(&b, ": never matched (%s:%d)", r.File, r.Line)
			case len(r.Missed) > 0:
				fmt.Fprintf(&b, ": not reached: %s (%s:%d)", strings.Join(r.Missed, ", "), r.File, r.Line)
			}
			b.WriteString("\n")
		}
	}
	return a.print([]byte(escapeLines(strings.TrimSuffix(b.String(), "\n")) + "\n"))
}

// writeJUnit writes the results in the form that CI systems read.
func writeJUnit(file string, results []scenario.Result) error {
	type failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Name  string `xml:"name,attr"`
		Class string `xml:"classname,attr"`
		Time  string `xml:"time,attr"`
		// Failure holds all of a test: many readers look at one only.
		Failure *failure `xml:"failure"`
	}
	type testsuite struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	out := testsuite{Name: "pointsman rules", Tests: len(results)}
	for _, r := range results {
		c := testcase{Name: r.Test, Class: shownPath(r.File), Time: strconv.FormatFloat(r.Took.Seconds(), 'f', 6, 64)}
		if n := len(r.Failures); n > 0 {
			out.Failures++
			c.Failure = &failure{Message: counted(n, "step") + " not as expected"}
			for _, f := range r.Failures {
				c.Failure.Text += fmt.Sprintf("%s:%d: step %d, at %s:\n    %s\n", c.Class, f.Line, f.Step, shortTime(f.At),
					strings.Join(f.Diff, "\n    "))
			}
		}
		out.Cases = append(out.Cases, c)
	}
	text, err := xml.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte(xml.Header), append(text, '\n')...), 0o644)
}

// updateTests writes what a suite's failing steps caused into its file.
func updateTests(file string, results []scenario.Result) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	text, err := scenario.Update(data, results)
	if err != nil || bytes.Equal(text, data) {
		return err
	}
	if _, err := scenario.Parse(file, text, nil); err != nil {
		return fmt.Errorf("not updated, the result would not be a test file: %w", err)
	}
	return writeFileAtomic(file, text, info.Mode().Perm())
}

// counted is "1 test", "2 tests".
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}
