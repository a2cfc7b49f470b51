package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// batchEvents is how many events a batch has.
	batchEvents = 20
	// slowEvery is the time between two bytes of a slow client.
	slowEvery = 200 * time.Millisecond
)

// crowd is the senders of one kind; none of them waits when it is told to.
type crowd struct {
	name        string
	connections int
	batch       int
	// event makes the data of an event.
	data string
}

// overload: a router in a small control group gets ten times the connections
// with which it is busy already, of batches, of events as large as may be, of events that
// take much memory when they are decoded, and of clients that hardly send. It must stay within its
// memory, answer 202, 429 or 503, and deliver what it has taken.
func overload(ctx context.Context, o *boundsOptions, _ *tools, s *site, f *finding) (err error) {
	if err := s.configure("", action{name: "work", mode: modeQuick, concurrency: 4}); err != nil {
		return err
	}
	var env []string
	group, err := newCage(o.memory)
	if err != nil {
		f.skip("a control group with %d MiB cannot be made (%v); GOMEMLIMIT is all that holds the router, which is less", o.memory>>20, err)
		env = append(env, "GOMEMLIMIT="+strconv.FormatInt(o.memory*3/4, 10))
	} else {
		defer func() {
			if p := s.process(); p != nil && p.running() {
				p.kill()
			}
			err = errors.Join(err, group.remove())
		}()
		wrapped := filepath.Join(s.dir, "pointsman")
		if err := group.wrap(wrapped, s.binary); err != nil {
			return err
		}
		s.binary = wrapped
	}
	if err := s.serve(ctx, env...); err != nil {
		return err
	}
	pid := s.process().pid()
	capacity := s.press(ctx, s.length(o), []crowd{{"batches", 40, batchEvents, plain(700)}})
	f.number("alone, 40 connections: events taken", capacity.rate(), "/s")
	w := watch(s, group)
	crowds := []crowd{
		{"batches", 250, batchEvents, plain(700)},
		{"single", 50, 1, plain(300)},
		{"large", 60, 1, plain(1<<20 - 1<<10)},
		{"nested", 20, 1, nested(1<<20 - 1<<10)},
		{"slow", 100, 0, ""},
	}
	for i := range crowds {
		if o.short {
			crowds[i].connections /= 5
		}
	}
	much := s.press(ctx, o.length, crowds)
	peak := w.end()
	much.report(f, capacity)
	_, high := memory(pid)
	f.number("router resident at most", float64(high>>20), "MiB")
	f.number("router and plugins resident at most", float64(peak>>20), "MiB")
	if high > o.memory || peak > o.memory {
		f.violate("%d MiB resident of %d MiB", max(high, peak)>>20, o.memory>>20)
	}
	if !s.process().running() {
		f.violate("the router ended: %s", tail(s.process().log))
		return nil
	}
	drained := time.Now()
	if err := s.delivered(ctx, f, append(capacity.taken, much.taken...)); err != nil {
		return err
	}
	f.number("until everything was delivered", time.Since(drained).Seconds(), "s")
	if group != nil {
		n, err := group.killed()
		if err != nil {
			return err
		}
		f.number("processes killed by the kernel", float64(n), "")
		if n > 0 {
			f.violate("the kernel killed %d processes for memory", n)
		}
	}
	return s.term()
}

// length is how long the measurement without overload takes.
func (s *site) length(o *boundsOptions) time.Duration { return min(o.length/4, 15*time.Second) }

func plain(size int) string { return `"` + string(bytes.Repeat([]byte("x"), size)) + `"` }

// nested is a JSON text that takes some 20 times its size when it is decoded.
func nested(size int) string {
	return "[" + string(bytes.Repeat([]byte("{},"), size/3)) + "0]"
}

// span is a range of event numbers of which one request had all.
type span struct{ from, n int }

// tally is what became of requests.
type tally struct {
	mu       sync.Mutex // guards what follows
	statuses map[string]map[int]int
	taken    []span
	events   int
	problems []string
	answers  []time.Duration
	bytes    int64
	took     time.Duration
}

func (t *tally) rate() float64 { return float64(t.events) / t.took.Seconds() }

// flow is how many bytes were offered each second.
func (t *tally) flow() float64 { return float64(t.bytes) / t.took.Seconds() }

func (t *tally) note(c *crowd, sp span, size int, resp *http.Response, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.statuses[c.name] == nil {
		t.statuses[c.name] = map[int]int{}
	}
	t.bytes += int64(size)
	if resp == nil {
		t.statuses[c.name][0]++
		return
	}
	t.statuses[c.name][resp.StatusCode]++
	t.answers = append(t.answers, took)
	switch resp.StatusCode {
	case http.StatusAccepted:
		t.taken = append(t.taken, sp)
		t.events += sp.n
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if resp.Header.Get("Retry-After") == "" {
			t.problems = append(t.problems, fmt.Sprintf("%s: %d without Retry-After", c.name, resp.StatusCode))
		}
	default:
		if c.batch > 0 { // what is sent too slowly is cut off
			t.problems = append(t.problems, fmt.Sprintf("%s: answered with %d", c.name, resp.StatusCode))
		}
	}
}

// report shows what became of the requests.
func (t *tally) report(f *finding, alone *tally) {
	f.number("too much: events taken", t.rate(), "/s")
	offered := 0
	for _, c := range []struct {
		name string
		n    int
	}{{"batches", batchEvents}, {"single", 1}, {"large", 1}, {"nested", 1}, {"slow", 0}} {
		for _, status := range slices.Sorted(keysOf(t.statuses[c.name])) {
			n := t.statuses[c.name][status]
			offered += n * c.n
			word := strconv.Itoa(status)
			if status == 0 {
				word = "no answer"
			}
			f.number(fmt.Sprintf("  %s: %s", c.name, word), float64(n), "requests")
		}
	}
	f.number("too much: events offered", float64(offered)/t.took.Seconds(), "/s")
	f.number("too much: offered", t.flow()/(1<<20), "MiB/s")
	f.number("offered, of the bytes that are taken alone", t.flow()/alone.flow(), "")
	f.number("events taken under too much, of those alone", t.rate()/alone.rate(), "")
	sorted(t.answers)
	f.time("answer, p50", share(t.answers, .5))
	f.time("answer, p99", share(t.answers, .99))
	for _, p := range slices.Compact(slices.Sorted(slices.Values(t.problems))) {
		f.violate("%s", p)
	}
}

func keysOf(m map[int]int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// press sends with all crowds at once for a while, each connection one request
// after the other, and no sender waits although it is told to.
func (s *site) press(ctx context.Context, length time.Duration, crowds []crowd) *tally {
	t := &tally{statuses: map[string]map[int]int{}}
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	begun := time.Now()
	var wg sync.WaitGroup
	for i := range crowds {
		c := &crowds[i]
		client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: c.connections, MaxConnsPerHost: c.connections}}
		defer client.CloseIdleConnections()
		for range c.connections {
			if c.batch == 0 {
				wg.Go(func() { s.trickle(ctx, t, c) })
			} else {
				wg.Go(func() { s.pour(ctx, t, c, client) })
			}
		}
	}
	wg.Wait()
	t.took = time.Since(begun)
	return t
}

// pour sends one request after the other. A request that was begun is ended, so
// that it is known what became of it.
func (s *site) pour(ctx context.Context, t *tally, c *crowd, client *http.Client) {
	events, _ := s.addresses()
	var body []byte
	for ctx.Err() == nil {
		sp := span{int(s.sent.Add(int64(c.batch))) - c.batch + 1, c.batch}
		body = body[:0]
		contentType := "application/cloudevents+json"
		if c.batch > 1 {
			contentType = "application/cloudevents-batch+json"
		}
		for i := range c.batch {
			sep := ","
			switch {
			case c.batch == 1:
				sep = ""
			case i == 0:
				sep = "["
			}
			body = fmt.Appendf(body, `%s{"specversion":"1.0","id":"%s%d","source":%q,"type":"work","data":`, sep, boundsID, sp.from+i, boundsSource)
			body = append(append(body, c.data...), '}')
		}
		if c.batch > 1 {
			body = append(body, ']')
		}
		begun := time.Now()
		resp, err := client.Post("http://"+events+"/events", contentType, bytes.NewReader(body))
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
			_ = resp.Body.Close()
		}
		t.note(c, sp, len(body), resp, time.Since(begun))
	}
}

// trickle announces a large event and sends a byte of it now and then.
func (s *site) trickle(ctx context.Context, t *tally, c *crowd) {
	events, _ := s.addresses()
	for ctx.Err() == nil {
		conn, err := net.Dial("tcp", events)
		if err != nil {
			sleep(ctx, slowEvery)
			continue
		}
		_, err = fmt.Fprintf(conn, "POST /events HTTP/1.1\r\nHost: bounds\r\nContent-Type: application/cloudevents+json\r\nContent-Length: %d\r\n\r\n{", 1<<20)
		for err == nil && ctx.Err() == nil {
			sleep(ctx, slowEvery)
			_, err = conn.Write([]byte(" "))
		}
		_ = conn.Close()
		t.note(c, span{}, 0, nil, 0)
	}
}

// delivered waits until nothing waits any more, and looks whether everything that
// was taken has run.
func (s *site) delivered(ctx context.Context, f *finding, taken []span) error {
	within := 20 * patience
	if err := await(ctx, "everything that was taken has run", within, func() (bool, error) {
		sleep(ctx, poll)
		n, err := s.counts(ctx, "work")
		return n["ready"]+n["leased"] == 0, err
	}); err != nil {
		return err
	}
	calls, _, err := readNotes(s.notes("work"), 0)
	if err != nil {
		return err
	}
	ran := make(map[uint64]bool, len(calls))
	for _, r := range calls {
		ran[r.event] = true
	}
	events, lost := 0, 0
	for _, sp := range taken {
		for i := range sp.n {
			events++
			if !ran[uint64(sp.from+i)] {
				lost++
			}
		}
	}
	f.number("events answered with 202", float64(events), "")
	f.number("of them not delivered", float64(lost), "")
	if lost > 0 {
		f.violate("%d of %d events that were answered with 202 were not delivered", lost, events)
	}
	n, err := s.counts(ctx, "work")
	if err == nil && n["dead"]+n["held"] > 0 {
		f.violate("not done in the end: %v", n)
	}
	return err
}

// watcher looks again and again how much memory a group's processes have.
type watcher struct {
	stop chan struct{}
	gone chan struct{}
	peak atomic.Int64
}

// watch begins to look; without a group at the router alone.
func watch(s *site, group *cage) *watcher {
	w := &watcher{stop: make(chan struct{}), gone: make(chan struct{})}
	pid := s.process().pid()
	go func() {
		defer close(w.gone)
		for {
			now, _ := memory(pid)
			if group != nil {
				now = group.resident()
			}
			w.peak.Store(max(w.peak.Load(), now))
			select {
			case <-w.stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return w
}

// end stops looking and returns the most that was seen, in bytes.
func (w *watcher) end() int64 {
	close(w.stop)
	<-w.gone
	return w.peak.Load()
}
