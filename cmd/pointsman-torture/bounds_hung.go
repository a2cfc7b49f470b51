package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// quickEvery is the time between two events for the action that is well.
	quickEvery = 20 * time.Millisecond
	// glanceEvery is how often a person or a monitor looks meanwhile.
	glanceEvery = time.Second
	// maxRatio is how much slower the median beside a hung action may be, in pairs on
	// a machine that does other things as well.
	maxRatio = 1.25
	// enoughTurns is from how many pairs on that is looked at.
	enoughTurns = 10
	// firstQuick is the number of the first event for the action that is well.
	firstQuick = 100_000_000
)

// hungAction: one action hangs with all its slots taken and very many deliveries
// wait for it. Beside it runs another action, and the same pair runs on a second
// router of which nothing hangs; the two are measured in turns, so that what the
// machine does besides concerns both.
func hungAction(ctx context.Context, o *boundsOptions, t *tools, hung *site, f *finding) error {
	calm, err := newSite(filepath.Join(hung.dir, "calm"), hung.kind, t)
	if err != nil {
		return err
	}
	defer calm.close()
	pair := []*side{{site: calm, name: "calm"}, {site: hung, name: "hung"}}
	for _, p := range pair {
		p.client = &http.Client{Timeout: patience}
		defer p.client.CloseIdleConnections()
		if err := p.configure("", action{name: "stuck", mode: modeHang, concurrency: 4}, action{name: "quick", mode: modeQuick, concurrency: 4}); err != nil {
			return err
		}
	}
	begun := time.Now()
	if err := hung.fill(ctx, "stuck", o.waiting); err != nil {
		return fmt.Errorf("fill the store: %w", err)
	}
	f.number("waiting", float64(o.waiting), "deliveries")
	f.number("to fill the store", time.Since(begun).Seconds(), "s")
	for _, p := range pair {
		if err := p.serve(ctx); err != nil {
			return err
		}
	}
	if err := await(ctx, "all slots of the hung action taken", patience, func() (bool, error) {
		ran, _, err := readNotes(hung.notes("stuck"), 0)
		return len(ran) >= 4, err
	}); err != nil {
		return err
	}
	for _, p := range pair { // a plugin starts with its first delivery
		if err := p.turn(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		p.took, p.answers, p.counting = nil, nil, nil
	}
	var ratios []time.Duration // in thousandths
	for i := range 2 * o.turns {
		p := pair[(i+i/2)%2] // calm, hung, hung, calm, ...
		if err := p.turn(ctx, o.slice); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if i%2 == 1 {
			a, b := pair[0].last, pair[1].last
			ratios = append(ratios, time.Duration(1000*float64(b)/float64(a)))
		}
	}
	for _, p := range pair {
		sorted(p.took)
		sorted(p.answers)
		sorted(p.counting)
		f.number(p.name+": events", float64(len(p.took)), "")
		f.time(p.name+": sent to run, p50", share(p.took, .5))
		f.time(p.name+": sent to run, p99", share(p.took, .99))
		f.time(p.name+": answer, p50", share(p.answers, .5))
		f.time(p.name+": answer, p99", share(p.answers, .99))
		f.time(p.name+": /metrics, /readyz and counts, p50", share(p.counting, .5))
		f.time(p.name+": /metrics, /readyz and counts, max", share(p.counting, 1))
		now, _ := memory(p.process().pid())
		f.number(p.name+": resident", float64(now>>20), "MiB")
	}
	ratio := float64(share(sorted(ratios), .5)) / 1000
	f.number("median of the ratios of medians, hung to calm", ratio, "")
	if ratio > maxRatio && o.turns >= enoughTurns && !o.short {
		f.violate("the median is %.3g of that of the calm router, %.3g allowed", ratio, maxRatio)
	}
	f.number("ratio of p99, hung to calm", float64(share(pair[1].took, .99))/float64(share(pair[0].took, .99)), "")
	return hung.stillWaiting(ctx, f, o.waiting)
}

// stillWaiting looks whether what waits for the hung action is all there.
func (s *site) stillWaiting(ctx context.Context, f *finding, want int) error {
	got, err := s.counts(ctx, "stuck")
	if err == nil && got["ready"]+got["leased"] != want {
		f.violate("%d of %d deliveries wait: %v", got["ready"]+got["leased"], want, got)
	}
	return err
}

// side is one of the two routers and what was measured there.
type side struct {
	*site
	name    string
	client  *http.Client
	sent    int
	read    int64
	glanced time.Time
	// took is from sending an event until its action runs, answers until its 202,
	// counting how long a look at the router takes; last is the median of the
	// last turn.
	took, answers, counting []time.Duration
	last                    time.Duration
}

// turn sends events for a while, one after the other, and waits until they ran.
func (p *side) turn(ctx context.Context, length time.Duration) error {
	begun := map[uint64]time.Time{}
	for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; {
		n := firstQuick + p.sent
		p.sent++
		text := eventText("quick", boundsID+strconv.Itoa(n), 300)
		at := time.Now()
		status, answer, err := p.post(ctx, p.client, text)
		if err == nil && status != http.StatusAccepted {
			err = fmt.Errorf("answered with %d", status)
		}
		if err != nil {
			return err
		}
		begun[uint64(n)] = at
		p.answers = append(p.answers, answer)
		if time.Since(p.glanced) > glanceEvery {
			if err := p.glance(ctx); err != nil {
				return err
			}
		}
		sleep(ctx, quickEvery-time.Since(at))
	}
	var took []time.Duration
	err := await(ctx, "everything sent has run", patience, func() (bool, error) {
		fresh, read, err := readNotes(p.notes("quick"), p.read)
		p.read = read
		for _, r := range fresh {
			took = append(took, r.at.Sub(begun[r.event]))
		}
		return len(took) >= len(begun), err
	})
	if err == nil && len(took) != len(begun) {
		err = errors.New("something ran twice")
	}
	p.took = append(p.took, took...)
	p.last = share(sorted(took), .5)
	return err
}

// glance is what monitors and people ask all the time.
func (p *side) glance(ctx context.Context) error {
	p.glanced = time.Now()
	_, admin := p.addresses()
	resp, err := p.client.Get("http://" + admin + "/metrics")
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if err := p.get(ctx, "/readyz", nil); err != nil {
		return err
	}
	if _, err := p.counts(ctx, "quick"); err != nil {
		return err
	}
	p.counting = append(p.counting, time.Since(p.glanced))
	return nil
}
