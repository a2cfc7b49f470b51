// Command pointsman-torture looks for what pointsman loses: it runs real
// routers, Redis servers and plugins under load, breaks them in one way after
// the other, and then compares what senders were promised with what the store
// says and with what really ran. docs/reliability.md explains the faults.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pointsman/pointsman/actions"
)

// options are the command line.
type options struct {
	rounds, only int
	seed         uint64
	stores       []string
	faults       []string
	short        bool
	dir, json    string
	binary       string
}

func main() {
	if os.Getenv(actions.MagicCookieKey) == actions.MagicCookieValue {
		actions.Serve(&plugin{}) // started by the router: this is the plugin
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 5 && (os.Args[1] == stepsArg || os.Args[1] == checkArg) {
		if err := stepsMain(ctx, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "pointsman-torture:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == boundsArg {
		os.Exit(boundsMain(ctx, os.Args[2:]))
	}
	o, err := parseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2)
	}
	rep, err := torture(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pointsman-torture:", err)
		os.Exit(3)
	}
	rep.print(os.Stdout)
	if len(rep.Violations) > 0 {
		os.Exit(1)
	}
}

func parseFlags(args []string) (options, error) {
	var o options
	var stores, only string
	f := flag.NewFlagSet("pointsman-torture", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), "Break pointsman under load and look for what it loses. Exit code 1: it lost or doubled something.\n\n"+
			"Usage: pointsman-torture [flags]\n\n"+
			"  bin/pointsman-torture -rounds 200\n"+
			"  bin/pointsman-torture -faults router-kill,crash-point -store sqlite\n"+
			"  bin/pointsman-torture -seed 42 -round 17          # that round again\n\n"+
			"Faults: ")
		names := make([]string, 0, len(faults()))
		for _, x := range faults() {
			names = append(names, x.name)
		}
		fmt.Fprint(f.Output(), strings.Join(names, ", "), "\n\n")
		f.PrintDefaults()
	}
	f.IntVar(&o.rounds, "rounds", 20, "how many rounds")
	f.IntVar(&o.only, "round", 0, "run only the round with this number")
	f.Uint64Var(&o.seed, "seed", 0, "what the choice of faults follows from; 0: a random one, which is printed")
	f.StringVar(&stores, "store", "sqlite,redis", "`stores`, with commas between")
	f.StringVar(&only, "faults", "", "only these `faults`, with commas between")
	f.BoolVar(&o.short, "short", false, "leave out faults that take longer than a lease (15 s)")
	f.StringVar(&o.dir, "dir", "", "where to keep evidence; default: a temporary folder, removed unless something is wrong")
	f.StringVar(&o.json, "json", "", "write the report as JSON to this `file`")
	f.StringVar(&o.binary, "pointsman", "", "a pointsman built with -tags torture; default: it is built")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.stores = strings.Split(stores, ",")
	if only != "" {
		o.faults = strings.Split(only, ",")
	}
	err := o.check()
	if f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(f.Output(), "pointsman-torture:", err)
	}
	if o.seed == 0 {
		o.seed = rand.Uint64() >> 32 // short enough to type
	}
	return o, err
}

func (o *options) check() error {
	for _, s := range o.stores {
		if s != storeSQLite && s != storeRedis {
			return fmt.Errorf("-store %q: sqlite or redis", s)
		}
	}
	for _, name := range o.faults {
		if !slices.ContainsFunc(faults(), func(f *fault) bool { return f.name == name }) {
			return fmt.Errorf("-faults %q: there is no such fault", name)
		}
	}
	if o.rounds < 1 || o.only < 0 {
		return errors.New("-rounds must be positive, -round not negative")
	}
	return nil
}

// choices are the faults that are asked for and possible here; what is not
// possible is said aloud.
func choices(o options, t *tools) []choice {
	var all []choice
	for _, f := range faults() {
		if o.faults != nil && !slices.Contains(o.faults, f.name) || o.faults == nil && f.byHand || o.short && f.slow {
			continue
		}
		if f.needs != nil {
			if missing := f.needs(t); missing != "" {
				fmt.Fprintf(os.Stderr, "NOT RUN: %s needs %s\n", f.name, missing)
				continue
			}
		}
		for _, s := range o.stores {
			if f.stores == nil || slices.Contains(f.stores, s) {
				all = append(all, choice{f, s})
			}
		}
	}
	return all
}

// torture runs all rounds; the context ends it early, with a report of what was
// done.
func torture(ctx context.Context, o options) (rep *report, err error) {
	if slices.Contains(o.stores, storeRedis) && !hasRedis() {
		fmt.Fprintln(os.Stderr, "NOT RUN: everything with Redis; install redis-server (make deps)")
		o.stores = slices.DeleteFunc(o.stores, func(s string) bool { return s == storeRedis })
	}
	dir, keep := o.dir, o.dir != ""
	if keep {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		dir, err = filepath.Abs(dir)
	} else {
		dir, err = os.MkdirTemp("", "pointsman-torture-")
	}
	if err != nil {
		return nil, err
	}
	rep = newReport(o.seed, dir)
	defer func() {
		if !keep && err == nil && len(rep.Violations) == 0 {
			_ = os.RemoveAll(dir)
			rep.Evidence = ""
		}
	}()
	t, err := findTools(ctx, o.binary, dir)
	if err != nil {
		return nil, err
	}
	all := choices(o, t)
	if len(all) == 0 {
		return nil, errors.New("no fault is possible here")
	}
	fmt.Fprintf(os.Stderr, "seed %d, %d faults, evidence in %s\n", o.seed, len(all), dir)
	if o.faults == nil && o.only == 0 {
		if err := stores(ctx, o, dir, rep); err != nil {
			return nil, err
		}
	}
	pl := newPlanner(o.seed, all)
	for i := range max(o.rounds, o.only) {
		p := pl.next()
		if o.only > 0 && i+1 != o.only {
			continue
		}
		if err := oneRound(ctx, t, p, dir, rep, keep); err != nil {
			return rep, err
		}
		if ctx.Err() != nil {
			break
		}
	}
	rep.finish()
	if o.json != "" {
		return rep, rep.writeJSON(o.json)
	}
	return rep, nil
}

// oneRound plays a round and keeps its folder if something was wrong.
func oneRound(ctx context.Context, t *tools, p plan, dir string, rep *report, keep bool) error {
	sub := filepath.Join(dir, fmt.Sprintf("round-%03d", p.number))
	if err := os.Mkdir(sub, 0o700); err != nil {
		return err
	}
	res, err := play(ctx, t, p, sub)
	if ctx.Err() != nil {
		return nil // interrupted: it says nothing
	}
	if err != nil {
		return fmt.Errorf("round %d (%s): %w; see %s", p.number, p.String(), err, sub)
	}
	rep.add(&res)
	fmt.Fprintf(os.Stderr, "%s\n", res.line())
	if !keep && len(res.Violations) == 0 {
		return os.RemoveAll(sub)
	}
	return nil
}
