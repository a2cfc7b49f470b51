package router

import (
	"fmt"
	"sync"
)

// maxWaitingSize is how many bytes of events, with the parameters of what they
// call for, may wait to be stored. Senders' limits do not bound it: a rule may
// copy an event into each of its steps.
const maxWaitingSize = 64 << 20

// waiting counts what was evaluated and is not stored yet.
type waiting struct {
	mu   sync.Mutex
	used int
}

// take makes room for n bytes, or says that there is none. What is larger than
// all of it is let through while nothing else waits.
func (w *waiting) take(n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.used > 0 && w.used+n > maxWaitingSize {
		return fmt.Errorf("%w: %d MiB are waiting to be stored", ErrUnavailable, w.used>>20)
	}
	w.used += n
	return nil
}

func (w *waiting) giveBack(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used -= n
}
