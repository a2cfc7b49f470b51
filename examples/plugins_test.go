package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"

	actionv1 "github.com/pointsman/pointsman/actions/proto/pointsman/action/v1"
)

const (
	goFolder     = "custom-plugin-go"
	pythonFolder = "custom-plugin-python"
)

// build makes the pointsman that the tests run, once.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pointsman-examples-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "pointsman")
	out, err := exec.Command("go", "build", "-o", path, "../cmd/pointsman").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

type result struct {
	code           int
	stdout, stderr string
}

func pointsman(t *testing.T, args ...string) result {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return run(t, "", path, args...)
}

func run(t *testing.T, dir, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", cmd, err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// copied is a copy of an example that a test may change.
func copied(t *testing.T, folder string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// wake builds the Go example in a copy of its folder.
func wake(t *testing.T) string {
	t.Helper()
	dir := copied(t, goFolder)
	plugin := filepath.Join(dir, "wake")
	if r := run(t, goFolder, "go", "build", "-trimpath", "-o", plugin, "."); r.code != 0 {
		t.Fatal(r.stderr)
	}
	if err := os.Chmod(plugin, 0o755); err != nil {
		t.Fatal(err)
	}
	pin(t, dir)
	return dir
}

func pin(t *testing.T, dir string) {
	t.Helper()
	r := run(t, dir, "sha256sum", "wake")
	if err := os.WriteFile(filepath.Join(dir, "wake.sha256"), []byte(r.stdout[:64]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

type report struct {
	SHA256 string
	Name   string
	Failed int
	Checks []struct{ Check, Outcome, Detail string }
}

// outcomes tries a plugin that must keep the contract.
func outcomes(t *testing.T, args ...string) (report, map[string]string) {
	t.Helper()
	r := pointsman(t, append([]string{"plugins", "test", "-o", "json"}, args...)...)
	var got report
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatalf("%v: %s%s", err, r.stdout, r.stderr)
	}
	all := map[string]string{}
	for _, c := range got.Checks {
		all[c.Check] = c.Outcome
		if c.Outcome == "failed" {
			t.Errorf("%s: %s", c.Check, c.Detail)
		}
	}
	if r.code != 0 || got.Failed != 0 {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	return got, all
}

func TestPluginInGo(t *testing.T) {
	t.Parallel()
	dir := wake(t)
	got, all := outcomes(t, filepath.Join(dir, "wake"), "--settings", `{"broadcast": "127.0.0.1:9"}`,
		"--params", `{"mac": "02:00:00:00:00:01"}`, "--permanent", `{"mac": "nonsense"}`)
	if got.Name != "wake" || all["runs on the stream"] != "ok" || all["says of a failure for good that it is one"] != "ok" {
		t.Errorf("got %+v", got)
	}
	config := filepath.Join(dir, "pointsman.yaml")
	if r := pointsman(t, "check", "--strict", "-c", config); r.code != 0 {
		t.Errorf("check: %s%s", r.stdout, r.stderr)
	}
}

// What the report ends with can be put in a configuration.
func TestReportSaysWhatToConfigure(t *testing.T) {
	t.Parallel()
	dir := wake(t)
	r := pointsman(t, "plugins", "test", filepath.Join(dir, "wake"))
	if r.code != 1 || !strings.Contains(r.stdout, "\nFAILED   has schemas that compile and take the options: the settings to try it with do not fit") {
		t.Errorf("without its settings: exit code %d, %s", r.code, r.stdout)
	}
	_, yaml, ok := strings.Cut(r.stdout, "\nactions:\n")
	if !ok {
		t.Fatal(r.stdout)
	}
	config := filepath.Join(dir, "new.yaml")
	text := "rules: []\nactions:\n" + yaml + "    settings: {broadcast: \"127.0.0.1:9\"}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := pointsman(t, "check", "--strict", "-c", config); r.code != 0 {
		t.Errorf("%s\n%s", text, r.stdout)
	}
}

// Another file under the name is refused, at the place that names it.
func TestChangedPluginIsRefused(t *testing.T) {
	t.Parallel()
	dir := wake(t)
	f, err := os.OpenFile(filepath.Join(dir, "wake"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("x")
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "pointsman.yaml")
	r := pointsman(t, "check", "-c", config)
	if want := "pointsman.yaml:7:13: action \"wake-lab\": "; r.code != 1 || !strings.Contains(r.stdout, want) ||
		!strings.Contains(r.stdout, "not the configured sha256") {
		t.Errorf("exit code %d, want %q in %s", r.code, want, r.stdout)
	}
	pin(t, dir)
	if r := pointsman(t, "check", "-c", config); r.code != 0 {
		t.Errorf("after a new pin: %s", r.stdout)
	}
}

// What a rule hands to an executable is checked against the executable's schema.
func TestConstantParametersAreChecked(t *testing.T) {
	t.Parallel()
	dir := wake(t)
	rules := filepath.Join(dir, "rules.yaml")
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`{mac: "02`), []byte(`{address: "02`), 1)
	if err := os.WriteFile(rules, text, 0o600); err != nil {
		t.Fatal(err)
	}
	r := pointsman(t, "check", "-c", filepath.Join(dir, "pointsman.yaml"))
	for _, want := range []string{"rules.yaml:15:15: ", "missing property 'mac'", "'address' not allowed"} {
		if r.code != 1 || !strings.Contains(r.stdout, want) {
			t.Errorf("exit code %d, want %q in %s", r.code, want, r.stdout)
		}
	}
}

// What a rule computes for an executable is checked too, when an event comes: a
// delivery that cannot be run is there to be seen, and was not run.
func TestComputedParametersAreChecked(t *testing.T) {
	t.Parallel()
	dir := wake(t)
	config := filepath.Join(dir, "pointsman.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = fmt.Appendf(text, "listen: %s\nadmin: {listen: %s}\n", freePort(t), freePort(t))
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	serve := exec.Command(path, "serve", "-c", config)
	var log bytes.Buffer
	serve.Stderr = &log
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = serve.Process.Signal(syscall.SIGTERM)
		if err := serve.Wait(); err != nil || t.Failed() {
			t.Errorf("serve: %v\n%s", err, log.String())
		}
	}()
	send := func(mac string) result {
		return pointsman(t, "send", "-c", config, "--type", "net.host.down", "--source", "probe", "--data", `{"spare_mac": `+mac+`}`)
	}
	for end := time.Now().Add(20 * time.Second); send("17").code != 0; {
		if time.Now().After(end) {
			t.Fatal("the router takes no event")
		}
	}
	if r := send(`"02:00:00:00:00:01"`); r.code != 0 {
		t.Fatal(r.stderr)
	}
	type delivery struct {
		State    string
		Attempts int
		Error    string
	}
	for end := time.Now().Add(20 * time.Second); ; {
		r := pointsman(t, "deliveries", "list", "-c", config, "-o", "json")
		var got []delivery
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
			t.Fatalf("%v: %s%s", err, r.stdout, r.stderr)
		}
		if len(got) == 2 && got[0].State == "done" && got[0].Attempts == 1 {
			if d := got[1]; d.State != "dead" || d.Attempts != 0 || !strings.Contains(d.Error, "params.mac: got number, want string") {
				t.Errorf("got %+v", d)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("got %+v", got)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// The page for authors shows the example, word for word.
func TestDocsShowThePluginInGo(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/actions.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(goFolder, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(page, append([]byte("```go\n"), program...)) {
		t.Error("docs/actions.md and examples/custom-plugin-go/main.go differ")
	}
}

func needPython(t *testing.T) {
	t.Helper()
	if err := exec.Command("/usr/bin/python3", "-c", "import grpc").Run(); err != nil {
		t.Skip("NOT TESTED: a plugin in Python; /usr/bin/python3 has no grpc (install the package python3-grpcio)")
	}
}

func TestPluginInPython(t *testing.T) {
	t.Parallel()
	needPython(t)
	dir := copied(t, pythonFolder)
	plugin, journal := filepath.Join(dir, "journal.py"), filepath.Join(dir, "journal.txt")
	if err := os.Chmod(plugin, 0o755); err != nil {
		t.Fatal(err)
	}
	settings, _ := json.Marshal(map[string]string{"file": "journal.txt"})
	_, all := outcomes(t, plugin, "--no-mtls", "--settings", string(settings),
		"--params", `{"text": "hello"}`, "--permanent", `{"text": 7}`)
	for check, want := range map[string]string{
		"runs on the stream":                               "skipped",
		"takes a large event":                              "ok",
		"takes many at a time":                             "ok",
		"is replaced when it is killed during a run":       "ok",
		"ends on SIGTERM":                                  "ok",
		"says of a failure for good that it is one":        "ok",
		"is given a clean environment and no input":        "ok",
		"withstands parameters that do not fit its schema": "ok",
	} {
		if all[check] != want {
			t.Errorf("%s: %q, want %q", check, all[check], want)
		}
	}
	text, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		id, _, _ := strings.Cut(line, " ")
		if seen[id] {
			t.Errorf("delivery %s is in the journal twice", id)
		}
		seen[id] = true
	}
	if err := os.Remove(journal); err != nil {
		t.Fatal(err)
	}
	if r := pointsman(t, "check", "--strict", "-c", filepath.Join(dir, "pointsman.yaml")); r.code != 0 {
		t.Errorf("check: %s%s", r.stdout, r.stderr)
	}
}

// The lines of the README for mutual TLS do what it says.
func TestPluginInPythonWithMutualTLS(t *testing.T) {
	t.Parallel()
	needPython(t)
	if err := exec.Command("/usr/bin/python3", "-c", "import cryptography").Run(); err != nil {
		t.Skip("NOT TESTED: mutual TLS in Python; /usr/bin/python3 has no cryptography (install the package python3-cryptography)")
	}
	dir := copied(t, pythonFolder)
	page, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	plugin := filepath.Join(dir, "journal.py")
	program, err := os.ReadFile(plugin)
	if err != nil {
		t.Fatal(err)
	}
	_, lines, _ := strings.Cut(string(page), "```python\n")
	lines, _, ok := strings.Cut(lines, "```\n")
	before, rest, ok1 := strings.Cut(string(program), "    server.add_insecure_port")
	_, after, ok2 := strings.Cut(rest, "|grpc\", flush=True)\n")
	if !ok || !ok1 || !ok2 {
		t.Fatal("README.md and journal.py do not fit together")
	}
	if err := os.WriteFile(plugin, []byte(before+lines+after), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(plugin, 0o755); err != nil {
		t.Fatal(err)
	}
	_, all := outcomes(t, plugin, "--settings", `{"file": "journal.txt"}`, "--params", `{"text": "hello"}`)
	if all["serves the router"] != "ok" {
		t.Errorf("got %v", all)
	}
}

// A plugin fails to be tried again when what it needs is away.
func TestPluginInPythonFails(t *testing.T) {
	t.Parallel()
	needPython(t)
	plugin := filepath.Join(copied(t, pythonFolder), "journal.py")
	if err := os.Chmod(plugin, 0o755); err != nil {
		t.Fatal(err)
	}
	_, all := outcomes(t, plugin, "--no-mtls", "--settings", `{"file": "/nonexistent/journal"}`, "--failing", `{"text": "x"}`)
	if got := all["says of a failure what went wrong"]; got != "ok" {
		t.Errorf("got %q", got)
	}
}

// The messages that the Python example carries are those of the contract.
func TestPluginInPythonHasTheContract(t *testing.T) {
	t.Parallel()
	needPython(t)
	program := filepath.Join(pythonFolder, "journal.py")
	r := run(t, "", "/usr/bin/python3", "-c", `
import os, sys
text = open(sys.argv[1]).read().removesuffix("main()\n")
names = {}
exec(text, names)
sys.stdout.buffer.write(names["FILES"].SerializeToString())`, program)
	if r.code != 0 {
		t.Fatal(r.stderr)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal([]byte(r.stdout), &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	contract := actionv1.File_pointsman_action_v1_action_proto
	got, err := files.FindFileByPath(contract.Path())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(protodesc.ToFileDescriptorProto(contract), protodesc.ToFileDescriptorProto(got), protocmp.Transform()); diff != "" {
		t.Errorf("journal.py carries another contract than actions/proto; make it anew as the comment in it says:\n%s", diff)
	}
}
