package main_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pointsman/pointsman"

// layers says which other layers each layer may import. A package belongs to
// the layer with the longest prefix that fits; "*" is every layer.
func layers() map[string][]string {
	return map[string][]string{
		"cmd":            {"*"},
		"examples":       {"*"},
		"router":         {"rules", "actions", "router/config", "router/store"},
		"router/config":  {"rules", "router/store"},
		"router/ingest":  {"router", "router/config", "rules"},
		"router/monitor": {"router", "router/config", "router/store", "rules"},
		"router/admin":   {"router", "router/config", "router/store", "rules"},
		"router/store":   {},
		// The stores implement what router/store defines.
		"router/store/sqlite":    {"router/store"},
		"router/store/redis":     {"router/store"},
		"router/store/storetest": {"router/store"},
		"rules":                  {},
		"actions":                {},
		"actions/host":           {"actions"},
		"plugins":                {"actions"},
	}
}

// layerOf returns the layer of one of our packages, "" for none.
func layerOf(pkg string) string {
	layer := ""
	for prefix := range layers() {
		if below(pkg, prefix) && len(prefix) > len(layer) {
			layer = prefix
		}
	}
	return layer
}

type listed struct {
	ImportPath string
	Imports    []string
	Standard   bool
	Module     *struct{ Path string }
}

func list(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Standard,Module"}, args...)...)
	cmd.Dir = "../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// below tells whether a package is prefix or below it.
func below(pkg, prefix string) bool {
	return pkg == prefix || strings.HasPrefix(pkg, prefix+"/")
}

// testOnly tells whether a package serves tests: its name ends so.
func testOnly(pkg string) bool { return strings.HasSuffix(pkg, "test") }

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./...") {
		pkg := strings.TrimPrefix(p.ImportPath, module+"/")
		layer := layerOf(pkg)
		if layer == "" {
			t.Errorf("%s is in no layer (add it to layers in this file)", pkg)
			continue
		}
		allowed := layers()[layer]
		for _, imported := range p.Imports {
			ours, ok := strings.CutPrefix(imported, module+"/")
			switch {
			case !ok || testOnly(pkg):
			case testOnly(ours):
				t.Errorf("%s imports %s, which is for tests", pkg, ours)
			case layerOf(ours) != layer && !slices.Contains(allowed, layerOf(ours)) && !slices.Contains(allowed, "*"):
				t.Errorf("%s imports %s, which is not below it", pkg, ours)
			}
		}
	}
}

// TestActionsBringLittle: authors of plugins take package actions into their
// programs, so what comes with it is counted.
func TestActionsBringLittle(t *testing.T) {
	t.Parallel()
	pinned := []string{
		module,
		// The event type, and what it needs.
		"github.com/cloudevents/sdk-go/v2", "github.com/json-iterator/go", "github.com/modern-go/concurrent",
		"github.com/modern-go/reflect2", "github.com/google/uuid", "go.uber.org/zap", "go.uber.org/multierr",
		// go-plugin, and what it needs.
		"github.com/hashicorp/go-plugin", "github.com/hashicorp/go-hclog", "github.com/hashicorp/yamux",
		"github.com/fatih/color", "github.com/mattn/go-colorable", "github.com/mattn/go-isatty",
		"github.com/oklog/run", "github.com/golang/protobuf",
		"google.golang.org/grpc", "google.golang.org/protobuf", "google.golang.org/genproto/googleapis/rpc",
		"golang.org/x/net", "golang.org/x/sys", "golang.org/x/text",
	}
	for _, p := range list(t, "-deps", "./actions") {
		if p.Standard || p.Module == nil {
			continue
		}
		if !slices.Contains(pinned, p.Module.Path) {
			t.Errorf("package actions brings %s of %s", p.ImportPath, p.Module.Path)
		}
		if ours, ok := strings.CutPrefix(p.ImportPath, module+"/"); ok && !below(ours, "actions") {
			t.Errorf("package actions brings %s", ours)
		}
	}
}

// TestNoTestCodeInTheBinary: go-plugin links package testing, and nothing of
// ours may be the reason for it; no other test library is linked at all.
func TestNoTestCodeInTheBinary(t *testing.T) {
	t.Parallel()
	libraries := []string{"go.uber.org/goleak", "github.com/google/go-cmp", "github.com/rogpeppe/go-internal", "github.com/stretchr/testify"}
	for _, p := range list(t, "-deps", "./cmd/pointsman") {
		for _, library := range libraries {
			if below(p.ImportPath, library) {
				t.Errorf("the binary links %s", p.ImportPath)
			}
		}
		for _, imported := range p.Imports {
			if below(imported, "testing") && !p.Standard && !below(p.ImportPath, "github.com/hashicorp/go-plugin") {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
		if ours, ok := strings.CutPrefix(p.ImportPath, module+"/"); ok && testOnly(ours) {
			t.Errorf("the binary links %s, which is for tests", ours)
		}
	}
}

// TestDependenciesAreExplained: docs/dependencies.md has a line for every
// direct dependency and for nothing else.
func TestDependenciesAreExplained(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	var explained []string
	for line := range strings.Lines(string(page)) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(rest, "`")
			explained = append(explained, name)
		}
	}
	for _, r := range mod.Require {
		i := slices.Index(explained, r.Path)
		switch {
		case !r.Indirect && i < 0:
			t.Errorf("docs/dependencies.md says nothing of %s", r.Path)
		case i >= 0 && !r.Indirect:
			explained = slices.Delete(explained, i, i+1)
		}
	}
	for _, name := range explained {
		t.Errorf("docs/dependencies.md explains %s, which is no direct dependency", name)
	}
}
