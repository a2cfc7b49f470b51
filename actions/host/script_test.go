package host_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/actions/host"
)

// An interpreter opens the script a second time, and must then read the bytes
// that were verified.
func TestScripts(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"/bin/sh":              "TEST_PLUGIN=fake exec \"$REAL\"\n",
		"/usr/bin/env python3": "import os\nos.execve(os.environ['REAL'], ['plugin'], {**os.environ, 'TEST_PLUGIN': 'fake'})\n",
	} {
		for _, memory := range []string{"memory", "no memory"} {
			t.Run(name+" "+memory, func(t *testing.T) {
				t.Parallel()
				testScript(t, self, name, text, memory == "memory")
			})
		}
	}
}

func testScript(t *testing.T, self, interpreter, text string, memory bool) {
	program := interpreter[strings.LastIndexAny(interpreter, "/ ")+1:]
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("NOT TESTED: a plugin that is a script; there is no %s", program)
	}
	// Longer than an interpreter reads at once.
	script := "#!" + interpreter + "\n" + strings.Repeat("# a comment to fill the page\n", 10_000) + text
	spec := external(t, []byte(script), 0o755)
	spec.Env = []string{"REAL=" + self}
	b := setup(t, nil, spec)
	if !memory {
		host.WithoutMemoryFiles(b.Host)
	}
	if out := b.do(t, "1", order{Do: "echo", Text: "hello"}).GetOutput(); out != "hello" {
		t.Errorf("output %q", out)
	}
	if err := os.WriteFile(spec.Plugin, []byte(script+"# changed\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Describe(b.ctx, spec); err == nil || !strings.Contains(err.Error(), "not the configured sha256") {
		t.Errorf("a changed script: %v", err)
	}
}

// A system that allows no executable file in memory runs the verified file.
func TestWithoutMemoryFiles(t *testing.T) {
	t.Parallel()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	spec := external(t, self, 0o755)
	spec.Env = []string{"TEST_PLUGIN=fake"}
	b := setup(t, nil, spec)
	host.WithoutMemoryFiles(b.Host)
	if out := b.do(t, "1", order{Do: "echo", Text: "hello"}).GetOutput(); out != "hello" {
		t.Errorf("output %q", out)
	}
}

// What is wrong is said without the value, which may be a secret.
func TestSchemaErrorsNeverQuoteValues(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2"
	for schema, settings := range map[string]string{
		`{"pattern": "^[0-9]+$"}`: `"` + secret + `"`,
		`{"type": "integer"}`:     `"` + secret + `"`,
		`{"enum": ["a", "b"]}`:    `"` + secret + `"`,
		`{"const": "a"}`:          `"` + secret + `"`,
		`{"$schema": "http://json-schema.org/draft-07/schema#", "format": "ipv4"}`: `"` + secret + `"`,
		`{"maxLength": 3}`:                                   `"` + secret + `"`,
		`{"not": {"type": "string"}}`:                        `"` + secret + `"`,
		`{"anyOf": [{"type": "null"}, {"const": 7}]}`:        `"` + secret + `"`,
		`{"contains": {"type": "null"}}`:                     `["` + secret + `"]`,
		`{"uniqueItems": true}`:                              `["` + secret + `", "` + secret + `"]`,
		`{"maximum": 3}`:                                     `8317460`,
		`{"minimum": 9999999}`:                               `8317460`,
		`{"exclusiveMaximum": 3}`:                            `8317460`,
		`{"exclusiveMinimum": 9999999}`:                      `8317460`,
		`{"multipleOf": 7000}`:                               `8317460`,
		`{"items": {"properties": {"a": {"type": "null"}}}}`: `[{"a": "` + secret + `"}]`,
	} {
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			err := host.CheckAgainst([]byte(schema), []byte(settings))
			if err == nil {
				t.Fatal("is accepted")
			}
			if text := err.Error(); strings.Contains(text, "hunter2") || strings.Contains(text, "8317460") || strings.Contains(text, "8.31746") {
				t.Errorf("quotes the value: %s", text)
			}
		})
	}
}
