package rules

import (
	"runtime"
	"strings"

	"github.com/pointsman/pointsman/rules/expression"
	"github.com/pointsman/pointsman/rules/strictyaml"
)

// batch is how many rules are read at a time.
const batch = 256

// ahead does what can be done for each of a list on its own, on as many
// goroutines as there are processors, and hands the results in order to use, on
// the goroutine of the caller. No more results than goroutines wait for use.
func ahead[T, R any](list []T, do func(T) R, use func(R)) {
	if len(list) == 1 {
		use(do(list[0]))
		return
	}
	begun := make([]chan R, len(list))
	begin := func(i int) {
		if i < len(list) {
			begun[i] = make(chan R, 1)
			go func() { begun[i] <- do(list[i]) }()
		}
	}
	workers := runtime.GOMAXPROCS(0)
	for i := range min(workers, len(list)) {
		begin(i)
	}
	for i := range list {
		r := <-begun[i]
		begin(i + workers)
		use(r)
	}
}

// parsed is a file as far as it is read without the others.
type parsed struct {
	doc *strictyaml.Document
	err error
}

func parse(f File) parsed {
	doc, err := strictyaml.Parse(f.Name, f.Data)
	return parsed{doc, err}
}

// reading is a rule as far as it is read without the others: its when.
type reading struct {
	item    *strictyaml.Node
	asks    *expression.Conditions // nil: when is not read, or err
	err     error
	clauses []expression.Clause
	indexed bool
}

func readAll(items []*strictyaml.Node) []reading {
	out := make([]reading, len(items))
	for i, item := range items {
		out[i].item = item
		if !item.IsMap() {
			continue
		}
		entries, _ := item.Entries()
		for _, e := range entries {
			if e.Name == "when" && e.Value.IsText() {
				text, _ := e.Value.Text()
				out[i].read(strings.Trim(text, space))
			}
		}
	}
	return out
}

// read reads the text of when.
func (r *reading) read(text string) {
	if r.asks, r.err = expression.ConditionsOf(text, eventName); r.err == nil {
		r.clauses, r.indexed = r.asks.WhenTrueOrFailed().Clauses()
	}
}
