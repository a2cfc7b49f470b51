package ingest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/router/ingest"
)

func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocsCodes: every code of a problem is in the documentation's tables.
func TestDocsCodes(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| [1-5]\\d\\d \\| `([a-z_]+)` \\|").FindAllStringSubmatch(page(t), -1) {
		documented[row[1]] = true
	}
	codes := sourceCodes(t)
	if len(codes) < 15 {
		t.Fatalf("found only %v", slices.Sorted(maps.Keys(codes)))
	}
	for code := range codes {
		if !documented[code] {
			t.Errorf("code %s is not documented", code)
		}
	}
}

// sourceCodes are the strings that this package and rules use as codes.
func sourceCodes(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]bool{}
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if code, err := strconv.Unquote(lit.Value); err == nil {
				codes[code] = true
			}
		}
	}
	for _, name := range append(files, "../../rules/event_error.go") {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "code" {
					add(n.Value)
				}
			case *ast.ValueSpec:
				if strings.HasPrefix(n.Names[0].Name, "Code") && len(n.Values) == 1 {
					add(n.Values[0])
				}
			}
			return true
		})
	}
	return codes
}

// TestDocsCurl: what the documentation sends is accepted, and answered as it
// says.
func TestDocsCurl(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(page(t), -1)
	if len(blocks) != 4 {
		t.Fatalf("%d examples", len(blocks))
	}
	for i, block := range blocks {
		s := serve(t, ingest.Config{})
		body, header := curl(t, block[1])
		got := s.post(body, header...)
		if got.status != 202 || len(s.sink.events()) == 0 {
			t.Errorf("%d %s\n%s", got.status, got.body, block[1])
		}
		if i == 0 && !strings.Contains(page(t), "```json\n"+got.body+"```") {
			t.Errorf("the first answer is %s", got.body)
		}
	}
}

func TestDocsProblem(t *testing.T) {
	t.Parallel()
	got := serve(t, ingest.Config{}).post(`{"specversion":"1.0","source":"/s","type":"t"}`, "Content-Type", structured)
	if !strings.Contains(page(t), "```json\n"+got.body+"```") {
		t.Errorf("the answer is %s", got.body)
	}
}

// curl reads what one command line sends.
func curl(t *testing.T, command string) (body string, header []string) {
	t.Helper()
	var words []string
	for _, w := range regexp.MustCompile(`(?s)'([^']*)'|[^\s'\\]+`).FindAllStringSubmatch(command, -1) {
		if strings.HasPrefix(w[0], "'") {
			w[0] = w[1]
		}
		words = append(words, w[0])
	}
	for i, w := range words {
		switch w {
		case "-H":
			name, value, _ := strings.Cut(words[i+1], ": ")
			header = append(header, http.CanonicalHeaderKey(name), value)
		case "-d", "echo":
			body = words[i+1]
		case "gzip":
			body = zip(t, body+"\n")
		}
	}
	if !slices.Contains(words, "http://127.0.0.1:8080/events") {
		t.Errorf("another address in %q", words)
	}
	return body, header
}
