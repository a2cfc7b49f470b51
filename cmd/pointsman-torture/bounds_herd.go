package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const (
	herdSlots = 8
	// freshEvery is the time between two events while the herd is run.
	freshEvery = 50 * time.Millisecond
)

// herd: very many deliveries of one action are due at one instant. Its plugin
// must never see more than its slots at a time, new events of another action must
// not wait for the herd, and those of the same action for no more than what was
// due before them.
func herd(ctx context.Context, o *boundsOptions, _ *tools, s *site, f *finding) error {
	if err := s.configure("", action{name: "back", mode: modeBusy, concurrency: herdSlots}, action{name: "quick", mode: modeQuick, concurrency: 4}); err != nil {
		return err
	}
	if err := s.fill(ctx, "back", o.herd); err != nil {
		return fmt.Errorf("fill the store: %w", err)
	}
	begun := time.Now()
	if err := s.serve(ctx); err != nil {
		return err
	}
	quick, back, err := s.freshBeside(ctx, o.herd)
	if err != nil {
		return err
	}
	calls, _, err := readNotes(s.notes("back"), 0)
	if err != nil {
		return err
	}
	f.number("due at one instant", float64(o.herd), "deliveries")
	f.number("until all had run", lastOf(calls, o.herd).Sub(begun).Seconds(), "s")
	f.crowding(calls, o.herd)
	waits, err := s.waited("quick", quick)
	if err != nil {
		return err
	}
	f.number("events of another action meanwhile", float64(len(waits)), "")
	f.time("  sent to run, p50", share(waits, .5))
	f.time("  sent to run, p99", share(waits, .99))
	same, err := s.waited("back", back)
	if err != nil {
		return err
	}
	f.number("events of the same action meanwhile", float64(len(same)), "")
	f.time("  sent to run, max", share(same, 1))
	if len(waits) != len(quick) || len(same) != len(back) {
		f.violate("%d of %d events of another action and %d of %d of the same ran", len(waits), len(quick), len(same), len(back))
	}
	// They come behind what was due before, and so run last, but they do run.
	n, err := s.counts(ctx, "back")
	if err == nil && n["done"] != o.herd+len(back) {
		f.violate("%d of %d done: %v", n["done"], o.herd+len(back), n)
	}
	return err
}

// crowding looks how many calls there were at a time.
func (f *finding) crowding(calls []ran, herd int) {
	most, each := 0, map[int64]int{}
	seen := map[uint64]int{}
	for _, c := range calls {
		most = max(most, c.beside)
		each[c.at.UnixNano()/int64(100*time.Millisecond)]++
		seen[c.event]++
	}
	rates := make([]int, 0, len(each))
	for _, n := range each {
		rates = append(rates, n)
	}
	slices.Sort(rates)
	f.number("calls at a time, at most", float64(most), fmt.Sprintf("of %d", herdSlots))
	f.number("calls within 100 ms, p50", float64(rates[len(rates)/2]), "")
	f.number("calls within 100 ms, at most", float64(rates[len(rates)-1]), "")
	if most > herdSlots {
		f.violate("%d calls at a time, %d allowed", most, herdSlots)
	}
	twice := 0
	for _, n := range seen {
		if n > 1 {
			twice++
		}
	}
	if twice > 0 || len(seen) < herd {
		f.violate("%d of %d ran, %d of them more than once", len(seen), herd, twice)
	}
}

// lastOf is when the last of the herd, which has the numbers up to n, ran.
func lastOf(calls []ran, n int) (last time.Time) {
	for _, c := range calls {
		if c.event <= uint64(n) && c.at.After(last) {
			last = c.at
		}
	}
	return last
}

// freshBeside sends new events of both actions until nothing of the herd waits any more, and
// then waits until they ran. It returns when each was sent.
func (s *site) freshBeside(ctx context.Context, herd int) (quick, back map[uint64]time.Time, err error) {
	quick, back = map[uint64]time.Time{}, map[uint64]time.Time{}
	client := &http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	send := func(kind string, to map[uint64]time.Time) error {
		n := uint64(firstQuick + len(quick) + len(back))
		at := time.Now()
		status, _, err := s.post(ctx, client, eventText(kind, boundsID+strconv.FormatUint(n, 10), 300))
		if err == nil && status != http.StatusAccepted {
			err = fmt.Errorf("answered with %d", status)
		}
		to[n] = at
		return err
	}
	for i := 0; ctx.Err() == nil; i++ {
		if err = send("quick", quick); err != nil {
			return nil, nil, err
		}
		if i%20 == 0 { // once a second
			if err = send("back", back); err != nil {
				return nil, nil, err
			}
			n, err := s.counts(ctx, "back")
			if err != nil {
				return nil, nil, err
			}
			if n["done"] >= herd {
				break
			}
		}
		sleep(ctx, freshEvery)
	}
	err = await(ctx, "all events ran", patience, func() (bool, error) {
		n, err := s.counts(ctx, "back")
		m, err2 := s.counts(ctx, "quick")
		if err == nil {
			err = err2
		}
		return n["ready"]+n["leased"]+m["ready"]+m["leased"] == 0, err
	})
	return quick, back, err
}

// waited is how long it took from sending events until they ran, sorted.
func (s *site) waited(action string, sent map[uint64]time.Time) ([]time.Duration, error) {
	calls, _, err := readNotes(s.notes(action), 0)
	if err != nil {
		return nil, err
	}
	var out []time.Duration
	for _, c := range calls {
		if at, ok := sent[c.event]; ok {
			out = append(out, c.at.Sub(at))
		}
	}
	return sorted(out), nil
}
