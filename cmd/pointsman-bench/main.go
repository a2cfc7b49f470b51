// Command pointsman-bench measures the whole way of an event on this machine:
// it starts a real "pointsman serve" with an own plugin process, drives it over
// HTTP until every delivery is settled, and does the same to a bare net/http
// handler in turn, so that the ratio of the two says what pointsman costs
// whatever the machine is. docs/performance.md explains the numbers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/actions"
)

// options are the command line.
type options struct {
	rounds  int
	seconds float64
	conns   int
	batch   int
	rate    int
	store   string
	action  string
	asynq   string
	json    string
	binary  string
	dir     string
}

func main() {
	if os.Getenv(actions.MagicCookieKey) == actions.MagicCookieValue {
		actions.Serve(&recorder{}) // started by the router: this is the plugin
	}
	if len(os.Args) == 2 && os.Args[1] == bareArg {
		os.Exit(code(serveBare(os.Stdout, os.Stdin)))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2)
	}
	os.Exit(code(bench(ctx, o)))
}

func code(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "pointsman-bench:", err)
		return 1
	}
	return 0
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("pointsman-bench", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), "Measure a whole pointsman serve against a bare HTTP handler and against asynq, in turns.\n\n"+
			"Usage: pointsman-bench [flags]\n\n"+
			"  bin/pointsman-bench -rounds 5 -seconds 4\n"+
			"  bin/pointsman-bench -store sqlite -json bench.json\n"+
			"  bin/pointsman-bench -store redis://127.0.0.1:6379/9\n\n")
		f.PrintDefaults()
	}
	f.IntVar(&o.rounds, "rounds", 5, "rounds of each kind, the contenders in turn")
	f.Float64Var(&o.seconds, "seconds", 0.7, "length of a round, without what is still to be settled after it")
	f.IntVar(&o.conns, "conns", 64, "keep-alive connections")
	f.IntVar(&o.batch, "batch", 20, "events per request in the rounds with batches; 0: none")
	f.IntVar(&o.rate, "rate", 500, "events per second of the latency rounds; 0: none")
	f.StringVar(&o.store, "store", "sqlite,redis-everysec,redis-always", "`stores` to measure, with commas between: sqlite, redis-everysec and redis-always (a redis-server\n"+
		"is started and syncs its file so), or a redis URL whose database may be filled")
	f.StringVar(&o.action, "action", "bench", "what the rules call: bench (a plugin that answers at once) or log")
	f.StringVar(&o.asynq, "asynq", "bin/pointsman-bench-asynq", "the binary of the contender asynq; built when it is not there, which needs the sources\n"+
		"and perhaps the network; measured when there is a redis-server; '': not")
	f.StringVar(&o.json, "json", "", "write all numbers to this `file`, too")
	f.StringVar(&o.binary, "pointsman", "bin/pointsman", "the binary to measure; built when it is not there")
	f.StringVar(&o.dir, "dir", "", "where to make the temporary folder; should be on a real disk")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var err error
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.rounds < 1 || o.seconds <= 0 || o.conns < 1 || o.batch < 0 || o.batch > 1000 || o.rate < 0:
		err = errors.New("-rounds, -seconds and -conns must be positive, -batch 0 to 1000, -rate not negative")
	case o.action != "bench" && o.action != "log":
		err = fmt.Errorf("-action %q: bench or log", o.action)
	}
	if err != nil {
		fmt.Fprintln(f.Output(), "pointsman-bench:", err)
	}
	return o, err
}

// bench runs all rounds and prints the report.
func bench(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp(o.dir, "pointsman-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	warnMemory(dir)
	r := newReport(o)
	if r.Sync, err = probeDisk(dir); err != nil {
		return err
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		fmt.Fprintln(os.Stderr, "pointsman-bench: asynq is not measured: redis-server is not installed")
		o.asynq = ""
	}
	o.asynq = findAsynq(ctx, o.asynq)
	b, err := startBare(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	r.printHead(os.Stdout)
	for i, store := range strings.Split(o.store, ",") {
		o.store = store
		if err := benchStore(ctx, o, b, filepath.Join(dir, strconv.Itoa(i)), r); err != nil {
			return fmt.Errorf("store %s: %w", storeKind(store), err)
		}
	}
	if o.json != "" {
		return r.write(o.json)
	}
	return nil
}

// benchStore measures a router on one store, which o names, in a new folder dir.
func benchStore(ctx context.Context, o options, b *bare, dir string, r *report) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	name := storeKind(o.store)
	var q *queue
	if o.asynq != "" {
		if q, err = startAsynq(ctx, o.asynq, o.store, dir); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, q.stop()) }()
	}
	rs, err := startRedis(ctx, o.store, dir)
	if err != nil {
		return err
	}
	defer rs.stop()
	if rs != nil {
		o.store = "redis://" + rs.addr + "/0"
	}
	s, err := startServe(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	s.redis = rs

	single := load{conns: o.conns, length: time.Duration(o.seconds * float64(time.Second)), batch: 1}
	c := contest{all: []contender{{"pointsman", s}, {"bare", b}}}
	if q != nil {
		c.all = append(c.all, contender{"asynq", q})
	}
	warm := single
	warm.length /= 2
	if _, err := c.run(ctx, warm, 1); err != nil {
		return err
	}
	loads := []struct {
		name string
		load load
		on   bool
	}{
		{"one event per request", single, true},
		{fmt.Sprintf("%d events per request", o.batch), load{conns: o.conns, length: single.length, batch: o.batch}, o.batch > 0},
		{fmt.Sprintf("%d events per second", o.rate), load{conns: o.conns, length: single.length, batch: 1, rate: o.rate}, o.rate > 0},
	}
	for _, l := range loads {
		if !l.on {
			continue
		}
		rounds, err := c.run(ctx, l.load, o.rounds)
		if err != nil {
			return err
		}
		r.add(os.Stdout, name, l.name, l.load, rounds)
	}
	if o.action != "bench" {
		return nil
	}
	took, err := s.recover(ctx, &c.numbers, load{conns: o.conns, length: max(time.Second, single.length), batch: 1, rate: max(o.rate, 100)})
	if err != nil {
		return fmt.Errorf("kill the plugin: %w", err)
	}
	r.addRecovery(os.Stdout, name, took)
	return nil
}

// contender is something that takes a load.
type contender struct {
	name string
	by   interface {
		measure(ctx context.Context, n *sequence, l load) (measurement, error)
	}
}

// contest has the contenders, pointsman first, and the numbers of their events.
type contest struct {
	all     []contender
	numbers sequence
}

// round is what each contender did in turn.
type round map[string]measurement

func (c *contest) run(ctx context.Context, l load, n int) ([]round, error) {
	rounds := make([]round, n)
	for i := range rounds {
		rounds[i] = round{}
		for _, x := range c.all {
			m, err := x.by.measure(ctx, &c.numbers, l)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", x.name, err)
			}
			rounds[i][x.name] = m
		}
	}
	return rounds, nil
}
