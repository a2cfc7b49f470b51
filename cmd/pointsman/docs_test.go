package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var updateDocs = flag.Bool("update-docs", false, "rewrite the output that is shown in docs/testing.md")

// fenced is a fenced block of a page.
var fenced = regexp.MustCompile("(?ms)^```(yaml|console)\n(.*?)^```$")

// TestDocsOfTesting does what docs/testing.md does, in its order: a yaml block
// that begins with the name of a file is written, or, after "want: ", compared
// with it; a console block is run, and its output is what the page shows.
func TestDocsOfTesting(t *testing.T) {
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	const file = "../../docs/testing.md"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: t.TempDir(), bin: bin}
	// The rules stand first on the page; what they refer to is needed at once.
	config := regexp.MustCompile("(?ms)^```yaml\n# pointsman.yaml\n(.*?)^```$").FindSubmatch(page)
	s.write("pointsman.yaml", string(config[1]))
	runs := 0
	got := fenced.ReplaceAllFunc(page, func(b []byte) []byte {
		parts := fenced.FindSubmatch(b)
		text := string(parts[2])
		first, rest, _ := strings.Cut(text, "\n")
		if name, ok := strings.CutPrefix(first, "# want: "); ok {
			if diff := cmp.Diff(rest, s.read(name)); diff != "" {
				t.Errorf("%s (-page +file):\n%s", name, diff)
			}
			return b
		}
		if name, ok := strings.CutPrefix(first, "# "); ok {
			s.write(name, rest)
			return b
		}
		var out strings.Builder
		for line := range strings.SplitSeq(text, "\n") {
			command, ok := strings.CutPrefix(line, "$ pointsman ")
			if !ok {
				continue
			}
			runs++
			cmd := s.command(t.Context(), strings.Fields(command)...)
			cmd.Dir = s.dir
			cmd.Args = cmd.Args[:len(cmd.Args)-2] // the configuration in the folder
			output, _ := cmd.CombinedOutput()     // some of them fail, and say so
			out.WriteString(line + "\n" + string(output))
		}
		return []byte("```console\n" + out.String() + "```")
	})
	if runs < 5 {
		t.Fatalf("%d commands", runs)
	}
	if *updateDocs {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(page), string(got)); diff != "" && !*updateDocs {
		t.Errorf("docs/testing.md (-page +real):\n%s", diff)
	}
}

// TestDocsLoad: the files that these pages show are valid.
func TestDocsLoad(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"backtest.md", "dry-run.md"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page, err := os.ReadFile(filepath.Join("../../docs", name))
			if err != nil {
				t.Fatal(err)
			}
			s := &site{t: t, dir: t.TempDir()}
			folders := map[string]bool{}
			for _, b := range fenced.FindAllSubmatch(page, -1) {
				first, rest, _ := strings.Cut(string(b[2]), "\n")
				if file, ok := strings.CutPrefix(first, "# "); ok && string(b[1]) == "yaml" {
					s.write(file, rest)
					if filepath.Base(file) == "pointsman.yaml" {
						folders[filepath.Dir(file)] = true
					}
				}
			}
			if len(folders) == 0 {
				t.Fatal("no configuration")
			}
			for folder := range folders {
				var out, diag bytes.Buffer
				a := newApp(strings.NewReader(""), &out, &diag)
				if code := a.run(t.Context(), []string{"check", "-c", s.path(folder + "/pointsman.yaml")}); code != exitOK {
					t.Errorf("%s: exit code %d: %s%s", folder, code, out.String(), diag.String())
				}
			}
		})
	}
}
