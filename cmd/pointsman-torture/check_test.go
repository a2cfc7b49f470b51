package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sound is evidence in which everything is as it must be: a delivery that was
// repeated, a held one that a person had run again, and a window.
func sound() *evidence {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	ev := &evidence{sent: map[string]*sentEvent{}, confirmed: map[string]bool{"d4": true}}
	event := func(id, kind, verdict string, after time.Duration) {
		ev.sent[id] = &sentEvent{id: id, kind: kind, key: "k", first: at, acked: at.Add(after)}
		e := storedEvent{UID: "u" + id, Received: at.Add(after)}
		e.Event.ID, e.Event.Type, e.Event.Data.Key = id, kind, "k"
		if verdict != "" {
			e.Verdicts = []struct{ Rule, Verdict string }{{kind, verdict}}
		}
		ev.events = append(ev.events, e)
	}
	event("e1", typeWork, "matched", 0)
	event("e2", typeTwo, "matched", 0)
	event("e3", typeNone, "", 0)
	event("e4", typeHold, "matched", 0)
	event("e5", typeOnce, "matched", 0)
	event("e6", typeOnce, "throttled", onceWindow-time.Second)
	event("e7", typeOnce, "matched", onceWindow)
	ev.sent["e8"] = &sentEvent{id: "e8", kind: typeWork, first: at} // never answered
	delivery := func(id, event, rule string, step int, action string) {
		ev.deliveries = append(ev.deliveries, storedDelivery{ID: id, EventID: event, Rule: rule, Step: step, Action: action, State: "done"})
	}
	delivery("d1", "e1", typeWork, 0, "ledger")
	delivery("d2", "e2", typeTwo, 0, "ledger")
	delivery("d3", "e2", typeTwo, 1, "other")
	delivery("d4", "e4", typeHold, 0, holdAction)
	delivery("d5", "e5", typeOnce, 0, "ledger")
	delivery("d7", "e7", typeOnce, 0, "ledger")
	var clock int64
	run := func(id, event, action string, attempt int, epoch uint64, what ...string) {
		for _, w := range what {
			clock++
			ev.entries = append(ev.entries, entry{what: w, delivery: id, attempt: attempt, epoch: epoch, action: action, eventID: event, at: clock})
		}
	}
	run("d1", "e1", "ledger", 1, 1, "start", "effect")
	run("d1", "e1", "ledger", 1, 2, "start", "again", "end")
	run("d2", "e2", "ledger", 1, 3, "start", "fail")
	run("d2", "e2", "ledger", 2, 4, "start", "effect", "end")
	run("d3", "e2", "other", 1, 5, "start", "effect", "end")
	run("d4", "e4", holdAction, 1, 6, "start")
	run("d4", "e4", holdAction, 2, 7, "start", "effect", "end")
	run("d5", "e5", "ledger", 1, 8, "start", "effect", "end")
	run("d7", "e7", "ledger", 1, 9, "start", "effect", "end")
	return ev
}

// TestCheck plants one fault after the other.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		plant func(*evidence)
		want  []string
	}{
		{"nothing", func(*evidence) {}, nil},
		{"an event is gone", func(ev *evidence) { ev.events, ev.deliveries = ev.events[1:], ev.deliveries[1:] }, []string{kindLost, kindTwice}},
		{"an event that nothing is for is gone", func(ev *evidence) { ev.events = slices.Delete(ev.events, 2, 3) }, []string{kindLost}},
		{"a delivery is gone", func(ev *evidence) { ev.deliveries = ev.deliveries[1:] }, []string{kindLost, kindTwice}},
		{"a delivery waits", func(ev *evidence) { ev.deliveries[0].State = "ready" }, []string{kindLost}},
		{"a delivery is dead", func(ev *evidence) { ev.deliveries[0].State = "dead" }, []string{kindLost}},
		{"done and not run", func(ev *evidence) { ev.entries = ev.entries[5:] }, []string{kindEffect}},
		{"an event twice", func(ev *evidence) { ev.events = append(ev.events, ev.events[0]) }, []string{kindTwice}},
		{"a delivery twice", func(ev *evidence) {
			d := ev.deliveries[0]
			d.ID = "d9"
			ev.deliveries, ev.entries = append(ev.deliveries, d), append(ev.entries, entry{what: "end", delivery: "d9"})
		}, []string{kindTwice, kindTwice}},
		{"an event of nobody", func(ev *evidence) { delete(ev.sent, "e3") }, []string{kindTwice}},
		{"two at once, by the lock", func(ev *evidence) { ev.entries[2].what = "overlap" }, []string{kindOverlap}},
		{"two at once, by the epochs", func(ev *evidence) { ev.entries[4].epoch = 1 }, []string{kindOverlap}},
		{"an old lease", func(ev *evidence) { ev.entries[2].epoch = 1 }, []string{kindOverlap}},
		{"two effects", func(ev *evidence) { ev.entries[3].what = "effect" }, []string{kindEffect}},
		{"a held one was run by itself", func(ev *evidence) { ev.confirmed = nil }, []string{kindHold}},
		{"a window with two firings", func(ev *evidence) { ev.events[6].Received = ev.events[6].Received.Add(-time.Second) }, []string{kindOnce}},
		{"throttled without a reason", func(ev *evidence) {
			ev.events[5].Event.Data.Key = "k2"
		}, []string{kindOnce}},
		{"a firing that is not recorded", func(ev *evidence) { ev.events[4].Verdicts = nil }, []string{kindTwice, kindOnce}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ev := sound()
			tt.plant(ev)
			f := check(ev)
			var got []string
			for _, v := range f.violations {
				got = append(got, v.Kind)
			}
			slices.Sort(got)
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("violations (-want +got):\n%s\n%v", diff, f.violations)
			}
			if f.repeated != 1 && tt.name == "nothing" {
				t.Fatalf("%d attempts repeated, want 1", f.repeated)
			}
		})
	}
}

// What was sent before the store was emptied may be gone, what came later not.
func TestCheckEmptied(t *testing.T) {
	t.Parallel()
	for after, lost := range map[time.Duration]int{time.Minute: 0, -time.Minute: 7} {
		ev := sound()
		ev.emptied = ev.sent["e1"].first.Add(after)
		ev.events, ev.deliveries, ev.entries = nil, nil, nil
		if f := check(ev); len(f.violations) != lost || f.forgotten != 7-lost {
			t.Fatalf("emptied %v after they were sent: %d forgotten, %v", after, f.forgotten, f.violations)
		}
	}
}

func TestReadLedger(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger")
	if got, to, err := readLedger(path, 0); got != nil || to != 0 || err != nil {
		t.Fatalf("no ledger yet: %v, %d, %v", got, to, err)
	}
	whole := "start d1 1 7 ledger work e1 100\n"
	if err := os.WriteFile(path, []byte(whole+"end d1 1 7 led"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, to, err := readLedger(path, 0)
	want := entry{"start", "d1", 1, 7, "ledger", "work", "e1", 100}
	if err != nil || len(got) != 1 || got[0] != want || to != int64(len(whole)) {
		t.Fatalf("read %+v up to %d, %v", got, to, err)
	}
	if err := os.WriteFile(path, []byte(whole+"end d1 1 7 start d2 1 8 ledger work e1 100\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readLedger(path, to); err == nil {
		t.Fatal("a damaged line is no error")
	}
}
