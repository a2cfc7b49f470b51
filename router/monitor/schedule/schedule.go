// Package schedule is the source that makes an event of every tick of a
// schedule.
package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pointsman/pointsman/router"
	"github.com/pointsman/pointsman/router/config"
	"github.com/pointsman/pointsman/router/store"
	"github.com/pointsman/pointsman/rules"
)

// Source ticks.
type Source struct {
	name string
	cfg  config.Schedule
}

// New returns the source of one schedule.
func New(name string, c *config.Schedule) (*Source, error) {
	return &Source{name: name, cfg: *c}, nil
}

const lastKey = "last"

// Run implements router.Source.
func (s *Source) Run(ctx context.Context, accept router.AcceptFunc, state router.StateReader) error {
	for ctx.Err() == nil {
		err := s.follow(ctx, accept, state)
		if err != nil && !errors.Is(err, router.ErrStale) && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (s *Source) follow(ctx context.Context, accept router.AcceptFunc, state router.StateReader) error {
	states, err := state.Load(ctx, lastKey)
	if err != nil {
		return err
	}
	at := states[0]
	next := time.Now().Truncate(s.cfg.Every).Add(s.cfg.Every)
	if at.Version != 0 {
		var last time.Time
		if err := last.UnmarshalText(at.Data); err != nil {
			return fmt.Errorf("the last tick is unreadable: %w", err)
		}
		if !next.After(last) {
			next = last.Add(s.cfg.Every)
		}
	}
	t := time.NewTimer(time.Until(next))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return nil
	}
	text, err := next.UTC().MarshalText()
	if err != nil {
		return err
	}
	ev, err := rules.NewEvent(rules.Attributes{
		ID: s.name + " " + string(text), Source: "pointsman:/schedules/" + s.name, Type: "pointsman.schedule.tick", Subject: s.name, Time: string(text),
	}, nil, rules.Limits{})
	if err != nil {
		return err
	}
	w := store.StateWrite{State: store.State{Key: lastKey, Data: text}, Read: at.Version}
	res, err := accept(ctx, ev, &w)
	if err == nil && res.Duplicate {
		_, err = accept(ctx, nil, &w)
	}
	return err
}
