package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// ledger is an idempotent action: its visible effect is the folder it makes.
// The lock shows a run beside another of the same delivery, or beside a process
// that one has left behind.
const ledger = `
id=$POINTSMAN_DELIVERY_ID
exec 9>"locks/$id"
flock -n 9 || echo "overlap $id $POINTSMAN_ATTEMPT" >>ledger
echo "start $id $POINTSMAN_ATTEMPT" >>ledger
case $POINTSMAN_EVENT_ID in *7) setsid sleep 300 </dev/null >/dev/null 2>&1 & esac
sleep 0.0$((POINTSMAN_ATTEMPT % 5))
mkdir "effects/$POINTSMAN_EVENT_ID" 2>/dev/null || echo "again $id $POINTSMAN_ATTEMPT" >>ledger
sleep 0.01
echo "end $id $POINTSMAN_ATTEMPT" >>ledger
`

// TestKilledAgainAndAgain kills the router at random moments under load.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	rounds := 15
	if testing.Short() {
		rounds = 4
	}
	s := newSite(t, routerConfig, routerRules, ledger)
	for _, dir := range []string{"locks", "effects"} {
		if err := os.Mkdir(s.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var next atomic.Int64
	var mu sync.Mutex
	accepted := make(map[string]bool)
	var gone time.Duration
	for round := range rounds {
		r := s.serve()
		var senders sync.WaitGroup
		for range 3 {
			senders.Go(func() {
				for range 12 { // what was not run is run in the end
					id := fmt.Sprint("e", next.Add(1))
					switch code := r.send(id, "work"); code {
					case http.StatusAccepted:
						mu.Lock()
						accepted[id] = true
						mu.Unlock()
					case 0:
						return
					default:
						t.Errorf("event %s: %d", id, code)
						return
					}
				}
			})
		}
		time.AfterFunc(rand.N(300*time.Millisecond), func() { _ = r.cmd.Process.Kill() })
		r.ended(20 * time.Second)
		died := time.Now()
		senders.Wait()
		if round%3 == 2 {
			continue // the next one starts at once
		}
		for left := s.marked(); len(left) > 0; left = s.marked() {
			if time.Since(died) > time.Second {
				t.Fatalf("round %d: left behind: %q", round, left)
			}
		}
		gone = max(gone, time.Since(died))
	}
	r := s.serve()
	r.until("finished", func() bool {
		var ready, leased struct{ Deliveries []record }
		r.get("/api/v1/deliveries?limit=1&state=ready", &ready)
		r.get("/api/v1/deliveries?limit=1&state=leased", &leased)
		return len(ready.Deliveries)+len(leased.Deliveries) == 0
	})
	check(t, r, accepted)
	t.Logf("%d rounds, %d events accepted, processes gone at most %v after the router", rounds, len(accepted), gone)
	r.signal(syscall.SIGTERM)
	if code := r.ended(10 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// check compares what was promised with what is there.
func check(t *testing.T, r *served, accepted map[string]bool) {
	t.Helper()
	var ds []record
	r.ask(&ds, "deliveries", "list", "--limit", "100000")
	done := make(map[string]string)
	for _, d := range ds {
		if d.State != "done" || done[d.EventID] != "" {
			t.Errorf("delivery %s of %s is %s: %s", d.ID, d.EventID, d.State, d.Error)
		}
		done[d.EventID] = d.ID
	}
	for id := range accepted {
		if done[id] == "" {
			t.Errorf("event %s was accepted and is lost", id)
		}
	}
	effects, err := os.ReadDir(r.path("effects"))
	if err != nil || len(effects) != len(done) {
		t.Errorf("%d effects of %d deliveries, %v", len(effects), len(done), err)
	}
	ended := make(map[string]bool)
	for line := range strings.Lines(r.read("ledger")) {
		f := strings.Fields(line)
		switch f[0] {
		case "overlap":
			t.Errorf("delivery %s attempt %s ran beside another", f[1], f[2])
		case "end":
			ended[f[1]] = true
		}
	}
	for event, id := range done {
		if !ended[id] {
			t.Errorf("delivery %s of %s is done and never ended", id, event)
		}
	}
}
