package rules_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pointsman/pointsman/rules"
)

// TestMatchDoesNotWaitForLoad: while a set of many rules is being loaded, and
// stands still in the middle of it, events are matched by the set in force; the
// swap is one store, and an event meets one set as a whole.
func TestMatchDoesNotWaitForLoad(t *testing.T) {
	t.Parallel()
	const loads, matchers, each, n = 3, 4, 20, 300
	set := func(number int, check func()) *rules.Ruleset {
		var b strings.Builder
		b.WriteString("rules:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - {name: r%d-%d, when: 'event.type == \"a\" and event.data.n == %d', do: [{action: log}]}\n", number, i, i%(n/3))
		}
		calls := 0
		rs, err := rules.LoadFiles([]rules.File{{Name: "r.yaml", Data: []byte(b.String())}}, rules.Options{
			Actions: map[string]rules.Action{"log": {CheckParams: func(json.RawMessage) error {
				if calls++; calls == n/2 {
					check()
				}
				return nil
			}}},
		})
		if err != nil {
			t.Error(err)
		}
		return rs
	}
	var inForce atomic.Pointer[rules.Ruleset]
	inForce.Store(set(0, func() {}))
	var matched [matchers]atomic.Int64
	progress := sync.NewCond(&sync.Mutex{})
	var stop atomic.Bool
	var all sync.WaitGroup
	for m := range matchers {
		all.Go(func() {
			for i := 0; !stop.Load(); i++ {
				ev := map[string]any{"type": "a", "data": map[string]any{"n": int64(i % (n / 3))}}
				found := inForce.Load().MatchValue(ev)
				number, _, _ := strings.Cut(found[0].Rule.Name, "-")
				for _, f := range found {
					if !strings.HasPrefix(f.Rule.Name, number+"-") || len(found) != 3 {
						t.Errorf("an event met %v", outcomes(found))
					}
				}
				progress.L.Lock()
				matched[m].Add(1)
				progress.L.Unlock()
				progress.Broadcast()
			}
		})
	}
	for number := range loads {
		inForce.Store(set(number+1, func() { // returns when each has matched more events
			progress.L.Lock()
			defer progress.L.Unlock()
			for m := range matched {
				for goal := matched[m].Load() + each; matched[m].Load() < goal; {
					progress.Wait()
				}
			}
		}))
	}
	stop.Store(true)
	all.Wait()
}
