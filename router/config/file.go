package config

import (
	"time"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// TypeFile is the type of source that watches files.
const TypeFile = "file"

// File is what a source of type TypeFile is made of.
type File struct {
	// Path is absolute.
	Path      string
	Recursive bool
	// Match are patterns of names or of paths below Path; none: all. Except are
	// those left out, with all that is below them.
	Match, Except []string
	// SHA256 compares contents up to 1 MiB.
	SHA256 bool
	// Settle default 100ms.
	Settle time.Duration
	// Limit is the most files; default 10000.
	Limit int
}

func fileKeys() []string {
	return []string{"path", "recursive", "match", "except", "sha256", "settle", "limit"}
}

// file reads the keys of a source of type TypeFile.
func (r *reader) file(m *strictyaml.Map, s *Source) {
	f := &File{Settle: 100 * time.Millisecond, Limit: 10_000}
	s.File = f
	n := m.Required("path")
	if text, ok := r.maybe(n); ok {
		if text == "" {
			n.Errorf("the path is empty (name a folder or a file)")
		}
		f.Path = r.path(text)
	}
	f.Recursive, _ = m.Key("recursive").Bool()
	f.Match = r.patterns(m.Key("match"))
	f.Except = r.patterns(m.Key("except"))
	f.SHA256, _ = m.Key("sha256").Bool()
	r.duration(m.Key("settle"), &f.Settle, time.Millisecond, time.Hour)
	integer(m.Key("limit"), &f.Limit, 1, 100_000)
}
