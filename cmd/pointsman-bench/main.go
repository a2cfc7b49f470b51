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
		fmt.Fprint(f.Output(), "Measure a whole pointsman serve against a bare HTTP handler, in turns.\n\n"+
			"Usage: pointsman-bench [flags]\n\n"+
			"  bin/pointsman-bench -rounds 5 -seconds 4\n"+
			"  bin/pointsman-bench -store sqlite,redis-everysec,redis-always\n"+
			"  bin/pointsman-bench -store redis://127.0.0.1:6379/9\n\n")
		f.PrintDefaults()
	}
	f.IntVar(&o.rounds, "rounds", 3, "pairs of rounds, bare and pointsman in turn")
	f.Float64Var(&o.seconds, "seconds", 2, "length of a round")
	f.IntVar(&o.conns, "conns", 64, "keep-alive connections")
	f.IntVar(&o.batch, "batch", 20, "events per request in the rounds with batches; 0: none")
	f.IntVar(&o.rate, "rate", 500, "events per second of the latency round; 0: none")
	f.StringVar(&o.store, "store", "sqlite", "`stores` to measure, with commas between: sqlite, redis-everysec and redis-always (a redis-server\n"+
		"is started and syncs its file so), or a redis URL whose database may be filled")
	f.StringVar(&o.action, "action", "bench", "what the rules call: bench (a plugin that answers at once) or log")
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
	disk, err := probeDisk(dir)
	if err != nil {
		return err
	}
	b, err := startBare(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	for i, store := range strings.Split(o.store, ",") {
		o.store = store
		if err := benchStore(ctx, o, b, filepath.Join(dir, strconv.Itoa(i)), disk); err != nil {
			return fmt.Errorf("store %s: %w", storeKind(store), err)
		}
	}
	return nil
}

// benchStore measures a router on one store, which o names, in a new folder dir.
func benchStore(ctx context.Context, o options, b *bare, dir string, disk quantile) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	name := o.store
	url, stop, err := startRedis(ctx, o.store, dir)
	if err != nil {
		return err
	}
	defer stop()
	o.store = url
	s, err := startServe(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	length := time.Duration(o.seconds * float64(time.Second))
	single := load{conns: o.conns, length: length, batch: 1}
	fmt.Printf("\nstore %s, action %s, %d connections, %d rounds of %s, events of %d bytes\n",
		storeKind(name), o.action, o.conns, o.rounds, length, eventSize())
	fmt.Printf("a sync of 64 KiB here: %s\n", disk)
	var numbers sequence
	if _, err := compare(ctx, b, s, &numbers, load{conns: o.conns, length: length / 4, batch: 1}, 1); err != nil { // warm up
		return err
	}
	pairs, err := compare(ctx, b, s, &numbers, single, o.rounds)
	if err != nil {
		return err
	}
	printPairs("one event per request", pairs)
	if o.batch > 0 {
		batched := single
		batched.batch = o.batch
		if pairs, err = compare(ctx, b, s, &numbers, batched, o.rounds); err != nil {
			return err
		}
		printPairs(fmt.Sprintf("%d events per request", o.batch), pairs)
	}
	if o.rate > 0 {
		slow := single
		slow.rate = o.rate
		m, err := s.measure(ctx, &numbers, slow)
		if err != nil {
			return err
		}
		printLatency(fmt.Sprintf("open loop, %d events/s", o.rate), m)
	}
	return nil
}

// pair is one bare round and the pointsman round after it.
type pair struct{ bare, router measurement }

func compare(ctx context.Context, b *bare, s *served, n *sequence, l load, rounds int) ([]pair, error) {
	pairs := make([]pair, rounds)
	for i := range pairs {
		var err error
		if pairs[i].bare, err = b.measure(ctx, n, l); err != nil {
			return nil, fmt.Errorf("bare handler: %w", err)
		}
		if pairs[i].router, err = s.measure(ctx, n, l); err != nil {
			return nil, fmt.Errorf("pointsman: %w", err)
		}
	}
	return pairs, nil
}
