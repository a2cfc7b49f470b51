package config

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// RuleFiles returns what RulesFS would of a configuration file that may not be
// valid otherwise. ok is false when the file cannot be parsed, or its key rules
// is wrong.
func RuleFiles(path string) (fsys fs.FS, patterns []string, ok bool) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, false
	}
	data, err := readLimited(abs, strictyaml.MaxSize)
	if err != nil {
		return nil, nil, false
	}
	doc, err := strictyaml.Parse(path, data)
	if err != nil || !doc.Root().IsMap() && !doc.Root().IsNull() {
		return nil, nil, false
	}
	r := &reader{dir: filepath.Dir(abs)}
	patterns = defaultRules()
	r.rules(field(doc.Root(), "rules"), &patterns)
	return os.DirFS(r.dir), patterns, doc.Err() == nil
}

func defaultRules() []string { return []string{"rules/*.yaml"} }
