package main

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pointsman/pointsman/router/store/crashpoint"
)

var update = flag.Bool("update", false, "rewrite points.txt")

// parse reads the Go files of a folder, tests left out.
func parse(t *testing.T, dir string) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// calls visits every call of a function or method with one of the names, and
// says in which function it stands.
func calls(files []*ast.File, visit func(in string, c *ast.CallExpr), names ...string) {
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				c, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				name := ""
				switch f := c.Fun.(type) {
				case *ast.Ident:
					name = f.Name
				case *ast.SelectorExpr:
					name = f.Sel.Name
				}
				if slices.Contains(names, name) {
					visit(fn.Name.Name, c)
				}
				return true
			})
		}
	}
}

// text is a constant string's value; false for what is computed.
func text(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

// sqliteSteps finds the statements that write. They pass through two functions,
// in which the points are.
func sqliteSteps(t *testing.T) []string {
	files := parse(t, "../../router/store/sqlite")
	for _, by := range []struct{ name, in string }{
		{"write", "exec"},
		{"script", "openConn"},        // pragmas of the connection
		{"ExecContext", "checkpoint"}, // which direct calls
		{"Exec", ""},
	} {
		calls(files, func(in string, _ *ast.CallExpr) {
			if in != by.in {
				t.Errorf("sqlite: %s writes by %s: use exec or direct, where the points are", in, by.name)
			}
		}, by.name)
	}
	var steps []string
	calls(files, func(in string, c *ast.CallExpr) {
		if in == "exec" && len(c.Args) > 0 {
			return // passes on what it was given
		}
		for _, arg := range c.Args {
			if s, ok := text(arg); ok {
				steps = append(steps, crashpoint.Name(s))
				return
			}
		}
		// An upgrade is one transaction, made once on a file of an older version.
		if in != "create" && in != "upgrade" {
			t.Errorf("sqlite: %s runs a statement that is not a constant, so its point has no name", in)
		}
	}, "exec", "direct")
	return append(steps, createSteps(t, files)...)
}

// createSteps are the statements that make the file: a list in the function
// create, in which stand the schema and statements with a number in them.
func createSteps(t *testing.T, files []*ast.File) []string {
	schema := ""
	var list *ast.CompositeLit
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if n.Names[0].Name == "schema" {
					schema, _ = text(n.Values[0])
				}
			case *ast.FuncDecl:
				if n.Name.Name == "create" {
					list = n.Body.List[0].(*ast.RangeStmt).X.(*ast.CompositeLit)
				}
			}
			return true
		})
	}
	numbered := map[string]string{"PRAGMA application_id = %d": "PRAGMA application_id = 1886221172", "PRAGMA user_version = %d": "PRAGMA user_version = 3"}
	var steps []string
	for _, e := range list.Elts {
		s, ok := text(e)
		switch e := e.(type) {
		case *ast.Ident:
			s, ok = schema, e.Name == "schema"
		case *ast.CallExpr:
			f, _ := text(e.Args[0])
			s, ok = numbered[f]
		}
		if !ok {
			t.Errorf("sqlite: create runs a statement whose point has no name; add it here")
		}
		steps = append(steps, crashpoint.Name(s))
	}
	return steps
}

// redisSteps finds the scripts. They are all sent by one function, between whose
// points are the calls of send; what the client is asked for beside only reads.
func redisSteps(t *testing.T) []string {
	files := parse(t, "../../router/store/redis")
	calls(files, func(in string, _ *ast.CallExpr) {
		if in != "send" {
			t.Errorf("redis: %s runs a script: use run or runTwice, where the points are", in)
		}
	}, "Run", "Eval", "EvalSha", "FCall", "transact")
	calls(files, func(in string, _ *ast.CallExpr) {
		if in != "runTwice" {
			t.Errorf("redis: %s sends a script: use run or runTwice, where the points are", in)
		}
	}, "send")
	calls(files, func(in string, _ *ast.CallExpr) {
		if in != "transact" {
			t.Errorf("redis: %s writes without a script: have runTwice set documents, where the points are", in)
		}
	}, "MSet")
	reads := []string{
		"Close", "Subscribe", "HGetAll", "HKeys", "HGet", "Time", "Info", "ConfigGet", "Pipeline", "TxPipeline", "MGet", "ZScore", "HMGet",
		"ZCard", "ZRange", "MSet", "ZRangeArgsWithScores", "ZRevRangeByScoreWithScores", "ZRangeByScoreWithScores", "LRange", "Exec", "Get", "ZCount",
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := c.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			on, name := "", sel.Sel.Name
			switch x := sel.X.(type) {
			case *ast.SelectorExpr:
				on = x.Sel.Name
			case *ast.Ident:
				on = x.Name
			}
			if (on == "client" || on == "pipe") && !slices.Contains(reads, name) {
				t.Errorf("redis: the client is asked for %s, which is not known to read only: use a script", name)
			}
			return true
		})
	}
	paths, err := filepath.Glob("../../router/store/redis/scripts/*.lua")
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, path := range paths {
		if name := strings.TrimSuffix(filepath.Base(path), ".lua"); !slices.Contains([]string{"lib", "records", "due", "remove"}, name) {
			steps = append(steps, name)
		}
	}
	return steps
}

// TestPoints: every step in which a store writes is listed, so that the torture
// run crashes there.
func TestPoints(t *testing.T) {
	t.Parallel()
	var lines []string
	for store, steps := range map[string][]string{storeSQLite: sqliteSteps(t), storeRedis: redisSteps(t)} {
		for _, s := range steps {
			lines = append(lines, store+" "+s)
		}
	}
	slices.Sort(lines)
	got := strings.Join(slices.Compact(lines), "\n") + "\n"
	if *update {
		if err := os.WriteFile("points.txt", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("points.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Fatalf("points.txt is not what the stores do (go test ./cmd/pointsman-torture -run TestPoints -update):\n%s", diff)
	}
}
