package syslog

import "sync"

// Bounds of a queue: lines, and bytes of them. They are what a source keeps in
// memory while the store is slow.
const (
	queueLines = 10_000
	queueBytes = 16 << 20
)

// queue holds the lines that were read and are not yet being stored, in order.
// A line that is larger than all of it is taken when it is empty. It is safe for
// concurrent use.
type queue struct {
	mu      sync.Mutex
	filled  sync.Cond
	emptied sync.Cond
	lines   []line // a ring; lines[first] is the oldest
	first   int
	n       int
	bytes   int
	closed  bool
}

func newQueue() *queue {
	q := &queue{lines: make([]line, 64)}
	q.filled.L, q.emptied.L = &q.mu, &q.mu
	return q
}

// offer adds a line unless the queue is full or closed.
func (q *queue) offer(l line) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.full(l) {
		return false
	}
	q.add(l)
	return true
}

// put adds a line and waits for room. It is false when the queue is closed.
func (q *queue) put(l line) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && q.full(l) {
		q.emptied.Wait()
	}
	if q.closed {
		return false
	}
	q.add(l)
	return true
}

// take removes the oldest line and waits for one. It is false when the queue is
// closed and empty.
func (q *queue) take() (line, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.n == 0 && !q.closed {
		q.filled.Wait()
	}
	if q.n == 0 {
		return line{}, false
	}
	l := q.lines[q.first]
	q.lines[q.first] = line{}
	q.first = (q.first + 1) % len(q.lines)
	q.n--
	q.bytes -= len(l.text)
	q.emptied.Signal()
	return l, true
}

// close lets nothing more in. What is there can still be taken.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Broadcast()
	q.emptied.Broadcast()
}

func (q *queue) full(l line) bool {
	return q.n >= queueLines || q.n > 0 && q.bytes+len(l.text) > queueBytes
}

func (q *queue) add(l line) {
	if q.n == len(q.lines) {
		grown := make([]line, 2*len(q.lines))
		n := copy(grown, q.lines[q.first:])
		copy(grown[n:], q.lines[:q.first])
		q.lines, q.first = grown, 0
	}
	q.lines[(q.first+q.n)%len(q.lines)] = l
	q.n++
	q.bytes += len(l.text)
	q.filled.Signal()
}
