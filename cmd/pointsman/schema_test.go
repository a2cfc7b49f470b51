package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
	if err != nil || len(files) < 9 {
		t.Fatalf("%d files, %v", len(files), err)
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
