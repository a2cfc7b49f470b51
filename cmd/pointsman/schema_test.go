package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pointsman/pointsman/rules"
	"github.com/pointsman/pointsman/rules/scenario"
	"github.com/pointsman/pointsman/rules/schema/schematest"
)

// published are the files of docs/schema and the schema that each has.
func published() map[string]string {
	return map[string]string{"pointsman": "config", "rules": "rules", "tests": "tests"}
}

// TestSchemasAreCurrent: what is published is what this binary prints.
func TestSchemasAreCurrent(t *testing.T) {
	t.Parallel()
	for name, what := range published() {
		want, err := schemaOf(what)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile("../../docs/schema/" + name + ".schema.json")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("docs/schema/%s.schema.json is not current (make schemas)\n%s", name, diff)
		}
	}
}

// TestExamplesNameTheirSchema: an editor finds the schema of every file of the
// examples, and the file fits it.
func TestExamplesNameTheirSchema(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../examples/*/*.yaml")
	deeper, err2 := filepath.Glob("../../examples/*/*/*.yaml") // of several configurations
	if files = append(files, deeper...); err != nil || err2 != nil || len(files) < 33 {
		t.Fatalf("%d files, %v, %v", len(files), err, err2)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		path, ok := strings.CutPrefix(line, "# yaml-language-server: $schema=")
		want := "pointsman"
		switch name := filepath.Base(file); {
		case strings.HasSuffix(name, "_test.yaml"):
			want = "tests"
		case name != "pointsman.yaml":
			want = "rules"
		}
		if !ok || filepath.Base(path) != want+".schema.json" {
			t.Errorf("%s begins with %q, which does not name %s.schema.json", file, line, want)
			continue
		}
		schema, err := os.ReadFile(filepath.Join(filepath.Dir(file), path))
		if err != nil {
			t.Error(err)
			continue
		}
		if err := schematest.Validate(schematest.Compile(t, schema), text); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestSettingsOfBundledPlugins: the schema of pointsman.yaml knows what the
// plugins of this binary take.
func TestSettingsOfBundledPlugins(t *testing.T) {
	t.Parallel()
	text, err := schemaOf("config")
	if err != nil {
		t.Fatal(err)
	}
	s := schematest.Compile(t, text)
	for file, fits := range map[string]bool{
		`{plugin: http, settings: {url: "https://x.example.net/"}}`:                  true,
		`{plugin: http, settings: {url: "${env:URL}", secret: "${file:s}"}}`:         true,
		`{plugin: http, settings: {url: ftp}}`:                                       false,
		`{plugin: http, settings: {url: "https://x.example.net/", method: FETCH}}`:   false,
		`{plugin: http, settings: {url: "https://x.example.net/", headers: {a: b}}}`: true,
		`{plugin: http}`: false,
		`{plugin: exec, settings: {command: [a, "${env:B}"], env: {A_B: "${env:B}"}}}`: true,
		`{plugin: exec, settings: {command: [a], env: {"a b": c}}}`:                    false,
		`{plugin: exec, settings: {command: a}}`:                                       false,
		`{plugin: log, settings: {level: info}}`:                                       false,
		`{plugin: log}`:                                                                true,
	} {
		action := strings.Replace(file, "{", "{name: a, ", 1)
		if err := schematest.Validate(s, []byte("actions: ["+action+"]")); (err == nil) != fits {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// schemas are all schemas, by the name of the published file.
func schemas(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	out := make(map[string]*jsonschema.Schema)
	for name, what := range published() {
		text, err := schemaOf(what)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = schematest.Compile(t, text)
	}
	return out
}

// TestSchemaOfDocs: every YAML file that the documentation shows fits the schema
// of its kind.
func TestSchemaOfDocs(t *testing.T) {
	t.Parallel()
	all := schemas(t)
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	sources, err := filepath.Glob("../../docs/sources/*.md")
	if err != nil || len(sources) < 15 {
		t.Fatalf("%d pages on sources, %v", len(sources), err)
	}
	pages = append(pages, sources...)
	blocks := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
			block, _, _ = strings.Cut(block, "```")
			kind := "pointsman"
			switch {
			case strings.Contains("\n"+block, "\nrules:\n"):
				kind = "rules"
			case strings.Contains("\n"+block, "\ntests:\n"):
				kind = "tests"
			}
			blocks++
			if err := schematest.Validate(all[kind], []byte(block)); err != nil {
				t.Errorf("%s: %v\n%s", page, err, block)
			}
		}
	}
	if blocks < 50 {
		t.Errorf("%d blocks", blocks)
	}
}

// TestSchemaOfScripts: of the files in the scripts of tests, those that the
// readers take fit.
func TestSchemaOfScripts(t *testing.T) {
	t.Parallel()
	all := schemas(t)
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	fitting := map[string]int{}
	for _, script := range scripts {
		archive, err := txtar.ParseFile(script)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			kind, taken := taken(t, f)
			if !taken {
				continue
			}
			fitting[kind]++
			if err := schematest.Validate(all[kind], f.Data); err != nil {
				t.Errorf("%s: %s: %v", script, f.Name, err)
			}
		}
	}
	for name := range all {
		if fitting[name] == 0 {
			t.Errorf("no file of kind %s", name)
		}
	}
}

// taken tells what kind of file it is, and whether its reader takes it.
func taken(t *testing.T, f txtar.File) (kind string, ok bool) {
	t.Helper()
	var err error
	switch {
	case filepath.Ext(f.Name) != ".yaml":
		return "", false
	case strings.HasSuffix(f.Name, "_test.yaml"):
		_, err = scenario.Parse(f.Name, f.Data, nil)
		return "tests", err == nil
	case filepath.Base(f.Name) == "pointsman.yaml":
		path := filepath.Join(t.TempDir(), "pointsman.yaml")
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = loadConfig(path)
		return "pointsman", err == nil
	}
	_, err = rules.LoadFiles([]rules.File{{Name: f.Name, Data: f.Data}}, rules.Options{})
	return "rules", err == nil
}
