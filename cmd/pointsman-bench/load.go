package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// kinds is the number of rules, and of event types.
	kinds = 10
	// maxEvents bounds a round.
	maxEvents = 1 << 23
	idPrefix  = "bench-"
	idDigits  = 12
)

// load says how events are sent.
type load struct {
	conns  int
	length time.Duration
	// batch is how many events a request carries.
	batch int
	// rate is the events per second of an open loop; 0: each connection sends
	// when it was answered.
	rate int
}

// sequence numbers the events of one run.
type sequence struct{ next int64 }

// sent is what a round's generator saw.
type sent struct {
	first    int64 // number of the first event
	requests int
	events   int
	begun    time.Time
	took     time.Duration
	answers  []time.Duration
	// starts are the times in ns at which each event was sent, or due in an
	// open loop.
	starts []int64
}

// eventOf returns an event of one kind whose id is numbered 0, and where the
// digits are. All kinds are equally long.
func eventOf(kind int) (event []byte, at int) {
	event = fmt.Appendf(nil, `{"specversion":"1.0","id":"%s%0*d","source":"/bench/switch-07","type":"bench.link.down.%d",`+
		`"time":"2026-11-23T12:00:00Z","subject":"eth1/0/7","datacontenttype":"application/json",`+
		`"data":{"interface":"eth1/0/7","port":7,"severity":3,"site":"ams1","role":"access","message":"%s"}}`,
		idPrefix, idDigits, 0, kind, strings.Repeat("link lost carrier; ", 43))
	return event, bytes.Index(event, []byte(idPrefix)) + len(idPrefix)
}

func eventSize() int {
	ev, _ := eventOf(0)
	return len(ev)
}

// sender writes the requests of one connection.
type sender struct {
	load   load
	conn   net.Conn
	in     *bufio.Reader
	events [kinds][]byte
	at     int
	buf    []byte
	head   []byte
	lat    []time.Duration
}

func newSender(ctx context.Context, addr string, l load) (*sender, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &sender{load: l, conn: conn, in: bufio.NewReader(conn)}
	for k := range s.events {
		s.events[k], s.at = eventOf(k)
	}
	media, size := "application/cloudevents+json", len(s.events[0])
	if l.batch > 1 {
		media, size = "application/cloudevents-batch+json", l.batch*(size+1)+1
	}
	s.head = fmt.Appendf(nil, "POST /events HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", addr, media, size)
	return s, nil
}

// request makes the bytes of a request whose first event has number n.
func (s *sender) request(n int64) []byte {
	b := append(s.buf[:0], s.head...)
	for i := range s.load.batch {
		if s.load.batch > 1 {
			b = append(b, "[,"[min(i, 1)])
		}
		from := len(b)
		b = append(b, s.events[(n+int64(i))%kinds]...)
		digits := b[from+s.at : from+s.at+idDigits]
		for v, j := n+int64(i), idDigits-1; j >= 0; j-- {
			digits[j] = byte('0' + v%10)
			v /= 10
		}
	}
	if s.load.batch > 1 {
		b = append(b, ']')
	}
	s.buf = b
	return b
}

// answer reads a response and refuses all but 202.
func (s *sender) answer() error {
	line, err := s.in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	status := string(bytes.TrimSpace(line))
	length := -1
	for {
		if line, err = s.in.ReadSlice('\n'); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		if len(line) <= 2 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return fmt.Errorf("read answer: %w", err)
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("answer %q has no length", status)
	}
	if !strings.HasPrefix(status, "HTTP/1.1 202") {
		body, _ := io.ReadAll(io.LimitReader(s.in, int64(min(length, 500))))
		return fmt.Errorf("answer %q: %s", status, body)
	}
	_, err = s.in.Discard(length)
	return err
}

// generator drives one address; its connections share it.
type generator struct {
	load load
	sent sent
	next atomic.Int64 // events given out
}

// drive sends events to addr for the length of the round and returns when every
// request is answered. Any answer but 202 is an error.
func drive(ctx context.Context, addr string, seq *sequence, l load) (*sent, error) {
	g := &generator{load: l, sent: sent{first: seq.next, starts: make([]int64, maxEvents)}}
	senders := make([]*sender, l.conns)
	for i := range senders {
		s, err := newSender(ctx, addr, l)
		if err != nil {
			return nil, err
		}
		defer s.conn.Close()
		senders[i] = s
	}
	unhook := context.AfterFunc(ctx, func() {
		for _, s := range senders {
			_ = s.conn.Close()
		}
	})
	defer unhook()
	errs := make([]error, l.conns)
	var wg sync.WaitGroup
	g.sent.begun = time.Now()
	for i, s := range senders {
		wg.Go(func() { errs[i] = g.send(s) })
	}
	wg.Wait()
	g.sent.took = time.Since(g.sent.begun)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, s := range senders {
		g.sent.answers = append(g.sent.answers, s.lat...)
	}
	g.sent.requests = len(g.sent.answers)
	g.sent.events = g.sent.requests * l.batch
	seq.next += int64(g.sent.events)
	return &g.sent, nil
}

// send is the loop of one connection.
func (g *generator) send(s *sender) error {
	end := g.sent.begun.Add(g.load.length)
	for {
		now := time.Now()
		if g.load.rate == 0 && !now.Before(end) {
			return nil
		}
		i := g.next.Add(int64(g.load.batch)) - int64(g.load.batch)
		if i+int64(g.load.batch) > maxEvents {
			return fmt.Errorf("more than %d events in a round: make it shorter", maxEvents)
		}
		if g.load.rate > 0 {
			now = g.sent.begun.Add(time.Duration(i) * time.Second / time.Duration(g.load.rate))
			if !now.Before(end) {
				return nil
			}
			time.Sleep(time.Until(now))
		}
		for j := range g.load.batch {
			g.sent.starts[i+int64(j)] = now.UnixNano()
		}
		if _, err := s.conn.Write(s.request(g.sent.first + i)); err != nil {
			return err
		}
		if err := s.answer(); err != nil {
			return err
		}
		s.lat = append(s.lat, time.Since(now))
	}
}
