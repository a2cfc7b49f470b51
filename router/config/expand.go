package config

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pointsman/pointsman/rules/strictyaml"
)

// maxSecretFile is the largest file that ${file:...} reads, in bytes.
const maxSecretFile = 1 << 20

// reader walks one configuration file.
type reader struct {
	dir string
	opt Options
	// insecure: sources without authentication may be open to other hosts.
	insecure bool
	// taken are the addresses that something listens on.
	taken []taken
}

// expand returns a text with its references replaced. literal: it had none.
func (r *reader) expand(n *strictyaml.Node) (text string, literal, ok bool) {
	source, ok := n.Text()
	if !ok {
		return "", false, false
	}
	var out strings.Builder
	literal = true
	for at := 0; ; {
		begin := nextReference(source[at:])
		if begin < 0 {
			out.WriteString(source[at:])
			return out.String(), literal, ok
		}
		begin += at
		out.WriteString(source[at:begin])
		length := strings.IndexByte(source[begin:], '}')
		if length < 0 {
			n.ErrorfAt(begin, "reference is not closed (add \"}\")")
			return "", false, false
		}
		kind, name, _ := strings.Cut(source[begin+2:begin+length], ":")
		value, problem := r.resolve(kind, name)
		if problem != "" {
			n.ErrorfAt(begin, "%s", problem)
			ok = false
		}
		out.WriteString(value)
		literal = false
		at = begin + length + 1
	}
}

// nextReference returns where the next ${env: or ${file: begins, or -1.
func nextReference(s string) int {
	env, file := strings.Index(s, "${env:"), strings.Index(s, "${file:")
	if env < 0 || file >= 0 && file < env {
		return file
	}
	return env
}

// resolve returns what a reference stands for, or what is wrong with it. The
// value itself is never part of a problem.
func (r *reader) resolve(kind, name string) (value, problem string) {
	if name == "" {
		return "", "reference ${" + kind + ":} names nothing"
	}
	if kind == "env" {
		value, ok := r.opt.Env(name)
		switch {
		case !ok && r.opt.WithoutSecrets:
			return placeholder, ""
		case !ok:
			return "", "environment variable " + name + " is not set"
		}
		return value, ""
	}
	path := r.path(name)
	data, err := readLimited(path, maxSecretFile)
	switch {
	case err != nil && r.opt.WithoutSecrets:
		return placeholder, ""
	case errors.Is(err, errTooLarge):
		return "", "file " + path + " is larger than 1 MiB"
	case err != nil:
		return "", "file " + path + " cannot be read: " + reason(err)
	}
	text := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(text, "\r"), ""
}

// placeholder stands for a secret that is not there; it is long enough for all.
const placeholder = "placeholder-of-a-secret-that-is-not-here"

var errTooLarge = errors.New("file is too large")

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errTooLarge
	}
	return data, err
}

// reason is an I/O error without the path, which the message has already.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if errors.Is(err, syscall.EISDIR) {
		return "it is a folder"
	}
	return err.Error()
}

// path resolves a path from the folder of the configuration file.
func (r *reader) path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(r.dir, p)
}

// text is expand for callers that need only the text.
func (r *reader) text(n *strictyaml.Node) string {
	text, _, _ := r.expand(n)
	return text
}

// maybe is expand for callers that do not care for literal.
func (r *reader) maybe(n *strictyaml.Node) (string, bool) {
	text, _, ok := r.expand(n)
	return text, ok
}

// set replaces a default with a text that is there.
func (r *reader) set(n *strictyaml.Node, to *string) {
	if text, ok := r.maybe(n); ok {
		*to = text
	}
}

// settings reads any mapping into JSON, references replaced.
func (r *reader) settings(n *strictyaml.Node) Secret {
	if n == nil {
		return Secret{"{}"}
	}
	if !n.IsMap() {
		_, _ = n.Entries() // reports what it is instead
		return Secret{"{}"}
	}
	text, err := json.Marshal(r.value(n))
	if err != nil {
		n.Errorf("settings cannot be written as JSON: %s", err)
	}
	return Secret{string(text)}
}

// value is Node.Any with references replaced in every text. A text under a
// key that is named like a secret is treated as one.
func (r *reader) value(n *strictyaml.Node) any {
	switch {
	case n.IsText():
		return r.text(n)
	case n.IsList():
		items, _ := n.List()
		out := make([]any, len(items))
		for i, item := range items {
			out[i] = r.value(item)
		}
		return out
	case n.IsMap():
		entries, _ := n.Entries()
		out := make(map[string]any, len(entries))
		for _, e := range entries {
			if e.Value.IsText() && slices.Contains([]string{"secret", "password", "token"}, e.Name) {
				out[e.Name] = r.secret(e.Value, 1).Reveal()
				continue
			}
			out[e.Name] = r.value(e.Value)
		}
		return out
	}
	v, _ := n.Any()
	return v
}
