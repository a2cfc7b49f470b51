package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// boundsArg makes the program try what must stay within bounds, in place of
// breaking anything.
const boundsArg = "bounds"

// boundsOptions are its command line.
type boundsOptions struct {
	tries, stores []string
	// waiting is how many deliveries wait, herd how many are due at one instant.
	waiting, herd int
	// turns is how often the two routers of hung-action are measured, slice how
	// long a turn is, length how long overload lasts.
	turns         int
	slice, length time.Duration
	// memory is the limit of the control group, 0: none.
	memory            int64
	dir, json, binary string
	// short sends less and does not look at times: for a test among others.
	short bool
}

// try is one thing that must stay within bounds.
type try struct {
	name string
	run  func(context.Context, *boundsOptions, *tools, *site, *finding) error
}

func tries() []try {
	return []try{
		{"hung-action", hungAction},
		{"million", million},
		{"herd", herd},
		{"overload", overload},
	}
}

// finding is what one try on one store showed.
type finding struct {
	Try   string `json:"try"`
	Store string `json:"store"`
	// Numbers are what was measured, in the order in which it is shown.
	Numbers []measured `json:"numbers"`
	// Violations are bounds that were not kept.
	Violations []string `json:"violations"`
	// Skipped says what could not be tried here, and why.
	Skipped []string `json:"skipped,omitempty"`
}

type measured struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

func (f *finding) number(name string, value float64, unit string) {
	f.Numbers = append(f.Numbers, measured{name, value, unit})
}

func (f *finding) time(name string, d time.Duration) {
	f.number(name, float64(d.Microseconds())/1e3, "ms")
}

func (f *finding) violate(format string, args ...any) {
	f.Violations = append(f.Violations, fmt.Sprintf(format, args...))
}

func (f *finding) skip(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	f.Skipped = append(f.Skipped, text)
	fmt.Fprintf(os.Stderr, "NOT RUN: %s %s: %s\n", f.Try, f.Store, text)
}

func (f *finding) print(w io.Writer) {
	fmt.Fprintf(w, "%s, %s\n", f.Try, f.Store)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, n := range f.Numbers {
		fmt.Fprintf(tw, "  %s\t%.6g %s\n", n.Name, n.Value, n.Unit)
	}
	_ = tw.Flush()
	for _, s := range f.Skipped {
		fmt.Fprintf(w, "  NOT RUN: %s\n", s)
	}
	for _, v := range f.Violations {
		fmt.Fprintf(w, "  VIOLATION: %s\n", v)
	}
}

// boundsMain is the program with bounds as its first argument; it returns the
// exit code.
func boundsMain(ctx context.Context, args []string) int {
	o, err := parseBounds(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	found, err := bounds(ctx, &o)
	for i := range found {
		found[i].print(os.Stdout)
	}
	if err == nil && o.json != "" {
		var text []byte
		if text, err = json.MarshalIndent(found, "", "  "); err == nil {
			err = os.WriteFile(o.json, append(text, '\n'), 0o600)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pointsman-torture:", err)
		return 3
	}
	if slices.ContainsFunc(found, func(f finding) bool { return len(f.Violations) > 0 }) {
		return 1
	}
	return 0
}

func parseBounds(args []string) (boundsOptions, error) {
	var o boundsOptions
	var only, stores string
	var memory int64
	names := make([]string, 0, len(tries()))
	for _, t := range tries() {
		names = append(names, t.name)
	}
	f := flag.NewFlagSet("pointsman-torture bounds", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), "Give pointsman more than it can take and look whether it stays within its bounds. Exit code 1: it did not.\n\n"+
			"Usage: pointsman-torture bounds [flags]\n\n"+
			"  bin/pointsman-torture bounds -only hung-action -waiting 10000\n"+
			"  bin/pointsman-torture bounds -only overload -store sqlite -length 10m\n\n"+
			"Tries: "+strings.Join(names, ", ")+"\n\n")
		f.PrintDefaults()
	}
	f.StringVar(&only, "only", strings.Join(names, ","), "only these `tries`, with commas between")
	f.StringVar(&stores, "store", "sqlite,redis", "`stores`, with commas between")
	f.IntVar(&o.waiting, "waiting", 1_000_000, "how many deliveries wait (hung-action, million)")
	f.IntVar(&o.herd, "herd", 100_000, "how many deliveries are due at one instant (herd)")
	f.IntVar(&o.turns, "turns", 20, "how often each of the two routers is measured (hung-action)")
	f.DurationVar(&o.slice, "slice", 5*time.Second, "how long a turn is (hung-action)")
	f.DurationVar(&o.length, "length", time.Minute, "how long there is too much (overload)")
	f.Int64Var(&memory, "memory", 512, "MiB of memory for the router and its plugins, a control group's limit (overload)")
	f.StringVar(&o.dir, "dir", "", "where to keep stores and logs; default: a temporary folder, removed in the end")
	f.StringVar(&o.json, "json", "", "write what was measured as JSON to this `file`")
	f.StringVar(&o.binary, "pointsman", "", "a pointsman executable; default: it is built")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.tries, o.stores, o.memory = strings.Split(only, ","), strings.Split(stores, ","), memory<<20
	err := o.check(names)
	if f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(f.Output(), "pointsman-torture:", err)
	}
	return o, err
}

func (o *boundsOptions) check(names []string) error {
	for _, s := range o.stores {
		if s != storeSQLite && s != storeRedis {
			return fmt.Errorf("-store %q: sqlite or redis", s)
		}
	}
	for _, name := range o.tries {
		if !slices.Contains(names, name) {
			return fmt.Errorf("-only %q: there is no such try", name)
		}
	}
	if o.waiting < 1000 || o.herd < 1000 || o.turns < 1 || o.slice < 100*time.Millisecond || o.length < time.Second || o.memory < 64<<20 {
		return errors.New("-waiting and -herd are at least 1000, -turns 1, -slice 100ms, -length 1s, -memory 64")
	}
	return nil
}

// bounds runs the tries one after the other, each in a folder of its own.
func bounds(ctx context.Context, o *boundsOptions) (found []finding, err error) {
	if slices.Contains(o.stores, storeRedis) && !hasRedis() {
		fmt.Fprintln(os.Stderr, "NOT RUN: everything with Redis; install redis-server (make deps)")
		o.stores = slices.DeleteFunc(slices.Clone(o.stores), func(s string) bool { return s == storeRedis })
	}
	dir := o.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "pointsman-bounds-"); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err = errors.Join(os.MkdirAll(dir, 0o700), absolute(&dir)); err != nil {
		return nil, err
	}
	t, err := findTools(ctx, o.binary, dir)
	if err != nil {
		return nil, err
	}
	for _, x := range tries() {
		for _, store := range o.stores {
			if !slices.Contains(o.tries, x.name) {
				continue
			}
			f := finding{Try: x.name, Store: store}
			begun := time.Now()
			if err := tryOne(ctx, o, t, x, filepath.Join(dir, x.name+"-"+store), &f); err != nil {
				return found, fmt.Errorf("%s, %s: %w", x.name, store, err)
			}
			fmt.Fprintf(os.Stderr, "%s, %s: %s, %d violations\n", x.name, store, time.Since(begun).Round(time.Second), len(f.Violations))
			found = append(found, f)
		}
	}
	return found, nil
}

func absolute(path *string) (err error) {
	*path, err = filepath.Abs(*path)
	return err
}

func tryOne(ctx context.Context, o *boundsOptions, t *tools, x try, dir string, f *finding) error {
	s, err := newSite(dir, f.Store, t)
	if err != nil {
		return err
	}
	err = x.run(ctx, o, t, s, f)
	s.close()
	if o.dir == "" {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}
