package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/rules/expression"
	"github.com/pointsman/pointsman/rules/index"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// eventName is the one name of expressions in rules.
const eventName = "event"

// testSuffix ends the names of files that hold tests and no rules.
const testSuffix = "_test.yaml"

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Load reads the files that the patterns match (path.Match per pattern, sorted,
// each file once, *_test.yaml never) and compiles their rules. A pattern with
// *, ? or [ may match nothing; a plain name must exist. The error is an Errors
// with every problem of every file; nothing is usable then.
func Load(fsys fs.FS, opts Options, patterns ...string) (*Ruleset, error) {
	names, errs := expand(fsys, patterns)
	var files []File
	for _, name := range names {
		data, err := read(fsys, name)
		if err != nil {
			errs = append(errs, fileError(name, "%s", err))
			continue
		}
		files = append(files, File{name, data})
	}
	rs, err := LoadFiles(files, opts)
	if len(errs) == 0 {
		return rs, err
	}
	var more Errors
	errors.As(err, &more)
	return nil, append(errs, more...).Sort()
}

// expand lists the files that the patterns match.
func expand(fsys fs.FS, patterns []string) ([]string, Errors) {
	var errs Errors
	found := map[string]bool{}
	for _, pattern := range patterns {
		clean := path.Clean(pattern)
		if !strings.ContainsAny(clean, `*?[`) {
			if strings.HasSuffix(clean, testSuffix) {
				errs = append(errs, fileError(clean, "a file named *%s holds tests, not rules (rename it)", testSuffix))
				continue
			}
			found[clean] = true
			continue
		}
		names, err := fs.Glob(fsys, clean)
		if err != nil {
			errs = append(errs, fileError(pattern, "bad pattern: %s", err))
		}
		for _, name := range names {
			if !strings.HasSuffix(name, testSuffix) {
				found[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), errs
}

func read(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, reason(err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("this is a directory (write %s)", path.Join(name, "*.yaml"))
	}
	if info.Size() > strictyaml.MaxSize {
		return nil, fmt.Errorf("file has %d bytes, the limit is %d (split it)", info.Size(), strictyaml.MaxSize)
	}
	data, err := fs.ReadFile(fsys, name)
	return data, reason(err)
}

// reason is an error of the file system without the path, which stands before it.
func reason(err error) error {
	var pe *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no such file")
	case errors.As(err, &pe):
		return pe.Err
	}
	return err
}

func fileError(name, format string, args ...any) *Error {
	return &Error{File: name, Line: 1, Col: 1, Msg: fmt.Sprintf(format, args...)}
}

// LoadFiles compiles the rules of files that are read already, in the order
// given. The error is that of Load.
func LoadFiles(files []File, opts Options) (*Ruleset, error) {
	l := loader{opts: opts, compiler: expression.NewCompiler(eventName), names: map[string]*Rule{}, same: map[[32]byte]string{}}
	l.index = index.NewBuilder(l.compiler)
	ahead(files, parse, l.file)
	l.loops()
	errs, warnings := l.problems()
	if opts.Lint != nil {
		opts.Lint.Warnings = warnings
	}
	if len(errs) > 0 {
		return nil, errs
	}
	rs := &Ruleset{rules: l.rules, files: files, overlaps: opts.Overlaps, warnings: warnings}
	for _, r := range rs.rules {
		if !r.indexed {
			rs.unindexed = append(rs.unindexed, r)
		}
	}
	if len(rs.rules) > few {
		rs.index = l.index.Build()
	}
	newState := l.compiler.States()
	rs.states.New = func() any { return &scratch{state: newState()} }
	return rs, nil
}

// few rules are tried one by one, which is quicker than to look them up.
const few = 12

// loader gathers the rules and the problems of all files.
type loader struct {
	opts     Options
	compiler *expression.Compiler
	index    *index.Builder
	rules    []*Rule
	names    map[string]*Rule
	same     map[[32]byte]string // rules by what they do
	docs     []*source
	errs     Errors
	lint     lint
}

// source is a parsed file and where its rules begin.
type source struct {
	doc    *strictyaml.Document
	starts []start
}

type start struct {
	line, col int
	name      string
}

func (l *loader) file(f parsed) {
	if f.err != nil {
		var errs Errors
		errors.As(f.err, &errs)
		l.errs = append(l.errs, errs...)
		return
	}
	src := &source{doc: f.doc}
	l.docs = append(l.docs, src)
	refuseReferences(f.doc.Root())
	top := f.doc.Root().Map("rules")
	list := top.Key("rules")
	if list == nil || list.IsNull() {
		return
	}
	items, _ := list.List()
	ahead(slices.Collect(slices.Chunk(items, batch)), readAll, func(part []reading) {
		for i := range part {
			l.rule(src, &part[i])
		}
	})
}

// problems returns all errors and warnings, each with its rule's name.
func (l *loader) problems() (Errors, []*Error) {
	errs := l.errs
	var warnings Errors
	for _, src := range l.docs {
		var found Errors
		errors.As(src.doc.Err(), &found)
		errs = append(errs, src.named(found)...)
		warnings = append(warnings, src.named(src.doc.Warnings())...)
	}
	return errs.Sort(), warnings.Sort()
}

// named puts before each message the rule in which it is.
func (s *source) named(list []*Error) Errors {
	for _, e := range list {
		i, exact := slices.BinarySearchFunc(s.starts, e, func(st start, e *Error) int {
			return cmp.Or(cmp.Compare(st.line, e.Line), cmp.Compare(st.col, e.Col))
		})
		if !exact {
			i--
		}
		if i >= 0 && s.starts[i].name != "" {
			e.Msg = fmt.Sprintf("rule %q: %s", s.starts[i].name, e.Msg)
		}
	}
	return list
}

// refuseReferences finds ${env:X} and ${file:P}, whose values would be stored
// with the deliveries.
func refuseReferences(n *strictyaml.Node) {
	switch {
	case n.IsText():
		text, _ := n.Text()
		for _, ref := range []string{"${env:", "${file:"} {
			if i := strings.Index(text, ref); i >= 0 {
				n.ErrorfAt(i, "%s...} is not possible in a rule file (secrets belong in the settings of an action in pointsman.yaml)", ref)
			}
		}
	case n.IsList():
		items, _ := n.List()
		for _, item := range items {
			refuseReferences(item)
		}
	case n.IsMap():
		entries, _ := n.Entries()
		for _, e := range entries {
			refuseReferences(e.Key)
			refuseReferences(e.Value)
		}
	}
}

// rule reads one rule; its problems go to the document.
func (l *loader) rule(src *source, from *reading) {
	item := from.item
	line, col := item.Pos()
	at := len(src.starts)
	src.starts = append(src.starts, start{line, col, ""})
	m := item.Map("name", "when", "key", "once", "dry_run", "ordered", "do")
	if m == nil {
		return
	}
	r := &Rule{File: item.File(), Line: line, Col: col}
	l.name(r, m)
	src.starts[at].name = r.Name
	if n := m.Required("when"); n != nil {
		l.when(r, n, from)
	}
	if n := m.Key("key"); n != nil {
		r.key = l.expression(n)
	}
	if n := m.Key("once"); n != nil {
		d, ok := n.Duration()
		if ok && d <= 0 {
			n.Errorf("once must be longer than 0s (remove it to run for every event)")
		}
		r.Once = d
	}
	if n := m.Key("dry_run"); n != nil {
		r.DryRun, _ = n.Bool()
	}
	if n := m.Key("ordered"); n != nil {
		r.Ordered, _ = n.Bool()
	}
	l.do(r, m)
	l.repeated(r, m)
	l.check(r, m)
	r.stateName = stateName(r.Name, r.KeyText(), r.DryRun)
	l.rules = append(l.rules, r)
}

func (l *loader) name(r *Rule, m *strictyaml.Map) {
	n := m.Required("name")
	name, ok := n.Text()
	if !ok {
		return
	}
	if !validName.MatchString(name) {
		n.Errorf("bad name %q (1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit)", name)
		return
	}
	r.Name = name
	if first, taken := l.names[name]; taken {
		n.Errorf("the name is taken by the rule in %s:%d (give each rule its own)", first.File, first.Line)
		return
	}
	l.names[name] = r
}

// when compiles the condition of a rule and tells the index of it.
func (l *loader) when(r *Rule, n *strictyaml.Node, from *reading) {
	text, ok := l.written(n)
	if !ok {
		return
	}
	ok = compileAt(n, text, 0, func(text string) (err error) {
		if from.asks == nil {
			from.read(text)
		}
		if err = from.err; err == nil {
			r.when, err = l.compiler.CompileConditions(from.asks)
		}
		return err
	})
	if !ok {
		return
	}
	if r.when.Constant() {
		n.Warn(constantCondition, 0, "when is the same for every event (it reads no field of event)")
	}
	if l.opts.Lint != nil {
		l.lint.remember(r.when.Text(), from.asks)
	}
	r.indexed = from.indexed
	l.index.Add(uint32(len(l.rules)), from.clauses, r.indexed)
}

// expression compiles the text of a key such as key.
func (l *loader) expression(n *strictyaml.Node) (p *expression.Program) {
	if text, ok := l.written(n); ok {
		p = compileExpression(l.compiler, n, text, 0)
	}
	return p
}

// written is the text of an expression.
func (l *loader) written(n *strictyaml.Node) (string, bool) {
	text, ok := n.Written()
	if ok && strings.HasPrefix(strings.TrimSpace(text), opening) {
		n.Errorf("this is an expression already (write it without ${{ and }})")
		return "", false
	}
	return text, ok
}

// compileExpression compiles text, which stands at offset of the node's text, and
// reports what is wrong with it there. It returns nil then.
func compileExpression(c *expression.Compiler, n *strictyaml.Node, text string, offset int) (p *expression.Program) {
	compileAt(n, text, offset, func(text string) (err error) {
		p, err = c.Compile(text)
		return err
	})
	return p
}

// space is what may stand around an expression.
const space = " \t\r\n"

// compileAt compiles text as compileExpression does.
func compileAt(n *strictyaml.Node, text string, offset int, compile func(text string) error) bool {
	offset += len(text) - len(strings.TrimLeft(text, space))
	err := compile(strings.Trim(text, space))
	if err == nil {
		return true
	}
	var e *expression.Error
	if errors.As(err, &e) {
		offset += e.Offset
	}
	if n.CutByComment() {
		n.ErrorfAt(offset, "%s (a # after a space begins a comment in YAML: put the expression in quotes)", err)
		return false
	}
	n.ErrorfAt(offset, "%s", err)
	return false
}

func (l *loader) do(r *Rule, m *strictyaml.Map) {
	n := m.Required("do")
	items, ok := n.List()
	if ok && len(items) == 0 {
		n.Errorf("do is empty (name at least one action)")
	}
	for _, item := range items {
		if st, ok := l.step(r, item); ok {
			r.steps = append(r.steps, st)
			r.Actions = append(r.Actions, st.action)
			l.emits(r, st.action, item)
		}
	}
}

func (l *loader) step(r *Rule, item *strictyaml.Node) (step, bool) {
	m := item.Map("action", "if", "with", "overlap")
	if m == nil {
		return step{}, false
	}
	st := step{with: noParams()}
	n := m.Required("action")
	var ok bool
	if st.action, ok = n.Text(); !ok {
		return st, false
	}
	action, known := l.opts.Actions[st.action]
	if l.opts.Actions != nil && !known {
		n.Errorf("there is no action %q (%s)", st.action, strictyaml.Suggest(st.action, slices.Sorted(maps.Keys(l.opts.Actions))))
	}
	if n := m.Key("if"); n != nil {
		st.cond = l.expression(n)
	}
	if n := m.Key("overlap"); n != nil {
		st.overlap = overlap(r, n)
	} else if !r.Ordered {
		st.overlap = l.opts.Overlaps[st.action]
	}
	if with := m.Key("with"); with != nil {
		n = with
		st.with = compileTemplate(l.compiler, with, "with")
	}
	if st.with != nil && st.with.fixed != nil && action.CheckParams != nil {
		if err := action.CheckParams(json.RawMessage(st.with.fixed)); err != nil {
			n.Errorf("action %q does not take these parameters: %s", st.action, err)
		}
	}
	return st, true
}

// The words of overlap.
const (
	overlapAllow = "allow"
	overlapQueue = "queue"
	overlapSkip  = "skip"
)

// overlap reads what becomes of a delivery of a step while an earlier one is not
// finished.
func overlap(r *Rule, n *strictyaml.Node) string {
	text, ok := n.Text()
	words := []string{overlapAllow, overlapQueue, overlapSkip}
	switch {
	case !ok:
	case !slices.Contains(words, text):
		n.Errorf("unknown overlap %q (%s)", text, strictyaml.Suggest(text, words))
	case r.Ordered:
		n.Errorf("overlap has no place in an ordered rule, of which one delivery runs at a time for each key (remove overlap or ordered)")
	}
	return text
}

// repeated warns of a rule that does under another name what one before does.
func (l *loader) repeated(r *Rule, m *strictyaml.Map) {
	do, _ := m.Key("do").Any()
	text, err := expression.AppendJSON(nil, do)
	if r.when == nil || err != nil {
		return
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %s", r.when.Text(), r.KeyText(), text))
	if first, ok := l.same[sum]; ok {
		m.Node().Warn(sameRule, 0, "it has the when, key and do of rule %q (remove one)", first)
		return
	}
	l.same[sum] = r.Name
	l.alike(r, m, do)
}

func sortedEntries(entries []strictyaml.Entry) []strictyaml.Entry {
	return slices.SortedFunc(slices.Values(entries), func(a, b strictyaml.Entry) int { return strings.Compare(a.Name, b.Name) })
}
