package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	senders = 4
	// pace is how long a sender waits between two events, on average.
	pace = 25 * time.Millisecond
	// sendTime bounds one POST; a sender then tries again, as the protocol asks.
	sendTime = 3 * time.Second
	keys     = 3
	// onceWindow is what the rule once says.
	onceWindow = 2 * time.Second
)

// The types of events, which are the names of the rules too.
const (
	typeWork = "work" // one delivery
	typeTwo  = "two"  // two
	typeOnce = "once" // one per key and window
	typeHold = "hold" // one that a crash must not repeat
	typeNone = "none" // no rule is for it
)

// sentEvent is what a sender knows of its event.
type sentEvent struct {
	id, kind, key string
	// first is when it was first sent, acked when the 202 came, zero for none.
	first, acked time.Time
}

// load sends events until it is stopped, each until it is answered with 202.
type load struct {
	prefix  string
	routers []*pointsman
	client  *http.Client
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu     sync.Mutex // guards what follows
	events map[string]*sentEvent
	acked  []*sentEvent
	next   int
	// refused counts answers that ask to come back, failed requests that ended
	// without one; those that took too long are not among them.
	refused, failed int
	problems        []violation
	// forgotten is until when events were sent that the store may have forgotten.
	forgotten time.Time
}

func newLoad(prefix string, routers []*pointsman) *load {
	return &load{
		prefix: prefix, routers: routers, events: map[string]*sentEvent{},
		client: &http.Client{Timeout: sendTime, Transport: &http.Transport{MaxIdleConnsPerHost: senders}},
	}
}

// start begins sending.
func (l *load) start(ctx context.Context, seed uint64) {
	ctx, l.stop = context.WithCancel(ctx)
	for i := range senders {
		l.wg.Go(func() { l.send(ctx, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
}

// end stops sending and waits for the senders.
func (l *load) end() {
	l.stop()
	l.wg.Wait()
	l.client.CloseIdleConnections()
}

func (l *load) send(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		if rng.IntN(20) == 0 {
			l.again(ctx, rng)
		}
		kinds := []string{typeWork, typeWork, typeWork, typeTwo, typeTwo, typeOnce, typeOnce, typeHold, typeNone}
		l.until202(ctx, rng, l.add(kinds[rng.IntN(len(kinds))], fmt.Sprint("k", rng.IntN(keys))))
		sleep(ctx, time.Duration(rng.Int64N(int64(2*pace))))
	}
}

// add makes a new event.
func (l *load) add(kind, key string) *sentEvent {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	e := &sentEvent{id: fmt.Sprintf("%s-%d", l.prefix, l.next), kind: kind, key: key, first: time.Now()}
	l.events[e.id] = e
	return e
}

// until202 sends one event to one router after the other until one takes it.
func (l *load) until202(ctx context.Context, rng *rand.Rand, e *sentEvent) bool {
	for n := rng.IntN(len(l.routers)); ctx.Err() == nil; n++ {
		status, body := l.post(ctx, l.routers[n%len(l.routers)], e)
		l.mu.Lock()
		switch status {
		case http.StatusAccepted:
			e.acked = time.Now()
			l.acked = append(l.acked, e)
			l.mu.Unlock()
			return true
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			l.refused++
		case 0:
			l.failed++
		case tooSlow:
		default:
			l.problems = append(l.problems, violation{"answer", fmt.Sprintf("event %s: %d %s", e.id, status, body)})
			l.mu.Unlock()
			return false
		}
		l.mu.Unlock()
		sleep(ctx, time.Duration(20+rng.IntN(60))*time.Millisecond)
	}
	return false
}

// again repeats an event that was answered long ago; it must be a duplicate.
func (l *load) again(ctx context.Context, rng *rand.Rand) {
	l.mu.Lock()
	if len(l.acked) == 0 {
		l.mu.Unlock()
		return
	}
	e := l.acked[rng.IntN(len(l.acked))]
	l.mu.Unlock()
	status, body := l.post(ctx, l.routers[rng.IntN(len(l.routers))], e)
	var answer struct{ Duplicate bool }
	if status == http.StatusAccepted && (json.Unmarshal(body, &answer) != nil || !answer.Duplicate) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if e.first.Before(l.forgotten) {
			return
		}
		l.problems = append(l.problems, violation{kindTwice, fmt.Sprintf("event %s was accepted a second time: %s", e.id, body)})
	}
}

// tooSlow stands for a request that was given up after sendTime.
const tooSlow = -1

// post sends once; status 0 is no answer.
func (l *load) post(ctx context.Context, r *pointsman, e *sentEvent) (status int, body []byte) {
	addr, _ := r.addresses()
	if addr == "" {
		return 0, nil
	}
	text := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"torture","type":%q,"datacontenttype":"application/json","data":{"key":%q}}`, e.id, e.kind, e.key)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/events", bytes.NewReader([]byte(text)))
	if err != nil {
		return 0, nil
	}
	req.Header.Set("Content-Type", "application/cloudevents+json")
	resp, err := l.client.Do(req)
	var timedOut net.Error
	if errors.As(err, &timedOut) && timedOut.Timeout() {
		return tooSlow, nil
	}
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil
	}
	return resp.StatusCode, body
}

// forget says that what was sent before t may be gone.
func (l *load) forget(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgotten = t
}

// counts returns how often senders were told to come back, or not answered.
func (l *load) counts() (refused, failed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused, l.failed
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
