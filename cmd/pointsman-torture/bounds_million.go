package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// restarts is how often a router with a full store is killed and started.
	restarts = 3
	// The bounds of a start, from the process's begin to the first call of a
	// plugin.
	startSQLite = 5 * time.Second
	startRedis  = 2 * time.Second
)

// million: a router is killed and started while very many deliveries wait, all
// slots taken. It must run the first soon, and none may have used up an attempt.
func million(ctx context.Context, o *boundsOptions, _ *tools, s *site, f *finding) error {
	if err := s.configure("", action{name: "stuck", mode: modeHang, concurrency: 16}); err != nil {
		return err
	}
	if err := s.fill(ctx, "stuck", o.waiting); err != nil {
		return fmt.Errorf("fill the store: %w", err)
	}
	f.number("waiting", float64(o.waiting), "deliveries")
	bound := startSQLite
	if s.kind == storeRedis {
		bound = startRedis
	}
	var took []time.Duration
	for i := range restarts {
		from, err := s.firstCall(ctx, f, &took)
		if err != nil {
			return err
		}
		if i == restarts-1 {
			break
		}
		// All slots are taken, then it dies without a word.
		if err := await(ctx, "16 attempts running", patience, func() (bool, error) {
			ran, _, err := readNotes(s.notes("stuck"), from)
			return len(ran) >= 16, err
		}); err != nil {
			return err
		}
		s.process().kill()
	}
	if best := share(sorted(took), 0); best > bound && !o.short {
		f.violate("the first delivery ran %s after the start, %s allowed", best.Round(time.Millisecond), bound)
	}
	if err := s.stillWaiting(ctx, f, o.waiting); err != nil {
		return err
	}
	return s.unused(ctx, f, o.waiting)
}

// firstCall starts the router and waits for the first call of the plugin. It
// returns where the notes of this start begin.
func (s *site) firstCall(ctx context.Context, f *finding, took *[]time.Duration) (int64, error) {
	_, from, err := readNotes(s.notes("stuck"), 0)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := s.launch(); err != nil {
		return 0, err
	}
	var first time.Time
	err = await(ctx, "a delivery runs", patience, func() (bool, error) {
		ran, _, err := readNotes(s.notes("stuck"), from)
		if len(ran) > 0 {
			first = ran[0].at
		}
		return len(ran) > 0, err
	})
	if err != nil {
		return 0, err
	}
	*took = append(*took, first.Sub(begun))
	f.time(fmt.Sprintf("start %d: from the process's begin to the first call", len(*took)), first.Sub(begun))
	now, peak := memory(s.process().pid())
	f.number("  resident then", float64(now>>20), "MiB")
	f.number("  and at most", float64(peak>>20), "MiB")
	return from, s.ready(ctx)
}

// unused looks at every delivery: none has an attempt that counts.
func (s *site) unused(ctx context.Context, f *finding, want int) error {
	seen, used, cursor := 0, 0, ""
	for ctx.Err() == nil {
		var page struct {
			Deliveries []struct {
				ID       string
				Attempts int
			}
		}
		if err := s.get(ctx, "/api/v1/deliveries?action=stuck&limit=1000"+cursor, &page); err != nil {
			return err
		}
		if len(page.Deliveries) == 0 {
			break
		}
		for _, d := range page.Deliveries {
			seen++
			if d.Attempts > 0 {
				used++
			}
			cursor = "&before=" + d.ID
		}
	}
	f.number("deliveries with an attempt used up", float64(used), fmt.Sprintf("of %d", seen))
	if used > 0 || seen != want {
		f.violate("%d deliveries of %d, %d with an attempt used up", seen, want, used)
	}
	return nil
}
