// Command asynq is a contender of pointsman-bench: tasks enqueued with Unique
// and processed by a handler that does nothing, in one process, with the
// payloads that the other contenders get. It is a module of its own, so that
// pointsman does not depend on asynq.
//
// It is given the address of a redis-server, reads one round per line from
// standard input and prints what it measured, both as JSON. It ends with its
// input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

const (
	// maxOpen is how many tasks may be enqueued and not processed: enqueueing is
	// the faster half, and without a bound a round would measure a backlog.
	maxOpen = 2048
	// workers is how many tasks are processed at a time.
	workers = 64
	// poll is how long an idle worker waits before it looks again. The default of
	// one second would be the latency of a slow trickle.
	poll     = 10 * time.Millisecond
	patience = time.Minute
	maxTasks = 1 << 22
)

// round is what the bench asks for.
type round struct {
	// Payload is sent with Digits digits at At replaced by a number from First on.
	Payload []byte        `json:"payload"`
	At      int           `json:"at"`
	Digits  int           `json:"digits"`
	First   int64         `json:"first"`
	Conns   int           `json:"conns"`
	Length  time.Duration `json:"length"`
	Rate    int           `json:"rate"`
}

// quantile is in nanoseconds.
type quantile struct {
	P50 time.Duration `json:"p50"`
	P99 time.Duration `json:"p99"`
}

// measured is the answer; durations are in nanoseconds.
type measured struct {
	Events  int           `json:"events"`
	Sending time.Duration `json:"sending"`
	Whole   time.Duration `json:"whole"`
	Answers quantile      `json:"answers"`
	Results quantile      `json:"results"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: asynq HOST:PORT; pointsman-bench starts it")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "asynq:", err)
		os.Exit(1)
	}
}

func serve(addr string, in io.Reader, out io.Writer) error {
	opt := asynq.RedisClientOpt{Addr: addr, PoolSize: 2 * workers}
	c := &contender{client: asynq.NewClient(opt)}
	defer c.client.Close()
	srv := asynq.NewServer(opt, asynq.Config{Concurrency: workers, TaskCheckInterval: poll, LogLevel: asynq.ErrorLevel})
	if err := srv.Start(asynq.HandlerFunc(c.process)); err != nil {
		return err
	}
	defer srv.Shutdown()
	enc := json.NewEncoder(out)
	dec := json.NewDecoder(bufio.NewReader(in))
	for {
		var r round
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read round: %w", err)
		}
		m, err := c.measure(&r)
		if err != nil {
			return err
		}
		if err := enc.Encode(m); err != nil {
			return err
		}
	}
}

// contender enqueues and processes one round at a time.
type contender struct {
	client *asynq.Client
	run    atomic.Pointer[running]
}

// running is a round in progress.
type running struct {
	*round
	begun  time.Time
	next   atomic.Int64
	open   chan struct{}
	starts []atomic.Int64 // ns, by number
	ends   []atomic.Int64
	done   atomic.Int64
	twice  atomic.Int64
}

// process is the handler: it notes the time.
func (c *contender) process(_ context.Context, t *asynq.Task) error {
	now := time.Now().UnixNano()
	r := c.run.Load()
	n, err := strconv.ParseInt(string(t.Payload()[r.At:r.At+r.Digits]), 10, 64)
	if err != nil {
		return err
	}
	i := n - r.First
	if i < 0 || i >= maxTasks || !r.ends[i].CompareAndSwap(0, now) {
		r.twice.Add(1)
		return nil
	}
	r.done.Add(1)
	<-r.open
	return nil
}

func (c *contender) measure(order *round) (*measured, error) {
	r := &running{
		round: order, open: make(chan struct{}, maxOpen),
		starts: make([]atomic.Int64, maxTasks), ends: make([]atomic.Int64, maxTasks),
	}
	c.run.Store(r)
	answers := make([][]time.Duration, order.Conns)
	errs := make([]error, order.Conns)
	var wg sync.WaitGroup
	r.begun = time.Now()
	for i := range order.Conns {
		wg.Go(func() { answers[i], errs[i] = c.send(r) })
	}
	wg.Wait()
	m := &measured{Sending: time.Since(r.begun)}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	all := slices.Concat(answers...)
	m.Events = len(all)
	for late := time.Now().Add(patience); r.done.Load() < int64(m.Events); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			return nil, fmt.Errorf("%d of %d tasks processed after %s", r.done.Load(), m.Events, patience)
		}
	}
	if n := r.twice.Load(); n > 0 {
		return nil, fmt.Errorf("%d tasks were processed twice", n)
	}
	m.Answers = quantiles(all)
	results := make([]time.Duration, m.Events)
	var last int64
	for i := range results {
		end := r.ends[i].Load()
		last = max(last, end)
		results[i] = time.Duration(end - r.starts[i].Load())
	}
	m.Whole = max(m.Sending, time.Duration(last-r.begun.UnixNano()))
	m.Results = quantiles(results)
	return m, nil
}

// send is the loop of one producer.
func (c *contender) send(r *running) (took []time.Duration, err error) {
	end := r.begun.Add(r.Length)
	for {
		now := time.Now()
		if r.Rate == 0 && !now.Before(end) {
			return took, nil
		}
		// The place is taken before the number: numbers have no gaps.
		r.open <- struct{}{}
		i := r.next.Add(1) - 1
		now = time.Now()
		if i >= maxTasks {
			return nil, fmt.Errorf("more than %d tasks in a round", maxTasks)
		}
		if r.Rate > 0 {
			now = r.begun.Add(time.Duration(i) * time.Second / time.Duration(r.Rate))
			if !now.Before(end) {
				return took, nil
			}
			time.Sleep(time.Until(now))
		}
		r.starts[i].Store(now.UnixNano())
		payload := slices.Clone(r.Payload)
		copy(payload[r.At:], fmt.Sprintf("%0*d", r.Digits, r.First+i))
		// Longer than a task takes to be processed: a second one would be refused.
		if _, err := c.client.Enqueue(asynq.NewTask("bench", payload), asynq.Unique(time.Hour)); err != nil {
			return nil, err
		}
		took = append(took, time.Since(now))
	}
}

func quantiles(all []time.Duration) quantile {
	if len(all) == 0 {
		return quantile{}
	}
	slices.Sort(all)
	return quantile{all[len(all)/2], all[len(all)*99/100]}
}
