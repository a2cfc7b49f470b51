package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// laneRules keep the events of one letter apart: ids are a letter and a number.
const laneRules = `
rules:
  - {name: work, when: 'event.type == "work"', key: 'event.id[0:1]', ordered: true, do: [{action: work}]}
`

// laneLedger shows two runs of one letter at a time, on whichever router, and
// the order of all. Some fail at first.
const laneLedger = `
cd "${SHARED:-.}"
exec 9>"locks/${POINTSMAN_EVENT_ID%%[0-9]*}"
flock -n 9 || echo "overlap $POINTSMAN_EVENT_ID" >>ledger
echo "start $POINTSMAN_EVENT_ID" >>ledger
sleep 0.02
case $POINTSMAN_EVENT_ID-$POINTSMAN_ATTEMPT in *5-1) exit 1 ;; esac
echo "end $POINTSMAN_EVENT_ID" >>ledger
`

// inOrder reads the ledger: nothing ran beside its like, and each letter's
// numbers only grow, but for one that is run again before the next.
func (s *site) inOrder() (ended map[string]bool) {
	s.t.Helper()
	ended = map[string]bool{}
	last := map[string]int{}
	for line := range strings.Lines(s.read("ledger")) {
		word, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		letter, number := id[:1], 0
		if n, err := strconv.Atoi(id[1:]); err == nil {
			number = n
		}
		switch {
		case word == "overlap":
			s.t.Errorf("%s ran beside another", id)
		case number < last[letter]:
			s.t.Errorf("%s ran after %s%d", id, letter, last[letter])
		case word == "end":
			ended[id] = true
		}
		last[letter] = number
	}
	return ended
}

func laneSite(t *testing.T, config string) *site {
	t.Helper()
	return newSite(t, config, laneRules, laneLedger)
}

// TestOrderedOverTwoRouters: two routers on one Redis, one of them killed in the
// middle, run one delivery of a key at a time and in order.
func TestOrderedOverTwoRouters(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes as long as a lease")
	}
	shared := &site{t: t, dir: t.TempDir()}
	if err := os.Mkdir(shared.path("locks"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(sharedConfig, redisServer(t), shared.dir)
	a, b := laneSite(t, config).serve(), laneSite(t, config).serve()
	const n = 60
	for i := range n {
		to := []*served{a, b}[i%2]
		if i >= n/2 {
			to = b
		}
		if code := to.send(fmt.Sprintf("%c%d", 'x'+rune(i%3), i), "work"); code != http.StatusAccepted {
			t.Fatalf("event %d: %d\n%s", i, code, to.said())
		}
		if i == n/2 {
			a.signal(syscall.SIGKILL)
			a.ended(5 * time.Second)
		}
	}
	await(t, 60*time.Second, "all run", func() bool { return len(shared.inOrder()) == n })
	b.all("done", n)
	shared.inOrder()
}

// TestOrderedWhenKilled: a router that is killed again and again goes on in order.
func TestOrderedWhenKilled(t *testing.T) {
	t.Parallel()
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	s := laneSite(t, routerConfig)
	if err := os.Mkdir(s.path("locks"), 0o700); err != nil {
		t.Fatal(err)
	}
	next, accepted := 0, map[string]bool{}
	for range rounds {
		r := s.serve()
		time.AfterFunc(100*time.Millisecond+rand.N(400*time.Millisecond), func() { _ = r.cmd.Process.Kill() })
		for range 30 {
			next++
			id := fmt.Sprintf("%c%d", 'x'+rune(next%2), next)
			code := r.send(id, "work")
			if code == 0 {
				break
			}
			accepted[id] = code == http.StatusAccepted
		}
		r.ended(20 * time.Second)
	}
	r := s.serve()
	await(t, 60*time.Second, "all run", func() bool {
		ended := s.inOrder()
		for id, ok := range accepted {
			if ok && !ended[id] {
				return false
			}
		}
		return true
	})
	r.signal(syscall.SIGTERM)
	r.ended(10 * time.Second)
	s.inOrder()
	t.Logf("%d events accepted", len(accepted))
}

// TestOverlapIsShown: what skip kept from running says which delivery it was, in
// the list, with the event and in why; what queue keeps waiting says so too.
func TestOverlapIsShown(t *testing.T) {
	t.Parallel()
	const rules = `
rules:
  - name: skips
    when: event.type == "skip"
    do: [{action: work, overlap: skip}]
  - name: queues
    when: event.type == "queue"
    key: event.source
    do: [{action: work, overlap: queue}]
`
	s := newSite(t, routerConfig, rules, "while [ ! -e go ]; do sleep 0.05; done\n")
	r := s.serve()
	send := func(id, typ string) {
		t.Helper()
		if code := r.send(id, typ); code != http.StatusAccepted {
			t.Fatalf("event %s: %d", id, code)
		}
	}
	type shownDelivery struct {
		record
		Waits string `json:"waits"`
	}
	show := func(event string) (d shownDelivery) {
		t.Helper()
		var shown struct{ Deliveries []record }
		r.ask(&shown, "events", "show", event)
		if len(shown.Deliveries) != 1 {
			t.Fatalf("event %s has %d deliveries", event, len(shown.Deliveries))
		}
		r.ask(&d, "deliveries", "show", shown.Deliveries[0].ID)
		return d
	}
	told := func(event string) string {
		t.Helper()
		var verdicts []struct {
			Deliveries []struct{ Summary string }
		}
		r.ask(&verdicts, "why", event)
		if len(verdicts) == 0 || len(verdicts[0].Deliveries) != 1 {
			t.Fatalf("why %s tells %+v", event, verdicts)
		}
		return verdicts[0].Deliveries[0].Summary
	}
	for _, e := range []string{"skip", "queue"} {
		send(e+"1", e)
		send(e+"2", e)
	}
	first, second := show("skip1"), show("skip2")
	reason := "delivery " + first.ID + " of the same rule, step and key was not finished"
	if second.State != "cancelled" || second.Reason != "overlap" || second.Error != reason {
		t.Errorf("skipped: %+v", second)
	}
	if text := told("skip2"); text != "cancelled: overlap, nothing was run: "+reason {
		t.Errorf("why: %s", text)
	}
	head := show("queue1")
	if d := show("queue2"); d.State != "ready" || d.Waits != head.ID {
		t.Errorf("queued: %+v", d)
	}
	if text := told("queue2"); text != `ready: attempt 1 waits for delivery `+head.ID+` of the same rule and key "test", which is not finished` {
		t.Errorf("why: %s", text)
	}
	s.write("go", "")
	r.all("done", 3)
}
